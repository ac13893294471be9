//! Groups of collectors that share flows, sets of many destinations, and collectors that take only so much: each gets what
//! it should, no more and no less.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/flows.rs"]
mod flows;
#[path = "common/foreign.rs"]
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::traffic::{
    Marks, NOBODY, assert_same_frames, cable, client_to_host, counter, host_to_client, packets, peer, quiet_rig,
    reasons, record, send, size_of_all, sysctl, tap, udp_frames, wait_for_stats,
};
use common::{COLLECTOR, Rig};
use ebmirror::lab::capture::{Checksum, Frame, Gso, Sender};
use ebmirror::lab::compare::Packet;
use ebmirror::lab::frame::{BROADCAST, Ethernet, TCP_ACK, TPID_8021Q, Tcp, pattern};
use ebmirror::lab::parse::Parsed;
use ebmirror::lab::recorder::Recorder;
use ebmirror::model::interface::{Direction, Order};
use flows::{Conversation, Delivered, Family, V4, V6, address, delivered, flow_rig, settle, stay_on_cpu};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Adds a VXLAN peer at the collector, known by its VNI.
fn add_peer(rig: &Rig, name: &str, vni: u32, more: &[&str]) {
    let vni = vni.to_string();
    let args = ["peer", "add", name, "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", &vni];
    rig.ebmirror(&[&args[..], more].concat()).ok();
}

/// Two groups, of three and of two, and a peer without one.
const GROUPS: [&[u32]; 3] = [&[11, 12, 13], &[21, 22], &[31]];

const PEERS_IN_A_GROUP: usize = 16;

fn grouped_rig(groups: &[&[u32]]) -> Rig {
    let rig = flow_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    // In turn, so that the slots of one group's members lie between those of another's.
    for member in 0..PEERS_IN_A_GROUP {
        for group in groups.iter().filter(|group| group.len() > member) {
            let name = format!("group-{}", group[member] / 10);
            let args = if group.len() > 1 { vec!["--group", name.as_str()] } else { Vec::new() };
            add_peer(&rig, &format!("peer-{}", group[member]), group[member], &args);
        }
    }
    rig
}

fn copies(recorder: &Recorder) -> Vec<Delivered> {
    recorder.with(delivered).unwrap()
}

/// Sends frames in bursts, and waits each time for this many copies of each.
fn send_in_bursts(from: &ebmirror::lab::network::Host, frames: &[Vec<u8>], at: &Recorder, each: usize) {
    const BURST: usize = 200;
    let mut expected = copies(at).len();
    for burst in frames.chunks((BURST / each).max(1)) {
        send(from, "eth0", burst);
        expected += burst.len() * each;
        settle("the copies", || {
            let arrived = copies(at).len();
            if arrived >= expected { Ok(()) } else { Err(format!("{arrived} of {expected}")) }
        });
    }
}

/// Which peers of a group got this frame.
fn receivers<'a>(copies: &'a [Delivered], frame: &'a [u8], group: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    copies.iter().filter(move |copy| copy.inner == frame && group.contains(&copy.number)).map(|copy| copy.number)
}

/// By frame: the peers that got it, in the order of their numbers.
fn by_frame(copies: &[Delivered]) -> BTreeMap<&[u8], Vec<u32>> {
    let mut map: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
    for copy in copies {
        map.entry(&copy.inner).or_default().push(copy.number);
    }
    map.values_mut().for_each(|numbers| numbers.sort_unstable());
    map
}

/// Of those that got a frame, the one of this group; there must be one.
fn member(map: &BTreeMap<&[u8], Vec<u32>>, frame: &[u8], group: &[u32]) -> u32 {
    let numbers = map.get(frame).unwrap_or_else(|| panic!("no copy of {}", ebmirror::lab::summary::summary(frame)));
    let members: Vec<u32> = numbers.iter().copied().filter(|number| group.contains(number)).collect();
    assert_eq!(members.len(), 1, "{members:?} of {group:?} got {}", ebmirror::lab::summary::summary(frame));
    members[0]
}

/// Both directions of a flow: a frame that comes in, and the answer.
type Flow = [Vec<u8>; 2];

