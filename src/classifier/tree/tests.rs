//! The tables against the linear reference, their shape for sets that are easy to get wrong, and their limits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use super::{BuildError, Most, build, build_within};
use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::{Field, Key, VIEWS, ViewField, WORDS};
use crate::classifier::linear;
use crate::classifier::table::{NODES_MAX, STEPS_MAX, TREES_MAX, Tables, Target};
use crate::lab::classbench::{self, Mix};
use crate::lab::random::Random;

fn view(field: ViewField) -> Field {
    Field::view(0, field)
}

/// Fields of all kinds.
fn fields() -> Vec<Field> {
    let mut fields = Field::OF_FRAME.to_vec();
    for number in 0..VIEWS {
        fields.extend(
            [
                ViewField::EtherType,
                ViewField::Vlan,
                ViewField::Protocol,
                ViewField::Fragment,
                ViewField::Src0,
                ViewField::Src3,
                ViewField::Dst0,
                ViewField::Dst1,
                ViewField::SrcPort,
                ViewField::DstPort,
                ViewField::TcpFlags,
                ViewField::Transport,
            ]
            .map(|field| Field::view(number, field)),
        );
        fields.extend([0, 1, 7].map(|bit| Field::tcp_flag(number, bit)));
    }
    fields
}

pub(in crate::classifier) fn put(key: &mut Key, field: Field, value: u32) {
    let word = &mut key[field.word()];
    match field.bit() {
        None => *word = value,
        Some(bit) => *word = *word & !(1 << bit) | value << bit,
    }
}

/// A number up to this one.
fn upto(random: &mut Random, max: u32) -> u32 {
    (random.number() % (u64::from(max) + 1)) as u32
}

/// A range of the field: one value, a prefix, up to a value, from a value, some. Often one of few, so that entries meet.
fn some_range(field: Field, random: &mut Random) -> Range {
    let max = field.max();
    let value = if random.chance(60) { upto(random, max.min(12)) * (max / max.min(12)) } else { upto(random, max) };
    match random.below(6) {
        0 | 1 => Range::one(value),
        2 => {
            let host = (1u32 << random.below(20)).wrapping_sub(1) & max;
            Range::new(value & !host, (value | host).min(max))
        }
        3 => Range::new(0, value),
        4 => Range::new(value, max),
        _ => {
            let other = upto(random, max);
            Range::new(value.min(other), value.max(other))
        }
    }
}

/// Rules of up to three entries over some of the fields.
pub(in crate::classifier) fn some_rules(count: usize, random: &mut Random) -> Vec<Vec<Entry>> {
    let all = fields();
    let used: Vec<Field> = (0..1 + random.below(7)).map(|_| all[random.below(all.len())]).collect();
    let limits = 1 + random.below(5);
    let some = |random: &mut Random| {
        (0..random.below(limits + 1)).try_fold(Entry::default(), |entry, _| {
            let field = used[random.below(used.len())];
            entry.with(field, some_range(field, random))
        })
    };
    (0..count)
        .map(|_| {
            (0..1 + random.below(3)).filter_map(|_| some(random)).filter(|entry| !entry.ranges().is_empty()).collect()
        })
        .collect()
}

/// A key with fields at, before and behind the ends of some entry's ranges, of 0, of the largest value, and of any.
pub(in crate::classifier) fn some_key(rules: &[Vec<Entry>], random: &mut Random) -> Key {
    let mut key = [0; WORDS];
    for _ in 0..1 + random.below(3) {
        for (field, range) in rules[random.below(rules.len())].iter().flat_map(|entry| entry.ranges()) {
            let max = Field::max(*field);
            let value = match random.below(9) {
                0 => range.low.saturating_sub(1),
                1 => range.high.saturating_add(1).min(max),
                2 => range.low,
                3 => range.high,
                4 => 0,
                5 => max,
                6 => upto(random, max),
                _ => range.low + upto(random, range.high - range.low),
            };
            put(&mut key, *field, value);
        }
    }
    key
}

