//! Filter expressions in tcpdump's language (pcap-filter): what they say, as a tree. `FromStr` reads the language, `Display`
//! writes it, with every shorthand spelt out.

mod arithmetic;
mod cursor;
mod display;
mod error;
pub mod flags;
mod lexer;
mod limits;
mod names;
mod parser;
mod services;
mod single;
mod value;

use std::net::IpAddr;

use super::interface::InterfaceName;

pub use error::ParseError;

/// Bytes that an expression may have, as it is written and as it is printed.
pub const MAX_LENGTH: usize = 4096;
/// How deep parentheses and `not` may be nested, as they are written and as they are printed.
pub const MAX_DEPTH: usize = 200;
/// How often `vlan` may stand in an expression: each moves what stands behind it by four bytes, wherever it stands.
pub const MAX_VLANS: usize = 3;

/// An expression. Evaluated from left to right, and no further than it must be: a frame that is too short for a test that
/// is evaluated matches nothing, whatever stands around it. So does libpcap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Nothing but a test.
    Test(Test),
    /// `not`, `!`.
    Not(Box<Expression>),
    /// `and`, `&&`: the second only where the first is true.
    And(Box<Expression>, Box<Expression>),
    /// `or`, `||`: the second only where the first is false.
    Or(Box<Expression>, Box<Expression>),
}

/// One test of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `ether proto N`, from 1501 on; `ip`, `ip6`, `arp` and `rarp` are this.
    EtherType(u16),
    /// `ether host MAC`.
    Mac(Side, Mac),
    /// `ether broadcast`, `broadcast`.
    Broadcast,
    /// `ether multicast`, `multicast`: broadcast frames as well.
    Multicast,
    /// `ip multicast`.
    IpMulticast,
    /// `ip6 multicast`.
    Ip6Multicast,
    /// `vlan`, `vlan N`: moves what stands behind it in the expression by four bytes.
    Vlan(Option<u16>),
    /// `host`, `net`.
    Network(Family, Side, Net),
    /// `tcp`, `udp`, `proto N`, `ip proto N`, `ip6 proto N`: the family is Ip, Ip6, or Any for both.
    Protocol(Family, u8),
    /// `port`, `portrange`.
    Port(Transport, Side, Ports),
    /// `inbound` and `outbound`: what the interface receives, and what it sends.
    Inbound(bool),
    /// `ifname NAME`: the mirrored interface.
    Interface(InterfaceName),
    /// `less N` (`len <= N`), `greater N` (`len >= N`), `len = N` and the like.
    Length(Relation, u32),
    /// `tcp[tcpflags] & MASK = VALUE`; without `& MASK` the mask is 0xff.
    TcpFlags(u8, Relation, u32),
    /// `icmp[icmptype] = N`, `icmp[icmpcode]`, `icmp6[icmp6type]`, `icmp6[icmp6code]`.
    Icmp(IcmpVersion, IcmpField, Relation, u32),
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// `src`.
    Src,
    /// `dst`.
    Dst,
    /// `src or dst`: without a word for it.
    Either,
    /// `src and dst`.
    Both,
}

/// Which packets have the address or the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Without a word for it: of addresses, IPv4, ARP and RARP, or IPv6, as the address is; of protocols, IPv4 and IPv6.
    Any,
    /// `ip`.
    Ip,
    /// `arp`.
    Arp,
    /// `rarp`.
    Rarp,
    /// `ip6`.
    Ip6,
}

/// A network, in which no bit behind the prefix is set; a host has the longest prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    /// Its first address.
    pub address: IpAddr,
    /// Its bits: up to 32, up to 128.
    pub prefix: u8,
}

/// Of which protocol a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Without a word for it: TCP, UDP or SCTP.
    Any,
    /// `tcp`.
    Tcp,
    /// `udp`.
    Udp,
    /// `sctp`.
    Sctp,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `=`, `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterEqual,
}

impl Relation {
    /// All of them.
    pub const ALL: [Relation; 6] = [
        Relation::Equal,
        Relation::NotEqual,
        Relation::Less,
        Relation::LessEqual,
        Relation::Greater,
        Relation::GreaterEqual,
    ];
}

/// ICMP of IPv4 or of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpVersion {
    /// `icmp`.
    V4,
    /// `icmp6`.
    V6,
}

/// A byte of ICMP's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpField {
    /// The first.
    Type,
    /// The second.
    Code,
}
