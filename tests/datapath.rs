//! What crosses the mirrored interface arrives at the collector, byte for byte, and is counted; production does not
//! notice.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use common::traffic::{
    Application, Collector, Copy, Marks, NOBODY, add_peer, as_super_packet, assert_same_frames, cable, client_to_host,
    counter, datagram, fits, host_to_client, ip, mac_text, packets, peer, quiet_rig, reasons, record, send,
    size_of_all, sysctl, tap, transfer, udp_frames, unanswered, wait_for_stats, wait_until_perfect, wire_size,
};
use common::{CLIENT, COLLECTOR, HOST, Rig, UNDERLAY, VNI, wait_for};
use ebmirror::lab::capture::{Checksum, Frame, Gso, GsoKind, Sender};
use ebmirror::lab::compare::{Packet, WireSize, compare};
use ebmirror::lab::decode::vxlan_bytes;
use ebmirror::lab::frame::{
    BROADCAST, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TCP_ACK, TCP_SYN, TPID_8021AD,
    TPID_8021Q, Tcp, pattern,
};
use ebmirror::lab::network::Host;

/// Frames of all lengths from 60 to 1400 bytes, none like another.
fn all_lengths(ethernet: &Ethernet, count: u64) -> Vec<Vec<u8>> {
    let length = |n: u64| 60 + (n as usize * 7) % 1341;
    (0..count).map(|n| unanswered(ethernet.clone()).udp(4000, 5000, &pattern(n, length(n) - 42))).collect()
}

#[test]
fn ten_thousand_frames_each_way_arrive_identical_and_are_counted() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let inbound = all_lengths(&client_to_host(&rig), 10_000);
    let outbound = all_lengths(&host_to_client(&rig), 10_000);
    let lengths: BTreeSet<usize> = inbound.iter().map(Vec::len).collect();
    assert_eq!((lengths.len(), lengths.first(), lengths.last()), (1341, Some(&60), Some(&1400)));

    let (outer, decoded) = (Collector::of(&rig), record(&rig.collector, "vx0"));
    outer.send(&rig.client, "eth0", &inbound, 1);
    outer.send(&rig.host, "eth0", &outbound, 1);

    let all = [inbound.clone(), outbound.clone()].concat();
    assert_same_frames("on the wire", &all, &outer.copies());
    wait_for("the collector's vxlan device", || decoded.count().unwrap() >= all.len());
    let at_vx0: Vec<Vec<u8>> = decoded.finish().unwrap().into_iter().map(|frame| frame.bytes).collect();
    assert!(multiset(&at_vx0) == multiset(&all), "the kernel decodes other frames than were sent");
    let links: serde_json::Value =
        serde_json::from_str(&rig.tool(&rig.collector, "ip -j -s link show dev vx0")).unwrap();
    assert_eq!(links[0]["stats64"]["rx"]["packets"], 20_000, "{links}");

    let stats = rig.balanced();
    for (direction, frames) in [("ingress", &inbound), ("egress", &outbound)] {
        let size = size_of_all(frames);
        assert_eq!(size.packets, 10_000);
        for key in ["seen", "selected", "cloned", "copies"] {
            assert_eq!(counter(&tap(&stats, direction)[key]), size, "{direction} {key}: {stats}");
        }
    }
    for key in ["selected", "sent"] {
        assert_eq!(counter(&peer(&stats, "ids")[key]), size_of_all(&all), "{key}: {stats}");
    }
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
}

fn multiset(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    sorted
}