/// Flows of every kind that has one; `n` makes them differ, in addresses and in ports.
fn flows_of(rig: &Rig, n: u16) -> Vec<(&'static str, Flow)> {
    let (inward, outward) = (client_to_host(rig), host_to_client(rig));
    let [a, b] = [Ipv4Addr::from([198, 18, (n >> 8) as u8, n as u8]), Ipv4Addr::new(198, 19, 7, (n % 250) as u8)];
    let v6 = |prefix: u16, n: u16| Ipv6Addr::new(0x2001, 0xdb8, prefix, 0, 0, 0, 0, n);
    let [a6, b6] = [v6(1, n), v6(2, n % 250)];
    let (sport, dport) = (1024 + n * 7, 53 + n % 5);
    let data = pattern(n.into(), 64);
    let tcp = |sport, dport| Tcp { sport, dport, seq: n.into(), ack: 1, flags: TCP_ACK, window: 500 };
    let tagged = |ethernet: &Ethernet| ethernet.clone().tag(TPID_8021Q, 1 + n % 4000);
    let ipv4 = |ethernet: &Ethernet, back: bool| {
        if back { ethernet.clone().ipv4(b, a) } else { ethernet.clone().ipv4(a, b) }
    };
    let ipv6 = |ethernet: &Ethernet, back: bool| {
        if back { ethernet.clone().ipv6(b6, a6) } else { ethernet.clone().ipv6(a6, b6) }
    };
    vec![
        ("UDP", [ipv4(&inward, false).udp(sport, dport, &data), ipv4(&outward, true).udp(dport, sport, &data)]),
        (
            "TCP",
            [ipv4(&inward, false).tcp(tcp(sport, dport), &data), ipv4(&outward, true).tcp(tcp(dport, sport), &data)],
        ),
        (
            "UDP over IPv6",
            [ipv6(&inward, false).udp(sport, dport, &data), ipv6(&outward, true).udp(dport, sport, &data)],
        ),
        (
            "TCP over IPv6",
            [ipv6(&inward, false).tcp(tcp(sport, dport), &data), ipv6(&outward, true).tcp(tcp(dport, sport), &data)],
        ),
        (
            "tagged UDP",
            [
                ipv4(&tagged(&inward), false).udp(sport, dport, &data),
                ipv4(&tagged(&outward), true).udp(dport, sport, &data),
            ],
        ),
        ("ICMP", [ipv4(&inward, false).echo_request(n, 1, &data), ipv4(&outward, true).echo_reply(n, 1, &data)]),
        ("ICMPv6", [ipv6(&inward, false).echo_request(n, 1, &data), ipv6(&outward, true).echo_reply(n, 1, &data)]),
        ("ESP", [ipv4(&inward, false).protocol(50, &data), ipv4(&outward, true).protocol(50, &data)]),
    ]
}

const FLOWS: u16 = 400;

#[test]
fn each_group_gets_every_frame_and_a_flow_stays_at_one_collector() {
    let rig = grouped_rig(&GROUPS);
    let collector = record(&rig.collector, "eth0");
    let flows: Vec<(&str, Flow)> = (0..FLOWS).flat_map(|n| flows_of(&rig, n)).collect();
    let inbound: Vec<Vec<u8>> = flows.iter().map(|(_, [there, _])| there.clone()).collect();
    let outbound: Vec<Vec<u8>> = flows.iter().map(|(_, [_, back])| back.clone()).collect();
    send_in_bursts(&rig.client, &inbound, &collector, GROUPS.len());
    send_in_bursts(&rig.host, &outbound, &collector, GROUPS.len());

    let copies = copies(&collector);
    let map = by_frame(&copies);
    let mut spread: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for (kind, [there, back]) in &flows {
        for group in GROUPS {
            let (of_there, of_back) = (member(&map, there, group), member(&map, back, group));
            assert_eq!(of_there, of_back, "{kind}: the two directions of a flow: {group:?}");
            *spread.entry((kind, of_there)).or_default() += 1;
        }
    }
    assert_eq!(copies.len(), flows.len() * 2 * GROUPS.len());
    for group in GROUPS {
        for ((kind, vni), flows) in spread.iter().filter(|((_, vni), _)| group.contains(vni)) {
            let fair = usize::from(FLOWS) / group.len();
            assert!(flows.abs_diff(fair) <= fair * 35 / 100, "{kind}: {flows} of {FLOWS} at {vni}: {spread:#?}");
        }
        assert!(group.iter().all(|vni| spread.contains_key(&("UDP", *vni))), "{spread:#?}");
    }

    let stats = rig.balanced();
    let all = size_of_all(inbound.iter().chain(&outbound));
    for group in GROUPS {
        let mut sum = 0;
        for vni in group {
            let peer = peer(&stats, &format!("peer-{vni}"));
            assert_eq!(packets(&peer["lost"]), 0, "{stats}");
            sum += packets(&peer["sent"]);
        }
        assert_eq!(sum, all.packets, "{group:?}: {stats}");
    }
    let copied = packets(&tap(&stats, "ingress")["copies"]) + packets(&tap(&stats, "egress")["copies"]);
    assert_eq!(copied, all.packets * GROUPS.len() as u64);
}

/// Their later fragments have no ports.
#[test]
fn all_fragments_of_a_datagram_go_to_one_collector() {
    let rig = grouped_rig(&GROUPS);
    let collector = record(&rig.collector, "eth0");
    let mut datagrams = Vec::new();
    for n in 0..200u16 {
        let whole = Ethernet::new([0; 6], [0; 6]).ipv4([198, 18, 0, n as u8], [198, 19, 0, 1]).udp(
            3000 + n,
            53,
            &pattern(n.into(), 2500),
        )[34..]
            .to_vec();
        for ethernet in [client_to_host(&rig), host_to_client(&rig)] {
            let v4 = ethernet.clone().ipv4([198, 18, 0, n as u8], [198, 19, 0, 1]).id(n);
            datagrams.push(vec![
                v4.clone().fragment(true, 0).protocol(17, &whole[..1200]),
                v4.clone().fragment(true, 150).protocol(17, &whole[1200..2000]),
                v4.fragment(false, 250).protocol(17, &whole[2000..]),
            ]);
            let v6 = ethernet
                .ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, n), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 2, 1));
            let fragment = |more: u16, offset: u16, payload: &[u8]| {
                let [high, low] = (offset << 3 | more).to_be_bytes();
                v6.protocol(44, &[&[17, 0, high, low, 0, 0, 1, n as u8], payload].concat())
            };
            datagrams.push(vec![fragment(1, 0, &whole[..1200]), fragment(0, 150, &whole[1200..])]);
        }
    }
    let frames: Vec<Vec<u8>> = datagrams.concat();
    // Any order: the last fragment may be the first to come.
    let reversed: Vec<Vec<u8>> = frames.iter().rev().cloned().collect();
    send_in_bursts(&rig.client, &reversed, &collector, GROUPS.len());
    let copies = copies(&collector);
    let map = by_frame(&copies);
    let mut used: BTreeSet<u32> = BTreeSet::new();
    for datagram in &datagrams {
        for group in GROUPS {
            let members: BTreeSet<u32> = datagram.iter().map(|frame| member(&map, frame, group)).collect();
            assert_eq!(members.len(), 1, "the fragments of one datagram are at {members:?}");
            used.extend(members);
        }
    }
    assert_eq!(used.len(), 6, "{used:?}");
    rig.balanced();
}

