//! Entries -> trees of comparisons: which rule is the first that a frame matches, in a few steps, however many there are.
//!
//! A tree is built from the root down. Each node cuts the space of its entries by one field in two, where that leaves the fewest
//! entries on both sides; entries that lie on both go to both. Where few are left, they are compared one after the other. Entries
//! that would be copied to too many places (those of any source among many sources) go to the next tree instead, so that the
//! size stays in proportion to the number of entries. All trees are asked; most sets need one or two.

mod boxes;
mod cut;
mod grow;
mod leaf;
mod nodes;
mod share;

use std::fmt;

use boxes::Boxes;
use grow::Pass;
use nodes::Nodes;

use super::entry::Entry;
use super::table::{NODES_MAX, Root, STEPS_MAX, TREES_MAX, Tables};

/// Entries of a leaf of a single tree: the larger, the fewer copies.
const LEAVES: [usize; 2] = [12, 96];

/// Why there are no tables for these rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// They would have this many nodes or more.
    TooLarge {
        /// More than NODES_MAX, or as many as there were when it was clear that it would be more.
        nodes: usize,
    },
    /// A frame's way could be this long.
    TooDeep {
        /// More than STEPS_MAX.
        steps: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::TooLarge { .. } => {
                write!(f, "the rules need more than {NODES_MAX} table nodes")
            }
            BuildError::TooDeep { steps } => {
                write!(
                    f,
                    "the rules overlap so much that a frame may need {steps} comparisons, at most {STEPS_MAX} are possible"
                )
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// How large tables may be.
#[derive(Clone, Copy)]
struct Most {
    nodes: usize,
    steps: usize,
}

/// The tables of these rules: the entries of each, by rank.
pub fn build(rules: &[Vec<Entry>]) -> Result<Tables, BuildError> {
    build_within(rules, Most { nodes: NODES_MAX, steps: STEPS_MAX })
}

fn build_within(rules: &[Vec<Entry>], most: Most) -> Result<Tables, BuildError> {
    let boxes = Boxes::new(rules);
    // Few sets need the other way: such where each entry lies on many others in all fields.
    several(&boxes, most).or_else(|error| LEAVES.iter().find_map(|few| one(&boxes, *few, most).ok()).ok_or(error))
}

/// Trees by the fields that tell entries apart.
fn several(boxes: &Boxes, most: Most) -> Result<Tables, BuildError> {
    let mut nodes = Nodes::default();
    let mut roots = Vec::new();
    let mut rest: Vec<u32> = (0..boxes.len()).collect();
    while !rest.is_empty() {
        let before = nodes.len();
        if let Some(target) = Pass::trial(boxes, rest.len(), most.nodes).run(&rest, &mut nodes) {
            roots.push(Root { target, rank: boxes.rank(rest[0]) });
            break;
        }
        nodes.truncate(before);
        let (taken, out) = if roots.len() + 1 < TREES_MAX { share::take(boxes, &rest) } else { (rest, vec![]) };
        let Some(target) = Pass::of_all(boxes, taken.len(), most.nodes).run(&taken, &mut nodes) else {
            return Err(BuildError::TooLarge { nodes: nodes.len() });
        };
        roots.push(Root { target, rank: boxes.rank(taken[0]) });
        rest = out;
    }
    finish(nodes, roots, most)
}

/// One tree, whatever is copied.
fn one(boxes: &Boxes, few: usize, most: Most) -> Result<Tables, BuildError> {
    let rest: Vec<u32> = (0..boxes.len()).collect();
    let mut nodes = Nodes::default();
    let Some(target) = Pass::single(boxes, few, most.nodes).run(&rest, &mut nodes) else {
        return Err(BuildError::TooLarge { nodes: nodes.len() });
    };
    let roots = rest.first().map(|first| Root { target, rank: boxes.rank(*first) });
    finish(nodes, roots.into_iter().collect(), most)
}

fn finish(nodes: Nodes, mut roots: Vec<Root>, most: Most) -> Result<Tables, BuildError> {
    if nodes.len() > most.nodes {
        return Err(BuildError::TooLarge { nodes: nodes.len() });
    }
    roots.sort_by_key(|root| root.rank);
    let steps = nodes.steps(&roots);
    if steps > most.steps {
        return Err(BuildError::TooDeep { steps });
    }
    Ok(nodes.into_tables(roots))
}

#[cfg(test)]
pub(super) mod tests;
