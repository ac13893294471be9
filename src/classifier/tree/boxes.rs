//! The entries of all rules in one row, each distinct one once, with their fields by number.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::{Field, ViewField};

/// A range of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The field, by its number in these boxes.
    pub field: u16,
    pub low: u32,
    pub high: u32,
}

impl Limit {
    /// Whether all values of the range are within.
    pub fn has(&self, range: Range) -> bool {
        self.low <= range.low && range.high <= self.high
    }
}

/// The entries, by rank.
pub struct Boxes {
    fields: Vec<Field>,
    limits: Vec<Limit>,
    /// Where the limits of each entry begin, and where those of the last one end.
    starts: Vec<u32>,
    ranks: Vec<u32>,
}

impl Boxes {
    /// The entries of the rules. One that is there already, for an earlier rule, is left out.
    pub fn new(rules: &[Vec<Entry>]) -> Boxes {
        let fields: BTreeSet<Field> =
            rules.iter().flatten().flat_map(|entry| entry.ranges()).map(|(field, _)| *field).collect();
        let mut boxes = Boxes { fields: fields.into_iter().collect(), limits: vec![], starts: vec![0], ranks: vec![] };
        let mut seen = HashSet::new();
        for (rank, entry) in (0..).zip(rules).flat_map(|(rank, entries)| entries.iter().map(move |entry| (rank, entry)))
        {
            if seen.insert(entry.ranges()) {
                boxes.push(rank, entry);
            }
        }
        boxes
    }

    fn push(&mut self, rank: u32, entry: &Entry) {
        let mut limits: Vec<(Field, Range)> = entry.ranges().to_vec();
        limits.sort_by_key(|(field, range)| Reverse(tells(*field, *range)));
        for (field, range) in limits {
            let number = self.fields.partition_point(|other| *other < field);
            self.limits.push(Limit { field: number as u16, low: range.low, high: range.high });
        }
        self.starts.push(self.limits.len() as u32);
        self.ranks.push(rank);
    }

    /// The number of entries.
    pub fn len(&self) -> u32 {
        self.ranks.len() as u32
    }

    /// The fields that any of them looks at.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The rank of an entry's rule.
    pub fn rank(&self, entry: u32) -> u32 {
        self.ranks[entry as usize]
    }

    /// The ranges of an entry; first the one that most frames are not in.
    pub fn limits(&self, entry: u32) -> &[Limit] {
        let at = entry as usize;
        &self.limits[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// An entry's range of a field.
    pub fn limit(&self, entry: u32, field: u16) -> Option<&Limit> {
        self.limits(entry).iter().find(|limit| limit.field == field)
    }
}

/// How much it tells about a frame that a field is in the range, in bits: of what networks carry, not of what a field can be.
fn tells(field: Field, range: Range) -> u32 {
    let size = u64::from(range.high - range.low) + 1;
    let all = u64::from(field.max()) + 1;
    let bits = (all / size).checked_ilog2().unwrap_or(0);
    // In halves of a bit: even fields that say little are in an order.
    let most = match (field, field.view_field()) {
        (Field::DIRECTION, _) | (_, Some(ViewField::EtherType)) => 2,
        (Field::INTERFACE, _) => 3,
        (Field::LENGTH, _) => 6,
        (Field::CAPTURED, _) | (_, Some(ViewField::Transport)) => 0,
        (_, Some(ViewField::Protocol)) => 4,
        (_, Some(ViewField::Fragment)) => 1,
        _ => u32::MAX,
    };
    (2 * bits).min(most)
}

/// Whether frames that are not in a range of the field are worth a comparison of their own before all others.
pub fn divides(field: Field) -> bool {
    matches!(field, Field::DIRECTION | Field::INTERFACE)
        || matches!(field.view_field(), Some(ViewField::EtherType | ViewField::Vlan | ViewField::Protocol))
}