/// Real conversations, with super-packets.
#[test]
fn both_directions_of_tcp_are_at_one_collector_in_full() {
    let rig = grouped_rig(&GROUPS);
    let collector = record(&rig.collector, "eth0");
    let talks: Vec<Conversation> = (0..24)
        .map(|n| {
            let family = [V4, V6][n as usize % 2];
            let (up, down) = (pattern(n, 20_000), pattern(n + 100, 20_000));
            Conversation::hold(&rig.client, &rig.host, address(family.host), up, down)
        })
        .collect();
    settle("the copies", || {
        let copies = copies(&collector);
        let mut used = BTreeSet::new();
        for talk in &talks {
            for group in GROUPS {
                let of_group = copies.iter().filter(|copy| group.contains(&copy.number));
                let (numbers, frames): (BTreeSet<u32>, Vec<Vec<u8>>) = of_group
                    .filter(|copy| flows::is_between(&copy.inner, talk.client, talk.server))
                    .map(|copy| (copy.number, copy.inner.clone()))
                    .unzip();
                assert!(numbers.len() <= 1, "one conversation is at {numbers:?}");
                if let Some(fault) = talk.fault(&frames) {
                    return Err(format!("{group:?}: {fault}"));
                }
                used.extend(numbers);
            }
        }
        if used.len() == 6 { Ok(()) } else { Err(format!("{used:?}: no balance")) }
    });
    rig.balanced();
}

#[test]
fn a_group_changes_its_members_between_two_frames() {
    let rig = grouped_rig(&GROUPS);
    let flows: Vec<Vec<u8>> = (0..60).flat_map(|n| flows_of(&rig, n)).map(|(_, [there, _])| there).collect();
    let at_one_of_each = |what: &str, groups: &[&[u32]]| {
        let collector = record(&rig.collector, "eth0");
        send_in_bursts(&rig.client, &flows, &collector, groups.len());
        let copies = copies(&collector);
        let map = by_frame(&copies);
        let mut used = BTreeSet::new();
        for frame in &flows {
            for group in groups {
                used.insert(member(&map, frame, group));
            }
            assert_eq!(map[frame.as_slice()].len(), groups.len(), "{what}");
        }
        assert_eq!(used, groups.concat().into_iter().collect(), "{what}");
        rig.balanced();
    };
    at_one_of_each("at first", &GROUPS);
    rig.ebmirror(&["peer", "del", "peer-12"]).ok();
    at_one_of_each("a member less", &[&[11, 13], &[21, 22], &[31]]);
    rig.ebmirror(&["peer", "set", "peer-31", "--group", "group-2"]).ok();
    at_one_of_each("a member more", &[&[11, 13], &[21, 22, 31]]);
    rig.ebmirror(&["peer", "del", "peer-11", "peer-21", "peer-22"]).ok();
    at_one_of_each("groups of one", &[&[13], &[31]]);
    add_peer(&rig, "peer-41", 41, &["--group", "group-4"]);
    at_one_of_each("a group of one more", &[&[13], &[31], &[41]]);
}

#[test]
fn a_group_has_no_name_of_a_peer() {
    let rig = grouped_rig(&[&[31]]);
    let args =
        ["peer", "add", "another", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "9", "--group", "peer-31"];
    assert_eq!(rig.ebmirror(&args).code, 6);
    add_peer(&rig, "member", 10, &["--group", "storage"]);
    let args = ["peer", "add", "storage", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "9"];
    assert_eq!(rig.ebmirror(&args).code, 6);
}

/// Flows of this client, server and source port, by number: the spread is even whatever the number of members.
fn spread_is_even(members: usize, flow: impl Fn(u16) -> (Ipv4Addr, Ipv4Addr, u16)) {
    let rig = flow_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for n in 0..members {
        add_peer(&rig, &format!("peer-{n}"), 100 + n as u32, &["--group", "everyone"]);
    }
    let collector = record(&rig.collector, "eth0");
    let count = members as u16 * 60;
    let frames: Vec<Vec<u8>> = (0..count)
        .map(|n| {
            let (client, server, port) = flow(n);
            client_to_host(&rig).ipv4(client, server).udp(port, 443, &pattern(n.into(), 60))
        })
        .collect();
    send_in_bursts(&rig.client, &frames, &collector, 1);
    let mut spread = vec![0u32; members];
    copies(&collector).iter().for_each(|copy| spread[copy.number as usize - 100] += 1);
    // Chi squared over members - 1 degrees of freedom: its mean is that, its variance twice that.
    let chi: f64 = spread.iter().map(|found| (f64::from(*found) - 60.0).powi(2) / 60.0).sum();
    let degrees = (members - 1) as f64;
    assert!(chi <= degrees + 5.0 * (2.0 * degrees).sqrt() + 6.0, "{members} members, {chi}: {spread:?}");
    rig.balanced();
}