/// A frame of each kind that there is.
fn zoo(ethernet: &Ethernet) -> Vec<(&'static str, Vec<u8>)> {
    let [a, b] = NOBODY;
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let multicast_mac = [0x01, 0x00, 0x5e, 1, 2, 3];
    let v4 = || unanswered(ethernet.clone());
    let v6 = || ethernet.clone().ipv6(a6, b6);
    let customer = || ethernet.clone().tag(TPID_8021Q, 0x6007);
    let service = || ethernet.clone().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 0xa00b);
    let syn = Tcp { sport: 4000, dport: 80, seq: 1, ack: 0, flags: TCP_SYN, window: 64_000 };
    let whole = pattern(3, 2000);
    // A hop-by-hop header with padding, then a fragment header: the first fragment of a datagram, and its last.
    let v6_fragment = |more: u16, offset: u16, payload: &[u8]| {
        let hop = [44, 0, 1, 4, 0, 0, 0, 0];
        let [high, low] = (offset << 3 | more).to_be_bytes();
        v6().protocol(0, &[&hop[..], &[17, 0, high, low, 0, 0, 0, 9], payload].concat())
    };
    let solicitation = [&[135, 0, 0x12, 0x34, 0, 0, 0, 0][..], &b6.octets(), &[1, 1], &ethernet.src].concat();
    let advertisement = [&[136, 0, 0x12, 0x34, 0x60, 0, 0, 0][..], &a6.octets(), &[2, 1], &ethernet.src].concat();
    vec![
        ("ARP request", ethernet.clone().to(BROADCAST).arp_request(a, b)),
        ("ARP reply", ethernet.arp_reply(a, b)),
        ("ICMP request", v4().echo_request(1, 2, &pattern(1, 56))),
        ("ICMP reply", v4().echo_reply(1, 2, &pattern(1, 56))),
        ("UDP", v4().udp(4000, 53, &pattern(2, 300))),
        ("UDP without data", v4().udp(4000, 53, &[])),
        ("TCP SYN", v4().tcp(syn, &[])),
        ("TCP data", v4().tcp(Tcp { flags: TCP_ACK, ..syn }, &pattern(4, 1200))),
        ("ESP", v4().protocol(50, &pattern(5, 90))),
        ("first fragment", v4().id(77).fragment(true, 0).protocol(17, &whole[..1400])),
        ("middle fragment", v4().id(77).fragment(true, 175).protocol(17, &whole[1400..1600])),
        ("last fragment", v4().id(77).fragment(false, 200).protocol(17, &whole[1600..])),
        ("UDP over IPv6", v6().udp(4000, 53, &pattern(6, 300))),
        ("TCP over IPv6", v6().tcp(syn, &[])),
        ("ICMPv6 request", v6().echo_request(1, 2, &pattern(7, 56))),
        ("first IPv6 fragment", v6_fragment(1, 0, &whole[..1200])),
        ("last IPv6 fragment", v6_fragment(0, 150, &whole[1200..])),
        ("neighbour solicitation", v6().ttl(255).protocol(58, &solicitation)),
        ("neighbour advertisement", v6().ttl(255).protocol(58, &advertisement)),
        ("LLDP", ethernet.clone().to(LLDP_MULTICAST).lldp(8)),
        ("STP, a 802.3 length", ethernet.clone().to(STP_MULTICAST).stp(9)),
        ("MPLS", ethernet.frame(0x8847, &[&[0, 1, 0x41, 64][..], &v4().udp(1, 2, b"mpls")[14..]].concat())),
        ("PPPoE discovery", ethernet.clone().to(BROADCAST).frame(0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0])),
        ("PPPoE session", ethernet.frame(0x8864, &[&[0x11, 0, 0, 5, 0, 200, 0, 0x21][..], &pattern(10, 198)].concat())),
        ("802.1X", ethernet.clone().to([1, 0x80, 0xc2, 0, 0, 3]).frame(0x888e, &[1, 1, 0, 0])),
        ("unknown type", ethernet.frame(0x1234, &pattern(11, 77))),
        ("broadcast", ethernet.clone().to(BROADCAST).ipv4(a, [255; 4]).udp(68, 67, &pattern(12, 300))),
        ("multicast", ethernet.clone().to(multicast_mac).ipv4(a, [239, 1, 2, 3]).udp(1, 2, &pattern(13, 30))),
        ("IPv6 multicast", {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            ethernet.clone().to([0x33, 0x33, 0, 0, 0, 1]).ipv6(a6, all_nodes).udp(1, 2, &pattern(14, 30))
        }),
        ("nothing but a header", ethernet.frame(0x1234, &[])),
        ("one byte", ethernet.frame(0x1234, &[7])),
        ("IPv4 type without a packet", ethernet.frame(ETHERTYPE_IPV4, &[])),
        ("IPv4 cut short", ethernet.frame(ETHERTYPE_IPV4, &[0x45, 0, 0])),
        ("IPv4 with a header length of 0", ethernet.frame(ETHERTYPE_IPV4, &[&[0x40][..], &[0; 45]].concat())),
        ("IPv6 type without a packet", ethernet.frame(ETHERTYPE_IPV6, &[])),
        ("IPv6 cut short", ethernet.frame(ETHERTYPE_IPV6, &[0x60, 0, 0, 0])),
        ("one tag", customer().ipv4(a, b).udp(4000, 53, &pattern(15, 300))),
        ("one tag, priority alone", ethernet.clone().tag(TPID_8021Q, 0xe000).ipv4(a, b).udp(1, 2, &pattern(16, 99))),
        ("one tag, drop eligible", ethernet.clone().tag(TPID_8021Q, 0x1005).ipv4(a, b).udp(1, 2, &pattern(17, 99))),
        ("one service tag", ethernet.clone().tag(TPID_8021AD, 5).ipv4(a, b).udp(1, 2, &pattern(18, 99))),
        ("one tag, IPv6", customer().ipv6(a6, b6).udp(4000, 53, &pattern(19, 300))),
        ("one tag, ARP", customer().to(BROADCAST).arp_request(a, b)),
        ("one tag, TCP", customer().ipv4(a, b).tcp(Tcp { flags: TCP_ACK, ..syn }, &pattern(20, 1200))),
        ("two tags", service().ipv4(a, b).udp(4000, 53, &pattern(21, 300))),
        ("two tags, IPv6", service().ipv6(a6, b6).udp(4000, 53, &pattern(22, 300))),
        ("two tags, unknown type", service().frame(0x1234, &pattern(23, 60))),
        ("two customer tags", customer().tag(TPID_8021Q, 3).ipv4(a, b).udp(4000, 53, &pattern(24, 300))),
        ("three tags", service().tag(TPID_8021Q, 0xf00d).ipv4(a, b).udp(4000, 53, &pattern(25, 300))),
        ("IPv4 with options", {
            let mut packet =
                v4().protocol(17, &[&[1, 7, 11, 4, 1, 2, 3, 0, 0, 0, 0, 0][..], &pattern(27, 40)].concat());
            packet[14] = 0x48;
            packet
        }),
        (
            "authentication header",
            v6().protocol(51, &[&[17, 4, 0, 0][..], &pattern(28, 20), &pattern(29, 50)].concat()),
        ),
        ("four tags", service().tag(TPID_8021Q, 1).tag(TPID_8021Q, 2).ipv4(a, b).udp(4000, 53, &pattern(26, 300))),
    ]
}

/// Sends each kind alone, so that a fault names it.
fn every_kind_is_copied(rig: &Rig, from: &Host, ethernet: &Ethernet, direction: &str) {
    let collector = Collector::of(rig);
    let sender = from.run(|| Sender::open("eth0")).unwrap().unwrap();
    let mut faults = Vec::new();
    let frames = zoo(ethernet);
    for (what, frame) in &frames {
        let before = collector.count();
        sender.send(frame).unwrap_or_else(|error| panic!("{what}: {error}"));
        let stats = wait_for_stats(rig, what, |stats| {
            stats["unaccounted"] == 0 && packets(&peer(stats, "ids")["selected"]) > before as u64 + faults.len() as u64
        });
        if packets(&peer(&stats, "ids")["lost"]) > faults.len() as u64 {
            faults.push(format!("{what}: lost as {:?}", reasons(peer(&stats, "ids"))));
            continue;
        }
        let copy = collector.take(before + 1).pop().unwrap();
        assert_eq!(copy.bytes, *frame, "{what}");
    }
    assert!(faults.is_empty(), "{direction}: {faults:#?}");
    let stats = rig.balanced();
    assert_eq!(counter(&tap(&stats, direction)["copies"]), size_of_all(frames.iter().map(|(_, frame)| frame)));
}

#[test]
fn every_kind_of_frame_that_arrives_is_copied() {
    let rig = quiet_rig(1500);
    rig.mirror();
    every_kind_is_copied(&rig, &rig.client, &client_to_host(&rig), "ingress");
}

