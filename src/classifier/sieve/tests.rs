//! The sieve lets every flow pass that has a rule, and few others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use super::*;
use crate::classifier::compile::entries;
use crate::classifier::field::Key;
use crate::classifier::linear;
use crate::classifier::tree::tests::{put, some_key, some_rules};
use crate::lab::classbench::{self, Mix};
use crate::lab::random::Random;

/// What the datapath makes of a flow with this key: bpf/sieve.h.
fn allows(sieve: &Sieve, key: &Key) -> bool {
    let get = |field| key[Field::view(0, field).word()];
    let six = get(ViewField::EtherType) == IP6;
    let protocol = get(ViewField::Protocol) as u8 | if six { SIX } else { 0 };
    let mut left = sieve.allowed[PROTOCOL][usize::from(protocol)];
    let ports = [get(ViewField::SrcPort) as u16, get(ViewField::DstPort) as u16].map(u16::to_be_bytes);
    for (row, value) in (SPORT..).zip(ports.as_flattened()) {
        left &= sieve.allowed[row][usize::from(*value)];
    }
    let addresses = [get(ViewField::Src0), get(ViewField::Dst0)].map(u32::to_be_bytes);
    if !six {
        for (row, value) in (SRC..).zip(addresses.as_flattened()) {
            left &= sieve.allowed[row][usize::from(*value)];
        }
    }
    left != 0
}

fn lowered(expressions: &[&str]) -> Vec<Vec<Entry>> {
    expressions.iter().map(|text| entries(&text.parse().unwrap(), &|_| Some(7)).unwrap()).collect()
}

#[test]
fn a_flow_that_has_a_rule_passes() {
    let mut random = Random::new(1);
    let (mut sieves, mut with_rule, mut kept) = (0, 0, 0);
    for size in (1..=12).cycle().take(20_000) {
        let rules = some_rules(size, &mut random);
        let Some(sieve) = Sieve::of(&rules) else { continue };
        sieves += 1;
        for _ in 0..200 {
            let mut key = some_key(&rules, &mut random);
            let (family, _, protocols) = ASKED[random.below(2)];
            put(&mut key, Field::view(0, ViewField::EtherType), family);
            put(&mut key, Field::view(0, ViewField::Protocol), protocols[random.below(3)].into());
            let passes = allows(&sieve, &key);
            kept += usize::from(!passes);
            if let Some(rule) = linear::first(&rules, &key) {
                with_rule += 1;
                assert!(passes, "rule {rule} of {rules:?}, key {key:?}");
            }
        }
    }
    assert!(sieves > 900 && with_rule > 20_000 && kept > 100_000, "{sieves} {with_rule} {kept}");
}

#[test]
fn a_flow_that_has_no_rule_rarely_passes() {
    for mix in Mix::ALL {
        for (size, most) in [(1, 10), (10, 10), (40, 50)] {
            let set = classbench::rules(mix, size, 1);
            let rules: Vec<_> = set.iter().map(|rule| rule.entries()).collect();
            let sieve = Sieve::of(&rules).unwrap();
            let mut random = Random::new(2);
            let misses: Vec<Key> =
                (0..5_000).filter_map(|_| Some(classbench::miss(&set, true, &mut random)?.key())).collect();
            let passed = misses.iter().filter(|key| allows(&sieve, key)).count();
            assert!(misses.len() > 4_000 && passed <= most, "{} {size}: {passed} of {}", mix.name(), misses.len());
            for _ in 0..1_000 {
                let key = set[random.below(set.len())].packet(&mut random).key();
                let asked = ASKED[0].2.contains(&(key[Field::view(0, ViewField::Protocol).word()] as u8));
                assert!(!asked || allows(&sieve, &key), "{} {size}: {key:?}", mix.name());
            }
        }
    }
}

#[test]
fn where_it_would_be_of_no_use_there_is_none() {
    for (expressions, useful) in [
        (&["tcp"][..], true),
        (&["not tcp"], true),
        (&["tcp or udp or icmp"], false),
        (&["not port 22"], false),
        (&["port 22"], true),
        (&["vlan 5 and tcp"], true),
        (&["host 10.0.0.1", "inbound"], false),
        (&["arp", "ether host 02:00:00:00:00:01"], false),
    ] {
        assert_eq!(Sieve::of(&lowered(expressions)).is_some(), useful, "{expressions:?}");
    }
    let many = |count| (0..count).map(|port| format!("udp dst port {}", 257 * port)).collect::<Vec<_>>();
    for (count, useful) in [(64, true), (65, false), (200, false)] {
        let many = many(count);
        let expressions: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(Sieve::of(&lowered(&expressions)).is_some(), useful, "{count}");
    }
    assert!(Sieve::of(&[vec![Entry::default()]]).is_none());
}

#[test]
fn entries_that_make_one_box_are_one() {
    for (expression, expected) in [
        ("arp", 0),
        ("tcp", 1),
        ("udp port 53", 2),
        ("port 53", 2),
        ("host 10.0.0.1", 2),
        ("host 10.0.0.1 and port 443", 4),
        ("tcp dst portrange 256-1023", 1),
        ("tcp dst port 80 or 443", 2),
        ("ip6 host 2001:db8::1", 1),
        ("src net 10.0.0.0/8 or src net 11.0.0.0/8", 1),
    ] {
        let rules = lowered(&[expression]);
        assert_eq!(boxes(rules.iter().flatten()).unwrap().len(), expected, "{expression}");
    }
}

#[test]
fn a_byte_is_all_that_it_can_be_within_a_range() {
    let values = |low, high, behind| -> Vec<u8> {
        let bytes = Bytes::of(Range::new(low, high), behind);
        (0..=255).filter(|value| bytes.has(*value)).collect()
    };
    assert_eq!(values(0x1234, 0x1234, 8), [0x12]);
    assert_eq!(values(0x1234, 0x1236, 0), [0x34, 0x35, 0x36]);
    assert_eq!(values(0x12fe, 0x1301, 0), [0, 1, 0xfe, 0xff]);
    assert_eq!(values(0x12fe, 0x1301, 8), [0x12, 0x13]);
    assert_eq!(values(0x1200, 0x12ff, 0).len(), 256);
    assert_eq!(values(0, u32::MAX, 24).len(), 256);
    assert_eq!(values(u32::MAX, u32::MAX, 0), [255]);
}
