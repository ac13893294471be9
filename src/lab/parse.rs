//! Frames taken apart, as far as showing and comparing them needs. Nothing is checked but lengths.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use serde::Serialize;

use super::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, TPID_8021AD, TPID_8021Q};

const MAX_TAGS: usize = 3;

/// What a frame carries, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Address resolution.
    Arp,
    /// ICMP and ICMPv6.
    Icmp,
    /// UDP over IPv4 and IPv6.
    Udp,
    /// TCP over IPv4 and IPv6.
    Tcp,
    /// Everything else, tagged frames too.
    Other,
}

impl Protocol {
    /// All, in the order of output.
    pub const ALL: [Protocol; 5] = [Protocol::Arp, Protocol::Icmp, Protocol::Udp, Protocol::Tcp, Protocol::Other];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Arp => "ARP",
            Self::Icmp => "ICMP",
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Other => "other",
        })
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Sender.
    pub src: [u8; 6],
    /// Receiver.
    pub dst: [u8; 6],
    /// VLAN tags: protocol and control information, outermost first.
    pub tags: Vec<(u16, u16)>,
    /// The type behind the tags; below 0x600 a length.
    pub ethertype: u16,
    /// Where what the type stands for begins.
    pub network: usize,
    /// The IP packet inside, if it is one and its header is whole.
    pub ip: Option<Ip>,
}

/// An IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The protocol behind the header, in IPv6 behind the extension headers.
    pub protocol: u8,
    /// It is not the first fragment: what follows is no transport header.
    pub later_fragment: bool,
    /// It is a fragment, also the first.
    pub fragment: bool,
    /// What follows the header, in the frame, without the frame's padding.
    pub payload: Range<usize>,
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// `TCP_*` of [`super::frame`].
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// The header with its options, in the frame.
    pub header: Range<usize>,
    /// The data, in the frame.
    pub payload: Range<usize>,
}

impl<'a> Parsed<'a> {
    /// `None` for what is too short for an Ethernet header.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut network = 14;
        let mut ethertype = word(bytes, 12)?;
        let mut tags = Vec::new();
        while matches!(ethertype, TPID_8021Q | TPID_8021AD) && tags.len() < MAX_TAGS {
            let (Some(tci), Some(next)) = (word(bytes, network), word(bytes, network + 2)) else { break };
            tags.push((ethertype, tci));
            ethertype = next;
            network += 4;
        }
        let ip = match ethertype {
            ETHERTYPE_IPV4 => Ip::v4(bytes, network),
            ETHERTYPE_IPV6 => Ip::v6(bytes, network),
            _ => None,
        };
        Some(Self {
            bytes,
            src: *bytes.get(6..)?.first_chunk()?,
            dst: *bytes.first_chunk()?,
            tags,
            ethertype,
            network,
            ip,
        })
    }

    /// What it carries.
    pub fn protocol(&self) -> Protocol {
        match (&self.ip, self.ethertype) {
            _ if !self.tags.is_empty() => Protocol::Other,
            (_, ETHERTYPE_ARP) => Protocol::Arp,
            (Some(Ip { protocol: 1 | 58, .. }), _) => Protocol::Icmp,
            (Some(Ip { protocol: 17, .. }), _) => Protocol::Udp,
            (Some(Ip { protocol: 6, .. }), _) => Protocol::Tcp,
            _ => Protocol::Other,
        }
    }

    /// The TCP segment in it, tagged or not, if it is one and its header is whole.
    pub fn tcp(&self) -> Option<Tcp> {
        let ip = self.ip.as_ref().filter(|ip| ip.protocol == 6 && !ip.later_fragment)?;
        let bytes = &self.bytes[..ip.payload.end];
        let start = ip.payload.start;
        let end = start + usize::from(bytes.get(start + 12)? >> 4) * 4;
        if end < start + 20 || end > bytes.len() {
            return None;
        }
        Some(Tcp {
            sport: word(bytes, start)?,
            dport: word(bytes, start + 2)?,
            seq: double_word(bytes, start + 4)?,
            ack: double_word(bytes, start + 8)?,
            flags: bytes[start + 13],
            window: word(bytes, start + 14)?,
            header: start..end,
            payload: end..bytes.len(),
        })
    }

    /// The payload of the IP packet, if it is one.
    pub fn ip_payload(&self) -> Option<&'a [u8]> {
        Some(&self.bytes[self.ip.as_ref()?.payload.clone()])
    }
}

impl Ip {
    fn v4(bytes: &[u8], start: usize) -> Option<Self> {
        let header = bytes.get(start..start + 20)?;
        let length = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || length < 20 || start + length > bytes.len() {
            return None;
        }
        let flags = word(header, 6)?;
        // 0 stands for a super-packet above 64 KiB.
        let end = match word(header, 2)? {
            0 => bytes.len(),
            total => bytes.len().min(start + usize::from(total)).max(start + length),
        };
        Some(Self {
            src: Ipv4Addr::from(*header.get(12..)?.first_chunk()?).into(),
            dst: Ipv4Addr::from(*header.get(16..)?.first_chunk()?).into(),
            ttl: header[8],
            protocol: header[9],
            later_fragment: flags & 0x1fff != 0,
            fragment: flags & 0x3fff != 0,
            payload: start + length..end,
        })
    }

    fn v6(bytes: &[u8], start: usize) -> Option<Self> {
        let header = bytes.get(start..start + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let mut at = start + 40;
        let end = match word(header, 4)? {
            0 => bytes.len(),
            length => bytes.len().min(at + usize::from(length)),
        };
        let (mut protocol, mut fragment, mut later_fragment) = (header[6], false, false);
        // Hop-by-hop, routing and destination options, and the fragment header. Each names the next one.
        while matches!(protocol, 0 | 43 | 44 | 60) && !later_fragment {
            let Some(&[next, units, high, low]) = bytes[..end].get(at..at + 4) else { break };
            let length = if protocol == 44 { 8 } else { 8 + usize::from(units) * 8 };
            if at + length > end {
                break;
            }
            if protocol == 44 {
                (fragment, later_fragment) = (true, u16::from_be_bytes([high, low]) >> 3 != 0);
            }
            protocol = next;
            at += length;
        }
        Some(Self {
            src: Ipv6Addr::from(*header.get(8..)?.first_chunk::<16>()?).into(),
            dst: Ipv6Addr::from(*header.get(24..)?.first_chunk::<16>()?).into(),
            ttl: header[7],
            protocol,
            later_fragment,
            fragment,
            payload: at..end,
        })
    }
}

/// What a frame carries.
pub fn protocol(bytes: &[u8]) -> Protocol {
    Parsed::new(bytes).map_or(Protocol::Other, |parsed| parsed.protocol())
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

pub(super) fn double_word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
