//! What rules do to traffic: which frames are copied, where to, how much of them; what is counted; and that a change of the
//! rules takes effect as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/flows.rs"]
mod flows;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/rules.rs"]
mod rules;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::time::Duration;

use common::traffic::{add_peer, client_to_host, host_to_client, packets, quiet_rig, record, send};
use common::{COLLECTOR, Rig, wait_for};
use ebmirror::lab::capture::{Frame, Sender};
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::lab::random::Random;
use ebmirror::lab::recorder::Recorder;
use flows::{delivered, settle};
use rules::matched;

/// With a peer for each VNI: "pVNI".
fn rig_with(peers: &[(u32, &[&str])]) -> Rig {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (vni, more) in peers {
        add_peer(&rig, &format!("p{vni}"), COLLECTOR, *vni, more);
    }
    rig
}

/// `ebmirror filter` with these words.
fn filter(rig: &Rig, line: &str) -> String {
    let words: Vec<&str> = ["filter"].into_iter().chain(line.split(' ')).collect();
    rig.ebmirror(&words).ok().stdout
}

fn udp(ethernet: &Ethernet, ports: (u16, u16), number: u64) -> Vec<u8> {
    ethernet.clone().ipv4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)).udp(
        ports.0,
        ports.1,
        &pattern(number, 200),
    )
}

/// Whom each frame went to, by VNI, and how many bytes of it arrived there.
fn received(at: &Recorder, frames: &[Vec<u8>]) -> Vec<BTreeMap<u32, usize>> {
    let copies = at.with(delivered).unwrap();
    let of = |frame: &Vec<u8>| {
        let mut found = BTreeMap::new();
        for copy in copies.iter().filter(|copy| frame.starts_with(&copy.inner)) {
            assert_eq!(found.insert(copy.number, copy.inner.len()), None, "a second copy for {}", copy.number);
        }
        found
    };
    frames.iter().map(of).collect()
}

/// Sends frames that the host receives, and waits until their copies have arrived: as many as the books say.
fn send_all(rig: &Rig, at: &Recorder, frames: &[Vec<u8>]) -> Vec<BTreeMap<u32, usize>> {
    let start = rules::received(rig);
    send(&rig.client, "eth0", frames);
    settle("the frames", || {
        let seen = rules::received(rig) - start;
        if seen >= frames.len() as u64 { Ok(()) } else { Err(format!("{seen} of {}", frames.len())) }
    });
    all_arrived(rig, at);
    received(at, frames)
}

/// Waits until every copy that was sent has arrived.
fn all_arrived(rig: &Rig, at: &Recorder) {
    let stats = rig.balanced();
    let sent: u64 = stats["peers"].as_array().unwrap().iter().map(|peer| packets(&peer["sent"])).sum();
    settle("the copies", || {
        let arrived = at.with(delivered).unwrap().len() as u64;
        if arrived == sent { Ok(()) } else { Err(format!("{arrived} of {sent}")) }
    });
}

fn vnis(got: &[BTreeMap<u32, usize>]) -> Vec<Vec<u32>> {
    got.iter().map(|copies| copies.keys().copied().collect()).collect()
}

