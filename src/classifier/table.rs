//! The tables of the datapath: what `bpf/abi_rules.h` calls nodes and roots.

use super::field::{Field, Key};

/// The largest number of nodes.
pub const NODES_MAX: usize = 1 << 20;
/// The largest number of trees.
pub const TREES_MAX: usize = 8;
/// Nodes on a frame's way through all trees, at most.
pub const STEPS_MAX: usize = 4096;

/// Where a way goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// At this node.
    Node(u32),
    /// Nowhere: this is the rank of the rule; None when there is none.
    End(Option<u32>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What is compared.
    pub field: Field,
    /// The smallest value.
    pub low: u32,
    /// The largest.
    pub high: u32,
    /// Where a value between them leads.
    pub yes: Target,
    /// Where another one leads.
    pub no: Target,
}

/// Where a tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its first node.
    pub target: Target,
    /// The lowest rank in it.
    pub rank: u32,
}

/// All trees of a rule set, by rising rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The nodes of all trees.
    pub nodes: Vec<Node>,
    /// Where they begin.
    pub roots: Vec<Root>,
    /// The number of views beyond the first that they look at.
    pub views: u8,
}

impl Tables {
    /// The rank of the first rule that a frame with this key matches: just what the datapath does.
    pub fn lookup(&self, key: &Key) -> Option<u32> {
        let mut best = None;
        for root in &self.roots {
            if best.is_some_and(|best| best <= root.rank) {
                break;
            }
            let mut target = root.target;
            while let Target::Node(number) = target {
                let node = &self.nodes[number as usize];
                let value = node.field.value(key);
                target = if node.low <= value && value <= node.high { node.yes } else { node.no };
            }
            if let Target::End(Some(rank)) = target {
                best = Some(best.map_or(rank, |best: u32| best.min(rank)));
            }
        }
        best
    }
}
