//! Every tunnel over every underlay: the outer headers to the bit, by a decoder of our own that takes nothing but what the
//! RFCs say and by Wireshark's, and the frames inside to the byte.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/underlay.rs"]
mod underlay;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::traffic::{
    NOBODY, assert_same_frames, client_to_host, dissect, host_to_client, mac_text, packets, peer, record, send,
    size_of_all, transfer, udp_frames, unanswered,
};
use common::{CLIENT, HOST, Rig, UNDERLAY, wait_for};
use ebmirror::lab::capture::Sender;
use ebmirror::lab::compare::{Packet, compare};
use ebmirror::lab::frame::{Ethernet, Ip, TPID_8021AD, TPID_8021Q, pattern};
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::tunnel::{Kind, Tunnel, decode_bytes};
use nix::time::{ClockId, clock_gettime};
use underlay::{
    Arrivals, Arrived, UNDERLAY6, Way, add_vxlan6, good_frames, odd_frames, rig, stay_on_cpu, wait_for_addresses,
};

/// RFC 6335: the dynamic ports, from which RFC 7348 takes the source port.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// The severity of an error among Wireshark's notes.
const WIRESHARK_ERROR: &str = "8388608";

const VXLAN: Way = Way { kind: Kind::Vxlan, v6: false, keyed: false };
const ERSPAN2: Way = Way { kind: Kind::Erspan2, v6: false, keyed: false };
const ERSPAN3: Way = Way { kind: Kind::Erspan3, v6: false, keyed: false };

/// What a peer's options make of the outer headers.
struct Expected {
    src: IpAddr,
    ttl: u8,
    dscp: u8,
    /// Of UDP.
    port: u16,
    /// VNI, key or session.
    id: u32,
}

fn default_of(way: Way) -> Expected {
    let port = if way.kind == Kind::Geneve { 6081 } else { 4789 };
    Expected { src: way.local().parse().unwrap(), ttl: 64, dscp: 0, port, id: 42 }
}

fn id_of(outer: &Arrived) -> u32 {
    match outer.outer.tunnel {
        Tunnel::Vxlan(udp) | Tunnel::Geneve(udp) => udp.vni,
        Tunnel::Gre(key) => key.unwrap_or(42),
        Tunnel::Erspan2(erspan) | Tunnel::Erspan3(erspan, _) => erspan.session.into(),
    }
}

fn expect_outer(way: Way, copy: &Arrived, expected: &Expected) {
    let delivery = copy.outer.delivery;
    let remote: IpAddr = way.remote().parse().unwrap();
    assert_eq!((delivery.src, delivery.dst), (expected.src, remote));
    assert_eq!((delivery.ttl, delivery.tos), (expected.ttl, expected.dscp << 2));
    assert_eq!(id_of(copy), expected.id);
    if let Tunnel::Gre(key) = copy.outer.tunnel {
        assert_eq!(key.is_some(), way.keyed);
    }
    if let Some(udp) = copy.outer.udp() {
        assert_eq!(udp.dport, expected.port);
        assert!(DYNAMIC_PORTS.contains(&udp.sport), "{}", udp.sport);
    }
    assert!(copy.outer.erspan().is_none_or(|erspan| !erspan.truncated), "nothing was cut");
    // RFC 6437: 0 says that there is no label.
    assert_eq!(delivery.flow_label != 0, way.v6, "the flow label");
}

