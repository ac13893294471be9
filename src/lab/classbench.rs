//! Rule sets in the manner of ClassBench (Taylor and Turner, 2005), from a fixed seed: addresses, ports and protocol as access
//! lists, firewalls and IP chains have them; and packets that match them, or none.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::{CAPTURED_MAX, Field, Key, TRANSPORT_MAX, VIEWS, ViewField, WORDS};
use crate::lab::random::Random;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// Picks numbers from 0 on, the first ones most often: number i in proportion to 1 / (i + 1).
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// Of this many numbers, at least one.
    pub fn new(count: usize) -> Zipf {
        let mut sum = 0.0;
        Zipf((1..=count.max(1)).map(|rank| (sum += 1.0 / rank as f64, sum).1).collect())
    }

    /// The next number.
    pub fn pick(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.0.last().copied().unwrap_or(1.0);
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}

/// What a rule set is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Access lists: certain sources and destinations, mostly certain destination ports.
    Acl,
    /// Firewalls: many rules for any source or any destination, many ranges of ports.
    Fw,
    /// IP chains: both.
    Ipc,
}

impl Mix {
    /// All of them.
    pub const ALL: [Mix; 3] = [Mix::Acl, Mix::Fw, Mix::Ipc];

    /// Its short name.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Acl => "acl",
            Mix::Fw => "fw",
            Mix::Ipc => "ipc",
        }
    }
}

/// A rule: what it does not say may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule5 {
    /// The source network: its address and the length of its prefix.
    pub src: (u32, u8),
    /// The destination network.
    pub dst: (u32, u8),
    /// The source ports, from and to.
    pub sport: (u16, u16),
    /// The destination ports.
    pub dport: (u16, u16),
    /// The protocol; ports without one are those of TCP, UDP and SCTP.
    pub protocol: Option<u8>,
}

/// What rules look at in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet5 {
    /// The source address.
    pub src: u32,
    /// The destination address.
    pub dst: u32,
    /// The source port; 0 where the protocol has none.
    pub sport: u16,
    /// The destination port.
    pub dport: u16,
    /// IPv4's protocol.
    pub protocol: u8,
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

fn network(address: u32, length: u8) -> (u32, u32) {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    (address & mask, address | !mask)
}

impl Rule5 {
    /// The rule in tcpdump's language.
    pub fn expression(&self) -> String {
        let mut parts = Vec::new();
        if let Some(protocol) = self.protocol {
            parts.push(match protocol {
                TCP => "tcp".to_owned(),
                UDP => "udp".to_owned(),
                SCTP => "sctp".to_owned(),
                1 => "icmp".to_owned(),
                other => format!("ip proto {other}"),
            });
        }
        for (side, (address, length)) in [("src", self.src), ("dst", self.dst)] {
            let address = Ipv4Addr::from(network(address, length).0);
            match length {
                0 => {}
                32 => parts.push(format!("{side} host {address}")),
                _ => parts.push(format!("{side} net {address}/{length}")),
            }
        }
        for (side, (from, to)) in [("src", self.sport), ("dst", self.dport)] {
            if (from, to) != ANY_PORT {
                let mut part = format!("{side} port");
                // A String takes all that is written to it.
                let _ = if from == to { write!(part, " {from}") } else { write!(part, "range {from}-{to}") };
                parts.push(part);
            }
        }
        parts.join(" and ")
    }

    fn ports(&self) -> bool {
        self.sport != ANY_PORT || self.dport != ANY_PORT
    }

    /// The rule as table entries: what its expression becomes, or much like it.
    pub fn entries(&self) -> Vec<Entry> {
        let (src, dst) = (self.src.1 > 0, self.dst.1 > 0);
        let mut entries = Vec::new();
        let protocols: &[u8] = match &self.protocol {
            Some(protocol) => std::slice::from_ref(protocol),
            None if self.ports() => &[TCP, UDP, SCTP],
            None => &[],
        };
        let addresses = |entry: Entry| {
            let entry = if src { range(entry, ViewField::Src0, network(self.src.0, self.src.1)) } else { Some(entry) };
            if dst { range(entry?, ViewField::Dst0, network(self.dst.0, self.dst.1)) } else { entry }
        };
        let frame = |ether_type: u32, captured: u32| {
            let entry = range(Entry::default(), ViewField::EtherType, (ether_type, ether_type))?;
            entry.with(Field::CAPTURED, Range::new(captured, u32::MAX))
        };
        let ports = |entry: Entry| {
            let entry = range(entry, ViewField::SrcPort, (self.sport.0.into(), self.sport.1.into()))?;
            range(entry, ViewField::DstPort, (self.dport.0.into(), self.dport.1.into()))
        };
        let captured = if dst { 34 } else { 30 };
        for protocol in protocols {
            let protocol = (u32::from(*protocol), u32::from(*protocol));
            let entry = frame(0x0800, captured).and_then(|entry| range(entry, ViewField::Protocol, protocol));
            let mut entry = entry.and_then(addresses);
            if self.ports() {
                let readable = if self.dport == ANY_PORT { 2 } else { 4 };
                entry = entry.and_then(|entry| range(entry, ViewField::Fragment, (0, 0)));
                entry = entry.and_then(|entry| range(entry, ViewField::Transport, (readable, TRANSPORT_MAX)));
                entry = entry.and_then(ports);
            }
            entries.extend(entry);
            if !src && !dst {
                let entry = frame(0x86dd, CAPTURED_MAX).and_then(|entry| range(entry, ViewField::Protocol, protocol));
                entries.extend(entry.and_then(ports));
            }
        }
        if protocols.is_empty() {
            for ether_type in [0x0800, 0x0806, 0x8035] {
                entries.extend(frame(ether_type, captured).and_then(addresses));
            }
        }
        entries
    }

