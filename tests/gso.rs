//! Super-packets: whatever the kernel joins or cuts and wherever, each inner byte arrives, in its order, and with
//! `--gso wire` in the very segments that were on the wire.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/flows.rs"]
mod flows;

use std::net::SocketAddr;

use common::Rig;
use common::traffic::{
    NOBODY, as_super_packet, cable, client_to_host, host_to_client, packets, peer, quiet_rig, reasons, record, sysctl,
    tap,
};
use ebmirror::lab::capture::{Checksum, Gso, GsoKind, Sender};
use ebmirror::lab::compare::{Packet, compare};
use ebmirror::lab::frame::{Ethernet, TCP_ACK, TPID_8021AD, TPID_8021Q, Tcp, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::offload::Offloads;
use ebmirror::lab::recorder::Recorder;
use flows::{
    Conversation, Datagrams, Decoded, FAMILIES, Family, NOBODY6, V4, V6, add_ids, address, difference, flow_rig,
    has_right_checksums, is_between, mirror_over, settle, stay_on_this_cpu, steps_back, udp_payloads, wire_frames,
};
use serde_json::Value;

/// Several windows of a new connection, so that super-packets of many lengths come.
const BULK: usize = 60_000;

/// Arguments of the peer: what is the default is not written.
fn policy(gso: &'static str, oversize: &'static str) -> Vec<&'static str> {
    let mut args = Vec::new();
    if gso != "fast" {
        args.extend(["--gso", gso]);
    }
    if oversize != "fragment" {
        args.extend(["--oversize", oversize]);
    }
    args
}

/// What the collector's kernel takes out of the tunnel stays as it came.
fn join_nothing(rig: &Rig) {
    for decoder in ["vx0", "vx6"] {
        rig.tool(&rig.collector, &format!("ethtool -K {decoder} gro off"));
    }
}

/// Offloads of both ends of the mirrored cable, and of the output.
fn set_offloads(rig: &Rig, mirrored: Offloads, output: Offloads) {
    mirrored.apply(&rig.host, "eth0").unwrap();
    mirrored.apply(&rig.client, "eth0").unwrap();
    output.apply(&rig.host, "eth1").unwrap();
}

fn one_way(frames: &[Vec<u8>], from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
    let source = |frame: &[u8]| ebmirror::lab::parse::Parsed::new(frame).and_then(|parsed| Some(parsed.ip?.src));
    frames.iter().filter(|frame| is_between(frame, from, to) && source(frame) == Some(from.ip())).cloned().collect()
}

/// The copies of a conversation are whole, in order, and with `exact` the frames that were on the wire.
fn conversation_fault(talk: &Conversation, wire: &[Vec<u8>], copies: &[Vec<u8>], exact: bool) -> Option<String> {
    if !talk.has_ended(wire) {
        return Some("production has not ended".to_owned());
    }
    if let Some(fault) = talk.fault(copies) {
        return Some(fault);
    }
    talk.directions().into_iter().find_map(|(from, to, _)| {
        let fault = if exact {
            difference(&one_way(wire, from, to), &one_way(copies, from, to))
        } else {
            let back = steps_back(copies, from, to);
            (steps_back(wire, from, to) == 0 && back > 0).then(|| format!("{back} segments in front of earlier ones"))
        };
        Some(format!("{from} to {to}: {}", fault?))
    })
}

/// TCP over both families of IP, in both directions, is copied in full.
fn tcp_is_copied(rig: &Rig, what: &str, underlay: Family, exact: bool) {
    let (wire, copies) = (record(&rig.client, "eth0"), Decoded::of(rig, underlay));
    let talks: Vec<Conversation> = (0..)
        .zip(FAMILIES)
        .map(|(n, family)| {
            let (up, down) = (pattern(2 * n, BULK), pattern(2 * n + 1, BULK));
            Conversation::hold(&rig.client, &rig.host, address(family.host), up, down)
        })
        .collect();
    settle(what, || {
        let (wire, copies) = (seen(&wire), copies.frames());
        match talks.iter().find_map(|talk| conversation_fault(talk, &wire, &copies, exact)) {
            Some(fault) => Err(format!("{fault}; {}", peer(&rig.stats(), "ids"))),
            None => Ok(()),
        }
    });
    if exact {
        assert_eq!(copies.super_packets(), 0, "{what}: nothing that was joined may arrive");
    }
}