/// As a service has them: one address and port on one side, and clients on the other.
#[test]
fn flows_spread_evenly_over_any_number_of_members() {
    for members in [2usize, 5, 7, 16, 63] {
        spread_is_even(members, |n| {
            let client = Ipv4Addr::new(198, 18, (n >> 8) as u8, n as u8);
            (client, Ipv4Addr::new(198, 19, 0, 1), 40_000 + n % 100)
        });
    }
}

/// As a cluster has them: each host of one network talks to each of another, from the same port. What is symmetric in the plain
/// addresses, as their sum and exclusive or, is the same for many of these pairs.
#[test]
fn flows_between_two_networks_spread_evenly() {
    for members in [16usize, 63] {
        spread_is_even(members, |n| {
            let (client, server) = (Ipv4Addr::new(10, 0, 0, n as u8 & 63), Ipv4Addr::new(10, 1, 0, (n >> 6) as u8));
            (client, server, 5060)
        });
    }
}

/// One of many destinations.
struct Destination {
    tunnel: &'static str,
    family: Family,
    /// By the second cable, which has a smaller MTU.
    small: bool,
    snaplen: Option<usize>,
    oversize: &'static str,
    number: u32,
}

const MTU: usize = 1500;
const SMALL_MTU: usize = 1300;
const SECOND: [&str; 2] = ["10.4.0.2", "fd00:4::2"];

impl Destination {
    /// 64 that differ in everything.
    fn all() -> Vec<Self> {
        let tunnels = ["vxlan", "geneve", "gre", "erspan2", "erspan3"];
        let snaplens = [None, Some(64), None, Some(700), None, Some(128), None];
        let policies = ["fragment", "truncate", "fragment", "drop"];
        (0..64)
            .map(|n| Self {
                tunnel: tunnels[n % tunnels.len()],
                family: [V4, V6][n / 5 % 2],
                small: n % 3 == 1,
                snaplen: snaplens[n % snaplens.len()],
                oversize: policies[n / 2 % policies.len()],
                number: 100 + n as u32,
            })
            .collect()
    }

    fn name(&self) -> String {
        format!("peer-{}", self.number)
    }

    fn remote(&self) -> &'static str {
        match (self.small, self.family == V4) {
            (false, _) => self.family.collector,
            (true, true) => SECOND[0],
            (true, false) => SECOND[1],
        }
    }

    fn add(&self, rig: &Rig) {
        let (name, number) = (self.name(), self.number.to_string());
        let number_flag = match self.tunnel {
            "vxlan" | "geneve" => "--vni",
            "gre" => "--key",
            _ => "--session",
        };
        let mut args = vec!["peer", "add", &name, "--tunnel", self.tunnel, "--remote", self.remote()];
        args.extend([number_flag, &number, "--oversize", self.oversize]);
        let snaplen = self.snaplen.map(|snaplen| snaplen.to_string());
        args.extend(snaplen.iter().flat_map(|snaplen| ["--snaplen", snaplen]));
        rig.ebmirror(&args).ok();
    }

    /// From the inner frame's first byte to the outer IP packet's first one.
    fn overhead(&self) -> usize {
        let ip = if self.family == V4 { 20 } else { 40 };
        ip + match self.tunnel {
            "vxlan" | "geneve" => 16,
            "gre" => 8,
            "erspan2" => 16,
            _ => 20,
        }
    }

    /// What arrives of a frame; `None`: nothing.
    fn expected(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let keep = frame.len().min(self.snaplen.unwrap_or(usize::MAX));
        let room = if self.small { SMALL_MTU } else { MTU } - self.overhead();
        match self.oversize {
            _ if keep <= room => Some(frame[..keep].to_vec()),
            "fragment" => Some(frame[..keep].to_vec()),
            "truncate" => Some(frame[..room].to_vec()),
            _ => None,
        }
    }
}

