//! The way to a collector, wherever it is and however it changes: each change is followed within a second, by every CPU,
//! with nothing but the kernel running, whatever the frames are.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/flows.rs"]
mod flows;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::traffic::{
    assert_same_frames, cable, host_to_client, mac_text, packets, peer, reasons, record, sysctl, udp_frames,
};
use common::{CLIENT, HOST, Rig, wait_for};
use ebmirror::lab::capture::{Frame, Sender};
use ebmirror::lab::frame::{BROADCAST, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::parse::Parsed;
use flows::{CLIENT6, Decoded, FAMILIES, Family, HOST6, NOBODY6, V4, V6, add_ipv6, address, flow_rig, stay_on_cpu};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// How soon a changed way must be followed.
const SOON: Duration = Duration::from_secs(1);
/// So long may the frames of a batch be on their way, before the next one is sent.
const ON_THE_WAY: Duration = Duration::from_millis(60);
/// The same when it is too late for another one, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Frames of a batch, from each CPU.
const BATCH: u64 = 20;

/// What all the frames are. Only some kinds can ask the kernel for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SmallIpv4,
    SmallIpv6,
    /// Their copies leave in fragments.
    TooLarge,
    Arp,
}

const KINDS: [Kind; 4] = [Kind::SmallIpv4, Kind::SmallIpv6, Kind::TooLarge, Kind::Arp];

/// Frames that leave the host at eth0 and that nobody answers, none like another.
fn frames(rig: &Rig, kind: Kind, first: u64, count: u64) -> Vec<Vec<u8>> {
    let ethernet = host_to_client(rig);
    let numbers = first..first + count;
    match kind {
        Kind::SmallIpv4 => udp_frames(&ethernet, numbers, 200),
        Kind::TooLarge => udp_frames(&ethernet, numbers, 1514),
        Kind::SmallIpv6 => {
            let ip = ethernet.ipv6(NOBODY6[0], NOBODY6[1]);
            numbers.map(|n| ip.udp(4000, 5000, &pattern(n, 100))).collect()
        }
        Kind::Arp => numbers
            .map(|n| {
                let [.., high, low] = n.to_be_bytes();
                let sender = Ipv4Addr::new(198, 18, high, low);
                ethernet.clone().to(BROADCAST).arp_request(sender, Ipv4Addr::new(198, 19, 0, 1))
            })
            .collect(),
    }
}

fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect()
}

/// The outer addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outer {
    dst_mac: [u8; 6],
    src: IpAddr,
    dst: IpAddr,
}

/// Where copies shall arrive.
struct Place<'a> {
    host: &'a Host,
    /// The interface at which the outer packets come in.
    ifname: &'a str,
    /// The kernel's decoder behind it.
    decoder: &'a str,
}

/// Those of this batch: the kernel may have kept one of an earlier batch until it knew the neighbour.
fn ours(decoded: &Decoded, batch: &[Vec<u8>]) -> Vec<Vec<u8>> {
    decoded.frames().into_iter().filter(|frame| batch.contains(frame)).collect()
}

