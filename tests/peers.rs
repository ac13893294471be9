//! Several collectors, and the ways to them: each gets a full copy, none harms another, and a changed way is followed.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::traffic::{
    Application, Collector, Copy, Tun, add_peer, assert_same_frames, cable, client_to_host, counter, datagram,
    host_to_client, ip, mac_text, packets, peer, quiet_rig, reasons, record, send, size_of_all, sysctl, tap, transfer,
    udp_frames, wait_for_stats, wait_until_perfect, wire_size,
};
use common::{CLIENT, COLLECTOR, HOST, Rig, UNDERLAY, wait_for};
use ebmirror::lab::capture::{Frame, Sender};
use ebmirror::lab::compare::WireSize;
use ebmirror::lab::decode::vxlan_bytes;
use ebmirror::lab::frame::{BROADCAST, Ethernet, LLDP_MULTICAST, pattern};

/// How soon a changed way must be followed.
const SOON: Duration = Duration::from_secs(1);

/// A second wire to the collector, for which it has the interface eth1.
fn second_underlay(rig: &Rig, mtu: u32) {
    cable((&rig.host, "eth2", "10.4.0.1"), (&rig.collector, "eth1", SECOND), mtu);
    for (host, ifname) in [(&rig.host, "eth2"), (&rig.collector, "eth1")] {
        sysctl(host, &format!("net/ipv6/conf/{ifname}/disable_ipv6"), "1");
    }
}

/// The collector's address there.
const SECOND: &str = "10.4.0.2";
/// An address behind the collector, which is the gateway to it.
const BEHIND: &str = "10.3.0.2";

/// Address, port and VNI.
type Tunnel = (Ipv4Addr, u16, u32);

/// Of a copy: where it went.
fn tunnel(copy: &Copy) -> Tunnel {
    (copy.outer.dst, copy.outer.dport, copy.outer.vni)
}

#[test]
fn each_of_several_peers_gets_every_frame() {
    let rig = quiet_rig(1500);
    second_underlay(&rig, 1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "a", COLLECTOR, 42, &[]);
    add_peer(&rig, "b", COLLECTOR, 43, &["--port", "4790"]);
    add_peer(&rig, "c", SECOND, 44, &[]);
    let (first, second) = (Collector::of(&rig), Collector::start(&rig.collector, "eth1"));
    let inbound = udp_frames(&client_to_host(&rig), 0..100, 200);
    let outbound = udp_frames(&host_to_client(&rig), 100..200, 700);
    send(&rig.client, "eth0", &inbound);
    send(&rig.host, "eth0", &outbound);
    let all = [inbound, outbound].concat();

    let mut copies = first.take(2 * all.len());
    copies.extend(second.take(all.len()));
    let mut by_tunnel: BTreeMap<_, Vec<Copy>> = BTreeMap::new();
    for copy in copies {
        by_tunnel.entry(tunnel(&copy)).or_default().push(copy);
    }
    let expected = [(ip(COLLECTOR), 4789, 42), (ip(COLLECTOR), 4790, 43), (ip(SECOND), 4789, 44)];
    assert_eq!(by_tunnel.keys().copied().collect::<Vec<_>>(), expected);
    for (tunnel, copies) in &by_tunnel {
        assert_same_frames(&format!("{tunnel:?}"), &all, copies);
    }
    let stats = rig.balanced();
    for name in ["a", "b", "c"] {
        assert_eq!(counter(&peer(&stats, name)["sent"]), size_of_all(&all), "{name}: {stats}");
    }
    assert_eq!(packets(&tap(&stats, "ingress")["copies"]), 300);
    for command in [["-j", "peer", "list"], ["-j", "peer", "show"]] {
        let listed = rig.ebmirror(&command).ok().json();
        let names: Vec<_> = listed["peers"].as_array().unwrap().iter().map(|peer| peer["name"].clone()).collect();
        assert_eq!(names, ["a", "b", "c"], "{listed}");
    }
}

#[test]
fn dead_peers_take_nothing_from_a_good_one() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "silent", "10.2.0.99", 1, &[]);
    add_peer(&rig, "good", COLLECTOR, 2, &[]);
    add_peer(&rig, "nowhere", "203.0.113.1", 3, &["--local", UNDERLAY]);
    let collector = Collector::of(&rig);
    let frames = udp_frames(&client_to_host(&rig), 0..2000, 300);
    collector.send(&rig.client, "eth0", &frames, 1);
    assert_same_frames("the good peer's", &frames, &collector.copies());

    let stats = rig.balanced();
    let all = size_of_all(&frames);
    assert_eq!(counter(&peer(&stats, "good")["sent"]), all);
    assert_eq!(packets(&peer(&stats, "good")["lost"]), 0);
    assert_eq!(counter(&peer(&stats, "nowhere")["reasons"]["no_route"]), all);
    // Some were given to the kernel to resolve the neighbour with: sent, as far as the datapath knows.
    let silent = peer(&stats, "silent");
    assert_eq!((reasons(silent), counter(&silent["selected"])), (vec!["no_neighbour"], all));
    assert!(packets(&silent["sent"]) < 100, "{stats}");
}