/// What Wireshark should find in the outer headers of all copies.
fn outer_fields(way: Way, expected: &Expected) -> Vec<(&'static str, String)> {
    let mut fields = vec![("_ws.malformed", String::new())];
    let mut add = |rows: &[(&'static str, &str)]| {
        fields.extend(rows.iter().map(|(name, value)| (*name, (*value).to_owned())));
    };
    let (src, ttl, dscp) = (expected.src.to_string(), expected.ttl.to_string(), expected.dscp.to_string());
    let protocol = if way.over_udp() { "17" } else { "47" };
    if way.v6 {
        add(&[("ipv6.src", &src), ("ipv6.dst", way.remote()), ("ipv6.hlim", &ttl), ("ipv6.nxt", protocol)]);
        add(&[("ipv6.tclass.dscp", &dscp), ("ipv6.tclass.ecn", "0"), ("ipv6.version", "6")]);
    } else {
        add(&[("ip.src", &src), ("ip.dst", way.remote()), ("ip.ttl", &ttl), ("ip.proto", protocol)]);
        add(&[("ip.dsfield.dscp", &dscp), ("ip.dsfield.ecn", "0"), ("ip.hdr_len", "20")]);
        add(&[("ip.flags.rb", "0"), ("ip.flags.df", "0"), ("ip.flags.mf", "0"), ("ip.frag_offset", "0")]);
        add(&[("ip.checksum.status", "1")]);
    }
    let (port, id) = (expected.port.to_string(), expected.id.to_string());
    if way.over_udp() {
        add(&[("udp.dstport", &port), ("udp.checksum", "0x0000")]);
    }
    match way.kind {
        Kind::Vxlan => {
            add(&[("vxlan.flags", "0x0800"), ("vxlan.vni", &id), ("vxlan.gbp", "0"), ("vxlan.reserved8", "0")]);
        }
        Kind::Geneve => {
            add(&[("geneve.version", "0"), ("geneve.flags.oam", "0"), ("geneve.flags.critical", "0")]);
            add(&[("geneve.flags.reserved", "0x00"), ("geneve.proto_type", "0x6558"), ("geneve.reserved", "0")]);
            add(&[("geneve.vni", &format!("0x{:06x}", expected.id)), ("geneve.options", "")]);
        }
        Kind::Gre => {
            let key = format!("0x{:08x}", expected.id);
            let (flags, key) = if way.keyed { ("0x2000", key.as_str()) } else { ("0x0000", "") };
            add(&[("gre.proto", "0x6558"), ("gre.flags_and_version", flags), ("gre.key", key)]);
        }
        Kind::Erspan2 => {
            add(&[("gre.proto", "0x88be"), ("gre.flags_and_version", "0x1000"), ("erspan.version", "1")]);
            add(&[("erspan.spanid", &id), ("erspan.reserved", "0"), ("erspan.truncated", "0")]);
        }
        Kind::Erspan3 => {
            add(&[("gre.proto", "0x22eb"), ("gre.flags_and_version", "0x1000"), ("erspan.version", "2")]);
            add(&[("erspan.spanid", &id), ("erspan.bso", "0"), ("erspan.truncated", "0"), ("erspan.sgt", "0")]);
            add(&[("erspan.p", "1"), ("erspan.ft", "0"), ("erspan.hw", "0"), ("erspan.gra", "1"), ("erspan.o", "0")]);
        }
    }
    fields
}

/// What Wireshark should find in the outer headers of this copy: what our decoder did.
fn fields_of(way: Way, copy: &Arrived) -> Vec<(&'static str, String)> {
    let delivery = copy.outer.delivery;
    let mut fields = vec![("eth.src", mac_text(delivery.src_mac)), ("eth.dst", mac_text(delivery.dst_mac))];
    if way.v6 {
        fields.push(("ipv6.plen", (copy.packet.len() - 54).to_string()));
        fields.push(("ipv6.flow", format!("0x{:06x}", delivery.flow_label)));
    } else {
        fields.push(("ip.len", (copy.packet.len() - 14).to_string()));
        fields.push(("ip.id", format!("0x{:04x}", delivery.id.unwrap())));
    }
    if let Some(udp) = copy.outer.udp() {
        fields.push(("udp.srcport", udp.sport.to_string()));
        fields.push(("udp.length", (copy.packet.len() - 14 - way.ip_header()).to_string()));
    }
    if let Some(erspan) = copy.outer.erspan() {
        fields.push(("gre.sequence_number", erspan.sequence.to_string()));
        fields.push(("erspan.vlan", erspan.vlan.to_string()));
        fields.push(("erspan.cos", erspan.cos.to_string()));
        if let Tunnel::Erspan3(_, timestamp) = copy.outer.tunnel {
            fields.push(("erspan.timestamp", timestamp.to_string()));
            fields.push(("erspan.direction", u8::from(erspan.egress).to_string()));
        } else {
            fields.push(("erspan.index", u8::from(erspan.egress).to_string()));
            let tagged = matches!(copy.bytes[12..14], [0x81, 0] | [0x88, 0xa8]);
            fields.push(("erspan.encap", if tagged { "3" } else { "0" }.to_owned()));
        }
    }
    fields
}

/// Whether a field of the outer header, which comes first, has this value. Versions of Wireshark differ in whether they
/// write numbers in hexadecimal and booleans as words.
fn is_value(found: &str, value: &str) -> bool {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let first = match found.split(',').next().unwrap_or_default() {
        "False" => "0",
        "True" => "1",
        first => first,
    };
    first == value || number(first).is_some_and(|first| Some(first) == number(value))
}

/// Wireshark must find what we expect, what our decoder found, and inside what it finds in the frame alone.
fn expect_wireshark(way: Way, copies: &[Arrived], expected: &Expected) {
    let constant = outer_fields(way, expected);
    let own = fields_of(way, &copies[0]);
    let names: Vec<&str> = constant.iter().chain(&own).map(|(name, _)| *name).collect();
    let last = ["_ws.expert.severity", "_ws.expert.message", "frame.protocols"];
    let port = format!("udp.port=={},{}", expected.port, way.tunnel());
    // RFC 6935: over IPv6 a tunnel may go without.
    let mut options = vec!["-o", "udp.ignore_ipv6_zero_checksum:TRUE"];
    if way.over_udp() {
        options.extend(["-d", &port]);
    }
    let outer: Vec<Vec<u8>> = copies.iter().map(|copy| copy.packet.clone()).collect();
    let inner: Vec<Vec<u8>> = copies.iter().map(|copy| copy.bytes.clone()).collect();
    let rows = dissect(&outer, &options, &[&names[..], &last].concat());
    let alone = dissect(&inner, &[], &["frame.protocols"]);
    assert_eq!((rows.len(), alone.len()), (copies.len(), copies.len()));
    for ((row, copy), alone) in rows.iter().zip(copies).zip(&alone) {
        for ((name, value), found) in constant.iter().chain(&fields_of(way, copy)).zip(row) {
            assert!(is_value(found, value), "{name} over {way:?} is {found}, not {value}, in {row:?}");
        }
        let [severity, message, protocols] = &row[names.len()..] else { panic!("{row:?}") };
        assert!(!severity.split(',').any(|severity| severity == WIRESHARK_ERROR), "{way:?}: {message}");
        let ip = if way.v6 { "ipv6" } else { "ip" };
        let tunnel = match way.kind {
            Kind::Vxlan => "udp:vxlan",
            Kind::Geneve => "udp:geneve",
            Kind::Gre => "gre",
            Kind::Erspan2 | Kind::Erspan3 => "gre:erspan",
        };
        assert_eq!(*protocols, format!("eth:ethertype:{ip}:{tunnel}:{}", alone[0]), "{way:?}");
    }
}

fn expect_copies(rig: &Rig, way: Way, expected: &Expected) {
    let arrivals = Arrivals::of(rig, way);
    let inbound = [good_frames(&client_to_host(rig)), odd_frames(&client_to_host(rig))].concat();
    let outbound = [good_frames(&host_to_client(rig)), odd_frames(&host_to_client(rig))].concat();
    send(&rig.client, "eth0", &inbound);
    send(&rig.host, "eth0", &outbound);
    let copies = arrivals.take(inbound.len() + outbound.len());
    assert_same_frames(way.tunnel(), &[inbound.clone(), outbound.clone()].concat(), &copies);
    let macs = (rig.host.mac("eth1").unwrap(), rig.collector.mac("eth0").unwrap());
    for copy in &copies {
        expect_outer(way, copy, expected);
        assert_eq!((copy.outer.delivery.src_mac, copy.outer.delivery.dst_mac), macs);
        if let Some(erspan) = copy.outer.erspan() {
            assert_eq!(erspan.egress, outbound.contains(&copy.bytes), "the direction");
        }
    }
    let good: BTreeSet<Vec<u8>> =
        [good_frames(&client_to_host(rig)), good_frames(&host_to_client(rig))].concat().into_iter().collect();
    let good: Vec<Arrived> = copies.into_iter().filter(|copy| good.contains(&copy.bytes)).collect();
    expect_wireshark(way, &good, expected);
    assert_eq!(packets(&peer(&rig.balanced(), "ids")["lost"]), 0);
}

/// With what a peer has when nothing is asked for, with other values, and with the largest.
fn headers_and_frames(way: Way) {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    way.add(&rig, "ids", &[]);
    expect_copies(&rig, way, &default_of(way));

    let other = if way.v6 { "fd00:2::77" } else { "10.2.0.77" };
    // Deprecated: the kernel does not choose it by itself.
    let more = if way.v6 { "/64 nodad preferred_lft 0" } else { "/24" };
    rig.tool(&rig.host, &format!("ip address add dev eth1 {other}{more}"));
    wait_for_addresses(&rig);
    let largest = match way.kind {
        Kind::Vxlan | Kind::Geneve => 0xff_ffff,
        Kind::Gre => {
            if way.keyed {
                u32::MAX
            } else {
                42
            }
        }
        Kind::Erspan2 | Kind::Erspan3 => 1023,
    };
    let largest_text = largest.to_string();
    let id = |text| way.id_flag().map(|flag| [flag, text]).unwrap_or_default();
    let set = |more: &[&str], id: [&str; 2], port: &str| {
        let id: &[&str] = if id[0].is_empty() { &[] } else { &id };
        let port: &[&str] = if way.over_udp() { &["--port", port] } else { &[] };
        rig.ebmirror(&[&["peer", "set", "ids"][..], more, id, port].concat()).ok();
    };
    set(&["--ttl", "7", "--dscp", "46", "--local", other], id(&largest_text), "8472");
    let expected = Expected { src: other.parse().unwrap(), ttl: 7, dscp: 46, port: 8472, id: largest };
    expect_copies(&rig, way, &expected);

    set(&["--ttl", "255", "--dscp", "63", "--local", "auto"], id("0"), "65535");
    let id = if way.id_flag().is_some() { 0 } else { 42 };
    expect_copies(&rig, way, &Expected { ttl: 255, dscp: 63, port: 65_535, id, ..default_of(way) });
}

macro_rules! ways {
    ($($name:ident: $kind:ident $family:literal $keyed:literal,)*) => {
        $(
            #[test]
            fn $name() {
                headers_and_frames(Way { kind: Kind::$kind, v6: $family == 6, keyed: $keyed });
            }
        )*
    };
}

ways! {
    vxlan_over_ipv4: Vxlan 4 false,
    vxlan_over_ipv6: Vxlan 6 false,
    geneve_over_ipv4: Geneve 4 false,
    geneve_over_ipv6: Geneve 6 false,
    gre_over_ipv4: Gre 4 false,
    gre_over_ipv6: Gre 6 false,
    gre_with_a_key_over_ipv4: Gre 4 true,
    gre_with_a_key_over_ipv6: Gre 6 true,
    erspan2_over_ipv4: Erspan2 4 false,
    erspan2_over_ipv6: Erspan2 6 false,
    erspan3_over_ipv4: Erspan3 4 false,
    erspan3_over_ipv6: Erspan3 6 false,
}

/// A copy as we think that it should be, written here and not by the datapath.
fn made_by_hand(way: Way, expected: &Expected, frame: &[u8], number: u32) -> Arrived {
    let ethernet = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut ip: Ip = match (expected.src, way.remote().parse().unwrap()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ethernet.ipv4(src, dst).id(number as u16),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ethernet.ipv6(src, dst),
        _ => panic!("both of one family"),
    };
    (ip.ttl, ip.tos) = (expected.ttl, expected.dscp << 2);
    let word = |value: u16| value.to_be_bytes();
    let tag = matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]).then(|| u16::from_be_bytes([frame[14], frame[15]]));
    let (vlan, cos, en) = (tag.unwrap_or(0) & 0xfff, tag.unwrap_or(0) >> 13, if tag.is_some() { 3 } else { 0 });
    let vni = (expected.id << 8).to_be_bytes();
    let udp = |rest: [u8; 4]| {
        let length = word((16 + frame.len()) as u16);
        [&word(50_000)[..], &word(expected.port), &length, &[0, 0], &rest, &vni].concat()
    };
    let session = expected.id as u16;
    let number_bytes = number.to_be_bytes();
    let headers = match way.kind {
        Kind::Vxlan => udp([8, 0, 0, 0]),
        Kind::Geneve => udp([0, 0, 0x65, 0x58]),
        Kind::Gre if way.keyed => [[0x20, 0, 0x65, 0x58], expected.id.to_be_bytes()].concat(),
        Kind::Gre => vec![0, 0, 0x65, 0x58],
        Kind::Erspan2 => {
            let first = [word(0x1000 | vlan), word(cos << 13 | en << 11 | session)].concat();
            [&[0x10, 0, 0x88, 0xbe][..], &number_bytes, &first, &[0, 0, 0, (number & 1) as u8]].concat()
        }
        Kind::Erspan3 => {
            let first = [word(0x2000 | vlan), word(cos << 13 | session)].concat();
            let last = [0, 0, 0x80, 0x02 | (number as u8 & 1) << 3];
            [&[0x10, 0, 0x22, 0xeb][..], &number_bytes, &first, &(number * 99).to_be_bytes(), &last].concat()
        }
    };
    let mut packet = ip.protocol(if way.over_udp() { 17 } else { 47 }, &[&headers, frame].concat());
    if way.v6 {
        packet[15] |= 5;
        packet[17] = number as u8 + 1;
    }
    let (outer, inner) = decode_bytes(way.kind, &packet, false).unwrap_or_else(|error| panic!("{way:?}: {error}"));
    assert_eq!(inner, frame);
    Arrived { outer, bytes: frame.to_vec(), gso: None, fragments: Vec::new(), packet }
}