/// Sends batches of frames until one arrives at this place, whole, from every CPU, and with right outer addresses. That
/// must be soon. Frame numbers go up from `number`, and are never used again.
fn follows(rig: &Rig, what: &str, kind: Kind, number: &mut u64, place: &Place<'_>, right: impl Fn(&Outer) -> bool) {
    let start = Instant::now();
    loop {
        // What counts is when frames leave, not when this thread gets to look at what has arrived.
        let late = start.elapsed() > SOON;
        let (outer, decoded) = (record(place.host, place.ifname), Decoded::start(place.host, place.decoder));
        let mut batch = Vec::new();
        for cpu in cpus() {
            let frames = frames(rig, kind, *number, BATCH);
            *number += BATCH;
            rig.host
                .run(|| {
                    stay_on_cpu(cpu);
                    let sender = Sender::open("eth0").unwrap();
                    frames.iter().for_each(|frame| sender.send(frame).unwrap());
                })
                .unwrap();
            batch.extend(frames);
        }
        let sent = Instant::now();
        let patience = if late { PATIENCE } else { ON_THE_WAY };
        while ours(&decoded, &batch).len() < batch.len() && sent.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        let arrived = ours(&decoded, &batch);
        let outers: BTreeSet<Outer> = outer
            .with(|frames| {
                let copies = frames.iter().filter_map(|frame| {
                    let parsed = Parsed::new(&frame.bytes)?;
                    let ip = parsed.ip.filter(|ip| ip.protocol == 17 && !frame.outgoing)?;
                    (ip.src.is_ipv4() || ip.src != IpAddr::V6(NOBODY6[0])).then_some((parsed.dst, ip.src, ip.dst))
                });
                copies.map(|(dst_mac, src, dst)| Outer { dst_mac, src, dst }).collect()
            })
            .unwrap();
        if arrived.len() >= batch.len() && !outers.is_empty() && outers.iter().all(&right) {
            return assert_same_frames(what, &batch, &arrived);
        }
        assert!(
            !late,
            "{what}, {kind:?}: not followed within {SOON:?}: {} of {} frames, {outers:?}; {}",
            arrived.len(),
            batch.len(),
            peer(&rig.stats(), "ids")
        );
    }
}

/// Sends frames until copies are lost for one of these reasons. That must be soon.
fn is_lost(rig: &Rig, what: &str, kind: Kind, number: &mut u64, reasons: &[&str]) {
    let lost = |stats: &serde_json::Value| -> u64 {
        reasons.iter().map(|reason| packets(&peer(stats, "ids")["reasons"][*reason])).sum()
    };
    let (start, already) = (Instant::now(), lost(&rig.stats()));
    loop {
        common::traffic::send(&rig.host, "eth0", &frames(rig, kind, *number, BATCH));
        *number += BATCH;
        let stats = rig.stats();
        if lost(&stats) > already {
            return;
        }
        let ids = peer(&stats, "ids");
        assert!(start.elapsed() < SOON, "{what}, {kind:?}: not noticed within {SOON:?}: {ids}");
    }
}

/// One address behind the collector, which is the gateway to it, in each family.
fn behind(family: Family) -> &'static str {
    if family == V4 { "10.3.0.2" } else { "fd00:3::2" }
}

/// The collector's address on the second cable.
fn second(family: Family) -> &'static str {
    if family == V4 { "10.4.0.2" } else { "fd00:4::2" }
}

/// The host's address there.
fn second_local(family: Family) -> &'static str {
    if family == V4 { "10.4.0.1" } else { "fd00:4::1" }
}

fn prefix(family: Family) -> &'static str {
    if family == V4 { "32" } else { "128" }
}

/// A rig with two cables to the collector, eth1 and eth2, at its eth0 and eth1; and an address behind it.
fn rig() -> Rig {
    let rig = flow_rig(1500);
    cable((&rig.host, "eth2", second_local(V4)), (&rig.collector, "eth1", second(V4)), 1500);
    add_ipv6(&rig, &rig.host, "eth2", second_local(V6));
    add_ipv6(&rig, &rig.collector, "eth1", second(V6));
    for family in FAMILIES {
        let (address, prefix) = (behind(family), prefix(family));
        sysctl(&rig.collector, "net/ipv6/conf/lo/disable_ipv6", "0");
        rig.tool(&rig.collector, &format!("ip address add {address}/{prefix} dev lo"));
    }
    for host in [&rig.host, &rig.collector] {
        // Who takes a new address tells it; who looks for one asks often.
        for (key, value) in [("ipv4/conf/all/arp_notify", "1"), ("ipv6/conf/all/ndisc_notify", "1")] {
            sysctl(host, &format!("net/{key}"), value);
        }
    }
    for ifname in ["eth1", "eth2"] {
        for family in ["ipv4", "ipv6"] {
            // What the kernel waits between two questions for a neighbour is a second, else.
            sysctl(&rig.host, &format!("net/{family}/neigh/{ifname}/retrans_time_ms"), "50");
        }
    }
    rig
}

