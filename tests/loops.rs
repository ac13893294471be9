//! Mirrors that see their own copies: as many copies leave as frames came in, and then it is quiet, whoever mirrors what to
//! whom. What is not a copy is never taken for one.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/flows.rs"]
mod flows;
#[path = "common/foreign.rs"]
mod foreign;

use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use common::traffic::{
    NOBODY, cable, client_to_host, counter, host_to_client, mac_text, packets, quiet_rig, reasons, record, send,
    sysctl, udp_frames,
};
use common::{CLIENT, COLLECTOR, HOST, Rig, UNDERLAY, check_books};
use ebmirror::kernel::netlink::CLSACT_EGRESS;
use ebmirror::lab::capture::Frame;
use ebmirror::lab::compare::{Packet, compare};
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::parse::Parsed;
use ebmirror::lab::summary::summary;
use ebmirror::model::interface::{Direction, Order};
use flows::{
    CLIENT6, Conversation, Datagrams, Decoded, FAMILIES, Family, HOST6, V4, V6, add_ipv6, address, flow_rig, settle,
};
use nix::sys::socket::{AddressFamily, setsockopt, sockopt};
use serde_json::Value;

/// How long nothing may move until it counts as rest: a loop goes round thousands of times in this time.
const REST: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(15);
const SINK_BYTES: usize = 64 * 1024 * 1024;
/// Frames of each test.
const COUNT: u64 = 40;

/// Every tunnel, with what names its copies.
const TUNNELS: [&[&str]; 6] = [
    &["--tunnel", "vxlan", "--vni", "42"],
    &["--tunnel", "geneve", "--vni", "42"],
    &["--tunnel", "gre"],
    &["--tunnel", "gre", "--key", "7"],
    &["--tunnel", "erspan2", "--session", "5"],
    &["--tunnel", "erspan3", "--session", "5"],
];
const VXLAN: &[&str] = TUNNELS[0];

fn stats(rig: &Rig, host: &Host) -> Value {
    rig.ebmirror_in(host, &["--json", "stats"]).ok().json()
}

/// Waits until all counters stand still, and returns them; the books balance then.
fn at_rest(rig: &Rig, what: &str, hosts: &[&Host]) -> Vec<Value> {
    let read = || hosts.iter().map(|host| stats(rig, host)).collect::<Vec<_>>();
    let deadline = Instant::now() + PATIENCE;
    let mut last = read();
    loop {
        std::thread::sleep(REST);
        let now = read();
        if now == last {
            now.iter().for_each(check_books);
            return now;
        }
        assert!(Instant::now() < deadline, "{what}: does not come to rest: {}\n{}", show(&last), show(&now));
        last = now;
    }
}

/// The documents, for people: a line each.
fn show(stats: &[Value]) -> String {
    stats.iter().map(|stats| format!("\n{stats}")).collect()
}

/// Over all interfaces.
fn total(stats: &Value, key: &str) -> u64 {
    stats["interfaces"].as_array().unwrap().iter().map(|row| packets(&row[key])).sum()
}

fn sent(stats: &Value) -> u64 {
    stats["peers"].as_array().unwrap().iter().map(|row| packets(&row["sent"])).sum()
}

fn lost(stats: &Value) -> u64 {
    stats["peers"].as_array().unwrap().iter().map(|row| packets(&row["lost"])).sum()
}

/// What has been added since.
fn since(before: &[Value], after: &[Value], count: impl Fn(&Value) -> u64) -> Vec<u64> {
    before.iter().zip(after).map(|(before, after)| count(after) - count(before)).collect()
}

/// Takes what comes in tunnels and says nothing, where the kernel would answer that nobody listens.
struct Sink {
    _udp: Vec<UdpSocket>,
    _raw: Vec<OwnedFd>,
}

impl Sink {
    fn on(host: &Host) -> Self {
        host.attempt("listening", || {
            let udp = [4789, 4790, 6081].map(|port| UdpSocket::bind((IpAddr::from([0; 16]), port)));
            let raw = [AddressFamily::Inet, AddressFamily::Inet6].map(|family| {
                // SAFETY: the call takes no pointers; 47 is GRE.
                let fd = unsafe { libc::socket(family as i32, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 47) };
                assert!(fd >= 0, "a raw socket: {}", std::io::Error::last_os_error());
                // SAFETY: the descriptor is new and nobody else's.
                let raw = unsafe { OwnedFd::from_raw_fd(fd) };
                // A raw socket whose buffer is full counts as none, and the kernel answers.
                setsockopt(&raw, sockopt::RcvBufForce, &SINK_BYTES).unwrap();
                raw
            });
            Ok(Self { _udp: udp.into_iter().collect::<Result<_, _>>()?, _raw: raw.into() })
        })
        .unwrap()
    }
}

/// A host on whose wires nothing is but what a test sends.
fn quiet_host(name: &'static str) -> Host {
    let host = Host::new(name).unwrap();
    sysctl(&host, "net/ipv6/conf/all/disable_ipv6", "1");
    host
}

