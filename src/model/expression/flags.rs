//! Typed flags (`--vlan 5 --dport 80`): shorthand for an expression, `vlan 5 and dst port 80`. There is one language and one
//! meaning; these only spell it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::lexer::{Kind, read_number, tokens};
use super::{
    Expression, Family, IcmpField, IcmpVersion, Mac, Net, Ports, Relation, Side, Test, Transport, names, services,
};
use crate::model::interface::{Direction, InterfaceName};

/// What was given; nothing of it: every frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--iface`: `ifname NAME`.
    pub iface: Option<InterfaceName>,
    /// `--direction`: `inbound`, `outbound`.
    pub direction: Option<Direction>,
    /// `--ether-type`: `ether proto N`; that of a tag in front of `vlan`, others behind it.
    pub ether_type: Option<EtherType>,
    /// `--vlan`: `vlan N`.
    pub vlan: Option<VlanId>,
    /// `--src-mac`: `ether src host MAC`.
    pub src_mac: Option<Mac>,
    /// `--dst-mac`: `ether dst host MAC`.
    pub dst_mac: Option<Mac>,
    /// `--proto`: `tcp`, `proto N`.
    pub proto: Option<Protocol>,
    /// `--src`: `src net CIDR`, `src host ADDRESS`.
    pub src: Option<Net>,
    /// `--dst`: `dst net CIDR`.
    pub dst: Option<Net>,
    /// `--host`: `net CIDR`, either side.
    pub host: Option<Net>,
    /// `--sport`: `src port N`, `src portrange N-M`.
    pub sport: Option<Ports>,
    /// `--dport`: `dst port N`.
    pub dport: Option<Ports>,
    /// `--port`: `port N`, either side.
    pub port: Option<Ports>,
    /// `--tcp-flags`: `tcp[tcpflags] & … = …`.
    pub tcp_flags: Option<TcpFlags>,
    /// `--icmp-type`: `icmp[icmptype] = N`; `icmp6[icmp6type] = N` with `--proto icmp6` or by one of ICMPv6's names.
    pub icmp_type: Option<IcmpType>,
}

impl Flags {
    /// The expression that they are short for: their tests with `and` between them, those in front of `vlan` that read the frame
    /// itself, those behind it that read what the tag is in front of. None when nothing was given.
    pub fn expression(&self) -> Option<Expression> {
        let network = |side, net: Option<Net>| net.map(|net| Test::Network(Family::Any, side, net));
        let port = |side, ports: Option<Ports>| ports.map(|ports| Test::Port(Transport::Any, side, ports));
        let ether_type = |tag| self.ether_type.filter(|of| of.is_tag() == tag).map(|of| Test::EtherType(of.0));
        let tests = [
            self.iface.clone().map(Test::Interface),
            self.direction.map(|direction| Test::Inbound(direction == Direction::Ingress)),
            self.src_mac.map(|mac| Test::Mac(Side::Src, mac)),
            self.dst_mac.map(|mac| Test::Mac(Side::Dst, mac)),
            ether_type(true),
            self.vlan.map(|vlan| Test::Vlan(Some(vlan.0))),
            ether_type(false),
            self.proto.map(|proto| Test::Protocol(proto.family, proto.number)),
            network(Side::Src, self.src),
            network(Side::Dst, self.dst),
            network(Side::Either, self.host),
            port(Side::Src, self.sport),
            port(Side::Dst, self.dport),
            port(Side::Either, self.port),
            self.tcp_flags.map(|flags| Test::TcpFlags(flags.set | flags.clear, Relation::Equal, u32::from(flags.set))),
            self.icmp_type.map(|of| {
                let version = match of.version {
                    Some(version) => version,
                    None if self.proto.is_some_and(|proto| proto.number == 58) => IcmpVersion::V6,
                    None => IcmpVersion::V4,
                };
                Test::Icmp(version, IcmpField::Type, Relation::Equal, u32::from(of.number))
            }),
        ];
        tests.into_iter().flatten().map(Expression::Test).fold(None, |all, test| join(all, Some(test)))
    }
}

/// Both, with `and` between them; the one that there is.
pub fn join(flags: Option<Expression>, expression: Option<Expression>) -> Option<Expression> {
    match (flags, expression) {
        (Some(a), Some(b)) => Some(Expression::And(Box::new(a), Box::new(b))),
        (a, b) => a.or(b),
    }
}

/// An Ethernet type: from 1501 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtherType(u16);

impl EtherType {
    /// Whether the type is that of a VLAN tag: what `vlan` takes.
    fn is_tag(self) -> bool {
        matches!(self.0, 0x8100 | 0x88a8 | 0x9100)
    }
}