fn add_ids(rig: &Rig, family: Family, remote: &str, more: &[&str]) {
    let vni = family.vni.to_string();
    let args = ["peer", "add", "ids", "--tunnel", "vxlan", "--remote", remote, "--vni", &vni];
    rig.ebmirror(&[&args[..], more].concat()).ok();
}

fn at_collector<'a>(rig: &'a Rig, family: Family, ifname: &'a str) -> Place<'a> {
    Place { host: &rig.collector, ifname, decoder: family.decoder }
}

/// With each family and each kind of frame; the rig is the family's own.
fn each(scenario: impl Fn(&Rig, Family, &mut dyn FnMut(&dyn Fn(Kind, &mut u64)))) {
    FAMILIES.into_iter().for_each(|family| with(family, &scenario));
}

fn with(family: Family, scenario: impl Fn(&Rig, Family, &mut dyn FnMut(&dyn Fn(Kind, &mut u64)))) {
    let rig = rig();
    rig.ebmirror(&["attach", "eth0"]).ok();
    let mut number = 0;
    scenario(&rig, family, &mut |change| {
        for kind in KINDS {
            change(kind, &mut number);
        }
    });
    rig.balanced();
}

fn route(rig: &Rig, family: Family, line: &str) {
    let ip = if family == V4 { "ip" } else { "ip -6" };
    rig.tool(&rig.host, &format!("{ip} route {line}"));
}

#[test]
fn a_collector_on_the_link_gets_every_kind() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &[]);
        let mac = rig.collector.mac("eth0").unwrap();
        let right = Outer { dst_mac: mac, src: address(family.underlay), dst: address(family.collector) };
        with_each_kind(&|kind, number| {
            follows(rig, family.name, kind, number, &at_collector(rig, family, "eth0"), |outer| *outer == right);
        });
        assert_eq!(reasons(peer(&rig.balanced(), "ids")), Vec::<&str>::new());
    });
}

#[test]
fn a_collector_behind_a_gateway_gets_every_kind() {
    each(|rig, family, with_each_kind| {
        route(rig, family, &format!("add {} via {}", behind(family), family.collector));
        add_ids(rig, family, behind(family), &[]);
        let mac = rig.collector.mac("eth0").unwrap();
        let right = Outer { dst_mac: mac, src: address(family.underlay), dst: address(behind(family)) };
        with_each_kind(&|kind, number| {
            follows(rig, family.name, kind, number, &at_collector(rig, family, "eth0"), |outer| *outer == right);
        });
        assert_eq!(reasons(peer(&rig.balanced(), "ids")), Vec::<&str>::new());
    });
}

#[test]
fn a_collector_behind_a_gateway_of_the_other_family_gets_every_kind() {
    let rig = rig();
    rig.ebmirror(&["attach", "eth0"]).ok();
    rig.tool(&rig.host, &format!("ip route add {} via inet6 {}", behind(V4), V6.collector));
    add_ids(&rig, V4, behind(V4), &[]);
    let right =
        Outer { dst_mac: rig.collector.mac("eth0").unwrap(), src: address(V4.underlay), dst: address(behind(V4)) };
    let mut number = 0;
    for kind in KINDS {
        follows(&rig, "via inet6", kind, &mut number, &at_collector(&rig, V4, "eth0"), |outer| *outer == right);
    }
    rig.balanced();
}

