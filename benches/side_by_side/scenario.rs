//! Who mirrors in a lane, and the proof that it does.

use ebmirror::lab::network::Host;
use ebmirror::lab::random::Random;
use ebmirror::model::interface::Direction;
use ebmirror::model::{Code, Error, Result};
use serde::Serialize;

use super::flow::{Mix, strangers};
use super::lane::{Lane, TAP, Tools, UNDERLAY, add_vxlan_sender, tool};
use super::program::attach_clone;
use super::traffic::{Live, Traffic, other_cpu};
use super::userspace::Sending;

/// Flows of the traffic that no rule chooses.
pub const FLOWS: u32 = 4096;
/// Frames that must arrive, decoded by the kernel, before anything is timed.
const PROOF_FRAMES: usize = 1024;

/// Who mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// A: nobody. What the others add is measured against it.
    Nothing,
    /// B: a program that clones the frame to the underlay as it is: the floor of what a clone costs.
    Clone,
    /// C: ebmirror, VXLAN.
    Ebmirror,
    /// The same with a peer that wants the segments of the wire.
    Wire,
    /// D: a `u32` filter that matches all, and `mirred` into a vxlan device.
    Mirred,
    /// E: a program in user space that reads a ring and sends datagrams, on a processor of its own.
    Userspace,
    /// The same with many datagrams a system call.
    Batching,
}

/// What a lane is like.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The processor of the traffic.
    pub cpu: usize,
    /// The underlay has no transmit offloads.
    pub plain_nic: bool,
    pub underlay_mtu: u32,
    /// The copies end behind the collector's own decoder, and not in front of its stack.
    pub decoded: bool,
    /// How many collectors there are.
    pub peers: u32,
}

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "A nothing",
            Self::Clone => "B bare clone",
            Self::Ebmirror => "C ebmirror",
            Self::Wire => "C --gso wire",
            Self::Mirred => "D u32 + mirred",
            Self::Userspace => "E user space",
            Self::Batching => "E sendmmsg",
        }
    }

    /// How many copies of a frame reach the collector.
    pub fn copies(self, peers: u32) -> u64 {
        if self == Self::Nothing { 0 } else { peers.into() }
    }

    /// Whether there is an instance of ebmirror.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ebmirror | Self::Wire)
    }

    /// A lane where it is at work, proven to deliver what the kernel decodes, and which then ends at the sink.
    pub fn lane(self, tools: &Tools, setup: Setup, random: &mut Random) -> Result<Lane> {
        let mut lane = Lane::new(setup.underlay_mtu)?;
        if setup.plain_nic {
            lane.host.offloads_off(UNDERLAY)?;
        }
        match self {
            Self::Nothing => {}
            Self::Clone => {
                for direction in Direction::ALL {
                    let attached = attach_clone(&lane.host, TAP, direction, UNDERLAY)?;
                    lane.keep(attached);
                }
            }
            Self::Ebmirror => lane.mirror(tools, setup.peers, &[])?,
            Self::Wire => lane.mirror(tools, setup.peers, &["--gso", "wire"])?,
            Self::Mirred => mirred(&lane.host, setup.peers)?,
            Self::Userspace => lane.mirror_from_userspace(other_cpu(setup.cpu), Sending::One)?,
            Self::Batching => lane.mirror_from_userspace(other_cpu(setup.cpu), Sending::Many)?,
        }
        if !matches!(self, Self::Nothing | Self::Clone) {
            self.prove(&lane, setup, random)?;
            if setup.decoded {
                lane.sink_decoded()?;
                return Ok(lane);
            }
        }
        lane.sink()?;
        Ok(lane)
    }

    fn prove(self, lane: &Lane, setup: Setup, random: &mut Random) -> Result<()> {
        lane.receive()?;
        let traffic = Live::new(&strangers(FLOWS), Mix::Uniform, 60, random)?.copied(setup.peers);
        loop {
            let (before, dropped) = (lane.received()?, queue_drops());
            traffic.send(lane, setup.cpu, PROOF_FRAMES)?;
            let received = settled(lane)? - before;
            let dropped = queue_drops() - dropped;
            match (received as usize == PROOF_FRAMES, dropped) {
                (true, _) => return Ok(()),
                // The queue is the whole machine's: somebody else has filled it.
                (false, 1..) => {}
                (false, 0) => {
                    let what = format!("{}: {received} of {PROOF_FRAMES} copies were decoded", self.name());
                    return Err(Error::new(Code::Failed, what));
                }
            }
        }
    }
}

/// What the kernel's own receiver has decoded, once nothing comes any more.
fn settled(lane: &Lane) -> Result<u64> {
    let mut last = lane.received()?;
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let received = lane.received()?;
        if received == last {
            return Ok(last);
        }
        last = received;
    }
}

/// Packets that the queues of all processors had no room for.
fn queue_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    text.lines().filter_map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok()).sum()
}

/// What people use today: one filter, with an action for each collector.
fn mirred(host: &Host, peers: u32) -> Result<()> {
    let devices = (0..peers).map(|number| add_vxlan_sender(host, number)).collect::<Result<Vec<_>>>()?;
    let actions: String = devices.iter().map(|device| format!(" action mirred egress mirror dev {device}")).collect();
    tool(host, &format!("tc qdisc add dev {TAP} clsact"), "")?;
    for direction in Direction::ALL {
        let add = format!("tc filter add dev {TAP} {direction} protocol all prio 1 u32 match u32 0 0{actions}");
        tool(host, &add, "")?;
    }
    Ok(())
}
