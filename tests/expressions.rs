//! Filter expressions: their entries against what tcpdump chooses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "a test shows what it has compared")]

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ebmirror::classifier::key::key;
use ebmirror::classifier::lower::{self, lower};
use ebmirror::lab::expressions;
use ebmirror::lab::random::{self, Captured, Random};
use ebmirror::lab::tcpdump::{self, Program};
use ebmirror::model::expression::{
    Expression, Family, IcmpField, IcmpVersion, Mac, Net, Ports, Relation, Side, Test, Transport,
};

const THREADS: usize = 3;

/// Frames of which an expression compares four bytes where libpcap loads one: the key does not have them when the other three
/// are missing. So `ip multicast` does not match a packet that ends inside of its destination address.
fn is_excused(expression: &str, frame: &Captured) -> bool {
    let captured = frame.bytes.len();
    let inside = |first: usize| (0..4).any(|view| (first + 4 * view..first + 4 * view + 3).contains(&captured));
    expression.contains("ip multicast") && inside(31) || expression.contains("ip6 multicast") && inside(39)
}

/// What was compared.
#[derive(Default)]
struct Counts {
    verdicts: AtomicUsize,
    chosen: AtomicUsize,
    excused: AtomicUsize,
    too_many: AtomicUsize,
    entries: AtomicUsize,
    differences: Mutex<Vec<String>>,
    optimiser: Mutex<Vec<String>>,
}

impl Counts {
    fn compare(&self, expression: &Expression, frames: &[Captured]) {
        let text = text(expression);
        let entries = match lower(expression, &|_| None, lower::ENTRIES_MAX) {
            Ok(entries) => entries,
            Err(lower::LowerError::TooMany(_)) => {
                self.too_many.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => panic!("{text}: {error}"),
        };
        self.entries.fetch_add(entries.len(), Ordering::Relaxed);
        let views = lower::views(&entries);
        let written = tcpdump::choose(&text, frames, Program::Written).unwrap();
        let written = written.unwrap_or_else(|message| panic!("{text}: {message}"));
        let optimised = tcpdump::choose(&text, frames, Program::Optimised).unwrap();
        let optimised = optimised.unwrap_or_else(|message| panic!("{text}: {message}"));
        for ((frame, written), optimised) in frames.iter().zip(written).zip(optimised) {
            let key = key(&frame.bytes, frame.wire_bytes, 1, 1, views);
            let ours = entries.iter().any(|entry| entry.matches(&key));
            let describe = |theirs: bool| {
                let hex: String = frame.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let (captured, wire) = (frame.bytes.len(), frame.wire_bytes);
                format!("{text}\n  {captured} of {wire} bytes: {hex}\n  tcpdump: {theirs}, entries: {ours}")
            };
            if is_excused(&text, frame) {
                self.excused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.verdicts.fetch_add(1, Ordering::Relaxed);
            self.chosen.fetch_add(usize::from(written), Ordering::Relaxed);
            if ours != written {
                self.differences.lock().unwrap().push(describe(written));
            }
            if written != optimised {
                self.optimiser.lock().unwrap().push(describe(optimised));
            }
        }
    }

    fn show(&self) {
        let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        println!(
            "{} verdicts, {} chosen, {} excused; {} entries; {} expressions with too many; tcpdump's optimiser differs from \
             tcpdump -O in {}",
            number(&self.verdicts),
            number(&self.chosen),
            number(&self.excused),
            number(&self.entries),
            number(&self.too_many),
            self.optimiser.lock().unwrap().len(),
        );
        for difference in self.optimiser.lock().unwrap().iter().take(3) {
            println!("optimiser: {difference}");
        }
        let differences = self.differences.lock().unwrap();
        let shown: Vec<&str> = differences.iter().take(10).map(String::as_str).collect();
        assert!(shown.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
    }
}

#[test]
fn random_expressions_choose_the_frames_that_tcpdump_chooses() {
    const FRAMES: usize = 100;
    let cases = std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let seed = Random::seed(1);
    println!("SEED={seed} CASES={cases}");
    let counts = Counts::default();
    thread::scope(|scope| {
        for first in 0..THREADS {
            let counts = &counts;
            scope.spawn(move || {
                for case in (first..cases).step_by(THREADS) {
                    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(case as u64));
                    let expression = expressions::expression(&mut random, 6);
                    let frames: Vec<Captured> = (0..FRAMES).map(|_| random::frame(&mut random)).collect();
                    counts.compare(&expression, &frames);
                }
            });
        }
    });
    counts.show();
    assert!(counts.verdicts.load(Ordering::Relaxed) >= cases * FRAMES * 4 / 5);
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
