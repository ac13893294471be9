//! `ebmirror status`: is it working?

mod peers;
mod report;

use peers::look_at_peers;
use report::{Interface, Status};

use super::Ctx;
use crate::kernel::abi;
use crate::kernel::instance::{self, Instance};
use crate::kernel::interfaces::boot_time_ns;
use crate::kernel::pins::Access;
use crate::kernel::stage;
use crate::model::Result;
use crate::model::interface::Direction;
use crate::model::rule::Action;
use crate::model::stats::Stats;
use crate::output::Report;

/// A tap may have this many frames fewer than its device before it is called blind: frames in flight, and those that
/// drivers count and drop before the hook.
const MISSED_TOLERANCE: u64 = 64;

const COLUMNS: &str = "Says \"healthy\", or what is wrong and what to do.

STOPS IN          the time that attach --for left; - = until it is detached
AHEAD OF THE TAP  programs of others that a frame meets first: what they drop or take is not mirrored
NEIGHBOUR         the collector, or the gateway to it, and what the kernel knows of it";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = COLUMNS)]
pub struct Args {}

/// Looks at everything, changes nothing.
pub fn run(_: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
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
            look_at_rules(&instance, &mut status)?;
            status.unaccounted = stats.unaccounted;
        }
    }
    status.problems.iter_mut().for_each(|problem| *problem = ctx.as_typed(problem));
    status.healthy = status.problems.is_empty();
    Ok(Box::new(status))
}

fn look_at_stage(instance: &Instance, status: &mut Status) -> Result<()> {
    let bridge = stage::BRIDGE;
    let problem = match instance.stage()? {
        None => Some(format!(
            "a device of the stage ({bridge}, {}, {}) is gone, and copies are lost",
            stage::PORT,
            stage::PORT_PEER
        )),
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

fn look_at_rules(instance: &Instance, status: &mut Status) -> Result<()> {
    let set = instance.rules()?.set;
    status.rules = set.rules.len();
    status.unmatched = set.unmatched();
    if status.unmatched == Action::Skip && set.rules.iter().all(|rule| rule.action == Action::Skip) {
        let problem = "nothing is mirrored: no rule mirrors, and frames that no rule matches are skipped";
        status.problems.push(format!("{problem}: ebmirror filter default auto"));
    }
    Ok(())
}