/// Nothing was lost, anywhere.
fn nothing_is_lost(rig: &Rig, what: &str) -> Value {
    let stats = rig.balanced();
    for row in stats["interfaces"].as_array().unwrap() {
        assert_eq!(packets(&row["lost"]), 0, "{what}: {stats}");
    }
    for row in stats["peers"].as_array().unwrap() {
        assert_eq!(packets(&row["lost"]), 0, "{what}: {stats}");
    }
    stats
}

/// Every combination of the offloads of both devices.
fn in_every_combination(gso: &'static str, output: &[Offloads]) {
    stay_on_this_cpu();
    let rig = flow_rig(1500);
    let exact = gso == "wire";
    if exact {
        join_nothing(&rig);
    }
    mirror_over(&rig, V4, &policy(gso, "fragment"));
    for mirrored in Offloads::every(&["tx", "tso", "gso", "gro"]) {
        for output in output {
            set_offloads(&rig, mirrored, *output);
            let what = format!("--gso {gso}; mirrored device: {mirrored}; output: {output}");
            tcp_is_copied(&rig, &what, V4, exact);
        }
        nothing_is_lost(&rig, &format!("--gso {gso}; mirrored device: {mirrored}"));
    }
}

fn outputs(tx: bool) -> Vec<Offloads> {
    Offloads::every(&["tso", "gso", "tunnel"]).into_iter().map(|output| output.with("tx", tx)).collect()
}

#[test]
fn tcp_is_copied_whatever_the_offloads() {
    in_every_combination("fast", &outputs(true));
}

#[test]
fn tcp_is_copied_whatever_the_offloads_where_the_output_finishes_no_checksums() {
    in_every_combination("fast", &outputs(false));
}

#[test]
fn the_segments_of_the_wire_are_copied_whatever_the_offloads() {
    in_every_combination("wire", &outputs(true));
}

#[test]
fn the_segments_of_the_wire_are_copied_whatever_the_offloads_where_the_output_finishes_no_checksums() {
    in_every_combination("wire", &outputs(false));
}

