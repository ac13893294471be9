//! Filter expressions: their entries against what tcpdump chooses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "a test shows what it has compared")]

use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ebmirror::classifier::field::{Field, TRANSPORT_MAX, VIEWS, ViewField};
use ebmirror::classifier::key::key;
use ebmirror::classifier::lower::{self, lower};
use ebmirror::lab::expressions;
use ebmirror::lab::pcap::{ETHERNET, Item, Reader};
use ebmirror::lab::random::{self, Captured, Random};
use ebmirror::lab::tcpdump::{self, Program};
use ebmirror::model::expression::{
    Expression, Family, IcmpField, IcmpVersion, Mac, Net, Ports, Relation, Side, Test, Transport,
};

/// Frames of which an expression compares four bytes where libpcap loads one: the key does not have them when the other three
/// are missing. So `ip multicast` does not match a packet that ends inside of its destination address.
fn is_excused(expression: &str, frame: &Captured) -> bool {
    let captured = frame.bytes.len();
    let inside = |first: usize| (0..4).any(|view| (first + 4 * view..first + 4 * view + 3).contains(&captured));
    expression.contains("ip multicast") && inside(31) || expression.contains("ip6 multicast") && inside(39)
}

/// A frame with all that any test may load.
fn is_whole(frame: &Captured) -> bool {
    let key = key(&frame.bytes, frame.wire_bytes, 1, 1, VIEWS - 1);
    let has_transport = |view| {
        let value = |field| Field::view(view, field).value(&key);
        value(ViewField::EtherType) != 0x0800 || value(ViewField::Transport) == TRANSPORT_MAX
    };
    Field::CAPTURED.value(&key) == Field::CAPTURED.max() && (0..VIEWS).all(has_transport)
}

/// What was compared.
#[derive(Default)]
struct Counts {
    expressions: AtomicUsize,
    verdicts: AtomicUsize,
    chosen: AtomicUsize,
    excused: AtomicUsize,
    too_many: AtomicUsize,
    entries: AtomicUsize,
    /// Where tcpdump's optimiser makes a difference.
    optimised: AtomicUsize,
    differences: Mutex<Vec<String>>,
}

