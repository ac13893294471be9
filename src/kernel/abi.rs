//! The types of the pinned maps, as the skeleton gives them, and their conversion from and to the model. Byte order
//! and C's enums end here.

mod peer;
pub mod rules;

use std::mem::{size_of, size_of_val};
use std::ptr;

pub use peer::{peer, raw_peer};

pub use super::skel::types::{
    ebm_active, ebm_config as Config, ebm_control as Control, ebm_counter, ebm_direction, ebm_gso, ebm_iface as Iface,
    ebm_iface_stats as IfaceStats, ebm_limit, ebm_loss as Loss, ebm_meta as Meta, ebm_node, ebm_oversize,
    ebm_peer as RawPeer, ebm_peer_flag, ebm_peer_stats as RawPeerStats, ebm_reason, ebm_rule,
    ebm_rule_stats as RawRuleStats, ebm_rules_limit, ebm_schema, ebm_sieve, ebm_tunnel,
};
use crate::model::interface::{Direction, Directions};
use crate::model::stats::{Counter, Reason};

/// The layout of the pinned maps that this program understands.
pub const SCHEMA: u32 = ebm_schema::EBM_SCHEMA_CURRENT.0;
/// Peers an instance.
pub const PEERS: usize = ebm_limit::EBM_LIMIT_PEERS.0 as usize;
/// Interfaces an instance.
pub const INTERFACES: usize = ebm_limit::EBM_LIMIT_INTERFACES.0 as usize;
/// Buckets of the interface table.
pub const BUCKETS: usize = ebm_limit::EBM_LIMIT_BUCKETS.0 as usize;
/// The longest probe sequence in it.
pub const PROBES: usize = ebm_limit::EBM_LIMIT_PROBES.0 as usize;

/// A type of the pinned maps: integers and arrays of them, no padding, every bit pattern valid.
///
/// # Safety
/// The implementor must be just that.
pub unsafe trait Pod: Copy {
    /// The value's bytes, in host order.
    fn bytes(&self) -> &[u8] {
        // SAFETY: no padding, so that every byte is initialised; the slice lives as long as the value.
        unsafe { std::slice::from_raw_parts(ptr::from_ref(self).cast(), size_of_val(self)) }
    }

    /// The value of these bytes. None when there are too few.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: there are enough bytes, any pattern is valid, and the read does not need alignment.
        (bytes.len() >= size_of::<Self>()).then(|| unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
    }

    /// All bits zero.
    fn zeroed() -> Self {
        // SAFETY: every bit pattern is valid.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! pod {
    ($($type:ty = $size:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: integers and arrays; bpf/abi.h asserts the same size, which is the sum of its members'.
        unsafe impl Pod for $type {}
    )*};
}
pod!(
    u32 = 4,
    Control = 16,
    Meta = 32,
    Config = 292,
    RawPeer = 152,
    Iface = 64,
    IfaceStats = 112,
    RawPeerStats = 304,
    Loss = 16,
    ebm_rule = 32,
    ebm_sieve = 26_624,
    ebm_node = 16,
    RawRuleStats = 16_384,
    rules::Block = 4_096,
);

/// Counters of one kind that add up and can be subtracted.
pub trait Sum: Pod {
    /// Adds the other's counters to these.
    fn add(&mut self, other: &Self);
    /// Takes the other's counters from these.
    fn sub(&mut self, other: &Self);
}

fn counters_of<T: Pod>(value: &mut T) -> &mut [u64] {
    // SAFETY: the statistics types are made of nothing but 64-bit counters (struct ebm_counter), aligned as such.
    unsafe { std::slice::from_raw_parts_mut(ptr::from_mut(value).cast(), size_of::<T>() / size_of::<u64>()) }
}

macro_rules! sum {
    ($($type:ty),*) => {$(
        impl Sum for $type {
            fn add(&mut self, other: &Self) {
                let mut other = *other;
                for (a, b) in counters_of(self).iter_mut().zip(counters_of(&mut other)) {
                    *a = a.wrapping_add(*b);
                }
            }

            fn sub(&mut self, other: &Self) {
                let mut other = *other;
                for (a, b) in counters_of(self).iter_mut().zip(counters_of(&mut other)) {
                    *a = a.wrapping_sub(*b);
                }
            }
        }
    )*};
}
sum!(IfaceStats, RawPeerStats, RawRuleStats);

impl From<ebm_counter> for Counter {
    fn from(counter: ebm_counter) -> Self {
        Counter { packets: counter.packets, bytes: counter.bytes }
    }
}

/// The bit of a direction in `Iface::directions`.
pub fn direction_bit(direction: Direction) -> u8 {
    match direction {
        Direction::Ingress => ebm_direction::EBM_DIRECTION_INGRESS.0 as u8,
        Direction::Egress => ebm_direction::EBM_DIRECTION_EGRESS.0 as u8,
    }
}

/// The bits of these directions.
pub fn direction_bits(directions: Directions) -> u8 {
    directions.iter().map(direction_bit).fold(0, |bits, bit| bits | bit)
}

/// The index of an interface's counters in a bank.
pub fn iface_index(bank: u32, slot: u32, direction: Direction) -> u32 {
    (bank * INTERFACES as u32 + slot) * 2 + u32::from(direction_bit(direction)) - 1
}

/// The kernel's number of a reason.
pub fn reason_number(reason: Reason) -> usize {
    let number = match reason {
        Reason::NoRoute => ebm_reason::EBM_REASON_NO_ROUTE,
        Reason::NoNeighbour => ebm_reason::EBM_REASON_NO_NEIGHBOUR,
        Reason::ForwardingOff => ebm_reason::EBM_REASON_FORWARDING_OFF,
        Reason::TooBig => ebm_reason::EBM_REASON_TOO_BIG,
        Reason::NoRoom => ebm_reason::EBM_REASON_NO_ROOM,
        Reason::Rate => ebm_reason::EBM_REASON_RATE,
        Reason::Loop => ebm_reason::EBM_REASON_LOOP,
        Reason::StageFull => ebm_reason::EBM_REASON_STAGE_FULL,
        Reason::NotEthernet => ebm_reason::EBM_REASON_NOT_ETHERNET,
        Reason::NoMemory => ebm_reason::EBM_REASON_NO_MEMORY,
    };
    number.0 as usize
}

/// The reason of this number in the kernel. None for one that a newer version gave.
pub fn reason_of(number: u32) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason_number(*reason) == number as usize)
}

/// The text before the first zero byte.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_counters_and_nothing_else() {
        let mut sum = IfaceStats::zeroed();
        let mut one = IfaceStats::zeroed();
        one.copies.bytes = 3;
        one.seen.packets = 2;
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.seen.packets, sum.copies.bytes), (4, 6));
        sum.sub(&one);
        assert_eq!((sum.seen.packets, sum.copies.bytes), (2, 3));
    }
}