/// The two rigs: as virtual devices come, and as a network card without offloads. On the wire of the second are the very
/// segments, with nothing joined or cut by anybody but their senders.
fn rigs() -> [(&'static str, Offloads); 2] {
    [("as it comes", Offloads::ON.with("gro", false)), ("plain NIC", Offloads::OFF)]
}

#[test]
fn tcp_is_copied_over_paths_of_every_size() {
    stay_on_this_cpu();
    for mtu in [1600, 1500, 1400, 900] {
        let rig = flow_rig(mtu);
        mirror_over(&rig, V4, &[]);
        for (mode, offloads) in rigs() {
            set_offloads(&rig, offloads, offloads);
            tcp_is_copied(&rig, &format!("MTU {mtu}, {mode}"), V4, false);
        }
        nothing_is_lost(&rig, &format!("MTU {mtu}"));
    }
}

#[test]
fn the_segments_of_the_wire_are_copied_over_paths_of_every_size() {
    stay_on_this_cpu();
    for mtu in [1600, 1500, 1400, 900] {
        let rig = flow_rig(mtu);
        join_nothing(&rig);
        mirror_over(&rig, V4, &policy("wire", "fragment"));
        for (mode, offloads) in rigs() {
            set_offloads(&rig, offloads, offloads);
            tcp_is_copied(&rig, &format!("MTU {mtu}, {mode}"), V4, true);
        }
        nothing_is_lost(&rig, &format!("MTU {mtu}"));
    }
}

#[test]
fn tcp_is_copied_over_an_ipv6_underlay() {
    stay_on_this_cpu();
    for (gso, mtu) in [("fast", 1600), ("fast", 1500), ("fast", 1400), ("wire", 1600), ("wire", 1500), ("wire", 1400)] {
        let rig = flow_rig(mtu);
        if gso == "wire" {
            join_nothing(&rig);
        }
        mirror_over(&rig, V6, &policy(gso, "fragment"));
        for (mode, offloads) in rigs() {
            set_offloads(&rig, offloads, offloads);
            tcp_is_copied(&rig, &format!("--gso {gso}, MTU {mtu}, {mode}"), V6, gso == "wire");
        }
        nothing_is_lost(&rig, &format!("--gso {gso}, MTU {mtu}"));
    }
}

/// With `--oversize drop` what does not fit is missing and counted, and what fits is there.
#[test]
fn segments_that_do_not_fit_are_dropped_if_that_is_wanted() {
    stay_on_this_cpu();
    for (mtu, underlay) in [(1600, V4), (1500, V4), (900, V4), (1600, V6), (1500, V6)] {
        let rig = flow_rig(mtu);
        join_nothing(&rig);
        mirror_over(&rig, underlay, &policy("wire", "drop"));
        let mut too_big = 0;
        for (mode, offloads) in rigs() {
            let what = format!("{} underlay, MTU {mtu}, {mode}", underlay.name);
            set_offloads(&rig, offloads, offloads);
            let (wire, copies) = (record(&rig.client, "eth0"), Decoded::of(&rig, underlay));
            let talk = Conversation::hold(&rig.client, &rig.host, address(V4.host), pattern(1, BULK), pattern(2, BULK));
            too_big += settle(&what, || {
                let (wire, copies) = (seen(&wire), copies.frames());
                if !talk.has_ended(&wire) {
                    return Err("production has not ended".to_owned());
                }
                let mut dropped = 0;
                for (from, to, _) in talk.directions() {
                    let (fitting, long): (Vec<_>, Vec<_>) = one_way(&wire, from, to)
                        .into_iter()
                        .partition(|frame| frame.len() + underlay.overhead <= mtu as usize);
                    dropped += long.len() as u64;
                    if let Some(fault) = difference(&fitting, &one_way(&copies, from, to)) {
                        return Err(fault);
                    }
                }
                Ok(dropped)
            });
            let stats = rig.balanced();
            let ids = peer(&stats, "ids");
            assert_eq!(packets(&ids["reasons"]["too_big"]), too_big, "{what}: {stats}");
            assert_eq!(ids["lost"], ids["reasons"]["too_big"], "{what}: {stats}");
        }
        assert_eq!(too_big > 0, mtu < 1600, "MTU {mtu}: nothing tested");
    }
}

/// Super-packets that the collector gets in smaller segments need no fragments, whatever the policy says.
#[test]
fn tcp_super_packets_are_made_to_fit_where_nothing_may_be_fragmented() {
    stay_on_this_cpu();
    for underlay in FAMILIES {
        let rig = flow_rig(1500);
        mirror_over(&rig, underlay, &policy("fast", "drop"));
        set_offloads(&rig, Offloads::ON, Offloads::ON);
        let (originals, copies) = (record(&rig.host, "eth0"), Decoded::of(&rig, underlay));
        let talk = Conversation::hold(&rig.client, &rig.host, address(V4.host), pattern(1, BULK), pattern(2, BULK));
        settle(underlay.name, || {
            let copies = copies.frames();
            originals
                .with(|frames| {
                    let fitting: Vec<Packet<'_>> = frames
                        .iter()
                        .filter(|frame| is_between(&frame.bytes, talk.client, talk.server))
                        .filter(|frame| frame.gso.is_some() || frame.bytes.len() + underlay.overhead <= 1500)
                        .map(Packet::captured)
                        .collect();
                    if !talk.has_ended(&wire_frames(frames)) {
                        return Err("production has not ended".to_owned());
                    }
                    assert!(fitting.iter().any(|packet| packet.gso.is_some()), "no super-packet, nothing tested");
                    let copies: Vec<Packet<'_>> =
                        copies.iter().map(|copy| Packet::new(copy.as_slice(), None)).collect();
                    let result = compare(&fitting, &copies);
                    let missing = result.fates.len();
                    if result.is_perfect() { Ok(()) } else { Err(format!("{missing} originals: {:?}", result.fates)) }
                })
                .unwrap()
        });
        let stats = rig.balanced();
        let ids = peer(&stats, "ids");
        assert_eq!(ids["lost"], ids["reasons"]["too_big"], "{stats}");
    }
}

/// Sends super-packets of UDP each way; their copies are the datagrams that they stand for, in their order.
fn udp_is_copied(rig: &Rig, what: &str, underlay: Family, ends: [(&Host, Family, &str); 2], size: usize) {
    let wire = record(ends[0].0, "eth0");
    let copies = Decoded::of(rig, underlay);
    let sockets = ends.map(|(host, _, ip)| Datagrams::bind(host, ip, 0));
    // One application takes what was joined as it is, the other one does not.
    sockets[1].take_joined();
    // Full ones and a short one; a single one, which is none; one whose last one is full.
    let lengths = [30 * size + 333, size - 5, 12 * size];
    let data: Vec<Vec<u8>> = (0..).zip(lengths).map(|(n, length)| pattern(n, length)).collect();
    let datagrams: Vec<Vec<u8>> = data.iter().flat_map(|data| data.chunks(size).map(<[u8]>::to_vec)).collect();
    for (from, to) in [(&sockets[0], &sockets[1]), (&sockets[1], &sockets[0])] {
        from.segment(size as i32);
        for data in &data {
            from.send(to, data);
            assert!(to.receive(what, data.len()) == *data, "{what}: the application got other bytes");
        }
        settle(what, || {
            let (wire, copies) = (seen(&wire), copies.frames());
            let (from, to) = (from.address(), to.address());
            let arrived = udp_payloads(&copies, from, to);
            if let Some(wrong) = copies.iter().find(|copy| !has_right_checksums(copy)) {
                return Err(format!("a wrong checksum in {}", ebmirror::lab::summary::summary(wrong)));
            }
            if arrived != datagrams {
                return Err(format!(
                    "{} of {} datagrams; {}",
                    arrived.len(),
                    datagrams.len(),
                    peer(&rig.stats(), "ids")
                ));
            }
            difference(&one_way(&wire, from, to), &one_way(&copies, from, to)).map_or(Ok(()), Err)
        });
    }
}

#[test]
fn udp_super_packets_are_copied_datagram_by_datagram() {
    stay_on_this_cpu();
    for (underlay, mtu) in [(V4, 1600), (V4, 1500), (V4, 1400), (V4, 900), (V6, 1600), (V6, 1400)] {
        let rig = flow_rig(mtu);
        join_nothing(&rig);
        mirror_over(&rig, underlay, &[]);
        for (mode, offloads) in [("as it comes", Offloads::ON), rigs()[1]] {
            set_offloads(&rig, offloads, offloads);
            for family in FAMILIES {
                for size in [1000, 1448] {
                    let what = format!("{} over {}, MTU {mtu}, {mode}, {size}", family.name, underlay.name);
                    let ends = [(&rig.client, family, family.client), (&rig.host, family, family.host)];
                    udp_is_copied(&rig, &what, underlay, ends, size);
                }
            }
        }
        nothing_is_lost(&rig, &format!("{} underlay, MTU {mtu}", underlay.name));
    }
}

/// Every combination of the offloads of both devices.
#[test]
fn udp_super_packets_are_copied_whatever_the_offloads() {
    stay_on_this_cpu();
    let rig = flow_rig(1500);
    join_nothing(&rig);
    mirror_over(&rig, V4, &[]);
    for mirrored in Offloads::every(&["tx", "tso", "gso", "gro"]) {
        for output in Offloads::every(&["tx", "tso", "gso", "tunnel"]) {
            set_offloads(&rig, mirrored, output);
            let what = format!("mirrored device: {mirrored}; output: {output}");
            udp_is_copied(&rig, &what, V4, [(&rig.client, V4, V4.client), (&rig.host, V4, V4.host)], 1000);
        }
        nothing_is_lost(&rig, &format!("mirrored device: {mirrored}"));
    }
}

/// Datagrams that the mirrored interface joins, to be forwarded as super-packets.
#[test]
fn udp_that_is_joined_to_be_forwarded_is_copied_datagram_by_datagram() {
    stay_on_this_cpu();
    const SERVER: [&str; 2] = ["10.5.0.2", "fd00:5::2"];
    for mtu in [1600, 1400] {
        let rig = flow_rig(mtu);
        join_nothing(&rig);
        let server = Host::new("server").unwrap();
        cable((&rig.host, "eth2", "10.5.0.1"), (&server, "eth0", SERVER[0]), 1500);
        flows::add_ipv6(&rig, &rig.host, "eth2", "fd00:5::1");
        flows::add_ipv6(&rig, &server, "eth0", SERVER[1]);
        sysctl(&rig.host, "net/ipv4/ip_forward", "1");
        sysctl(&rig.host, "net/ipv6/conf/all/forwarding", "1");
        for (host, gateways) in [(&rig.client, [V4.host, V6.host]), (&server, ["10.5.0.1", "fd00:5::1"])] {
            rig.tool(host, &format!("ip route add default via {}", gateways[0]));
            rig.tool(host, &format!("ip -6 route add default via {}", gateways[1]));
        }
        mirror_over(&rig, V4, &[]);
        Offloads::OFF.apply(&rig.client, "eth0").unwrap();
        for kind in ["rx-udp-gro-forwarding on", "rx-udp-gro-forwarding off rx-gro-list on"] {
            rig.tool(&rig.host, &format!("ethtool -K eth0 gro on {kind}"));
            let joined = record(&rig.host, "eth2");
            for (family, server_ip) in FAMILIES.into_iter().zip(SERVER) {
                let ends = [(&rig.client, family, family.client), (&server, family, server_ip)];
                udp_is_copied(&rig, &format!("{}, {kind}, MTU {mtu}", family.name), V4, ends, 1200);
            }
            let joined = joined.finish().unwrap();
            assert!(joined.iter().any(|frame| frame.outgoing && frame.gso.is_some()), "{kind}: nothing joined");
        }
        nothing_is_lost(&rig, &format!("MTU {mtu}"));
    }
}

/// A super-packet made by hand, and the frames that it stands for.
struct Handmade {
    whole: Vec<u8>,
    gso: Gso,
    checksum: Checksum,
    segments: Vec<Vec<u8>>,
}

/// With these tags in the payload, of TCP or UDP.
fn handmade(ethernet: Ethernet, tags: &[(u16, u16)], family: Family, protocol: u8, number: u64) -> Handmade {
    const SIZE: usize = 1400;
    let tagged = tags.iter().fold(ethernet, |ethernet, (tpid, tci)| ethernet.tag(*tpid, *tci));
    let start = 14 + 4 * tags.len() + if family == V4 { 20 } else { 40 };
    let data = pattern(number, 6 * SIZE + 500);
    let make = |n: usize, data: &[u8]| {
        let ip = match family {
            V4 => tagged.clone().ipv4(NOBODY[0], NOBODY[1]).id(500 + n as u16),
            _ => tagged.clone().ipv6(NOBODY6[0], NOBODY6[1]),
        };
        let seq = 1_000_000 + (n * SIZE) as u32;
        let tcp = Tcp { sport: 4000, dport: 5001, seq, ack: 2, flags: TCP_ACK, window: 500 };
        if protocol == 6 { ip.tcp(tcp, data) } else { ip.udp(4000, 5001, data) }
    };
    let (kind, offset) = match (protocol, family) {
        (6, V4) => (GsoKind::Tcp4, 16),
        (6, _) => (GsoKind::Tcp6, 16),
        _ => (GsoKind::Udp, 6),
    };
    let mut whole = make(0, &data);
    let seed = [&whole[start - if family == V4 { 8 } else { 32 }..start][..]].concat();
    let sum = ebmirror::lab::checksum::sum;
    let length = (whole.len() - start) as u32;
    let seed = sum(sum(sum(0, &seed), &length.to_be_bytes()), &[0, 0, 0, protocol]);
    whole[start + offset..start + offset + 2].copy_from_slice(&seed.to_be_bytes());
    if family == V4 {
        assert_eq!(whole, as_super_packet(make(0, &data), protocol, start, offset));
    }
    Handmade {
        whole,
        gso: Gso { kind, size: SIZE as u16 },
        checksum: Checksum::NotReady { start, offset },
        segments: data.chunks(SIZE).enumerate().map(|(n, piece)| make(n, piece)).collect(),
    }
}

/// Each way: the super-packet that leaves the host has its tags in the payload, in what it receives the kernel has
/// moved one of them to its metadata.
fn tagged_super_packets_are_copied(underlay: Family, mtu: u32, gso: &'static str) {
    let tags = [(TPID_8021Q, 0x6007), (TPID_8021Q, 9), (TPID_8021AD, 0x2064)];
    let stacks: [&[(u16, u16)]; 3] = [&tags[..1], &[tags[2], tags[1]], &tags[..2]];
    let rig = flow_rig(mtu);
    join_nothing(&rig);
    mirror_over(&rig, underlay, &policy(gso, "fragment"));
    for (mode, offloads) in rigs() {
        set_offloads(&rig, offloads, offloads);
        for stack in stacks {
            for (family, protocol) in [(V4, 6), (V6, 6), (V4, 17), (V6, 17)] {
                for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
                    let what = format!("--gso {gso}, MTU {mtu}, {mode}, {stack:x?}, {} {protocol}", family.name);
                    let super_packet = handmade(ethernet, stack, family, protocol, mtu.into());
                    let copies = Decoded::of(&rig, underlay);
                    let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
                    let Handmade { whole, gso: cut, checksum, segments } = &super_packet;
                    sender.send_offloaded(whole, Some(*cut), *checksum).unwrap();
                    settle(&what, || {
                        let copies = copies.frames();
                        let fault = if gso == "wire" || protocol == 17 || mtu >= 1600 {
                            difference(segments, &copies)
                        } else {
                            stream_fault(segments, &copies)
                        };
                        fault.map_or(Ok(()), |fault| Err(format!("{fault}; {}", peer(&rig.stats(), "ids"))))
                    });
                }
            }
        }
        nothing_is_lost(&rig, &format!("--gso {gso}, MTU {mtu}, {mode}"));
    }
}