#[test]
fn sixty_four_destinations_that_differ_in_everything_get_each_frame() {
    let rig = flow_rig(MTU as u32);
    cable((&rig.host, "eth2", "10.4.0.1"), (&rig.collector, "eth1", SECOND[0]), SMALL_MTU as u32);
    flows::add_ipv6(&rig, &rig.host, "eth2", "fd00:4::1");
    flows::add_ipv6(&rig, &rig.collector, "eth1", SECOND[1]);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let destinations = Destination::all();
    destinations.iter().for_each(|destination| destination.add(&rig));
    let args = ["peer", "add", "one-more", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "1"];
    assert_eq!(rig.ebmirror(&args).code, 6, "65 peers");

    let [inward, outward] = [client_to_host(&rig), host_to_client(&rig)];
    let v4 = |ethernet: &Ethernet, n: u64, length: usize| udp_frames(ethernet, n..n + 1, length).remove(0);
    let tagged = inward.clone().tag(TPID_8021Q, 7);
    let frames: Vec<(bool, Vec<u8>)> = vec![
        (true, v4(&inward, 1, 60)),
        (true, v4(&inward, 2, 700)),
        (true, v4(&inward, 3, 1250)),
        (true, v4(&inward, 4, 1450)),
        (true, v4(&inward, 5, 1514)),
        (true, v4(&tagged, 6, 1514)),
        (true, inward.clone().to(BROADCAST).arp_request(NOBODY[0], NOBODY[1])),
        (true, inward.frame(0x88b5, &pattern(8, 1500))),
        (true, inward.clone().ipv6(flows::NOBODY6[0], flows::NOBODY6[1]).udp(1, 2, &pattern(9, 1440))),
        (false, v4(&outward, 10, 100)),
        (false, v4(&outward, 11, 1400)),
        (false, v4(&outward, 12, 1514)),
        (false, outward.clone().to(BROADCAST).arp_request(NOBODY[0], NOBODY[1])),
        (false, outward.clone().ipv6(flows::NOBODY6[0], flows::NOBODY6[1]).udp(1, 2, &pattern(14, 1440))),
    ];
    let (large, small) = (record(&rig.collector, "eth0"), record(&rig.collector, "eth1"));
    let arrived = || [copies(&large), copies(&small)].concat();
    let mut expected: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (inbound, frame) in &frames {
        send(if *inbound { &rig.client } else { &rig.host }, "eth0", std::slice::from_ref(frame));
        for destination in &destinations {
            expected.entry(destination.number).or_default().extend(destination.expected(frame));
        }
        let count: usize = expected.values().map(Vec::len).sum();
        settle("the copies", || {
            let arrived = arrived();
            if arrived.len() >= count {
                return Ok(());
            }
            let missing: Vec<String> = destinations
                .iter()
                .filter_map(|destination| {
                    let found = arrived.iter().filter(|copy| copy.number == destination.number).count();
                    let wanted = expected[&destination.number].len();
                    let Destination { tunnel, family, small, snaplen, oversize, .. } = destination;
                    (found < wanted).then(|| {
                        format!("{tunnel} {} small {small} {snaplen:?} {oversize}: {found} of {wanted}", family.name)
                    })
                })
                .collect();
            Err(format!("{} of {count}: {}, {missing:#?}", arrived.len(), ebmirror::lab::summary::summary(frame)))
        });
    }
    let arrived = arrived();
    let stats = rig.balanced();
    for destination in &destinations {
        let of_it: Vec<Vec<u8>> =
            arrived.iter().filter(|copy| copy.number == destination.number).map(|copy| copy.inner.clone()).collect();
        let Destination { tunnel, family, small, snaplen, oversize, .. } = destination;
        let what = format!("{tunnel} over {}, small {small}, {snaplen:?}, {oversize}", family.name);
        assert_same_frames(&what, &expected[&destination.number], &of_it);
        assert!(
            arrived.iter().all(|copy| copy.number != destination.number || copy.dst == address(destination.remote()))
        );
        let peer = peer(&stats, &destination.name());
        let all = frames.len() as u64;
        let sent = expected[&destination.number].len() as u64;
        assert_eq!((packets(&peer["selected"]), packets(&peer["sent"])), (all, sent), "{what}: {peer}");
        assert_eq!(packets(&peer["reasons"]["too_big"]), all - sent, "{what}: {peer}");
        let cut =
            frames.iter().filter(|(_, frame)| destination.expected(frame).is_some_and(|copy| copy.len() < frame.len()));
        assert_eq!(packets(&peer["truncated"]), cut.count() as u64, "{what}: {peer}");
    }
}

#[test]
fn sixty_four_destinations_at_one_collector_get_each_frame_of_tcp() {
    let rig = flow_rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for n in 0..64u32 {
        let gso = if n % 2 == 0 { "fast" } else { "wire" };
        add_peer(&rig, &format!("peer-{n}"), 1000 + n, &["--gso", gso]);
    }
    let collector = record(&rig.collector, "eth0");
    let talk = Conversation::hold(&rig.client, &rig.host, address(V4.host), pattern(1, 3000), pattern(2, 3000));
    settle("the copies", || {
        let mut by_peer: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for copy in copies(&collector) {
            by_peer.entry(copy.number).or_default().push(copy.inner);
        }
        if by_peer.len() < 64 {
            return Err(format!("{} of 64 peers", by_peer.len()));
        }
        by_peer.iter().find_map(|(peer, frames)| Some(format!("{peer}: {}", talk.fault(frames)?))).map_or(Ok(()), Err)
    });
    let stats = rig.balanced();
    assert!(stats["peers"].as_array().unwrap().iter().all(|peer| packets(&peer["lost"]) == 0), "{stats}");
}

fn two_cpus() -> [usize; 2] {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect();
    [cpus[0], cpus[cpus.len() - 1]]
}

/// What production sends.
#[derive(Clone, Copy, Debug)]
enum Offer {
    /// UDP frames of this length.
    Frames(usize),
    /// Super-packets of ten segments, of 1,000 bytes each.
    Udp,
    Tcp,
}

/// Segments of a super-packet, and the data in each.
const SEGMENTS: usize = 10;
const SEGMENT: usize = 1000;

impl Offer {
    fn packet(self, rig: &Rig, number: u64) -> (Vec<u8>, Option<Gso>, Checksum) {
        let ip = host_to_client(rig).ipv4(NOBODY[0], NOBODY[1]);
        let (data, size) = (pattern(number, SEGMENTS * SEGMENT), Some(SEGMENT as u16));
        let tcp = Tcp { sport: 4000, dport: 5000 + number as u16, seq: 1, ack: 1, flags: TCP_ACK, window: 500 };
        match self {
            Self::Frames(length) => {
                let frame = udp_frames(&host_to_client(rig), number..number + 1, length).remove(0);
                (frame, None, Checksum::Unknown)
            }
            Self::Udp => ip.udp_offloaded(4000, 5000 + number as u16, &data, size),
            Self::Tcp => ip.tcp_offloaded(tcp, &data, size),
        }
    }