#[test]
fn every_kind_of_frame_that_leaves_is_copied() {
    let rig = quiet_rig(1500);
    rig.mirror();
    every_kind_is_copied(&rig, &rig.host, &host_to_client(&rig), "egress");
}

/// Frames of every kind with some bytes changed, or cut short. A frame needs no sense to be copied.
fn nonsense(ethernet: &Ethernet, count: usize) -> Vec<Vec<u8>> {
    let zoo = zoo(ethernet);
    (0..count)
        .map(|n| {
            let mut random = pattern(n as u64 + 1, 8 + 64).into_iter().skip(8).map(usize::from);
            let mut next = |below: usize| (random.next().unwrap() << 8 | random.next().unwrap()) % below;
            let mut frame = zoo[n % zoo.len()].1.clone();
            if next(2) == 0 {
                // A tag that is cut off is no frame for the kernel: it drops it before anybody sees it.
                let least = if matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]) { 20 } else { 14 };
                let length = least + next(frame.len() - least + 1);
                frame.truncate(length);
            }
            for _ in 0..next(8) {
                if frame.len() > 14 {
                    let at = 14 + next((frame.len() - 14).min(60));
                    frame[at] = next(256) as u8;
                }
            }
            frame
        })
        .collect()
}

#[test]
fn nonsense_is_copied() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let mut all = Vec::new();
    for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
        for burst in nonsense(&ethernet, 2000).chunks(250) {
            send(host, "eth0", burst);
            all.extend_from_slice(burst);
            wait_for_stats(&rig, "the burst", |stats| {
                packets(&tap(stats, "ingress")["seen"]) + packets(&tap(stats, "egress")["seen"]) >= all.len() as u64
            });
        }
    }
    let sent = packets(&peer(&rig.balanced(), "ids")["sent"]);
    assert_same_frames("nonsense", &all, &collector.take(sent as usize));
}

/// A frame that is received with a tag and sent on has it in the kernel's metadata when it leaves.
#[test]
fn tags_that_the_kernel_keeps_beside_a_frame_that_leaves_are_in_its_copy() {
    let rig = quiet_rig(1500);
    rig.mirror();
    rig.tool(&rig.host, "tc qdisc add dev eth1 clsact");
    rig.tool(
        &rig.host,
        "tc filter add dev eth1 ingress protocol all u32 match u32 0 0 action mirred egress redirect dev eth0",
    );
    let between = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let [a, b] = NOBODY;
    let tags = [(TPID_8021Q, 7), (TPID_8021AD, 9), (TPID_8021Q, 0xe00b)];
    let frames: Vec<Vec<u8>> = (1..=tags.len())
        .flat_map(|count| {
            let tagged = tags[..count].iter().fold(between.clone(), |tagged, (tpid, tci)| tagged.tag(*tpid, *tci));
            let v4 = tagged.clone().ipv4(a, b).udp(4000, 5000, &pattern(count as u64, 400));
            [v4, tagged.frame(0x1234, &pattern(count as u64, 100))]
        })
        .collect();

    let (client, collector) = (record(&rig.client, "eth0"), Collector::of(&rig));
    // The redirection takes the collector's ARP too: ask and answer before it matters.
    let mac = mac_text(rig.collector.mac("eth0").unwrap());
    rig.tool(&rig.host, &format!("ip neigh replace {COLLECTOR} lladdr {mac} nud permanent dev eth1"));
    send(&rig.collector, "eth0", &frames);
    assert_same_frames("copies", &frames, &collector.take(frames.len()));
    wait_for("the originals", || client.count().unwrap() >= frames.len());
    let originals: Vec<Vec<u8>> = client.finish().unwrap().into_iter().map(|frame| frame.bytes).collect();
    assert_eq!(originals, frames, "the originals, at the client");
    let stats = rig.balanced();
    assert_eq!(counter(&tap(&stats, "egress")["seen"]), size_of_all(&frames));
}

/// Datagrams of the host's own kernel leave with checksums that are not computed yet.
#[test]
fn unfinished_checksums_are_right_in_the_copies() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    let datagrams: Vec<Vec<u8>> = (0..200).map(|n| pattern(n, 20 + n as usize * 6)).collect();
    for offloads in ["as they come", "of eth1 off", "of eth0 off as well"] {
        host.send(&client, &datagrams);
        client.send(&host, &datagrams);
        assert_eq!(client.receive(datagrams.len()), datagrams, "offloads {offloads}");
        assert_eq!(host.receive(datagrams.len()), datagrams, "offloads {offloads}");
        wait_until_perfect(offloads, &originals, &collector, 1500);
        match offloads {
            "as they come" => rig.host.offloads_off("eth1").unwrap(),
            _ => rig.host.offloads_off("eth0").unwrap(),
        }
    }
    assert_eq!(collector.copies().iter().map(|copy| datagram(&copy.bytes).len()).sum::<usize>(), 6 * size(&datagrams));
    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "ids")["sent"]), 6 * 200);
}

/// As a virtual machine sends them that does its own tagging.
#[test]
fn unfinished_checksums_behind_tags_are_right_in_the_copies() {
    for offloads in [true, false] {
        let rig = quiet_rig(1500);
        if !offloads {
            rig.host.offloads_off("eth1").unwrap();
        }
        rig.mirror();
        let collector = Collector::of(&rig);
        let mut finished = Vec::new();
        for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
            let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
            for tags in 0..=3 {
                let tagged = (0..tags).fold(ethernet.clone(), |tagged, n| tagged.tag(TPID_8021Q, 7 + n));
                let frame = tagged.ipv4(NOBODY[0], NOBODY[1]).udp(4000, 5000, &pattern(tags.into(), 777));
                let start = 34 + 4 * usize::from(tags);
                let unfinished = as_super_packet(frame.clone(), 17, start, 6);
                assert_ne!(unfinished, frame);
                sender.send_offloaded(&unfinished, None, Checksum::NotReady { start, offset: 6 }).unwrap();
                finished.push(frame);
            }
        }
        assert_same_frames("finished", &finished, &collector.take(finished.len()));
        let stats = rig.balanced();
        assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
    }
}

fn size(datagrams: &[Vec<u8>]) -> usize {
    datagrams.iter().map(Vec::len).sum()
}

