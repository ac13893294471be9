//! Expressions as text: with all words written, so that libpcap reads the same from it.

use std::fmt;
use std::net::IpAddr;

use super::lexer::{Kind, tokens};
use super::{Expression, Family, IcmpField, IcmpVersion, Mac, Ports, Relation, Side, Test, Transport, names};

impl Expression {
    /// Whether it has to stand in parentheses behind `not`, `and` and `or`.
    pub(super) fn joins(&self) -> bool {
        matches!(self, Expression::And(..) | Expression::Or(..))
    }

    /// Whether this one's first part stands in parentheses. `and` and `or` bind alike, from the left, so none are needed; as not
    /// all readers know, they are written where the two meet.
    pub(super) fn parts_from(&self, first: &Expression) -> bool {
        matches!((self, first), (Expression::And(..), Expression::Or(..)) | (Expression::Or(..), Expression::And(..)))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, part: &Expression, parentheses: bool| match parentheses {
            true => write!(f, "({part})"),
            false => write!(f, "{part}"),
        };
        match self {
            Expression::Test(test) => test.fmt(f),
            Expression::Not(of) => {
                f.write_str("not ")?;
                part(f, of, of.joins())
            }
            Expression::And(a, b) | Expression::Or(a, b) => {
                part(f, a, self.parts_from(a))?;
                f.write_str(if let Expression::And(..) = self { " and " } else { " or " })?;
                part(f, b, b.joins())
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::EtherType(0x0800) => f.write_str("ip"),
            Test::EtherType(0x0806) => f.write_str("arp"),
            Test::EtherType(0x8035) => f.write_str("rarp"),
            Test::EtherType(0x86dd) => f.write_str("ip6"),
            Test::EtherType(number) => write!(f, "ether proto {number:#06x}"),
            Test::Mac(side, mac) => write!(f, "ether {}host {mac}", side_words(*side)),
            Test::Broadcast => f.write_str("ether broadcast"),
            Test::Multicast => f.write_str("ether multicast"),
            Test::IpMulticast => f.write_str("ip multicast"),
            Test::Ip6Multicast => f.write_str("ip6 multicast"),
            Test::Vlan(None) => f.write_str("vlan"),
            Test::Vlan(Some(number)) => write!(f, "vlan {number}"),
            Test::Network(family, side, net) => {
                let family = family_words(*family);
                let side = side_words(*side);
                match net.address {
                    IpAddr::V4(_) if net.prefix == 32 => write!(f, "{family}{side}host {}", net.address),
                    IpAddr::V6(_) if net.prefix == 128 => write!(f, "{family}{side}host {}", net.address),
                    _ => write!(f, "{family}{side}net {}/{}", net.address, net.prefix),
                }
            }
            Test::Protocol(family, number) => f.write_str(match (family, number) {
                (Family::Any, 6) => "tcp",
                (Family::Any, 17) => "udp",
                (Family::Any, 50) => "esp",
                (Family::Any, 51) => "ah",
                (Family::Any, 103) => "pim",
                (Family::Any, 132) => "sctp",
                (Family::Ip, 1) => "icmp",
                (Family::Ip, 2) => "igmp",
                (Family::Ip6, 58) => "icmp6",
                _ => return write!(f, "{}proto {number}", family_words(*family)),
            }),
            Test::Port(transport, side, Ports { first, last }) => {
                let transport = match transport {
                    Transport::Any => "",
                    Transport::Tcp => "tcp ",
                    Transport::Udp => "udp ",
                    Transport::Sctp => "sctp ",
                };
                let side = side_words(*side);
                match first == last {
                    true => write!(f, "{transport}{side}port {first}"),
                    false => write!(f, "{transport}{side}portrange {first}-{last}"),
                }
            }
            Test::Inbound(true) => f.write_str("inbound"),
            Test::Inbound(false) => f.write_str("outbound"),
            Test::Interface(name) => interface(f, name.as_str()),
            Test::Length(relation, number) => write!(f, "len {relation} {number}"),
            Test::TcpFlags(mask, relation, value) => {
                f.write_str("tcp[tcpflags] ")?;
                if *mask != 0xff {
                    write!(f, "& {} ", flags(u32::from(*mask)))?;
                }
                match relation {
                    Relation::Equal | Relation::NotEqual => write!(f, "{relation} {}", flags(*value)),
                    _ => write!(f, "{relation} {value}"),
                }
            }
            Test::Icmp(version, field, relation, value) => {
                let (names, words) = match (version, field) {
                    (IcmpVersion::V4, IcmpField::Type) => (names::ICMP_TYPES, "icmp[icmptype]"),
                    (IcmpVersion::V4, IcmpField::Code) => (&[][..], "icmp[icmpcode]"),
                    (IcmpVersion::V6, IcmpField::Type) => (names::ICMP6_TYPES, "icmp6[icmp6type]"),
                    (IcmpVersion::V6, IcmpField::Code) => (&[][..], "icmp6[icmp6code]"),
                };
                match (relation, names::named(names, *value)) {
                    (Relation::Equal | Relation::NotEqual, Some(name)) => write!(f, "{words} {relation} {name}"),
                    _ => write!(f, "{words} {relation} {value}"),
                }
            }
        }
    }
}

fn side_words(side: Side) -> &'static str {
    match side {
        Side::Src => "src ",
        Side::Dst => "dst ",
        Side::Either => "",
        Side::Both => "src and dst ",
    }
}

fn family_words(family: Family) -> &'static str {
    match family {
        Family::Any => "",
        Family::Ip => "ip ",
        Family::Arp => "arp ",
        Family::Rarp => "rarp ",
        Family::Ip6 => "ip6 ",
    }
}

/// Flags by their names; 0 and what is no byte as a number.
fn flags(value: u32) -> String {
    let names: Vec<&str> = (0..8).filter(|bit| value >> bit & 1 == 1).map(|bit| names::TCP_FLAGS[bit]).collect();
    match names.len() {
        _ if value > 0xff => value.to_string(),
        0 => "0".to_owned(),
        1 => names[0].to_owned(),
        _ => format!("({})", names.join("|")),
    }
}

/// The name as it is, where that is a name; else with a backslash, or between quotation marks.
fn interface(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let read_as_name = |text: &str| {
        let Ok(tokens) = tokens(text) else { return false };
        matches!(&tokens[..], [one, _] if one.kind == Kind::Name(name.to_owned()))
    };
    let escaped = format!("\\{name}");
    match () {
        () if read_as_name(name) => write!(f, "ifname {name}"),
        () if read_as_name(&escaped) => write!(f, "ifname {escaped}"),
        () => write!(f, "ifname \"{}\"", name.replace('"', "\"\"")),
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Relation::Equal => "=",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::LessEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterEqual => ">=",
        })
    }
}