/// The host's address is a bridge's, the cable is one of its ports.
#[test]
fn a_collector_through_a_bridge_gets_every_kind() {
    each(|rig, family, with_each_kind| {
        rig.tool(&rig.host, "ip link add br0 type bridge");
        rig.tool(&rig.host, "ip address flush dev eth1");
        sysctl(&rig.host, "net/ipv6/conf/eth1/disable_ipv6", "1");
        rig.tool(&rig.host, "ip link set dev eth1 master br0");
        rig.tool(&rig.host, &format!("ip address add {}/24 dev br0", V4.underlay));
        add_ipv6(rig, &rig.host, "br0", V6.underlay);
        rig.tool(&rig.host, "ip link set dev br0 up");
        wait_for("the bridge to forward", || rig.tool(&rig.host, "ip -o link show br0").contains("LOWER_UP"));
        add_ids(rig, family, family.collector, &[]);
        let right = |outer: &Outer| outer.src == address(family.underlay) && outer.dst == address(family.collector);
        with_each_kind(&|kind, number| {
            rig.tool(&rig.host, "ip neigh flush dev br0");
            follows(rig, family.name, kind, number, &at_collector(rig, family, "eth0"), right);
        });
    });
}

/// The collector is on the mirrored wire: what goes to it is not copied again.
#[test]
fn a_collector_on_the_mirrored_interface_gets_every_kind() {
    each(|rig, family, with_each_kind| {
        let (client, host) = if family == V4 { (CLIENT, HOST) } else { (CLIENT6, HOST6) };
        let tunnel = format!("vxlan id {} dstport 4789 local {client} udp6zerocsumrx", family.vni);
        rig.tool(&rig.client, &format!("ip link add vx type {tunnel}"));
        rig.tool(&rig.client, "ip link set dev vx up");
        for family in ["ipv4/ipfrag", "ipv6/ip6frag"] {
            sysctl(&rig.client, &format!("net/{family}_high_thresh"), "67108864");
        }
        add_ids(rig, family, client, &[]);
        let place = Place { host: &rig.client, ifname: "eth0", decoder: "vx" };
        // Production is on this wire, too.
        let right = |outer: &Outer| outer.src == address(host) || outer.src == IpAddr::V4(common::traffic::NOBODY[0]);
        with_each_kind(&|kind, number| {
            follows(rig, family.name, kind, number, &place, right);
        });
        let stats = rig.balanced();
        assert_eq!(reasons(peer(&stats, "ids")), Vec::<&str>::new(), "{stats}");
    });
}

/// The collector is the host itself: by the address of the mirrored interface, and by that of another one.
#[test]
fn a_collector_on_the_host_itself_gets_every_kind() {
    each(|rig, family, with_each_kind| {
        sysctl(&rig.host, "net/ipv6/conf/lo/disable_ipv6", "0");
        let tunnel = format!("vxlan id {} dstport 4789 local {} udp6zerocsumrx", family.vni, family.underlay);
        rig.tool(&rig.host, &format!("ip link add vx type {tunnel}"));
        rig.tool(&rig.host, "ip link set dev vx up");
        for (remote, command) in [(family.underlay, "add"), (family.host, "set")] {
            match command {
                "add" => add_ids(rig, family, remote, &[]),
                _ => drop(rig.ebmirror(&["peer", "set", "ids", "--remote", remote]).ok()),
            }
            let place = Place { host: &rig.host, ifname: "lo", decoder: "vx" };
            with_each_kind(&|kind, number| {
                let what = format!("{} at {remote}", family.name);
                follows(rig, &what, kind, number, &place, |outer| outer.dst == address(remote));
            });
        }
    });
}

/// Nobody has ever asked for the neighbour, or it was forgotten while copies flow.
#[test]
fn a_neighbour_that_is_unknown_or_gone_is_asked_for() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &[]);
        let place = at_collector(rig, family, "eth0");
        with_each_kind(&|kind, number| {
            for what in ["unknown", "gone"] {
                rig.tool(&rig.host, "ip neigh flush dev eth1");
                follows(rig, &format!("{}, {what}", family.name), kind, number, &place, |_| true);
            }
        });
        let stats = rig.balanced();
        let ids = peer(&stats, "ids");
        assert_eq!(ids["lost"], ids["reasons"]["no_neighbour"], "{stats}");
    });
}