/// Both ends of a cable know each other for good, in both families.
fn acquaint(rig: &Rig, a: (&Host, &str, [&str; 2]), b: (&Host, &str, [&str; 2])) {
    for (one, other) in [(a, b), (b, a)] {
        let mac = mac_text(other.0.mac(other.1).unwrap());
        for address in other.2.into_iter().filter(|address| !address.is_empty()) {
            rig.tool(one.0, &format!("ip neigh replace {address} lladdr {mac} nud permanent dev {}", one.1));
        }
    }
}

/// Adds an IPv6 address, without one of the link.
fn with_ipv6(rig: &Rig, host: &Host, ifname: &str, address: &str) {
    sysctl(host, &format!("net/ipv6/conf/{ifname}/addr_gen_mode"), "1");
    add_ipv6(rig, host, ifname, address);
}

/// The rig, with IPv6 as well, in which everybody knows everybody.
fn rig() -> Rig {
    let rig = quiet_rig(1500);
    for (host, ifname, address) in [
        (&rig.client, "eth0", V6.client),
        (&rig.host, "eth0", V6.host),
        (&rig.host, "eth1", V6.underlay),
        (&rig.collector, "eth0", V6.collector),
    ] {
        with_ipv6(&rig, host, ifname, address);
    }
    acquaint(&rig, (&rig.client, "eth0", [CLIENT, CLIENT6]), (&rig.host, "eth0", [HOST, HOST6]));
    let far = (&rig.collector, "eth0", [COLLECTOR, V6.collector]);
    acquaint(&rig, (&rig.host, "eth1", [UNDERLAY, V6.underlay]), far);
    rig
}

/// The rig's collector no longer decodes: it is one more host.
fn without_decoder(rig: &Rig) {
    rig.tool(&rig.collector, "ip link del vx0");
}

fn add_peer(rig: &Rig, host: &Host, remote: &str, tunnel: &[&str]) {
    rig.ebmirror_in(host, &[&["peer", "add", "ids", "--remote", remote], tunnel].concat()).ok();
}

/// What comes in and what leaves at eth0.
fn frames(rig: &Rig, length: usize) -> [Vec<Vec<u8>>; 2] {
    [udp_frames(&client_to_host(rig), 0..COUNT / 2, length), udp_frames(&host_to_client(rig), COUNT / 2..COUNT, length)]
}

fn send_both(rig: &Rig, length: usize) {
    let [inbound, outbound] = frames(rig, length);
    send(&rig.client, "eth0", &inbound);
    send(&rig.host, "eth0", &outbound);
}

#[test]
fn a_collector_behind_the_mirrored_interface_gets_each_frame_once() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = rig();
            let _sink = Sink::on(&rig.client);
            rig.ebmirror(&["attach", "eth0"]).ok();
            add_peer(&rig, &rig.host, family.client, tunnel);
            let before = at_rest(&rig, &what, &[&rig.host]);
            send_both(&rig, 300);
            let after = at_rest(&rig, &what, &[&rig.host]);
            let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
            let counts = (added(&|s| total(s, "selected")), added(&sent), added(&|s| total(s, "own")), added(&lost));
            assert_eq!(counts, (COUNT, COUNT, COUNT, 0), "{what}: selected, sent, own, lost: {}", show(&after));
        }
    }
}

#[test]
fn a_mirrored_underlay_carries_each_copy_once() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = rig();
            without_decoder(&rig);
            let _sink = Sink::on(&rig.collector);
            rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
            add_peer(&rig, &rig.host, family.collector, tunnel);
            let before = at_rest(&rig, &what, &[&rig.host]);
            send_both(&rig, 300);
            // What else is on the underlay is copied, both ways.
            let there = Ethernet::new(rig.host.mac("eth1").unwrap(), rig.collector.mac("eth0").unwrap());
            let back = Ethernet::new(there.dst, there.src);
            send(&rig.host, "eth1", &udp_frames(&there, 100..100 + COUNT, 200));
            send(&rig.collector, "eth0", &udp_frames(&back, 200..200 + COUNT, 200));
            let after = at_rest(&rig, &what, &[&rig.host]);
            let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
            let counts = (added(&|s| total(s, "selected")), added(&sent), added(&|s| total(s, "own")), added(&lost));
            assert_eq!(
                counts,
                (3 * COUNT, 3 * COUNT, 3 * COUNT, 0),
                "{what}: selected, sent, own, lost: {}",
                show(&after)
            );
        }
    }
}

/// A program of somebody else that sets the mark to 0 and lets the packet go on.
fn mark_clearer() -> OwnedFd {
    // r2 = 0; *(u32 *)(r1 + offsetof(struct __sk_buff, mark)) = r2; r0 = TCX_NEXT; exit
    let instructions: [u64; 4] = [0x02b7, 0x8_2163, 0xffff_ffff_0000_00b7, 0x95];
    foreign::load("mark_clearer", &instructions)
}