/// A bulk transfer each way, with super-packets where the offloads make some. Copies are the same, byte for byte, and
/// fit the underlay; the books agree with what was on the wire. Returns the sizes that the super-packets of the originals and
/// of the copies are cut to.
fn tcp_each_way(rig: &Rig, underlay_mtu: usize, length: usize) -> [BTreeSet<u16>; 2] {
    // A full segment that goes alone would leave in fragments.
    rig.mirror_with(&["--oversize", "drop"]);
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(rig));
    transfer(&rig.client, &rig.host, HOST, length);
    transfer(&rig.host, &rig.client, CLIENT, length);
    let (fitting, copies) = wait_until_perfect("TCP", &originals, &collector, underlay_mtu);
    let originals = originals.finish().unwrap();

    let stats = rig.balanced();
    let both_ways = |frames: &[Frame]| {
        let mut sum = wire_size(frames, false);
        sum += wire_size(frames, true);
        sum
    };
    for (direction, outgoing) in [("ingress", false), ("egress", true)] {
        let tap = tap(&stats, direction);
        assert_eq!(counter(&tap["seen"]), wire_size(&originals, outgoing), "{direction}: {stats}");
        assert_eq!(packets(&tap["lost"]), 0, "{stats}");
    }
    let ids = peer(&stats, "ids");
    assert_eq!(counter(&ids["sent"]), both_ways(&fitting), "{stats}");
    // A tail of a transfer that is no super-packet may be too long for the underlay.
    let long: Vec<Frame> = originals.iter().filter(|frame| !fits(frame, underlay_mtu)).cloned().collect();
    assert_eq!(counter(&ids["lost"]), both_ways(&long), "{stats}");
    assert_eq!(ids["reasons"]["too_big"], ids["lost"], "{stats}");
    for copy in &copies {
        // The outer IP packet: 36 bytes and the frame inside; of a super-packet, that of each segment.
        let frame = copy.gso.map_or(copy.bytes.len(), |gso| 66 + usize::from(gso.size));
        assert!(frame + 36 <= underlay_mtu, "{} bytes, {:?}", copy.bytes.len(), copy.gso);
    }
    let sizes = |gsos: &mut dyn Iterator<Item = Gso>| gsos.map(|gso| gso.size).collect();
    [sizes(&mut originals.iter().filter_map(|frame| frame.gso)), sizes(&mut copies.iter().filter_map(|copy| copy.gso))]
}

const BULK: usize = 3_000_000;
/// Ethernet's 1500 bytes without the headers of IPv4 and TCP and its timestamps.
const SEGMENT: u16 = 1448;

#[test]
fn tcp_super_packets_are_copied_in_smaller_segments_where_the_underlay_has_no_room() {
    let rig = quiet_rig(1500);
    let [originals, copies] = tcp_each_way(&rig, 1500, BULK);
    assert!(originals.contains(&SEGMENT), "no super-packet, nothing tested: {originals:?}");
    assert!(copies.contains(&(SEGMENT - 50)), "{copies:?}");
}

#[test]
fn tcp_super_packets_keep_their_segments_where_the_underlay_has_room() {
    let rig = quiet_rig(1600);
    let [originals, copies] = tcp_each_way(&rig, 1600, BULK);
    assert!(originals.contains(&SEGMENT), "no super-packet, nothing tested: {originals:?}");
    assert_eq!(copies, originals);
}

#[test]
fn tcp_is_copied_through_an_underlay_without_offloads() {
    let rig = quiet_rig(1500);
    rig.host.offloads_off("eth1").unwrap();
    let [originals, copies] = tcp_each_way(&rig, 1500, BULK);
    assert!(originals.contains(&SEGMENT), "no super-packet, nothing tested: {originals:?}");
    assert_eq!(copies, BTreeSet::new(), "super-packets on an interface that cannot cut them");
}

#[test]
fn tcp_is_copied_through_a_larger_underlay_without_offloads() {
    let rig = quiet_rig(1600);
    rig.host.offloads_off("eth1").unwrap();
    let [_, copies] = tcp_each_way(&rig, 1600, BULK);
    assert_eq!(copies, BTreeSet::new());
}

/// The client's kernel cuts what it sends; the host's does so behind the tap, which still sees super-packets.
#[test]
fn tcp_of_interfaces_without_offloads_is_copied() {
    let rig = quiet_rig(1600);
    rig.host.offloads_off("eth0").unwrap();
    rig.client.offloads_off("eth0").unwrap();
    let [originals, copies] = tcp_each_way(&rig, 1600, BULK);
    assert_eq!(originals, BTreeSet::new());
    assert_eq!(copies, [SEGMENT].into());
}

#[test]
fn tcp_over_ipv6_is_copied() {
    let rig = quiet_rig(1600);
    for (host, address) in [(&rig.client, "2001:db8::1/64"), (&rig.host, "2001:db8::2/64")] {
        sysctl(host, "net/ipv6/conf/eth0/disable_ipv6", "0");
        rig.tool(host, &format!("ip address add {address} dev eth0 nodad"));
    }
    rig.mirror();
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    transfer(&rig.client, &rig.host, "2001:db8::2", BULK);
    transfer(&rig.host, &rig.client, "2001:db8::1", BULK);
    let (originals, copies) = wait_until_perfect("TCP over IPv6", &originals, &collector, 1600);
    assert!(originals.iter().any(|frame| frame.gso.is_some_and(|gso| gso.kind == GsoKind::Tcp6)));
    assert!(copies.iter().any(|copy| copy.gso.is_some_and(|gso| gso.kind == GsoKind::Tcp6)));
    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
}