/// 64 peers, `vni` of the first one and on.
fn sixty_four_peers(rig: &Rig) {
    rig.ebmirror(&["attach", "eth0"]).ok();
    for n in 0..64 {
        add_peer(rig, &format!("peer-{n}"), COLLECTOR, 1000 + n, &[]);
    }
}

fn each_vni_has(copies: &[Copy], frames: &[Vec<u8>]) {
    for vni in 1000..1064 {
        let of_peer: Vec<Copy> = copies.iter().filter(|copy| copy.outer.vni == vni).cloned().collect();
        assert_same_frames(&format!("VNI {vni}"), frames, &of_peer);
    }
}

#[test]
fn sixty_four_peers_get_every_frame_and_one_more_is_refused() {
    let rig = quiet_rig(1500);
    sixty_four_peers(&rig);
    rig.ebmirror(&["peer", "add", "one-more", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "2000"])
        .fails(6, "full", "peer del");
    let collector = Collector::of(&rig);
    let frames = udp_frames(&host_to_client(&rig), 0..40, 300);
    collector.send(&rig.host, "eth0", &frames, 64);
    let copies = collector.copies();
    assert_eq!(copies.len(), 64 * frames.len());
    each_vni_has(&copies, &frames);
    let stats = rig.balanced();
    assert_eq!(packets(&tap(&stats, "egress")["copies"]), 64 * 40);
    for n in 0..64 {
        assert_eq!(counter(&peer(&stats, &format!("peer-{n}"))["sent"]), size_of_all(&frames));
    }

    // The worst case, a frame that must be cloned for each peer anew: the kernel resolves each by itself.
    forwarding_off(&rig);
    let collector = Collector::of(&rig);
    let frames = udp_frames(&host_to_client(&rig), 40..50, 300);
    collector.send(&rig.host, "eth0", &frames, 64);
    each_vni_has(&collector.copies(), &frames);
    rig.balanced();
}

#[test]
fn a_peer_with_a_small_path_does_not_shrink_the_segments_of_the_others() {
    let rig = quiet_rig(1500);
    second_underlay(&rig, 1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "small", COLLECTOR, 42, &["--oversize", "drop"]);
    add_peer(&rig, "large", SECOND, 42, &[]);
    let originals = record(&rig.host, "eth0");
    let (small, large) = (Collector::of(&rig), Collector::start(&rig.collector, "eth1"));
    transfer(&rig.client, &rig.host, HOST, 1_000_000);
    transfer(&rig.host, &rig.client, CLIENT, 1_000_000);
    let (all, whole) = wait_until_perfect("large", &originals, &large, 1600);
    let (fitting, cut) = wait_until_perfect("small", &originals, &small, 1500);

    let sizes = |copies: &[Copy]| copies.iter().filter_map(|copy| Some(copy.gso?.size)).collect::<BTreeSet<u16>>();
    let originally: BTreeSet<u16> = all.iter().filter_map(|frame| Some(frame.gso?.size)).collect();
    assert!(originally.contains(&1448), "no super-packet, nothing tested: {originally:?}");
    assert_eq!(sizes(&whole), originally);
    assert_eq!(sizes(&cut), originally.iter().map(|size| size - 50).collect());

    let stats = rig.balanced();
    let both_ways = |frames: &[Frame]| {
        let mut sum = wire_size(frames, true);
        sum += wire_size(frames, false);
        sum
    };
    assert_eq!(counter(&peer(&stats, "large")["sent"]), both_ways(&all));
    assert_eq!(counter(&peer(&stats, "small")["sent"]), both_ways(&fitting));
}

