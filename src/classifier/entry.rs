//! Table entries: boxes in the space of fields. A frame matches an entry when each of its fields lies in the entry's range.

use super::field::{Field, Key};

/// Values of a field, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The smallest.
    pub low: u32,
    /// The largest.
    pub high: u32,
}

impl Range {
    /// One value.
    pub const fn one(value: u32) -> Range {
        Range { low: value, high: value }
    }

    /// These values.
    pub const fn new(low: u32, high: u32) -> Range {
        Range { low, high }
    }

    /// Whether the value is in it.
    pub const fn has(self, value: u32) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A box: ranges of some fields, sorted by field, each once and smaller than all that the field can be. The other fields may be
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    ranges: Vec<(Field, Range)>,
}

impl Entry {
    /// The ranges, sorted by field.
    pub fn ranges(&self) -> &[(Field, Range)] {
        &self.ranges
    }

    /// The range of a field; all of its values where it has none.
    pub fn range(&self, field: Field) -> Range {
        match self.ranges.binary_search_by_key(&field, |(field, _)| *field) {
            Ok(at) => self.ranges[at].1,
            Err(_) => Range::new(0, field.max()),
        }
    }

    /// The entry with this range of the field taken into it: what lies in both. None when nothing does.
    pub fn with(mut self, field: Field, range: Range) -> Option<Entry> {
        let range = Range::new(range.low, range.high.min(field.max()));
        match self.ranges.binary_search_by_key(&field, |(field, _)| *field) {
            Ok(at) => {
                let old = self.ranges[at].1;
                let both = Range::new(old.low.max(range.low), old.high.min(range.high));
                self.ranges[at].1 = both;
                (both.low <= both.high).then_some(self)
            }
            Err(at) => {
                if range.low > range.high {
                    return None;
                }
                if range != Range::new(0, field.max()) {
                    self.ranges.insert(at, (field, range));
                }
                Some(self)
            }
        }
    }

    /// What lies in both entries. None when nothing does.
    pub fn and(&self, other: &Entry) -> Option<Entry> {
        other.ranges.iter().try_fold(self.clone(), |both, (field, range)| both.with(*field, *range))
    }

    /// Whether everything that lies in the other entry lies in this one.
    pub fn covers(&self, other: &Entry) -> bool {
        self.ranges.iter().all(|(field, range)| {
            let other = other.range(*field);
            range.low <= other.low && other.high <= range.high
        })
    }

    /// Whether a frame with this key matches.
    pub fn matches(&self, key: &Key) -> bool {
        self.ranges.iter().all(|(field, range)| range.has(field.value(key)))
    }
}
