//! Boxes and sets of them. The ranges of all boxes of an expression lie in one vector: nothing is allocated for a box.
//!
//! The boxes are kept small with what is known of keys: a word is 0 where the frame is too short for it. So a range without
//! 0 says what `CAPTURED` or `Transport` would have to say, and they are left out.

use super::LowerError;
use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::{Field, ViewField};

/// Ethernet types, as EtherType has them.
pub mod ether {
    /// IPv4.
    pub const IP: u32 = 0x0800;
    /// ARP.
    pub const ARP: u32 = 0x0806;
    /// RARP.
    pub const RARP: u32 = 0x8035;
    /// IPv6.
    pub const IP6: u32 = 0x86dd;
    /// VLAN tags, rising.
    pub const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
}

/// Protocols of IP.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u32 = 1;
    /// TCP.
    pub const TCP: u32 = 6;
    /// UDP.
    pub const UDP: u32 = 17;
    /// IPv6's fragment header.
    pub const FRAGMENT: u32 = 44;
    /// ICMPv6.
    pub const ICMP6: u32 = 58;
    /// SCTP.
    pub const SCTP: u32 = 132;
}

/// Ranges that an expression may write on its way, whatever the limit of its entries: 48 MiB.
const RANGES_MAX: usize = 4 << 20;
/// Comparisons of boxes on the way: a second or so.
const WORK_MAX: usize = 40 << 20;

/// A box: some of the ranges of a [`Boxes`], sorted by field.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    start: u32,
    count: u16,
    /// Every frame in it has at least so many bytes.
    captured: u16,
}

/// Pieces. Small sets have none that covers another.
pub type Set = Vec<Piece>;

/// The ranges of all pieces, and how much may still be done with them.
pub struct Boxes {
    ranges: Vec<(Field, Range)>,
    work: usize,
    most: usize,
}

impl Boxes {
    /// A set of more than `most` pieces is refused.
    pub fn new(most: usize) -> Boxes {
        Boxes { ranges: Vec::with_capacity(256), work: 0, most }
    }

    fn of(&self, piece: Piece) -> &[(Field, Range)] {
        &self.ranges[piece.start as usize..][..usize::from(piece.count)]
    }

    /// The piece that lies in all of these ranges. None when nothing does.
    pub fn piece(&mut self, ranges: impl IntoIterator<Item = (Field, Range)>) -> Option<Piece> {
        let start = self.ranges.len();
        for (field, range) in ranges {
            let at = start + self.ranges[start..].partition_point(|(other, _)| *other < field);
            match self.ranges.get_mut(at) {
                Some((other, old)) if *other == field => {
                    *old = Range::new(old.low.max(range.low), old.high.min(range.high));
                    if old.low > old.high {
                        self.ranges.truncate(start);
                        return None;
                    }
                }
                _ if range == all_of(field) => {}
                _ => self.ranges.insert(at, (field, range)),
            }
        }
        self.settle(start)
    }

    /// The piece as an entry.
    pub fn entry(&self, piece: Piece) -> Entry {
        let with = |entry: Entry, (field, range): &(Field, Range)| entry.with(*field, *range).unwrap_or_default();
        self.of(piece).iter().fold(Entry::default(), with)
    }

    fn spend(&mut self, work: usize) -> Result<(), LowerError> {
        self.work += work;
        if self.work > WORK_MAX || self.ranges.len() > RANGES_MAX {
            return Err(LowerError::TooMany(self.most));
        }
        Ok(())
    }

