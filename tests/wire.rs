//! What changes from one outer packet to the next: IDs, source ports, the segments of super-packets. What all have in common
//! is in `tunnels.rs`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use common::traffic::{
    Application, Collector, Copy, NOBODY, client_to_host, host_to_client, packets, peer, quiet_rig, record, transfer,
    udp_frames, unanswered,
};
use common::{CLIENT, HOST};
use ebmirror::lab::capture::Sender;
use ebmirror::lab::frame::{Ethernet, TCP_ACK, Tcp, pattern};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// RFC 6335: the dynamic ports, from which RFC 7348 takes the source port.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

#[test]
fn segments_of_super_packets_have_headers_of_their_own() {
    let rig = quiet_rig(1500);
    rig.host.offloads_off("eth1").unwrap();
    // A full segment that goes alone would leave in fragments.
    rig.mirror_with(&["--oversize", "drop"]);
    // Each outer packet is decoded strictly: lengths and checksum are those of the segment, not of the super-packet.
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    transfer(&rig.client, &rig.host, HOST, 500_000);
    let (originals, copies) = common::traffic::wait_until_perfect("TCP", &originals, &collector, 1500);
    assert!(originals.iter().any(|frame| frame.gso.is_some()), "no super-packet, nothing tested");
    assert!(copies.len() > 340, "500,000 bytes in segments of 1398 bytes: {}", copies.len());
    rig.balanced();
}

/// The kernel's segmentation gives each segment of a super-packet its own ID, counted up; ours go on behind them.
#[test]
fn outer_ip_ids_count_up_on_each_cpu() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let frames = udp_frames(&host_to_client(&rig), 0..400, 100);
    rig.host
        .run(|| {
            // What leaves is copied on the sender's CPU.
            stay_on_one_cpu();
            let sender = Sender::open("eth0").unwrap();
            frames[..200].iter().for_each(|frame| sender.send(frame).unwrap());
            collector.wait_for(200);
            frames[200..].iter().for_each(|frame| sender.send(frame).unwrap());
        })
        .unwrap();
    let ids: Vec<u16> = collector.take(400).iter().map(|copy| copy.outer.id).collect();
    let expected: Vec<u16> = (0..400).map(|n| ids[0].wrapping_add(n)).collect();
    assert_eq!(ids, expected);
    rig.balanced();
}

fn stay_on_one_cpu() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let cpu = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(cpu).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

/// The source port that the copies of each frame have, by the frame's number. `frames[n]` are to be told apart by their bytes.
fn source_ports(copies: &[Copy], frames: &[Vec<u8>]) -> Vec<u16> {
    let by_bytes: BTreeMap<&[u8], u16> = copies.iter().map(|copy| (copy.bytes.as_slice(), copy.outer.sport)).collect();
    frames.iter().map(|frame| by_bytes[frame.as_slice()]).collect()
}