/// Sends a frame after the other from the host until a copy arrives that is as it should be. That must be soon.
fn follows(rig: &Rig, what: &str, collector: &Collector, right: impl Fn(&Copy) -> bool) {
    let sender = rig.host.run(|| Sender::open("eth0")).unwrap().unwrap();
    let frames = udp_frames(&host_to_client(rig), 0..1, 100);
    let (start, already) = (Instant::now(), collector.count());
    loop {
        sender.send(&frames[0]).unwrap();
        if collector.copies()[already..].iter().any(&right) {
            return;
        }
        assert!(start.elapsed() < SOON, "{what}: not followed within {SOON:?}; {}", peer(&rig.stats(), "ids"));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a frame after the other from the host until copies are lost for this reason. That must be soon.
fn is_lost(rig: &Rig, what: &str, reason: &str) {
    let frames = udp_frames(&host_to_client(rig), 0..20, 100);
    let lost = |stats: &serde_json::Value| packets(&peer(stats, "ids")["reasons"][reason]);
    let (start, already) = (Instant::now(), lost(&rig.stats()));
    loop {
        send(&rig.host, "eth0", &frames);
        let stats = rig.stats();
        if lost(&stats) > already {
            return;
        }
        assert!(start.elapsed() < SOON, "{what}: not noticed within {SOON:?}; {}", peer(&stats, "ids"));
    }
}

/// Every CPU follows, and soon: of a batch of frames, each has its copy, and each copy is right.
fn settles(rig: &Rig, what: &str, collector: &Host<'_>, right: impl Fn(&Copy) -> bool) {
    let start = Instant::now();
    let mut number = 0;
    loop {
        let collector = Collector::start(collector.0, collector.1);
        let frames = udp_frames(&host_to_client(rig), number..number + 100, 100);
        number += 100;
        send(&rig.host, "eth0", &frames);
        let stats = rig.balanced();
        // All that was sent has reached the collector, or never will: the wire between is a queue in this kernel.
        let copies = if collector.count() < frames.len() { Vec::new() } else { collector.copies() };
        if copies.len() == frames.len() && copies.iter().all(&right) {
            return assert_same_frames(what, &frames, &copies);
        }
        assert!(start.elapsed() < SOON, "{what}: {} of 100 copies; {}", copies.len(), peer(&stats, "ids"));
    }
}

/// A host and its interface.
struct Host<'a>(&'a ebmirror::lab::network::Host, &'a str);

/// A peer behind a gateway, which is the rig's collector.
fn mirror_behind_the_gateway(rig: &Rig) {
    rig.tool(&rig.collector, &format!("ip address add {BEHIND}/32 dev lo"));
    rig.tool(&rig.host, &format!("ip route add {BEHIND} via {COLLECTOR}"));
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(rig, "ids", BEHIND, 42, &[]);
}

#[test]
fn a_gateway_that_announces_a_new_mac_address_is_followed() {
    let rig = quiet_rig(1500);
    mirror_behind_the_gateway(&rig);
    let collector = Collector::of(&rig);
    let old = rig.collector.mac("eth0").unwrap();
    follows(&rig, "the gateway", &collector, |copy| copy.outer.dst_mac == old && copy.outer.dst == ip(BEHIND));

    let new = [2, 0, 0, 0, 0xaa, 0xbb];
    rig.tool(&rig.collector, &format!("ip link set dev eth0 address {}", mac_text(new)));
    // A gratuitous ARP, as a gateway sends it that takes over.
    let announcement = Ethernet::new(new, BROADCAST).arp_request(ip(COLLECTOR), ip(COLLECTOR));
    send(&rig.collector, "eth0", &[announcement]);
    follows(&rig, "the gateway's new address", &collector, |copy| copy.outer.dst_mac == new);
    settles(&rig, "after the change", &Host(&rig.collector, "eth0"), |copy| copy.outer.dst_mac == new);
    rig.balanced();
}

/// Copies ask for nothing and confirm nothing. Still the kernel goes on looking whether the neighbour is there, because a
/// packet goes through its hands once a second.
#[test]
fn a_gateway_that_changes_its_mac_address_in_silence_is_noticed() {
    let rig = quiet_rig(1500);
    for (key, value) in [
        ("base_reachable_time_ms", "500"),
        ("delay_first_probe_time", "1"),
        ("retrans_time_ms", "50"),
        ("ucast_solicit", "1"),
    ] {
        sysctl(&rig.host, &format!("net/ipv4/neigh/eth1/{key}"), value);
    }
    mirror_behind_the_gateway(&rig);
    let collector = Collector::of(&rig);
    let old = rig.collector.mac("eth0").unwrap();
    follows(&rig, "the gateway", &collector, |copy| copy.outer.dst_mac == old);

    let new = [2, 0, 0, 0, 0xaa, 0xbb];
    rig.tool(&rig.collector, &format!("ip link set dev eth0 address {}", mac_text(new)));
    let sender = rig.host.run(|| Sender::open("eth0")).unwrap().unwrap();
    let frame = &udp_frames(&host_to_client(&rig), 0..1, 100)[0];
    wait_for("the kernel to ask for the neighbour again", || {
        sender.send(frame).unwrap();
        collector.copies().iter().any(|copy| copy.outer.dst_mac == new)
    });
    rig.balanced();
}

#[test]
fn a_route_that_moves_to_another_interface_is_followed() {
    let rig = quiet_rig(1500);
    second_underlay(&rig, 1500);
    mirror_behind_the_gateway(&rig);
    let (first, second) = (Collector::of(&rig), Collector::start(&rig.collector, "eth1"));
    follows(&rig, "the first way", &first, |copy| copy.outer.src == ip(UNDERLAY));
    rig.tool(&rig.host, &format!("ip route replace {BEHIND} via {SECOND}"));
    // The source address is the route's choice, too.
    let right = |copy: &Copy| copy.outer.dst == ip(BEHIND) && copy.outer.src == ip("10.4.0.1");
    follows(&rig, "the second way", &second, right);
    settles(&rig, "the second way", &Host(&rig.collector, "eth1"), right);

    rig.tool(&rig.host, &format!("ip route replace {BEHIND} via {COLLECTOR}"));
    follows(&rig, "back to the first way", &first, |copy| copy.outer.src == ip(UNDERLAY));
    settles(&rig, "the first way", &Host(&rig.collector, "eth0"), |copy| copy.outer.src == ip(UNDERLAY));
    rig.balanced();
}

#[test]
fn a_route_that_goes_and_comes_is_followed() {
    let rig = quiet_rig(1500);
    mirror_behind_the_gateway(&rig);
    let collector = Collector::of(&rig);
    follows(&rig, "the route", &collector, |_| true);
    rig.tool(&rig.host, &format!("ip route del {BEHIND}"));
    is_lost(&rig, "no route", "no_route");
    rig.tool(&rig.host, &format!("ip route add blackhole {BEHIND}"));
    is_lost(&rig, "a blackhole", "no_route");
    rig.tool(&rig.host, &format!("ip route replace {BEHIND} via {COLLECTOR}"));
    follows(&rig, "the route's return", &collector, |_| true);
    settles(&rig, "the route's return", &Host(&rig.collector, "eth0"), |_| true);
    let stats = rig.balanced();
    assert_eq!(reasons(peer(&stats, "ids")), ["no_route"]);
}

#[test]
fn a_link_that_goes_down_and_up_is_followed() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", COLLECTOR, 42, &[]);
    // What the kernel waits between two questions for a neighbour is a second, else.
    sysctl(&rig.host, "net/ipv4/neigh/eth1/retrans_time_ms", "50");
    let follows_on_a_new_recorder = |what| follows(&rig, what, &Collector::of(&rig), |_| true);
    follows_on_a_new_recorder("the way");
    rig.tool(&rig.host, "ip link set dev eth1 down");
    is_lost(&rig, "the interface is down", "no_route");
    rig.tool(&rig.host, "ip link set dev eth1 up");
    follows_on_a_new_recorder("the interface is up again");

    rig.tool(&rig.collector, "ip link set dev eth0 down");
    is_lost(&rig, "no carrier", "no_neighbour");
    rig.tool(&rig.collector, "ip link set dev eth0 up");
    follows_on_a_new_recorder("the carrier is back");
    settles(&rig, "at last", &Host(&rig.collector, "eth0"), |_| true);
    rig.balanced();
}

#[test]
fn a_neighbour_that_is_not_known_is_asked_for_by_the_copies() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let [a, b] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let ethernet = client_to_host(&rig);
    let over_ipv6 = ethernet.clone().ipv6(a, b).udp(4000, 5000, &pattern(1, 100));
    for from in ["the host", "the client", "the client, IPv6"] {
        rig.tool(&rig.host, "ip neigh flush dev eth1");
        assert_eq!(rig.tool(&rig.host, "ip neigh show dev eth1"), "", "the neighbour is forgotten");
        let collector = Collector::of(&rig);
        if from == "the host" {
            follows(&rig, "the neighbour", &collector, |_| true);
        } else {
            let over_ipv4 = &udp_frames(&ethernet, 0..1, 100)[0];
            let sender = rig.client.run(|| Sender::open("eth0")).unwrap().unwrap();
            wait_for("the neighbour", || {
                sender.send(if from == "the client" { over_ipv4 } else { &over_ipv6 }).unwrap();
                collector.count() > 0
            });
        }
        settles(&rig, "the neighbour is known", &Host(&rig.collector, "eth0"), |_| true);
    }
    let stats = rig.balanced();
    let ids = peer(&stats, "ids");
    assert_eq!(ids["lost"], ids["reasons"]["no_neighbour"], "{stats}");
}