    /// Whether the rule selects the packet, a whole IPv4 packet in an untagged frame.
    pub fn matches(&self, packet: &Packet5) -> bool {
        let within = |(address, length): (u32, u8), value: u32| {
            let (low, high) = network(address, length);
            low <= value && value <= high
        };
        let port = |(from, to): (u16, u16), value: u16| from <= value && value <= to;
        within(self.src, packet.src)
            && within(self.dst, packet.dst)
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && (!self.ports()
                || has_ports(packet.protocol) && port(self.sport, packet.sport) && port(self.dport, packet.dport))
    }

    /// A packet that the rule selects.
    pub fn packet(&self, random: &mut Random) -> Packet5 {
        let address = |(address, length): (u32, u8), random: &mut Random| {
            let (low, high) = network(address, length);
            low | random.word() & (high - low)
        };
        let protocol = self.protocol.unwrap_or(if random.chance(70) { TCP } else { UDP });
        let port = |(from, to): (u16, u16), random: &mut Random| {
            let port = from + random.below(usize::from(to - from) + 1) as u16;
            if has_ports(protocol) { port } else { 0 }
        };
        Packet5 {
            src: address(self.src, random),
            dst: address(self.dst, random),
            sport: port(self.sport, random),
            dport: port(self.dport, random),
            protocol,
        }
    }
}

fn range(entry: Entry, field: ViewField, (low, high): (u32, u32)) -> Option<Entry> {
    entry.with(Field::view(0, field), Range::new(low, high))
}

impl Packet5 {
    /// The key of a frame that carries it, one with no tag and all of it captured.
    pub fn key(&self) -> Key {
        let mut key = [0; WORDS];
        let view = |field| Field::view(0, field).word();
        key[Field::DIRECTION.word()] = 1;
        key[Field::INTERFACE.word()] = 1;
        key[Field::LENGTH.word()] = 118;
        key[Field::CAPTURED.word()] = CAPTURED_MAX + 4 * u32::from(VIEWS - 1);
        key[view(ViewField::EtherType)] = 0x0800;
        key[view(ViewField::Protocol)] = self.protocol.into();
        key[view(ViewField::Src0)] = self.src;
        key[view(ViewField::Dst0)] = self.dst;
        key[view(ViewField::SrcPort)] = self.sport.into();
        key[view(ViewField::DstPort)] = self.dport.into();
        key[view(ViewField::Transport)] = TRANSPORT_MAX;
        key
    }
}

/// A packet that none of the rules selects: one of addresses and ports that the rules know, but never together; or, where
/// every such packet is selected, and where `near` is false, of any addresses. None when no such packet is found.
pub fn miss(rules: &[Rule5], near: bool, random: &mut Random) -> Option<Packet5> {
    for attempt in 0..400 {
        let packet = if near && attempt < 200 && !rules.is_empty() {
            let [one, two, three] = [0; 3].map(|_| rules[random.below(rules.len())].packet(random));
            Packet5 { src: one.src, dst: two.dst, sport: random.port() | 0x8000, ..three }
        } else {
            let protocol = random.weighted(&[(60, TCP), (40, UDP)]);
            let [src, dst] = [0; 2].map(|_| random.word());
            Packet5 { src, dst, sport: random.port(), dport: random.port(), protocol }
        };
        if !rules.iter().any(|rule| rule.matches(&packet)) {
            return Some(packet);
        }
    }
    None
}

/// Addresses in networks in networks, as sites have them.
struct Site {
    bases: Vec<u32>,
    seen: Vec<u32>,
    popular: Zipf,
}