/// The kernel cuts a UDP super-packet for the application; its copies are what it was cut into.
#[test]
fn udp_super_packets_are_copied_segment_by_segment() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    // 60 full segments and one short, and two that have a single one.
    let lengths = [60 * 1000 + 500, 1000, 12];
    let datagrams: Vec<Vec<u8>> = (0..).zip(lengths).map(|(n, length)| pattern(n, length)).collect();
    let segments: Vec<Vec<u8>> =
        datagrams.iter().flat_map(|datagram| datagram.chunks(1000).map(<[u8]>::to_vec)).collect();
    assert_eq!(segments.len(), 63);
    let mut expected = Vec::new();
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.segment(1000);
        from.send(to, &datagrams);
        assert_eq!(to.receive(segments.len()), segments, "the application's own");
        expected.extend(segments.iter().cloned());
        let copies = collector.take(expected.len());
        let arrived: Vec<Vec<u8>> = copies.iter().map(|copy| datagram(&copy.bytes)).collect();
        assert!(arrived == expected, "{} of {} segments arrived, or in another order", arrived.len(), expected.len());
        assert!(copies.iter().all(|copy| copy.gso.is_none()));
    }
    let originals = originals.finish().unwrap();
    assert!(originals.iter().any(|frame| frame.gso.is_some_and(|gso| gso.kind == GsoKind::Udp)), "nothing tested");
    let stats = rig.balanced();
    let one_way = WireSize { packets: 63, bytes: (size(&segments) + 63 * 42) as u64 };
    for direction in ["ingress", "egress"] {
        for key in ["seen", "cloned", "copies"] {
            assert_eq!(counter(&tap(&stats, direction)[key]), one_way, "{direction} {key}");
        }
    }
    assert_eq!(counter(&peer(&stats, "ids")["sent"]), WireSize { packets: 126, bytes: 2 * one_way.bytes }, "{stats}");
}

/// Super-packets made by hand, as a virtual machine would send them.
#[test]
fn super_packets_of_a_packet_socket_are_copied_as_the_kernel_cuts_them() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let data = pattern(5, 10_000);
    let mut expected = Vec::new();
    for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
        let packets = unanswered(ethernet);
        let whole = as_super_packet(packets.clone().id(500).udp(4000, 5000, &data), 17, 34, 6);
        let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
        let gso = Gso { kind: GsoKind::Udp, size: 1200 };
        sender.send_offloaded(&whole, Some(gso), Checksum::NotReady { start: 34, offset: 6 }).unwrap();
        expected
            .extend((500..).zip(data.chunks(1200)).map(|(id, piece)| packets.clone().id(id).udp(4000, 5000, piece)));
        assert_same_frames("segments", &expected, &collector.take(expected.len()));
    }
    let stats = rig.balanced();
    assert_eq!(counter(&peer(&stats, "ids")["sent"]), size_of_all(&expected));
}

#[test]
fn what_does_not_fit_is_lost_as_too_big_and_reaches_its_own_receiver() {
    let rig = quiet_rig(1500);
    rig.mirror_with(&["--oversize", "drop"]);
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let collector = Collector::of(&rig);
    // The outer headers take 36 bytes of the underlay's 1500, the inner ones 42 of the frame's 1464.
    let datagrams: Vec<Vec<u8>> = (1400..=1472).map(|length| pattern(length, length as usize)).collect();
    let (fit, big): (Vec<_>, Vec<_>) = datagrams.iter().cloned().partition(|datagram| 42 + datagram.len() <= 1464);
    assert_eq!((fit.len(), big.len()), (23, 50));
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.send(to, &datagrams);
        assert_eq!(to.receive(datagrams.len()), datagrams, "production");
    }
    let copied: Vec<Vec<u8>> = collector.take(2 * fit.len()).iter().map(|copy| datagram(&copy.bytes)).collect();
    assert!(copied == [fit.clone(), fit].concat());
    let stats = rig.balanced();
    let ids = peer(&stats, "ids");
    let lost = WireSize { packets: 100, bytes: 2 * (size(&big) + 50 * 42) as u64 };
    assert_eq!(counter(&ids["reasons"]["too_big"]), lost, "{stats}");
    assert_eq!(counter(&ids["lost"]), lost);
    assert_eq!(packets(&ids["sent"]), 46);
}

#[test]
fn tcp_segments_that_do_not_fit_are_lost_and_the_transfer_is_unharmed() {
    let rig = quiet_rig(1500);
    rig.client.offloads_off("eth0").unwrap();
    rig.mirror_with(&["--oversize", "drop"]);
    let originals = record(&rig.host, "eth0");
    // 300,000 bytes in segments of 1448: 207 full ones, or nearly.
    transfer(&rig.client, &rig.host, HOST, 300_000);
    let stats = rig.balanced();
    let ids = peer(&stats, "ids");
    let lost = counter(&ids["reasons"]["too_big"]);
    assert!(lost.packets >= 207 - 10, "{stats}");
    let mut big = WireSize { packets: 0, bytes: 0 };
    wait_for("just the segments that do not fit", || {
        let sizes = |frames: &[Frame]| {
            frames.iter().map(|frame| frame.bytes.len() as u64).filter(|size| *size > 1464).collect()
        };
        let sizes: Vec<u64> = originals.with(sizes).unwrap();
        big = WireSize { packets: sizes.len() as u64, bytes: sizes.iter().sum() };
        big.packets >= lost.packets
    });
    assert_eq!(lost, big, "{stats}");
    assert_eq!(reasons(ids), ["too_big"]);
}

/// The client is collector too: copies leave through the interface that is being mirrored.
#[test]
fn copies_that_leave_through_the_mirrored_interface_are_not_mirrored_again() {
    let rig = quiet_rig(1500);
    assert!(rig.client.add_vxlan("vx0", VNI, format!("{CLIENT}:4789").parse().unwrap()).unwrap());
    sysctl(&rig.client, "net/ipv6/conf/vx0/disable_ipv6", "1");
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", CLIENT, VNI, &[]);
    let decoded = record(&rig.client, "vx0");
    let inbound = udp_frames(&client_to_host(&rig), 0..500, 300);
    let outbound = udp_frames(&host_to_client(&rig), 500..1000, 300);
    send(&rig.client, "eth0", &inbound);
    send(&rig.host, "eth0", &outbound);
    let stats = wait_for_stats(&rig, "a copy of each", |stats| packets(&peer(stats, "ids")["sent"]) == 1000);
    wait_for("the copies", || decoded.count().unwrap() >= 1000);
    let copies: Vec<Vec<u8>> = decoded.finish().unwrap().into_iter().map(|frame| frame.bytes).collect();
    assert_same_frames("copies", &[inbound, outbound].concat(), &copies);
    let rest = rig.balanced();
    assert_eq!(rest, stats, "it has come to rest");
    let egress = tap(&rest, "egress");
    assert_eq!(counter(&egress["own"]), WireSize { packets: 1000, bytes: 1000 * 350 }, "{rest}");
    assert_eq!(packets(&egress["seen"]), 1500);
    assert_eq!(packets(&egress["selected"]), 500);
    assert_eq!(packets(&tap(&rest, "ingress")["seen"]), 500);
}

