//! One tree, from the root down.

use super::boxes::{Boxes, Limit};
use super::cut::{Cutter, sides};
use super::leaf;
use super::nodes::Nodes;
use crate::classifier::entry::Range;
use crate::classifier::field::Field;
use crate::classifier::table::{Node, Target};

/// Entries that are not cut any further.
const FEW: usize = 3;
/// Entries that are cut only where few lie on both sides.
const SOME: usize = 8;
/// Cuts of a way by `Cutter::wide`.
const WIDE_CUTS: u32 = 24;
/// Cuts of a way.
const CUTS: u32 = 300;

/// A walk through all of a tree, to try or to build it.
pub struct Pass<'a> {
    boxes: &'a Boxes,
    cutter: Cutter,
    /// Where the keys lie that come here, by field.
    bounds: Vec<Range>,
    /// How often each entry was placed.
    copies: Vec<u32>,
    /// Copies of an entry from which on it is better off in another tree. None in the last tree.
    enough: Option<u32>,
    /// Entries that this tree cannot hold, in no order.
    out: Vec<u32>,
    /// Entries that its leaves may have in all.
    room: usize,
}

const OUT: u32 = u32::MAX;

impl<'a> Pass<'a> {
    /// One over so many entries; of the last tree, which takes all.
    pub fn new(boxes: &'a Boxes, count: usize, last: bool) -> Pass<'a> {
        Pass {
            boxes,
            cutter: Cutter::new(boxes),
            bounds: boxes.fields().iter().map(|field| Range::new(0, Field::max(*field))).collect(),
            copies: vec![0; boxes.len() as usize],
            enough: (!last).then_some(copies(count)),
            out: vec![],
            room: 16 * count + (1 << 16),
        }
    }

    /// Whether the entry was left out.
    fn is_out(&self, entry: u32) -> bool {
        self.copies[entry as usize] == OUT
    }

    /// The entries that were left out.
    pub fn into_out(self) -> Vec<u32> {
        let mut out = self.out;
        out.sort_unstable();
        out
    }

    /// Makes the tree of these entries.
    pub fn run(&mut self, list: &[u32], nodes: &mut Nodes) -> Target {
        self.grow(list.to_vec(), self.room, 0, 0, nodes)
    }

    fn grow(&mut self, mut list: Vec<u32>, room: usize, cuts: u32, wide: u32, nodes: &mut Nodes) -> Target {
        self.trim(&mut list);
        let Some((cut, wide)) = self.cut(&list, room, cuts, wide) else { return self.leaf(&list, nodes) };
        let (yes, no) = self.divide(&list, &cut);
        if list.len() <= SOME && yes.len() + no.len() > list.len() + list.len() / 4 {
            return self.leaf(&list, nodes);
        }
        if cuts == 0 && no.is_empty() {
            // All have it.
        } else if yes.len() == list.len() && no.len() == list.len() {
            return self.leaf(&list, nodes);
        }
        drop(list);
        let field = cut.field as usize;
        let bound = self.bounds[field];
        let both = yes.len() + no.len();
        let share =
            |part: usize| if room == usize::MAX { room } else { (room as u64 * part as u64 / both as u64) as usize };
        let (room_yes, room_no) = (share(yes.len()), share(no.len()));

        self.bounds[field] = Range::new(cut.low.max(bound.low), cut.high.min(bound.high));
        let yes = self.grow(yes, room_yes, cuts + 1, wide, nodes);
        self.bounds[field] = if cut.low <= bound.low {
            Range::new(cut.high + 1, bound.high)
        } else if cut.high >= bound.high {
            Range::new(bound.low, cut.low - 1)
        } else {
            bound
        };
        let no = self.grow(no, room_no, cuts + 1, wide, nodes);
        self.bounds[field] = bound;
        nodes.add(Node { field: self.boxes.fields()[field], low: cut.low, high: cut.high, yes, no })
    }

    /// Leaves out entries that have left this tree, and those behind one that matches all keys that come here.
    fn trim(&self, list: &mut Vec<u32>) {
        if self.enough.is_some() {
            list.retain(|entry| !self.is_out(*entry));
        }
        let bounds = &self.bounds;
        let covers =
            |entry: &u32| self.boxes.limits(*entry).iter().all(|limit| limit.has(bounds[limit.field as usize]));
        if let Some(at) = list.iter().position(covers) {
            list.truncate(at + 1);
        }
    }

    /// The next cut, and how many of the way are wide ones then.
    fn cut(&mut self, list: &[u32], room: usize, cuts: u32, wide: u32) -> Option<(Limit, u32)> {
        if list.len() <= FEW || room < list.len() || cuts > CUTS {
            return None;
        }
        if cuts <= 3 && list.len() > SOME {
            if let Some(common) = Cutter::common(self.boxes, list, &self.bounds) {
                return Some((common, wide));
            }
        }
        if wide < WIDE_CUTS && list.len() > SOME {
            if let Some(cut) = Cutter::wide(self.boxes, list, &self.bounds) {
                return Some((cut, wide + 1));
            }
        }
        self.cutter.best(self.boxes, list, &self.bounds).map(|cut| (cut, wide))
    }

    /// The entries on both sides of a cut.
    fn divide(&self, list: &[u32], cut: &Limit) -> (Vec<u32>, Vec<u32>) {
        let bound = self.bounds[cut.field as usize];
        let (mut yes, mut no) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
        for entry in list {
            let sides = sides(cut, self.boxes.limit(*entry, cut.field), bound);
            if sides.yes {
                yes.push(*entry);
            }
            if sides.no {
                no.push(*entry);
            }
        }
        (yes, no)
    }

    fn leaf(&mut self, list: &[u32], nodes: &mut Nodes) -> Target {
        if let Some(enough) = self.enough {
            for entry in list {
                let copies = &mut self.copies[*entry as usize];
                *copies += 1;
                if *copies > enough {
                    *copies = OUT;
                    self.out.push(*entry);
                }
            }
        }
        leaf::chain(self.boxes, list, &self.bounds, nodes)
    }
}

/// How often an entry of so many may be in a tree.
fn copies(count: usize) -> u32 {
    if let Some(r) = std::env::var("R").ok().and_then(|r| r.parse().ok()) {
        return r;
    }
    let _ = count;
    512
}