impl Site {
    fn new(count: usize, random: &mut Random) -> Site {
        let bases = 4 + count / 40;
        // Unicast addresses: 1.0.0.0 to 223.255.255.255.
        let address = |random: &mut Random| (1 + random.below(223) as u32) << 24 | random.word() & 0xff_ffff;
        Site { bases: (0..bases).map(|_| address(random)).collect(), seen: vec![], popular: Zipf::new(bases) }
    }

    /// A network of this prefix: often one that holds an address of an earlier rule.
    fn network(&mut self, length: u8, random: &mut Random) -> (u32, u8) {
        let address = if !self.seen.is_empty() && random.chance(45) {
            self.seen[random.below(self.seen.len())]
        } else {
            let base = self.bases[self.popular.pick(random)];
            let own = random.weighted(&[(40, 16), (30, 12), (20, 8), (10, 20)]);
            base & u32::MAX << own | random.word() & ((1 << own) - 1)
        };
        self.seen.push(address);
        (network(address, length).0, length)
    }
}

const WELL_KNOWN: [(usize, u16); 14] = [
    (22, 80),
    (18, 443),
    (10, 53),
    (8, 25),
    (8, 22),
    (6, 123),
    (5, 161),
    (5, 1521),
    (4, 3306),
    (4, 110),
    (3, 143),
    (3, 389),
    (2, 8080),
    (2, 21),
];

/// How ports are given, in percent: any, from 1024 on, up to 1023, some range, one; ClassBench's five classes.
type Ports = [usize; 5];

fn ports(shares: Ports, random: &mut Random) -> (u16, u16) {
    let [any, high, low, some, one] = shares;
    match random.weighted(&[(any, 0), (high, 1), (low, 2), (some, 3), (one, 4)]) {
        0 => ANY_PORT,
        1 => (1024, u16::MAX),
        2 => (0, 1023),
        3 => {
            let span = random.weighted(&[(30, 1), (25, 9), (20, 99), (15, 999), (10, 9_999)]);
            let from = random.weighted(&[(40, 1024), (30, 5_000), (30, 30_000)]) + random.below(20_000) as u16;
            (from, from.saturating_add(span))
        }
        _ => {
            let port =
                if random.chance(70) { random.weighted(&WELL_KNOWN) } else { 1024 + random.below(60_000) as u16 };
            (port, port)
        }
    }
}

/// The lengths of the prefixes of sources, and of destinations; the ports; how many rules name each protocol.
struct Shape {
    src: &'static [(usize, u8)],
    dst: &'static [(usize, u8)],
    sport: Ports,
    dport: Ports,
    protocols: &'static [(usize, Option<u8>)],
}

const ACL: Shape = Shape {
    src: &[(12, 0), (2, 8), (6, 16), (4, 20), (5, 22), (20, 24), (6, 26), (8, 28), (7, 30), (30, 32)],
    dst: &[(3, 0), (2, 12), (5, 16), (5, 20), (4, 23), (22, 24), (5, 26), (7, 28), (5, 30), (42, 32)],
    sport: [97, 1, 0, 1, 1],
    dport: [28, 4, 1, 9, 58],
    protocols: &[(68, Some(TCP)), (18, Some(UDP)), (3, Some(1)), (11, None)],
};
const FW: Shape = Shape {
    src: &[(38, 0), (3, 8), (8, 16), (4, 20), (17, 24), (4, 27), (3, 29), (23, 32)],
    dst: &[(32, 0), (2, 8), (7, 16), (4, 20), (15, 24), (5, 27), (5, 29), (30, 32)],
    sport: [66, 14, 2, 6, 12],
    dport: [26, 14, 3, 21, 36],
    protocols: &[(58, Some(TCP)), (25, Some(UDP)), (4, Some(1)), (2, Some(47)), (11, None)],
};
const IPC: Shape = Shape {
    src: &[(18, 0), (3, 8), (8, 14), (8, 16), (6, 20), (20, 24), (6, 28), (31, 32)],
    dst: &[(15, 0), (3, 8), (7, 15), (8, 16), (7, 21), (20, 24), (6, 28), (34, 32)],
    sport: [78, 6, 2, 4, 10],
    dport: [38, 6, 2, 9, 45],
    protocols: &[(52, Some(TCP)), (28, Some(UDP)), (7, Some(1)), (2, Some(50)), (11, None)],
};