#[test]
fn the_first_rule_that_matches_says_where_copies_go() {
    let rig = rig_with(&[(1, &[]), (2, &["--group", "g"]), (3, &["--group", "g"]), (4, &[])]);
    let at = record(&rig.collector, "eth0");
    filter(&rig, "add --to p1 udp dst port 11");
    filter(&rig, "add --to p1 --to p3 udp dst port 12");
    filter(&rig, "add --action skip udp dst port 13");
    filter(&rig, "add udp dst port 14");
    filter(&rig, "add --to g udp dst port 15");
    filter(&rig, "add --to g --to p2 --to p4 udp dst port 16");
    filter(&rig, "add --action skip --priority 1 udp dst port 11 and src port 77");
    filter(&rig, "add --to p4 udp dst port 11 or dst port 13");
    let ethernet = client_to_host(&rig);
    let frames: Vec<Vec<u8>> = (11..=17).map(|port| udp(&ethernet, (5, port), u64::from(port))).collect();
    let got = vnis(&send_all(&rig, &at, &frames));
    assert_eq!(got[0], [1]);
    assert_eq!(got[1], [1, 3]);
    assert_eq!(got[2], [] as [u32; 0]);
    assert!(matches!(got[3][..], [1, 2 | 3, 4]), "{got:?}");
    assert!(matches!(got[4][..], [2 | 3]), "{got:?}");
    // The group's choice may be the peer that is named as well: no second copy.
    assert!(matches!(got[5][..], [2, 4] | [2, 3, 4]), "{got:?}");
    // No rule: auto, and there are rules that mirror.
    assert_eq!(got[6], [] as [u32; 0]);
    assert_eq!(vnis(&send_all(&rig, &at, &[udp(&ethernet, (77, 11), 99)])), [[] as [u32; 0]]);
    assert_eq!(matched(&rig), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 0)].into_iter().collect());
    // The peers' numbers change under the rules.
    rig.ebmirror(&["peer", "set", "p2", "--group", "none"]).ok();
    rig.ebmirror(&["filter", "set", "2", "--to", "p3"]).ok();
    let again: Vec<Vec<u8>> = [12, 15].map(|port| udp(&ethernet, (6, port), u64::from(port) + 100)).to_vec();
    assert_eq!(vnis(&send_all(&rig, &at, &again)), [[3], [3]]);
    assert_eq!(matched(&rig).values().sum::<u64>(), 9);
}

#[test]
fn the_default_is_for_frames_that_no_rule_matches() {
    let rig = rig_with(&[(1, &[])]);
    let at = record(&rig.collector, "eth0");
    let ethernet = client_to_host(&rig);
    let mut number = 0;
    let mut ask = || {
        number += 2;
        let frames = [udp(&ethernet, (5, 11), number), udp(&ethernet, (5, 99), number + 1)];
        let got = send_all(&rig, &at, &frames);
        (!got[0].is_empty(), !got[1].is_empty())
    };
    // Whether the frame of the rule, and another one, are copied.
    assert_eq!(ask(), (true, true));
    filter(&rig, "add --action skip udp port 11");
    assert_eq!(ask(), (false, true));
    filter(&rig, "default skip");
    assert_eq!(ask(), (false, false));
    filter(&rig, "default auto");
    filter(&rig, "set 1 --action mirror");
    assert_eq!(ask(), (true, false));
    filter(&rig, "default mirror");
    assert_eq!(ask(), (true, true));
    filter(&rig, "flush");
    assert_eq!(ask(), (true, true));
    filter(&rig, "default skip");
    assert_eq!(ask(), (false, false));
    assert_eq!(matched(&rig), BTreeMap::new());
}

#[test]
fn a_rule_without_an_expression_matches_every_frame() {
    let rig = rig_with(&[(1, &[]), (2, &[])]);
    let at = record(&rig.collector, "eth0");
    filter(&rig, "add --to p2");
    let ethernet = client_to_host(&rig);
    let frames = [udp(&ethernet, (1, 2), 1), ethernet.arp_request([10, 1, 0, 7], [10, 1, 0, 8])];
    assert_eq!(vnis(&send_all(&rig, &at, &frames)), [[2], [2]]);
    filter(&rig, "add --priority 5 --to p1 arp");
    let frames = [udp(&ethernet, (1, 2), 3), ethernet.arp_request([10, 1, 0, 17], [10, 1, 0, 18])];
    assert_eq!(vnis(&send_all(&rig, &at, &frames)), [[2], [1]]);
}

#[test]
fn the_smaller_snap_length_of_rule_and_peer_applies() {
    let rig = rig_with(&[(1, &[]), (2, &["--snaplen", "100"])]);
    let at = record(&rig.collector, "eth0");
    filter(&rig, "add --snaplen 64 udp dst port 11");
    filter(&rig, "add --snaplen 150 udp dst port 12");
    filter(&rig, "add udp dst port 13");
    let ethernet = client_to_host(&rig);
    let frames: Vec<Vec<u8>> = [11, 12, 13].map(|port| udp(&ethernet, (5, port), port.into())).to_vec();
    let whole = frames[0].len();
    let got = send_all(&rig, &at, &frames);
    let lengths: Vec<[usize; 2]> = got.iter().map(|copies| [copies[&1], copies[&2]]).collect();
    assert_eq!(lengths, [[64, 64], [150, 100], [whole, 100]]);
}

