//! Where a tree of comparisons is true, where it is false, and where it gets to an answer at all.

use std::slice;

use super::LowerError;
use super::boxes::{Boxes, Set};
use super::program::{Leaf, Tree, Values};
use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::Field;

/// Pieces that may be there on the way, for each entry that may be there at the end.
const ON_THE_WAY: usize = 4;

/// The entries of a tree.
pub fn entries(tree: &Tree, most: usize) -> Result<Vec<Entry>, LowerError> {
    let mut boxes = Boxes::new(most.saturating_mul(ON_THE_WAY));
    let too_many = |error| match error {
        LowerError::TooMany(_) => LowerError::TooMany(most),
        error => error,
    };
    let mut set = find(&mut boxes, tree, Want::TRUE).map_err(too_many)?.yes;
    boxes.join(&mut set);
    if set.len() > most {
        return Err(LowerError::TooMany(most));
    }
    Ok(set.into_iter().map(|piece| boxes.entry(piece)).collect())
}

/// Which of the sets are asked for.
#[derive(Clone, Copy, Default)]
struct Want {
    yes: bool,
    no: bool,
    any: bool,
}

impl Want {
    const TRUE: Want = Want { yes: true, no: false, any: false };

    fn turned(self) -> Want {
        Want { yes: self.no, no: self.yes, any: self.any }
    }

    fn is_true_alone(self) -> bool {
        self.yes && !self.no && !self.any
    }
}

/// The sets of a tree; empty where nobody asked.
#[derive(Default)]
struct Sets {
    /// It is true.
    yes: Set,
    /// It is false.
    no: Set,
    /// It is one of them: no load was behind the end.
    any: Set,
}

impl Sets {
    fn turned(self) -> Sets {
        Sets { yes: self.no, no: self.yes, any: self.any }
    }
}

fn find(boxes: &mut Boxes, tree: &Tree, want: Want) -> Result<Sets, LowerError> {
    match tree {
        Tree::Leaf(leaf) => find_leaf(boxes, leaf, want),
        Tree::Not(tree) => Ok(find(boxes, tree, want.turned())?.turned()),
        Tree::All(trees) if want.is_true_alone() => Ok(Sets { yes: all_true(boxes, trees)?, ..Sets::default() }),
        Tree::All(trees) => find_all(boxes, trees, want, &find),
        // Where the first comparison of one is true, those of the others have been made, and were false.
        Tree::OneOf(trees) if want.is_true_alone() => {
            let mut yes = Set::new();
            for tree in trees {
                let own = find(boxes, tree, want)?.yes;
                boxes.apart(&mut yes, own)?;
            }
            Ok(Sets { yes, ..Sets::default() })
        }
        // One of them is true: not all of them are false.
        Tree::Any(trees) | Tree::OneOf(trees) => {
            let find_not = |boxes: &mut Boxes, tree: &Tree, want: Want| Ok(find(boxes, tree, want.turned())?.turned());
            Ok(find_all(boxes, trees, want.turned(), &find_not)?.turned())
        }
    }
}

/// Where all of these are true. Most of them are comparisons with one range: those make one piece.
fn all_true(boxes: &mut Boxes, trees: &[Tree]) -> Result<Set, LowerError> {
    let simple = |tree: &Tree| match tree {
        Tree::Leaf(Leaf { need, values: Values::One(field, range) }) => Some((need.range(), (*field, *range))),
        _ => None,
    };
    let ranges = trees.iter().filter_map(simple).flat_map(|(need, range)| need.into_iter().chain([range]));
    let mut set: Set = boxes.piece(ranges).into_iter().collect();
    for tree in trees.iter().filter(|tree| simple(tree).is_none()) {
        if set.is_empty() {
            break;
        }
        let own = find(boxes, tree, Want::TRUE)?.yes;
        set = boxes.meet(&set, &own)?;
    }
    Ok(set)
}

/// How the sets of a member are found.
type Find<'a> = &'a dyn Fn(&mut Boxes, &Tree, Want) -> Result<Sets, LowerError>;

/// The sets of `a and b and c and …`. It is false where `a` is, or where `a` is true and the rest false; instead of "`a` is
/// true" it may say "`a` gets to an answer", which adds nothing. It gets to an answer where `a` is false, or where `a` and the
/// rest do.
fn find_all(boxes: &mut Boxes, trees: &[Tree], want: Want, find: Find) -> Result<Sets, LowerError> {
    let Some((last, first)) = trees.split_last() else {
        let all: Set = boxes.piece([]).into_iter().collect();
        return Ok(Sets { yes: all.clone(), no: Set::new(), any: all });
    };
    let mut rest = find(boxes, last, want)?;
    for tree in first.iter().rev() {
        // Where one box says that a comparison is true, that is the better way: what follows does not leave it.
        let is_guard = matches!(tree, Tree::Leaf(_));
        let own = Want { yes: want.yes || want.no && is_guard, no: want.no || want.any, any: want.no || want.any };
        let own = find(boxes, tree, own)?;
        if want.yes {
            rest.yes = boxes.meet(&rest.yes, &own.yes)?;
        }
        if want.any {
            let both = boxes.meet(&rest.any, &own.any)?;
            rest.any = boxes.either(own.no.clone(), both)?;
        }
        if want.no {
            let reached = if is_guard && own.yes.len() <= 1 { &own.yes } else { &own.any };
            let both = boxes.meet(&rest.no, reached)?;
            rest.no = boxes.either(own.no, both)?;
        }
    }
    Ok(rest)
}

fn find_leaf(boxes: &mut Boxes, leaf: &Leaf, want: Want) -> Result<Sets, LowerError> {
    let need = leaf.need.range();
    let mut sets = Sets::default();
    if want.yes {
        sets.yes = values(boxes, need, &leaf.values, false);
    }
    if want.no {
        sets.no = values(boxes, need, &leaf.values, true);
    }
    if want.any {
        sets.any = boxes.piece(need).into_iter().collect();
    }
    Ok(sets)
}

/// The pieces where the values are these, or others.
fn values(boxes: &mut Boxes, need: Option<(Field, Range)>, values: &Values, others: bool) -> Set {
    let (field, ranges) = match values {
        Values::One(field, range) => (*field, slice::from_ref(range)),
        Values::Some(field, ranges) => (*field, &ranges[..]),
        Values::Bits(cubes, other_cubes) => {
            let cubes = if others { other_cubes } else { cubes };
            return cubes.iter().filter_map(|bits| boxes.piece(need.into_iter().chain(bits.iter().copied()))).collect();
        }
    };
    let mut piece = |range| boxes.piece(need.into_iter().chain([(field, range)]));
    if others {
        gaps(field, ranges).filter_map(piece).collect()
    } else {
        ranges.iter().filter_map(|range| piece(*range)).collect()
    }
}

/// The values of a field between some ranges, which are sorted and apart.
fn gaps(field: Field, ranges: &[Range]) -> impl Iterator<Item = Range> {
    let ends = ranges.iter().map(|range| Some(range.low)).chain([None]);
    let starts = [Some(0)].into_iter().chain(ranges.iter().map(|range| range.high.checked_add(1)));
    starts.zip(ends).filter_map(move |(start, end)| {
        let high = match end {
            Some(end) => end.checked_sub(1)?,
            None => field.max(),
        };
        let low = start?;
        (low <= high).then_some(Range::new(low, high))
    })
}
