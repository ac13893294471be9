//! What a review of the datapath found: rare packets, and devices in rare states. Each test fails without its repair.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/flows.rs"]
mod flows;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use common::traffic::{
    NOBODY, add_peer, cable, client_to_host, counter, host_to_client, packets, peer, quiet_rig, reasons, record, send,
    size_of_all, sysctl, tap, transfer, udp_frames, wait_for_stats,
};
use common::{COLLECTOR, UNDERLAY};
use ebmirror::lab::capture::{Frame, Gso, GsoKind, Sender};
use ebmirror::lab::compare::{Packet, WireSize, compare};
use ebmirror::lab::frame::{TCP_ACK, Tcp, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::offload::Offloads;
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::segment::without_jumbo;
use flows::{
    Conversation, Datagrams, FAMILIES, NOBODY6, V4, V6, add_ids, address, delivered, difference, flow_rig, settle,
    stay_on_this_cpu, wire_frames,
};

/// The IP packets among the copies that a peer with this number got, as they came out of the tunnel.
fn inner(collector: &Recorder, number: u32) -> Vec<Vec<u8>> {
    let copies = collector.with(delivered).unwrap();
    copies.into_iter().filter(|copy| copy.number == number).map(|copy| copy.inner).collect()
}

/// What came in, as it is on the wire.
fn incoming(recorder: &Recorder) -> Vec<Vec<u8>> {
    recorder.with(|frames| wire_frames(frames.iter().filter(|frame| !frame.outgoing))).unwrap()
}

/// The same frames, in any order.
fn same(expected: &[Vec<u8>], found: &[Vec<u8>]) -> Result<(), String> {
    let sorted = |frames: &[Vec<u8>]| {
        let mut frames = frames.to_vec();
        frames.sort();
        frames
    };
    difference(&sorted(expected), &sorted(found)).map_or(Ok(()), Err)
}

/// One datagram that the kernel is to cut into IP fragments, as virtual machines send it: the headers of UDP are in the
/// first one alone.
#[test]
fn datagrams_that_the_kernel_fragments_are_copied_and_counted() {
    stay_on_this_cpu();
    let rig = flow_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "101", COLLECTOR, 101, &[]);
    add_peer(&rig, "102", COLLECTOR, 102, &["--snaplen", "200"]);
    let (wire, collector) = (record(&rig.client, "eth0"), record(&rig.collector, "eth0"));
    let sender = rig.host.run(|| Sender::open("eth0")).unwrap().unwrap();
    // The last fragment has from 4 bytes on; without the UDP header there would be one fragment less in some of these.
    for (number, length) in (0..).zip([1473, 2952, 2956, 2960, 4000, 4428, 4436, 4440, 20_000]) {
        for family in FAMILIES {
            let ip = match family {
                V4 => host_to_client(&rig).ipv4(NOBODY[0], NOBODY[1]).id(7 + number as u16),
                _ => host_to_client(&rig).ipv6(NOBODY6[0], NOBODY6[1]),
            };
            let size = if family == V4 { 1480 } else { 1448 };
            let (frame, _, checksum) = ip.udp_offloaded(4000, 5000, &pattern(number, length), None);
            sender.send_offloaded(&frame, Some(Gso { kind: GsoKind::UdpFragments, size }), checksum).unwrap();
        }
    }
    // The kernel draws a new number for the fragments of IPv6 each time that it cuts them.
    let unnumbered = |mut frame: Vec<u8>| {
        if frame[12..14] == [0x86, 0xdd] {
            frame[58..62].fill(0);
        }
        frame
    };
    let expected = settle("the fragments and their copies", || {
        let wire: Vec<Vec<u8>> = incoming(&wire).into_iter().map(unnumbered).collect();
        if wire.len() < 2 * (2 + 2 + 3 + 3 + 3 + 3 + 4 + 4 + 14) {
            return Err(format!("{} fragments on the wire", wire.len()));
        }
        for (number, limit) in [(101, usize::MAX), (102, 200)] {
            let expected: Vec<Vec<u8>> = wire.iter().map(|frame| frame[..frame.len().min(limit)].to_vec()).collect();
            let found: Vec<Vec<u8>> = inner(&collector, number).into_iter().map(unnumbered).collect();
            same(&expected, &found).map_err(|fault| format!("{number}: {fault}"))?;
        }
        Ok(wire)
    });
    let stats = rig.balanced();
    let all = size_of_all(&expected);
    let twice = WireSize { packets: 2 * all.packets, bytes: 2 * all.bytes };
    let egress = tap(&stats, "egress");
    for (key, size) in [("seen", all), ("selected", all), ("cloned", all), ("copies", twice)] {
        assert_eq!(counter(&egress[key]), size, "{key}: {stats}");
    }
    for name in ["101", "102"] {
        let peer = peer(&stats, name);
        assert_eq!((counter(&peer["selected"]), counter(&peer["sent"])), (all, all), "{name}: {stats}");
    }
}

