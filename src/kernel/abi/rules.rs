//! Rules and their tables, as the datapath has them.

use super::{Config, Pod, ebm_rules_limit};
use crate::classifier::compile::Uses;
use crate::classifier::field;
use crate::classifier::sieve::{self, Sieve};
use crate::classifier::table::{Node, Root, TREES_MAX, Target};
use crate::kernel::skel::types::{
    ebm_node as RawNode, ebm_node_bits, ebm_root as RawRoot, ebm_rule_flag, ebm_sieve_row, ebm_table, ebm_use,
};
pub use crate::kernel::skel::types::{ebm_rule as RawRule, ebm_sieve as RawSieve};
use crate::model::rule::{Action, Rule, Sample, SnapLen};

/// Rules an instance.
pub const RULES: usize = ebm_rules_limit::EBM_RULES_MAX.0 as usize;
/// Counters of rules in one element of their map.
pub const BLOCK: usize = ebm_rules_limit::EBM_RULES_BLOCK.0 as usize;
/// Elements of counters in a bank.
pub const BLOCKS: usize = RULES / BLOCK;
/// Bytes in one element of the rules' texts.
pub const TEXT: usize = 4096;

const _: () = assert!(TREES_MAX == ebm_rules_limit::EBM_RULES_TREES.0 as usize);
const _: () = assert!(field::VIEWS as u32 == ebm_rules_limit::EBM_RULES_VIEWS.0);
const _: () = assert!(field::CAPTURED_MAX == ebm_rules_limit::EBM_RULES_CAPTURED.0);
const _: () = assert!(field::TRANSPORT_MAX == ebm_rules_limit::EBM_RULES_TRANSPORT.0);
const _: () = assert!(sieve::ROWS as u32 == ebm_sieve_row::EBM_SIEVE_ROWS.0);
const _: () = assert!(sieve::VALUES as u32 == ebm_sieve_row::EBM_SIEVE_VALUES.0);
const _: () = assert!(sieve::SRC as u32 == ebm_sieve_row::EBM_SIEVE_SRC.0);
const _: () = assert!(sieve::DST as u32 == ebm_sieve_row::EBM_SIEVE_DST.0);
const _: () = assert!(sieve::SPORT as u32 == ebm_sieve_row::EBM_SIEVE_SPORT.0);
const _: () = assert!(sieve::DPORT as u32 == ebm_sieve_row::EBM_SIEVE_DPORT.0);
const _: () = assert!(sieve::PROTOCOL as u32 == ebm_sieve_row::EBM_SIEVE_PROTOCOL.0);
const _: () = assert!(sieve::SIX as u32 == ebm_sieve_row::EBM_SIEVE_SIX.0);

/// An element of the rules' texts.
#[derive(Clone, Copy)]
pub struct Block(pub [u8; TEXT]);

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableSize {
    /// For a few rules.
    Small,
    /// For some hundreds.
    Medium,
    /// For all that there may be.
    Large,
}

impl TableSize {
    /// All of them, the smallest first.
    pub const ALL: [TableSize; 3] = [TableSize::Small, TableSize::Medium, TableSize::Large];

    /// The smallest that holds so many nodes. None when none does.
    pub fn of(nodes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|size| nodes <= size.nodes())
    }

    /// The nodes that it holds.
    pub fn nodes(self) -> usize {
        let nodes = match self {
            TableSize::Small => ebm_rules_limit::EBM_RULES_SMALL,
            TableSize::Medium => ebm_rules_limit::EBM_RULES_MEDIUM,
            TableSize::Large => ebm_rules_limit::EBM_RULES_LARGE,
        };
        nodes.0 as usize
    }

    /// Its bytes.
    pub fn bytes(self) -> usize {
        self.nodes() * size_of::<RawNode>()
    }

    /// The map with a table of this size for each generation.
    pub fn map(self) -> &'static str {
        match self {
            TableSize::Small => "ebm_table_small",
            TableSize::Medium => "ebm_table_medium",
            TableSize::Large => "ebm_table_large",
        }
    }

    /// Its number in `Config::table`.
    pub fn number(self) -> u8 {
        let number = match self {
            TableSize::Small => ebm_table::EBM_TABLE_SMALL,
            TableSize::Medium => ebm_table::EBM_TABLE_MEDIUM,
            TableSize::Large => ebm_table::EBM_TABLE_LARGE,
        };
        number.0 as u8
    }
}