/// Attaches it to a device, in the TCX chain.
fn clear_marks(host: &Host, device: &str, direction: Direction, order: Order) -> OwnedFd {
    foreign::attach(&mark_clearer(), host, device, direction, order)
}

/// Traffic both ways: each frame is copied once, and each copy known.
fn copies_without_a_mark_are_known(rig: &Rig, what: &str) {
    let before = at_rest(rig, what, &[&rig.host]);
    send_both(rig, 300);
    let after = at_rest(rig, what, &[&rig.host]);
    let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
    let counts = (added(&|s| total(s, "selected")), added(&sent), added(&|s| total(s, "own")));
    assert_eq!(counts, (COUNT, COUNT, COUNT), "{what}: selected, sent, own: {}", show(&after));
}

#[test]
fn a_program_that_clears_the_mark_makes_no_loop() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            for order in [Order::First, Order::Last] {
                let what = format!("{tunnel:?} over {}, {order:?}", family.name);
                let rig = rig();
                without_decoder(&rig);
                let _sink = Sink::on(&rig.collector);
                rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
                add_peer(&rig, &rig.host, family.collector, tunnel);
                let _clearer = clear_marks(&rig.host, "eth1", Direction::Egress, order);
                copies_without_a_mark_are_known(&rig, &what);
            }
        }
    }
}

#[test]
fn a_filter_that_clears_the_mark_makes_no_loop() {
    for tunnel in TUNNELS {
        let what = format!("{tunnel:?}");
        let rig = rig();
        without_decoder(&rig);
        let _sink = Sink::on(&rig.collector);
        rig.tool(&rig.host, "tc qdisc add dev eth1 clsact");
        let (program, ifindex) = (mark_clearer(), rig.host.link("eth1").unwrap().ifindex);
        let netlink = rig.host.netlink().unwrap();
        netlink.add_bpf_filter(ifindex, CLSACT_EGRESS, 1, 1, program.as_fd(), "clear").unwrap();
        rig.ebmirror(&["attach", "eth0", "eth1", "--mode", "tc"]).ok();
        add_peer(&rig, &rig.host, COLLECTOR, tunnel);
        copies_without_a_mark_are_known(&rig, &what);
    }
}

/// The mark is gone where the copies go out, and each is two fragments, of which the second one tells nothing about itself.
#[test]
fn fragments_without_a_mark_make_no_loop() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = rig();
            without_decoder(&rig);
            let _sink = Sink::on(&rig.collector);
            rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
            add_peer(&rig, &rig.host, family.collector, tunnel);
            let _clearer = clear_marks(&rig.host, "eth1", Direction::Egress, Order::First);
            let before = at_rest(&rig, &what, &[&rig.host]);
            send_both(&rig, 1514);
            let after = at_rest(&rig, &what, &[&rig.host]);
            let selected = since(&before, &after, |s| total(s, "selected"))[0];
            assert_eq!(selected, COUNT, "{what}: {}", show(&after));
            assert_eq!(since(&before, &after, lost)[0], 0, "{what}: {}", show(&after));
        }
    }
}

/// With the mark, fragments are known, all of them.
#[test]
fn fragmented_copies_on_mirrored_interfaces_are_known() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            for mirrored in ["eth0", "eth1"] {
                let what = format!("{tunnel:?} over {} by {mirrored}", family.name);
                let rig = rig();
                without_decoder(&rig);
                let _sinks = [Sink::on(&rig.collector), Sink::on(&rig.client)];
                rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
                let remote = if mirrored == "eth0" { family.client } else { family.collector };
                add_peer(&rig, &rig.host, remote, tunnel);
                let before = at_rest(&rig, &what, &[&rig.host]);
                send_both(&rig, 1514);
                let after = at_rest(&rig, &what, &[&rig.host]);
                let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
                let counts = (added(&|s| total(s, "selected")), added(&sent), added(&lost));
                assert_eq!(counts, (COUNT, COUNT, 0), "{what}: selected, sent, lost: {}", show(&after));
                assert!(added(&|s| total(s, "own")) >= 2 * COUNT, "{what}: {}", show(&after));
            }
        }
    }
}

/// Two tunnels, different ones; and the same ones, for which one family will do.
fn pairs(family: Family) -> Vec<(&'static [&'static str], &'static [&'static str])> {
    let same = TUNNELS.map(|tunnel| (tunnel, tunnel)).into_iter().filter(|_| family == V4);
    let other = (0..TUNNELS.len()).map(|n| (TUNNELS[n], TUNNELS[(n + 1) % TUNNELS.len()]));
    same.chain(other).collect()
}