    /// What lies in both.
    fn both(&mut self, a: Piece, b: Piece) -> Option<Piece> {
        let start = self.ranges.len();
        let (mut at_a, end_a) = (a.start as usize, a.start as usize + usize::from(a.count));
        let (mut at_b, end_b) = (b.start as usize, b.start as usize + usize::from(b.count));
        while at_a < end_a && at_b < end_b {
            let ((field_a, range_a), (field_b, range_b)) = (self.ranges[at_a], self.ranges[at_b]);
            if field_a < field_b {
                self.ranges.push((field_a, range_a));
                at_a += 1;
            } else if field_b < field_a {
                self.ranges.push((field_b, range_b));
                at_b += 1;
            } else {
                let range = Range::new(range_a.low.max(range_b.low), range_a.high.min(range_b.high));
                if range.low > range.high {
                    self.ranges.truncate(start);
                    return None;
                }
                self.ranges.push((field_a, range));
                (at_a, at_b) = (at_a + 1, at_b + 1);
            }
        }
        self.ranges.extend_from_within(at_a..end_a);
        self.ranges.extend_from_within(at_b..end_b);
        self.settle(start)
    }

    /// The piece of the ranges from `start` on, without those that the others say as well. None when no frame is like that.
    fn settle(&mut self, start: usize) -> Option<Piece> {
        let Some(facts) = Facts::of(&self.ranges[start..]) else {
            self.ranges.truncate(start);
            return None;
        };
        let mut captured = facts.captured;
        let mut to = start;
        for from in start..self.ranges.len() {
            let (field, range) = self.ranges[from];
            let said = if field == Field::CAPTURED {
                let said = range.low <= facts.captured;
                captured = captured.max(range.low);
                said
            } else if let (Some(ViewField::Transport), Some(view)) = (field.view_field(), field.of_view()) {
                range.low <= facts.transport[usize::from(view)]
            } else {
                false
            };
            if !said {
                self.ranges[to] = (field, range);
                to += 1;
            }
        }
        self.ranges.truncate(to);
        // No piece has more ranges than there are fields, no frame's CAPTURED is beyond u16.
        Some(Piece { start: start as u32, count: (to - start) as u16, captured: captured as u16 })
    }

    /// Whether all frames of `b` are in `a`.
    fn covers(&self, a: Piece, b: Piece) -> bool {
        let (a, captured, b) = (self.of(a), b.captured, self.of(b));
        let mut at = 0;
        a.iter().all(|(field, range)| {
            while at < b.len() && b[at].0 < *field {
                at += 1;
            }
            if *field == Field::CAPTURED {
                return range.low <= u32::from(captured);
            }
            match b.get(at) {
                Some((other, inner)) if other == field => range.low <= inner.low && inner.high <= range.high,
                _ => match (field.view_field(), field.of_view()) {
                    (Some(ViewField::Transport), Some(view)) => {
                        Facts::of(b).is_some_and(|facts| range.low <= facts.transport[usize::from(view)])
                    }
                    _ => false,
                },
            }
        })
    }

    /// Adds the piece to the set, unless it is covered; what it covers goes. Of a large set only the pieces from `from` on
    /// are looked at.
    fn add(&mut self, set: &mut Set, from: usize, piece: Piece) -> Result<(), LowerError> {
        /// What is left in larger ones goes at the end.
        const SMALL: usize = 48;
        let from = if set.len() <= SMALL { 0 } else { from };
        self.spend(set.len() - from + 1)?;
        if set[from..].iter().any(|old| self.covers(*old, piece)) {
            return Ok(());
        }
        let mut to = from;
        for at in from..set.len() {
            if !self.covers(piece, set[at]) {
                set[to] = set[at];
                to += 1;
            }
        }
        set.truncate(to);
        if set.len() >= self.most {
            return Err(LowerError::TooMany(self.most));
        }
        set.push(piece);
        Ok(())
    }

    /// What lies in one of the two.
    pub fn either(&mut self, mut a: Set, mut b: Set) -> Result<Set, LowerError> {
        self.spend(2 * a.len() * b.len())?;
        b.retain(|piece| !a.iter().any(|other| self.covers(*other, *piece)));
        a.retain(|piece| !b.iter().any(|other| self.covers(*other, *piece)));
        if a.len() + b.len() > self.most {
            return Err(LowerError::TooMany(self.most));
        }
        a.append(&mut b);
        Ok(a)
    }