impl Counts {
    fn compare(&self, expression: &Expression, frames: &[Captured], program: Program) {
        let text = text(expression);
        let entries = match lower(expression, &|_| None, lower::ENTRIES_MAX) {
            Ok(entries) => entries,
            Err(lower::LowerError::TooMany(_)) => {
                self.too_many.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => panic!("{text}: {error}"),
        };
        self.expressions.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries.len(), Ordering::Relaxed);
        let views = lower::views(&entries);
        let chosen = tcpdump::choose(&text, frames, program).unwrap();
        let chosen = chosen.unwrap_or_else(|message| panic!("{text}: {message}"));
        for (frame, theirs) in frames.iter().zip(chosen) {
            if is_excused(&text, frame) {
                self.excused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.verdicts.fetch_add(1, Ordering::Relaxed);
            self.chosen.fetch_add(usize::from(theirs), Ordering::Relaxed);
            let key = key(&frame.bytes, frame.wire_bytes, 1, 1, views);
            let ours = entries.iter().any(|entry| entry.matches(&key));
            if ours == theirs {
                continue;
            }
            // The optimiser takes loads away on which nothing depends, and with them what the frame is too short for.
            if program == Program::Optimised && theirs && !is_whole(frame) {
                self.optimised.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let hex: String = frame.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let (captured, wire) = (frame.bytes.len(), frame.wire_bytes);
            self.differences.lock().unwrap().push(format!(
                "{text}\n  {captured} of {wire} bytes: {hex}\n  tcpdump ({program:?}): {theirs}, entries: {ours}"
            ));
        }
    }

    fn show(&self, what: &str) {
        let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        println!(
            "{what}: {} expressions, {} entries, {} refused; {} verdicts, {} chosen, {} excused, {} optimised",
            number(&self.expressions),
            number(&self.entries),
            number(&self.too_many),
            number(&self.verdicts),
            number(&self.chosen),
            number(&self.excused),
            number(&self.optimised),
        );
        let differences = self.differences.lock().unwrap();
        let shown: Vec<&str> = differences.iter().take(10).map(String::as_str).collect();
        assert!(shown.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
    }
}

/// Compares what each number gives with the program of tcpdump, on a few threads.
fn compare_all(cases: usize, program: Program, make: impl Fn(usize) -> (Expression, Vec<Captured>) + Sync) -> Counts {
    const THREADS: usize = 3;
    let (counts, make) = (Counts::default(), &make);
    thread::scope(|scope| {
        for first in 0..THREADS {
            let counts = &counts;
            scope.spawn(move || {
                for (expression, frames) in (first..cases).step_by(THREADS).map(make) {
                    counts.compare(&expression, &frames, program);
                }
            });
        }
    });
    counts
}

const FRAMES: usize = 100;

/// How many random expressions are compared: what the environment variable CASES says.
fn cases() -> usize {
    std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn random_case(seed: u64, case: usize) -> (Expression, Vec<Captured>) {
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(case as u64));
    let expression = expressions::expression(&mut random, 6);
    (expression, (0..FRAMES).map(|_| random::frame(&mut random)).collect())
}

#[test]
fn random_expressions_choose_the_frames_that_tcpdump_chooses() {
    let (seed, cases) = (Random::seed(1), cases());
    println!("SEED={seed} CASES={cases}");
    let counts = compare_all(cases, Program::Written, |case| random_case(seed, case));
    counts.show("tcpdump -O");
    assert!(counts.verdicts.load(Ordering::Relaxed) >= cases * FRAMES * 4 / 5);
    assert!(counts.chosen.load(Ordering::Relaxed) >= cases * FRAMES / 10);
}

#[test]
fn the_optimiser_of_tcpdump_differs_for_frames_that_are_too_short_alone() {
    let (seed, cases) = (Random::seed(2), cases());
    println!("SEED={seed} CASES={cases}");
    // libpcap 1.10 makes wrong programs of `tcp[13] & 0 <= 255 and not tcp[13] & 41 <= 0` and the like.
    let right = |case| Some(random_case(seed, case)).filter(|(expression, _)| !text(expression).contains("& 0 "));
    let counts = compare_all(cases, Program::Optimised, |case| {
        right(case).unwrap_or_else(|| (Expression::Test(Test::Broadcast), random_case(seed, case).1))
    });
    counts.show("tcpdump");
    assert!(counts.optimised.load(Ordering::Relaxed) * 50 < counts.verdicts.load(Ordering::Relaxed));
}

#[test]
fn each_test_chooses_the_frames_that_tcpdump_chooses() {
    let mut random = Random::new(3);
    let mut frames = corpus();
    assert!(frames.len() > 100, "{} frames in the corpus", frames.len());
    frames.extend((0..200).map(|_| random::frame(&mut random)));
    let tests = each_test();
    let test = |test: &Test| Box::new(Expression::Test(test.clone()));
    let not = |inner| Box::new(Expression::Not(inner));
    let tag = |number| test(&Test::Vlan(number));
    let long = || test(&Test::Length(Relation::GreaterEqual, 64));
    let cases: Vec<Expression> = tests
        .iter()
        .flat_map(|tested| {
            [
                *test(tested),
                *not(test(tested)),
                Expression::And(tag(None), test(tested)),
                Expression::And(tag(Some(5)), not(test(tested))),
                Expression::Or(test(tested), long()),
                Expression::And(not(test(tested)), long()),
                Expression::Or(tag(None), Box::new(Expression::Or(tag(Some(1)), test(tested)))),
            ]
        })
        .collect();
    let counts = compare_all(cases.len(), Program::Written, |case| (cases[case].clone(), frames.clone()));
    counts.show("each test");
    assert_eq!(counts.too_many.load(Ordering::Relaxed), 0);
}

/// The Ethernet frames of the captures in tests/corpus.
fn corpus() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut frames = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng")) {
        let mut reader = Reader::open(BufReader::new(File::open(path).unwrap())).unwrap();
        while let Ok(Some(item)) = reader.next_item() {
            let Item::Frame(record) = item else { continue };
            // One that says that it is shorter than what there is of it is damaged.
            if record.link_type == ETHERNET && record.wire_bytes as usize >= record.bytes.len() {
                frames.push(Captured { wire_bytes: record.wire_bytes, bytes: record.bytes });
            }
        }
    }
    frames
}

/// Each test in all its forms.
fn each_test() -> Vec<Test> {
    let sides = [Side::Src, Side::Dst, Side::Either, Side::Both];
    let v4 = |prefix: u8| {
        let address = if prefix == 0 { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::new(10, 0, 0, 0) };
        Net { address: IpAddr::V4(address), prefix }
    };
    let v6 = |prefix: u8| {
        let address = if prefix == 0 { Ipv6Addr::UNSPECIFIED } else { Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0) };
        Net { address: IpAddr::V6(address), prefix }
    };
    let mut tests = vec![Test::Broadcast, Test::Multicast, Test::IpMulticast, Test::Ip6Multicast];
    tests.extend([0x0800, 0x86dd, 0x0806, 0x8035, 0x88cc, 0x8100, 1501, 0xffff].map(Test::EtherType));
    tests.extend([None, Some(0), Some(5), Some(100), Some(4095)].map(Test::Vlan));
    for family in [Family::Any, Family::Ip, Family::Ip6] {
        tests.extend([1, 6, 17, 44, 58, 132, 0].map(|number| Test::Protocol(family, number)));
    }
    for side in sides {
        tests.extend([[2, 0, 0, 0, 0, 1], [0; 6], [0xff; 6], [3, 0, 0, 0, 0, 0]].map(|mac| Test::Mac(side, Mac(mac))));
        for family in [Family::Any, Family::Ip, Family::Arp, Family::Rarp] {
            tests.extend([8, 0].map(|prefix| Test::Network(family, side, v4(prefix))));
        }
        tests.extend([0, 32, 35, 64, 127].map(|prefix| Test::Network(Family::Any, side, v6(prefix))));
        for transport in [Transport::Any, Transport::Tcp, Transport::Udp, Transport::Sctp] {
            let ports = [(80, 80), (0, 0), (0, 1024), (443, 65535), (0, 65535)];
            tests.extend(ports.map(|(first, last)| Test::Port(transport, side, Ports { first, last })));
        }
    }
    for relation in [
        Relation::Equal,
        Relation::NotEqual,
        Relation::Less,
        Relation::LessEqual,
        Relation::Greater,
        Relation::GreaterEqual,
    ] {
        tests.extend([0, 64, u32::MAX].map(|number| Test::Length(relation, number)));
        tests.extend(
            [(0xff, 2), (2, 0), (0x12, 2), (0x3f, 0x11), (7, 300)]
                .map(|(mask, number)| Test::TcpFlags(mask, relation, number)),
        );
        tests.push(Test::Icmp(IcmpVersion::V4, IcmpField::Type, relation, 8));
        tests.push(Test::Icmp(IcmpVersion::V4, IcmpField::Code, relation, 0));
        tests.push(Test::Icmp(IcmpVersion::V6, IcmpField::Type, relation, 128));
        tests.push(Test::Icmp(IcmpVersion::V6, IcmpField::Code, relation, 300));
    }
    tests
}