/// The host mirrors its client's wire, and the one to the collector, to the collector, which mirrors that wire to the host.
fn mutual(family: Family, a: &[&str], b: &[&str], length: usize) -> [Vec<u64>; 3] {
    let what = format!("{a:?} there, {b:?} back, over {}, {length} bytes", family.name);
    let rig = rig();
    without_decoder(&rig);
    let _sinks = [Sink::on(&rig.host), Sink::on(&rig.collector)];
    rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
    rig.ebmirror_in(&rig.collector, &["attach", "eth0"]).ok();
    add_peer(&rig, &rig.host, family.collector, a);
    add_peer(&rig, &rig.collector, family.underlay, b);
    let hosts = [&rig.host, &rig.collector];
    let before = at_rest(&rig, &what, &hosts);
    send_both(&rig, length);
    let after = at_rest(&rig, &what, &hosts);
    assert_eq!(since(&before, &after, lost), [0, 0], "{what}: {}", show(&after));
    [
        since(&before, &after, |s| total(s, "selected")),
        since(&before, &after, sent),
        since(&before, &after, |s| total(s, "own")),
    ]
}

#[test]
fn two_hosts_that_mirror_to_each_other_copy_each_frame_once() {
    for family in FAMILIES {
        for (a, b) in pairs(family) {
            let [selected, sent, own] = mutual(family, a, b, 300);
            let what = format!("{a:?} there, {b:?} back, over {}", family.name);
            assert_eq!((&selected[..], &sent[..]), (&[COUNT, COUNT][..], &[COUNT, COUNT][..]), "{what}");
            // Its own on their way out, and the other's copies of them.
            assert_eq!(own, [2 * COUNT, COUNT], "{what}");
        }
    }
}

/// Each fragment is a frame to the other host. Those that are not the first of their packet do not tell whose they are, so
/// they may be copied once more, but not for ever.
#[test]
fn two_hosts_that_mirror_fragments_to_each_other_come_to_rest() {
    for family in FAMILIES {
        for (a, b) in pairs(family) {
            let [selected, sent, _] = mutual(family, a, b, 1514);
            let what = format!("{a:?} there, {b:?} back, over {}: {selected:?} selected", family.name);
            assert_eq!(selected, sent, "{what}");
            // The other host sees each fragment as a frame.
            assert_eq!(selected, [COUNT, 2 * COUNT], "{what}");
        }
    }
}

/// One cable, mirrored at both ends, with each other as collector.
#[test]
fn two_ends_of_a_cable_that_mirror_it_to_each_other_come_to_rest() {
    for family in FAMILIES {
        for (a, b) in pairs(family) {
            let what = format!("{a:?} there, {b:?} back, over {}", family.name);
            let rig = rig();
            let _sinks = [Sink::on(&rig.host), Sink::on(&rig.client)];
            let hosts = [&rig.host, &rig.client];
            for (host, remote, tunnel) in [(hosts[0], family.client, a), (hosts[1], family.host, b)] {
                rig.ebmirror_in(host, &["attach", "eth0"]).ok();
                add_peer(&rig, host, remote, tunnel);
            }
            let before = at_rest(&rig, &what, &hosts);
            send_both(&rig, 300);
            let after = at_rest(&rig, &what, &hosts);
            // Each frame, and the other's copy of it. A copy of the latter has the other's header inside.
            let expected = [2 * COUNT, 2 * COUNT];
            assert_eq!(since(&before, &after, |s| total(s, "selected")), expected, "{what}: {}", show(&after));
            assert_eq!(since(&before, &after, sent), expected, "{what}: {}", show(&after));
        }
    }
}

/// host to collector, collector to a third one, the third one to the host; each mirrors all its wires.
fn ring(family: Family, tunnels: [&[&str]; 3], length: usize) -> [Vec<u64>; 3] {
    let what = format!("{tunnels:?} over {}, {length} bytes", family.name);
    let rig = rig();
    without_decoder(&rig);
    let third = quiet_host("third");
    cable((&rig.collector, "eth1", "10.6.0.1"), (&third, "eth0", "10.6.0.2"), 1500);
    cable((&third, "eth1", "10.7.0.1"), (&rig.host, "eth2", "10.7.0.2"), 1500);
    for (host, ifname, address) in [
        (&rig.collector, "eth1", "fd00:6::1"),
        (&third, "eth0", "fd00:6::2"),
        (&third, "eth1", "fd00:7::1"),
        (&rig.host, "eth2", "fd00:7::2"),
    ] {
        with_ipv6(&rig, host, ifname, address);
    }
    let ends = (["10.6.0.1", "fd00:6::1"], ["10.6.0.2", "fd00:6::2"]);
    acquaint(&rig, (&rig.collector, "eth1", ends.0), (&third, "eth0", ends.1));
    let ends = (["10.7.0.1", "fd00:7::1"], ["10.7.0.2", "fd00:7::2"]);
    acquaint(&rig, (&third, "eth1", ends.0), (&rig.host, "eth2", ends.1));

    let hosts = [&rig.host, &rig.collector, &third];
    let _sinks = hosts.map(Sink::on);
    let remotes =
        if family == V4 { [COLLECTOR, "10.6.0.2", "10.7.0.2"] } else { [V6.collector, "fd00:6::2", "fd00:7::2"] };
    let interfaces: [&[&str]; 3] = [&["eth0", "eth1", "eth2"], &["eth0", "eth1"], &["eth0", "eth1"]];
    for (n, host) in hosts.into_iter().enumerate() {
        rig.ebmirror_in(host, &[&["attach"], interfaces[n]].concat()).ok();
        add_peer(&rig, host, remotes[n], tunnels[n]);
    }
    let before = at_rest(&rig, &what, &hosts);
    send_both(&rig, length);
    let after = at_rest(&rig, &what, &hosts);
    assert_eq!(since(&before, &after, lost), [0, 0, 0], "{what}: {}", show(&after));
    [
        since(&before, &after, |s| total(s, "selected")),
        since(&before, &after, sent),
        since(&before, &after, |s| total(s, "own")),
    ]
}