/// The neighbour does not answer for a while, so that it is known as failed; then it does.
#[test]
fn a_neighbour_that_answers_again_is_found() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &[]);
        with_each_kind(&|kind, number| {
            rig.tool(&rig.collector, "ip link set dev eth0 arp off");
            rig.tool(&rig.collector, "ip link set dev eth0 multicast off");
            let v6 = format!("ip address del {}/64 dev eth0", V6.collector);
            rig.tool(&rig.collector, &v6);
            rig.tool(&rig.host, "ip neigh flush dev eth1");
            is_lost(rig, family.name, kind, number, &["no_neighbour"]);
            rig.tool(&rig.collector, "ip link set dev eth0 arp on");
            rig.tool(&rig.collector, "ip link set dev eth0 multicast on");
            rig.tool(&rig.collector, &format!("ip address add {}/64 dev eth0 nodad", V6.collector));
            follows(rig, family.name, kind, number, &at_collector(rig, family, "eth0"), |_| true);
        });
    });
}

/// And it tells so, as hosts do that take an address over.
#[test]
fn a_new_mac_address_of_the_collector_is_followed() {
    each(|rig, family, with_each_kind| {
        for (gateway, remote) in [(false, family.collector), (true, behind(family))] {
            if gateway {
                route(rig, family, &format!("add {} via {}", behind(family), family.collector));
                rig.ebmirror(&["peer", "del", "ids"]).ok();
            }
            add_ids(rig, family, remote, &[]);
            with_each_kind(&|kind, number| {
                follows(rig, "at first", kind, number, &at_collector(rig, family, "eth0"), |_| true);
                let mac = [2, 0, 0, 0, 0xaa, *number as u8];
                rig.tool(&rig.collector, &format!("ip link set dev eth0 address {}", mac_text(mac)));
                let what = format!("{}, gateway: {gateway}", family.name);
                let place = at_collector(rig, family, "eth0");
                follows(rig, &what, kind, number, &place, |outer| outer.dst_mac == mac);
            });
        }
    });
}

/// Copies tell the kernel nothing about whether the neighbour is there. It finds out, because it is asked from time to time.
#[test]
fn a_new_mac_address_that_nobody_tells_is_noticed() {
    each(|rig, family, with_each_kind| {
        for (key, value) in [("base_reachable_time_ms", "500"), ("delay_first_probe_time", "1"), ("ucast_solicit", "1")]
        {
            let family = if family == V4 { "ipv4" } else { "ipv6" };
            sysctl(&rig.host, &format!("net/{family}/neigh/eth1/{key}"), value);
        }
        for (key, value) in [("ipv4/conf/all/arp_notify", "0"), ("ipv6/conf/all/ndisc_notify", "0")] {
            sysctl(&rig.collector, &format!("net/{key}"), value);
        }
        add_ids(rig, family, family.collector, &[]);
        with_each_kind(&|kind, number| {
            let mac = [2, 0, 0, 0, 0xbb, *number as u8];
            rig.tool(&rig.collector, &format!("ip link set dev eth0 address {}", mac_text(mac)));
            let decoded = Decoded::of(rig, family);
            let outer = record(&rig.collector, "eth0");
            let sender = rig.host.run(|| Sender::open("eth0")).unwrap().unwrap();
            // The kernel's own times, not ours: a second of delay, and questions.
            wait_for(&format!("{}, {kind:?}: the kernel to ask again", family.name), || {
                frames(rig, kind, *number, 1).iter().for_each(|frame| sender.send(frame).unwrap());
                *number += 1;
                let to_new = |frame: &Frame| !frame.outgoing && frame.bytes[..6] == mac;
                decoded.count() > 0 && outer.with(|frames| frames.iter().any(to_new)).unwrap()
            });
        });
    });
}