    /// Adds a set of which nothing lies in the first.
    pub fn apart(&mut self, a: &mut Set, mut b: Set) -> Result<(), LowerError> {
        if a.len() + b.len() > self.most {
            return Err(LowerError::TooMany(self.most));
        }
        a.append(&mut b);
        Ok(())
    }

    /// What lies in both.
    pub fn meet(&mut self, a: &Set, b: &Set) -> Result<Set, LowerError> {
        let mut set = Set::with_capacity(a.len().max(b.len()));
        for outer in a {
            self.spend(b.len())?;
            let from = set.len();
            if b.iter().any(|inner| self.covers(*inner, *outer)) {
                self.add(&mut set, from, *outer)?;
                continue;
            }
            for inner in b {
                if let Some(piece) = self.both(*outer, *inner) {
                    self.add(&mut set, from, piece)?;
                }
            }
        }
        Ok(set)
    }

    /// Takes the pieces away that others cover.
    fn tidy(&self, set: &mut Set) {
        let mut kept = Set::with_capacity(set.len());
        // The largest pieces have the fewest ranges.
        set.sort_by_key(|piece| piece.count);
        for piece in set.iter() {
            if !kept.iter().any(|other| self.covers(*other, *piece)) {
                kept.push(*piece);
            }
        }
        *set = kept;
    }

    /// Joins pieces that differ in one range, where the ranges touch, and takes those away that others cover.
    pub fn join(&mut self, set: &mut Set) {
        /// Beyond, looking at all pairs takes longer than it is worth.
        const JOINED_MAX: usize = 1024;
        self.tidy(set);
        if set.len() > JOINED_MAX {
            return;
        }
        let mut joined = true;
        while joined {
            joined = false;
            let mut at = 0;
            while at < set.len() {
                let mut other = at + 1;
                while other < set.len() {
                    let piece = self
                        .touching(set[at], set[other])
                        .and_then(|(index, range)| self.with_range(set[at], index, range));
                    let Some(piece) = piece else {
                        other += 1;
                        continue;
                    };
                    set[at] = piece;
                    set.swap_remove(other);
                    joined = true;
                    other = at + 1;
                }
                at += 1;
            }
        }
        self.tidy(set);
    }

    /// The piece with another range in this place.
    fn with_range(&mut self, piece: Piece, index: usize, range: Range) -> Option<Piece> {
        let start = self.ranges.len();
        let old = piece.start as usize;
        self.ranges.extend_from_within(old..old + usize::from(piece.count));
        let at = start + index;
        self.ranges[at].1 = range;
        if range == all_of(self.ranges[at].0) {
            self.ranges.remove(at);
        }
        self.settle(start)
    }

    /// Where two pieces of the same fields differ in one, and touch there: its index, and the range of both.
    fn touching(&self, a: Piece, b: Piece) -> Option<(usize, Range)> {
        if a.count != b.count {
            return None;
        }
        let mut found = None;
        for (index, ((field_a, range_a), (field_b, range_b))) in self.of(a).iter().zip(self.of(b)).enumerate() {
            if field_a != field_b {
                return None;
            }
            if range_a == range_b {
                continue;
            }
            let apart = range_a.low > range_b.high.saturating_add(1) || range_b.low > range_a.high.saturating_add(1);
            if found.is_some() || apart {
                return None;
            }
            found = Some((index, Range::new(range_a.low.min(range_b.low), range_a.high.max(range_b.high))));
        }
        found
    }
}

/// All values of a field.
fn all_of(field: Field) -> Range {
    Range::new(0, field.max())
}

/// What ranges without 0 say about the length of a frame.
#[derive(Default)]
struct Facts {
    captured: u32,
    /// By view.
    transport: [u32; 4],
}