/// As a stream of TCP, in other segments.
fn stream_fault(segments: &[Vec<u8>], copies: &[Vec<u8>]) -> Option<String> {
    let payload = |frames: &[Vec<u8>]| -> Vec<u8> {
        let parts = frames.iter().filter_map(|frame| {
            let tcp = ebmirror::lab::parse::Parsed::new(frame)?.tcp()?;
            Some(frame[tcp.payload].to_vec())
        });
        parts.flatten().collect()
    };
    let (sent, arrived) = (payload(segments), payload(copies));
    if let Some(wrong) = copies.iter().find(|copy| !has_right_checksums(copy)) {
        return Some(format!("a wrong checksum in {}", ebmirror::lab::summary::summary(wrong)));
    }
    (sent != arrived).then(|| format!("{} of {} bytes, or others", arrived.len(), sent.len()))
}

#[test]
fn super_packets_with_tags_are_copied() {
    stay_on_this_cpu();
    for (underlay, mtu) in [(V4, 1600), (V4, 1500), (V4, 900), (V6, 1600), (V6, 1500)] {
        tagged_super_packets_are_copied(underlay, mtu, "fast");
    }
}

#[test]
fn super_packets_with_tags_are_copied_segment_by_segment() {
    stay_on_this_cpu();
    for (underlay, mtu) in [(V4, 1600), (V4, 1500), (V4, 900), (V6, 1500)] {
        tagged_super_packets_are_copied(underlay, mtu, "wire");
    }
}

