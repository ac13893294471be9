//! `ebmirror status`: is it working?

mod report;

use report::{Interface, Neighbour, PeerStatus, Status};

use super::Ctx;
use crate::kernel::abi;
use crate::kernel::collector;
use crate::kernel::instance::{self, Instance};
use crate::kernel::interfaces::boot_time_ns;
use crate::kernel::pins::Access;
use crate::kernel::stage;
use crate::model::Result;
use crate::model::interface::Direction;
use crate::model::stats::{Reason, Stats};
use crate::output::Report;

/// A tap may have this many frames fewer than its device before it is called blind: frames in flight, and those that
/// drivers count and drop before the hook.
const MISSED_TOLERANCE: u64 = 64;

const COLUMNS: &str = "Says \"healthy\", or what is wrong and what to do.

STOPS IN          the time that attach --for left; - = until it is detached
AHEAD OF THE TAP  programs of others that a frame meets first: what they drop or take is not mirrored
NEIGHBOUR         the collector, or the gateway to it, and what the kernel knows of it";

/// A loss this long ago is no news.
const RECENT_SECONDS: f64 = 10.0;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = COLUMNS)]
pub struct Args {}

/// Looks at everything, changes nothing. `as_typed` makes the commands in the problems complete.
pub fn run(_: &Args, ctx: &Ctx, as_typed: impl Fn(&str) -> String) -> Result<Box<dyn Report>> {
    let mut status = Status { directory: ctx.place.dir().display().to_string(), ..Status::default() };
    match Instance::open(&ctx.place, Access::Read)? {
        None => status.problems.push(match instance::has_leftovers(&ctx.place) {
            false => "nothing is loaded: ebmirror attach IFACE, ebmirror peer add …".to_owned(),
            true => "an instance has lost its pins: ebmirror unpin --force removes what is left of it".to_owned(),
        }),
        Some(instance) => {
            let stats = instance.stats()?;
            look_at_stage(&instance, &mut status)?;
            look_at_interfaces(&instance, &stats, &mut status)?;
            look_at_peers(&instance, &stats, &mut status)?;
            status.unaccounted = stats.unaccounted;
        }
    }
    status.problems.iter_mut().for_each(|problem| *problem = as_typed(problem));
    status.healthy = status.problems.is_empty();
    Ok(Box::new(status))
}

fn look_at_stage(instance: &Instance, status: &mut Status) -> Result<()> {
    let bridge = stage::BRIDGE;
    let problem = match instance.stage()? {
        None => Some(format!("the stage device {bridge} is gone, every copy is lost")),
        Some(found) if !instance.stage_is_attached(found)? => {
            Some(format!("somebody detached the program of {bridge}, every copy is lost"))
        }
        Some(_) if !instance.layer3_is_whole()? => {
            let device = stage::LAYER3;
            Some(format!("somebody took {device} or its program away, copies of packets without Ethernet are lost"))
        }
        Some(_) => stage::fault(instance.netlink())?,
    };
    status.problems.extend(problem.map(|problem| format!("{problem}: ebmirror pin mends it")));
    Ok(())
}