#[test]
fn a_flow_has_one_source_port_both_ways_and_flows_differ() {
    const FLOWS: u16 = 300;
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    // Flows that differ in one bit somewhere, as a host's connections do: in the port, in the client's address.
    let tcp = |sport, dport| Tcp { sport, dport, seq: 1, ack: 1, flags: TCP_ACK, window: 9 };
    let flow = |n: u16, ethernet: Ethernet, back: bool| {
        let (client, server) = (Ipv4Addr::new(192, 0, 2, (n % 100) as u8), NOBODY[1]);
        let (client6, server6) = (client.to_ipv6_mapped(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
        let data = pattern(n.into(), 64);
        let (sport, dport) = if back { (443, 40_000 + n) } else { (40_000 + n, 443) };
        match (n % 3, back) {
            (0, false) => ethernet.ipv4(client, server).udp(sport, dport, &data),
            (0, true) => ethernet.ipv4(server, client).udp(sport, dport, &data),
            (1, false) => ethernet.ipv4(client, server).tcp(tcp(sport, dport), &data),
            (1, true) => ethernet.ipv4(server, client).tcp(tcp(sport, dport), &data),
            (_, false) => ethernet.ipv6(client6, server6).udp(sport, dport, &data),
            (_, true) => ethernet.ipv6(server6, client6).udp(sport, dport, &data),
        }
    };
    let forth: Vec<Vec<u8>> = (0..FLOWS).map(|n| flow(n, client_to_host(&rig), false)).collect();
    let back: Vec<Vec<u8>> = (0..FLOWS).map(|n| flow(n, host_to_client(&rig), true)).collect();
    collector.send(&rig.client, "eth0", &forth, 1);
    collector.send(&rig.host, "eth0", &back, 1);
    let copies = collector.copies();
    let (forth, back) = (source_ports(&copies, &forth), source_ports(&copies, &back));
    assert_eq!(forth, back, "the two directions of each flow");
    assert!(forth.iter().all(|port| DYNAMIC_PORTS.contains(port)), "{forth:?}");
    // 300 throws at 16,384 ports meet 2.7 times on average, and more than 12 times not once in ten thousand tries.
    let different = forth.iter().collect::<BTreeSet<_>>().len();
    assert!(different >= usize::from(FLOWS) - 12, "{different} source ports of {FLOWS} flows");
    let quarters: BTreeSet<u16> = forth.iter().map(|port| port >> 12).collect();
    assert_eq!(quarters, (12..16).collect(), "the whole range is used");
    rig.balanced();
}

#[test]
fn all_fragments_of_a_datagram_have_one_source_port() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let whole = unanswered(client_to_host(&rig)).udp(4000, 5000, &pattern(1, 4000));
    let fragments: Vec<Vec<u8>> = (0u16..)
        .zip(whole[34..].chunks(1400))
        .map(|(n, piece)| {
            let last = piece.len() < 1400;
            unanswered(client_to_host(&rig)).id(9).fragment(!last, n * 175).protocol(17, piece)
        })
        .collect();
    let fragments6: Vec<Vec<u8>> = (0u16..3)
        .map(|n| {
            let [high, low] = (((n * 175) << 3) | u16::from(n < 2)).to_be_bytes();
            let (a, b) =
                (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
            let header = [17, 0, high, low, 0, 0, 0, 5];
            client_to_host(&rig).ipv6(a, b).protocol(44, &[&header[..], &pattern(n.into(), 1400)].concat())
        })
        .collect();
    let all = [fragments.clone(), fragments6.clone()].concat();
    collector.send(&rig.client, "eth0", &all, 1);
    let copies = collector.copies();
    for fragments in [fragments, fragments6] {
        let ports = source_ports(&copies, &fragments);
        assert_eq!((ports.len(), ports.iter().collect::<BTreeSet<_>>().len()), (3, 1), "{ports:?}");
    }
    rig.balanced();
}

/// Whatever way a copy takes, alone, as a super-packet, cut in the stage, grown without the help of IP.
#[test]
fn every_packet_of_a_flow_has_the_source_port_of_the_flow() {
    let rig = quiet_rig(1600);
    rig.mirror();
    let collector = Collector::of(&rig);
    transfer(&rig.client, &rig.host, HOST, 300_000);
    rig.balanced();
    let ports: BTreeSet<u16> = collector.copies().iter().map(|copy| copy.outer.sport).collect();
    assert_eq!(ports.len(), 1, "TCP");

    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7001));
    let collector = Collector::of(&rig);
    host.send(&client, &[pattern(1, 100)]);
    host.segment(1000);
    client.segment(1000);
    host.send(&client, &[pattern(2, 30_000)]);
    client.send(&host, &[pattern(3, 30_000)]);
    let copies = collector.take(61);
    let ports: BTreeSet<u16> = copies.iter().map(|copy| copy.outer.sport).collect();
    assert_eq!((copies.len(), ports.len()), (61, 1), "UDP");
    assert_eq!(packets(&peer(&rig.balanced(), "ids")["lost"]), 0);
}
