//! Where a tree of comparisons is true, where it is false, and where it gets to an answer at all.

use super::LowerError;
use super::boxes::{Boxes, Piece, Set};
use super::program::{Leaf, Need, Tree, Values};
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
    boxes.join(&mut set).map_err(too_many)?;
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
        Tree::Not(tree) => Ok(find(boxes, tree, Want { yes: want.no, no: want.yes, any: want.any })?.turned()),
        Tree::All(trees) => find_chain(boxes, trees, want),
        // Not all of them are false.
        Tree::Any(trees) => Ok(find_chain_of_nots(boxes, trees, want)?.turned()),
    }
}

fn find_chain(boxes: &mut Boxes, trees: &[Tree], want: Want) -> Result<Sets, LowerError> {
    chain(boxes, trees, want, find)
}

fn find_chain_of_nots(boxes: &mut Boxes, trees: &[Tree], want: Want) -> Result<Sets, LowerError> {
    let turn = |want: Want| Want { yes: want.no, no: want.yes, any: want.any };
    chain(boxes, trees, turn(want), |boxes, tree, want| Ok(find(boxes, tree, turn(want))?.turned()))
}

/// The sets of `a and b and c and …`. It is false where `a` is, or where `a` is true and the rest false; the latter may be
/// written with "`a` gets to an answer" as well, which adds nothing. It gets to an answer where `a` is false, or where `a`
/// and the rest do.
fn chain(
    boxes: &mut Boxes,
    trees: &[Tree],
    want: Want,
    find: impl Fn(&mut Boxes, &Tree, Want) -> Result<Sets, LowerError>,
) -> Result<Sets, LowerError> {
    let Some((last, first)) = trees.split_last() else {
        let all: Set = boxes.piece(&[]).into_iter().collect();
        return Ok(Sets { yes: all.clone(), no: Set::new(), any: all });
    };
    let mut rest = find(boxes, last, want)?;
    for tree in first.iter().rev() {
        let more = want.no || want.any;
        let own = find(boxes, tree, Want { yes: want.yes || want.no, no: more, any: more })?;
        if want.yes {
            rest.yes = boxes.meet(&rest.yes, &own.yes)?;
        }
        if want.any {
            let both = boxes.meet(&rest.any, &own.any)?;
            rest.any = boxes.either(own.no.clone(), both)?;
        }
        if want.no {
            let reached = if own.yes.len() <= own.any.len() { &own.yes } else { &own.any };
            let both = boxes.meet(&rest.no, reached)?;
            rest.no = boxes.either(own.no, both)?;
        }
    }
    Ok(rest)
}

fn find_leaf(boxes: &mut Boxes, leaf: &Leaf, want: Want) -> Result<Sets, LowerError> {
    let need = match leaf.need {
        Need::Nothing => None,
        Need::Captured(bytes) => Some((Field::CAPTURED, bytes)),
        Need::Transport(field, bytes) => Some((field, bytes)),
    };
    let need = need.map(|(field, bytes)| (field, Range::new(bytes, field.max())));
    let mut sets = Sets::default();
    if want.yes {
        sets.yes = values(boxes, need, &leaf.values, false);
    }
    if want.no {
        sets.no = values(boxes, need, &leaf.values, true);
    }
    if want.any {
        sets.any = boxes.piece(need.as_slice()).into_iter().collect();
    }
    Ok(sets)
}

/// The pieces where the values are these, or others.
fn values(boxes: &mut Boxes, need: Option<(Field, Range)>, values: &Values, others: bool) -> Set {
    let mut set = Set::new();
    match (values, others) {
        (Values::One(field, range), false) => set.extend(one(boxes, need, &[(*field, *range)])),
        (Values::One(field, range), true) => {
            set.extend(gaps(*field, &[*range]).filter_map(|range| one(boxes, need, &[(*field, range)])));
        }
        (Values::Some(field, ranges), false) => {
            set.extend(ranges.iter().filter_map(|range| one(boxes, need, &[(*field, *range)])));
        }
        (Values::Some(field, ranges), true) => {
            set.extend(gaps(*field, ranges).filter_map(|range| one(boxes, need, &[(*field, range)])));
        }
        (Values::Bits(cubes, _), false) | (Values::Bits(_, cubes), true) => {
            set.extend(cubes.iter().filter_map(|bits| one(boxes, need, bits)));
        }
    }
    set
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

/// The piece of what a load needs and the ranges.
fn one(boxes: &mut Boxes, need: Option<(Field, Range)>, ranges: &[(Field, Range)]) -> Option<Piece> {
    let Some(need) = need else { return boxes.piece(ranges) };
    let mut all = [need; 9];
    let at = ranges.partition_point(|(field, _)| *field < need.0);
    all[..at].copy_from_slice(&ranges[..at]);
    all[at + 1..=ranges.len()].copy_from_slice(&ranges[at..]);
    boxes.piece(&all[..=ranges.len()])
}