#[test]
fn rules_tell_interfaces_and_directions_apart() {
    let rig = rig_with(&[(1, &[]), (2, &[])]);
    let at = record(&rig.collector, "eth0");
    filter(&rig, "add --to p1 ifname eth0 and inbound");
    filter(&rig, "add --to p2 ifname eth0 and outbound");
    filter(&rig, "add --action skip --priority 1 ifname eth1");
    let inward = udp(&client_to_host(&rig), (1, 2), 1);
    let outward = udp(&host_to_client(&rig), (1, 2), 2);
    send(&rig.host, "eth0", std::slice::from_ref(&outward));
    assert_eq!(vnis(&send_all(&rig, &at, &[inward])), [[1]]);
    settle("the copy", || {
        let got = vnis(&received(&at, std::slice::from_ref(&outward)));
        if got == [[2]] { Ok(()) } else { Err(format!("{got:?}")) }
    });
}

#[test]
fn a_sample_is_made_of_whole_flows() {
    let rig = rig_with(&[(1, &[])]);
    let at = record(&rig.collector, "eth0");
    filter(&rig, "add --sample 1/4 udp");
    let (inward, outward) = (client_to_host(&rig), host_to_client(&rig));
    let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    const FLOWS: u16 = 400;
    let mut frames = Vec::new();
    for flow in 0..FLOWS {
        let number = u64::from(flow) * 4;
        let port = 1000 + flow;
        frames.push(inward.clone().ipv4(a, b).udp(port, 53, &pattern(number, 100)));
        frames.push(inward.clone().ipv4(a, b).udp(port, 53, &pattern(number + 1, 100)));
        frames.push(outward.clone().ipv4(b, a).udp(53, port, &pattern(number + 2, 100)));
    }
    for burst in frames.chunks(150) {
        let (out, inwards): (Vec<_>, Vec<_>) =
            burst.iter().cloned().partition(|frame| frame[..6] == rig.client.mac("eth0").unwrap());
        send(&rig.host, "eth0", &out);
        send_all(&rig, &at, &inwards);
    }
    all_arrived(&rig, &at);
    let got = received(&at, &frames);
    let chosen: Vec<usize> = got.chunks(3).map(|flow| flow.iter().map(BTreeMap::len).sum()).collect();
    let whole = chosen.iter().filter(|copies| **copies == 3).count();
    let none = chosen.iter().filter(|copies| **copies == 0).count();
    assert_eq!(whole + none, usize::from(FLOWS), "flows that are neither whole nor left out");
    // A quarter, within five standard deviations.
    assert!((57..=143).contains(&whole), "{whole} of {FLOWS}");
    // All of them matched; those that were not chosen are skipped.
    assert_eq!(matched(&rig)[&1], u64::from(FLOWS) * 3);
}

#[test]
fn counters_outlive_every_change_but_the_end_of_their_rule() {
    let rig = rig_with(&[(1, &[])]);
    let at = record(&rig.collector, "eth0");
    let ethernet = client_to_host(&rig);
    let mut number = 0;
    let mut send_one = |port: u16| {
        number += 1;
        send_all(&rig, &at, &[udp(&ethernet, (5, port), number)])
    };
    let reset = || {
        rig.ebmirror(&["stats", "--reset"]).ok();
        at.take().unwrap();
    };
    filter(&rig, "add udp dst port 11");
    filter(&rig, "add --action skip udp dst port 12");
    for port in [11, 11, 12] {
        send_one(port);
    }
    let is = |expected: &[(u64, u64)]| assert_eq!(matched(&rig), expected.iter().copied().collect());
    is(&[(1, 2), (2, 1)]);
    filter(&rig, "set 1 --priority 500 --snaplen 100");
    filter(&rig, "add udp dst port 13");
    is(&[(1, 2), (2, 1), (3, 0)]);
    rig.ebmirror(&["peer", "set", "p1", "--ttl", "9"]).ok();
    send_one(13);
    is(&[(1, 2), (2, 1), (3, 1)]);
    // The slot of a deleted rule has counted; its next owner has not.
    filter(&rig, "del 1");
    filter(&rig, "add udp dst port 14");
    is(&[(2, 1), (3, 1), (4, 0)]);
    send_one(14);
    is(&[(2, 1), (3, 1), (4, 1)]);
    reset();
    is(&[(2, 0), (3, 0), (4, 0)]);
    send_one(12);
    filter(&rig, "del 4");
    filter(&rig, "add udp dst port 15");
    is(&[(2, 1), (3, 0), (5, 0)]);
    send_one(15);
    reset();
    send_one(15);
    is(&[(2, 0), (3, 0), (5, 1)]);
}