/// The checks of this file themselves: they take what is written from the RFCs by hand.
#[test]
fn our_decoder_and_wireshark_agree_about_packets_made_by_hand() {
    let ethernet = Ethernet::new([2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 4]);
    for way in Way::all(false).into_iter().chain(Way::all(true)) {
        let expected = Expected { ttl: 7, dscp: 46, ..default_of(way) };
        let frames = good_frames(&ethernet);
        let copies: Vec<Arrived> =
            (0..).zip(&frames).map(|(number, frame)| made_by_hand(way, &expected, frame, number)).collect();
        for copy in &copies {
            expect_outer(way, copy, &expected);
        }
        expect_wireshark(way, &copies, &expected);
    }
}

/// TCP, with super-packets in both directions and offloads of the underlay as they come and off.
fn streams(v6: bool) {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for offloads in ["as they come", "off"] {
        if offloads == "off" {
            rig.host.offloads_off("eth1").unwrap();
        }
        for way in Way::all(v6) {
            way.add(&rig, "ids", &[]);
            let (originals, arrivals) = (record(&rig.host, "eth0"), Arrivals::of(&rig, way));
            transfer(&rig.client, &rig.host, HOST, 200_000);
            transfer(&rig.host, &rig.client, CLIENT, 200_000);
            let originals = arrivals.wait_until_perfect(offloads, &originals);
            assert!(originals.iter().any(|frame| frame.gso.is_some()), "no super-packet, nothing tested");
            assert_eq!(packets(&peer(&rig.balanced(), "ids")["lost"]), 0, "{way:?}");
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

#[test]
fn streams_arrive_in_every_tunnel_over_ipv4() {
    streams(false);
}

#[test]
fn streams_arrive_in_every_tunnel_over_ipv6() {
    streams(true);
}

#[test]
fn the_kernel_decodes_vxlan_over_ipv6() {
    let rig = rig(1500);
    let decoded = record(&rig.collector, add_vxlan6(&rig));
    rig.ebmirror(&["attach", "eth0"]).ok();
    Way { v6: true, ..VXLAN }.add(&rig, "ids", &[]);
    // Not the odd ones: the kernel's device drops IP that is too short for its header.
    let frames = [good_frames(&client_to_host(&rig)), udp_frames(&client_to_host(&rig), 0..500, 200)].concat();
    send(&rig.client, "eth0", &frames);
    wait_for("the collector's vxlan device", || incoming(&decoded).len() >= frames.len());
    assert_same_frames("vx6", &frames, &incoming(&decoded));
    rig.balanced();
}

/// The frames that have come in.
fn incoming(recorder: &Recorder) -> Vec<Vec<u8>> {
    let bytes = |frames: &[ebmirror::lab::capture::Frame]| {
        frames.iter().filter(|frame| !frame.outgoing).map(|frame| frame.finished().into_owned()).collect()
    };
    recorder.with(bytes).unwrap()
}

#[test]
fn a_local_device_gets_the_plain_frames() {
    let rig = rig(1500);
    rig.tool(&rig.host, "ip link add span0 type veth peer name span1");
    for device in ["span0", "span1"] {
        common::traffic::sysctl(&rig.host, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1");
        rig.tool(&rig.host, &format!("ip link set {device} up"));
    }
    rig.ebmirror(&["attach", "eth0"]).ok();
    rig.ebmirror(&["peer", "add", "ids", "--tunnel", "span", "--dev", "span0"]).ok();
    let copies = record(&rig.host, "span1");
    let inbound = [good_frames(&client_to_host(&rig)), odd_frames(&client_to_host(&rig))].concat();
    let outbound = [good_frames(&host_to_client(&rig)), odd_frames(&host_to_client(&rig))].concat();
    send(&rig.client, "eth0", &inbound);
    send(&rig.host, "eth0", &outbound);
    let all = [inbound, outbound].concat();
    wait_for("the frames", || incoming(&copies).len() >= all.len());
    assert_same_frames("span1", &all, &incoming(&copies));
    let stats = rig.balanced();
    assert_eq!(common::traffic::counter(&peer(&stats, "ids")["sent"]), size_of_all(&all), "{stats}");

    let (originals, copies) = (record(&rig.host, "eth0"), record(&rig.host, "span1"));
    transfer(&rig.client, &rig.host, HOST, 300_000);
    transfer(&rig.host, &rig.client, CLIENT, 300_000);
    wait_for("each segment", || {
        let originals = originals.with(|frames| frames.to_vec()).unwrap();
        let copies = copies.with(|frames| frames.to_vec()).unwrap();
        assert!(copies.iter().all(|frame| !frame.outgoing));
        let packets = |frames| -> Vec<Packet<'_>> { <[_]>::iter(frames).map(Packet::captured).collect() };
        compare(&packets(&originals), &packets(&copies)).is_perfect()
    });
    assert_eq!(packets(&peer(&rig.balanced(), "ids")["lost"]), 0);
}

/// RFC 2890, 2.2: the first is 0, and each packet has the next. A collector drops what is behind the last one it got, so
/// a change of the peer must not begin anew.
#[test]
fn sequence_numbers_count_every_copy_once_over_directions_and_cpus() {
    const EACH: u64 = 1500;
    for way in [ERSPAN2, ERSPAN3] {
        let rig = rig(1500);
        rig.ebmirror(&["attach", "eth0"]).ok();
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let inbound = udp_frames(&client_to_host(&rig), 0..EACH, 90);
        let outbound = udp_frames(&host_to_client(&rig), EACH..2 * EACH, 90);
        let (mut sent, mut begun) = (0, Vec::new());
        for (inbound, outbound) in inbound.chunks(100).zip(outbound.chunks(100)) {
            std::thread::scope(|scope| {
                for (cpu, (host, frames)) in [(&rig.client, inbound), (&rig.host, outbound)].into_iter().enumerate() {
                    scope.spawn(move || {
                        host.run(|| {
                            stay_on_cpu(cpu);
                            let sender = Sender::open("eth0").unwrap();
                            frames.iter().for_each(|frame| sender.send(frame).unwrap());
                        })
                        .unwrap();
                    });
                }
            });
            sent += inbound.len() + outbound.len();
            arrivals.wait_for(sent);
            if sent == 1000 {
                rig.ebmirror(&["peer", "set", "ids", "--ttl", "9"]).ok();
                begun = arrivals.arrived();
            }
        }
        let copies = arrivals.take(sent);
        let numbers: Vec<u32> = copies.iter().map(|copy| copy.outer.erspan().unwrap().sequence).collect();
        let expected: BTreeSet<u32> = (0..2 * EACH as u32).collect();
        assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), expected, "no gap");
        assert_eq!(numbers.len(), expected.len(), "no repetition");
        assert_eq!(begun.len(), 1000);
        assert!(copies.last().unwrap().outer.delivery.ttl == 9, "the change was not in use");
        rig.balanced();
    }
}

#[test]
fn sequence_numbers_of_one_cpu_arrive_in_order() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    ERSPAN2.add(&rig, "ids", &[]);
    let arrivals = Arrivals::of(&rig, ERSPAN2);
    let frames = udp_frames(&host_to_client(&rig), 0..400, 90);
    rig.host
        .run(|| {
            stay_on_cpu(0);
            let sender = Sender::open("eth0").unwrap();
            frames.iter().for_each(|frame| sender.send(frame).unwrap());
        })
        .unwrap();
    let numbers: Vec<u32> = arrivals.take(400).iter().map(|copy| copy.outer.erspan().unwrap().sequence).collect();
    assert_eq!(numbers, (0..400).collect::<Vec<u32>>());
}

/// Each peer counts for itself.
#[test]
fn peers_have_sequence_numbers_of_their_own() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    ERSPAN2.add(&rig, "one", &[]);
    rig.ebmirror(&["peer", "add", "two", "--tunnel", "erspan2", "--remote", common::COLLECTOR, "--session", "7"]).ok();
    let arrivals = Arrivals::of(&rig, ERSPAN2);
    let frames = udp_frames(&client_to_host(&rig), 0..50, 90);
    send(&rig.client, "eth0", &frames);
    let mut numbers: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for copy in arrivals.take(100) {
        let erspan = copy.outer.erspan().unwrap();
        numbers.entry(erspan.session).or_default().push(erspan.sequence);
    }
    let expected: Vec<u32> = (0..50).collect();
    assert_eq!(numbers, BTreeMap::from([(7, expected.clone()), (42, expected)]));
}