/// What is known of a view, as its ranges are read.
struct View {
    ether_type: Range,
    protocol: Range,
}

impl View {
    const UNKNOWN: View = View { ether_type: Range::new(0, 0xffff), protocol: Range::new(0, 0xff) };

    fn is(&self, ether_type: u32) -> bool {
        self.ether_type == Range::one(ether_type)
    }

    fn may_be(&self, ether_types: &[u32]) -> bool {
        ether_types.iter().any(|ether_type| self.ether_type.has(*ether_type))
    }

    /// The smallest of the numbers that may be: of IPv4, of IPv6, of ARP and RARP.
    fn least(&self, ip: u32, ip6: u32, arp: u32) -> Option<u32> {
        let mut least = None;
        for (number, ether_types) in [(ip, &[ether::IP][..]), (ip6, &[ether::IP6]), (arp, &[ether::ARP, ether::RARP])] {
            if number != NEVER && self.may_be(ether_types) {
                least = Some(least.map_or(number, |least: u32| least.min(number)));
            }
        }
        least
    }
}

/// In the place of a length: frames of this kind do not have it.
const NEVER: u32 = 0;

impl Facts {
    /// None where no frame has all of these.
    fn of(ranges: &[(Field, Range)]) -> Option<Facts> {
        let mut facts = Facts::default();
        let mut number = 0;
        let mut view = View::UNKNOWN;
        for (field, range) in ranges {
            let (Some(of_view), Some(word)) = (field.of_view(), field.view_field()) else {
                if range.low > 0 {
                    facts.captured = facts.captured.max(match *field {
                        // The group's bit is in the first byte.
                        Field::DST_MAC_HIGH => 1,
                        Field::DST_MAC_LOW => 6,
                        Field::SRC_MAC_HIGH => 8,
                        Field::SRC_MAC_LOW => 12,
                        _ => 0,
                    });
                }
                continue;
            };
            if of_view != number {
                (number, view) = (of_view, View::UNKNOWN);
            }
            if word == ViewField::EtherType {
                view.ether_type = *range;
            } else if word == ViewField::Protocol {
                view.protocol = *range;
            }
            if range.low > 0 {
                facts.present(number, word, &view)?;
            }
        }
        Some(facts)
    }

    /// This word of a view is not 0.
    fn present(&mut self, number: u8, word: ViewField, view: &View) -> Option<()> {
        use ViewField::*;
        let end = match word {
            EtherType => 14,
            Vlan if view.may_be(&ether::TAGS) => 16,
            Vlan => return None,
            Protocol => view.least(24, 21, NEVER)?,
            Fragment => view.least(22, 55, NEVER)?,
            Src0 => view.least(30, 26, 32)?,
            Src1 | Src2 | Src3 => view.least(NEVER, 26 + 4 * (word as u32 - Src0 as u32), NEVER)?,
            Dst0 => view.least(34, 42, 42)?,
            Dst1 | Dst2 | Dst3 => view.least(NEVER, 42 + 4 * (word as u32 - Dst0 as u32), NEVER)?,
            SrcPort | DstPort => {
                let icmp = [protocol::ICMP, protocol::ICMP6].iter().any(|icmp| view.protocol.has(*icmp));
                let (transport, end) = match (word, icmp) {
                    (SrcPort, true) => (1, 55),
                    (DstPort, false) => (4, 58),
                    _ => (2, 56),
                };
                if view.is(ether::IP) {
                    self.transport(number, transport);
                }
                view.least(24, end, NEVER)?
            }
            TcpFlags => {
                self.transport(number, 14);
                view.least(24, NEVER, NEVER)?
            }
            Transport => view.least(15, NEVER, NEVER)?,
        };
        self.captured = self.captured.max(end + 4 * u32::from(number));
        Some(())
    }

    fn transport(&mut self, view: u8, bytes: u32) {
        let known = &mut self.transport[usize::from(view)];
        *known = bytes.max(*known);
    }
}