#[test]
fn a_rule_of_a_device_that_is_made_anew_matches_again() {
    let rig = rig_with(&[(1, &[])]);
    let at = record(&rig.collector, "eth0");
    let add = || {
        rig.tool(&rig.host, "ip link add d0 type veth peer name d1");
        rig.tool(&rig.host, "sysctl -qw net.ipv6.conf.d0.disable_ipv6=1 net.ipv6.conf.d1.disable_ipv6=1");
        rig.tool(&rig.host, "ip link set d0 up");
        rig.tool(&rig.host, "ip link set d1 up");
    };
    add();
    filter(&rig, "add --to p1 ifname d0");
    let ethernet = client_to_host(&rig);
    let try_one = |number: u64| {
        rig.ebmirror(&["attach", "d0"]).ok();
        let frame = udp(&ethernet, (1, 2), number);
        send(&rig.host, "d1", std::slice::from_ref(&frame));
        settle("the copy", || {
            let got = vnis(&received(&at, std::slice::from_ref(&frame)));
            if got == [[1]] { Ok(()) } else { Err(format!("{got:?}")) }
        });
    };
    try_one(1);
    rig.tool(&rig.host, "ip link del d0");
    add();
    try_one(2);
}

#[test]
fn a_rule_of_a_device_that_is_gone_has_nothing_to_do_with_its_heir() {
    let rig = rig_with(&[(1, &[])]);
    let add = |name: &str| {
        rig.tool(&rig.host, &format!("ip link add {name} index 50 type veth peer name d1"));
        rig.tool(&rig.host, &format!("sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1 net.ipv6.conf.d1.disable_ipv6=1"));
        rig.tool(&rig.host, &format!("ip link set {name} up"));
        rig.tool(&rig.host, "ip link set d1 up");
    };
    add("d0");
    filter(&rig, "add ifname d0");
    rig.tool(&rig.host, "ip link del d0");
    // The same number, another name.
    add("heir");
    rig.ebmirror(&["attach", "heir"]).ok();
    let before = rules::received(&rig);
    send(&rig.host, "d1", &[udp(&client_to_host(&rig), (1, 2), 1)]);
    settle("the frame", || if rules::received(&rig) > before { Ok(()) } else { Err("not seen".to_owned()) });
    assert_eq!(matched(&rig), [(1, 0)].into());
}

#[test]
fn a_rule_may_name_all_members_of_a_full_group() {
    let peers: Vec<(u32, &[&str])> = (0..64).map(|vni| (vni, &["--group", "g"][..])).collect();
    let rig = rig_with(&peers);
    let to: Vec<String> = (0..64).map(|vni| format!("--to p{vni}")).collect();
    filter(&rig, &format!("add {} udp port 7", to.join(" ")));
    let at = record(&rig.collector, "eth0");
    let got = send_all(&rig, &at, &[udp(&client_to_host(&rig), (1, 7), 1)]);
    assert_eq!(vnis(&got), [(0..64).collect::<Vec<u32>>()]);
}

