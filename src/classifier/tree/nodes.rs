//! The nodes of all trees: each distinct one once, children before parents; and at last in the order of the walk.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::classifier::table::{Node, Root, Tables, Target};

/// Nodes of a line of the processor's cache.
const LINE: usize = 4;

/// A hash of a node: fast, as no one chooses nodes to make them collide but by choosing rules.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// The nodes so far. Those that a node leads to are before it.
#[derive(Default)]
pub struct Nodes {
    nodes: Vec<Node>,
    numbers: HashMap<Node, u32, BuildHasherDefault<Mix>>,
}

impl Nodes {
    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Leaves as many of the first ones.
    pub fn truncate(&mut self, count: usize) {
        for node in self.nodes.drain(count..) {
            self.numbers.remove(&node);
        }
    }

    /// Where the way of this node begins: at the same node that is there already, or behind it, where both ways are the same.
    pub fn add(&mut self, node: Node) -> Target {
        if node.yes == node.no {
            return node.yes;
        }
        let next = self.nodes.len() as u32;
        let number = *self.numbers.entry(node).or_insert(next);
        if number == next {
            self.nodes.push(node);
        }
        Target::Node(number)
    }

    /// The nodes on the longest way through all trees.
    pub fn steps(&self, roots: &[Root]) -> usize {
        let mut longest: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let length = |longest: &[usize], target| match target {
            Target::Node(number) => longest[number as usize],
            Target::End(_) => 0,
        };
        for node in &self.nodes {
            let steps = 1 + length(&longest, node.yes).max(length(&longest, node.no));
            longest.push(steps);
        }
        roots.iter().map(|root| length(&longest, root.target)).sum()
    }

    /// The tables of these trees. Nodes that follow each other on a way are neighbours where possible, so that a line of the cache
    /// holds two or three steps.
    pub fn into_tables(self, mut roots: Vec<Root>) -> Tables {
        const UNPLACED: u32 = u32::MAX;
        let mut places = vec![UNPLACED; self.nodes.len()];
        let mut order: Vec<u32> = Vec::with_capacity(self.nodes.len());
        let mut heads: Vec<Target> = roots.iter().rev().map(|root| root.target).collect();
        let mut line = VecDeque::new();
        while let Some(head) = heads.pop() {
            // The head and what is right behind it, until the line is full. What did not fit begins lines of its own.
            line.push_back(head);
            let begin = order.len();
            while let Some(target) = line.pop_front() {
                let Target::Node(number) = target else { continue };
                let place = &mut places[number as usize];
                if *place != UNPLACED {
                    continue;
                }
                if order.len() > begin && order.len().is_multiple_of(LINE) {
                    line.push_front(target);
                    break;
                }
                *place = order.len() as u32;
                order.push(number);
                let node = &self.nodes[number as usize];
                line.extend([node.no, node.yes]);
            }
            heads.extend(line.drain(..).rev());
        }
        let moved = |target| match target {
            Target::Node(number) => Target::Node(places[number as usize]),
            end => end,
        };
        let nodes: Vec<Node> = order
            .iter()
            .map(|number| self.nodes[*number as usize])
            .map(|node| Node { yes: moved(node.yes), no: moved(node.no), ..node })
            .collect();
        for root in &mut roots {
            root.target = moved(root.target);
        }
        let views = nodes.iter().filter_map(|node| node.field.of_view()).max().unwrap_or(0);
        Tables { nodes, roots, views }
    }
}
