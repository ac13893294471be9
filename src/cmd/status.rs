//! `ebmirror status`: is it working?

use serde::Serialize;

use super::Ctx;
use crate::kernel::abi;
use crate::kernel::attach::boot_time_ns;
use crate::kernel::collector;
use crate::kernel::instance::Instance;
use crate::kernel::pins::Access;
use crate::kernel::stage;
use crate::model::Result;
use crate::model::interface::{Direction, Mode};
use crate::model::stats::{Counter, Stats};
use crate::output::{JsonStyle, Report, document, table};

/// A tap may have this many frames fewer than its device before it is called blind: frames in flight, and those that
/// drivers count and drop before the hook.
const MISSED_TOLERANCE: u64 = 64;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Default, Serialize)]
struct Status {
    healthy: bool,
    directory: String,
    interfaces: Vec<Interface>,
    peers: Vec<PeerStatus>,
    unaccounted: u64,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Interface {
    interface: String,
    direction: Direction,
    mode: Option<Mode>,
    seen: Counter,
    /// Seconds until the tap stops by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    stops_in_seconds: Option<u64>,
    /// Programs of others that frames meet before the tap.
    ahead: Vec<String>,
}

#[derive(Serialize)]
struct PeerStatus {
    peer: String,
    remote: String,
    device: Option<String>,
    neighbour: Option<String>,
    sent: Counter,
    lost: Counter,
}

/// Looks at everything, changes nothing.
pub fn run(_: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let mut status = Status { directory: ctx.place.dir().display().to_string(), ..Status::default() };
    match Instance::open(&ctx.place, Access::Read)? {
        None => status.problems.push("nothing is loaded: ebmirror attach IFACE, ebmirror peer add …".to_owned()),
        Some(instance) => {
            let stats = instance.stats()?;
            look_at_stage(&instance, &mut status)?;
            look_at_interfaces(&instance, &stats, &mut status)?;
            look_at_peers(&instance, &stats, &mut status)?;
            status.unaccounted = stats.unaccounted;
        }
    }
    status.healthy = status.problems.is_empty();
    Ok(Box::new(status))
}

fn look_at_stage(instance: &Instance, status: &mut Status) -> Result<()> {
    let mend = "any command that changes something mends it: ebmirror pin";
    match instance.stage()? {
        None => status.problems.push(format!("the stage device {} is gone, every copy is lost; {mend}", stage::BRIDGE)),
        Some(found) if !instance.stage_is_attached(found)? => {
            status.problems.push(format!("somebody detached the program of {}; {mend}", stage::BRIDGE));
        }
        Some(_) if !stage::forwarding() => {
            status.problems.push(format!("somebody switched forwarding off on {}; {mend}", stage::BRIDGE));
        }
        Some(_) => {}
    }
    Ok(())
}

fn look_at_interfaces(instance: &Instance, stats: &Stats, status: &mut Status) -> Result<()> {
    let now = boot_time_ns()?;
    for (_, iface) in instance.interfaces() {
        let name = abi::text(&iface.name);
        let Some(device) = instance.device(iface.ifindex)? else {
            status.problems.push(format!("the interface {name} is gone: ebmirror detach {name}"));
            continue;
        };
        let stops_in_seconds = (iface.expires_ns != 0).then(|| iface.expires_ns.saturating_sub(now) / 1_000_000_000);
        if iface.expires_ns != 0 && now >= iface.expires_ns {
            status.problems.push(format!("the time of {name} is over: ebmirror detach {name}, or attach it again"));
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
    for peer in instance.peers()?.iter().flatten() {
        let path = collector::path(instance.netlink(), peer.remote.ip(), Some(peer.local.ip()))?;
        match &path {
            None => status.problems.push(format!("peer {}: there is no route to {}", peer.name, peer.remote)),
            Some(path) if path.neighbour_state == "FAILED" => status
                .problems
                .push(format!("peer {}: {} does not answer ARP on {}", peer.name, path.neighbour, path.device)),
            Some(_) => {}
        }
        let counters = stats.peers.iter().find(|row| row.peer == peer.name).map(|row| row.counters.clone());
        let counters = counters.unwrap_or_default();
        status.peers.push(PeerStatus {
            peer: peer.name.to_string(),
            remote: peer.remote.to_string(),
            neighbour: path.as_ref().map(|path| format!("{} {}", path.neighbour, path.neighbour_state)),
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

impl Report for Status {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("status", self, style)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", if self.healthy { "healthy" } else { "NOT HEALTHY" });
        for problem in &self.problems {
            text += &format!("  - {problem}\n");
        }
        if !self.interfaces.is_empty() {
            let rows = self.interfaces.iter().map(|row| {
                vec![
                    row.interface.clone(),
                    row.direction.to_string(),
                    row.mode.map_or_else(|| "-".to_owned(), |mode| mode.to_string()),
                    row.seen.packets.to_string(),
                    row.stops_in_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
                    if row.ahead.is_empty() { "-".to_owned() } else { row.ahead.join(", ") },
                ]
            });
            text += "\n";
            text += &table(&["interface", "direction", "mode", ">seen", ">stops in", "ahead of the tap"], rows);
        }
        if !self.peers.is_empty() {
            let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            let rows = self.peers.iter().map(|row| {
                vec![
                    row.peer.clone(),
                    row.remote.clone(),
                    or_none(&row.device),
                    or_none(&row.neighbour),
                    row.sent.packets.to_string(),
                    row.lost.packets.to_string(),
                ]
            });
            text += "\n";
            text += &table(&["peer", "remote", "device", "neighbour", ">sent", ">lost"], rows);
        }
        text + &format!("\nunaccounted {}\n", self.unaccounted)
    }

    fn exit(&self) -> u8 {
        u8::from(!self.healthy)
    }
}