/// As Docker, firewalld and `sysctl --system` do.
fn forwarding_off(rig: &Rig) {
    sysctl(&rig.host, "net/ipv4/ip_forward", "1");
    sysctl(&rig.host, "net/ipv4/ip_forward", "0");
}

#[test]
fn copies_flow_on_when_forwarding_is_switched_off() {
    let rig = quiet_rig(1600);
    mirror_behind_the_gateway(&rig);
    let collector = Collector::of(&rig);
    follows(&rig, "the way", &collector, |_| true);
    forwarding_off(&rig);
    follows(&rig, "forwarding is off", &collector, |_| true);
    settles(&rig, "forwarding is off", &Host(&rig.collector, "eth0"), |copy| copy.outer.dst == ip(BEHIND));

    let frames = udp_frames(&client_to_host(&rig), 0..500, 300);
    let collector = Collector::of(&rig);
    collector.send(&rig.client, "eth0", &frames, 1);
    assert_same_frames("what arrives", &frames, &collector.copies());
    rig.balanced();
    let (originals, collector) = (record(&rig.host, "eth0"), Collector::of(&rig));
    transfer(&rig.client, &rig.host, HOST, 300_000);
    wait_until_perfect("TCP", &originals, &collector, 1600);
    // The kernel's neighbour code takes IP packets alone: it gets them, whatever is inside.
    let before = packets(&peer(&rig.balanced(), "ids")["lost"]);
    let collector = Collector::of(&rig);
    let lldp = [client_to_host(&rig).to(LLDP_MULTICAST).lldp(1)];
    collector.send(&rig.client, "eth0", &lldp, 1);
    assert_same_frames("what is no IP", &lldp, &collector.copies());
    assert_eq!(packets(&peer(&rig.balanced(), "ids")["lost"]), before);
}

