//! What expressions become, where tcpdump cannot be asked: how many entries, which errors, what is not in a capture file.

use std::net::IpAddr;
use std::time::Instant;

use super::*;
use crate::classifier::entry::Range;
use crate::classifier::field::{Key, VIEWS, ViewField};
use crate::classifier::key::key;
use crate::lab::expressions;
use crate::lab::random::{self, Random};
use crate::model::expression::{Expression, Family, Net, Ports, Relation, Side, Test, Transport};

fn test(test: Test) -> Expression {
    Expression::Test(test)
}

fn all(expressions: impl IntoIterator<Item = Expression>) -> Expression {
    expressions.into_iter().reduce(|a, b| Expression::And(Box::new(a), Box::new(b))).unwrap()
}

fn any(expressions: impl IntoIterator<Item = Expression>) -> Expression {
    expressions.into_iter().reduce(|a, b| Expression::Or(Box::new(a), Box::new(b))).unwrap()
}

fn not(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

fn net(side: Side, text: &str, prefix: u8) -> Expression {
    test(Test::Network(Family::Any, side, Net { address: text.parse().unwrap(), prefix }))
}

fn port(transport: Transport, side: Side, first: u16, last: u16) -> Expression {
    test(Test::Port(transport, side, Ports { first, last }))
}

fn protocol(number: u8) -> Expression {
    test(Test::Protocol(Family::Any, number))
}

fn entries(expression: &Expression) -> Vec<Entry> {
    lower(expression, &|_| None, ENTRIES_MAX).unwrap()
}

#[test]
fn typical_expressions_become_few_entries() {
    use Transport::{Any, Tcp, Udp};
    let host = |text| net(Side::Either, text, 32);
    let rows = [
        ("ip", test(Test::EtherType(0x0800)), 1),
        ("vlan", test(Test::Vlan(None)), 3),
        ("vlan 5", test(Test::Vlan(Some(5))), 3),
        ("tcp", protocol(6), 3),
        ("tcp port 80", port(Tcp, Side::Either, 80, 80), 4),
        ("udp dst port 53", port(Udp, Side::Dst, 53, 53), 2),
        ("port 80", port(Any, Side::Either, 80, 80), 12),
        ("tcp portrange 1000-2000", port(Tcp, Side::Either, 1000, 2000), 4),
        ("host 10.0.0.1", host("10.0.0.1"), 6),
        ("src net 10.0.0.0/8", net(Side::Src, "10.0.0.0", 8), 3),
        ("net 2001:db8::/32", net(Side::Either, "2001:db8::", 32), 2),
        ("host 10.0.0.1 and tcp port 80", all([host("10.0.0.1"), port(Tcp, Side::Either, 80, 80)]), 4),
        (
            "tcp and src net 10.0.0.0/8 and dst net 10.1.0.0/16 and dst port 443",
            all([
                protocol(6),
                net(Side::Src, "10.0.0.0", 8),
                net(Side::Dst, "10.1.0.0", 16),
                port(Any, Side::Dst, 443, 443),
            ]),
            1,
        ),
        ("tcp[tcpflags] & (syn|ack) = syn", test(Test::TcpFlags(0x12, Relation::Equal, 2)), 1),
        ("tcp[tcpflags] & (syn|fin|rst) != 0", test(Test::TcpFlags(7, Relation::NotEqual, 0)), 3),
        ("not ip", not(test(Test::EtherType(0x0800))), 2),
        ("ether multicast", test(Test::Multicast), 1),
        ("not port 22", not(port(Any, Side::Either, 22, 22)), 48),
        ("tcp and not port 22", all([protocol(6), not(port(Any, Side::Either, 22, 22))]), 10),
    ];
    for (text, expression, most) in rows {
        let entries = entries(&expression);
        println!("{:3} {text}", entries.len());
        assert!(entries.len() <= most, "{text}: {entries:#?}");
    }
}

#[test]
fn what_is_no_byte_of_the_frame() {
    let interface = |name: &InterfaceName| (name.as_str() == "eth0").then_some(7);
    let name = |text: &str| test(Test::Interface(text.parse().unwrap()));
    let one = |field, range| vec![Entry::default().with(field, range).unwrap()];
    let lower = |expression| lower(&expression, &interface, 10);
    assert_eq!(lower(test(Test::Inbound(true))), Ok(one(Field::DIRECTION, Range::one(1))));
    assert_eq!(lower(test(Test::Inbound(false))), Ok(one(Field::DIRECTION, Range::one(2))));
    assert_eq!(lower(name("eth0")), Ok(one(Field::INTERFACE, Range::one(7))));
    assert_eq!(lower(name("eth1")), Err(LowerError::UnknownInterface("eth1".parse().unwrap())));
    assert_eq!(lower(test(Test::Length(Relation::LessEqual, 9))), Ok(one(Field::LENGTH, Range::new(0, 9))));
    assert_eq!(lower(test(Test::Length(Relation::Less, 0))), Ok(Vec::new()));
    assert_eq!(lower(test(Test::Length(Relation::GreaterEqual, 0))), Ok(vec![Entry::default()]));
}

#[test]
fn what_cannot_be_is_an_error() {
    let lower = |expression, most| lower(&expression, &|_| None, most);
    let ports = |step: usize| any((1..400).step_by(step).map(|number| port(Transport::Tcp, Side::Src, number, number)));
    assert_eq!(lower(ports(2), 100), Err(LowerError::TooMany(100)));
    assert_eq!(lower(test(Test::Vlan(None)), 2), Err(LowerError::TooMany(2)));
    assert_eq!(lower(test(Test::EtherType(1500)), 2), Err(LowerError::EtherType(1500)));
    let tags = |count| all((0..count).map(|_| test(Test::Vlan(None))));
    assert!(lower(tags(4), 100).is_ok());
    assert_eq!(lower(tags(5), 1000), Err(LowerError::TooManyVlans));
    let length = test(Test::Length(Relation::Equal, 1));
    assert!(lower(all([tags(4), length, test(Test::Multicast)]), 100).is_ok());
    assert_eq!(lower(all([tags(4), protocol(6)]), 100), Err(LowerError::TooManyVlans));
}

#[test]
fn touching_ranges_become_one() {
    let ports = any((1..200).map(|number| port(Transport::Tcp, Side::Dst, number, number)));
    assert_eq!(entries(&ports).len(), 2);
    let neighbours = any([net(Side::Src, "10.0.0.0", 9), net(Side::Src, "10.128.0.0", 9)]);
    assert_eq!(entries(&neighbours), entries(&net(Side::Src, "10.0.0.0", 8)));
}

#[test]
fn long_expressions_end_soon() {
    let address = |number: u32| Net { address: IpAddr::V4(number.into()), prefix: 32 };
    let hosts =
        |count| any((0..count).map(|n| test(Test::Network(Family::Any, Side::Either, address(0x0a00_0000 + 7 * n)))));
    assert!(entries(&hosts(200)).len() <= 1200);
    assert_eq!(lower(&hosts(2000), &|_| None, ENTRIES_MAX), Err(LowerError::TooMany(ENTRIES_MAX)));
    assert_eq!(lower(&not(hosts(200)), &|_| None, ENTRIES_MAX), Err(LowerError::TooMany(ENTRIES_MAX)));
}

#[test]
fn a_tree_that_is_as_deep_as_its_text_is_long() {
    // As much as the main thread has.
    let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(alternate).unwrap();
    thread.join().unwrap();
}

/// `a or b and c or d …`
fn alternate() {
    let deep = (0..600u16).fold(protocol(6), |tree, number| {
        let next = Box::new(port(Transport::Udp, Side::Src, number, number));
        if number % 2 == 0 { Expression::Or(Box::new(tree), next) } else { Expression::And(Box::new(tree), next) }
    });
    assert!(lower(&deep, &|_| None, ENTRIES_MAX).is_ok());
}

/// The entries of a negation are all others, but for frames that are too short.
#[test]
fn a_whole_frame_matches_an_expression_or_its_negation() {
    let mut random = Random::new(5);
    for _ in 0..300 {
        let expression = expressions::expression(&mut random, 4);
        let (yes, no) = (entries(&expression), entries(&not(expression.clone())));
        for _ in 0..50 {
            let frame = random::frame(&mut random);
            let key: Key = key(&frame.bytes, frame.wire_bytes, 1, 1, VIEWS - 1);
            let count = [&yes, &no].iter().filter(|entries| entries.iter().any(|entry| entry.matches(&key))).count();
            let whole = key[Field::CAPTURED.word()] == Field::CAPTURED.max()
                && (0..VIEWS).all(|view| {
                    Field::view(view, ViewField::EtherType).value(&key) != 0x0800
                        || Field::view(view, ViewField::Transport).value(&key) == 14
                });
            assert!(count == 1 || count == 0 && !whole, "{expression:?}: {frame:?}: {count}");
        }
    }
}

#[test]
fn ten_thousand_rules() {
    let mut random = Random::new(6);
    let rules: Vec<Expression> = (0..10_000)
        .map(|_| {
            let mut address = |side| {
                let prefix = random.pick(&[8, 16, 24, 32, 32]);
                let bits = random.number() as u32 & !u32::MAX.checked_shr(prefix).unwrap_or(0);
                test(Test::Network(Family::Any, side, Net { address: IpAddr::V4(bits.into()), prefix: prefix as u8 }))
            };
            let (src, dst) = (address(Side::Src), address(Side::Dst));
            let number = random.number() as u16;
            match random.below(4) {
                0 => all([protocol(6), src, dst, port(Transport::Any, Side::Dst, number, number)]),
                1 => all([protocol(17), src, dst, port(Transport::Any, Side::Dst, 1024, 65535)]),
                2 => all([src, dst]),
                _ => all([port(Transport::Tcp, Side::Either, number, number), dst]),
            }
        })
        .collect();
    let start = Instant::now();
    let count: usize = rules.iter().map(|rule| entries(rule).len()).sum();
    println!("{} rules: {count} entries in {:?}", rules.len(), start.elapsed());
    assert!((10_000..30_000).contains(&count), "{count}");
}