/// Behind the Fragment header there may be more extension headers, which later fragments do not have.
#[test]
fn fragments_with_extension_headers_go_to_one_collector() {
    const GROUP: [u32; 2] = [11, 12];
    /// In front of the second fragment.
    const FIRST: usize = 504;
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for vni in GROUP {
        add_peer(&rig, &format!("peer-{vni}"), COLLECTOR, vni, &["--group", "pair"]);
    }
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let authentication = [&[17, 4, 0, 0][..], &[7; 20]].concat();
    let (udp, tcp) = (pattern(1, 1000), pattern(2, 1000));
    // In front of the Fragment header, what it says is next, and the rest.
    let kinds: [(bool, u8, Vec<u8>); 4] = [
        (false, 60, [&options(17)[..], &udp].concat()),
        (false, 60, [&options(60)[..], &options(6), &tcp].concat()),
        (false, 51, [&authentication[..], &udp].concat()),
        (true, 60, [&options(17)[..], &udp].concat()),
    ];
    let mut datagrams: Vec<[Vec<u8>; 2]> = Vec::new();
    for n in 1..=40 {
        for (hop_by_hop, next, data) in &kinds {
            let ip = client_to_host(&rig)
                .ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 2, 1));
            let id = (datagrams.len() as u32).to_be_bytes();
            datagrams.push([(1u16, &data[..FIRST], 0), (0, &data[FIRST..], FIRST as u16)].map(
                |(more, part, offset)| {
                    let fragment = [&[*next, 0][..], &(offset | more).to_be_bytes(), &id, part].concat();
                    if *hop_by_hop {
                        ip.protocol(0, &[&options(44)[..], &fragment].concat())
                    } else {
                        ip.protocol(44, &fragment)
                    }
                },
            ));
        }
    }
    let collector = record(&rig.collector, "eth0");
    for burst in datagrams.chunks(100) {
        send(&rig.client, "eth0", &burst.concat());
        let sent = burst.last().unwrap()[1].clone();
        settle("the copies", || {
            let copies = collector.with(delivered).unwrap();
            if copies.iter().any(|copy| copy.inner == sent) { Ok(()) } else { Err(format!("{}", copies.len())) }
        });
    }
    let copies = collector.with(delivered).unwrap();
    assert_eq!(copies.len(), 2 * datagrams.len());
    let number: BTreeMap<&[u8], u32> = copies.iter().map(|copy| (&copy.inner[..], copy.number)).collect();
    let split = datagrams.iter().filter(|[first, later]| number[&first[..]] != number[&later[..]]).count();
    assert_eq!(split, 0, "of {} datagrams", datagrams.len());
    assert_eq!(number.into_values().collect::<BTreeSet<_>>(), BTreeSet::from(GROUP));
    rig.balanced();
}

