//! One tree, from the root down.

use super::boxes::{Boxes, Limit};
use super::cut::{Cutter, halves, sides};
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
/// Entries that a trial may place beyond one copy of each.
const COPIES_FREE: usize = 1 << 15;
/// Entries that a trial may look at, for each one that it may place.
const WORK: usize = 48;
/// Cuts of a way.
const CUTS: u32 = 300;

/// A walk through all of a tree, to try or to build it.
pub struct Pass<'a> {
    boxes: &'a Boxes,
    cutter: Cutter,
    /// Where the keys lie that come here, by field.
    bounds: Vec<Range>,
    /// Entries that are not cut any further.
    few: usize,
    /// Entries that the leaves may have in all.
    room: usize,
    /// How many entries more than their part of it the leaves may have at any time: more tell early that it will not do. None: cuts
    /// end where there is no room for copies, and there always is a tree.
    ahead: Option<usize>,
    /// Entries that the leaves have.
    placed: usize,
    /// Their part of the room.
    due: usize,
    /// Entries that were looked at, in all nodes.
    work: usize,
    /// Nodes that there may be in all trees.
    most: usize,
}

impl<'a> Pass<'a> {
    fn new(boxes: &'a Boxes, room: usize, ahead: Option<usize>, most: usize) -> Pass<'a> {
        let bounds = boxes.fields().iter().map(|field| Range::new(0, Field::max(*field))).collect();
        Pass { boxes, cutter: Cutter::new(boxes), bounds, few: FEW, room, ahead, placed: 0, due: 0, work: 0, most }
    }

    /// One that tries whether so many entries fit in a tree without many copies.
    pub fn trial(boxes: &'a Boxes, count: usize, most: usize) -> Pass<'a> {
        let room = count + COPIES_FREE;
        Pass::new(boxes, room, Some(room / 4), most)
    }

    /// One that makes a tree of so many entries, whatever they are.
    pub fn of_all(boxes: &'a Boxes, count: usize, most: usize) -> Pass<'a> {
        Pass::new(boxes, 16 * count + 2 * COPIES_FREE, None, most)
    }

    /// One that makes a tree as large as it may be.
    pub fn single(boxes: &'a Boxes, few: usize, most: usize) -> Pass<'a> {
        Pass { few, ..Pass::new(boxes, most, Some(most), most) }
    }

    /// Makes the tree of these entries. None when they do not fit.
    pub fn run(&mut self, list: &[u32], nodes: &mut Nodes) -> Option<Target> {
        self.grow(list.to_vec(), self.room, 0, 0, nodes)
    }

    fn grow(&mut self, mut list: Vec<u32>, room: usize, cuts: u32, wide: u32, nodes: &mut Nodes) -> Option<Target> {
        self.work += list.len();
        if self.ahead.is_some() && self.work > WORK * self.room {
            return None;
        }
        self.trim(&mut list);
        let Some((cut, wide)) = self.cut(&list, room, cuts, wide) else { return self.leaf(&list, room, nodes) };
        let (yes, no) = self.divide(&list, &cut);
        if list.len() <= SOME && yes.len() + no.len() > list.len() + list.len() / 4 {
            return self.leaf(&list, room, nodes);
        }
        drop(list);
        let field = cut.field as usize;
        let bound = self.bounds[field];
        let both = yes.len() + no.len();
        let share = |part: usize| (room as u64 * part as u64 / both as u64) as usize;
        let (room_yes, room_no) = (share(yes.len()), share(no.len()));

        let (bound_yes, bound_no) = halves(&cut, bound);
        self.bounds[field] = bound_yes;
        let yes = self.grow(yes, room_yes, cuts + 1, wide, nodes)?;
        self.bounds[field] = bound_no;
        let no = self.grow(no, room_no, cuts + 1, wide, nodes)?;
        self.bounds[field] = bound;
        Some(nodes.add(Node { field: self.boxes.fields()[field], low: cut.low, high: cut.high, yes, no }))
    }

    /// Leaves out entries that have left this tree, and those behind one that matches all keys that come here.
    fn trim(&self, list: &mut Vec<u32>) {
        let bounds = &self.bounds;
        let covers =
            |entry: &u32| self.boxes.limits(*entry).iter().all(|limit| limit.has(bounds[limit.field as usize]));
        if let Some(at) = list.iter().position(covers) {
            list.truncate(at + 1);
        }
    }

    /// The next cut, and how many of the way are wide ones then.
    fn cut(&mut self, list: &[u32], room: usize, cuts: u32, wide: u32) -> Option<(Limit, u32)> {
        if list.len() <= self.few || (room < list.len() && self.ahead.is_none()) || cuts > CUTS {
            return None;
        }
        if list.len() > SOME {
            let common = if cuts <= 3 { Cutter::common(self.boxes, list, &self.bounds) } else { None };
            if let Some(cut) = common {
                return Some((cut, wide));
            }
            let first = if wide < WIDE_CUTS { Cutter::wide(self.boxes, list, &self.bounds) } else { None };
            if let Some(cut) = first {
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

    fn leaf(&mut self, list: &[u32], room: usize, nodes: &mut Nodes) -> Option<Target> {
        self.placed += list.len();
        self.due += room;
        let full = |ahead| self.placed > self.room.min(self.due + ahead);
        if self.ahead.is_some_and(full) || nodes.len() > self.most {
            return None;
        }
        Some(leaf::chain(self.boxes, list, &self.bounds, nodes))
    }
}