/// Whatever the tunnel: each kind of copy, alone, makes the kernel ask.
#[test]
fn every_tunnel_finds_its_neighbour() {
    let tunnels: [&[&str]; 6] = [
        &["vxlan", "--vni", "7"],
        &["geneve", "--vni", "7"],
        &["gre"],
        &["gre", "--key", "7"],
        &["erspan2", "--session", "7"],
        &["erspan3", "--session", "7"],
    ];
    let rig = rig();
    rig.ebmirror(&["attach", "eth0"]).ok();
    let mut number = 0;
    for family in FAMILIES {
        for tunnel in tunnels {
            let what = format!("{tunnel:?} over {}", family.name);
            let args = ["peer", "add", "ids", "--remote", family.collector, "--tunnel"];
            rig.ebmirror(&[&args[..], tunnel].concat()).ok();
            for kind in KINDS {
                let collector = record(&rig.collector, "eth0");
                rig.tool(&rig.host, "ip neigh flush dev eth1");
                let start = Instant::now();
                loop {
                    let late = start.elapsed() > SOON;
                    let batch = frames(&rig, kind, number, BATCH);
                    number += BATCH;
                    common::traffic::send(&rig.host, "eth0", &batch);
                    let sent = Instant::now();
                    let all_arrive = || {
                        let copies = collector.with(flows::delivered).unwrap();
                        batch.iter().all(|frame| copies.iter().any(|copy| copy.inner == *frame))
                    };
                    while !all_arrive() && sent.elapsed() < if late { PATIENCE } else { ON_THE_WAY } {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    if all_arrive() {
                        break;
                    }
                    assert!(!late, "{what}, {kind:?}: not found within {SOON:?}: {}", peer(&rig.stats(), "ids"));
                }
            }
            let stats = rig.balanced();
            let ids = peer(&stats, "ids");
            assert_eq!(ids["lost"], ids["reasons"]["no_neighbour"], "{what}: {stats}");
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

#[test]
fn a_route_that_moves_to_another_device_is_followed() {
    each(|rig, family, with_each_kind| {
        route(rig, family, &format!("add {} via {}", behind(family), family.collector));
        add_ids(rig, family, behind(family), &[]);
        with_each_kind(&|kind, number| {
            for (via, ifname, src) in
                [(second(family), "eth1", second_local(family)), (family.collector, "eth0", family.underlay)]
            {
                route(rig, family, &format!("replace {} via {via}", behind(family)));
                let right = |outer: &Outer| outer.src == address(src) && outer.dst == address(behind(family));
                let place = at_collector(rig, family, ifname);
                follows(rig, &format!("{}, via {via}", family.name), kind, number, &place, right);
            }
        });
    });
}

#[test]
fn a_route_that_goes_and_comes_is_followed() {
    each(|rig, family, with_each_kind| {
        route(rig, family, &format!("add {} via {}", behind(family), family.collector));
        add_ids(rig, family, behind(family), &[]);
        with_each_kind(&|kind, number| {
            for gone in ["del", "replace blackhole", "replace unreachable", "replace prohibit"] {
                let via = format!("{} via {}", behind(family), family.collector);
                // A route of another type stands beside the first one in IPv6.
                route(rig, family, &format!("del {via}"));
                if gone != "del" {
                    route(rig, family, &format!("{gone} {}", behind(family)));
                }
                is_lost(rig, &format!("{}, {gone}", family.name), kind, number, &["no_route"]);
                if gone != "del" {
                    let kind = gone.split_whitespace().last().unwrap();
                    route(rig, family, &format!("del {kind} {}", behind(family)));
                }
                route(rig, family, &format!("add {via}"));
                let place = at_collector(rig, family, "eth0");
                follows(rig, &format!("{}, after {gone}", family.name), kind, number, &place, |_| true);
            }
        });
        assert_eq!(reasons(peer(&rig.balanced(), "ids")), ["no_route"]);
    });
}

#[test]
fn a_link_that_goes_down_and_up_is_followed() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &[]);
        // IPv6 addresses are the interface's as long as it is up.
        sysctl(&rig.host, "net/ipv6/conf/eth1/keep_addr_on_down", "1");
        with_each_kind(&|kind, number| {
            let follows = |what: &str, number: &mut u64| {
                let what = format!("{}, {what}", family.name);
                follows(rig, &what, kind, number, &at_collector(rig, family, "eth0"), |_| true);
            };
            follows("at first", number);
            rig.tool(&rig.host, "ip link set dev eth1 down");
            is_lost(rig, "the interface is down", kind, number, &["no_route", "no_neighbour"]);
            rig.tool(&rig.host, "ip link set dev eth1 up");
            follows("the interface is up again", number);
            sysctl(&rig.collector, "net/ipv6/conf/eth0/keep_addr_on_down", "1");
            rig.tool(&rig.collector, "ip link set dev eth0 down");
            is_lost(rig, "no carrier", kind, number, &["no_route", "no_neighbour"]);
            rig.tool(&rig.collector, "ip link set dev eth0 up");
            follows("the carrier is back", number);
        });
    });
}

