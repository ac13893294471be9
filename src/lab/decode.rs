//! The decoder of VXLAN over IPv4, as most collectors see it arrive. Those of the other tunnels are in [`super::tunnel`].

use std::net::{IpAddr, Ipv4Addr};

use super::capture::Frame;
use super::compare::Packet;
use super::delivery::{ETHERNET, IPV4};
use super::frame::ETHERTYPE_IPV4;
pub use super::strict::DecodeError;
use super::strict::{expect, split, word};
use super::tunnel::{Kind, Tunnel, decode_bytes};

/// The UDP port of VXLAN (RFC 7348).
pub const VXLAN_PORT: u16 = 4789;

const UDP: usize = 8;
const VXLAN: usize = 8;
/// Bytes in front of the inner frame.
pub const VXLAN_OVERHEAD: usize = ETHERNET + IPV4 + UDP + VXLAN;

const PROTOCOL_UDP: u8 = 17;

/// The outer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Outer sender, link layer.
    pub src_mac: [u8; 6],
    /// Outer receiver, link layer.
    pub dst_mac: [u8; 6],
    /// Outer sender.
    pub src: Ipv4Addr,
    /// Outer receiver.
    pub dst: Ipv4Addr,
    /// DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// IPv4 identification.
    pub id: u16,
    /// UDP source port.
    pub sport: u16,
    /// UDP destination port.
    pub dport: u16,
    /// Virtual network identifier.
    pub vni: u32,
}

/// Decodes what was captured: the outer headers, and the frame inside, its checksum finished. In a super-packet the
/// lengths of the outer headers may be 0, when they do not fit: what cuts it writes new ones.
///
/// # Errors
/// The first field that is not as it must be.
pub fn vxlan(frame: &Frame) -> Result<(Outer, Packet<'_>), DecodeError> {
    let packet = Packet::captured(frame);
    let outer = vxlan_bytes(&packet.bytes, frame.gso.is_some())?.0;
    let inner = packet.inside(VXLAN_OVERHEAD).ok_or(DecodeError::Short("VXLAN"))?;
    Ok((outer, inner))
}

/// Decodes a packet from its first byte on: the outer headers, and the frame inside.
///
/// # Errors
/// The first field that is not as it must be.
pub fn vxlan_bytes(bytes: &[u8], super_packet: bool) -> Result<(Outer, &[u8]), DecodeError> {
    let (ethernet, _) = split::<ETHERNET>(bytes, "Ethernet")?;
    expect("the outer Ethernet type", word(ethernet, 12), ETHERTYPE_IPV4)?;
    let (outer, inner) = decode_bytes(Kind::Vxlan, bytes, super_packet)?;
    let delivery = outer.delivery;
    match (outer.tunnel, delivery.src, delivery.dst, delivery.id) {
        (Tunnel::Vxlan(udp), IpAddr::V4(src), IpAddr::V4(dst), Some(id)) => Ok((
            Outer {
                src_mac: delivery.src_mac,
                dst_mac: delivery.dst_mac,
                src,
                dst,
                tos: delivery.tos,
                ttl: delivery.ttl,
                // Of IPv4: 16 bits.
                id: id as u16,
                sport: udp.sport,
                dport: udp.dport,
                vni: udp.vni,
            },
            inner,
        )),
        _ => Err(DecodeError::Short("VXLAN over IPv4")),
    }
}

