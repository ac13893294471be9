//! The limits that the documentation states: reached, and not exceeded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::time::Instant;

use common::{check_books, wait_for};
use ebmirror::lab::capture::Sender;
use ebmirror::lab::frame::{Ethernet, pattern};
use serde_json::Value;
use state::{Solo, assert_same};

const PEERS: usize = 64;
const INTERFACES: usize = 256;

fn add_peers(solo: &Solo) {
    for number in 0..PEERS {
        let (name, vni) = (format!("collector-{number}"), number.to_string());
        let add = ["peer", "add", &name, "--tunnel", "vxlan", "--remote", "10.9.0.2", "--vni", &vni];
        solo.ebmirror(&add).ok();
    }
}

fn packets(counter: &Value) -> u64 {
    counter["packets"].as_u64().unwrap()
}

/// Mirrors what leaves by `eth1`, and sends a frame there so many times. The books.
fn send(solo: &Solo, frame: &[u8], times: u64) -> Value {
    solo.ebmirror(&["attach", "eth1", "--direction", "egress"]).ok();
    let sender = solo.host.attempt("open a sender", || Sender::open("eth1")).unwrap();
    for _ in 0..times {
        sender.send(frame).unwrap();
    }
    let mut stats = Value::Null;
    wait_for("the frames to be counted", || {
        stats = solo.json(&["stats"]);
        packets(&stats["interfaces"][0]["seen"]) >= times && stats["unaccounted"] == 0
    });
    check_books(&stats);
    stats
}

#[test]
fn sixty_four_peers_get_a_copy_each_and_one_more_is_refused() {
    let solo = Solo::new();
    add_peers(&solo);
    let before = solo.snapshot();
    for extra in [&[][..], &["--dry-run"]] {
        let one_more = ["peer", "add", "one-more", "--tunnel", "vxlan", "--remote", "10.9.0.2", "--vni", "99"];
        solo.ebmirror(&[&one_more, extra].concat()).fails(6, "64", "peer del");
        assert_same(&before, &solo.snapshot(), "a refused peer");
    }
    assert_eq!(solo.json(&["peer", "list"])["peers"].as_array().unwrap().len(), PEERS);

    let stats = send(&solo, &Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]).frame(0x88b5, &pattern(1, 100)), 10);
    assert_eq!(packets(&stats["interfaces"][0]["copies"]), 64 * packets(&stats["interfaces"][0]["cloned"]), "{stats}");
    for peer in stats["peers"].as_array().unwrap() {
        assert_eq!(peer["sent"], stats["interfaces"][0]["selected"], "{peer}");
    }
    // A place that is free again is used again.
    solo.ebmirror(&["peer", "del", "collector-7"]).ok();
    solo.ebmirror(&["peer", "add", "one-more", "--tunnel", "vxlan", "--remote", "10.9.0.2", "--vni", "99"]).ok();
    assert_eq!(solo.json(&["stats"])["unaccounted"], 0);
}

/// The tap tells the stage which one it is, in six bits below those of the number of packets.
#[test]
fn an_only_peer_in_the_last_place_gets_every_copy() {
    let solo = Solo::new();
    add_peers(&solo);
    let others: Vec<String> = (0..PEERS - 1).map(|number| format!("collector-{number}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    solo.ebmirror(&[&["peer", "del"], &others[..]].concat()).ok();
    let datagram = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]).ipv4([10, 1, 0, 1], [10, 1, 0, 2]);
    let stats = send(&solo, &datagram.udp(4000, 5000, &pattern(1, 100)), 100);
    let peers = stats["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 1, "{stats}");
    assert_eq!(peers[0]["peer"], format!("collector-{}", PEERS - 1), "{stats}");
    assert_eq!(peers[0]["sent"], stats["interfaces"][0]["selected"], "{stats}");
}

#[test]
fn two_hundred_and_fifty_six_interfaces_are_counted_each_and_one_more_is_refused() {
    let solo = Solo::new();
    solo.script(
        "for i in $(seq 128); do
             echo link add a$i type veth peer name b$i
             echo link set a$i up
             echo link set b$i up
         done | ip -batch -",
    );
    add_peers(&solo);
    let names: Vec<String> = (1..=INTERFACES / 2).flat_map(|i| [format!("a{i}"), format!("b{i}")]).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let one = Instant::now();
    solo.ebmirror(&["attach", all[0]]).ok();
    let one = one.elapsed();
    let many = Instant::now();
    solo.ebmirror(&[&["attach"], &all[..]].concat()).ok();
    let many = many.elapsed();
    assert_eq!(solo.json(&[&["attach"], &all[..]].concat())["changed"], false);

    let before = solo.snapshot();
    solo.ebmirror(&["attach", "eth0"]).fails(6, "256", "detach");
    solo.ebmirror(&["attach", "eth0", "eth1"]).fails(6, "256", "detach");
    assert_same(&before, &solo.snapshot(), "a refused interface");

    let started = Instant::now();
    let document = solo.ebmirror(&["--json", "stats"]).ok();
    println!(
        "attach: {one:?}; 255 more in one command: {many:?}; stats --json: {:?} (debug build: {})",
        started.elapsed(),
        cfg!(debug_assertions)
    );
    assert_eq!(document.json()["interfaces"].as_array().unwrap().len(), 2 * INTERFACES);

    // One frame out of each interface, which comes in at its other end.
    solo.ebmirror(&["stats", "--reset"]).ok();
    let frame = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]).frame(0x88b5, &pattern(1, 100));
    solo.host.attempt("send", || all.iter().try_for_each(|name| Sender::open(name)?.send(&frame))).unwrap();
    let mut stats = Value::Null;
    wait_for("every interface to have seen a frame in and a frame out", || {
        stats = solo.json(&["stats"]);
        let rows = stats["interfaces"].as_array().unwrap();
        rows.iter().all(|row| packets(&row["seen"]) >= 1) && stats["unaccounted"] == 0
    });
    check_books(&stats);
    // A place that is free again is used again.
    solo.ebmirror(&["detach", "a1"]).ok();
    solo.ebmirror(&["attach", "eth0"]).ok();
    solo.ebmirror(&["attach", "eth1"]).fails(6, "256", "detach");
}

#[test]
fn interfaces_are_found_whatever_their_numbers() {
    let solo = Solo::new();
    // On a host whose interfaces come and go the numbers grow; the table of interfaces has 1024 places.
    solo.script(
        "for i in $(seq 40); do
             echo link add a$i index $((2000 + i)) type veth peer name b$i index $((2000 + i + 1024))
             echo link set a$i up
             echo link set b$i up
         done | ip -batch -",
    );
    let names: Vec<String> = (1..=40).flat_map(|i| [format!("a{i}"), format!("b{i}")]).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    solo.ebmirror(&[&["attach"], &all[..]].concat()).ok();
    let frame = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]).frame(0x88b5, &pattern(1, 100));
    solo.host.attempt("send", || all.iter().try_for_each(|name| Sender::open(name)?.send(&frame))).unwrap();
    wait_for("every interface to have seen a frame in and a frame out", || {
        let stats = solo.json(&["stats"]);
        let rows = stats["interfaces"].as_array().unwrap().clone();
        rows.len() == 160 && rows.iter().all(|row| packets(&row["seen"]) >= 1)
    });
}