/// While the first way is down, a second one with a worse metric serves.
#[test]
fn a_link_that_goes_down_gives_way_to_another() {
    each(|rig, family, with_each_kind| {
        let remote = behind(family);
        sysctl(&rig.host, "net/ipv6/conf/eth1/keep_addr_on_down", "1");
        route(rig, family, &format!("add {remote} via {} metric 200", second(family)));
        route(rig, family, &format!("add {remote} via {} metric 100", family.collector));
        add_ids(rig, family, remote, &[]);
        with_each_kind(&|kind, number| {
            follows(rig, "the first way", kind, number, &at_collector(rig, family, "eth0"), |_| true);
            rig.tool(&rig.host, "ip link set dev eth1 down");
            let right = |outer: &Outer| outer.src == address(second_local(family));
            follows(rig, "the second way", kind, number, &at_collector(rig, family, "eth1"), right);
            rig.tool(&rig.host, "ip link set dev eth1 up");
            route(rig, family, &format!("replace {remote} via {} metric 100", family.collector));
            let right = |outer: &Outer| outer.src == address(family.underlay);
            follows(rig, "the first way again", kind, number, &at_collector(rig, family, "eth0"), right);
        });
    });
}

#[test]
fn another_source_address_is_followed() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &[]);
        let (length, other, connected) =
            if family == V4 { ("24", "10.2.0.77", "10.2.0.0/24") } else { ("64", "fd00:2::77", "fd00:2::/64") };
        rig.tool(&rig.host, &format!("ip address add {other}/{length} dev eth1 {}", nodad(family)));
        with_each_kind(&|kind, number| {
            for src in [other, family.underlay] {
                let proto = if family == V4 { " proto kernel scope link" } else { " proto kernel metric 256" };
                route(rig, family, &format!("replace {connected} dev eth1 src {src}{proto}"));
                let place = at_collector(rig, family, "eth0");
                let right = |outer: &Outer| outer.src == address(src);
                follows(rig, &format!("{}, from {src}", family.name), kind, number, &place, right);
            }
        });
        // The address goes away altogether.
        let last = |kind: Kind, number: &mut u64| {
            let right = |outer: &Outer| outer.src == address(other);
            follows(rig, "the old address is gone", kind, number, &at_collector(rig, family, "eth0"), right);
        };
        route(rig, family, &format!("replace {connected} dev eth1 src {other}"));
        rig.tool(&rig.host, &format!("ip address del {}/{length} dev eth1", family.underlay));
        // In IPv4 the second address of a subnet goes with the first one.
        rig.tool(&rig.host, &format!("ip address replace {other}/{length} dev eth1 {}", nodad(family)));
        with_each_kind(&last);
    });
}

fn nodad(family: Family) -> &'static str {
    if family == V4 { "" } else { "nodad" }
}