/// Ends the flood, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends numbered frames until it is told to stop.
fn flood(rig: &Rig, stop: &AtomicBool, sent: &AtomicU64, ready: impl Fn(u64) -> bool) {
    let ethernet = client_to_host(rig);
    let sender = rig.client.attempt("open a sender", || Sender::open("eth0")).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let number = sent.load(Ordering::Relaxed);
        if !ready(number) {
            std::thread::yield_now();
            continue;
        }
        sender.send(&udp(&ethernet, (1, 2), number)).unwrap();
        sent.store(number + 1, Ordering::Relaxed);
        // Some thousands a second: a million of them would have to be taken apart at the end.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Each frame with the VNIs that it arrived with.
fn arrivals(frames: &[Frame]) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let mut found: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
    for copy in delivered(frames) {
        found.entry(copy.inner).or_default().push(copy.number);
    }
    found
}

#[test]
fn under_500_swaps_every_frame_belongs_to_one_set_wholly() {
    const SWAPS: usize = 500;
    let rig = rig_with(&[(1, &[]), (2, &[]), (3, &[]), (4, &[])]);
    let at = record(&rig.collector, "eth0");
    // One set: to p1 and p2, cut to 100 bytes; the other: to p3 and p4, whole.
    filter(&rig, "add --to p1 --to p2 --snaplen 100 udp");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            // No more on their way than the queues hold.
            flood(&rig, &stop, &sent, |number| number < at.count().unwrap() as u64 / 2 + 200);
        });
        let end = End(&stop);
        for swap in 0..SWAPS {
            let first = swap % 2 == 1;
            let args = match first {
                true => ["filter", "set", "1", "--to", "p1", "--to", "p2", "--snaplen", "100", "udp"],
                false => ["filter", "set", "1", "--to", "p3", "--to", "p4", "--snaplen", "all", "src port 1"],
            };
            rig.ebmirror(&args).ok();
            // Each set has seen traffic.
            let until = sent.load(Ordering::Relaxed) + 5;
            wait_for("traffic", || sent.load(Ordering::Relaxed) >= until);
        }
        drop(end);
        flooding.join().unwrap();
    });
    let total = sent.load(Ordering::Relaxed);
    all_arrived(&rig, &at);
    let ethernet = client_to_host(&rig);
    let arrived = at.with(arrivals).unwrap();
    let mut seen = [0u64; 2];
    for number in 0..total {
        let frame = udp(&ethernet, (1, 2), number);
        let whole = arrived.get(&frame).map(Vec::as_slice).unwrap_or_default();
        let cut = arrived.get(&frame[..100]).map(Vec::as_slice).unwrap_or_default();
        let (mut whole, mut cut) = (whole.to_vec(), cut.to_vec());
        whole.sort();
        cut.sort();
        match (&cut[..], &whole[..]) {
            ([1, 2], []) => seen[0] += 1,
            ([], [3, 4]) => seen[1] += 1,
            other => panic!("frame {number} of {total}: {other:?}"),
        }
    }
    assert!(seen.iter().all(|count| *count > SWAPS as u64), "{seen:?}");
    // No counter is lost: the rule has matched every frame.
    assert_eq!(matched(&rig)[&1], total);
}

/// Random rules and frames: the first sets are of rules that look at the flow alone, for which the tap has a memory; the others at
/// anything; the last ones are of so few rules that most flows are sieved out before.
#[test]
fn the_tap_finds_the_rules_that_a_test_of_the_same_frames_finds() {
    let seed = Random::seed(11);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let (mut rules_that_match, mut sieves) = (0, 0);
    let whole = [(25, 1), (25, 1), (25, 1), (25, 1), (25, 2), (25, 2), (25, 3), (25, 3)];
    for (count, tests) in whole.into_iter().chain([(6, 2), (6, 2), (5, 3), (4, 3)]) {
        let rig = quiet_rig(1600);
        rig.ebmirror(&["attach", "eth0"]).ok();
        let few = count < 25;
        let wanted = |text: &str| if few { rules::have_sieve(&[text]) } else { tests > 1 || !text.contains("vlan") };
        let texts = rules::random(&mut random, count, tests, wanted);
        sieves += usize::from(rules::have_sieve(&texts));
        rules_that_match += rules::tap_and_test_agree(&rig, &texts, &rules::frames(&mut random, 1_500));
    }
    assert!(sieves > 2, "{sieves} sets have a sieve, which is no test of it");
    assert!(rules_that_match > 20, "{rules_that_match} of 200 rules match, which is no test");
}
