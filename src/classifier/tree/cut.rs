//! Where a node cuts its entries.

use super::boxes::{Boxes, Limit, divides};
use crate::classifier::entry::Range;

/// Entries that are looked at to find the cut; of more, a sample.
const SAMPLE: usize = 192;
/// The first entries, among which one is looked for that most of the space lies in.
const FRONT: usize = 8;
/// The part of the space that such a one has at least.
const WIDE: f64 = 0.25;

/// How entries lie to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    pub yes: bool,
    pub no: bool,
}

/// Where an entry of this range (None: of any value) within the bound is, when the field is compared with the limit.
pub fn sides(cut: &Limit, limit: Option<&Limit>, bound: Range) -> Sides {
    let (low, high) =
        limit.map_or((bound.low, bound.high), |limit| (limit.low.max(bound.low), limit.high.min(bound.high)));
    Sides { yes: low <= cut.high && cut.low <= high, no: low < cut.low || cut.high < high }
}

/// Ranges of one field in a sample.
#[derive(Default)]
struct Column {
    ranges: Vec<(u32, u32)>,
    highs: Vec<u32>,
}

/// Looks for cuts; keeps its memory between them.
pub struct Cutter {
    columns: Vec<Column>,
    used: Vec<u16>,
    seed: u32,
}

impl Cutter {
    pub fn new(boxes: &Boxes) -> Cutter {
        Cutter { columns: boxes.fields().iter().map(|_| Column::default()).collect(), used: vec![], seed: 1 }
    }

    /// What all entries compare, and frames of some networks fail.
    pub fn common(boxes: &Boxes, list: &[u32], bounds: &[Range]) -> Option<Limit> {
        let (first, others) = list.split_first()?;
        let mut limits = boxes
            .limits(*first)
            .iter()
            .filter(|limit| divides(boxes.fields()[limit.field as usize]) && !limit.has(bounds[limit.field as usize]));
        limits.find(|limit| others.iter().all(|entry| boxes.limit(*entry, limit.field) == Some(limit))).copied()
    }

    /// A range of one of the first entries, when so much of the space lies in that entry that it is best asked first.
    pub fn wide(boxes: &Boxes, list: &[u32], bounds: &[Range]) -> Option<Limit> {
        let mut best = None;
        let mut most = WIDE;
        for entry in list.iter().take(FRONT) {
            let (mut part, mut least, mut narrow) = (1.0, 1.0, None);
            for limit in boxes.limits(*entry) {
                let bound = bounds[limit.field as usize];
                if limit.has(bound) {
                    continue;
                }
                let (low, high) = (limit.low.max(bound.low), limit.high.min(bound.high));
                if low > high {
                    part = 0.0;
                    break;
                }
                let of_field = (f64::from(high - low) + 1.0) / (f64::from(bound.high - bound.low) + 1.0);
                part *= of_field;
                if of_field <= least {
                    (least, narrow) = (of_field, Some(*limit));
                }
                if part < most {
                    break;
                }
            }
            if part >= most && narrow.is_some() {
                (most, best) = (part, narrow);
            }
        }
        best
    }

    /// The comparison that leaves the fewest entries on its two sides.
    pub fn best(&mut self, boxes: &Boxes, list: &[u32], bounds: &[Range]) -> Option<Limit> {
        let count = self.sample(boxes, list, bounds);
        let all = count as f64;
        let mut best = None;
        let mut least = f64::INFINITY;
        for field in std::mem::take(&mut self.used) {
            let bound = bounds[field as usize];
            let column = &mut self.columns[field as usize];
            if column.ranges.len() * 64 >= count {
                if let Some((cost, high)) = column.threshold(all, bound) {
                    if cost < least {
                        (least, best) = (cost, Some(Limit { field, low: 0, high }));
                    }
                }
                if let Some((cost, low, high)) = column.usual(all, bound) {
                    if cost < least {
                        (least, best) = (cost, Some(Limit { field, low, high }));
                    }
                }
            }
            column.ranges.clear();
        }
        best
    }

    /// Collects the ranges that are not decided yet, by field. Returns the number of entries looked at.
    fn sample(&mut self, boxes: &Boxes, list: &[u32], bounds: &[Range]) -> usize {
        let count = list.len().min(SAMPLE);
        for at in 0..count {
            let at = if count == list.len() {
                at
            } else {
                // Anywhere in the sample's share: rules have several entries, and a fixed step could meet the same one of each.
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (from, to) = (at * list.len() / count, (at + 1) * list.len() / count);
                from + (self.seed >> 8) as usize % (to - from)
            };
            for limit in boxes.limits(list[at]) {
                if !limit.has(bounds[limit.field as usize]) {
                    let column = &mut self.columns[limit.field as usize];
                    if column.ranges.is_empty() {
                        self.used.push(limit.field);
                    }
                    column.ranges.push((limit.low, limit.high));
                }
            }
        }
        count
    }
}

impl Column {
    /// The value up to which values are best told from larger ones, and the cost of that, for so many entries. 1.0 is the
    /// cost of not cutting at all.
    fn threshold(&mut self, all: f64, bound: Range) -> Option<(f64, u32)> {
        self.ranges.sort_unstable();
        self.highs.clear();
        self.highs.extend(self.ranges.iter().map(|(_, high)| *high));
        self.highs.sort_unstable();
        let any = all - self.ranges.len() as f64;
        let count = self.ranges.len();
        let (mut lows, mut ends) = (0, 0);
        let mut best: Option<(f64, u32)> = None;
        // Cuts are before a range's lowest value or behind its highest, from the lowest cut on.
        while lows < count || ends < count {
            let before = self.ranges.get(lows).map(|(low, _)| u64::from(*low));
            let behind = self.highs.get(ends).map(|high| u64::from(*high) + 1);
            let next = match (before, behind) {
                (Some(before), Some(behind)) => before.min(behind),
                (one, other) => one.or(other)?,
            };
            // `next` is the first value on the right.
            while ends < count && u64::from(self.highs[ends]) < next {
                ends += 1;
            }
            if next > u64::from(bound.low) && next <= u64::from(bound.high) {
                let left = any + lows as f64;
                let right = any + (count - ends) as f64;
                let cost = (left * left + right * right) / (all * all);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, (next - 1) as u32));
                }
            }
            while lows < count && u64::from(self.ranges[lows].0) == next {
                lows += 1;
            }
        }
        best
    }

    /// The most usual range, where it is one of many entries, and the cost of comparing with it. The ranges are sorted.
    fn usual(&self, all: f64, bound: Range) -> Option<(f64, u32, u32)> {
        let most = self.ranges.chunk_by(|one, other| one == other).max_by_key(|run| run.len())?;
        if (most.len() as f64) < all / 8.0 {
            return None;
        }
        let (low, high) = most[0];
        let cut = Limit { field: 0, low, high };
        let (mut yes, mut no) = (0.0, 0.0);
        for (low, high) in &self.ranges {
            let sides = sides(&cut, Some(&Limit { field: 0, low: *low, high: *high }), bound);
            yes += f64::from(u8::from(sides.yes));
            no += f64::from(u8::from(sides.no));
        }
        let any = all - self.ranges.len() as f64;
        let (yes, no): (f64, f64) = (yes + any, no + any);
        // It decides the range for all on its side, which saves a comparison later.
        Some((0.95 * (yes * yes + no * no) / (all * all), low, high))
    }
}
