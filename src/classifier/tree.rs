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

/// Why there are no tables for these rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// They would have this many nodes.
    TooLarge {
        /// More than NODES_MAX.
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
            BuildError::TooLarge { nodes } => {
                write!(f, "the rules need {nodes} table entries, at most {NODES_MAX} are possible")
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

/// The tables of these rules: the entries of each, by rank.
pub fn build(rules: &[Vec<Entry>]) -> Result<Tables, BuildError> {
    let boxes = Boxes::new(rules);
    let mut nodes = Nodes::default();
    let mut roots = Vec::new();
    let mut rest: Vec<u32> = (0..boxes.len()).collect();
    while !rest.is_empty() {
        let last = roots.len() + 1 == TREES_MAX;
        let (taken, out) = if last { (rest, vec![]) } else { share::take(&boxes, &rest) };
        let rank = boxes.rank(taken[0]);
        let mut pass = Pass::new(&boxes, taken.len(), last);
        let target = pass.run(&taken, &mut nodes);
        roots.push(Root { target, rank });
        rest = pass.into_out();
        rest.extend(out);
        rest.sort_unstable();
        if nodes.len() > NODES_MAX {
            return Err(BuildError::TooLarge { nodes: nodes.len() });
        }
    }
    roots.sort_by_key(|root| root.rank);
    let steps = nodes.steps(&roots);
    if steps > STEPS_MAX {
        return Err(BuildError::TooDeep { steps });
    }
    Ok(nodes.into_tables(roots))
}