    /// Frames on the wire that it stands for.
    fn frames(self) -> usize {
        if matches!(self, Self::Frames(_)) { 1 } else { SEGMENTS }
    }
}

/// Frames on the wire, of those that came in.
fn wire_count(recorder: &Recorder) -> u64 {
    let size = |frame: &Frame| Packet::captured(frame).wire_size().packets;
    recorder.with(|frames| frames.iter().filter(|frame| !frame.outgoing).map(size).sum()).unwrap()
}

/// What is offered, and what must arrive.
struct Rate {
    rate: &'static str,
    more: &'static [&'static str],
    offer: Offer,
    /// Frames a second that arrive.
    expected: f64,
    /// Frames a second that are offered.
    offered: f64,
}

/// How long the rate is measured, after the burst that it begins with.
const WINDOW: Duration = Duration::from_secs(2);

/// Two CPUs send more than the rate allows. Production gets all of it, another peer too, and this one its rate.
fn rate_is_kept(rate: &Rate) {
    let what = format!("{} {:?}, {:?}", rate.rate, rate.more, rate.offer);
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "limited", 42, &[&["--rate", rate.rate], rate.more].concat());
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (production, collector) = (record(&rig.client, "eth0"), record(&rig.collector, "vx0"));
    let mut measured = Vec::new();
    std::thread::scope(|scope| {
        for cpu in two_cpus() {
            let (rig, done, sent) = (&rig, &done, &sent);
            scope.spawn(move || {
                rig.host
                    .run(|| {
                        stay_on_cpu(cpu);
                        let sender = Sender::open("eth0").unwrap();
                        let (frame, gso, checksum) = rate.offer.packet(rig, cpu as u64);
                        let (start, mut mine) = (Instant::now(), 0.0);
                        while !done.load(Ordering::Relaxed) {
                            let due = start.elapsed().as_secs_f64() * rate.offered / 2.0;
                            while mine < due {
                                sender.send_offloaded(&frame, gso, checksum).unwrap();
                                mine += rate.offer.frames() as f64;
                                sent.fetch_add(rate.offer.frames() as u64, Ordering::Relaxed);
                            }
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    })
                    .unwrap();
            });
        }
        // The bucket is full at first.
        std::thread::sleep(Duration::from_millis(500));
        // A busy machine may keep the senders from their work, so that less arrives; never more.
        for _ in 0..4 {
            let (start, before) = (Instant::now(), wire_count(&collector));
            std::thread::sleep(WINDOW);
            let (took, after) = (start.elapsed(), wire_count(&collector));
            let arrived = (after - before) as f64 / took.as_secs_f64();
            measured.push(arrived / rate.expected);
            if measured.last().is_some_and(|share| *share >= 0.95) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let stats = rig.balanced();
    let limited = peer(&stats, "limited");
    assert!(measured.iter().all(|share| *share <= 1.05), "{what}: {measured:?} of the rate: {limited}");
    assert!(measured.last().is_some_and(|share| *share >= 0.95), "{what}: {measured:?} of the rate: {limited}");
    let sent = sent.load(Ordering::Relaxed);
    assert_eq!(packets(&limited["selected"]), sent, "{what}");
    assert_eq!(limited["lost"], limited["reasons"]["rate"], "{what}: {limited}");
    assert!(packets(&limited["lost"]) > 0, "{what}: nothing to be limited, nothing tested");
    settle("production", || {
        let arrived = wire_count(&production);
        if arrived == sent { Ok(()) } else { Err(format!("{arrived} of {sent} frames of production")) }
    });
    settle("the copies", || {
        let (arrived, sent) = (wire_count(&collector), packets(&limited["sent"]));
        if arrived == sent { Ok(()) } else { Err(format!("{arrived} of {sent}")) }
    });
}

#[test]
fn a_rate_in_bits_counts_the_inner_bytes() {
    // 16 Mbit/s are 2,000 frames of 1,000 bytes a second.
    rate_is_kept(&Rate { rate: "16mbit", more: &[], offer: Offer::Frames(1000), expected: 2000.0, offered: 5000.0 });
}

#[test]
fn a_rate_in_bits_counts_what_is_left_after_a_cut() {
    // 1.6 Mbit/s are 2,000 frames of which 100 bytes are sent.
    let more = &["--snaplen", "100"];
    rate_is_kept(&Rate { rate: "1600kbit", more, offer: Offer::Frames(1000), expected: 2000.0, offered: 5000.0 });
}

#[test]
fn a_rate_in_packets_counts_frames() {
    rate_is_kept(&Rate { rate: "2kpps", more: &[], offer: Offer::Frames(200), expected: 2000.0, offered: 5000.0 });
}

#[test]
fn a_rate_in_packets_counts_a_frame_in_fragments_as_one() {
    let more = &["--oversize", "fragment"];
    rate_is_kept(&Rate { rate: "1500pps", more, offer: Offer::Frames(1514), expected: 1500.0, offered: 4000.0 });
}

/// Inner bytes are those of all the segments: 1,042 of UDP, 1,054 of TCP.
#[test]
fn a_rate_in_bits_counts_the_segments_of_super_packets() {
    for (offer, gso, length) in
        [(Offer::Udp, "fast", 1042.0), (Offer::Tcp, "fast", 1054.0), (Offer::Tcp, "wire", 1054.0)]
    {
        let more: &[&str] = if gso == "wire" { &["--gso", "wire"] } else { &[] };
        rate_is_kept(&Rate { rate: "32mbit", more, offer, expected: 4e6 / length, offered: 10_000.0 });
    }
}

#[test]
fn a_rate_in_packets_counts_the_segments_of_super_packets() {
    for offer in [Offer::Udp, Offer::Tcp] {
        rate_is_kept(&Rate { rate: "3kpps", more: &[], offer, expected: 3000.0, offered: 8000.0 });
    }
}

#[test]
fn frames_below_the_rate_are_all_sent() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "limited", 42, &["--rate", "100mbit"]);
    let frames = udp_frames(&client_to_host(&rig), 0..500, 500);
    let collector = record(&rig.collector, "eth0");
    send_in_bursts(&rig.client, &frames, &collector, 1);
    let stats = rig.balanced();
    let limited = peer(&stats, "limited");
    assert_eq!((counter(&limited["sent"]), reasons(limited)), (size_of_all(&frames), Vec::new()), "{stats}");
}

/// A peer's limit is its own.
#[test]
fn a_limited_peer_takes_nothing_from_another() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "limited", 1, &["--rate", "10pps"]);
    add_peer(&rig, "free", 2, &[]);
    let frames = udp_frames(&client_to_host(&rig), 0..2000, 500);
    let collector = record(&rig.collector, "eth0");
    for burst in frames.chunks(100) {
        send(&rig.client, "eth0", burst);
        settle("the free peer", || {
            let stats = rig.stats();
            let (seen, sent) = (packets(&tap(&stats, "ingress")["seen"]), packets(&peer(&stats, "free")["sent"]));
            if seen == sent && stats["unaccounted"] == 0 { Ok(()) } else { Err(format!("{sent} of {seen}")) }
        });
    }
    settle("the copies", || {
        let free = copies(&collector).into_iter().filter(|copy| copy.number == 2).count();
        if free == frames.len() { Ok(()) } else { Err(format!("{free} of {}", frames.len())) }
    });
    let stats = rig.balanced();
    let limited = peer(&stats, "limited");
    assert_eq!(counter(&peer(&stats, "free")["sent"]), size_of_all(&frames), "{stats}");
    assert_eq!(counter(&limited["selected"]), size_of_all(&frames), "{stats}");
    assert_eq!(limited["lost"], limited["reasons"]["rate"], "{stats}");
    assert!(packets(&limited["lost"]) > 1000, "{stats}");
}