fn check(rules: &[Vec<Entry>], tables: &Tables, key: &Key) {
    let (tables, linear) = (tables.lookup(key), linear::first(rules, key));
    assert_eq!(tables, linear, "{} rules, key {key:?}", rules.len());
}

/// Every entry is found: of a key within it, the tables tell its rule or an earlier one that the key matches.
fn check_entries(rules: &[Vec<Entry>], tables: &Tables, random: &mut Random) {
    for (rank, entry) in (0..).zip(rules).flat_map(|(rank, entries)| entries.iter().map(move |entry| (rank, entry))) {
        let mut key = [0; WORDS];
        for (field, range) in entry.ranges() {
            put(&mut key, *field, range.low + upto(random, range.high - range.low));
        }
        // Fields that share a word, a flag of TCP and all of them, may not fit together.
        if entry.matches(&key) {
            let found = tables.lookup(&key).expect("a rule");
            let right = found <= rank && rules[found as usize].iter().any(|entry| entry.matches(&key));
            assert!(right, "rule {found} in place of {rank}, key {key:?}");
        }
    }
}

/// The nodes on the longest way, counted again: by what the tables hold, not by what made them.
fn steps(tables: &Tables) -> usize {
    fn of(tables: &Tables, target: Target, known: &mut [Option<usize>]) -> usize {
        let Target::Node(number) = target else { return 0 };
        let at = number as usize;
        if let Some(steps) = known[at] {
            return steps;
        }
        let node = tables.nodes[at];
        let steps = 1 + of(tables, node.yes, known).max(of(tables, node.no, known));
        known[at] = Some(steps);
        steps
    }
    let mut known = vec![None; tables.nodes.len()];
    tables.roots.iter().map(|root| of(tables, root.target, &mut known)).sum()
}

/// The tables, and what must be true of all tables.
fn built(rules: &[Vec<Entry>]) -> Tables {
    let tables = build(rules).expect("within the limits");
    assert!(tables.nodes.len() <= NODES_MAX);
    assert!(tables.roots.len() <= TREES_MAX);
    assert!(tables.roots.is_sorted_by_key(|root| root.rank));
    assert!(steps(&tables) <= STEPS_MAX);
    for node in &tables.nodes {
        assert!(node.low <= node.high && node.high <= node.field.max(), "{node:?}");
        assert!(node.yes != node.no, "{node:?}");
        assert!(node.field.of_view().unwrap_or(0) <= tables.views);
    }
    tables
}

#[test]
fn tables_find_what_the_linear_reference_finds() {
    let mut random = Random::new(1);
    let mut lookups = 0;
    let mut found = 0;
    for size in (1..=40).cycle().take(2_600) {
        let rules = some_rules(size, &mut random);
        let tables = built(&rules);
        for _ in 0..390 {
            let key = some_key(&rules, &mut random);
            check(&rules, &tables, &key);
            found += usize::from(tables.lookup(&key).is_some());
            lookups += 1;
        }
    }
    assert!(lookups > 1_000_000, "{lookups}");
    assert!(found > lookups / 4 && found < lookups * 3 / 4 + lookups / 5, "{found} of {lookups}");
}

#[test]
fn tables_of_many_rules_find_what_the_linear_reference_finds() {
    let mut random = Random::new(2);
    for (size, keys) in [(200, 4_000), (1_000, 1_000), (3_000, 300)] {
        for _ in 0..3 {
            let rules = some_rules(size, &mut random);
            let tables = built(&rules);
            check_entries(&rules, &tables, &mut random);
            for _ in 0..keys {
                check(&rules, &tables, &some_key(&rules, &mut random));
            }
        }
    }
}