#[test]
fn a_changed_vni_takes_effect_between_two_frames() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let done = AtomicBool::new(false);
    let ethernet = host_to_client(&rig);
    let sent = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            rig.host
                .run(|| {
                    let sender = Sender::open("eth0").unwrap();
                    let mut sent = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let number = sent.len() as u64;
                        sent.extend(udp_frames(&ethernet, number..number + 20, 100));
                        sent[number as usize..].iter().for_each(|frame| sender.send(frame).unwrap());
                        collector.wait_for(sent.len());
                    }
                    sent
                })
                .unwrap()
        });
        for vni in ["43", "42", "43", "42", "43"] {
            let before = collector.count();
            collector.wait_for(before + 20);
            rig.ebmirror(&["peer", "set", "ids", "--vni", vni]).ok();
        }
        let before = collector.count();
        collector.wait_for(before + 20);
        done.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    let copies = collector.take(sent.len());
    assert_same_frames("copies", &sent, &copies);
    // In the order of sending, whatever the order of arrival.
    let vnis: BTreeMap<&[u8], u32> = copies.iter().map(|copy| (copy.bytes.as_slice(), copy.outer.vni)).collect();
    let mut stretches: Vec<u32> = sent.iter().map(|frame| vnis[frame.as_slice()]).collect();
    stretches.dedup();
    assert_eq!(stretches, [42, 43, 42, 43, 42, 43]);
    rig.balanced();
}

#[test]
fn a_changed_peer_takes_effect_with_the_next_frame() {
    let rig = quiet_rig(1500);
    second_underlay(&rig, 1500);
    for (address, host_ifname, ifname) in [(COLLECTOR, "eth1", "eth0"), (SECOND, "eth2", "eth1")] {
        let mac = mac_text(rig.collector.mac(ifname).unwrap());
        rig.tool(&rig.host, &format!("ip neigh replace {address} lladdr {mac} nud permanent dev {host_ifname}"));
    }
    rig.mirror();
    let changes: [(&[&str], &str, Tunnel, u8, u8); 6] = [
        (&["--remote", SECOND], "eth1", (ip(SECOND), 4789, 42), 64, 0),
        (&["--port", "4790"], "eth1", (ip(SECOND), 4790, 42), 64, 0),
        (&["--remote", COLLECTOR, "--vni", "43"], "eth0", (ip(COLLECTOR), 4790, 43), 64, 0),
        (&["--ttl", "9"], "eth0", (ip(COLLECTOR), 4790, 43), 9, 0),
        (&["--dscp", "8"], "eth0", (ip(COLLECTOR), 4790, 43), 9, 8),
        (&["--remote", SECOND, "--ttl", "64"], "eth1", (ip(SECOND), 4790, 43), 64, 8),
    ];
    let mut number = 0;
    for (change, ifname, expected, ttl, dscp) in changes {
        rig.ebmirror(&[&["peer", "set", "ids"], change].concat()).ok();
        let collector = Collector::start(&rig.collector, ifname);
        let inbound = udp_frames(&client_to_host(&rig), number..number + 10, 100);
        let outbound = udp_frames(&host_to_client(&rig), number + 10..number + 20, 100);
        number += 20;
        send(&rig.client, "eth0", &inbound);
        send(&rig.host, "eth0", &outbound);
        let copies = collector.take(20);
        assert_same_frames(&change.join(" "), &[inbound, outbound].concat(), &copies);
        let source = if ifname == "eth0" { ip(UNDERLAY) } else { ip("10.4.0.1") };
        for copy in copies {
            assert_eq!((tunnel(&copy), copy.outer.ttl, copy.outer.tos), (expected, ttl, dscp << 2), "{change:?}");
            assert_eq!(copy.outer.src, source, "{change:?}");
        }
    }
    rig.balanced();
}

