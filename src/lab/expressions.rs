//! Random filter expressions, over all that `Expression` can say of the frames in a capture file.

use std::net::IpAddr;

use super::random::{Random, pool};
use crate::model::expression::{
    Expression, Family, IcmpField, IcmpVersion, Mac, Net, Ports, Relation, Side, Test, Transport,
};

/// As many `vlan` as there may be before other tests.
const VLANS: usize = 3;

/// A random expression of up to `tests` tests.
pub fn expression(random: &mut Random, tests: usize) -> Expression {
    let count = 1 + random.below(tests);
    Maker { random, vlans: 0 }.expression(count)
}

/// Makes an expression from left to right.
struct Maker<'a> {
    random: &'a mut Random,
    vlans: usize,
}

impl Maker<'_> {
    fn expression(&mut self, tests: usize) -> Expression {
        if self.random.chance(15) {
            return Expression::Not(Box::new(self.expression(tests)));
        }
        if tests < 2 {
            return Expression::Test(self.test());
        }
        let left = 1 + self.random.below(tests - 1);
        let a = Box::new(self.expression(left));
        let b = Box::new(self.expression(tests - left));
        if self.random.chance(50) { Expression::And(a, b) } else { Expression::Or(a, b) }
    }

    fn test(&mut self) -> Test {
        let side = self.random.pick(&[Side::Either, Side::Src, Side::Dst, Side::Either, Side::Both]);
        match self.random.below(100) {
            0..10 => {
                let tag = self.random.chance(10);
                let pool = if tag { &pool::TAGS[..] } else { &pool::ETHER_TYPES };
                Test::EtherType(self.random.pick(pool))
            }
            10..15 => Test::Mac(side, Mac(self.random.pick(&pool::MACS))),
            15..17 => Test::Broadcast,
            17..19 => Test::Multicast,
            19..21 => Test::IpMulticast,
            21..23 => Test::Ip6Multicast,
            23..33 if self.vlans < VLANS => {
                self.vlans += 1;
                let any = self.random.chance(50);
                Test::Vlan((!any).then(|| self.random.pick(&pool::VLANS)))
            }
            23..48 => self.network(side),
            48..60 => {
                let family = self.random.pick(&[Family::Any, Family::Ip, Family::Ip6]);
                Test::Protocol(family, self.random.pick(&pool::PROTOCOLS))
            }
            60..78 => {
                let transport = self.random.pick(&[Transport::Any, Transport::Tcp, Transport::Udp, Transport::Sctp]);
                let (first, other) = (self.random.pick(&pool::PORTS), self.random.pick(&pool::PORTS));
                let last = if self.random.chance(50) { first } else { other };
                Test::Port(transport, side, Ports { first: first.min(last), last: first.max(last) })
            }
            78..83 => {
                let length = self.random.pick(&[0, 1, 14, 41, 42, 58, 60, 64, 100, 1500, u32::MAX]);
                Test::Length(self.relation(), length)
            }
            83..91 => {
                let mask = self.random.pick(&[0xff, 0x02, 0x12, 0x07, 0x3f, 0x29, 0]);
                let number = self.random.pick(&[0, 1, 2, 0x12, 0x10, 4, 0x29, 0xff, 300]);
                Test::TcpFlags(mask, self.relation(), number)
            }
            _ => {
                let version = self.random.pick(&[IcmpVersion::V4, IcmpVersion::V6]);
                let field = self.random.pick(&[IcmpField::Type, IcmpField::Code]);
                let number = self.random.pick(&[0, 1, 3, 8, 128, 129, 255, 256]);
                Test::Icmp(version, field, self.relation(), number)
            }
        }
    }

    fn relation(&mut self) -> Relation {
        self.random.pick(&Relation::ALL)
    }

    fn network(&mut self, side: Side) -> Test {
        if self.random.chance(60) {
            let family = self.random.pick(&[Family::Any, Family::Any, Family::Ip, Family::Arp, Family::Rarp]);
            let prefix = self.random.pick(&[32, 32, 24, 8, 31, 25, 4, 1, 0]);
            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let address = self.random.pick(&pool::IPV4).to_bits() & !host;
            return Test::Network(family, side, Net { address: IpAddr::V4(address.into()), prefix: prefix as u8 });
        }
        let family = self.random.pick(&[Family::Any, Family::Ip6]);
        let prefix = self.random.pick(&[128, 128, 64, 32, 35, 10, 8, 127, 96, 0]);
        let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
        let address = self.random.pick(&pool::IPV6).to_bits() & !host;
        Test::Network(family, side, Net { address: IpAddr::V6(address.into()), prefix: prefix as u8 })
    }
}