/// What the kernel has joined counts as what it was on the wire.
#[test]
fn the_books_count_segments_whatever_is_joined() {
    stay_on_this_cpu();
    for gso in ["fast", "wire"] {
        let rig = quiet_rig(1600);
        mirror_over(&rig, V4, &policy(gso, "fragment"));
        Offloads::OFF.apply(&rig.client, "eth0").unwrap();
        Offloads::ON.apply(&rig.host, "eth0").unwrap();
        let (wire, joined) = (record(&rig.client, "eth0"), record(&rig.host, "eth0"));
        let talk = Conversation::hold(&rig.client, &rig.host, address(V4.host), pattern(1, BULK), pattern(2, BULK));
        settle("the end", || if talk.has_ended(&seen(&wire)) { Ok(()) } else { Err("none".to_owned()) });
        let is_joined =
            |outgoing| joined.with(|frames| frames.iter().any(|f| f.gso.is_some() && f.outgoing == outgoing)).unwrap();
        assert!(is_joined(false) && is_joined(true), "nothing joined, nothing tested");
        let stats = rig.balanced();
        for (direction, outgoing) in [("ingress", true), ("egress", false)] {
            let frames = wire.with(|frames| wire_frames(frames.iter().filter(|f| f.outgoing == outgoing))).unwrap();
            let bytes: usize = frames.iter().map(Vec::len).sum();
            let seen = &tap(&stats, direction)["seen"];
            assert_eq!(
                (seen["packets"].as_u64(), seen["bytes"].as_u64()),
                (Some(frames.len() as u64), Some(bytes as u64))
            );
        }
        assert_eq!(reasons(peer(&stats, "ids")), Vec::<&str>::new());
    }
}