fn rings(family: Family) -> Vec<[&'static [&'static str]; 3]> {
    let same = TUNNELS.map(|tunnel| [tunnel; 3]).into_iter().filter(|_| family == V4);
    let other = (0..TUNNELS.len()).map(|n| [0, 1, 2].map(|more| TUNNELS[(n + more) % TUNNELS.len()]));
    same.chain(other).collect()
}

#[test]
fn a_ring_of_three_copies_each_frame_once() {
    for family in FAMILIES {
        for tunnels in rings(family) {
            let [selected, sent, own] = ring(family, tunnels, 300);
            let what = format!("{tunnels:?} over {}", family.name);
            assert_eq!((&selected[..], &sent[..]), (&[COUNT; 3][..], &[COUNT; 3][..]), "{what}");
            // Its own on their way out, and what has come round inside of two others.
            assert_eq!(own, [2 * COUNT, COUNT, COUNT], "{what}");
        }
    }
}

/// Fragments of fragments of copies: bounded, and then quiet.
#[test]
fn a_ring_of_three_that_fragments_comes_to_rest() {
    for family in FAMILIES {
        for tunnels in rings(family) {
            let [selected, sent, _] = ring(family, tunnels, 1514);
            let what = format!("{tunnels:?} over {}: {selected:?} selected", family.name);
            assert_eq!(selected, sent, "{what}");
            // The first of two fragments may leave room for a tunnel around it: then its copy is no fragment.
            assert_eq!(selected[..2], [COUNT, 2 * COUNT], "{what}");
            assert!([2 * COUNT, 3 * COUNT].contains(&selected[2]), "{what}");
        }
    }
}

/// Nobody listens where the copies go, and the collector says so about each of them.
#[test]
fn errors_of_a_collector_that_does_not_listen_are_not_copied() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = rig();
            for (key, value) in [("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")] {
                sysctl(&rig.client, &format!("net/{key}"), value);
            }
            rig.ebmirror(&["attach", "eth0"]).ok();
            add_peer(&rig, &rig.host, family.client, tunnel);
            let before = at_rest(&rig, &what, &[&rig.host]);
            let errors = record(&rig.client, "eth0");
            send_both(&rig, 300);
            let after = at_rest(&rig, &what, &[&rig.host]);
            let errors =
                errors.finish().unwrap().iter().filter(|frame| frame.outgoing && is_icmp(frame)).count() as u64;
            // Linux says nothing about UDP over IPv6 without a checksum.
            let silent = family == V6 && tunnel.contains(&"--vni");
            assert!(errors > 0 || silent, "{what}: no error, nothing tested");
            let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
            let counts = (added(&|s| total(s, "selected")), added(&sent), added(&|s| total(s, "own")));
            assert_eq!(counts, (COUNT, COUNT, COUNT + errors), "{what}: selected, sent, own: {}", show(&after));
        }
    }
}

fn is_icmp(frame: &Frame) -> bool {
    Parsed::new(&frame.bytes).and_then(|parsed| Some(parsed.ip?.protocol)).is_some_and(|p| matches!(p, 1 | 58))
}

/// The copies live for one hop, and the gateway on the mirrored wire tells that they have died.
#[test]
fn errors_of_a_router_that_quote_a_copy_are_not_copied() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = rig();
            let remote = if family == V4 { "10.3.0.2" } else { "fd00:3::2" };
            let ip = if family == V4 { "ip" } else { "ip -6" };
            rig.tool(&rig.host, &format!("{ip} route add {remote} via {}", family.client));
            rig.tool(&rig.client, &format!("{ip} route add {remote} via {}", family.host));
            for (key, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ] {
                sysctl(&rig.client, &format!("net/{key}"), value);
            }
            rig.ebmirror(&["attach", "eth0"]).ok();
            add_peer(&rig, &rig.host, remote, &[tunnel, &["--ttl", "1"]].concat());
            let before = at_rest(&rig, &what, &[&rig.host]);
            let errors = record(&rig.client, "eth0");
            send_both(&rig, 300);
            let after = at_rest(&rig, &what, &[&rig.host]);
            let errors =
                errors.finish().unwrap().iter().filter(|frame| frame.outgoing && is_icmp(frame)).count() as u64;
            assert!(errors > 0, "{what}: no error, nothing tested");
            let added = |count: &dyn Fn(&Value) -> u64| since(&before, &after, count)[0];
            let counts = (added(&|s| total(s, "selected")), added(&sent), added(&|s| total(s, "own")));
            assert_eq!(counts, (COUNT, COUNT, COUNT + errors), "{what}: selected, sent, own: {}", show(&after));
        }
    }
}