/// The expression in tcpdump's language.
fn text(expression: &Expression) -> String {
    let inner = |expression: &Expression| match expression {
        Expression::And(..) | Expression::Or(..) => format!("({})", text(expression)),
        _ => text(expression),
    };
    match expression {
        Expression::Test(test) => test_text(test),
        Expression::Not(a) => format!("not {}", inner(a)),
        Expression::And(a, b) => format!("{} and {}", text(a), inner(b)),
        Expression::Or(a, b) => format!("{} or {}", text(a), inner(b)),
    }
}

fn test_text(test: &Test) -> String {
    match test {
        Test::EtherType(number) => format!("ether proto {number:#06x}"),
        Test::Mac(side, mac) => format!("ether {}host {}", side_text(*side), mac_text(*mac)),
        Test::Broadcast => "ether broadcast".into(),
        Test::Multicast => "ether multicast".into(),
        Test::IpMulticast => "ip multicast".into(),
        Test::Ip6Multicast => "ip6 multicast".into(),
        Test::Vlan(None) => "vlan".into(),
        Test::Vlan(Some(number)) => format!("vlan {number}"),
        Test::Network(family, side, Net { address, prefix }) => {
            format!("{}{}net {address}/{prefix}", family_text(*family), side_text(*side))
        }
        Test::Protocol(family, number) => format!("{}proto {number}", family_text(*family)),
        Test::Port(transport, side, Ports { first, last }) => {
            let transport = match transport {
                Transport::Any => "",
                Transport::Tcp => "tcp ",
                Transport::Udp => "udp ",
                Transport::Sctp => "sctp ",
            };
            let ports = if first == last { format!("port {first}") } else { format!("portrange {first}-{last}") };
            format!("{transport}{}{ports}", side_text(*side))
        }
        Test::Inbound(true) => "inbound".into(),
        Test::Inbound(false) => "outbound".into(),
        Test::Interface(name) => format!("ifname {name}"),
        Test::Length(relation, number) => format!("len {} {number}", relation_text(*relation)),
        Test::TcpFlags(0xff, relation, number) => format!("tcp[13] {} {number}", relation_text(*relation)),
        Test::TcpFlags(mask, relation, number) => format!("tcp[13] & {mask} {} {number}", relation_text(*relation)),
        Test::Icmp(version, field, relation, number) => {
            let load = match (version, field) {
                (IcmpVersion::V4, IcmpField::Type) => "icmp[icmptype]",
                (IcmpVersion::V4, IcmpField::Code) => "icmp[icmpcode]",
                (IcmpVersion::V6, IcmpField::Type) => "icmp6[icmp6type]",
                (IcmpVersion::V6, IcmpField::Code) => "icmp6[icmp6code]",
            };
            format!("{load} {} {number}", relation_text(*relation))
        }
    }
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Src => "src ",
        Side::Dst => "dst ",
        Side::Either => "",
        Side::Both => "src and dst ",
    }
}

fn family_text(family: Family) -> &'static str {
    match family {
        Family::Any => "",
        Family::Ip => "ip ",
        Family::Arp => "arp ",
        Family::Rarp => "rarp ",
        Family::Ip6 => "ip6 ",
    }
}

fn relation_text(relation: Relation) -> &'static str {
    match relation {
        Relation::Equal => "=",
        Relation::NotEqual => "!=",
        Relation::Less => "<",
        Relation::LessEqual => "<=",
        Relation::Greater => ">",
        Relation::GreaterEqual => ">=",
    }
}

fn mac_text(mac: Mac) -> String {
    let mut text = String::new();
    for byte in mac.0 {
        let colon = if text.is_empty() { "" } else { ":" };
        write!(text, "{colon}{byte:02x}").unwrap();
    }
    text
}