fn target(target: Target) -> u32 {
    match target {
        Target::Node(number) => number & ebm_node_bits::EBM_NODE_TARGET.0,
        Target::End(rank) => rank.unwrap_or(ebm_node_bits::EBM_NODE_NONE.0) | ebm_node_bits::EBM_NODE_END.0,
    }
}

fn raw_node(node: &Node) -> RawNode {
    // A bit is compared as the highest one: those below it may be anything.
    let (low, high, left) = match node.field.bit() {
        None => (node.low, node.high, 0),
        Some(bit) => (node.low << 31, node.high << 31 | 0x7fff_ffff, 31 - u32::from(bit)),
    };
    RawNode {
        low,
        span: high.wrapping_sub(low),
        yes: target(node.yes) | (node.field.word() as u32) << ebm_node_bits::EBM_NODE_WORD_SHIFT.0,
        no: target(node.no) | left << ebm_node_bits::EBM_NODE_LEFT_SHIFT.0,
    }
}

/// The bytes of a table of this size.
pub fn raw_table(nodes: &[Node], size: TableSize) -> Vec<u8> {
    // What stays zero is never touched: a large table is 16 MiB.
    let mut bytes = vec![0; size.bytes()];
    for (place, node) in bytes.chunks_exact_mut(size_of::<RawNode>()).zip(nodes) {
        place.copy_from_slice(raw_node(node).bytes());
    }
    bytes
}

/// `Config::uses`.
pub fn raw_uses(uses: Uses) -> u32 {
    [
        (uses.mac, ebm_use::EBM_USE_MAC),
        (uses.length, ebm_use::EBM_USE_LENGTH),
        (uses.addresses, ebm_use::EBM_USE_ADDRESSES),
        (uses.ports, ebm_use::EBM_USE_PORTS),
        (uses.tcp_flags, ebm_use::EBM_USE_TCP_FLAGS),
        (uses.interface, ebm_use::EBM_USE_INTERFACE),
    ]
    .into_iter()
    .filter_map(|(used, bit)| used.then_some(bit.0))
    .fold(0, |bits, bit| bits | bit)
}

/// Writes where the trees begin; there are no more than `TREES_MAX`.
pub fn set_roots(config: &mut Config, roots: &[Root]) {
    config.root_count = roots.len() as u8;
    for (raw, root) in config.roots.iter_mut().zip(roots) {
        *raw = RawRoot { node: target(root.target), rank: root.rank };
    }
}

/// The sieve as the datapath wants it.
pub fn raw_sieve(sieve: &Sieve) -> RawSieve {
    let mut raw = RawSieve::zeroed();
    raw.allowed.copy_from_slice(sieve.allowed.as_flattened());
    raw
}

/// A rule as the datapath wants it: with the peers and groups that get a copy, and the slot of its counter.
pub fn raw_rule(rule: &Rule, peers: u64, groups: u64, counter: u32) -> RawRule {
    RawRule {
        peers,
        groups,
        snaplen_bytes: rule.snaplen.map_or(0, SnapLen::get),
        sample: sample(rule.sample.unwrap_or(Sample::ALL)),
        counter,
        flags: match rule.action {
            Action::Mirror => ebm_rule_flag::EBM_RULE_FLAG_MIRROR.0,
            Action::Skip => 0,
        },
    }
}