/// The kernel says of a device that is down, or has no carrier, that it is busy.
#[test]
fn a_span_whose_device_is_down_or_has_no_carrier_loses_its_copies_until_it_is_back() {
    const COUNT: u64 = 50;
    let rig = quiet_rig(1600);
    rig.tool(&rig.host, "ip link add span0 type veth peer name span1");
    for device in ["span0", "span1"] {
        sysctl(&rig.host, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1");
        rig.tool(&rig.host, &format!("ip link set {device} up"));
    }
    rig.ebmirror(&["attach", "eth0"]).ok();
    rig.ebmirror(&["peer", "add", "ids", "--tunnel", "span", "--dev", "span0"]).ok();
    let frames = udp_frames(&client_to_host(&rig), 0..COUNT, 200);
    // Sends one frame after the other until the kernel has noticed the change, then all.
    let phase = |what: &str, lost: bool| {
        settle(what, || {
            let before = packets(&peer(&rig.balanced(), "ids")["lost"]);
            send(&rig.client, "eth0", &frames[..1]);
            let after = packets(&peer(&rig.balanced(), "ids")["lost"]);
            if (after > before) == lost { Ok(()) } else { Err("the kernel does not notice".to_owned()) }
        });
        let before = rig.balanced();
        let before = peer(&before, "ids");
        let arrived = (!lost).then(|| record(&rig.host, "span1"));
        send(&rig.client, "eth0", &frames);
        let stats = wait_for_stats(&rig, what, |stats| {
            packets(&peer(stats, "ids")["selected"]) == packets(&before["selected"]) + COUNT
        });
        let after = peer(&stats, "ids");
        let more = |key: &str| packets(&after[key]) - packets(&before[key]);
        let expected = if lost { (0, COUNT) } else { (COUNT, 0) };
        assert_eq!((more("sent"), more("lost")), expected, "{what}: {stats}");
        assert_eq!(after["lost"], after["reasons"]["no_route"], "{what}: {stats}");
        if let Some(arrived) = arrived {
            settle(what, || same(&frames, &incoming(&arrived)));
        }
    };
    phase("at first", false);
    for qdisc in [false, true] {
        if qdisc {
            // As any network card has one.
            rig.tool(&rig.host, "tc qdisc add dev span0 root pfifo limit 1000");
        }
        rig.tool(&rig.host, "ip link set span0 down");
        phase(&format!("down, queue: {qdisc}"), true);
        rig.tool(&rig.host, "ip link set span0 up");
        phase(&format!("up again, queue: {qdisc}"), false);
        rig.tool(&rig.host, "ip link set span1 down");
        phase(&format!("no carrier, queue: {qdisc}"), true);
        rig.tool(&rig.host, "ip link set span1 up");
        phase(&format!("carrier again, queue: {qdisc}"), false);
    }
}

/// The frames arrive without the option, in packets that need no fragments. Over IPv6 they are super-packets as large as before: of
/// what is in IPv4, older versions of iproute2 cannot lift the limit.
#[test]
fn ipv6_super_packets_beyond_64_kib_are_copied_without_fragments() {
    const LENGTH: usize = 1_500_000;
    for (underlay, outer, directions) in
        [(V4, 50, &[("egress", true), ("ingress", false)][..]), (V6, 70, &[("egress", true)][..])]
    {
        let rig = flow_rig(1500);
        for (host, device) in
            [(&rig.client, "eth0"), (&rig.host, "eth0"), (&rig.host, "eth1"), (&rig.collector, "eth0")]
        {
            rig.tool(host, &format!("ip link set dev {device} gso_max_size 160000 gro_max_size 160000"));
        }
        let direction = if directions.len() == 2 { "both" } else { directions[0].0 };
        rig.ebmirror(&["attach", "eth0", "--direction", direction]).ok();
        add_ids(&rig, underlay, &[]);
        let (originals, collector) = (record(&rig.host, "eth0"), record(&rig.collector, "eth0"));
        transfer(&rig.host, &rig.client, V6.client, LENGTH);
        if direction == "both" {
            transfer(&rig.client, &rig.host, V6.host, LENGTH);
        }
        let capture = |recorder: &Recorder, wanted: &dyn Fn(&Frame) -> bool| -> Vec<Frame> {
            recorder.with(|frames| frames.iter().filter(|frame| wanted(frame)).cloned().collect()).unwrap()
        };
        let mirrored = |frame: &Frame| directions.iter().any(|(_, outgoing)| *outgoing == frame.outgoing);
        let stripped = |frame: &Frame, outer: usize| {
            let bytes = without_jumbo(frame.finished()[outer..].to_vec().into());
            Packet::new(bytes, frame.gso)
        };
        // The outer IP header's protocol: UDP, or in IPv6 that of a fragment.
        let protocol = |frame: &Frame| frame.bytes[if underlay == V4 { 23 } else { 20 }];
        let is_copy = |frame: &Frame| !frame.outgoing && matches!(protocol(frame), 17 | 44);
        let fragment = |frame: &Frame| protocol(frame) == 44 || (underlay == V4 && frame.bytes[20..22] != [0, 0]);
        settle(underlay.name, || {
            let (frames, copies) = (capture(&originals, &mirrored), capture(&collector, &is_copy));
            // A full segment that goes alone is no super-packet: it takes two fragments.
            let full = frames.iter().filter(|frame| frame.gso.is_none() && frame.bytes.len() + outer > 1514).count();
            let fragments = copies.iter().filter(|frame| fragment(frame)).count();
            let before: Vec<Packet<'_>> = frames.iter().map(|frame| stripped(frame, 0)).collect();
            let arrived = inner(&collector, underlay.vni);
            let after: Vec<Packet<'_>> = arrived.iter().map(|copy| Packet::new(copy.as_slice(), None)).collect();
            let has_options = |copy: &Vec<u8>| copy[12..14] == [0x86, 0xdd] && copy[20] == 0;
            assert!(!arrived.iter().any(has_options), "{}: a segment with the option", underlay.name);
            let whole = copies.len() - fragments;
            let right = fragments == 2 * full && (underlay == V4 || whole == before.len() - full);
            let result = compare(&before, &after);
            if right && result.is_perfect() {
                return Ok(());
            }
            let strangers = result.strangers().count();
            Err(format!(
                "{} packets, {full} of them alone and full; of their copies {whole} whole, {fragments} fragments; {strangers} strangers",
                before.len()
            ))
        });
        let frames = capture(&originals, &mirrored);
        let stats = rig.balanced();
        for (direction, outgoing) in directions {
            let mine = || frames.iter().filter(|frame| frame.outgoing == *outgoing);
            let long = mine().filter(|frame| frame.bytes.len() > 65_600).count();
            assert!(long > 0, "{direction}: no super-packet of more than 64 KiB, nothing tested");
            let mut size = WireSize::default();
            mine().for_each(|frame| size += stripped(frame, 0).wire_size());
            assert_eq!(counter(&tap(&stats, direction)["seen"]), size, "{direction}, {long} long ones");
        }
        assert_eq!(reasons(peer(&stats, "ids")), Vec::<&str>::new());
    }
}

/// One packet that costs more than a full bucket holds: it passes, and is paid for before the next one.
#[test]
fn super_packets_larger_than_the_burst_pass_at_the_rate() {
    const WINDOW: Duration = Duration::from_millis(1200);
    // Bytes or packets a second; the size of a segment.
    let rates = [("5mbit", 625_000.0, 1448), ("6mbit", 750_000.0, 536), ("500pps", 500.0, 536), ("500pps", 500.0, 64)];
    for (rate, per_second, size) in rates {
        let rig = quiet_rig(1600);
        rig.ebmirror(&["attach", "eth0"]).ok();
        add_peer(&rig, "limited", COLLECTOR, 42, &["--rate", rate]);
        let tcp = Tcp { sport: 4000, dport: 5000, seq: 1, ack: 1, flags: TCP_ACK, window: 500 };
        let data = pattern(1, 65_160);
        let ip = host_to_client(&rig).ipv4(NOBODY[0], NOBODY[1]);
        let (frame, gso, checksum) = ip.tcp_offloaded(tcp, &data, Some(size));
        let each = Packet::new(frame.as_slice(), gso).wire_size();
        let cost = if rate.ends_with("pps") { each.packets } else { each.bytes } as f64 / per_second;
        let sender = rig.host.run(|| Sender::open("eth0")).unwrap().unwrap();
        let start = Instant::now();
        while start.elapsed() < WINDOW {
            sender.send_offloaded(&frame, gso, checksum).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = start.elapsed().as_secs_f64();
        let stats = rig.balanced();
        let limited = peer(&stats, "limited");
        let passed = (packets(&limited["sent"]) / each.packets) as f64;
        assert_eq!(counter(&limited["sent"]).bytes, passed as u64 * each.bytes);
        // The first one is free; the last one may be a moment away.
        let expected = 1.0 + took / cost;
        assert!(passed <= expected && passed >= 0.8 * expected - 1.0, "{rate}: {passed} of {expected}: {limited}");
        assert_eq!(reasons(limited), ["rate"]);
    }
}

/// Copies of ours that come by without the mark are known by their first fragment. Once the number is somebody else's,
/// the later ones are theirs.
#[test]
fn fragments_of_others_with_the_number_of_a_copy_are_copied() {
    const COUNT: u16 = 100;
    for family in FAMILIES {
        let rig = flow_rig(1600);
        rig.ebmirror(&["attach", "eth0", "--direction", "ingress"]).ok();
        add_ids(&rig, family, &[]);
        // A copy's first fragment and the rest; the same of ordinary UDP.
        let vxlan = [&[8, 0, 0, 0][..], &(family.vni << 8).to_be_bytes(), &pattern(1, 984)].concat();
        let datagram = |port: u16, data: &[u8]| {
            [&50_000u16.to_be_bytes()[..], &port.to_be_bytes(), &1000u16.to_be_bytes(), &[0, 0], data].concat()
        };
        let pieces = |n: u16, whole: &[u8]| match family {
            V4 => {
                let ip = client_to_host(&rig).ipv4(ip4(UNDERLAY), ip4(COLLECTOR)).id(n);
                [
                    ip.clone().fragment(true, 0).protocol(17, &whole[..504]),
                    ip.fragment(false, 63).protocol(17, &whole[504..]),
                ]
            }
            _ => {
                let [from, to] = [family.underlay, family.collector].map(|text| text.parse::<Ipv6Addr>().unwrap());
                let ip = client_to_host(&rig).ipv6(from, to);
                [(1u16, &whole[..504]), (504, &whole[504..])].map(|(place, part)| {
                    let header = [&[17, 0][..], &place.to_be_bytes(), &u32::from(n).to_be_bytes()].concat();
                    ip.protocol(44, &[&header, part].concat())
                })
            }
        };
        let collector = record(&rig.collector, "eth0");
        let copy = datagram(4789, &vxlan);
        send(&rig.client, "eth0", &(1..=COUNT).flat_map(|n| pieces(n, &copy)).collect::<Vec<_>>());
        let both = 2 * u64::from(COUNT);
        let ingress = |stats: &serde_json::Value, key: &str| packets(&tap(stats, "ingress")[key]);
        let stats = wait_for_stats(&rig, "the copies", |stats| ingress(stats, "seen") == both);
        assert_eq!(ingress(&stats, "own"), both, "{}: nothing known, nothing tested: {stats}", family.name);

        let ordinary: Vec<Vec<u8>> =
            (1..=COUNT).flat_map(|n| pieces(n, &datagram(53, &pattern(n.into(), 992)))).collect();
        send(&rig.client, "eth0", &ordinary);
        let stats = wait_for_stats(&rig, "the others", |stats| ingress(stats, "seen") == 2 * both);
        assert_eq!((ingress(&stats, "own"), ingress(&stats, "selected")), (both, both), "{}: {stats}", family.name);
        settle("the copies of the others", || same(&ordinary, &inner(&collector, family.vni)));
        rig.balanced();
    }
}

fn ip4(text: &str) -> std::net::Ipv4Addr {
    text.parse().unwrap()
}

/// The kernel does not shorten what it has encapsulated, and the checksum to be finished is that of the inner packet.
#[test]
fn tcp_of_an_overlay_is_copied_cut_and_fragmented() {
    stay_on_this_cpu();
    for offloads in [Offloads::ON.with("gro", false), Offloads::OFF] {
        let rig = flow_rig(1500);
        for (host, local, remote, inside) in
            [(&rig.client, V4.client, V4.host, "10.9.0.1"), (&rig.host, V4.host, V4.client, "10.9.0.2")]
        {
            let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4789 dev eth0");
            rig.tool(host, &format!("ip link add ov0 type {tunnel}"));
            sysctl(host, "net/ipv6/conf/ov0/disable_ipv6", "1");
            rig.tool(host, &format!("ip address add {inside}/24 dev ov0"));
            rig.tool(host, "ip link set dev ov0 up");
        }
        for (host, device) in [(&rig.client, "eth0"), (&rig.host, "eth0"), (&rig.host, "eth1")] {
            offloads.apply(host, device).unwrap();
        }
        rig.ebmirror(&["attach", "eth0"]).ok();
        // Whole, cut in the inner Ethernet header, in the inner TCP header, behind it, and to what fits.
        let peers: [(u32, &str, usize, &[&str]); 6] = [
            (101, COLLECTOR, usize::MAX, &["--gso", "wire"]),
            (102, COLLECTOR, 64, &["--snaplen", "64"]),
            (103, COLLECTOR, 90, &["--snaplen", "90"]),
            (104, V6.collector, 128, &["--snaplen", "128"]),
            (105, COLLECTOR, 1500 - V4.overhead, &["--gso", "wire", "--oversize", "truncate"]),
            (106, V6.collector, 1500 - V6.overhead, &["--gso", "wire", "--oversize", "truncate"]),
        ];
        for (vni, remote, _, more) in peers {
            add_peer(&rig, &vni.to_string(), remote, vni, more);
        }
        let (wire, collector) = (record(&rig.client, "eth0"), record(&rig.collector, "eth0"));
        let talk =
            Conversation::hold(&rig.client, &rig.host, address("10.9.0.2"), pattern(1, 20_000), pattern(2, 20_000));
        let what = format!("{offloads}");
        settle(&what, || {
            let originals = wire.with(|frames| wire_frames(frames)).unwrap();
            let inside: Vec<Vec<u8>> =
                originals.iter().filter(|frame| frame[23] == 17).map(|frame| frame[50..].to_vec()).collect();
            if !talk.has_ended(&inside) {
                return Err("production has not ended".to_owned());
            }
            for (vni, _, limit, _) in peers {
                let expected: Vec<Vec<u8>> =
                    originals.iter().map(|frame| frame[..frame.len().min(limit)].to_vec()).collect();
                same(&expected, &inner(&collector, vni)).map_err(|fault| format!("{vni}: {fault}"))?;
            }
            Ok(())
        });
        let stats = rig.balanced();
        assert!(stats["peers"].as_array().unwrap().iter().all(|peer| packets(&peer["lost"]) == 0), "{what}: {stats}");
    }
}

/// Datagrams with so many options that what remains for the last fragment, or of a cut copy, ends in front of the UDP header.
#[test]
fn packets_with_long_options_are_fragmented_and_cut() {
    /// Destination Options, of 256 bytes: one option that is nobody's (RFC 4727), to be skipped by who does not know it.
    const OPTIONS: usize = 256;
    for (offloads, underlay) in [(Offloads::ON, V4), (Offloads::OFF, V4), (Offloads::ON, V6)] {
        let rig = flow_rig(1500);
        for (host, device) in [(&rig.host, "eth0"), (&rig.host, "eth1")] {
            offloads.apply(host, device).unwrap();
        }
        rig.ebmirror(&["attach", "eth0"]).ok();
        let peers: [(u32, usize, &[&str]); 3] = [
            (101, usize::MAX, &[]),
            (102, 128, &["--snaplen", "128"]),
            (103, 1500 - underlay.overhead, &["--oversize", "truncate"]),
        ];
        for (vni, _, more) in peers {
            add_peer(&rig, &vni.to_string(), underlay.collector, vni, more);
        }
        let (wire, collector) = (record(&rig.client, "eth0"), record(&rig.collector, "eth0"));
        let from = Datagrams::bind(&rig.host, V6.host, 7000);
        let options = [&[0u8, 31, 0x1e, 252][..], &[0; OPTIONS - 4]].concat();
        let length = options.len() as libc::socklen_t;
        // SAFETY: `options` is readable for the length that the kernel is told, and outlives the call.
        let result = unsafe {
            libc::setsockopt(
                from.0.as_fd().as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_DSTOPTS,
                options.as_ptr().cast(),
                length,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        let to = Datagrams::bind(&rig.client, V6.client, 7000);
        // 1514 bytes are a full frame; 1464 and 1444 the longest that need no fragments.
        for (number, frame) in (0..).zip((1440..=1514).step_by(2)) {
            let data = pattern(number, frame - 14 - 40 - OPTIONS - 8);
            from.send(&to, &data);
            assert!(to.receive("UDP", data.len()) == data, "the application got other bytes");
        }
        let what = format!("{} underlay, {offloads}", underlay.name);
        settle(&what, || {
            let originals = incoming(&wire);
            for (vni, limit, _) in peers {
                let expected: Vec<Vec<u8>> =
                    originals.iter().map(|frame| frame[..frame.len().min(limit)].to_vec()).collect();
                same(&expected, &inner(&collector, vni)).map_err(|fault| format!("{vni}: {fault}"))?;
            }
            Ok(())
        });
        assert_eq!(incoming(&wire).iter().filter(|frame| frame[20] == 60).count(), 38, "{what}");
        let stats = rig.balanced();
        assert!(stats["peers"].as_array().unwrap().iter().all(|peer| packets(&peer["lost"]) == 0), "{what}: {stats}");
    }
}

/// What is joined to be forwarded may be a list of packets, in front of each of which there is room for 64 bytes of headers and no
/// more: with the 70 of VXLAN over IPv6 the kernel has to cut it first.
#[test]
fn received_lists_of_packets_are_copied_over_ipv6() {
    stay_on_this_cpu();
    const SERVER: &str = "10.5.0.2";
    for (mtu, offloads) in [(1600, Offloads::ON), (1600, Offloads::OFF), (1500, Offloads::ON), (1500, Offloads::OFF)] {
        let rig = flow_rig(mtu);
        let server = Host::new("server").unwrap();
        cable((&rig.host, "eth2", "10.5.0.1"), (&server, "eth0", SERVER), 1500);
        sysctl(&server, "net/ipv6/conf/all/disable_ipv6", "1");
        sysctl(&rig.host, "net/ipv4/ip_forward", "1");
        for (host, gateway) in [(&rig.client, V4.host), (&server, "10.5.0.1")] {
            rig.tool(host, &format!("ip route add default via {gateway}"));
        }
        Offloads::OFF.apply(&rig.client, "eth0").unwrap();
        offloads.apply(&rig.host, "eth1").unwrap();
        rig.tool(&rig.host, "ethtool -K eth0 gro on rx-gro-list on");
        let direction = if mtu == 1500 { "both" } else { "ingress" };
        rig.ebmirror(&["attach", "eth0", "--direction", direction]).ok();
        add_ids(&rig, V6, &[]);
        let (wire, joined) = (record(&rig.client, "eth0"), record(&rig.host, "eth2"));
        let collector = record(&rig.collector, "eth0");
        let data = pattern(1, 60_000);
        let talk = Conversation::hold(&rig.client, &server, address(SERVER), data, Vec::new());
        let what = format!("MTU {mtu}, {offloads}");
        settle(&what, || {
            let sent: Vec<Vec<u8>> = wire.with(|frames| wire_frames(frames.iter().filter(|f| f.outgoing))).unwrap();
            if !talk.has_ended(&wire.with(|frames| wire_frames(frames)).unwrap()) {
                return Err("production has not ended".to_owned());
            }
            let copies = inner(&collector, V6.vni);
            // Those that are made to fit are cut at other places: no list any more, for the kernel.
            let fault = if mtu == 1500 { talk.fault(&copies) } else { same(&sent, &copies).err() };
            fault.map_or(Ok(()), |fault| Err(format!("{fault}; {}", peer(&rig.stats(), "ids"))))
        });
        let supers = |recorder: &Recorder, outgoing| {
            let is_super = |frame: &&Frame| frame.gso.is_some() && frame.outgoing == outgoing;
            recorder.with(|frames| frames.iter().filter(is_super).count()).unwrap()
        };
        assert!(supers(&joined, true) > 0, "{what}: nothing joined, nothing tested");
        if mtu == 1600 {
            assert_eq!(supers(&collector, false), 0, "{what}: a copy was not cut before it got its headers");
        }
        assert_eq!(reasons(peer(&rig.balanced(), "ids")), Vec::<&str>::new());
    }
}