/// ICMP errors of a router about a packet: every kind, quoting as little as they may, more, and all.
fn errors_about(rig: &Rig, family: Family, packet: &[u8]) -> Vec<Vec<u8>> {
    let ethernet = client_to_host(rig);
    let kinds: &[(u8, u8)] = if family == V4 {
        &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0)]
    } else {
        &[(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0)]
    };
    // Of a packet in fragments the fragment header belongs to it.
    let header = match packet[6] {
        _ if family == V4 => 20,
        44 => 48,
        _ => 40,
    };
    let mut errors = Vec::new();
    for (kind, code) in kinds {
        for quoted in [header + 8, header + 40, packet.len()] {
            let quote = &packet[..quoted.min(packet.len()).min(1200)];
            let mut message = [&[*kind, *code, 0, 0, 0, 0, 0x05, 0x78][..], quote].concat();
            let frame = |message: &[u8]| {
                if family == V4 {
                    ethernet.clone().ipv4([10, 1, 0, 77], ip4(HOST)).protocol(1, message)
                } else {
                    ethernet.clone().ipv6(ip6("fd00:1::77"), ip6(HOST6)).protocol(58, message)
                }
            };
            let whole = frame(&message);
            let pseudo = if family == V4 {
                0
            } else {
                let sum = ebmirror::lab::checksum::sum;
                let length = (message.len() as u32).to_be_bytes();
                sum(sum(sum(0, &whole[22..54]), &length), &[0, 0, 0, 58])
            };
            let value = !ebmirror::lab::checksum::sum(pseudo, &message);
            message[2..4].copy_from_slice(&value.to_be_bytes());
            errors.push(frame(&message));
        }
    }
    errors
}

fn ip4(text: &str) -> std::net::Ipv4Addr {
    text.parse().unwrap()
}

fn ip6(text: &str) -> std::net::Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn errors_that_quote_a_copy_are_own_and_others_are_copied() {
    for tunnel in TUNNELS {
        for family in FAMILIES {
            for length in [300, 1514] {
                let what = format!("{tunnel:?} over {}, {length} bytes", family.name);
                let rig = rig();
                let _sink = Sink::on(&rig.client);
                rig.ebmirror(&["attach", "eth0", "--direction", "ingress"]).ok();
                add_peer(&rig, &rig.host, family.client, tunnel);
                let at_client = record(&rig.client, "eth0");
                send(&rig.client, "eth0", &frames(&rig, length)[0][..1]);
                let copy = settle(&what, || {
                    let copies = at_client.with(|frames| frames.iter().find(|frame| !frame.outgoing).cloned()).unwrap();
                    copies.ok_or_else(|| "no copy".to_owned())
                });
                let copy = copy.finished()[14..].to_vec();
                // The same of another port, or session: of somebody else's tunnel. And from another host.
                let header = if family == V4 { 20 } else { 40 };
                let mut other = copy.clone();
                other[if family == V4 { 19 } else { 39 }] ^= 0x40;
                let mut ordinary = copy.clone();
                ordinary[if family == V4 { 9 } else { 6 }] = 17;
                ordinary[header..header + 8].copy_from_slice(&[0x30, 0x39, 0, 53, 0, 100, 0, 0]);

                let before = at_rest(&rig, &what, &[&rig.host]);
                let errors = errors_about(&rig, family, &copy);
                send(&rig.client, "eth0", &errors);
                let middle = at_rest(&rig, &what, &[&rig.host]);
                assert_eq!(since(&before, &middle, |s| total(s, "own")), [errors.len() as u64], "{what}");
                assert_eq!(since(&before, &middle, |s| total(s, "selected")), [0], "{what}");

                let errors = [errors_about(&rig, family, &other), errors_about(&rig, family, &ordinary)].concat();
                send(&rig.client, "eth0", &errors);
                let after = at_rest(&rig, &what, &[&rig.host]);
                assert_eq!(since(&middle, &after, |s| total(s, "own")), [0], "{what}: of others");
                assert_eq!(
                    since(&middle, &after, |s| total(s, "selected")),
                    [errors.len() as u64],
                    "{what}: of others"
                );
            }
        }
    }
}

