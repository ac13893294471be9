//! What libpcap compares for each test, and in which order: gencode.c of libpcap 1.10, as `tcpdump -O -d` shows it.

use std::net::IpAddr;

use super::LowerError;
use super::boxes::{ether, protocol};
use crate::classifier::entry::Range;
use crate::classifier::field::{Field, VIEWS, ViewField};
use crate::model::expression::{
    Expression, Family, IcmpField, IcmpVersion, Mac, Net, Ports, Relation, Side, Test, Transport,
};
use crate::model::interface::InterfaceName;

/// A tree of comparisons, made from left to right and no further than it must be.
pub enum Tree {
    /// A comparison.
    Leaf(Leaf),
    /// The other way round.
    Not(Box<Tree>),
    /// All are true; so is none.
    All(Vec<Tree>),
    /// One is true; none is not.
    Any(Vec<Tree>),
    /// The same of trees that begin with comparisons of one load, of which no two are true.
    OneOf(Vec<Tree>),
}

/// A comparison of what a load gives.
pub struct Leaf {
    /// What the load needs.
    pub need: Need,
    /// What makes it true.
    pub values: Values,
}

/// What a load needs, else the frame matches nothing.
#[derive(Clone, Copy)]
pub enum Need {
    /// It is no load of the frame.
    Nothing,
    /// So many bytes of the frame.
    Captured(u32),
    /// So many bytes behind IPv4's header: of this field.
    Transport(Field, u32),
}

impl Need {
    /// What the frame must be like.
    pub fn range(self) -> Option<(Field, Range)> {
        let (field, bytes) = match self {
            Need::Nothing => return None,
            Need::Captured(bytes) => (Field::CAPTURED, bytes),
            Need::Transport(field, bytes) => (field, bytes),
        };
        Some((field, Range::new(bytes, field.max())))
    }
}

/// Values of what is loaded.
pub enum Values {
    /// These of a field.
    One(Field, Range),
    /// These of a field, sorted, and apart from one another.
    Some(Field, Vec<Range>),
    /// Values of the bits of a field: the comparison is true where they are like one of the first, false where they are
    /// like one of the second.
    Bits(Vec<Bits>, Vec<Bits>),
}

/// Bits of a field and their values, sorted.
pub type Bits = Vec<(Field, Range)>;

/// Makes trees; `vlan` moves what it writes from then on.
pub struct Writer<'a> {
    interface: &'a dyn Fn(&InterfaceName) -> Option<u32>,
    view: u8,
}