/// Whether a packet is IPv4 and UDP to this address and port, whatever else is wrong with it.
pub fn is_udp_to(bytes: &[u8], dst: Ipv4Addr, dport: u16) -> bool {
    let at = |at: usize, expected: &[u8]| bytes.get(at..at + expected.len()) == Some(expected);
    let header = usize::from(bytes.get(ETHERNET).map_or(0, |byte| byte & 0xf)) * 4;
    at(12, &ETHERTYPE_IPV4.to_be_bytes())
        && at(ETHERNET + 9, &[PROTOCOL_UDP])
        && at(ETHERNET + 16, &dst.octets())
        && at(ETHERNET + header + 2, &dport.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::checksum::checksum;
    use super::super::frame::{Ethernet, pattern};
    use super::*;

    const COLLECTOR: [u8; 4] = [192, 0, 2, 2];

    fn packet() -> Vec<u8> {
        let inner = Ethernet::new([2; 6], [4; 6]).frame(0x1234, &pattern(1, 50));
        let payload = [&[8, 0, 0, 0, 0x01, 0x02, 0x03, 0][..], &inner].concat();
        let mut packet =
            Ethernet::new([6; 6], [8; 6]).ipv4([192, 0, 2, 1], COLLECTOR).id(7).udp(50_000, VXLAN_PORT, &payload);
        packet[40..42].fill(0);
        packet
    }

    /// The packet with other bytes at a place, and the IPv4 checksum put right again.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut packet = packet();
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet[24..26].fill(0);
        let value = checksum(&packet[14..34]);
        packet[24..26].copy_from_slice(&value.to_be_bytes());
        packet
    }

    #[test]
    fn a_right_packet_is_taken_apart() {
        let packet = packet();
        let (outer, inner) = vxlan_bytes(&packet, false).unwrap();
        let expected = Outer {
            src_mac: [6; 6],
            dst_mac: [8; 6],
            src: [192, 0, 2, 1].into(),
            dst: COLLECTOR.into(),
            tos: 0,
            ttl: 64,
            id: 7,
            sport: 50_000,
            dport: VXLAN_PORT,
            vni: 0x010203,
        };
        assert_eq!((outer, inner), (expected, &packet[VXLAN_OVERHEAD..]));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let rows: [(Vec<u8>, &str); 13] = [
            (with(12, &[0x86, 0xdd]), "outer Ethernet type is 0x86dd, not 0x800"),
            (with(14, &[0x46]), "header length is 0x46"),
            (with(16, &[0, 1]), "total length is 0x1, not 0x64"),
            (with(16, &[0, 0]), "total length is 0x0, not 0x64"),
            (with(20, &[0x40, 0]), "flags and fragment offset is 0x4000"),
            (with(22, &[0]), "TTL is 0x0"),
            (with(23, &[6]), "protocol is 0x6"),
            (with(38, &[0, 0]), "UDP length is 0x0"),
            (with(40, &[0, 1]), "UDP checksum is 0x1"),
            (with(42, &[0x0c]), "VXLAN flags is 0xc"),
            (with(45, &[1]), "reserved 24 bits of VXLAN is 0x1"),
            (with(49, &[0x80]), "reserved last byte of VXLAN is 0x80"),
            (
                {
                    let mut packet = packet();
                    packet[24] ^= 1;
                    packet
                },
                "sum over the IPv4 header with its checksum is",
            ),
        ];
        for (packet, expected) in rows {
            let error = vxlan_bytes(&packet, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} has no {expected:?}");
        }
    }

    #[test]
    fn a_packet_cut_short_anywhere_is_an_error_and_no_panic() {
        let packet = packet();
        for length in 0..packet.len() {
            assert!(vxlan_bytes(&packet[..length], false).is_err(), "{length}");
            assert!(vxlan_bytes(&packet[..length], true).is_err(), "{length}");
            is_udp_to(&packet[..length], COLLECTOR.into(), VXLAN_PORT);
        }
    }

    #[test]
    fn lengths_of_zero_are_for_super_packets_that_are_too_long() {
        let mut long = with(16, &[0, 0]);
        long[38..40].fill(0);
        assert!(vxlan_bytes(&long, true).is_err());
        long.resize(14 + 65_536 + 8 + 20, 0);
        assert!(vxlan_bytes(&long, true).is_ok());
        assert!(vxlan_bytes(&long, false).is_err());
    }

    #[test]
    fn packets_to_the_collector_are_recognised_however_broken() {
        assert!(is_udp_to(&packet(), COLLECTOR.into(), VXLAN_PORT));
        assert!(is_udp_to(&with(42, &[0xff]), COLLECTOR.into(), VXLAN_PORT));
        assert!(!is_udp_to(&with(36, &[0, 1]), COLLECTOR.into(), VXLAN_PORT));
        assert!(!is_udp_to(&with(30, &[10]), COLLECTOR.into(), VXLAN_PORT));
        assert!(!is_udp_to(&with(23, &[6]), COLLECTOR.into(), VXLAN_PORT));
    }
}