/// An address that the user gives stays, whatever the route would choose.
#[test]
fn a_source_address_that_was_asked_for_stays() {
    each(|rig, family, with_each_kind| {
        let mine = second_local(family);
        add_ids(rig, family, family.collector, &["--local", mine]);
        with_each_kind(&|kind, number| {
            let right = |outer: &Outer| outer.src == address(mine);
            follows(rig, family.name, kind, number, &at_collector(rig, family, "eth0"), right);
        });
    });
}

/// `--dev` decides the device, not the best route. Over IPv6 the kernel tells no other way than the best route's: where that is
/// another device's, the copies are lost, and it is said.
fn output_device_is_chosen(family: Family) {
    with(family, |rig, family, with_each_kind| {
        let remote = behind(family);
        route(rig, family, &format!("add {remote} via {} metric 100", family.collector));
        route(rig, family, &format!("add {remote} via {} metric 200", second(family)));
        add_ids(rig, family, remote, &["--dev", "eth2"]);
        with_each_kind(&|kind, number| {
            if family == V6 {
                return is_lost(rig, "by eth2", kind, number, &["no_route"]);
            }
            let right = |outer: &Outer| outer.src == address(second_local(family)) && outer.dst == address(remote);
            follows(rig, "by eth2", kind, number, &at_collector(rig, family, "eth1"), right);
            rig.tool(&rig.host, "ip neigh flush dev eth2");
            follows(rig, "by eth2, unknown", kind, number, &at_collector(rig, family, "eth1"), right);
        });
        rig.ebmirror(&["peer", "set", "ids", "--dev", "eth1"]).ok();
        with_each_kind(&|kind, number| {
            let right = |outer: &Outer| outer.src == address(family.underlay) && outer.dst == address(remote);
            follows(rig, "by eth1", kind, number, &at_collector(rig, family, "eth0"), right);
        });
        // The device that was chosen has no route any more: the copies take no other.
        route(rig, family, &format!("del {remote} via {} metric 100", family.collector));
        let elsewhere = record(&rig.collector, "eth1");
        let start = Instant::now();
        while start.elapsed() < SOON {
            common::traffic::send(&rig.host, "eth0", &frames(rig, Kind::SmallIpv4, 1_000_000, BATCH));
        }
        rig.balanced();
        let is_copy =
            |frame: &Frame| Parsed::new(&frame.bytes).and_then(|parsed| Some(parsed.ip?.dst)) == Some(address(remote));
        let strays = elsewhere.finish().unwrap().iter().filter(|frame| is_copy(frame)).count();
        assert_eq!(strays, 0, "{}: by eth2", family.name);
    });
}

#[test]
fn the_output_device_can_be_chosen() {
    output_device_is_chosen(V4);
}

#[test]
fn the_output_device_can_be_chosen_over_ipv6() {
    output_device_is_chosen(V6);
}

/// The MTU of the way is that of the device now.
#[test]
fn a_changed_mtu_is_followed() {
    each(|rig, family, with_each_kind| {
        add_ids(rig, family, family.collector, &["--oversize", "drop"]);
        for (mtu, fits) in [(1600, true), (1400, false), (1600, true)] {
            // The lower first, so that nothing is sent that the other side cannot take.
            let ends = [(&rig.collector, "eth0"), (&rig.host, "eth1")];
            for (host, ifname) in ends {
                rig.tool(host, &format!("ip link set dev {ifname} mtu {mtu}"));
            }
            let mut number = u64::from(mtu as u32) * 1000 + u64::from(fits);
            if fits {
                let place = at_collector(rig, family, "eth0");
                follows(rig, &format!("MTU {mtu}"), Kind::TooLarge, &mut number, &place, |_| true);
            } else {
                is_lost(rig, &format!("MTU {mtu}"), Kind::TooLarge, &mut number, &["too_big"]);
            }
        }
        with_each_kind(&|kind, number| {
            follows(rig, "at last", kind, number, &at_collector(rig, family, "eth0"), |_| true);
        });
    });
}
