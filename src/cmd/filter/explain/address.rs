//! Addresses in the conditions of a table entry: words of 32 bits put together again.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::words::{condition, given, single};
use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::Field;

/// What is added to the first bytes of a group's MAC address.
const GROUP: u32 = 0x1_0000;

pub(super) fn mac(entry: &Entry, name: &str, high: Field, low: Field, found: &mut Vec<(String, String)>) {
    let of = |high: u32, low: u32| {
        let bytes = (u64::from(high & 0xffff) << 32 | u64::from(low)).to_be_bytes();
        bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    };
    match (single(entry, high), single(entry, low), given(entry, high), given(entry, low)) {
        (Some(high), Some(low), ..) => found.push((name.to_owned(), of(high, low))),
        (_, _, Some(range), None) if range == Range::new(GROUP, high.max()) => {
            found.push((name.to_owned(), "multicast".to_owned()));
        }
        (_, _, Some(range), None) if range == Range::new(0, GROUP - 1) => {
            found.push((name.to_owned(), "unicast".to_owned()));
        }
        _ => {
            found.extend(condition(entry, high, |value| format!("{value:#x}")));
            found.extend(condition(entry, low, |value| format!("{value:#x}")));
        }
    }
}

/// An address or a network, where the words are one; else word by word.
pub(super) fn address(entry: &Entry, fields: [Field; 4], is_ip6: bool, found: &mut Vec<(String, String)>) {
    let ranges = fields.map(|field| given(entry, field));
    let name = || fields[0].to_string();
    let count = if is_ip6 { 4 } else { 1 };
    if ranges.iter().any(Option::is_some)
        && ranges[count..].iter().all(Option::is_none)
        && let Some(prefix) = prefix(&ranges[..count])
    {
        let value =
            ranges.iter().fold(0u128, |value, range| value << 32 | u128::from(range.map_or(0, |range| range.low)));
        let ip4 = || Ipv4Addr::from((value >> 96) as u32).to_string();
        let address = if is_ip6 { Ipv6Addr::from(value).to_string() } else { ip4() };
        let whole = prefix == 32 * count as u32;
        found.push((name(), if whole { address } else { format!("{address}/{prefix}") }));
        return;
    }
    for field in fields {
        let word = |value| if is_ip6 { format!("{value:#010x}") } else { Ipv4Addr::from(value).to_string() };
        found.extend(condition(entry, field, word));
    }
}

/// The bits of the prefix that these words must have; None when they are no network.
fn prefix(words: &[Option<Range>]) -> Option<u32> {
    let mut bits = 0;
    let mut ended = false;
    for word in words {
        let free = match word {
            None => 32,
            Some(Range { low, high }) => {
                let free = 32 - (low ^ high).leading_zeros();
                let rest = (1u64 << free) - 1;
                let is_block = u64::from(*low) & rest == 0 && u64::from(*high) & rest == rest;
                is_block.then_some(free)?
            }
        };
        if ended && free != 32 {
            return None;
        }
        bits += 32 - free;
        ended = free > 0;
    }
    Some(bits)
}