impl FromStr for EtherType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = names::ether_type(text).or_else(|| number(text, 0xffff).map(|number| number as u16));
        match number {
            Some(0..=1500 | 0x809b | 0x80f3) => Err(format!(
                "Ethernet type {text} is not covered: 1501 to 0xffff, without AppleTalk's 0x809b and 0x80f3"
            )),
            Some(number) => Ok(EtherType(number)),
            None => Err(format!("\"{text}\" is no Ethernet type: write ip, ip6, arp, rarp or a number as 0x8100")),
        }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match names::ether_type_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

/// The number of a VLAN, 0 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanId(u16);

impl FromStr for VlanId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match number(text, 0xfff) {
            Some(number) => Ok(VlanId(number as u16)),
            None => Err(format!("\"{text}\" is no number of a VLAN: write 0 to 4095")),
        }
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A protocol over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Ip, Ip6, or Any for both.
    family: Family,
    number: u8,
}

impl FromStr for Protocol {
    type Err = String;

    /// A name or a number. Where the expression language has a word, its meaning is that of the word: icmp is of IPv4 alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (family, number) = match text {
            "icmp" => (Family::Ip, 1),
            "igmp" => (Family::Ip, 2),
            "icmp6" => (Family::Ip6, 58),
            _ => match names::protocol(text).or_else(|| number(text, 0xff).map(|number| number as u8)) {
                Some(number) => (Family::Any, number),
                None => {
                    return Err(format!(
                        "\"{text}\" is no protocol that is known: write its number, 0 to 255, or a name as tcp, udp, icmp6, gre"
                    ));
                }
            },
        };
        Ok(Protocol { family, number })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.family, self.number) {
            (Family::Ip, 1) => f.write_str("icmp"),
            (Family::Ip, 2) => f.write_str("igmp"),
            (Family::Ip6, 58) => f.write_str("icmp6"),
            (Family::Any, 6) => f.write_str("tcp"),
            (Family::Any, 17) => f.write_str("udp"),
            (_, number) => number.fmt(f),
        }
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok([one, _]) = tokens(text).as_deref()
            && let Kind::Mac(mac) = one.kind
            && (one.from, one.to) == (0, text.len())
        {
            return Ok(mac);
        }
        Err(format!("\"{text}\" is no MAC address: write it as 02:00:00:00:00:01"))
    }
}

impl FromStr for Net {
    type Err = String;

    /// An address, or a network in which no bit behind the prefix is set.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("\"{text}\" is no address and no network: write 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32")
        })?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| format!("\"{text}\" has a wrong prefix: write /0 to /{most}"))?,
        };
        let first: IpAddr = match address {
            IpAddr::V4(of) => Ipv4Addr::from_bits(of.to_bits() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).into(),
            IpAddr::V6(of) => {
                Ipv6Addr::from_bits(of.to_bits() & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).into()
            }
        };
        match first == address {
            true => Ok(Net { address, prefix: prefix as u8 }),
            false => Err(format!("\"{text}\" has bits set behind its prefix: write {first}/{prefix}, or {address}")),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.prefix) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => self.address.fmt(f),
            (address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

impl Ports {
    /// `80` or `8000-8100`. `words` stand before a port of this side in an expression, which may have a name: `dst port`.
    pub fn of_side(words: &str, text: &str) -> Result<Self, String> {
        let port = |text: &str| -> Option<u16> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().ok() } else { None }
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
            (Some(first), Some(last)) => Err(format!("\"{text}\" ends before it begins: write {last}-{first}")),
            _ => Err(match services::port(text) {
                Some((number, _)) => {
                    format!("\"{text}\" is a name: write {number}, or {words} {text} in an expression")
                }
                None => format!("\"{text}\" is no port and no range of ports: write 0 to 65535, as 80 or 8000-8100"),
            }),
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ports::of_side("port", text)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// TCP's flags that must be set, and those that must not be; the others may be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    set: u8,
    clear: u8,
}

const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl FromStr for TcpFlags {
    type Err = String;

    /// Names with commas between them; `!` in front of one that must not be set.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut flags = TcpFlags { set: 0, clear: 0 };
        for word in text.split(',') {
            let (of, name) = match word.strip_prefix('!') {
                Some(name) => (&mut flags.clear, name),
                None => (&mut flags.set, word),
            };
            let name = if name == "push" { "psh" } else { name };
            let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
                let all = if word == text { String::new() } else { format!("\"{text}\": ") };
                return Err(format!(
                    "{all}\"{word}\" is no flag of TCP: write {}, with commas between them; !ack: not set",
                    TCP_FLAGS.join(", ")
                ));
            };
            *of |= 1 << bit;
        }
        match flags.set & flags.clear {
            0 => Ok(flags),
            _ => Err(format!("\"{text}\" wants a flag both set and not set: leave one out")),
        }
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |of: u8, bit: &usize| of >> bit & 1 == 1;
        let set = (0..8).filter(|bit| has(self.set, bit)).map(|bit| TCP_FLAGS[bit].to_owned());
        let clear = (0..8).filter(|bit| has(self.clear, bit)).map(|bit| format!("!{}", TCP_FLAGS[bit]));
        f.write_str(&set.chain(clear).collect::<Vec<_>>().join(","))
    }
}