fn seen(recorder: &Recorder) -> Vec<Vec<u8>> {
    recorder.with(|frames| wire_frames(frames)).unwrap()
}

/// The two peers of one frame need it in different ways.
#[test]
fn one_peer_gets_segments_of_the_wire_and_another_what_is_fast() {
    stay_on_this_cpu();
    let rig = flow_rig(1500);
    join_nothing(&rig);
    mirror_over(&rig, V4, &policy("wire", "fragment"));
    let vni = V6.vni.to_string();
    rig.ebmirror(&["peer", "add", "fast", "--tunnel", "vxlan", "--remote", V6.collector, "--vni", &vni]).ok();
    let (wire, exact, fast) = (record(&rig.client, "eth0"), Decoded::of(&rig, V4), Decoded::of(&rig, V6));
    for family in FAMILIES {
        let talk = Conversation::hold(&rig.client, &rig.host, address(family.host), pattern(1, BULK), pattern(2, BULK));
        for (copies, is_exact) in [(&exact, true), (&fast, false)] {
            settle(family.name, || {
                let (wire, copies) = (seen(&wire), copies.frames());
                conversation_fault(&talk, &wire, &copies, is_exact).map_or(Ok(()), Err)
            });
        }
    }
    nothing_is_lost(&rig, "two peers");
}

