//! Filter expressions: their entries against what tcpdump chooses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "a test shows what it has compared")]

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
use ebmirror::lab::random::{self, Captured, Random, pool};
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
        self.compare_text(&expression.to_string(), expression, frames, program);
    }

    /// Compares the entries of the expression with what tcpdump makes of the text.
    fn compare_text(&self, text: &str, expression: &Expression, frames: &[Captured], program: Program) {
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
        let chosen = tcpdump::choose(text, frames, program).unwrap();
        let chosen = chosen.unwrap_or_else(|message| panic!("{text}: {message}"));
        let mut optimised = None;
        for (number, (frame, theirs)) in frames.iter().zip(chosen).enumerate() {
            if is_excused(text, frame) {
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
            // The optimiser takes loads away on which nothing depends, and with them what the frame is too short for: some that
            // the entries have (tests that do not matter), some that they have not (words of a net that its prefix does not
            // reach).
            let agreed = match program {
                Program::Optimised => theirs,
                Program::Written => {
                    let choose = || tcpdump::choose(text, frames, Program::Optimised).unwrap().unwrap();
                    optimised.get_or_insert_with(choose)[number] == ours
                }
            };
            if agreed && !is_whole(frame) {
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
    let right = |case| Some(random_case(seed, case)).filter(|(expression, _)| !expression.to_string().contains("& 0 "));
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

/// A load that ends at one byte more or less makes a difference for one length of a frame alone.
#[test]
fn each_test_chooses_the_frames_of_every_length_that_tcpdump_chooses() {
    const LENGTH_MAX: usize = 80;
    let mut random = Random::new(8);
    let mut frames = Vec::new();
    for whole in every_kind(&mut random) {
        let wire_bytes = whole.len() as u32;
        let cut = |length| Captured { bytes: whole[..length].to_vec(), wire_bytes };
        frames.extend((0..=whole.len().min(LENGTH_MAX)).map(cut));
    }
    let test = |test: &Test| Box::new(Expression::Test(test.clone()));
    let long = || test(&Test::Length(Relation::GreaterEqual, 14));
    let cases: Vec<Expression> = each_test()
        .iter()
        .flat_map(|tested| {
            let behind = Box::new(Expression::And(test(&Test::Vlan(None)), test(tested)));
            [Expression::Or(test(tested), long()), Expression::Or(Box::new(Expression::Not(behind)), long())]
        })
        .collect();
    let counts = compare_all(cases.len(), Program::Written, |case| (cases[case].clone(), frames.clone()));
    counts.show("every length");
}

/// A frame of each kind that a test tells apart, without and with a tag.
fn every_kind(random: &mut Random) -> Vec<Vec<u8>> {
    let mut kinds = Vec::new();
    let mut seen = Vec::new();
    while kinds.len() < 20 {
        let frame = random::frame(random);
        let key = key(&frame.bytes, frame.wire_bytes, 1, 1, 1);
        let tagged = usize::from(pool::TAGS.contains(&(key[Field::view(0, ViewField::EtherType).word()] as u16)));
        let value = |field| Field::view(tagged as u8, field).value(&key);
        let (ether_type, number) = (value(ViewField::EtherType), value(ViewField::Protocol));
        let is_known =
            matches!((ether_type, number), (0x0806 | 0x8035, _) | (0x0800, 1 | 6 | 17) | (0x86dd, 6 | 17 | 44 | 58));
        let later = ether_type == 0x0800 && value(ViewField::Fragment) == 1;
        let kind = (tagged, ether_type, number, later);
        if is_known && is_whole(&frame) && !seen.contains(&kind) {
            seen.push(kind);
            kinds.push(frame.bytes);
        }
    }
    kinds
}

#[test]
fn expressions_as_people_write_them() {
    let mut random = Random::new(4);
    let mut frames = corpus();
    frames.extend((0..400).map(|_| random::frame(&mut random)));
    let counts = Counts::default();
    for text in WRITTEN {
        let expression: Expression = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        counts.compare_text(text, &expression, &frames, Program::Written);
        counts.compare(&expression, &frames, Program::Written);
    }
    counts.show("as people write them");
    assert_eq!(counts.expressions.load(Ordering::Relaxed), 2 * WRITTEN.len());
}

/// With shorthands, names and the precedence of tcpdump.
const WRITTEN: [&str; 72] = [
    "tcp",
    "udp port domain",
    "port 80 or 443",
    "tcp port 80 or 443 or 8080",
    "tcp port http or https",
    "host 10.0.0.1",
    "host 10.0.0.1 or 10.0.0.2",
    "host 10.0.0.1 and not port 22",
    "host 10.0.0.1 and (port 80 or port 443)",
    "src host 10.0.0.1 and dst host 10.0.0.2",
    "src or dst host 10.0.0.1",
    "src and dst host 10.0.0.1",
    "net 10.0.0.0/8",
    "net 10",
    "src net 192.0.2.0/24 and tcp dst port 80",
    "net 10.0.0.0 mask 255.0.0.0",
    "not net 10.0.0.0/8",
    "!(host 10.0.0.1)",
    "ip host 10.0.0.1 || arp",
    "arp host 10.0.0.1",
    "arp or rarp",
    "rarp src host 10.0.0.1",
    "ip6",
    "ip6 host 2001:db8::1",
    "host 2001:db8::1 and tcp port 80",
    "net 2001:db8::/32",
    "ip6 net fe80::/10",
    "ip6 proto 17",
    "ip6 multicast",
    "ip multicast",
    "multicast",
    "broadcast",
    "ether broadcast or ether multicast",
    "ether host 02:00:00:00:00:01",
    "ether src 02:00:00:00:00:01 and ip",
    "ether dst 33:33:00:00:00:01",
    "ether proto 0x88cc",
    "ether proto \\ip6",
    "icmp",
    "icmp or icmp6",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply",
    "icmp[icmpcode] = 1",
    "icmp6[icmp6type] = 128 or icmp6[icmp6type] = 129",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0",
    "tcp[tcpflags] == tcp-syn",
    "tcp[13] & 2 != 0",
    "portrange 1000-9000",
    "udp src portrange 0-1024",
    "sctp",
    "sctp port 80",
    "ip proto 47",
    "ip proto \\tcp",
    "proto 50 or proto 51",
    "esp or ah",
    "vlan",
    "vlan 5",
    "vlan 5 and tcp port 80",
    "vlan and vlan 5 and ip",
    "vlan 5 or vlan 100",
    "not vlan",
    "tcp or vlan and tcp",
    "tcp port 80 or (vlan and tcp port 80)",
    "less 64",
    "greater 100",
    "len <= 60",
    "len > 60 and tcp",
    "tcp and not port 22 or udp and port 53",
    "udp port 53 or tcp port 53 and host 10.0.0.1",
    "not tcp and not udp and not icmp",
    "ip and not ip multicast and not broadcast",
];

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
    for relation in Relation::ALL {
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
