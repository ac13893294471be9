//! The peers of `status`: are the collectors reached, and do they get their copies?

use super::report::{Neighbour, PeerStatus, Status};
use crate::kernel::collector::{self, Path};
use crate::kernel::instance::Instance;
use crate::model::Result;
use crate::model::peer::{Peer, Way};
use crate::model::stats::{Reason, Stats};

/// A loss this long ago is no news.
const RECENT_SECONDS: f64 = 10.0;

/// Looks at each peer, and says what is wrong with it.
pub(super) fn look_at_peers(instance: &Instance, stats: &Stats, status: &mut Status) -> Result<()> {
    for (slot, peer) in (0u32..).zip(&instance.peers()?) {
        let Some(peer) = peer else { continue };
        let path = collector::path_to(instance.netlink(), peer)?;
        let counters = stats.peers.iter().find(|row| row.peer == peer.name).map(|row| row.counters.clone());
        let counters = counters.unwrap_or_default();
        let last = instance.last_loss(slot)?;
        // A rate does what the user asked for.
        let last = last.filter(|last| last.seconds_ago < RECENT_SECONDS && last.reason != Reason::Rate);
        let problem = way_problem(peer, path.as_ref()).or(last.map(|last| {
            format!(
                "copies were lost as {}, the last one {:.0} s ago: {}",
                last.reason,
                last.seconds_ago,
                remedy(last.reason)
            )
        }));
        status.problems.extend(problem.map(|problem| format!("peer {}: {problem}", peer.name)));
        status.peers.push(PeerStatus {
            peer: peer.name.to_string(),
            remote: peer.outer().map(|outer| outer.remote.to_string()),
            neighbour: path
                .as_ref()
                .and_then(|path| Some(Neighbour { address: path.neighbour?, state: path.neighbour_state.clone()? })),
            device: path.map(|path| path.device),
            sent: counters.sent,
            lost: counters.lost,
        });
    }
    if status.peers.is_empty() {
        status.problems.push("no peer: ebmirror peer add NAME --tunnel vxlan --remote ADDR --vni N".to_owned());
    }
    Ok(())
}

/// What is wrong with the way to a peer, and what to do.
fn way_problem(peer: &Peer, path: Option<&Path>) -> Option<String> {
    match (&peer.way, path) {
        (Way::Span(device), None) => {
            Some(format!("the device {device} is gone: ebmirror peer set {} --dev IFACE names another", peer.name))
        }
        (Way::Span(device), Some(path)) => {
            (!path.up).then(|| format!("{device} is down, or has no carrier: ip link set {device} up"))
        }
        (Way::Tunnel(outer), None) => {
            let remote = outer.remote;
            let dev = outer.dev.as_ref().map_or_else(String::new, |device| format!(" dev {device}"));
            Some(format!("there is no route to {remote}{dev}: ip route get {remote}"))
        }
        (Way::Tunnel(outer), Some(path)) if path.on_host != outer.on_host => Some(format!(
            "{} {} an address of this host since the peer was set: ebmirror peer set {} takes note of it",
            outer.remote,
            if path.on_host { "has become" } else { "is no longer" },
            peer.name
        )),
        (Way::Tunnel(_), Some(path)) => path.silent().map(|(neighbour, question)| {
            let device = &path.device;
            format!("{neighbour} does not answer {question} on {device}: is it up, and on that network?")
        }),
    }
}

fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRoute => "ip route get shows what the kernel would do",
        Reason::NoNeighbour => "is the collector, or the gateway to it, up?",
        Reason::ForwardingOff | Reason::StageFull => "ebmirror pin mends the stage",
        Reason::TooBig => {
            "the way to the collector needs a larger MTU (ebmirror peer show), or --oversize fragment or truncate"
        }
        Reason::Loop => "the route leads into ebm0: remove it",
        Reason::NotEthernet => "the way leads over a device that takes copies of IP frames alone",
        Reason::NoRoom | Reason::NoMemory => "ebmirror peer show tells how many; the kernel's log (dmesg) may tell why",
        Reason::Rate => "the peer's rate is used up",
    }
}
