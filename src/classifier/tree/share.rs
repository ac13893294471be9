//! Which entries share a tree: those that one field tells apart.
//!
//! Rules for certain sources and any destination, and rules for any source and certain destinations, would copy each other as
//! often as there are of them in one tree. So each tree has a field by which its entries can be cut with few copies, and
//! takes all entries that are narrow there.

use super::boxes::Boxes;

/// As few as this are never divided.
const FEW: usize = 16;
/// Copies that cuts by one field may make of an entry, on average.
const COPIES: usize = 32;
/// And that many in all trees of any size.
const COPIES_FREE: usize = 1 << 15;

/// The entries for the next tree, and the rest, both sorted.
pub fn take(boxes: &Boxes, list: &[u32]) -> (Vec<u32>, Vec<u32>) {
    if list.len() <= FEW {
        return (list.to_vec(), vec![]);
    }
    let mut best: Option<Cells> = None;
    for field in 0..boxes.fields().len() as u16 {
        if let Some(cells) = Cells::of(boxes, list, field)
            && best.as_ref().is_none_or(|best| best.worth < cells.worth)
        {
            best = Some(cells);
        }
    }
    let Some(Cells { mut taken, .. }) = best else { return (list.to_vec(), vec![]) };
    taken.sort_unstable();
    let rest = list.iter().filter(|entry| taken.binary_search(entry).is_err()).copied().collect();
    (taken, rest)
}

/// A field, cut wherever the range of an entry begins or ends.
struct Cells {
    /// Entries in few cells.
    taken: Vec<u32>,
    /// How many times the cells halve how many such entries.
    worth: f64,
}

impl Cells {
    fn of(boxes: &Boxes, list: &[u32], field: u16) -> Option<Cells> {
        let mut edges: Vec<u64> = list
            .iter()
            .filter_map(|entry| boxes.limit(*entry, field))
            .flat_map(|limit| [u64::from(limit.low), u64::from(limit.high) + 1])
            .collect();
        edges.sort_unstable();
        edges.dedup();
        if edges.is_empty() {
            return None;
        }
        let place = |value: u64| edges.partition_point(|edge| *edge <= value);
        // Entries that do not look at the field would be everywhere.
        let mut spans: Vec<(usize, usize, u32)> = list
            .iter()
            .filter_map(|entry| {
                let limit = boxes.limit(*entry, field)?;
                let (from, to) = (place(limit.low.into()), place(limit.high.into()));
                Some((to - from + 1, from, *entry))
            })
            .collect();
        spans.sort_unstable();
        let mut room = COPIES * list.len() + COPIES_FREE;
        let mut changes = vec![0i32; edges.len() + 2];
        let mut taken = Vec::new();
        for (span, from, entry) in spans {
            if span > room {
                break;
            }
            room -= span;
            changes[from] += 1;
            changes[from + span] -= 1;
            taken.push(entry);
        }
        let (mut here, mut all, mut squares) = (0, 0.0, 0.0);
        for change in changes {
            here += change;
            all += f64::from(here);
            squares += f64::from(here) * f64::from(here);
        }
        let count = taken.len() as f64;
        let worth = count * (count * all / squares).log2();
        Some(Cells { taken, worth })
    }
}
