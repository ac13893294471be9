//! Where a node cuts its entries.

use super::boxes::{Boxes, Limit, divides};
use crate::classifier::entry::Range;

/// Entries that are looked at to find the cut; of more, a sample.
const SAMPLE: usize = 96;
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

/// Where keys lie that were within the bound, and now are in the cut, or are not.
pub fn halves(cut: &Limit, bound: Range) -> (Range, Range) {
    let no = if cut.low <= bound.low {
        Range::new(cut.high + 1, bound.high)
    } else if cut.high >= bound.high {
        Range::new(bound.low, cut.low - 1)
    } else {
        // What is on both sides of it is not one range.
        bound
    };
    (Range::new(cut.low.max(bound.low), cut.high.min(bound.high)), no)
}

/// A range of an entry of a sample. Ranges are compared by where they begin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    low: u32,
    high: u32,
    /// The ends of all ranges of the entry that are within the bounds: what has to be decided about it yet.
    weight: u32,
    /// The place of the entry in the sample, when this is all that has to be decided about it; else NOWHERE.
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

/// The same, compared by where they end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    high: u32,
    weight: u32,
    /// 1 where its low end is within the bound.
    low_inside: u32,
    /// The place of the first entry that ends here or later, has its low end not within the bound and nothing else to decide.
    place: u32,
}

/// Ranges of one field in a sample.
#[derive(Default)]
struct Column {
    pieces: Vec<Piece>,
    ends: Vec<End>,
}

/// All of a sample.
struct Sample {
    count: usize,
    weight: u32,
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

    /// The comparison that leaves the least to decide on its two sides.
    pub fn best(&mut self, boxes: &Boxes, list: &[u32], bounds: &[Range]) -> Option<Limit> {
        let sample = self.sample(boxes, list, bounds);
        let mut best = None;
        let mut least = f64::INFINITY;
        for field in std::mem::take(&mut self.used) {
            let bound = bounds[field as usize];
            let column = &mut self.columns[field as usize];
            if column.pieces.len() * 64 >= sample.count {
                column.pieces.sort_unstable();
                let threshold = column.threshold(&sample, bound).map(|(cost, high)| (cost, 0, high));
                for (cost, low, high) in threshold.into_iter().chain(column.usual(&sample, bound)) {
                    if cost < least {
                        (least, best) = (cost, Some(Limit { field, low, high }));
                    }
                }
            }
            column.pieces.clear();
        }
        best
    }

    /// Collects the ranges that are not decided yet, by field.
    fn sample(&mut self, boxes: &Boxes, list: &[u32], bounds: &[Range]) -> Sample {
        let count = list.len().min(SAMPLE);
        let mut all = 0;
        for place in 0..count {
            let at = if count == list.len() {
                place
            } else {
                // Anywhere in the sample's share: rules have several entries, and a fixed step could meet the same one of each.
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (from, to) = (place * list.len() / count, (place + 1) * list.len() / count);
                from + (self.seed >> 8) as usize % (to - from)
            };
            let limits = boxes.limits(list[at]);
            let open = limits.iter().filter(|limit| !limit.has(bounds[limit.field as usize]));
            let (mut weight, mut fields) = (0, 0);
            for limit in open.clone() {
                let bound = bounds[limit.field as usize];
                weight += u32::from(bound.low < limit.low) + u32::from(limit.high < bound.high);
                fields += 1;
            }
            all += weight;
            let place = if fields == 1 { place as u32 } else { NOWHERE };
            for limit in open {
                let column = &mut self.columns[limit.field as usize];
                if column.pieces.is_empty() {
                    self.used.push(limit.field);
                }
                column.pieces.push(Piece { low: limit.low, high: limit.high, weight, place });
            }
        }
        Sample { count, weight: all }
    }
}

impl Sample {
    /// What is left of a side's weight when the entry at this place is the last one there.
    fn until(&self, weight: u32, place: u32) -> f64 {
        let part = (f64::from(place) + 1.0) / self.count as f64;
        f64::from(weight) * part.min(1.0)
    }

    /// The cost of these sides. 1.0 is that of not cutting at all.
    fn cost(&self, yes: f64, no: f64) -> f64 {
        (yes * yes + no * no) / (f64::from(self.weight) * f64::from(self.weight))
    }
}