#[test]
fn a_peer_that_comes_and_goes_under_traffic_is_accounted_for() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let done = AtomicBool::new(false);
    let frames = udp_frames(&host_to_client(&rig), 0..20, 100);
    let sent = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            rig.host
                .run(|| {
                    let sender = Sender::open("eth0").unwrap();
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        frames.iter().for_each(|frame| sender.send(frame).unwrap());
                        sent += frames.len();
                        collector.wait_for(sent);
                    }
                    sent
                })
                .unwrap()
        });
        for _ in 0..5 {
            add_peer(&rig, "other", COLLECTOR, 77, &[]);
            let seen = collector.count();
            collector.wait_for(seen + 40);
            rig.ebmirror(&["peer", "del", "other"]).ok();
        }
        done.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    let stats = rig.balanced();
    let retired = packets(&stats["retired"]);
    assert!(retired >= 5 * 20, "{stats}");
    let copies = collector.take(sent + retired as usize);
    let of = |vni| copies.iter().filter(|copy| copy.outer.vni == vni).count();
    assert_eq!((of(42), of(77)), (sent, retired as usize));
    let balanced = wait_for_stats(&rig, "the books", |stats| stats["unaccounted"] == 0);
    assert_eq!(packets(&tap(&balanced, "egress")["copies"]), (sent as u64) + retired);
}

/// Ingress on one CPU, egress on another, and the state of the peers between them.
#[test]
fn both_directions_at_once_lose_nothing() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (name, vni) in [("a", 42), ("b", 43), ("c", 44)] {
        add_peer(&rig, name, COLLECTOR, vni, &[]);
    }
    let collector = Collector::of(&rig);
    let frames = [udp_frames(&client_to_host(&rig), 0..4000, 200), udp_frames(&host_to_client(&rig), 4000..8000, 200)];
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (host, frames) in [(&rig.client, &frames[0]), (&rig.host, &frames[1])] {
            let (sent, collector) = (&sent, &collector);
            scope.spawn(move || {
                host.run(|| {
                    let sender = Sender::open("eth0").unwrap();
                    for burst in frames.chunks(40) {
                        burst.iter().for_each(|frame| sender.send(frame).unwrap());
                        let all = sent.fetch_add(burst.len(), Ordering::Relaxed) + burst.len();
                        collector.wait_for(3 * all);
                    }
                })
                .unwrap();
            });
        }
    });
    let frames = frames.concat();
    let copies = collector.take(3 * frames.len());
    for vni in [42, 43, 44] {
        let of_peer: Vec<Copy> = copies.iter().filter(|copy| copy.outer.vni == vni).cloned().collect();
        assert_same_frames(&format!("VNI {vni}"), &frames, &of_peer);
    }
    rig.balanced();
}

/// What the kernel has cut in the stage is decided upon for each peer anew.
#[test]
fn udp_super_packets_fit_some_paths_and_not_others() {
    let rig = quiet_rig(1500);
    second_underlay(&rig, 1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "small", COLLECTOR, 42, &["--oversize", "drop"]);
    add_peer(&rig, "large", SECOND, 42, &[]);
    let (small, large) = (Collector::of(&rig), Collector::start(&rig.collector, "eth1"));
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let data = pattern(1, 20 * 1450 + 700);
    let segments: Vec<Vec<u8>> = data.chunks(1450).map(<[u8]>::to_vec).collect();
    for (from, to) in [(&client, &host), (&host, &client)] {
        from.segment(1450);
        from.send(to, std::slice::from_ref(&data));
        assert_eq!(to.receive(21), segments, "production");
    }
    let arrived = |copies: Vec<Copy>| copies.iter().map(|copy| datagram(&copy.bytes)).collect::<Vec<_>>();
    assert!(arrived(large.take(42)) == [&segments[..], &segments].concat());
    assert!(arrived(small.take(2)) == [&segments[20..], &segments[20..]].concat());
    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "large")["sent"]), 42, "{stats}");
    assert_eq!(counter(&peer(&stats, "small")["reasons"]["too_big"]), WireSize { packets: 40, bytes: 40 * 1492 });
    assert_eq!(packets(&peer(&stats, "small")["sent"]), 2, "{stats}");
}

#[test]
fn udp_super_packets_are_copied_while_forwarding_is_off_and_neighbours_are_unknown() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (name, vni) in [("a", 42), ("b", 43)] {
        add_peer(&rig, name, COLLECTOR, vni, &[]);
    }
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let data = pattern(1, 20_000);
    let segments: Vec<Vec<u8>> = data.chunks(1000).map(<[u8]>::to_vec).collect();
    host.segment(1000);
    host.send(&client, std::slice::from_ref(&data));
    assert_eq!(client.receive(20), segments, "production");
    rig.balanced();
    forwarding_off(&rig);
    let collector = Collector::of(&rig);
    // The neighbour is known, then it is not: the kernel holds up to a hundred packets of ours until it answers.
    for _ in 0..2 {
        let before = collector.count();
        host.send(&client, std::slice::from_ref(&data));
        assert_eq!(client.receive(20), segments, "production");
        collector.wait_for(before + 40);
        for vni in [42, 43] {
            let copies = collector.copies().split_off(before);
            let of_peer = copies.iter().filter(|copy| copy.outer.vni == vni).map(|copy| datagram(&copy.bytes));
            assert!(of_peer.collect::<Vec<_>>() == segments, "VNI {vni}");
        }
        rig.tool(&rig.host, "ip neigh flush dev eth1");
    }
    let stats = rig.balanced();
    assert_eq!(reasons(peer(&stats, "a")), Vec::<&str>::new(), "{stats}");
}