/// Another rate takes effect at once, and none lifts it.
#[test]
fn a_rate_can_be_changed() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "limited", 42, &["--rate", "10pps"]);
    let frames = udp_frames(&client_to_host(&rig), 0..400, 500);
    for burst in frames.chunks(100) {
        send(&rig.client, "eth0", burst);
    }
    let lost = packets(&peer(&rig.balanced(), "limited")["reasons"]["rate"]);
    assert!(lost >= 380 - 64, "{lost}");
    rig.ebmirror(&["peer", "set", "limited", "--rate", "1gbit"]).ok();
    let collector = record(&rig.collector, "eth0");
    send_in_bursts(&rig.client, &frames, &collector, 1);
    assert_eq!(packets(&peer(&rig.balanced(), "limited")["reasons"]["rate"]), lost);
}

/// A new peer may get the place of an old one in the kernel's tables, not its debts.
#[test]
fn a_new_peer_does_not_pay_for_an_old_one() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "old", 42, &["--rate", "10pps"]);
    let frames = udp_frames(&client_to_host(&rig), 0..200, 500);
    send(&rig.client, "eth0", &frames);
    assert_eq!(reasons(peer(&rig.balanced(), "old")), ["rate"], "nothing to be paid for, nothing tested");
    rig.ebmirror(&["peer", "del", "old"]).ok();
    add_peer(&rig, "new", 43, &["--rate", "1gbit"]);
    send(&rig.client, "eth0", &frames);
    let stats = rig.balanced();
    assert_eq!(counter(&peer(&stats, "new")["sent"]), size_of_all(&frames), "{stats}");
}

/// A program of somebody else at the output: what has the priority of bulk is dropped (or only that is not).
fn bulk_filter(rig: &Rig, device: &str, drop_bulk: bool) -> OwnedFd {
    // r2 = *(u32 *)(r1 + offsetof(struct __sk_buff, priority)); r0 = TCX_NEXT; if (r2 != 2) skip one; r0 = TC_ACT_SHOT
    let jump = if drop_bulk { 0x55 } else { 0x15 };
    let instructions: [u64; 5] = [0x20_1261, 0xffff_ffff_0000_00b7, 0x2_0001_0200 | jump, 0x2_0000_00b7, 0x95];
    let program = foreign::load("bulk_filter", &instructions);
    foreign::attach(&program, &rig.host, device, Direction::Egress, Order::First)
}