/// A change of the policy takes effect between two conversations.
#[test]
fn the_way_of_cutting_can_be_changed() {
    stay_on_this_cpu();
    let rig = flow_rig(1500);
    join_nothing(&rig);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_ids(&rig, V4, &[]);
    for gso in ["wire", "fast", "wire"] {
        rig.ebmirror(&["peer", "set", "ids", "--gso", gso]).ok();
        tcp_is_copied(&rig, gso, V4, gso == "wire");
    }
    nothing_is_lost(&rig, "after the changes");
}

/// On the uplink of an overlay the kernel's own packets are in a tunnel already, and it knows: helpers refuse such packets
/// what they allow with others. They are copied whole, in fragments, or cut, as others are.
#[test]
fn what_the_kernel_has_put_into_a_tunnel_is_copied_cut_and_fragmented() {
    stay_on_this_cpu();
    for (mode, offloads) in rigs() {
        let rig = flow_rig(1500);
        for (host, local, remote, inside) in
            [(&rig.client, V4.client, V4.host, "10.9.0.1"), (&rig.host, V4.host, V4.client, "10.9.0.2")]
        {
            let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4790 dev eth0");
            rig.tool(host, &format!("ip link add ov0 type {tunnel}"));
            sysctl(host, "net/ipv6/conf/ov0/disable_ipv6", "1");
            rig.tool(host, &format!("ip address add {inside}/24 dev ov0"));
            rig.tool(host, "ip link set dev ov0 up");
        }
        set_offloads(&rig, offloads, offloads);
        rig.ebmirror(&["attach", "eth0"]).ok();
        let peers: [(&str, &[&str]); 3] =
            [("101", &[]), ("102", &["--snaplen", "200"]), ("103", &["--oversize", "truncate"])];
        for (vni, more) in peers {
            let args = ["peer", "add", vni, "--tunnel", "vxlan", "--remote", V4.collector, "--vni", vni];
            rig.ebmirror(&[&args[..], more].concat()).ok();
        }
        let (wire, collector) = (record(&rig.client, "eth0"), record(&rig.collector, "eth0"));
        let ends = [Datagrams::bind(&rig.client, "10.9.0.1", 7000), Datagrams::bind(&rig.host, "10.9.0.2", 7000)];
        // The last one fills a frame.
        for (n, size) in (0..).zip([20, 100, 700, 1300, 1400, 1422]) {
            for (from, to) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
                let data = pattern(n, size);
                from.send(to, &data);
                assert!(to.receive(mode, size) == data, "{mode}: the application got other bytes");
            }
        }
        settle(mode, || {
            let originals = seen(&wire);
            let copies = collector.with(flows::delivered).unwrap();
            for (vni, limit) in [(101, usize::MAX), (102, 200), (103, 1500 - V4.overhead)] {
                let mut expected: Vec<Vec<u8>> =
                    originals.iter().map(|frame| frame[..frame.len().min(limit)].to_vec()).collect();
                let mut found: Vec<Vec<u8>> =
                    copies.iter().filter(|copy| copy.number == vni).map(|copy| copy.inner.clone()).collect();
                expected.sort();
                found.sort();
                if let Some(fault) = difference(&expected, &found) {
                    return Err(format!("{vni}: {fault}; {}", peer(&rig.stats(), &vni.to_string())));
                }
            }
            Ok(())
        });
        nothing_is_lost(&rig, mode);
    }
}

