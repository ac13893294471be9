//! The end of a tree: the few entries that are left, one after the other.

use super::boxes::{Boxes, Limit};
use super::nodes::Nodes;
use crate::classifier::entry::Range;
use crate::classifier::table::{Node, Target};

/// Entries up to here are compared with each other: one that an earlier one covers is left out.
const COMPARED: usize = 32;
/// How many entries a failed comparison may leave out.
const SKIPPED: usize = 64;

/// The chain of these entries, for keys that lie within the bounds (by field).
pub fn chain(boxes: &Boxes, list: &[u32], bounds: &[Range], nodes: &mut Nodes) -> Target {
    let mut links: Vec<(u32, Vec<Limit>)> = Vec::with_capacity(list.len());
    for entry in list {
        let limits: Vec<Limit> =
            boxes.limits(*entry).iter().filter(|limit| !limit.has(bounds[limit.field as usize])).copied().collect();
        let covered = links.len() < COMPARED && links.iter().any(|(_, earlier)| covers(earlier, &limits, bounds));
        if !covered {
            let last = limits.is_empty();
            links.push((boxes.rank(*entry), limits));
            if last {
                break;
            }
        }
    }
    let shared = shared(&mut links);

    // heads[i]: where the chain from the entry i on begins.
    let mut heads = vec![Target::End(None); links.len() + 1];
    for (at, (rank, limits)) in links.iter().enumerate().rev() {
        let mut target = Target::End(Some(*rank));
        for limit in limits.iter().rev() {
            let next =
                at + 1 + links[at + 1..].iter().take(SKIPPED).take_while(|(_, later)| fails(later, limit)).count();
            target = nodes.add(node(boxes, limit, target, heads[next]));
        }
        heads[at] = target;
    }
    shared.iter().rev().fold(heads[0], |target, limit| nodes.add(node(boxes, limit, target, Target::End(None))))
}

fn node(boxes: &Boxes, limit: &Limit, yes: Target, no: Target) -> Node {
    Node { field: boxes.fields()[limit.field as usize], low: limit.low, high: limit.high, yes, no }
}

/// Whether an entry of these limits, within the bounds, is matched by all that the later one is.
fn covers(limits: &[Limit], later: &[Limit], bounds: &[Range]) -> bool {
    limits.iter().all(|limit| {
        later.iter().any(|other| {
            let bound = bounds[other.field as usize];
            other.field == limit.field && limit.has(Range::new(other.low.max(bound.low), other.high.min(bound.high)))
        })
    })
}

/// Whether an entry fails when this comparison has.
fn fails(limits: &[Limit], failed: &Limit) -> bool {
    limits.iter().any(|limit| limit.field == failed.field && failed.low <= limit.low && limit.high <= failed.high)
}

/// Takes out what all entries compare, where there are several.
fn shared(links: &mut [(u32, Vec<Limit>)]) -> Vec<Limit> {
    let [(_, first), others @ ..] = links else { return vec![] };
    if others.is_empty() {
        return vec![];
    }
    let shared: Vec<Limit> =
        first.iter().filter(|limit| others.iter().all(|(_, other)| other.contains(limit))).copied().collect();
    for (_, limits) in links {
        limits.retain(|limit| !shared.contains(limit));
    }
    shared
}