/// Copies come after production where a device is busy: with a priority that queues know as bulk.
#[test]
fn copies_are_bulk_traffic_to_the_output() {
    let tunnels: [&[&str]; 6] = [
        &["--tunnel", "vxlan", "--vni", "42"],
        &["--tunnel", "geneve", "--vni", "42"],
        &["--tunnel", "gre"],
        &["--tunnel", "gre", "--key", "7"],
        &["--tunnel", "erspan2", "--session", "5"],
        &["--tunnel", "erspan3", "--session", "5"],
    ];
    for family in [V4, V6] {
        for tunnel in tunnels {
            let what = format!("{tunnel:?} over {}", family.name);
            let rig = flow_rig(1500);
            rig.ebmirror(&["attach", "eth0"]).ok();
            rig.ebmirror(&[&["peer", "add", "ids", "--remote", family.collector], tunnel].concat()).ok();
            let inward = client_to_host(&rig);
            let frames = [
                udp_frames(&inward, 0..5, 100),
                udp_frames(&inward, 5..10, 1514),
                vec![inward.clone().to(BROADCAST).arp_request(NOBODY[0], NOBODY[1])],
                udp_frames(&inward.clone().tag(TPID_8021Q, 7), 10..12, 300),
            ]
            .concat();
            let of_all = |stats: &serde_json::Value| packets(&peer(stats, "ids")["sent"]);
            for drop_bulk in [true, false] {
                let _filter = bulk_filter(&rig, "eth1", drop_bulk);
                let collector = record(&rig.collector, "eth0");
                let marks = Marks::listen(&rig.host, "eth1");
                let before = of_all(&rig.balanced());
                send(&rig.client, "eth0", &frames);
                let talk = Conversation::hold(
                    &rig.client,
                    &rig.host,
                    address(V4.host),
                    pattern(1, 20_000),
                    pattern(2, 20_000),
                );
                wait_for_stats(&rig, &what, |stats| of_all(stats) > before + frames.len() as u64);
                rig.balanced();
                if drop_bulk {
                    assert_eq!(copies(&collector).len(), 0, "{what}: copies that are not bulk");
                    continue;
                }
                settle(&what, || {
                    let inner: Vec<Vec<u8>> = copies(&collector).into_iter().map(|copy| copy.inner).collect();
                    if let Some(frame) = frames.iter().find(|frame| !inner.contains(frame)) {
                        return Err(format!("no {}", ebmirror::lab::summary::summary(frame)));
                    }
                    talk.fault(&inner).map_or(Ok(()), Err)
                });
                let heard = marks.heard();
                let copies = heard.iter().filter(|(mark, _)| *mark != 0).count();
                assert!(copies > frames.len(), "{what}: {copies} of {}", heard.len());
                assert!(heard.iter().all(|(mark, priority)| *mark == 0 || *priority == 2), "{what}: {heard:?}");
            }
        }
    }
}

/// What production's own packets had is theirs.
#[test]
fn the_priority_of_production_stays() {
    let rig = quiet_rig(1500);
    rig.mirror();
    let marks = Marks::listen(&rig.host, "eth0");
    send(&rig.host, "eth0", &udp_frames(&host_to_client(&rig), 0..50, 300));
    settle("production", || {
        let heard = marks.heard();
        assert!(heard.iter().all(|(mark, priority)| (*mark, *priority) == (0, 0)), "{heard:?}");
        if heard.len() >= 50 || packets(&tap(&rig.stats(), "egress")["seen"]) == 50 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    rig.balanced();
}

/// A destination in a group behind a way that is gone: its flows are lost, and counted; nothing moves to the others.
#[test]
fn a_dead_member_loses_its_own_flows_alone() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_peer(&rig, "alive", 1, &["--group", "everyone"]);
    let args =
        ["peer", "add", "dead", "--tunnel", "vxlan", "--remote", "203.0.113.1", "--vni", "2", "--group", "everyone"];
    rig.ebmirror(&[&args[..], &["--local", common::UNDERLAY]].concat()).ok();
    sysctl(&rig.host, "net/ipv6/conf/all/disable_ipv6", "1");
    let frames: Vec<Vec<u8>> = (0..400u16)
        .map(|n| client_to_host(&rig).ipv4([198, 18, 1, n as u8], NOBODY[1]).udp(n, 53, &pattern(n.into(), 60)))
        .collect();
    let collector = record(&rig.collector, "eth0");
    frames.chunks(100).for_each(|burst| send(&rig.client, "eth0", burst));
    let stats = rig.balanced();
    let (alive, dead) = (peer(&stats, "alive"), peer(&stats, "dead"));
    assert_eq!(packets(&alive["selected"]) + packets(&dead["selected"]), 400, "{stats}");
    assert!((120..=280).contains(&packets(&dead["selected"])), "{stats}");
    assert_eq!((packets(&alive["lost"]), reasons(dead)), (0, vec!["no_route"]), "{stats}");
    assert_eq!(dead["lost"], dead["selected"], "{stats}");
    settle("the copies", || {
        let arrived = copies(&collector).len() as u64;
        if arrived == packets(&alive["sent"]) { Ok(()) } else { Err(arrived.to_string()) }
    });
}

/// A helper of the tests above, tested: a frame in fragments of a tunnel is found.
#[test]
fn outer_packets_are_taken_apart() {
    let inner = udp_frames(&Ethernet::new([2; 6], [4; 6]), 1..2, 900).remove(0);
    let outer = Ethernet::new([6; 6], [8; 6]);
    let tunnel = [&[0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0][..], &inner].concat();
    let frame = |bytes: Vec<u8>| Frame { bytes, outgoing: false, gso: None, checksum: Checksum::Unknown };
    let v4 = outer.clone().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).id(9);
    let pieces = [
        frame(v4.clone().fragment(false, 64).protocol(17, &tunnel[512..])),
        frame(v4.fragment(true, 0).protocol(17, &tunnel[..512])),
    ];
    let expected = Delivered { dst: IpAddr::from([10, 0, 0, 2]), number: 42, inner: inner.clone() };
    assert_eq!(delivered(&pieces), [expected]);
    assert!(Parsed::new(&inner).is_some());
    assert_eq!(receivers(&delivered(&pieces), &inner, &[42]).collect::<Vec<_>>(), [42]);
}