#[test]
fn tables_of_ten_thousand_rules_find_what_the_linear_reference_finds() {
    let mut random = Random::new(3);
    for (mix, nodes, most) in [(Mix::Acl, 1 << 17, 110), (Mix::Fw, 1 << 17, 130), (Mix::Ipc, 1 << 17, 130)] {
        let set = classbench::rules(mix, 10_000, 1);
        let rules: Vec<Vec<Entry>> = set.iter().map(|rule| rule.entries()).collect();
        let tables = built(&rules);
        check_entries(&rules, &tables, &mut random);
        assert!(tables.nodes.len() < nodes, "{}: {} nodes", mix.name(), tables.nodes.len());
        assert!(steps(&tables) < most, "{}: {} steps", mix.name(), steps(&tables));
        for _ in 0..200 {
            check(&rules, &tables, &set[random.below(set.len())].packet(&mut random).key());
            check(&rules, &tables, &some_key(&rules, &mut random));
        }
    }
}

#[test]
fn the_ends_of_every_field_are_told_apart() {
    for field in fields() {
        let max = field.max();
        let values: Vec<u32> = [0, 1, 2, max / 2, max - 1, max].into_iter().filter(|value| *value <= max).collect();
        let mut rules = Vec::new();
        for (low, high) in [(0, 0), (max, max), (1, max), (0, max - 1), (max / 2, max / 2 + 1), (1, max - 1)] {
            if low <= high {
                rules.push(Entry::default().with(field, Range::new(low, high)).into_iter().collect());
            }
        }
        for first in 0..rules.len() {
            let rules = &rules[first..];
            let tables = built(rules);
            for value in &values {
                let mut key = [0; WORDS];
                put(&mut key, field, *value);
                check(rules, &tables, &key);
            }
        }
    }
}

#[test]
fn no_rules_and_rules_for_all_frames_need_no_node() {
    let tables = built(&[]);
    assert_eq!((tables.lookup(&[0; WORDS]), tables.roots.len()), (None, 0));
    let tables = built(&[vec![], vec![]]);
    assert_eq!((tables.lookup(&[0; WORDS]), tables.roots.len()), (None, 0));
    let tables = built(&[vec![], vec![Entry::default()], vec![only(ViewField::Protocol, Range::one(6))]]);
    assert_eq!((tables.lookup(&[0; WORDS]), tables.nodes.len()), (Some(1), 0));
}

#[test]
fn the_views_in_use_are_counted() {
    for number in 0..VIEWS {
        let entry = Entry::default().with(Field::view(number, ViewField::Src0), Range::one(1)).unwrap();
        assert_eq!(built(&[vec![entry]]).views, number);
    }
    assert_eq!(built(&[vec![Entry::default().with(Field::LENGTH, Range::new(0, 99)).unwrap()]]).views, 0);
}

fn only(field: ViewField, range: Range) -> Entry {
    Entry::default().with(view(field), range).unwrap()
}

fn tcp() -> Entry {
    only(ViewField::EtherType, Range::one(0x0800)).with(view(ViewField::Protocol), Range::one(6)).unwrap()
}

fn and(entry: Entry, field: ViewField, range: Range) -> Entry {
    entry.with(view(field), range).unwrap()
}

/// The set's tables have at most so many trees, nodes and steps, and are right for some keys.
fn shape(name: &str, rules: &[Vec<Entry>], (trees, nodes, most): (usize, usize, usize)) {
    let tables = built(rules);
    let is = (tables.roots.len(), tables.nodes.len(), steps(&tables));
    assert!(is.0 <= trees && is.1 <= nodes && is.2 <= most, "{name}: {is:?} trees, nodes, steps");
    let mut random = Random::new(4);
    check_entries(rules, &tables, &mut random);
    for _ in 0..60 {
        check(rules, &tables, &some_key(rules, &mut random));
    }
}

#[test]
fn hosts_are_a_search_by_halves() {
    let rules: Vec<Vec<Entry>> =
        (0..10_000).map(|i| vec![and(tcp(), ViewField::Dst0, Range::one(0x0a00_0000 + 7 * i))]).collect();
    shape("10,000 hosts", &rules, (1, 16_000, 18));
}

