//! The books: what the datapath counted, and whether it adds up. The unit is the original frame on the wire, before any
//! cut: a super-packet counts its segments.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Sub};

use serde::Serialize;

use super::interface::{Direction, InterfaceName};
use super::peer::PeerName;
use super::rule::{Action, Priority, RuleId};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Wire packets.
    pub packets: u64,
    /// Wire bytes, from the Ethernet header on.
    pub bytes: u64,
}

impl AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

impl Sub for Counter {
    type Output = Counter;

    /// Never below zero.
    fn sub(self, other: Self) -> Self {
        Counter { packets: self.packets.saturating_sub(other.packets), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

/// Why a copy did not leave. Names and numbers are never given to another reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The kernel has no route to the collector.
    NoRoute,
    /// The collector, or the gateway to it, does not answer ARP.
    NoNeighbour,
    /// Somebody switched forwarding off on the stage device.
    ForwardingOff,
    /// The copy does not fit the path.
    TooBig,
    /// The kernel could not make room for the outer headers.
    NoRoom,
    /// The peer's rate is used up.
    Rate,
    /// The route to the collector leads back into the stage.
    Loop,
    /// The stage was full.
    StageFull,
    /// The device has no Ethernet header.
    NotEthernet,
    /// The kernel was out of memory.
    NoMemory,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 10] = [
        Reason::NoRoute,
        Reason::NoNeighbour,
        Reason::ForwardingOff,
        Reason::TooBig,
        Reason::NoRoom,
        Reason::Rate,
        Reason::Loop,
        Reason::StageFull,
        Reason::NotEthernet,
        Reason::NoMemory,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NoRoute => "no_route",
            Reason::NoNeighbour => "no_neighbour",
            Reason::ForwardingOff => "forwarding_off",
            Reason::TooBig => "too_big",
            Reason::NoRoom => "no_room",
            Reason::Rate => "rate",
            Reason::Loop => "loop",
            Reason::StageFull => "stage_full",
            Reason::NotEthernet => "not_ethernet",
            Reason::NoMemory => "no_memory",
        })
    }
}

/// The counters of the taps. `seen = own + skipped + selected`; `selected = cloned + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TapCounters {
    /// Every frame.
    pub seen: Counter,
    /// Copies of this instance.
    pub own: Counter,
    /// Frames that nobody wanted.
    pub skipped: Counter,
    /// Frames to be mirrored.
    pub selected: Counter,
    /// Frames whose clone reached the stage.
    pub cloned: Counter,
    /// Frames that could not be cloned.
    pub lost: Counter,
    /// Over the cloned frames: the destinations asked for.
    pub copies: Counter,
}

impl AddAssign for TapCounters {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.own += other.own;
        self.skipped += other.skipped;
        self.selected += other.selected;
        self.cloned += other.cloned;
        self.lost += other.lost;
        self.copies += other.copies;
    }
}

impl TapCounters {
    /// Packets that the counters do not account for.
    pub fn remainder(&self) -> u64 {
        let seen = self.own.packets + self.skipped.packets + self.selected.packets;
        self.seen.packets.abs_diff(seen) + self.selected.packets.abs_diff(self.cloned.packets + self.lost.packets)
    }
}

/// One direction of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceStats {
    /// Its name; of a device that is gone, the name it had.
    pub interface: InterfaceName,
    /// Its number.
    pub ifindex: u32,
    /// The direction.
    pub direction: Direction,
    /// The counters.
    #[serde(flatten)]
    pub counters: TapCounters,
}

/// One peer. `selected = sent + lost`; `lost` is the sum of the reasons; `truncated` is a part of `sent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStats {
    /// Its name.
    pub peer: PeerName,
    /// The counters.
    #[serde(flatten)]
    pub counters: PeerCounters,
}

/// The counters of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounters {
    /// Copies asked for.
    pub selected: Counter,
    /// Copies handed to the output device.
    pub sent: Counter,
    /// Of these, the ones that were cut to fit the path.
    pub truncated: Counter,
    /// Copies that did not leave.
    pub lost: Counter,
    /// The same by reason.
    pub reasons: BTreeMap<Reason, Counter>,
}

impl PeerCounters {
    /// Packets that the counters do not account for.
    pub fn remainder(&self) -> u64 {
        self.selected.packets.abs_diff(self.sent.packets + self.lost.packets)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStats {
    /// Its number.
    pub id: RuleId,
    /// Its place among the others.
    pub priority: Priority,
    /// What becomes of the frames.
    pub action: Action,
    /// Frames that it was the first to match, sampled or not.
    pub matched: Counter,
}

/// The latest loss of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LastLoss {
    /// Why.
    pub reason: Reason,
    /// Seconds from then until now.
    pub seconds_ago: f64,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The interfaces that are attached, both directions of each where both are mirrored.
    pub interfaces: Vec<InterfaceStats>,
    /// The peers.
    pub peers: Vec<PeerStats>,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<RuleStats>,
    /// Copies that deleted peers had been asked for.
    pub retired: Counter,
    /// What interfaces that are attached no more had counted.
    pub detached: TapCounters,
    /// Packets that the counters do not account for: 0 when idle.
    pub unaccounted: u64,
}
