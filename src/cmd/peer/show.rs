//! `peer list`, `peer show`.

use serde::Serialize;

use super::edit::no_peer;
use super::report::Peers;
use super::warn::ZERO_CHECKSUMS;
use crate::cmd::Ctx;
use crate::kernel::collector::{self, Path};
use crate::kernel::instance::Instance;
use crate::kernel::peers::find;
use crate::kernel::pins::Access;
use crate::model::Result;
use crate::model::peer::{Peer, PeerName, Way};
use crate::model::stats::{Counter, LastLoss, PeerCounters};
use crate::output::{JsonStyle, Report, document};

/// The peers, by name; none when nothing is loaded.
pub fn list(ctx: &Ctx) -> Result<Box<dyn Report>> {
    let mut peers: Vec<Peer> = match Instance::open(&ctx.place, Access::Read)? {
        Some(instance) => instance.peers()?.into_iter().flatten().collect(),
        None => Vec::new(),
    };
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Box::new(Peers { schema: "peer-list", peers, change: None, warnings: Vec::new() }))
}

/// A peer and the way to it as the kernel sees it now.
#[derive(Serialize)]
struct Shown {
    peer: Peer,
    /// null: there is no route, or the device is gone.
    path: Option<Path>,
    last_loss: Option<LastLoss>,
    counters: PeerCounters,
    /// What the collector needs, and what others changed.
    notes: Vec<String>,
}

/// One peer.
pub fn show(name: &PeerName, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let instance = Instance::open(&ctx.place, Access::Read)?.ok_or_else(|| no_peer(name))?;
    let slots = instance.peers()?;
    let slot = find(&slots, name).ok_or_else(|| no_peer(name))?;
    let peer = slots[slot].clone().ok_or_else(|| no_peer(name))?;
    let path = collector::path_to(instance.netlink(), &peer)?;
    let counters = instance
        .stats()?
        .peers
        .into_iter()
        .find(|row| row.peer == peer.name)
        .map(|row| row.counters)
        .unwrap_or_default();
    let last_loss = instance.last_loss(slot as u32)?;
    let mut notes: Vec<String> = Vec::new();
    if peer.needs_zero_checksums() {
        notes.push(ZERO_CHECKSUMS.to_owned());
    }
    for device in instance.devices()? {
        notes.extend(path.as_ref().and_then(|path| path.too_small_for(&peer, &device)));
    }
    Ok(Box::new(Shown { peer, path, last_loss, counters, notes }))
}

impl Shown {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let peer = &self.peer;
        let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
        let mut lines = vec![("peer", peer.name.to_string())];
        lines.push(("group", or(peer.group.as_ref().map(ToString::to_string), "none: every frame")));
        match &peer.way {
            Way::Span(device) => lines.push(("tunnel", format!("none: plain frames to the device {device}"))),
            Way::Tunnel(outer) => {
                let id = outer.encap.id().map_or_else(|| " without a key".to_owned(), |id| format!(" {id}"));
                lines.push(("tunnel", format!("{}{id}", peer.tunnel())));
                let port = outer.encap.port().map_or_else(String::new, |port| format!(" port {port}"));
                lines.push(("remote", format!("{}{port}", outer.remote)));
                let auto = if outer.local_auto { " (the route's choice)" } else { "" };
                lines.push(("local", format!("{}{auto}", outer.local)));
                let dev = outer.dev.as_ref().map_or_else(String::new, |dev| format!(", dev {dev}"));
                lines.push(("outer header", format!("TTL {}, DSCP {}{dev}", outer.ttl, outer.dscp)));
            }
        }
        let snaplen = peer.snaplen.map(|snaplen| format!("{snaplen} bytes of each frame"));
        lines.push(("oversize", peer.oversize.to_string()));
        lines.push(("gso", peer.gso.to_string()));
        lines.push(("snaplen", or(snaplen, "all")));
        lines.push(("rate", or(peer.rate.map(|rate| format!("{rate} at most")), "no limit")));
        lines
    }

    fn path(&self) -> Vec<(&'static str, String)> {
        let Some(path) = &self.path else {
            return match &self.peer.way {
                Way::Tunnel(_) => vec![("route", "none: copies are lost as no_route".to_owned())],
                Way::Span(device) => vec![("device", format!("{device} is gone: every copy is lost"))],
            };
        };
        let state = if path.up { "up" } else { "DOWN, or without carrier" };
        let Some(neighbour) = path.neighbour else {
            return vec![("device", format!("{} {state}, MTU {}", path.device, path.mtu))];
        };
        let via = match (path.on_host, path.gateway) {
            (true, _) => "this host itself".to_owned(),
            (false, Some(gateway)) => format!("via {gateway}"),
            (false, None) => "on link".to_owned(),
        };
        let known = path.neighbour_state.as_deref().unwrap_or("NONE");
        let none = if path.reachable { "(no MAC address is needed)" } else { "no MAC address" };
        let mac = path.neighbour_mac.as_deref().unwrap_or(none);
        vec![
            ("route", format!("dev {} {via}, MTU {}", path.device, path.mtu)),
            ("device", format!("{} {state}", path.device)),
            ("neighbour", format!("{neighbour} {known} {mac}")),
        ]
    }

    fn counters(&self) -> Vec<(&'static str, String)> {
        let counter = |counter: &Counter| format!("{} packets, {} bytes", counter.packets, counter.bytes);
        let mut lines = vec![
            ("selected", counter(&self.counters.selected)),
            ("sent", counter(&self.counters.sent)),
            ("truncated", counter(&self.counters.truncated)),
            ("lost", counter(&self.counters.lost)),
        ];
        for (reason, lost) in self.counters.reasons.iter().filter(|(_, lost)| lost.packets > 0) {
            lines.push(("", format!("{reason}: {}", counter(lost))));
        }
        if let Some(last) = &self.last_loss {
            lines.push(("last loss", format!("{}, {:.1} s ago", last.reason, last.seconds_ago)));
        }
        lines
    }
}

impl Report for Shown {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("peer-show", self, style)
    }

    fn text(&self) -> String {
        let notes = self.notes.iter().map(|note| ("note", note.clone())).collect();
        let lines = [self.settings(), self.path(), self.counters(), notes].concat();
        lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
    }
}