/// The largest hash that is chosen.
fn sample(sample: Sample) -> u32 {
    ((1 << 32) / u64::from(sample.of()) - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::field::{Field, Key, ViewField, WORDS};

    /// What the datapath does with a node: bpf/abi_rules.h.
    fn walk(node: &RawNode, key: &Key) -> u32 {
        let value = key[(node.yes >> 25) as usize] << (node.no >> 25);
        let way = if value.wrapping_sub(node.low) <= node.span { node.yes } else { node.no };
        way & 0x1ff_ffff
    }

    #[test]
    fn a_node_is_packed_into_four_words() {
        let node = Node {
            field: Field::view(3, ViewField::Transport),
            low: 4,
            high: 14,
            yes: Target::Node(0xf_ffff),
            no: Target::End(Some(10_239)),
        };
        let raw = raw_node(&node);
        assert_eq!((raw.low, raw.span), (4, 10));
        assert_eq!((raw.yes, raw.no), (71 << 25 | 0xf_ffff, 1 << 24 | 10_239));
        let none = raw_node(&Node { no: Target::End(None), ..node });
        assert_eq!(none.no, 1 << 24 | 0xff_ffff);
    }

    #[test]
    fn every_field_is_compared_as_the_table_says() {
        let mut fields = vec![Field::LENGTH, Field::SRC_MAC_LOW, Field::view(0, ViewField::Src0)];
        fields.extend((0..8).map(|bit| Field::tcp_flag(1, bit)));
        let mut compared = 0;
        for field in fields {
            let most = field.max();
            for (low, high) in [(0, 0), (1, 1), (0, 1), (0, most), (most, most), (most / 2, most)] {
                let node = Node { field, low, high, yes: Target::End(Some(1)), no: Target::End(Some(2)) };
                let raw = raw_node(&node);
                for value in [0, 1, 2, 0x12, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                    let mut key = [!value; WORDS];
                    key[field.word()] = value;
                    let is_in = (low..=high).contains(&field.value(&key));
                    let expected = 1 << 24 | if is_in { 1 } else { 2 };
                    assert_eq!(walk(&raw, &key), expected, "{field} {low}..={high} of {value:#x}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 11 * 6 * 9);
    }

    #[test]
    fn one_bit_is_the_highest_when_it_is_compared() {
        let node = |low, high| {
            let field = Field::tcp_flag(0, 1);
            raw_node(&Node { field, low, high, yes: Target::Node(0), no: Target::End(None) })
        };
        let (zero, one) = (node(0, 0), node(1, 1));
        assert_eq!((one.low, one.span, one.no >> 25), (0x8000_0000, 0x7fff_ffff, 30));
        assert_eq!((zero.low, zero.span, zero.no >> 25), (0, 0x7fff_ffff, 30));
        let all = node(0, 1);
        assert_eq!((all.low, all.span), (0, u32::MAX));
    }

    #[test]
    fn a_table_takes_the_smallest_map_that_it_fits() {
        for (nodes, size) in [
            (0, Some(TableSize::Small)),
            (1 << 10, Some(TableSize::Small)),
            ((1 << 10) + 1, Some(TableSize::Medium)),
            (1 << 15, Some(TableSize::Medium)),
            ((1 << 15) + 1, Some(TableSize::Large)),
            (1 << 20, Some(TableSize::Large)),
            ((1 << 20) + 1, None),
        ] {
            assert_eq!(TableSize::of(nodes), size, "{nodes}");
        }
        let node = Node { field: Field::LENGTH, low: 1, high: 2, yes: Target::Node(1), no: Target::End(None) };
        let bytes = raw_table(&[node], TableSize::Small);
        assert_eq!(bytes.len(), 16 << 10);
        assert_eq!(&bytes[..16], raw_node(&node).bytes());
        assert!(bytes[16..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn samples_are_shares_of_all_hashes() {
        let share = |text: &str| sample(text.parse().unwrap());
        assert_eq!(share("1/1"), u32::MAX);
        assert_eq!(share("1/2"), 0x7fff_ffff);
        assert_eq!(share("1/3"), 0x5555_5554);
        assert_eq!(share("1/1000000"), 4293);
    }
}