/// Nobody listens at the client's port: its kernel answers copies with ICMP errors, which arrive at the mirrored
/// interface. Mirrored, each would cause the next one.
#[test]
fn icmp_errors_about_copies_are_not_mirrored() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", CLIENT, VNI, &[]);
    send(&rig.client, "eth0", &udp_frames(&client_to_host(&rig), 0..10, 300));
    let stats = wait_for_stats(&rig, "an ICMP error", |stats| packets(&tap(stats, "ingress")["seen"]) > 10);
    let ingress = tap(&stats, "ingress");
    assert_eq!(packets(&ingress["selected"]), 10, "{stats}");
    assert_eq!(packets(&ingress["own"]), packets(&ingress["seen"]) - 10, "{stats}");
    rig.balanced();
}

/// Another host mirrors to the same collector, and its copies pass through here. Its tunnel is traffic as any other, and
/// so are ICMP errors about it; our own tunnel is ours without its mark, too.
#[test]
fn other_hosts_tunnels_to_the_same_collector_are_mirrored() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let ethernet = client_to_host(&rig);
    let inner = unanswered(ethernet.clone()).udp(4000, 5000, &pattern(1, 100));
    let vxlan = |vni: u8| [&[8, 0, 0, 0, 0, 0, vni, 0][..], &inner].concat();
    let [us, other, collectors] = [ip(UNDERLAY), NOBODY[0], ip(COLLECTOR)];
    let copy = |src, dst, port, vni| ethernet.clone().ipv4(src, dst).udp(50_000, port, &vxlan(vni));
    let error_about = |packet: &[u8]| {
        let message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &packet[14..42]].concat();
        ethernet.clone().ipv4(NOBODY[1], NOBODY[0]).protocol(1, &message)
    };
    let ours = copy(us, collectors, 4789, 42);
    let foreign = [
        copy(other, collectors, 4789, 42),
        copy(us, other, 4789, 42),
        copy(us, collectors, 4790, 42),
        copy(us, collectors, 4789, 41),
        copy(collectors, us, 4789, 42),
        error_about(&copy(other, collectors, 4789, 42)),
        error_about(&copy(us, collectors, 4790, 42)),
        unanswered(ethernet.clone()).echo_request(3, 3, &ours[14..]),
        inner.clone(),
    ];
    let collector = Collector::of(&rig);
    send(&rig.client, "eth0", &[ours.clone(), error_about(&ours)]);
    send(&rig.client, "eth0", &foreign);
    assert_same_frames("copies", &foreign, &collector.take(foreign.len()));
    let stats = rig.balanced();
    assert_eq!(packets(&tap(&stats, "ingress")["own"]), 2, "{stats}");
    assert_eq!(packets(&tap(&stats, "ingress")["selected"]), foreign.len() as u64, "{stats}");
}

#[test]
fn mark_and_priority_of_the_original_stay() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let datagrams: Vec<Vec<u8>> = (0..100).map(|n| pattern(n, 300)).collect();
    let collector = Collector::of(&rig);

    let wire = Marks::listen(&rig.host, "eth0");
    host.mark(7, 5);
    host.send(&client, &datagrams);
    assert_eq!(client.receive(datagrams.len()), datagrams);
    assert_eq!(wire.heard(), vec![(7, 5); datagrams.len()], "behind the tap, on its way out");

    let received = host.marks();
    client.send(&host, &datagrams);
    let mut heard = Vec::new();
    wait_for("the host's application", || {
        heard.extend(received.heard());
        heard.len() >= datagrams.len()
    });
    assert_eq!(heard, vec![(0, 0); datagrams.len()], "behind the tap, on its way in");

    assert_eq!(collector.take(200).len(), 200);
    rig.balanced();
}

#[test]
fn production_loses_nothing_while_every_peer_is_dead() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "silent", "10.2.0.99", 1, &[]);
    add_peer(&rig, "nowhere", "203.0.113.1", 2, &["--local", UNDERLAY]);
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let datagrams: Vec<Vec<u8>> = (0..10_000).map(|n| pattern(n, 18 + n as usize % 1400)).collect();
    for burst in datagrams.chunks(250) {
        client.send(&host, burst);
        assert_eq!(host.receive(burst.len()), burst, "what the host's application received");
        host.send(&client, burst);
        assert_eq!(client.receive(burst.len()), burst, "what the client's application received");
    }
    let stats = rig.balanced();
    assert_eq!(packets(&tap(&stats, "ingress")["seen"]), 10_000);
    assert_eq!(packets(&tap(&stats, "egress")["seen"]), 10_000);
    assert_eq!(packets(&peer(&stats, "nowhere")["reasons"]["no_route"]), 20_000, "{stats}");
    assert_eq!(reasons(peer(&stats, "silent")), ["no_neighbour"]);
}

/// TCP super-packets with tags: received ones have the outermost in the kernel's metadata, sent ones in the payload.
#[test]
fn super_packets_with_tags_are_copied() {
    let data = pattern(5, 10_000);
    for (tags, offloads) in [(1, true), (1, false), (2, true), (2, false)] {
        let rig = quiet_rig(1600);
        if !offloads {
            rig.host.offloads_off("eth1").unwrap();
        }
        rig.mirror();
        let mut expected = Vec::new();
        let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
        for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
            let tagged = (0..tags).fold(ethernet, |ethernet, n| ethernet.tag(TPID_8021Q, 7 + n));
            let packets = tagged.ipv4(NOBODY[0], NOBODY[1]);
            let segment = |n: usize, data| {
                let seq = 1_000_000 + n as u32 * 1400;
                let tcp = Tcp { sport: 4000, dport: 5001, seq, ack: 2, flags: TCP_ACK, window: 500 };
                packets.clone().id(500 + n as u16).tcp(tcp, data)
            };
            let start = 34 + 4 * usize::from(tags);
            let whole = as_super_packet(segment(0, &data), 6, start, 16);
            let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
            let gso = Gso { kind: GsoKind::Tcp4, size: 1400 };
            sender.send_offloaded(&whole, Some(gso), Checksum::NotReady { start, offset: 16 }).unwrap();
            expected.extend(data.chunks(1400).enumerate().map(|(n, piece)| segment(n, piece)));
        }
        let (_, copies) = wait_until_perfect(&format!("{tags} tags"), &originals, &collector, 1600);
        if !offloads {
            assert_same_frames(&format!("{tags} tags"), &expected, &copies);
        }
        let stats = rig.balanced();
        assert_eq!(counter(&peer(&stats, "ids")["sent"]), size_of_all(&expected), "{tags} tags, {offloads}: {stats}");
    }
}