/// What is between the host and its collector, the copies themselves left out, is copied to the last byte.
fn ordinary_traffic_is_copied(family: Family, large: bool) {
    let what = format!("over {}, large: {large}", family.name);
    let rig = flow_rig(1500);
    let decoder = format!("vxlan id {} dstport 4789 local {} udp6zerocsumrx", family.vni, family.client);
    rig.tool(&rig.client, &format!("ip link add vx type {decoder}"));
    rig.tool(&rig.client, "ip link set dev vx up");
    for family in ["ipv4/ipfrag", "ipv6/ip6frag"] {
        sysctl(&rig.client, &format!("net/{family}_high_thresh"), "67108864");
    }
    // An overlay of production, with the same port, between the very same addresses.
    for (host, local, remote, inside) in
        [(&rig.client, family.client, family.host, "10.9.0.1"), (&rig.host, family.host, family.client, "10.9.0.2")]
    {
        let tunnel = format!("vxlan id 7 local {local} remote {remote} dstport 4789 dev eth0");
        rig.tool(host, &format!("ip link add ov0 type {tunnel} udp6zerocsumtx udp6zerocsumrx"));
        sysctl(host, "net/ipv6/conf/ov0/disable_ipv6", "1");
        rig.tool(host, &format!("ip address add {inside}/24 dev ov0"));
        rig.tool(host, &format!("ip link set dev ov0 mtu {} up", if large { 1430 } else { 1000 }));
    }
    rig.ebmirror(&["attach", "eth0"]).ok();
    let vni = family.vni.to_string();
    add_peer(&rig, &rig.host, family.client, &["--tunnel", "vxlan", "--vni", &vni]);

    let (originals, copies) = (record(&rig.host, "eth0"), Decoded::start(&rig.client, "vx"));
    let length = if large { 30_000 } else { 800 };
    for remote in [family.host, "10.9.0.2"] {
        Conversation::hold(&rig.client, &rig.host, address(remote), pattern(1, length), pattern(2, length));
    }
    // Datagrams to the port of the tunnel, to another port; larger than a frame, so that their sender fragments them.
    let sizes: &[usize] = if large { &[100, 1400, 5000, 20_000] } else { &[100, 900] };
    let client = Datagrams::bind(&rig.client, family.client, 7000);
    let host = Datagrams::bind(&rig.host, family.host, 7000);
    for (n, size) in (0..).zip(sizes) {
        for (from, to) in [(&client, &host), (&host, &client)] {
            let data = pattern(n, *size);
            from.send(to, &data);
            assert!(to.receive(&what, *size) == data, "{what}: other bytes");
        }
    }
    // To the tunnel's port, and with nothing of a tunnel in it.
    let to_port = (address(family.client), 4789);
    for n in 0..5u8 {
        host.0.send_to(&[n; 60], to_port).unwrap();
    }
    let is_copy = |frame: &Frame| {
        let Some(ip) = Parsed::new(&frame.bytes).and_then(|parsed| parsed.ip) else { return false };
        if ip.src != address(family.host) || ip.protocol != 17 || ip.later_fragment {
            return false;
        }
        let udp = &frame.bytes[ip.payload.start..];
        udp.get(2..4) == Some(&4789u16.to_be_bytes()) && udp.get(12..15) == Some(&family.vni.to_be_bytes()[1..])
    };
    // Copies in fragments: those that are not the first of a copy have the first one's identification.
    let id = |frame: &Frame| -> Option<Vec<u8>> {
        let parsed = Parsed::new(&frame.bytes)?;
        let at = parsed.network;
        match parsed.ip.as_ref()?.src {
            IpAddr::V4(_) => Some(frame.bytes[at + 4..at + 6].to_vec()),
            IpAddr::V6(_) if frame.bytes[at + 6] == 44 => Some(frame.bytes[at + 44..at + 48].to_vec()),
            IpAddr::V6(_) => None,
        }
    };
    settle(&what, || {
        let copies = copies.frames();
        originals
            .with(|frames| {
                let mut of_copies = Vec::new();
                let production: Vec<Packet<'_>> = frames
                    .iter()
                    .filter(|frame| {
                        if !frame.outgoing {
                            return true;
                        }
                        let later =
                            Parsed::new(&frame.bytes).and_then(|parsed| parsed.ip).is_some_and(|ip| ip.later_fragment);
                        let is_copy = is_copy(frame) || (later && of_copies.contains(&id(frame)));
                        if is_copy {
                            of_copies.push(id(frame));
                        }
                        !is_copy
                    })
                    .map(Packet::captured)
                    .collect();
                let copies: Vec<Packet<'_>> = copies.iter().map(|copy| Packet::new(copy.as_slice(), None)).collect();
                let result = compare(&production, &copies);
                if result.is_perfect() {
                    return Ok(());
                }
                let fates = production.iter().zip(&result.fates);
                let bad = fates.filter(|(_, fate)| **fate != ebmirror::lab::compare::Fate::Identical);
                let bad: Vec<String> =
                    bad.map(|(packet, fate)| format!("{fate:?} {}", summary(&packet.bytes))).collect();
                let strangers: Vec<String> = result.strangers().map(|at| summary(&copies[at].bytes)).collect();
                Err(format!("{} originals, {} copies; {bad:#?}\n{strangers:#?}", production.len(), copies.len()))
            })
            .unwrap()
    });
    let stats = rig.balanced();
    let ids = common::traffic::peer(&stats, "ids");
    assert_eq!(reasons(ids), Vec::<&str>::new(), "{what}: {stats}");
    assert_eq!(counter(&ids["selected"]), counter(&ids["sent"]), "{what}: {stats}");
}