/// A super-packet of TCP whose second segment has a checksum of zero.
fn with_a_checksum_of_zero(ethernet: Ethernet, family: Family) -> (Vec<u8>, Gso, Checksum) {
    const SIZE: usize = 1400;
    const SEQ: u32 = 1_000_000;
    let ip = match family {
        V4 => ethernet.ipv4(NOBODY[0], NOBODY[1]),
        _ => ethernet.ipv6(NOBODY6[0], NOBODY6[1]),
    };
    let tcp = |seq| Tcp { sport: 4000, dport: 5001, seq, ack: 2, flags: TCP_ACK, window: 500 };
    let mut data = pattern(7, 3 * SIZE);
    // The word that makes up for all others is their checksum.
    data[SIZE..SIZE + 2].fill(0);
    let second = ip.tcp(tcp(SEQ + SIZE as u32), &data[SIZE..2 * SIZE]);
    let checksum = second.len() - SIZE - 4;
    data[SIZE..SIZE + 2].copy_from_slice(&second[checksum..checksum + 2]);
    let (whole, gso, checksum) = ip.tcp_offloaded(tcp(SEQ), &data, Some(SIZE as u16));
    (whole, gso.unwrap(), checksum)
}

#[test]
fn a_checksum_of_zero_is_copied() {
    stay_on_this_cpu();
    for mtu in [1600, 1500] {
        let rig = flow_rig(mtu);
        join_nothing(&rig);
        mirror_over(&rig, V4, &policy("wire", "fragment"));
        for offloads in [Offloads::ON, Offloads::ON.with("tso", false), Offloads::OFF] {
            set_offloads(&rig, offloads, offloads);
            for family in FAMILIES {
                for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
                    let what = format!("MTU {mtu}, {offloads}, {}", family.name);
                    let (whole, gso, checksum) = with_a_checksum_of_zero(ethernet, family);
                    let (wire, copies) = (record(&rig.client, "eth0"), Decoded::of(&rig, V4));
                    let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
                    sender.send_offloaded(&whole, Some(gso), checksum).unwrap();
                    let copies = copies.take(3);
                    settle(&what, || difference(&seen(&wire), &copies).map_or(Ok(()), Err));
                    let field = copies[1].len() - usize::from(gso.size) - 4;
                    assert!(matches!(copies[1][field..field + 2], [0, 0] | [0xff, 0xff]), "{what}");
                    assert!(copies.len() == 3 && copies.iter().all(|copy| has_right_checksums(copy)), "{what}");
                }
            }
            nothing_is_lost(&rig, &format!("MTU {mtu}, {offloads}"));
        }
    }
}