/// The receiving interface joins segments to super-packets.
#[test]
fn what_the_kernel_has_joined_is_copied() {
    let rig = quiet_rig(1600);
    rig.client.offloads_off("eth0").unwrap();
    rig.tool(&rig.host, "ethtool -K eth0 gro on");
    rig.mirror();
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    transfer(&rig.client, &rig.host, HOST, BULK);
    let (originals, _) = wait_until_perfect("TCP", &originals, &collector, 1600);
    assert!(originals.iter().any(|frame| frame.gso.is_some() && !frame.outgoing), "nothing joined, nothing tested");
    rig.balanced();
}

/// The host as a router between the client and a server: eth2 is the way to it.
fn routed_rig() -> (Rig, Host) {
    let rig = quiet_rig(1600);
    let server = Host::new("server").unwrap();
    cable((&rig.host, "eth2", "10.5.0.1"), (&server, "eth0", SERVER), 1500);
    sysctl(&server, "net/ipv6/conf/all/disable_ipv6", "1");
    sysctl(&rig.host, "net/ipv6/conf/all/disable_ipv6", "1");
    sysctl(&rig.host, "net/ipv4/ip_forward", "1");
    rig.tool(&rig.client, &format!("ip route add default via {HOST}"));
    rig.tool(&server, "ip route add default via 10.5.0.1");
    rig.client.offloads_off("eth0").unwrap();
    (rig, server)
}

const SERVER: &str = "10.5.0.2";

/// Joined as a list of the packets received, to be forwarded as they were.
#[test]
fn tcp_that_the_kernel_has_joined_to_be_forwarded_is_copied() {
    for kind in ["rx-gro-list off", "rx-gro-list on"] {
        let (rig, server) = routed_rig();
        rig.tool(&rig.host, &format!("ethtool -K eth0 gro on {kind}"));
        rig.mirror();
        let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
        transfer(&rig.client, &server, SERVER, 1_000_000);
        transfer(&server, &rig.client, CLIENT, 1_000_000);
        let (originals, _) = wait_until_perfect(kind, &originals, &collector, 1600);
        assert!(originals.iter().any(|frame| frame.gso.is_some() && !frame.outgoing), "nothing joined, nothing tested");
        rig.balanced();
    }
}

#[test]
fn udp_that_the_kernel_has_joined_to_be_forwarded_is_copied() {
    for kind in ["rx-udp-gro-forwarding on", "rx-gro-list on"] {
        let (rig, server) = routed_rig();
        rig.tool(&rig.host, &format!("ethtool -K eth0 gro on {kind}"));
        rig.mirror();
        let (client, there) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&server, SERVER, 7000));
        let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
        client.segment(1000);
        let data = pattern(1, 20_000);
        client.send(&there, std::slice::from_ref(&data));
        let segments: Vec<Vec<u8>> = data.chunks(1000).map(<[u8]>::to_vec).collect();
        assert_eq!(there.receive(20), segments, "the application's own");
        let arrived: Vec<Vec<u8>> = collector.take(20).iter().map(|copy| datagram(&copy.bytes)).collect();
        assert!(arrived == segments, "{kind}: {} segments arrived", arrived.len());
        assert!(originals.finish().unwrap().iter().any(|frame| frame.gso.is_some()), "{kind}: nothing joined");
        let stats = rig.balanced();
        assert_eq!(packets(&peer(&stats, "ids")["sent"]), 20, "{stats}");
        assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
    }
}

/// The mirrored interface carries an overlay: its packets are in a tunnel already, super-packets too.
#[test]
fn the_traffic_of_an_overlay_network_is_copied() {
    for (offloads, checksum) in [(true, "noudpcsum"), (true, "udpcsum"), (false, "noudpcsum"), (false, "udpcsum")] {
        let rig = quiet_rig(1600);
        if !offloads {
            rig.host.offloads_off("eth1").unwrap();
        }
        for (host, local, remote, address) in
            [(&rig.client, CLIENT, HOST, "10.9.0.1"), (&rig.host, HOST, CLIENT, "10.9.0.2")]
        {
            let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4790 {checksum}");
            rig.tool(host, &format!("ip link add ov0 type {tunnel} dev eth0"));
            sysctl(host, "net/ipv6/conf/ov0/disable_ipv6", "1");
            rig.tool(host, &format!("ip address add {address}/24 dev ov0"));
            rig.tool(host, "ip link set dev ov0 up");
        }
        rig.mirror();
        let (originals, collector) = (record(&rig.host, "ov0"), Collector::of(&rig));
        transfer(&rig.client, &rig.host, "10.9.0.2", 500_000);
        transfer(&rig.host, &rig.client, "10.9.0.1", 500_000);

        let inner = |copy: &Copy| {
            let mut packet = copy.bytes.clone();
            if checksum == "udpcsum" {
                datagram(&packet);
                packet[40..42].fill(0);
            }
            let (outer, frame) = vxlan_bytes(&packet, false).unwrap();
            assert_eq!((outer.vni, outer.dport), (7, 4790));
            Packet::new(frame.to_vec(), copy.gso)
        };
        let mut last = String::new();
        wait_for("each frame of the overlay", || {
            let originals = originals.with(<[Frame]>::to_vec).unwrap();
            let originals: Vec<Packet<'_>> = originals.iter().map(Packet::captured).collect();
            let copies: Vec<Packet<'_>> = collector.copies().iter().map(inner).collect();
            let result = compare(&originals, &copies);
            last = format!("{:?} {:?}", result.fates, result.strangers().collect::<Vec<_>>());
            result.is_perfect()
        });
        assert!(originals.finish().unwrap().iter().any(|frame| frame.gso.is_some()), "no super-packet, nothing tested");
        let stats = rig.balanced();
        assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
    }
}