/// As for every packet that the kernel forwards, a route's MTU counts when it is locked.
#[test]
fn the_locked_mtu_of_a_route_is_respected() {
    let rig = quiet_rig(1500);
    rig.tool(&rig.collector, &format!("ip address add {BEHIND}/32 dev lo"));
    rig.tool(&rig.host, &format!("ip route add {BEHIND} via {COLLECTOR} mtu lock 1000"));
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", BEHIND, 42, &["--oversize", "drop"]);
    let collector = Collector::of(&rig);
    let ethernet = client_to_host(&rig);
    let fitting = [udp_frames(&ethernet, 0..20, 963), udp_frames(&ethernet, 20..40, 964)].concat();
    let long = [udp_frames(&ethernet, 40..60, 965), udp_frames(&ethernet, 60..80, 1464)].concat();
    send(&rig.client, "eth0", &long);
    collector.send(&rig.client, "eth0", &fitting, 1);
    assert_same_frames("what fits", &fitting, &collector.copies());
    let stats = rig.balanced();
    assert_eq!(counter(&peer(&stats, "ids")["reasons"]["too_big"]), size_of_all(&long), "{stats}");
    rig.tool(&rig.host, &format!("ip route replace {BEHIND} via {COLLECTOR}"));
    let long = udp_frames(&ethernet, 80..81, 1464);
    let collector = Collector::of(&rig);
    wait_for("the route's new MTU", || {
        send(&rig.client, "eth0", &long);
        collector.count() > 0
    });
    rig.balanced();
}

/// The source address was chosen when the peer was added; the route has chosen another one since.
#[test]
fn icmp_errors_about_copies_from_another_address_are_not_mirrored() {
    let rig = quiet_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", CLIENT, 42, &[]);
    rig.tool(&rig.host, "ip address add 10.1.0.22/24 dev eth0");
    rig.tool(&rig.host, &format!("ip route add {CLIENT}/32 dev eth0 src 10.1.0.22"));
    let mac = mac_text(rig.host.mac("eth0").unwrap());
    rig.tool(&rig.client, &format!("ip neigh replace 10.1.0.22 lladdr {mac} nud permanent dev eth0"));
    let at_client = record(&rig.client, "eth0");
    send(&rig.client, "eth0", &udp_frames(&client_to_host(&rig), 0..10, 300));
    let stats = wait_for_stats(&rig, "an ICMP error", |stats| packets(&tap(stats, "ingress")["seen"]) > 10);
    assert_eq!(packets(&tap(&stats, "ingress")["selected"]), 10, "{stats}");
    let sources: BTreeSet<Vec<u8>> = at_client
        .finish()
        .unwrap()
        .iter()
        .filter(|frame| common::traffic::is_copy(frame))
        .map(|frame| frame.bytes[26..30].to_vec())
        .collect();
    assert_eq!(sources, [vec![10, 1, 0, 22]].into(), "the route's choice");
    rig.balanced();
}

#[test]
fn the_books_balance_when_they_are_reset_under_traffic() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let collector = Collector::of(&rig);
    let done = AtomicBool::new(false);
    let frames = udp_frames(&host_to_client(&rig), 0..20, 100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rig.host
                .run(|| {
                    let sender = Sender::open("eth0").unwrap();
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        frames.iter().for_each(|frame| sender.send(frame).unwrap());
                        sent += frames.len();
                        collector.wait_for(sent);
                    }
                })
                .unwrap();
        });
        for _ in 0..5 {
            let before = collector.count();
            collector.wait_for(before + 60);
            rig.ebmirror(&["stats", "--reset"]).ok();
        }
        done.store(true, Ordering::Relaxed);
    });
    rig.balanced();
    rig.ebmirror(&["stats", "--reset"]).ok();
    let collector = Collector::of(&rig);
    collector.send(&rig.host, "eth0", &frames, 1);
    let stats = rig.balanced();
    assert_eq!(packets(&tap(&stats, "egress")["seen"]), 20, "{stats}");
    assert_eq!(packets(&peer(&stats, "ids")["sent"]), 20, "{stats}");
}

