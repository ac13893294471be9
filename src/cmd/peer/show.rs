//! `peer list`, `peer show`.

use serde::Serialize;

use super::Peers;
use super::edit::no_peer;
use crate::cmd::Ctx;
use crate::kernel::collector::{self, Path};
use crate::kernel::instance::Instance;
use crate::kernel::peers::find;
use crate::kernel::pins::Access;
use crate::model::Result;
use crate::model::peer::{Peer, PeerName};
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
    /// null: there is no route.
    path: Option<Path>,
    last_loss: Option<LastLoss>,
    counters: PeerCounters,
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
    Ok(Box::new(Shown { peer, path, last_loss, counters }))
}

impl Report for Shown {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("peer-show", self, style)
    }

    fn text(&self) -> String {
        let peer = &self.peer;
        let counter = |counter: &Counter| format!("{} packets, {} bytes", counter.packets, counter.bytes);
        let mut lines = vec![
            ("peer", peer.name.to_string()),
            ("tunnel", format!("{} VNI {}", peer.tunnel, peer.vni)),
            ("remote", format!("{} port {}", peer.remote, peer.port)),
            ("local", format!("{}{}", peer.local, if peer.local_auto { " (the route's choice)" } else { "" })),
            ("outer header", format!("TTL {}, DSCP {}", peer.ttl, peer.dscp)),
        ];
        match &self.path {
            None => lines.push(("route", "none: copies are lost as no_route".to_owned())),
            Some(path) => {
                let via = path.gateway.map_or_else(|| "on link".to_owned(), |gateway| format!("via {gateway}"));
                lines.push(("route", format!("dev {} {via}, MTU {}", path.device, path.mtu)));
                let mac = path.neighbour_mac.as_deref().unwrap_or("no MAC address");
                lines.push(("neighbour", format!("{} {} {mac}", path.neighbour, path.neighbour_state)));
            }
        }
        lines.push(("selected", counter(&self.counters.selected)));
        lines.push(("sent", counter(&self.counters.sent)));
        lines.push(("lost", counter(&self.counters.lost)));
        for (reason, lost) in self.counters.reasons.iter().filter(|(_, lost)| lost.packets > 0) {
            lines.push(("", format!("{reason}: {}", counter(lost))));
        }
        if let Some(last) = &self.last_loss {
            lines.push(("last loss", format!("{}, {:.1} s ago", last.reason, last.seconds_ago)));
        }
        lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect()
    }
}
