//! A sieve in front of the tables, for the flows that no rule wants: `bpf/abi_rules.h` says how it is read. It is the idea of bit
//! vectors (Lakshman and Stiliadis, SIGCOMM 1998) with a vector for each value of a byte in place of each range of a field, so
//! that nothing has to be searched for.

use super::entry::{Entry, Range};
use super::field::{Field, ViewField};

#[cfg(test)]
mod tests;

/// Rows: bytes of a flow.
pub const ROWS: usize = 13;
/// Values of a byte.
pub const VALUES: usize = 256;
/// The first of the rows of the source address, four.
pub const SRC: usize = 0;
/// Of the destination address, four.
pub const DST: usize = 4;
/// Of the source port, two.
pub const SPORT: usize = 8;
/// Of the destination port, two.
pub const DPORT: usize = 10;
/// The row of the protocol.
pub const PROTOCOL: usize = 12;
/// What is added to it over IPv6.
pub const SIX: u8 = 128;

/// Bits of an element: boxes, at most.
const BITS: usize = 64;
/// Entries beyond which nobody tries to make so few boxes of them.
const ENTRIES: usize = 256;
/// The protocols that are asked about, by the type of Ethernet.
const ASKED: [(u32, u8, [u8; 3]); 2] = [(IP, 0, [1, 6, 17]), (IP6, SIX, [6, 17, 58])];
/// A sieve that lets more than this share of all flows pass is not worth asking.
const USEFUL: f64 = 0.75;

const IP: u32 = 0x0800;
const IP6: u32 = 0x86dd;

/// For each value of each byte, the boxes that it may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sieve {
    /// By row and value.
    pub allowed: Box<[[u64; VALUES]; ROWS]>,
}

impl Sieve {
    /// That of these rules; None where it would be too large, or let nearly everything pass.
    pub fn of(rules: &[Vec<Entry>]) -> Option<Sieve> {
        let boxes = boxes(rules.iter().flatten())?;
        if boxes.len() > BITS || boxes.iter().map(ByteBox::share).sum::<f64>() > USEFUL {
            return None;
        }
        let mut allowed = Box::new([[0; VALUES]; ROWS]);
        for (bit, found) in boxes.iter().enumerate() {
            for (row, values) in allowed.iter_mut().zip(&found.rows) {
                for (value, allowed) in row.iter_mut().enumerate() {
                    *allowed |= u64::from(values.has(value as u8)) << bit;
                }
            }
        }
        Some(Sieve { allowed })
    }
}

/// What is in the entries, in as few boxes as do not let more pass. None where there are too many entries.
fn boxes<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<Vec<ByteBox>> {
    let mut boxes: Vec<ByteBox> = Vec::new();
    for (number, mut new) in entries.filter_map(ByteBox::of).enumerate() {
        if number == ENTRIES {
            return None;
        }
        while let Some((at, both)) = boxes.iter().enumerate().find_map(|(at, old)| Some((at, old.or(&new)?))) {
            boxes.swap_remove(at);
            new = both;
        }
        boxes.push(new);
    }
    Some(boxes)
}

/// Values of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; VALUES / 64]);

impl Bytes {
    fn has(self, value: u8) -> bool {
        self.0[usize::from(value) / 64] >> (value % 64) & 1 != 0
    }

    fn add(&mut self, value: u8) {
        self.0[usize::from(value) / 64] |= 1 << (value % 64);
    }

    fn or(self, other: Bytes) -> Bytes {
        Bytes(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn is_in(self, other: Bytes) -> bool {
        self.or(other) == other
    }

    fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// What this byte, with so many bits behind it, can be of a number in the range.
    fn of(range: Range, behind: u32) -> Bytes {
        let (low, high) = (range.low >> behind, range.high >> behind);
        let mut bytes = Bytes::default();
        for value in low..=high.min(low.saturating_add(VALUES as u32 - 1)) {
            bytes.add((value & 0xff) as u8);
        }
        bytes
    }
}

/// The flows each of whose bytes is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByteBox {
    rows: [Bytes; ROWS],
}

impl ByteBox {
    /// The flows that may be in an entry, and others. None when there are none.
    fn of(entry: &Entry) -> Option<ByteBox> {
        let of = |field| entry.range(Field::view(0, field));
        let mut rows = [Bytes::default(); ROWS];
        for (family, number, protocols) in ASKED {
            for protocol in protocols {
                if of(ViewField::EtherType).has(family) && of(ViewField::Protocol).has(protocol.into()) {
                    rows[PROTOCOL].add(number + protocol);
                }
            }
        }
        if rows[PROTOCOL].count() == 0 {
            return None;
        }
        let mut bytes_of = |first: usize, bytes: usize, field: ViewField| {
            for byte in 0..bytes {
                rows[first + byte] = Bytes::of(of(field), 8 * (bytes - 1 - byte) as u32);
            }
        };
        bytes_of(SPORT, 2, ViewField::SrcPort);
        bytes_of(DPORT, 2, ViewField::DstPort);
        if of(ViewField::EtherType).has(IP) {
            bytes_of(SRC, 4, ViewField::Src0);
            bytes_of(DST, 4, ViewField::Dst0);
        }
        Some(ByteBox { rows })
    }

    /// Both, as one box that lets nothing else pass. None when they make none.
    fn or(&self, other: &ByteBox) -> Option<ByteBox> {
        let (one, other) = (self.with_addresses_of(other), other.with_addresses_of(self));
        let differ = one.rows.iter().zip(other.rows).filter(|(row, other)| **row != *other).count();
        let rows = std::array::from_fn(|row| one.rows[row].or(other.rows[row]));
        (differ <= 1 || one.is_in(&other) || other.is_in(&one)).then_some(ByteBox { rows })
    }

    /// Of IPv6 addresses are not looked at: a box without IPv4 may have any.
    fn with_addresses_of(&self, other: &ByteBox) -> ByteBox {
        let mut rows = self.rows;
        if self.protocols4() == 0 {
            rows[..SPORT].copy_from_slice(&other.rows[..SPORT]);
        }
        ByteBox { rows }
    }

    fn protocols4(&self) -> usize {
        ASKED[0].2.iter().filter(|protocol| self.rows[PROTOCOL].has(**protocol)).count()
    }

    fn is_in(&self, other: &ByteBox) -> bool {
        self.rows.iter().zip(other.rows).all(|(row, other)| row.is_in(other))
    }

    /// The share of all flows over IPv4 that it lets pass.
    fn share(&self) -> f64 {
        let bytes: f64 = self.rows[..PROTOCOL].iter().map(|row| f64::from(row.count()) / VALUES as f64).product();
        bytes * self.protocols4() as f64 / ASKED[0].2.len() as f64
    }
}