/// A type of ICMP or ICMPv6: a number, which is of either, or a name, which is of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    version: Option<IcmpVersion>,
    number: u8,
}

impl FromStr for IcmpType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = number(text, 0xff) {
            return Ok(IcmpType { version: None, number: number as u8 });
        }
        let tables = [(IcmpVersion::V4, names::ICMP_TYPES), (IcmpVersion::V6, names::ICMP6_TYPES)];
        for (version, names) in tables {
            if let Some((_, number)) = names.iter().find(|(name, _)| *name == text) {
                return Ok(IcmpType { version: Some(version), number: *number as u8 });
            }
        }
        Err(format!("\"{text}\" is no type of ICMP: write 0 to 255, or a name as icmp-echo, icmp6-echo"))
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.version {
            None => &[][..],
            Some(IcmpVersion::V4) => names::ICMP_TYPES,
            Some(IcmpVersion::V6) => names::ICMP6_TYPES,
        };
        match names::named(names, u32::from(self.number)) {
            Some(name) => f.write_str(name),
            None => self.number.fmt(f),
        }
    }
}

/// A number as the expression language has it, at most so large.
fn number(text: &str, most: u32) -> Option<u32> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let alone = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if alone { read_number(text).ok().filter(|number| *number <= most) } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::round_trip;
    use super::*;

    /// The expression of flags that are given as `--name VALUE`.
    fn expression(flags: &str) -> Option<String> {
        let mut of = Flags::default();
        let words: Vec<&str> = flags.split_whitespace().collect();
        for pair in words.chunks(2) {
            let value = pair[1];
            match pair[0] {
                "--iface" => of.iface = Some(value.parse().unwrap()),
                "--direction" if value == "ingress" => of.direction = Some(Direction::Ingress),
                "--direction" => of.direction = Some(Direction::Egress),
                "--ether-type" => of.ether_type = Some(value.parse().unwrap()),
                "--vlan" => of.vlan = Some(value.parse().unwrap()),
                "--src-mac" => of.src_mac = Some(value.parse().unwrap()),
                "--dst-mac" => of.dst_mac = Some(value.parse().unwrap()),
                "--proto" => of.proto = Some(value.parse().unwrap()),
                "--src" => of.src = Some(value.parse().unwrap()),
                "--dst" => of.dst = Some(value.parse().unwrap()),
                "--host" => of.host = Some(value.parse().unwrap()),
                "--sport" => of.sport = Some(value.parse().unwrap()),
                "--dport" => of.dport = Some(value.parse().unwrap()),
                "--port" => of.port = Some(value.parse().unwrap()),
                "--tcp-flags" => of.tcp_flags = Some(value.parse().unwrap()),
                "--icmp-type" => of.icmp_type = Some(value.parse().unwrap()),
                other => panic!("{other}"),
            }
        }
        let expression = of.expression()?;
        let text = expression.to_string();
        assert_eq!(text.parse(), Ok(expression), "{flags}");
        Some(text)
    }

    #[test]
    fn flags_are_short_for_an_expression() {
        for (flags, text) in [
            ("--vlan 5 --dport 80", "vlan 5 and dst port 80"),
            ("--dport 80 --vlan 5", "vlan 5 and dst port 80"),
            ("--iface eth0 --direction egress", "ifname eth0 and outbound"),
            ("--direction ingress --proto tcp", "inbound and tcp"),
            ("--iface ip", "ifname \\ip"),
            ("--ether-type ip", "ip"),
            ("--ether-type 0x88a8 --vlan 7", "ether proto 0x88a8 and vlan 7"),
            ("--ether-type arp --vlan 7", "vlan 7 and arp"),
            (
                "--src-mac 2:0:0:0:0:1 --dst-mac 02-00-00-00-00-02 --vlan 7",
                "ether src host 02:00:00:00:00:01 and ether dst host 02:00:00:00:00:02 and vlan 7",
            ),
            ("--proto 6 --src 10.0.0.0/8", "tcp and src net 10.0.0.0/8"),
            ("--dst 2001:db8::/32 --host ::1", "dst net 2001:db8::/32 and host ::1"),
            ("--sport 1-2 --dport 3 --port 4-4", "src portrange 1-2 and dst port 3 and port 4"),
            ("--tcp-flags syn", "tcp[tcpflags] & tcp-syn = tcp-syn"),
            ("--tcp-flags syn,!ack", "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn"),
            ("--tcp-flags !rst", "tcp[tcpflags] & tcp-rst = 0"),
            ("--icmp-type 8", "icmp[icmptype] = icmp-echo"),
            ("--icmp-type 8 --proto icmp", "icmp and icmp[icmptype] = icmp-echo"),
            ("--icmp-type 128 --proto icmp6", "icmp6 and icmp6[icmp6type] = icmp6-echo"),
            ("--icmp-type icmp6-echo", "icmp6[icmp6type] = icmp6-echo"),
            ("--proto gre", "proto 47"),
        ] {
            assert_eq!(expression(flags).as_deref(), Some(text), "{flags}");
        }
        assert_eq!(expression(""), None);
    }

    #[test]
    fn flags_and_an_expression_are_joined() {
        let read = |text: &str| text.parse::<Expression>().unwrap();
        let both = join(Some(read("vlan 5")), Some(read("tcp or udp"))).unwrap();
        assert_eq!(both.to_string(), "vlan 5 and (tcp or udp)");
        assert_eq!(join(None, Some(read("tcp"))), Some(read("tcp")));
        assert_eq!(join(Some(read("tcp")), None), Some(read("tcp")));
        assert_eq!(join(None, None), None);
    }

    #[test]
    fn values_are_read_and_printed() {
        round_trip::<EtherType>(
            &["ip", "ip6", "arp", "rarp", "0x8100", "0x05dd"],
            &[
                ("5", "not covered"),
                ("0x809b", "not covered"),
                ("vlan", "is no Ethernet type"),
                ("65536", "is no"),
                ("", "is no"),
            ],
        );
        round_trip::<VlanId>(
            &["0", "5", "4095"],
            &[("4096", "0 to 4095"), ("-1", "is no"), ("a", "is no"), ("", "is no")],
        );
        round_trip::<Protocol>(
            &["tcp", "udp", "icmp", "icmp6", "47", "255"],
            &[("256", "0 to 255"), ("quic", "\"quic\" is no protocol"), ("", "is no"), ("08", "is no")],
        );
        round_trip::<Mac>(
            &["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"],
            &[
                ("1:2:3", "is no MAC"),
                ("02:00:00:00:00:01 ", "is no MAC"),
                ("", "is no MAC"),
                ("ip", "is no MAC"),
                ("(", "is no MAC"),
            ],
        );
        round_trip::<Net>(
            &["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1"],
            &[
                ("10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1"),
                ("2001:db8::1/32", "write 2001:db8::/32"),
                ("10.0.0.0/33", "/0 to /32"),
                ("::/129", "/0 to /128"),
                ("10.0.0.0/+8", "wrong prefix"),
                ("10.0.0.0/", "wrong prefix"),
                ("10.0/16", "is no address"),
                ("host", "is no address"),
            ],
        );
        round_trip::<Ports>(
            &["0", "80", "8000-8100", "0-65535"],
            &[
                ("65536", "0 to 65535"),
                ("90-80", "write 80-90"),
                ("80-", "is no port"),
                ("-80", "is no port"),
                ("+80", "is no port"),
                ("http", "write 80, or port http"),
                ("", "is no port"),
            ],
        );
        round_trip::<TcpFlags>(
            &["syn", "syn,ack", "syn,!ack", "fin,syn,rst,psh,ack,urg,ece,cwr", "!rst"],
            &[("", "is no flag"), ("syn,", "is no flag"), ("SYN", "is no flag"), ("syn,!syn", "both set and not set")],
        );
        round_trip::<IcmpType>(
            &["0", "8", "255", "icmp-echo", "icmp6-echo"],
            &[("256", "0 to 255"), ("echo", "is no type"), ("", "is no type")],
        );
        assert_eq!("0x800".parse::<EtherType>().unwrap().to_string(), "ip");
        assert_eq!("syn,push".parse::<TcpFlags>().unwrap().to_string(), "syn,psh");
    }
}