/// CLOCK_TAI in units of 100 ns, the low 32 bits.
fn tai() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_TAI).unwrap();
    let nanoseconds = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
    (nanoseconds / 100) as u32
}

#[test]
fn timestamps_are_the_time_of_the_copy_in_units_of_100_ns() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    ERSPAN3.add(&rig, "ids", &[]);
    let arrivals = Arrivals::of(&rig, ERSPAN3);
    let frames = udp_frames(&host_to_client(&rig), 0..50, 90);
    let mut last = None;
    for (n, frame) in frames.iter().enumerate() {
        let before = tai();
        send(&rig.host, "eth0", std::slice::from_ref(frame));
        let after = tai();
        let copies = arrivals.take(n + 1);
        let Tunnel::Erspan3(_, timestamp) = copies[n].outer.tunnel else { panic!("{:?}", copies[n].outer) };
        // They wrap every seven minutes.
        let (since, took) = (timestamp.wrapping_sub(before), after.wrapping_sub(before));
        assert!(since <= took, "{timestamp} is not between {before} and {after}");
        if let Some(last) = last.replace(timestamp) {
            assert!(timestamp.wrapping_sub(last).cast_signed() > 0, "{timestamp} after {last}");
        }
    }
}

/// Tags that the kernel keeps beside a frame, in either direction.
#[test]
fn erspan_tells_vlan_priority_and_direction_of_the_outermost_tag() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let [a, b] = NOBODY;
    // Tags, and the VLAN and priority that stand for them.
    type Row<'a> = (&'a [(u16, u16)], u16, u8);
    let rows: [Row<'_>; 6] = [
        (&[], 0, 0),
        (&[(TPID_8021Q, 1)], 1, 0),
        (&[(TPID_8021Q, 0xefff)], 4095, 7),
        // The drop eligible bit is no part of either.
        (&[(TPID_8021Q, 0x3abc)], 0xabc, 1),
        (&[(TPID_8021AD, 0x6005), (TPID_8021Q, 0xa009)], 5, 3),
        (&[(TPID_8021AD, 0), (TPID_8021Q, 9)], 0, 0),
    ];
    for way in [ERSPAN2, ERSPAN3, Way { v6: true, ..ERSPAN2 }, Way { v6: true, ..ERSPAN3 }] {
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        for (host, ethernet, egress) in
            [(&rig.client, client_to_host(&rig), false), (&rig.host, host_to_client(&rig), true)]
        {
            for (n, (tags, vlan, cos)) in rows.iter().enumerate() {
                let tagged = tags.iter().fold(ethernet.clone(), |tagged, (tpid, tci)| tagged.tag(*tpid, *tci));
                let frame = tagged.ipv4(a, b).udp(1, 2, &pattern(n as u64, 80));
                let before = arrivals.count();
                send(host, "eth0", std::slice::from_ref(&frame));
                let copy = arrivals.take(before + 1).pop().unwrap();
                let erspan = copy.outer.erspan().unwrap();
                assert_eq!(copy.bytes, frame);
                assert_eq!((erspan.vlan, erspan.cos, erspan.egress), (*vlan, *cos, egress), "{way:?} {tags:x?}");
            }
        }
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// Over UDP the source port stands for the flow, over IPv6 the flow label too (RFC 6438).
#[test]
fn a_flow_has_one_label_both_ways_and_flows_differ() {
    const FLOWS: u16 = 200;
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let flow = |n: u16, ethernet: Ethernet, back: bool| {
        let (client, server) = (Ipv4Addr::new(192, 0, 2, (n % 100) as u8), NOBODY[1]);
        let data = pattern(n.into(), 64);
        if back {
            ethernet.ipv4(server, client).udp(443, 40_000 + n, &data)
        } else {
            ethernet.ipv4(client, server).udp(40_000 + n, 443, &data)
        }
    };
    let forth: Vec<Vec<u8>> = (0..FLOWS).map(|n| flow(n, client_to_host(&rig), false)).collect();
    let back: Vec<Vec<u8>> = (0..FLOWS).map(|n| flow(n, host_to_client(&rig), true)).collect();
    for way in Way::all(true) {
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        arrivals.send(&rig.client, &forth, 1);
        arrivals.send(&rig.host, &back, 1);
        let copies = arrivals.arrived();
        let marks: BTreeMap<&[u8], (u32, Option<u16>)> = copies
            .iter()
            .map(|copy| {
                (copy.bytes.as_slice(), (copy.outer.delivery.flow_label, copy.outer.udp().map(|udp| udp.sport)))
            })
            .collect();
        let of = |frames: &[Vec<u8>]| frames.iter().map(|frame| marks[frame.as_slice()]).collect::<Vec<_>>();
        assert_eq!(of(&forth), of(&back), "{way:?}: the two directions of each flow");
        let labels: BTreeSet<u32> = of(&forth).into_iter().map(|(label, _)| label).collect();
        // 200 throws at a million labels: two meetings are one in 5,000.
        assert!(labels.len() >= usize::from(FLOWS) - 2 && !labels.contains(&0), "{way:?}: {} labels", labels.len());
        let top: BTreeSet<u32> = labels.iter().map(|label| label >> 17).collect();
        assert_eq!(top, (0..8).collect(), "{way:?}: the whole range is used");
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// A frame of the mirrored interface's own network is what it was, whatever the collector's family.
#[test]
fn addresses_of_the_underlay_come_from_the_route() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (v6, source) in [(false, UNDERLAY), (true, UNDERLAY6)] {
        for way in Way::all(v6) {
            way.add(&rig, "ids", &[]);
            let arrivals = Arrivals::of(&rig, way);
            send(&rig.client, "eth0", &[unanswered(client_to_host(&rig)).udp(1, 2, &pattern(1, 99))]);
            let source: IpAddr = source.parse::<Ipv6Addr>().map(IpAddr::V6).unwrap_or_else(|_| source.parse().unwrap());
            assert_eq!(arrivals.take(1)[0].outer.delivery.src, source, "{way:?}");
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}