#[test]
fn jumbo_frames_are_copied_where_the_underlay_has_room() {
    let rig = quiet_rig(16_000);
    for host in [&rig.client, &rig.host] {
        rig.tool(host, "ip link set dev eth0 mtu 15000");
    }
    rig.mirror();
    let collector = Collector::of(&rig);
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let lengths = [1500, 4000, 8958, 9000, 14_000, 14_972];
    let datagrams: Vec<Vec<u8>> = (0..).zip(lengths).map(|(n, length)| pattern(n, length)).collect();
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.send(to, &datagrams);
        assert_eq!(to.receive(datagrams.len()), datagrams);
    }
    let frames =
        [udp_frames(&client_to_host(&rig), 0..5, 9014), udp_frames(&client_to_host(&rig), 5..9, 15_014)].concat();
    send(&rig.client, "eth0", &frames);
    send(&rig.host, "eth0", &frames);
    let copies = collector.take(2 * (datagrams.len() + frames.len()));
    let arrived: Vec<Vec<u8>> = copies.iter().map(|copy| datagram(&copy.bytes)).collect();
    let sent: Vec<Vec<u8>> = frames.iter().map(|frame| datagram(frame)).collect();
    assert!(arrived == [&datagrams[..], &datagrams, &sent, &sent].concat());
    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
}

#[test]
fn production_with_larger_packets_than_the_underlay_is_unharmed() {
    let rig = quiet_rig(1500);
    for host in [&rig.client, &rig.host] {
        rig.tool(host, "ip link set dev eth0 mtu 60000");
    }
    rig.mirror_with(&["--oversize", "drop"]);
    transfer(&rig.client, &rig.host, HOST, 2_000_000);
    transfer(&rig.host, &rig.client, CLIENT, 2_000_000);
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let datagrams: Vec<Vec<u8>> = (0..20).map(|n| pattern(n, 2000 + 2500 * n as usize)).collect();
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.send(to, &datagrams);
        assert_eq!(to.receive(datagrams.len()), datagrams);
    }
    let stats = rig.balanced();
    assert_eq!(reasons(peer(&stats, "ids")), ["too_big"], "{stats}");
    assert!(packets(&peer(&stats, "ids")["lost"]) >= 40, "{stats}");
}

/// Above 16 KiB there is no way to grow a frame that is not a super-packet: such a frame leaves in fragments, whatever the
/// path's MTU.
#[test]
fn frames_longer_than_the_kernel_can_grow_leave_in_fragments() {
    let rig = quiet_rig(65_535);
    for host in [&rig.client, &rig.host] {
        rig.tool(host, "ip link set dev eth0 mtu 60000");
    }
    rig.tool(&rig.collector, "sysctl -qw net.ipv4.ipfrag_high_thresh=100000000");
    rig.mirror();
    let decoded = record(&rig.collector, "vx0");
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let datagrams: Vec<Vec<u8>> = (0..20).map(|n| pattern(n, 17_000 + 2000 * n as usize)).collect();
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.send(to, &datagrams);
        assert_eq!(to.receive(datagrams.len()), datagrams);
    }
    wait_for("the copies", || decoded.count().unwrap() >= 40);
    let copies = decoded.finish().unwrap();
    let arrived: Vec<Vec<u8>> = copies.iter().map(|copy| datagram(&copy.bytes)).collect();
    assert!(arrived == [&datagrams[..], &datagrams].concat());
    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "ids")["sent"]), 40, "{stats}");
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
}

/// The way to the collector is mirrored as well: what else goes there is copied, the copies are not.
#[test]
fn the_underlay_can_be_mirrored_too() {
    let rig = quiet_rig(1500);
    rig.mirror();
    rig.ebmirror(&["attach", "eth1"]).ok();
    let decoded = record(&rig.collector, "vx0");
    let frames = udp_frames(&client_to_host(&rig), 0..200, 300);
    let underlay = Ethernet::new(rig.host.mac("eth1").unwrap(), rig.collector.mac("eth0").unwrap());
    let others = udp_frames(&underlay, 200..300, 300);
    send(&rig.client, "eth0", &frames);
    send(&rig.host, "eth1", &others);
    wait_for("the copies", || decoded.count().unwrap() >= 300);
    let stats = rig.balanced();
    let copies: Vec<Vec<u8>> = decoded.finish().unwrap().into_iter().map(|frame| frame.bytes).collect();
    // ARP on the underlay is copied as well.
    let copies: Vec<Vec<u8>> = copies.into_iter().filter(|copy| copy[12..14] == [8, 0]).collect();
    assert_same_frames("copies", &[frames, others].concat(), &copies);
    let sent = packets(&peer(&stats, "ids")["sent"]);
    let rows = stats["interfaces"].as_array().unwrap();
    let egress = rows.iter().find(|row| row["interface"] == "eth1" && row["direction"] == "egress").unwrap();
    assert_eq!(packets(&egress["own"]), sent, "{stats}");
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0);
}

/// BIG TCP: super-packets beyond 64 KiB.
#[test]
fn super_packets_beyond_64_kib_are_copied() {
    for underlay_offloads in [true, false] {
        let rig = quiet_rig(1600);
        for (host, address) in [(&rig.client, "2001:db8::1/64"), (&rig.host, "2001:db8::2/64")] {
            sysctl(host, "net/ipv6/conf/eth0/disable_ipv6", "0");
            rig.tool(host, &format!("ip address add {address} dev eth0 nodad"));
            rig.tool(host, "ip link set dev eth0 gso_max_size 180000");
        }
        if !underlay_offloads {
            rig.host.offloads_off("eth1").unwrap();
        }
        rig.mirror();
        let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
        transfer(&rig.client, &rig.host, "2001:db8::2", BULK);
        transfer(&rig.host, &rig.client, "2001:db8::1", BULK);
        let (originals, _) = wait_until_perfect("BIG TCP", &originals, &collector, 1600);
        let longest = originals.iter().map(|frame| frame.bytes.len()).max().unwrap();
        assert!(longest > 70_000, "the longest is {longest}: nothing tested");
        rig.balanced();
    }
}