impl<'a> Writer<'a> {
    /// At the beginning of an expression.
    pub fn new(interface: &'a dyn Fn(&InterfaceName) -> Option<u32>) -> Writer<'a> {
        Writer { interface, view: 0 }
    }

    /// The tree of an expression.
    pub fn tree(&mut self, expression: &Expression) -> Result<Tree, LowerError> {
        match expression {
            Expression::Test(test) => self.test(test),
            Expression::Not(inner) => Ok(Tree::Not(Box::new(self.tree(inner)?))),
            Expression::And(..) => Ok(Tree::All(self.chain(expression)?)),
            Expression::Or(..) => Ok(Tree::Any(self.chain(expression)?)),
        }
    }

    /// The members of `a and b and c`, or of `a or b or c`, which is a tree that is deep on its left side.
    fn chain(&mut self, expression: &Expression) -> Result<Vec<Tree>, LowerError> {
        let mut right = Vec::new();
        let mut left = expression;
        let is_and = matches!(expression, Expression::And(..));
        loop {
            match left {
                Expression::And(a, b) if is_and => (left, _) = (a, right.push(b)),
                Expression::Or(a, b) if !is_and => (left, _) = (a, right.push(b)),
                _ => break,
            }
        }
        let mut trees = vec![self.tree(left)?];
        for expression in right.into_iter().rev() {
            trees.push(self.tree(expression)?);
        }
        Ok(trees)
    }

    fn test(&mut self, test: &Test) -> Result<Tree, LowerError> {
        if self.view >= VIEWS && !is_of_the_whole_frame(test) {
            return Err(LowerError::TooManyVlans);
        }
        let at = At { view: self.view };
        Ok(match test {
            Test::EtherType(number @ (..=LENGTH_MAX | APPLETALK | AARP)) => return Err(LowerError::EtherType(*number)),
            Test::EtherType(number) => at.ether_type(u32::from(*number)),
            Test::Mac(side, mac) => of_sides(*side, || mac_src(*mac), || mac_dst(*mac)),
            Test::Broadcast => mac_dst(Mac([0xff; 6])),
            Test::Multicast => leaf(Need::Captured(1), Field::DST_MAC_HIGH, GROUPS),
            Test::IpMulticast => {
                let groups = Range::new(0xe000_0000, u32::MAX);
                Tree::All(vec![at.ether_type(ether::IP), at.load(34, ViewField::Dst0, groups)])
            }
            Test::Ip6Multicast => {
                let groups = Range::new(0xff00_0000, u32::MAX);
                Tree::All(vec![at.ether_type(ether::IP6), at.load(42, ViewField::Dst0, groups)])
            }
            Test::Vlan(number) => {
                self.view += 1;
                at.vlan(*number)
            }
            Test::Network(family, side, net) => at.network(*family, *side, *net),
            Test::Protocol(family, number) => at.protocol(*family, u32::from(*number)),
            Test::Port(transport, side, ports) => at.port(*transport, *side, *ports),
            Test::Inbound(inbound) => leaf(Need::Nothing, Field::DIRECTION, Range::one(if *inbound { 1 } else { 2 })),
            Test::Interface(name) => match (self.interface)(name) {
                Some(number) => leaf(Need::Nothing, Field::INTERFACE, Range::one(number)),
                None => return Err(LowerError::UnknownInterface(name.clone())),
            },
            Test::Length(relation, number) => related(Need::Nothing, Field::LENGTH, *relation, *number),
            Test::TcpFlags(mask, relation, number) => at.tcp_flags(*mask, *relation, *number),
            Test::Icmp(version, field, relation, number) => at.icmp(*version, *field, *relation, *number),
        })
    }
}

/// The largest that is the length of an LLC frame.
const LENGTH_MAX: u16 = 1500;
/// libpcap looks for it in SNAP headers as well.
const APPLETALK: u16 = 0x809b;
/// And for this.
const AARP: u16 = 0x80f3;
/// The destination addresses of groups, in DST_MAC_HIGH.
const GROUPS: Range = Range::new(0x1_0000, 0x1_ffff);

/// What stays where it is behind a `vlan`.
fn is_of_the_whole_frame(test: &Test) -> bool {
    match test {
        Test::Mac(..)
        | Test::Broadcast
        | Test::Multicast
        | Test::Inbound(_)
        | Test::Interface(_)
        | Test::Length(..) => true,
        Test::EtherType(_)
        | Test::IpMulticast
        | Test::Ip6Multicast
        | Test::Vlan(_)
        | Test::Network(..)
        | Test::Protocol(..)
        | Test::Port(..)
        | Test::TcpFlags(..)
        | Test::Icmp(..) => false,
    }
}

fn leaf(need: Need, field: Field, range: Range) -> Tree {
    Tree::Leaf(Leaf { need, values: Values::One(field, range) })
}

/// What is never true, and loads nothing.
fn never() -> Tree {
    Tree::Any(Vec::new())
}

fn of_sides(side: Side, src: impl Fn() -> Tree, dst: impl Fn() -> Tree) -> Tree {
    match side {
        Side::Src => src(),
        Side::Dst => dst(),
        Side::Either => Tree::Any(vec![src(), dst()]),
        Side::Both => Tree::All(vec![src(), dst()]),
    }
}

fn related(need: Need, field: Field, relation: Relation, number: u32) -> Tree {
    let max = field.max();
    let below = |number: u32| number.checked_sub(1).map(|high| Range::new(0, high.min(max)));
    let above = |number: u32| number.checked_add(1).filter(|low| *low <= max).map(|low| Range::new(low, max));
    let equal = (number <= max).then_some(Range::one(number));
    let ranges: Vec<Range> = match relation {
        Relation::Equal => equal.into_iter().collect(),
        Relation::NotEqual => below(number).into_iter().chain(above(number)).collect(),
        Relation::Less => below(number).into_iter().collect(),
        Relation::LessEqual => vec![Range::new(0, number.min(max))],
        Relation::Greater => above(number).into_iter().collect(),
        Relation::GreaterEqual => (number <= max).then_some(Range::new(number, max)).into_iter().collect(),
    };
    Tree::Leaf(Leaf { need, values: Values::Some(field, ranges) })
}

fn halves(mac: Mac) -> (u32, u32) {
    let [a, b, c, d, e, f] = mac.0;
    (u32::from(u16::from_be_bytes([a, b])), u32::from_be_bytes([c, d, e, f]))
}

fn mac_src(mac: Mac) -> Tree {
    let (high, low) = halves(mac);
    Tree::All(vec![
        leaf(Need::Captured(12), Field::SRC_MAC_LOW, Range::one(low)),
        leaf(Need::Captured(8), Field::SRC_MAC_HIGH, Range::one(high)),
    ])
}

fn mac_dst(mac: Mac) -> Tree {
    let (high, low) = halves(mac);
    let high = if mac.0[0] & 1 == 1 { high + GROUPS.low } else { high };
    Tree::All(vec![
        leaf(Need::Captured(6), Field::DST_MAC_LOW, Range::one(low)),
        leaf(Need::Captured(2), Field::DST_MAC_HIGH, Range::one(high)),
    ])
}

/// Writes the tests of one view.
#[derive(Clone, Copy)]
struct At {
    view: u8,
}

impl At {
    fn field(self, field: ViewField) -> Field {
        Field::view(self.view, field)
    }