impl Column {
    /// The value up to which values are best told from larger ones, and the cost of that. The pieces are sorted.
    fn threshold(&mut self, sample: &Sample, bound: Range) -> Option<(f64, u32)> {
        let count = self.pieces.len();
        self.ends.clear();
        self.ends.extend(self.pieces.iter().map(|piece| {
            let all = piece.low <= bound.low;
            let place = if all { piece.place } else { NOWHERE };
            End { high: piece.high, weight: piece.weight, low_inside: u32::from(!all), place }
        }));
        self.ends.sort_unstable();
        let mut first = NOWHERE;
        for end in self.ends.iter_mut().rev() {
            first = first.min(end.place);
            end.place = first;
        }
        let here: u32 = self.pieces.iter().map(|piece| piece.weight).sum();
        let any = sample.weight - here;

        // Of the pieces that begin on the left: how many, their weight, low ends and high ends within the bound. Of those that end
        // there as well: the same.
        let (mut begun, mut left, mut lows, mut highs) = (0, 0, 0, 0);
        let (mut ended, mut gone, mut lows_gone, mut highs_gone) = (0, 0, 0, 0);
        let mut first_right = NOWHERE;
        let mut best: Option<(f64, u32)> = None;
        while begun < count || ended < count {
            let before = self.pieces.get(begun).map(|piece| u64::from(piece.low));
            let behind = self.ends.get(ended).map(|end| u64::from(end.high) + 1);
            // The first value on the right.
            let next = match (before, behind) {
                (Some(before), Some(behind)) => before.min(behind),
                (one, other) => one.or(other)?,
            };
            while let Some(end) = self.ends.get(ended)
                && u64::from(end.high) < next
            {
                ended += 1;
                gone += end.weight;
                lows_gone += end.low_inside;
                highs_gone += u32::from(end.high < bound.high);
            }
            if next > u64::from(bound.low) && next <= u64::from(bound.high) {
                // Of those that lie on both sides, the left has not the high end and the right has not the low end.
                let left = any + left - (highs - highs_gone);
                let right = any + here - gone - (lows - lows_gone);
                let first_left = self.ends.get(ended).map_or(NOWHERE, |end| end.place);
                // One that begins right here lies on the right wholly.
                let mut at = begun;
                while let Some(piece) = self.pieces.get(at)
                    && u64::from(piece.low) == next
                {
                    if piece.high >= bound.high {
                        first_right = first_right.min(piece.place);
                    }
                    at += 1;
                }
                let cost = sample.cost(sample.until(left, first_left), sample.until(right, first_right));
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, (next - 1) as u32));
                }
            }
            while let Some(piece) = self.pieces.get(begun)
                && u64::from(piece.low) == next
            {
                begun += 1;
                left += piece.weight;
                lows += u32::from(piece.low > bound.low);
                highs += u32::from(piece.high < bound.high);
                if piece.high >= bound.high {
                    first_right = first_right.min(piece.place);
                }
            }
        }
        best
    }

    /// The most usual range, where it is one of many entries, and the cost of comparing with it. The pieces are sorted.
    fn usual(&self, sample: &Sample, bound: Range) -> Option<(f64, u32, u32)> {
        let same = |one: &Piece, other: &Piece| (one.low, one.high) == (other.low, other.high);
        let most = self.pieces.chunk_by(same).max_by_key(|run| run.len())?;
        if most.len() * 8 < sample.count {
            return None;
        }
        let (low, high) = (most[0].low, most[0].high);
        let cut = Limit { field: 0, low, high };
        let (bound_yes, bound_no) = halves(&cut, bound);
        let ends = |piece: &Piece, bound: Range| u32::from(bound.low < piece.low) + u32::from(piece.high < bound.high);
        let any = sample.weight - self.pieces.iter().map(|piece| piece.weight).sum::<u32>();
        let (mut yes, mut no) = (any, any);
        for piece in &self.pieces {
            let sides = sides(&cut, Some(&Limit { field: 0, low: piece.low, high: piece.high }), bound);
            let others = piece.weight - ends(piece, bound);
            yes += if sides.yes { others + ends(piece, bound_yes) } else { 0 };
            no += if sides.no { others + ends(piece, bound_no) } else { 0 };
        }
        Some((sample.cost(yes.into(), no.into()), low, high))
    }
}