#[test]
fn ordinary_traffic_to_and_from_the_collector_is_copied() {
    for family in FAMILIES {
        ordinary_traffic_is_copied(family, false);
    }
}

#[test]
fn large_ordinary_traffic_to_and_from_the_collector_is_copied() {
    for family in FAMILIES {
        ordinary_traffic_is_copied(family, true);
    }
}

/// Somebody else's tunnel with everything like ours but one thing is somebody else's.
#[test]
fn tunnels_of_others_are_copied() {
    let rig = rig();
    without_decoder(&rig);
    let _sink = Sink::on(&rig.collector);
    rig.ebmirror(&["attach", "eth0", "eth1"]).ok();
    add_peer(&rig, &rig.host, COLLECTOR, VXLAN);
    let before = at_rest(&rig, "at first", &[&rig.host]);
    let there = Ethernet::new(rig.host.mac("eth1").unwrap(), rig.collector.mac("eth0").unwrap());
    let inner = Ethernet::new([2; 6], [4; 6]).ipv4(NOBODY[0], NOBODY[1]).udp(1, 2, &pattern(1, 100));
    let tunnelled = |src: &str, dst: &str, port: u16, vni: u32| {
        let payload = [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), &inner].concat();
        there.clone().ipv4(ip4(src), ip4(dst)).udp(50_000, port, &payload)
    };
    let ours = tunnelled(UNDERLAY, COLLECTOR, 4789, 42);
    let others = [
        tunnelled(UNDERLAY, COLLECTOR, 4789, 43),
        tunnelled(UNDERLAY, COLLECTOR, 4790, 42),
        tunnelled(UNDERLAY, "10.2.0.3", 4789, 42),
        tunnelled("10.2.0.9", COLLECTOR, 4789, 42),
        tunnelled(COLLECTOR, UNDERLAY, 4789, 42),
    ];
    send(&rig.host, "eth1", &[ours]);
    let middle = at_rest(&rig, "ours", &[&rig.host]);
    assert_eq!(since(&before, &middle, |s| total(s, "own")), [1], "ours, without a mark");
    send(&rig.host, "eth1", &others);
    let after = at_rest(&rig, "others", &[&rig.host]);
    assert_eq!(since(&middle, &after, |s| total(s, "selected")), [5], "others: {}", show(&after));
    // And inside of somebody's tunnel ours are ours.
    let nested = |frame: &[u8]| {
        let payload = [&[8, 0, 0, 0, 0, 0, 9, 0][..], frame].concat();
        there.clone().ipv4(ip4("10.2.0.9"), ip4("10.2.0.10")).udp(50_000, 4789, &payload)
    };
    let ours = tunnelled(UNDERLAY, COLLECTOR, 4789, 42);
    let before = at_rest(&rig, "at first", &[&rig.host]);
    send(&rig.host, "eth1", &[nested(&ours), nested(&nested(&ours))]);
    let after = at_rest(&rig, "nested", &[&rig.host]);
    assert_eq!(since(&before, &after, |s| total(s, "own")), [2], "nested: {}", show(&after));
}

/// Else the tests above would count errors as traffic.
#[test]
fn the_sink_keeps_the_kernel_from_answering() {
    let rig = rig();
    let _sink = Sink::on(&rig.client);
    let wire = record(&rig.client, "eth0");
    let payload = [8u8, 0, 0, 0, 0, 0, 42, 0];
    let to_client = Ethernet::new(rig.host.mac("eth0").unwrap(), rig.client.mac("eth0").unwrap());
    let v4 = to_client.clone().ipv4(ip4(HOST), ip4(CLIENT));
    let v6 = to_client.clone().ipv6(ip6(HOST6), ip6(CLIENT6));
    let frames = [v4.udp(50_000, 4789, &payload), v4.protocol(47, &payload), v6.udp(50_000, 6081, &payload)];
    send(&rig.host, "eth0", &frames);
    // What it must not answer, and what it must.
    send(&rig.host, "eth0", &[v4.udp(50_000, 9, &payload)]);
    settle("the answer", || {
        let errors = wire.with(|frames| frames.iter().filter(|frame| frame.outgoing && is_icmp(frame)).count());
        match errors.unwrap() {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    let frames = wire.finish().unwrap();
    assert_eq!(frames.iter().filter(|frame| frame.outgoing && is_icmp(frame)).count(), 1);
}