#[test]
fn equal_rules_are_one() {
    let rules = vec![vec![and(tcp(), ViewField::DstPort, Range::one(80))]; 10_000];
    shape("10,000 equal rules", &rules, (1, 3, 3));
}

#[test]
fn rules_for_nearly_everything_hide_those_behind_them() {
    let mut random = Random::new(5);
    let rules: Vec<Vec<Entry>> = (0..10_000)
        .map(|_| {
            let host = 1 + upto(&mut random, u32::MAX - 2);
            let others = [Range::new(0, host - 1), Range::new(host + 1, u32::MAX)];
            let pairs = others.iter().flat_map(|src| others.iter().map(move |dst| (*src, *dst)));
            pairs.map(|(src, dst)| and(and(tcp(), ViewField::Src0, src), ViewField::Dst0, dst)).collect()
        })
        .collect();
    shape("10,000 times not host", &rules, (1, 100, 20));
}

#[test]
fn sources_and_destinations_do_not_copy_each_other() {
    let mut random = Random::new(6);
    let rules: Vec<Vec<Entry>> = (0..10_000)
        .map(|i| {
            let net = upto(&mut random, u32::MAX) & !0xff;
            let field = if i % 2 == 0 { ViewField::Src0 } else { ViewField::Dst0 };
            vec![and(tcp(), field, Range::new(net, net | 0xff))]
        })
        .collect();
    shape("5,000 sources, 5,000 destinations", &rules, (2, 20_000, 38));
}

#[test]
fn ranges_in_ranges_are_a_search_by_halves() {
    let nested = |i: u32| Range::new(0x8000_0000 - i, 0x8000_0000 + i);
    let rules: Vec<Vec<Entry>> = (1..=10_000).map(|i| vec![and(tcp(), ViewField::Dst0, nested(i))]).collect();
    shape("10,000 ranges, the narrowest first", &rules, (1, 30_000, 30));
    let rules: Vec<Vec<Entry>> = rules.into_iter().rev().collect();
    shape("10,000 ranges, the widest first", &rules, (1, 20, 12));
    let rules: Vec<Vec<Entry>> =
        (1..=1_000).map(|i| vec![and(and(tcp(), ViewField::Src0, nested(i)), ViewField::Dst0, nested(i))]).collect();
    shape("1,000 squares, the narrowest first", &rules, (1, 30_000, 60));
}

#[test]
fn wide_boxes_in_five_fields_stay_within_the_limits() {
    let mut random = Random::new(7);
    let five = [ViewField::Src0, ViewField::Dst0, ViewField::SrcPort, ViewField::DstPort, ViewField::Protocol];
    let rules: Vec<Vec<Entry>> = (0..400)
        .map(|_| {
            let wide = |entry: Entry, field: &ViewField| {
                let [one, other] = [0; 2].map(|_| upto(&mut random, view(*field).max()));
                and(entry, *field, Range::new(one.min(other), one.max(other)))
            };
            vec![five.iter().fold(Entry::default(), wide)]
        })
        .collect();
    shape("400 wide boxes", &rules, (8, 1 << 18, 1_000));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let rules: Vec<Vec<Entry>> =
        (0..1_000).map(|i| vec![and(tcp(), ViewField::Dst0, Range::one(0x0a00_0000 + 7 * i))]).collect();
    let error = build_within(&rules, Most { nodes: 500, steps: STEPS_MAX }).unwrap_err();
    assert!(matches!(error, BuildError::TooLarge { nodes } if nodes > 500), "{error:?}");
    let error = build_within(&rules, Most { nodes: NODES_MAX, steps: 10 }).unwrap_err();
    assert!(matches!(error, BuildError::TooDeep { steps } if (11..30).contains(&steps)), "{error:?}");
    assert!(build_within(&rules, Most { nodes: 5_000, steps: 20 }).is_ok());
}
