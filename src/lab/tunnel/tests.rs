//! Packets of every tunnel, right ones, and ones in which one field is wrong.

use super::super::checksum::checksum;
use super::super::frame::{Ethernet, Ip, pattern};
use super::*;

const KINDS: [Kind; 5] = [Kind::Vxlan, Kind::Geneve, Kind::Gre, Kind::Erspan2, Kind::Erspan3];

fn v4() -> Ip {
    Ethernet::new([6; 6], [8; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2]).id(7)
}

fn v6() -> Ip {
    let mut ip = Ethernet::new([6; 6], [8; 6]).ipv6([0xfd; 16], [0xfe; 16]);
    ip.tos = 0xb8;
    ip
}

/// VLAN 5, priority 3.
fn tagged() -> Vec<u8> {
    Ethernet::new([2; 6], [4; 6]).tag(TPID_8021AD, 0x6005).frame(0x1234, &pattern(1, 50))
}

/// The headers of the tunnel itself, and the frame.
fn payload(kind: Kind) -> Vec<u8> {
    let headers: &[u8] = match kind {
        Kind::Vxlan => &[0xc3, 0x50, 0x12, 0xb5, 0, 84, 0, 0, 8, 0, 0, 0, 1, 2, 3, 0],
        Kind::Geneve => &[0xc3, 0x50, 0x17, 0xc1, 0, 84, 0, 0, 0, 0, 0x65, 0x58, 1, 2, 3, 0],
        Kind::Gre => &[0x20, 0, 0x65, 0x58, 1, 2, 3, 4],
        Kind::Erspan2 => &[0x10, 0, 0x88, 0xbe, 0, 0, 1, 2, 0x10, 5, 0x7f, 0xff, 0, 0, 0, 1],
        Kind::Erspan3 => &[0x10, 0, 0x22, 0xeb, 0, 0, 1, 2, 0x20, 5, 0x66, 1, 9, 8, 7, 6, 0, 0, 0x80, 0x0a],
    };
    [headers, &tagged()].concat()
}

fn packet(kind: Kind, ip: &Ip) -> Vec<u8> {
    ip.protocol(if matches!(kind, Kind::Vxlan | Kind::Geneve) { 17 } else { 47 }, &payload(kind))
}

fn tunnel(kind: Kind) -> Tunnel {
    let udp = |dport| Udp { sport: 50_000, dport, vni: 0x010203 };
    let erspan = |session, truncated| Erspan { sequence: 0x102, vlan: 5, cos: 3, truncated, session, egress: true };
    match kind {
        Kind::Vxlan => Tunnel::Vxlan(udp(4789)),
        Kind::Geneve => Tunnel::Geneve(udp(6081)),
        Kind::Gre => Tunnel::Gre(Some(0x01020304)),
        Kind::Erspan2 => Tunnel::Erspan2(erspan(1023, true)),
        Kind::Erspan3 => Tunnel::Erspan3(erspan(513, true), 0x09080706),
    }
}

#[test]
fn right_packets_are_taken_apart() {
    for kind in KINDS {
        for (ip, tos, id) in [(v4(), 0, Some(7)), (v6(), 0xb8, None)] {
            let bytes = packet(kind, &ip);
            let (outer, inner) = decode_bytes(kind, &bytes, false).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert_eq!((outer.tunnel, inner), (tunnel(kind), tagged().as_slice()), "{kind:?}");
            let delivery = outer.delivery;
            assert_eq!((delivery.src_mac, delivery.dst_mac), ([6; 6], [8; 6]));
            assert_eq!((delivery.tos, delivery.ttl, delivery.id, delivery.fragment), (tos, 64, id, None));
        }
    }
    let keyless = v4().protocol(47, &[&[0, 0, 0x65, 0x58][..], &tagged()].concat());
    assert_eq!(decode_bytes(Kind::Gre, &keyless, false).unwrap().0.tunnel, Tunnel::Gre(None));
}

#[test]
fn no_packet_passes_for_one_of_another_tunnel() {
    for kind in KINDS {
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            assert!(decode_bytes(other, &packet(kind, &v4()), false).is_err(), "{kind:?} as {other:?}");
        }
    }
}