/// Copies are IP packets there, without a link layer: nobody has a MAC address, and nobody asks. A frame itself must not go
/// there, out of its tunnel.
#[test]
fn a_collector_behind_a_device_without_ethernet_gets_every_frame_in_its_tunnel() {
    let rig = quiet_rig(1500);
    let mut tun = Tun::new(&rig.host, "tun0");
    sysctl(&rig.host, "net/ipv6/conf/tun0/disable_ipv6", "1");
    rig.tool(&rig.host, "ip address add 10.8.0.1/24 dev tun0");
    rig.tool(&rig.host, "ip link set dev tun0 up");
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "ids", "10.8.0.2", 42, &["--force"]);
    add_peer(&rig, "other", COLLECTOR, 43, &[]);
    let ethernet = client_to_host(&rig);
    let mut frames = udp_frames(&ethernet, 1..50, 300);
    frames.extend(udp_frames(&ethernet.clone().tag(0x8100, 7), 50..60, 300));
    // The neighbour code is asked first, with a packet of IP.
    wait_for("a good next hop on every CPU", || {
        tun.receive();
        rig.ebmirror(&["stats", "--reset"]).ok();
        send(&rig.client, "eth0", &frames);
        packets(&peer(&rig.balanced(), "ids")["lost"]) == 0
    });
    let stats = rig.balanced();
    assert_eq!(counter(&peer(&stats, "ids")["sent"]), size_of_all(&frames), "{stats}");
    let mut arrived = || -> Vec<Vec<u8>> {
        let whole = |packet: &Vec<u8>| [&[0; 12][..], &[8, 0], packet].concat();
        let inner = |packet: &Vec<u8>| {
            let packet = whole(packet);
            let (outer, frame) = vxlan_bytes(&packet, false).unwrap();
            assert_eq!((outer.src, outer.dst, outer.vni), (ip("10.8.0.1"), ip("10.8.0.2"), 42));
            frame.to_vec()
        };
        tun.receive().iter().map(inner).collect()
    };
    assert_same_frames("copies", &frames, &arrived());

    rig.ebmirror(&["stats", "--reset"]).ok();
    let collector = Collector::of(&rig);
    let tagged = host_to_client(&rig).tag(0x8100, 7);
    let others = [
        host_to_client(&rig).to(BROADCAST).arp_request(ip("192.0.2.1"), ip("192.0.2.2")),
        udp_frames(&tagged, 60..61, 300).remove(0),
    ];
    send(&rig.host, "eth0", &others);
    let stats = rig.balanced();
    assert_same_frames("what is no IP", &others, &arrived());
    assert_eq!(counter(&peer(&stats, "ids")["sent"]), size_of_all(&others), "{stats}");
    assert_same_frames("the other peer's", &others, &collector.take(2));
}

/// The way to the collector is a tunnel itself, and the interface below it is mirrored too.
#[test]
fn a_collector_behind_an_overlay_gets_every_frame_once() {
    let rig = quiet_rig(1600);
    for (host, ifname, local, remote, address) in [
        (&rig.host, "eth1", UNDERLAY, COLLECTOR, "10.9.0.1"),
        (&rig.collector, "eth0", COLLECTOR, UNDERLAY, "10.9.0.2"),
    ] {
        let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4790 dev {ifname}");
        rig.tool(host, &format!("ip link add ov0 type {tunnel}"));
        sysctl(host, "net/ipv6/conf/ov0/disable_ipv6", "1");
        rig.tool(host, &format!("ip address add {address}/24 dev ov0"));
        rig.tool(host, "ip link set dev ov0 up");
    }
    let mac = |host: &ebmirror::lab::network::Host, ifname| mac_text(host.mac(ifname).unwrap());
    for (address, ifname, lladdr) in
        [("10.9.0.2", "ov0", mac(&rig.collector, "ov0")), (COLLECTOR, "eth1", mac(&rig.collector, "eth0"))]
    {
        rig.tool(&rig.host, &format!("ip neigh replace {address} lladdr {lladdr} nud permanent dev {ifname}"));
    }
    rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
    add_peer(&rig, "ids", "10.9.0.2", 42, &[]);

    let collector = Collector::start(&rig.collector, "ov0");
    let ethernet = host_to_client(&rig);
    let mut frames = udp_frames(&ethernet, 0..100, 300);
    frames.push(ethernet.clone().to(BROADCAST).arp_request(ip("192.0.2.1"), ip("192.0.2.2")));
    frames.extend(udp_frames(&ethernet.clone().tag(0x8100, 7), 100..110, 300));
    send(&rig.host, "eth0", &frames);
    let back = udp_frames(&client_to_host(&rig).tag(0x8100, 7), 110..120, 300);
    send(&rig.client, "eth0", &back);
    assert_same_frames("frames", &[frames.clone(), back.clone()].concat(), &collector.take(frames.len() + back.len()));

    let (originals, collector) = (record(&rig.host, "eth0"), Collector::start(&rig.collector, "ov0"));
    transfer(&rig.client, &rig.host, HOST, 300_000);
    transfer(&rig.host, &rig.client, CLIENT, 300_000);
    let (originals, _) = wait_until_perfect("TCP", &originals, &collector, 1550);
    assert!(originals.iter().any(|frame| frame.gso.is_some()), "no super-packet, nothing tested");

    let stats = rig.balanced();
    assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
    let rows = stats["interfaces"].as_array().unwrap();
    let below = rows.iter().find(|row| row["interface"] == "eth1" && row["direction"] == "egress").unwrap();
    assert_eq!(packets(&below["selected"]), 0, "{stats}");
    assert!(packets(&below["own"]) >= packets(&peer(&stats, "ids")["sent"]), "{stats}");
}
