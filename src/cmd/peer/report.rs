//! Peers as a table and as a document.

use serde::Serialize;

use crate::model::peer::{Dscp, Peer, Ttl};
use crate::model::tunnel::Gso;
use crate::output::{JsonStyle, Report, document, table};

/// A list of peers, or what became of them.
#[derive(Serialize)]
pub(super) struct Peers {
    #[serde(skip)]
    pub(super) schema: &'static str,
    pub(super) peers: Vec<Peer>,
    #[serde(flatten)]
    pub(super) change: Option<Change>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Change {
    pub(super) changed: bool,
    pub(super) dry_run: bool,
    #[serde(skip)]
    pub(super) verb: &'static str,
}

/// What differs from what a peer has when nobody says; the table has no room for more.
fn policy(peer: &Peer) -> String {
    let mut words = Vec::new();
    if let Some(rate) = peer.rate {
        words.push(format!("rate {rate}"));
    }
    if let Some(snaplen) = peer.snaplen {
        words.push(format!("snaplen {snaplen}"));
    }
    if peer.oversize != peer.tunnel().default_oversize() {
        words.push(peer.oversize.to_string());
    }
    if peer.gso != Gso::default() {
        words.push(format!("gso {}", peer.gso));
    }
    if let Some(outer) = peer.outer() {
        if let Some(dev) = &outer.dev {
            words.push(format!("dev {dev}"));
        }
        if outer.ttl != Ttl::default() {
            words.push(format!("ttl {}", outer.ttl));
        }
        if outer.dscp != Dscp::BEST_EFFORT {
            words.push(format!("dscp {}", outer.dscp));
        }
    }
    words.join(", ")
}

fn row(peer: &Peer) -> Vec<String> {
    let outer = peer.outer();
    let or_none = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    vec![
        peer.name.to_string(),
        or_none(peer.group.as_ref().map(ToString::to_string)),
        peer.tunnel().to_string(),
        or_none(outer.and_then(|outer| outer.encap.id())),
        outer.map_or_else(|| format!("dev {}", peer.destination()), |outer| outer.remote.to_string()),
        or_none(outer.and_then(|outer| outer.encap.port()).map(|port| port.to_string())),
        or_none(outer.map(|outer| format!("{}{}", outer.local, if outer.local_auto { " (auto)" } else { "" }))),
        or_none(Some(policy(peer))),
    ]
}

impl Report for Peers {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document(self.schema, self, style)
    }

    fn text(&self) -> String {
        let head = match &self.change {
            None if self.peers.is_empty() => return "no peers: ebmirror peer add NAME …\n".to_owned(),
            None => String::new(),
            Some(Change { changed: false, .. }) => "no change\n".to_owned(),
            Some(Change { dry_run: true, verb, .. }) => format!("would be {verb}:\n"),
            Some(Change { verb, .. }) => format!("{verb}:\n"),
        };
        let columns = ["peer", "group", "tunnel", "id", "remote", ">port", "local", "policy"];
        head + &table(&columns, self.peers.iter().map(row))
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