#[test]
fn each_wrong_field_of_a_tunnel_is_named() {
    // The place behind the IP header, what stands there instead, what is said.
    let rows: [(Kind, usize, &[u8], &str); 31] = [
        (Kind::Vxlan, 4, &[0, 83], "UDP length is 0x53, not 0x54"),
        (Kind::Vxlan, 7, &[1], "UDP checksum is 0x1"),
        (Kind::Vxlan, 8, &[0x0c], "VXLAN flags is 0xc"),
        (Kind::Vxlan, 11, &[1], "reserved 24 bits of VXLAN is 0x1"),
        (Kind::Vxlan, 15, &[0x80], "reserved last byte of VXLAN is 0x80"),
        (Kind::Geneve, 7, &[1], "UDP checksum is 0x1"),
        (Kind::Geneve, 8, &[0x40], "GENEVE version and option length is 0x40"),
        (Kind::Geneve, 8, &[1], "GENEVE version and option length is 0x1"),
        (Kind::Geneve, 9, &[0x80], "GENEVE bits O, C and reserved is 0x80"),
        (Kind::Geneve, 9, &[1], "GENEVE bits O, C and reserved is 0x1"),
        (Kind::Geneve, 10, &[8, 0], "GENEVE protocol is 0x800"),
        (Kind::Geneve, 15, &[1], "reserved last byte of GENEVE is 0x1"),
        (Kind::Gre, 0, &[0xa0], "GRE flags but K, and its version is 0x8000"),
        (Kind::Gre, 0, &[0x30], "GRE flags but K, and its version is 0x1000"),
        (Kind::Gre, 1, &[1], "GRE flags but K, and its version is 0x1"),
        (Kind::Gre, 2, &[8, 0], "GRE protocol is 0x800"),
        (Kind::Erspan2, 0, &[0], "GRE flags and version is 0x0, not 0x1000"),
        (Kind::Erspan2, 0, &[0x30], "GRE flags and version is 0x3000"),
        (Kind::Erspan2, 8, &[0x20], "ERSPAN version is 0x2, not 0x1"),
        (Kind::Erspan2, 9, &[6], "VLAN of ERSPAN is 0x6, not 0x5"),
        (Kind::Erspan2, 10, &[0x9f], "class of service of ERSPAN is 0x4, not 0x3"),
        (Kind::Erspan2, 10, &[0x67], "trunk encapsulation of ERSPAN is 0x0, not 0x3"),
        (Kind::Erspan2, 12, &[0, 0x10], "index of ERSPAN but its last bit is 0x100000"),
        (Kind::Erspan2, 15, &[3], "index of ERSPAN but its last bit is 0x2"),
        (Kind::Erspan3, 8, &[0x10], "ERSPAN version is 0x1, not 0x2"),
        (Kind::Erspan3, 10, &[0x6e], "BSO bits of ERSPAN is 0x1"),
        (Kind::Erspan3, 16, &[0, 1], "security group tag of ERSPAN is 0x1"),
        (Kind::Erspan3, 18, &[0], "Gra and O of ERSPAN is 0x2, not 0x8002"),
        (Kind::Erspan3, 18, &[0x84], "Gra and O of ERSPAN is 0x8402"),
        (Kind::Erspan3, 19, &[0x0c], "Gra and O of ERSPAN is 0x8004"),
        (Kind::Erspan3, 19, &[0x0b], "Gra and O of ERSPAN is 0x8003"),
    ];
    for (kind, at, bytes, expected) in rows {
        for (ip, header) in [(v4(), 34), (v6(), 54)] {
            let mut wrong = packet(kind, &ip);
            wrong[header + at..header + at + bytes.len()].copy_from_slice(bytes);
            let error = decode_bytes(kind, &wrong, false).unwrap_err().to_string();
            assert!(error.contains(expected), "{kind:?}: {error:?} has no {expected:?}");
        }
    }
}

#[test]
fn each_wrong_field_of_the_delivery_is_named() {
    let rows: [(bool, usize, &[u8], &str); 11] = [
        (false, 14, &[0x46], "header length is 0x46"),
        (false, 16, &[0, 1], "total length is 0x1"),
        (false, 20, &[0x40], "flags and fragment offset is 0x4000"),
        (false, 20, &[0x80], "flags and fragment offset is 0x8000"),
        (false, 20, &[0x20], "a multiple of 8"),
        (false, 22, &[0], "TTL is 0x0"),
        (false, 23, &[6], "IPv4 protocol is 0x6, not 0x11"),
        (true, 14, &[0x40], "IPv6 version is 0x4"),
        (true, 18, &[0, 1], "payload length is 0x1, not 0x54"),
        (true, 20, &[60], "next header is 0x3c, not 0x11"),
        (true, 21, &[0], "hop limit is 0x0"),
    ];
    for (is_v6, at, bytes, expected) in rows {
        let mut wrong = packet(Kind::Vxlan, &if is_v6 { v6() } else { v4() });
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        if !is_v6 {
            wrong[24..26].fill(0);
            let value = checksum(&wrong[14..34]);
            wrong[24..26].copy_from_slice(&value.to_be_bytes());
        }
        let error = decode_bytes(Kind::Vxlan, &wrong, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} has no {expected:?}");
    }
    let mut wrong = packet(Kind::Gre, &v4());
    wrong[24] ^= 1;
    assert!(decode_bytes(Kind::Gre, &wrong, false).unwrap_err().to_string().contains("sum over the IPv4 header"));
    let padded = [packet(Kind::Gre, &v4()), vec![0; 4]].concat();
    assert!(decode_bytes(Kind::Gre, &padded, false).unwrap_err().to_string().contains("total length"));
}

#[test]
fn a_tag_that_was_cut_off_is_not_asked_for() {
    for kind in [Kind::Erspan2, Kind::Erspan3] {
        let whole = payload(kind);
        let headers = whole.len() - tagged().len();
        let cut = |length: usize| v4().protocol(47, &whole[..headers + length]);
        for length in [14, 17, 18, 40] {
            let bytes = cut(length);
            assert!(decode_bytes(kind, &bytes, false).is_ok(), "{length}");
        }
        assert!(decode_bytes(kind, &cut(13), false).is_err());
    }
}

#[test]
fn a_super_packet_has_no_sequence_number() {
    for (kind, allowed) in KINDS.into_iter().zip([true, true, true, false, false]) {
        assert_eq!(decode_bytes(kind, &packet(kind, &v4()), true).is_ok(), allowed, "{kind:?}");
    }
}

#[test]
fn a_packet_cut_short_anywhere_is_an_error_and_no_panic() {
    for kind in KINDS {
        for ip in [v4(), v6()] {
            let packet = packet(kind, &ip);
            for length in 0..packet.len() {
                assert!(decode_bytes(kind, &packet[..length], false).is_err(), "{kind:?} {length}");
            }
        }
    }
}