    /// The need of a load that ends at this byte of the first view.
    fn captured(self, end: u32) -> Need {
        Need::Captured(end + 4 * u32::from(self.view))
    }

    fn load(self, end: u32, field: ViewField, range: Range) -> Tree {
        leaf(self.captured(end), self.field(field), range)
    }

    /// The need of a load that ends at this byte behind IPv4's header.
    fn transport(self, end: u32) -> Need {
        Need::Transport(self.field(ViewField::Transport), end)
    }

    fn ether_type(self, number: u32) -> Tree {
        self.load(14, ViewField::EtherType, Range::one(number))
    }

    fn vlan(self, number: Option<u16>) -> Tree {
        let tags = Values::Some(self.field(ViewField::EtherType), ether::TAGS.map(Range::one).to_vec());
        let tag = Tree::Leaf(Leaf { need: self.captured(14), values: tags });
        match number {
            None => tag,
            Some(number) => Tree::All(vec![tag, self.load(16, ViewField::Vlan, Range::one(u32::from(number)))]),
        }
    }

    fn network(self, family: Family, side: Side, net: Net) -> Tree {
        let one = |ether_type, source_end, destination_end| {
            let src = || self.address(ether_type, net, source_end, ViewField::Src0);
            let dst = || self.address(ether_type, net, destination_end, ViewField::Dst0);
            of_sides(side, src, dst)
        };
        let ip = || one(ether::IP, 30, 34);
        let arp = || one(ether::ARP, 32, 42);
        let rarp = || one(ether::RARP, 32, 42);
        match (family, net.address) {
            (Family::Any, IpAddr::V4(_)) => Tree::OneOf(vec![ip(), arp(), rarp()]),
            (Family::Ip, IpAddr::V4(_)) => ip(),
            (Family::Arp, IpAddr::V4(_)) => arp(),
            (Family::Rarp, IpAddr::V4(_)) => rarp(),
            (Family::Any | Family::Ip6, IpAddr::V6(_)) => one(ether::IP6, 26, 42),
            (Family::Ip6, IpAddr::V4(_)) | (Family::Ip | Family::Arp | Family::Rarp, IpAddr::V6(_)) => never(),
        }
    }

    /// An address whose first word ends at this byte, and begins in this field.
    fn address(self, ether_type: u32, net: Net, end: u32, field: ViewField) -> Tree {
        let mut tests = vec![self.ether_type(ether_type)];
        let word = |index: u32, word: u32, prefix: u32| {
            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
            self.load(end + 4 * index, nth(field, index), Range::new(word & !host, word | host))
        };
        match net.address {
            IpAddr::V4(_) if net.prefix == 0 => {}
            IpAddr::V4(address) => tests.push(word(0, address.to_bits(), u32::from(net.prefix))),
            IpAddr::V6(address) => tests.extend((0..u32::from(net.prefix).div_ceil(32)).map(|index| {
                // The shift leaves the four bytes of the word.
                let value = (address.to_bits() >> (96 - 32 * index)) as u32;
                word(index, value, u32::from(net.prefix).saturating_sub(32 * index).min(32))
            })),
        }
        Tree::All(tests)
    }

    fn protocol(self, family: Family, number: u32) -> Tree {
        let ip = || Tree::All(vec![self.ether_type(ether::IP), self.load(24, ViewField::Protocol, Range::one(number))]);
        let ip6 = || {
            let behind = Tree::All(vec![
                self.load(21, ViewField::Protocol, Range::one(protocol::FRAGMENT)),
                self.load(55, ViewField::Fragment, Range::one(number)),
            ]);
            let next = Tree::Any(vec![self.load(21, ViewField::Protocol, Range::one(number)), behind]);
            Tree::All(vec![self.ether_type(ether::IP6), next])
        };
        match family {
            Family::Any => Tree::OneOf(vec![ip(), ip6()]),
            Family::Ip => ip(),
            Family::Ip6 => ip6(),
            Family::Arp | Family::Rarp => never(),
        }
    }