/// This many different rules, the same for the same arguments.
pub fn rules(mix: Mix, count: usize, seed: u64) -> Vec<Rule5> {
    let shape = match mix {
        Mix::Acl => &ACL,
        Mix::Fw => &FW,
        Mix::Ipc => &IPC,
    };
    let mut random = Random::new(seed);
    let (mut sources, mut destinations) = (Site::new(count, &mut random), Site::new(count, &mut random));
    let mut seen = HashSet::new();
    let mut rules = Vec::with_capacity(count);
    while rules.len() < count {
        let [src, dst] = [shape.src, shape.dst].map(|lengths| random.weighted(lengths));
        let protocol = random.weighted(shape.protocols);
        let with_ports = protocol.is_none_or(has_ports);
        let sport = if with_ports { ports(shape.sport, &mut random) } else { ANY_PORT };
        let dport = if with_ports { ports(shape.dport, &mut random) } else { ANY_PORT };
        let narrow = |(from, to): (u16, u16)| to - from < 100;
        // A rule that selects most packets hides all behind it.
        if src == 0 && dst == 0 && !narrow(sport) && !narrow(dport) {
            continue;
        }
        let rule = Rule5 {
            src: sources.network(src, &mut random),
            dst: destinations.network(dst, &mut random),
            sport,
            dport,
            protocol,
        };
        if seen.insert(rule) {
            rules.push(rule);
        }
    }
    rules
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_same_for_the_same_seed_and_different_from_each_other() {
        for mix in Mix::ALL {
            let set = rules(mix, 2_000, 5);
            assert_eq!(set, rules(mix, 2_000, 5));
            assert_ne!(set, rules(mix, 2_000, 6));
            assert_eq!(set.iter().collect::<HashSet<_>>().len(), 2_000, "{}", mix.name());
            assert!(set.iter().all(|rule| !rule.expression().is_empty() && !rule.entries().is_empty()));
        }
    }

    #[test]
    fn a_rule_is_an_expression() {
        let any = Rule5 { src: (0, 0), dst: (0, 0), sport: ANY_PORT, dport: ANY_PORT, protocol: None };
        for (rule, text) in [
            (
                Rule5 { src: (0x0a01_0000, 16), dst: (0x0a02_0300, 24), dport: (80, 80), protocol: Some(6), ..any },
                "tcp and src net 10.1.0.0/16 and dst net 10.2.3.0/24 and dst port 80",
            ),
            (
                Rule5 { src: (0xc000_0201, 32), sport: (1024, 65_535), ..any },
                "src host 192.0.2.1 and src portrange 1024-65535",
            ),
            (Rule5 { dst: (0x0a00_0000, 8), protocol: Some(47), ..any }, "ip proto 47 and dst net 10.0.0.0/8"),
            (Rule5 { dst: (0x0a00_0001, 32), protocol: Some(1), ..any }, "icmp and dst host 10.0.0.1"),
        ] {
            assert_eq!(rule.expression(), text);
        }
    }

    #[test]
    fn rules_entries_and_packets_agree() {
        let mut random = Random::new(9);
        for mix in Mix::ALL {
            let set = rules(mix, 300, 2);
            for rule in &set {
                let entries = rule.entries();
                let matches = |packet: &Packet5| entries.iter().any(|entry| entry.matches(&packet.key()));
                for _ in 0..5 {
                    let packet = rule.packet(&mut random);
                    assert!(rule.matches(&packet) && matches(&packet), "{} {packet:?}", rule.expression());
                }
                for other in &set[..20] {
                    let packet = other.packet(&mut random);
                    assert_eq!(rule.matches(&packet), matches(&packet), "{} {packet:?}", rule.expression());
                }
            }
            for near in [true, false] {
                let packet = miss(&set, near, &mut random).unwrap();
                assert!(!set.iter().any(|rule| rule.matches(&packet)));
            }
        }
    }

    #[test]
    fn mixes_are_what_they_are_named_after() {
        let share = |mix, is: fn(&Rule5) -> bool| rules(mix, 4_000, 3).iter().filter(|rule| is(rule)).count() / 40;
        let any_src = |rule: &Rule5| rule.src.1 == 0;
        let exact_dport = |rule: &Rule5| rule.dport.0 == rule.dport.1;
        let any_sport = |rule: &Rule5| rule.sport == ANY_PORT;
        assert!((5..20).contains(&share(Mix::Acl, any_src)), "{}", share(Mix::Acl, any_src));
        assert!((30..50).contains(&share(Mix::Fw, any_src)), "{}", share(Mix::Fw, any_src));
        assert!((45..70).contains(&share(Mix::Acl, exact_dport)), "{}", share(Mix::Acl, exact_dport));
        assert!(share(Mix::Acl, any_sport) > 90 && share(Mix::Fw, any_sport) < 75);
    }

    #[test]
    fn zipf_picks_the_first_most_often() {
        let (zipf, mut random) = (Zipf::new(1_000), Random::new(1));
        let mut counts = vec![0; 1_000];
        for _ in 0..100_000 {
            counts[zipf.pick(&mut random)] += 1;
        }
        // 1 / H(1000) = 13.4 % is the first's share.
        assert!((12_000..15_000).contains(&counts[0]), "{}", counts[0]);
        assert!((6_000..7_500).contains(&counts[1]), "{}", counts[1]);
        assert!(counts[500..].iter().sum::<i32>() > 5_000);
    }
}
