//! The headers that deliver a tunnel's packet: Ethernet, and IPv4 without options or IPv6 without extension headers but
//! that of a fragment. Everything else is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::checksum;
use super::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::strict::{Result, double_word, expect, expect_length, field, split, word};

pub(super) const ETHERNET: usize = 14;
pub(super) const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
/// The fragment header of IPv6 (RFC 8200, 4.5).
pub(super) const FRAGMENT: usize = 8;
/// Its number in the header before it.
pub(super) const NEXT_FRAGMENT: u8 = 44;
/// Fragments but the last have a multiple of so many bytes.
pub(super) const FRAGMENT_UNIT: usize = 8;

const IPV4_MORE: u16 = 0x2000;
const IPV4_OFFSET: u16 = 0x1fff;
const IPV6_MORE: u16 = 1;
const IPV6_OFFSET: u16 = 0xfff8;
const FLOW_LABEL: u32 = 0xf_ffff;

/// The headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Sender, link layer.
    pub src_mac: [u8; 6],
    /// Receiver, link layer.
    pub dst_mac: [u8; 6],
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// DSCP and ECN: type of service or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The identification: in IPv6 of fragments alone.
    pub id: Option<u32>,
    /// 20 bits; 0 in IPv4.
    pub flow_label: u32,
    /// What the payload is.
    pub protocol: u8,
    /// Where in the whole packet the payload belongs, if it is a part of one.
    pub fragment: Option<Fragment>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes in front of it.
    pub offset: usize,
    /// It is not the last one.
    pub more: bool,
}

impl Delivery {
    /// Reads a packet from its first byte on: the headers, and what they deliver.
    ///
    /// # Errors
    /// The first field that is not as it must be.
    pub fn read(bytes: &[u8], super_packet: bool) -> Result<(Self, &[u8])> {
        let (ethernet, rest) = split::<ETHERNET>(bytes, "Ethernet")?;
        let (delivery, payload) = match word(ethernet, 12) {
            ETHERTYPE_IPV6 => Self::v6(rest, super_packet)?,
            ethertype => {
                expect("the outer Ethernet type", ethertype, ETHERTYPE_IPV4)?;
                Self::v4(rest, super_packet)?
            }
        };
        let address = |at: usize| std::array::from_fn(|i| ethernet[at + i]);
        Ok((Self { src_mac: address(6), dst_mac: address(0), ..delivery }, payload))
    }

    fn v4(packet: &[u8], super_packet: bool) -> Result<(Self, &[u8])> {
        let (ip, payload) = split::<IPV4>(packet, "IPv4")?;
        expect("IPv4 version and header length", ip[0], 0x45)?;
        expect_length("the IPv4 total length", word(ip, 2), packet.len(), super_packet)?;
        let place = word(ip, 6);
        // Neither the reserved bit nor DF: routers may fragment.
        if place & !(IPV4_MORE | IPV4_OFFSET) != 0 {
            return Err(field("the IPv4 flags and fragment offset", place, "without DF and the reserved bit"));
        }
        if ip[8] == 0 {
            return Err(field("the IPv4 TTL", 0u8, "at least 1"));
        }
        expect("the sum over the IPv4 header with its checksum", checksum(ip), 0u16)?;
        let place = Fragment { offset: usize::from(place & IPV4_OFFSET) * FRAGMENT_UNIT, more: place & IPV4_MORE != 0 };
        let delivery = Self {
            src_mac: [0; 6],
            dst_mac: [0; 6],
            src: Ipv4Addr::from(double_word(ip, 12)).into(),
            dst: Ipv4Addr::from(double_word(ip, 16)).into(),
            tos: ip[1],
            ttl: ip[8],
            id: Some(word(ip, 4).into()),
            flow_label: 0,
            protocol: ip[9],
            fragment: (place.more || place.offset > 0).then_some(place),
        };
        delivery.check_fragment(payload)?;
        Ok((delivery, payload))
    }

    fn v6(packet: &[u8], super_packet: bool) -> Result<(Self, &[u8])> {
        let (ip, payload) = split::<IPV6>(packet, "IPv6")?;
        let first = double_word(ip, 0);
        expect("the IPv6 version", first >> 28, 6)?;
        expect_length("the IPv6 payload length", word(ip, 4), payload.len(), super_packet)?;
        if ip[7] == 0 {
            return Err(field("the IPv6 hop limit", 0u8, "at least 1"));
        }
        let address = |at: usize| Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| ip[at + i])).into();
        let delivery = Self {
            src_mac: [0; 6],
            dst_mac: [0; 6],
            src: address(8),
            dst: address(24),
            tos: (first >> 20) as u8,
            ttl: ip[7],
            id: None,
            flow_label: first & FLOW_LABEL,
            protocol: ip[6],
            fragment: None,
        };
        if ip[6] == NEXT_FRAGMENT { delivery.v6_fragment(payload) } else { Ok((delivery, payload)) }
    }

    fn v6_fragment(self, packet: &[u8]) -> Result<(Self, &[u8])> {
        let (header, payload) = split::<FRAGMENT>(packet, "IPv6 fragment")?;
        expect("the reserved byte of the IPv6 fragment header", header[1], 0)?;
        let place = word(header, 2);
        expect("the reserved bits of the IPv6 fragment header", place & !(IPV6_OFFSET | IPV6_MORE), 0)?;
        let fragment = Fragment { offset: usize::from(place & IPV6_OFFSET), more: place & IPV6_MORE != 0 };
        if fragment.offset == 0 && !fragment.more {
            return Err(field("the IPv6 fragment offset", 0u8, "that of a part: the packet is whole"));
        }
        let id = Some(double_word(header, 4));
        let delivery = Self { protocol: header[0], id, fragment: Some(fragment), ..self };
        delivery.check_fragment(payload)?;
        Ok((delivery, payload))
    }

    /// All but the last have a length that the offset of the next one can express, and none is empty.
    fn check_fragment(&self, payload: &[u8]) -> Result<()> {
        let Some(fragment) = self.fragment else { return Ok(()) };
        if payload.is_empty() || (fragment.more && !payload.len().is_multiple_of(FRAGMENT_UNIT)) {
            return Err(field("the length of a fragment", payload.len() as u64, "a multiple of 8, and not 0"));
        }
        Ok(())
    }
}