    fn port(self, transport: Transport, side: Side, ports: Ports) -> Tree {
        let protocols = match transport {
            Transport::Any => &[protocol::SCTP, protocol::TCP, protocol::UDP][..],
            Transport::Tcp => &[protocol::TCP],
            Transport::Udp => &[protocol::UDP],
            Transport::Sctp => &[protocol::SCTP],
        };
        let (first, last) = (u32::from(ports.first), u32::from(ports.last));
        let range = Range::new(first.min(last), first.max(last));
        let ip6 = protocols.iter().map(|number| {
            let ends = of_sides(
                side,
                || self.load(56, ViewField::SrcPort, range),
                || self.load(58, ViewField::DstPort, range),
            );
            Tree::All(vec![self.load(21, ViewField::Protocol, Range::one(*number)), ends])
        });
        let ip = protocols.iter().map(|number| {
            let ends = of_sides(
                side,
                || leaf(self.transport(2), self.field(ViewField::SrcPort), range),
                || leaf(self.transport(4), self.field(ViewField::DstPort), range),
            );
            Tree::All(vec![self.load(24, ViewField::Protocol, Range::one(*number)), self.first_fragment(), ends])
        });
        Tree::OneOf(vec![
            Tree::All(vec![self.ether_type(ether::IP6), Tree::OneOf(ip6.collect())]),
            Tree::All(vec![self.ether_type(ether::IP), Tree::OneOf(ip.collect())]),
        ])
    }

    /// The fragment offset of IPv4 is 0.
    fn first_fragment(self) -> Tree {
        self.load(22, ViewField::Fragment, Range::one(0))
    }

    /// Of an IPv4 packet of this protocol that is no later fragment.
    fn behind_ip(self, number: u32, test: Tree) -> Tree {
        Tree::All(vec![
            self.ether_type(ether::IP),
            self.load(24, ViewField::Protocol, Range::one(number)),
            self.first_fragment(),
            test,
        ])
    }

    fn tcp_flags(self, mask: u8, relation: Relation, number: u32) -> Tree {
        let need = self.transport(14);
        let test = if mask == 0xff {
            related(need, self.field(ViewField::TcpFlags), relation, number)
        } else {
            let is = |flags: u8| holds(u32::from(flags & mask), relation, number);
            let values = Values::Bits(self.cubes(mask, &is), self.cubes(mask, &|flags| !is(flags)));
            Tree::Leaf(Leaf { need, values })
        };
        self.behind_ip(protocol::TCP, test)
    }

    /// The flags for which something holds that looks at the bits of a mask alone.
    fn cubes(self, mask: u8, is: &dyn Fn(u8) -> bool) -> Vec<Bits> {
        let parts_of = |mask: u8| (0..=mask).filter(move |bits| bits & !mask == 0);
        let mut all: Vec<(u8, u8)> = Vec::new();
        // Cubes of fewer bits first: all that hold and lie in none before are the largest ones.
        let mut masks: Vec<u8> = parts_of(mask).collect();
        masks.sort_by_key(|bits| bits.count_ones());
        for bits in masks {
            for value in parts_of(bits) {
                let larger = all.iter().any(|(other, flags)| other & !bits == 0 && value & other == *flags);
                if !larger && parts_of(mask & !bits).all(|rest| is(rest | value)) {
                    all.push((bits, value));
                }
            }
        }
        // Of those, as many as it takes to have all flags.
        let mut open: Vec<u8> = parts_of(mask).filter(|flags| is(*flags)).collect();
        let mut cubes = Vec::new();
        let has = |(bits, value): &(u8, u8), flags: &u8| flags & bits == *value;
        while let Some(best) = all.iter().max_by_key(|cube| open.iter().filter(|flags| has(cube, flags)).count()) {
            if open.is_empty() {
                break;
            }
            open.retain(|flags| !has(best, flags));
            let (bits, value) = *best;
            let set = (0..8).filter(|bit| bits >> bit & 1 == 1);
            let bits = set.map(|bit| (Field::tcp_flag(self.view, bit), Range::one(u32::from(value >> bit & 1))));
            cubes.push(bits.collect());
        }
        cubes
    }

    fn icmp(self, version: IcmpVersion, field: IcmpField, relation: Relation, number: u32) -> Tree {
        let (field, end) = match field {
            IcmpField::Type => (ViewField::SrcPort, 1),
            IcmpField::Code => (ViewField::DstPort, 2),
        };
        let field = self.field(field);
        match version {
            IcmpVersion::V4 => self.behind_ip(protocol::ICMP, related(self.transport(end), field, relation, number)),
            IcmpVersion::V6 => Tree::All(vec![
                self.ether_type(ether::IP6),
                self.load(21, ViewField::Protocol, Range::one(protocol::ICMP6)),
                related(self.captured(54 + end), field, relation, number),
            ]),
        }
    }
}

fn holds(value: u32, relation: Relation, number: u32) -> bool {
    match relation {
        Relation::Equal => value == number,
        Relation::NotEqual => value != number,
        Relation::Less => value < number,
        Relation::LessEqual => value <= number,
        Relation::Greater => value > number,
        Relation::GreaterEqual => value >= number,
    }
}

/// The field that is so many behind this one.
fn nth(field: ViewField, index: u32) -> ViewField {
    let words = if field == ViewField::Dst0 { ViewField::DST } else { ViewField::SRC };
    words[index as usize % 4]
}