fn look_at_interfaces(instance: &Instance, stats: &Stats, status: &mut Status) -> Result<()> {
    let now = boot_time_ns()?;
    for (_, iface) in instance.interfaces()? {
        let name = abi::text(&iface.name);
        let Some(device) = instance.device(iface.ifindex)? else {
            status.problems.push(format!("the interface {name} is gone: ebmirror detach {name}"));
            continue;
        };
        let stops_in_seconds = (iface.expires_ns != 0).then(|| iface.expires_ns.saturating_sub(now) / 1_000_000_000);
        if iface.expires_ns != 0 && now >= iface.expires_ns {
            status.problems.push(format!("the time of {name} is over: ebmirror detach {name}, or attach it again"));
        }
        if !device.up {
            status.problems.push(format!("{name} is down: ip link set {name} up"));
        }
        if iface.stopped != 0 {
            status
                .problems
                .push(format!("the tap of {name} stopped, because the stage was gone: ebmirror pin mends it"));
        }
        if iface.quiet != 0 {
            status.problems.push(format!("a change of the tap of {name} was cut short: ebmirror pin mends it"));
        }
        let taps = instance.taps(iface.ifindex)?;
        for direction in Direction::ALL.into_iter().filter(|d| iface.directions & abi::direction_bit(*d) != 0) {
            let tap = taps.iter().find(|tap| tap.direction == direction);
            let row = stats.interfaces.iter().find(|row| (row.ifindex, row.direction) == (iface.ifindex, direction));
            let seen = row.map(|row| row.counters.seen).unwrap_or_default();
            if tap.is_none() {
                status.problems.push(format!(
                    "somebody detached the tap from {} {direction}: ebmirror attach {}",
                    device.name, device.name
                ));
            }
            let (counted, began) = match direction {
                Direction::Ingress => (device.rx_packets, iface.device_rx),
                Direction::Egress => (device.tx_packets, iface.device_tx),
            };
            let missed = counted.saturating_sub(began).saturating_sub(seen.packets);
            if tap.is_some()
                && stops_in_seconds != Some(0)
                && missed > MISSED_TOLERANCE + counted.saturating_sub(began) / 100
            {
                status.problems.push(format!(
                    "{} {direction}: the device counted {missed} packets that the tap did not see",
                    device.name
                ));
            }
            status.interfaces.push(Interface {
                interface: device.name.clone(),
                direction,
                mode: tap.map(|tap| tap.mode),
                seen,
                stops_in_seconds,
                ahead: tap
                    .map(|tap| {
                        tap.ahead.iter().map(|program| format!("{} ({})", program.name, program.place)).collect()
                    })
                    .unwrap_or_default(),
            });
        }
    }
    if status.interfaces.is_empty() {
        status.problems.push("no interface is attached: ebmirror attach IFACE".to_owned());
    }
    Ok(())
}

fn look_at_peers(instance: &Instance, stats: &Stats, status: &mut Status) -> Result<()> {
    for (slot, peer) in (0u32..).zip(&instance.peers()?) {
        let Some(peer) = peer else { continue };
        let path = collector::path_to(instance.netlink(), peer)?;
        let counters = stats.peers.iter().find(|row| row.peer == peer.name).map(|row| row.counters.clone());
        let counters = counters.unwrap_or_default();
        let last = instance.last_loss(slot)?.filter(|last| last.seconds_ago < RECENT_SECONDS);
        match (&path, last) {
            (None, _) => status.problems.push(format!(
                "peer {}: there is no route to {}: ip route get {}",
                peer.name, peer.remote, peer.remote
            )),
            (Some(path), _) if path.is_silent() => status.problems.push(format!(
                "peer {}: {} does not answer ARP on {}: is it up, and on that network?",
                peer.name, path.neighbour, path.device
            )),
            (_, Some(last)) => status.problems.push(format!(
                "peer {}: copies are being lost as {}, the last one {:.0} s ago: {}",
                peer.name,
                last.reason,
                last.seconds_ago,
                remedy(last.reason)
            )),
            _ => {}
        }
        status.peers.push(PeerStatus {
            peer: peer.name.to_string(),
            remote: peer.remote.to_string(),
            neighbour: path
                .as_ref()
                .map(|path| Neighbour { address: path.neighbour, state: path.neighbour_state.clone() }),
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

fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRoute => "ip route get shows what the kernel would do",
        Reason::NoNeighbour => "is the collector, or the gateway to it, up?",
        Reason::ForwardingOff | Reason::StageFull => "ebmirror pin mends the stage",
        Reason::TooBig => "the way to the collector needs an MTU 50 bytes larger than the interface's",
        Reason::Loop => "the route leads into ebm0: remove it",
        Reason::NotEthernet => "the way leads over a device that takes copies of IP frames alone",
        Reason::NoRoom | Reason::NoMemory => "ebmirror peer show tells how many; the kernel's log (dmesg) may tell why",
        Reason::Rate => "the peer's rate is used up",
    }
}
