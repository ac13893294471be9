//! What others have attached stays as it was, whatever ebmirror does beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/state.rs"]
mod state;

use std::os::fd::{AsFd, OwnedFd};

use common::{Rig, wait_for};
use ebmirror::kernel::hooks::tcx;
use ebmirror::kernel::programs;
use ebmirror::lab::network::Host;
use ebmirror::model::interface::{Direction, Order};
use serde_json::Value;
use state::{ADD_IDS, Solo, Traffic, assert_same, script, snapshot};

/// Verdicts of a program: look at the next one, or accept at once.
const NEXT: i32 = -1;
const ACCEPT: i32 = 0;

/// A program of somebody else, which returns its verdict and does nothing else.
fn foreign_program(name: &str, verdict: i32) -> OwnedFd {
    // mov r0, VERDICT; exit
    let instructions: [u64; 2] = [0xb7 | (u64::from(verdict as u32) << 32), 0x95];
    foreign::load(name, &instructions)
}

/// Attached by somebody else, as long as this lives.
struct Foreign {
    id: u32,
    _link: OwnedFd,
}

fn attach_foreign(host: &Host, device: &str, direction: Direction, name: &str, verdict: i32, order: Order) -> Foreign {
    let program = foreign_program(name, verdict);
    let link = foreign::attach(&program, host, device, direction, order);
    Foreign { id: programs::describe(program.as_fd()).unwrap().id, _link: link }
}

fn chain(host: &Host, direction: Direction) -> Vec<u32> {
    let ifindex = host.link("eth0").unwrap().ifindex;
    host.run(|| tcx::query(ifindex, direction).unwrap().programs).unwrap()
}

#[test]
fn programs_of_others_in_the_chain_stay() {
    let rig = Rig::new();
    let host = &rig.host;
    let make = |direction, name| attach_foreign(host, "eth0", direction, name, NEXT, Order::Last);
    let [i1, i2] = ["in_one", "in_two"].map(|name| make(Direction::Ingress, name));
    let [e1, e2] = ["out_one", "out_two"].map(|name| make(Direction::Egress, name));
    let alone = |what: &str| {
        assert_eq!(chain(host, Direction::Ingress), [i1.id, i2.id], "{what}");
        assert_eq!(chain(host, Direction::Egress), [e1.id, e2.id], "{what}");
    };
    alone("before");
    rig.mirror();
    // First of the received, last of the sent: what the wire sees.
    assert_eq!(chain(host, Direction::Ingress)[1..], [i1.id, i2.id]);
    assert_eq!(chain(host, Direction::Egress)[..2], [e1.id, e2.id]);
    assert_eq!([Direction::Ingress, Direction::Egress].map(|direction| chain(host, direction).len()), [3, 3]);
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    assert_eq!(rig.ebmirror(&["-j", "attach", "eth0"]).ok().json()["changed"], false);

    rig.ebmirror(&["attach", "eth0", "--order", "last"]).ok();
    assert_eq!(chain(host, Direction::Ingress)[..2], [i1.id, i2.id]);
    assert_eq!(chain(host, Direction::Egress)[..2], [e1.id, e2.id]);
    rig.ebmirror(&["attach", "eth0", "--order", "first"]).ok();
    assert_eq!(chain(host, Direction::Ingress)[1..], [i1.id, i2.id]);
    assert_eq!(chain(host, Direction::Egress)[1..], [e1.id, e2.id]);
    traffic.mirrored_once();

    rig.ebmirror(&["detach", "eth0"]).ok();
    alone("after detach");
    rig.ebmirror(&["attach", "eth0"]).ok();
    rig.ebmirror(&["attach", "eth0", "--mode", "tc"]).ok();
    alone("beside tc");
    traffic.mirrored_once();
    rig.ebmirror(&["unpin", "--force"]).ok();
    alone("after unpin --force");
    traffic.production_works();
}

#[test]
fn a_program_ahead_of_the_tap_is_named() {
    // Room for the outer headers, so that nothing else is warned of.
    let rig = Rig::with_underlay_mtu(1600);
    let ahead = attach_foreign(&rig.host, "eth0", Direction::Egress, "bouncer", NEXT, Order::First);
    let attached = rig.ebmirror(&["-j", "attach", "eth0"]).ok().json();
    let warnings: Vec<&str> = attached["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("bouncer") && warnings[0].contains("egress"), "{warnings:?}");
    let text = rig.ebmirror(&["attach", "eth0"]).ok();
    assert!(text.stderr.starts_with("warning: ") && text.stderr.contains("bouncer"), "{}", text.stderr);
    rig.ebmirror(&ADD_IDS).ok();
    let status = rig.ebmirror(&["-j", "status"]).ok().json();
    let row = |direction: &str| -> Value {
        let rows = status["interfaces"].as_array().unwrap();
        rows.iter().find(|row| row["direction"] == direction).unwrap()["ahead"].clone()
    };
    assert!(row("egress")[0].as_str().unwrap().contains("bouncer"), "{status}");
    assert_eq!(row("ingress"), serde_json::json!([]));
    drop(ahead);
    assert_eq!(rig.ebmirror(&["-j", "attach", "eth0"]).ok().json()["warnings"], serde_json::json!([]));
}

#[test]
fn frames_that_a_program_ahead_takes_make_status_unhealthy() {
    let rig = Rig::new();
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    assert_eq!(rig.ebmirror(&["status"]).code, 0);
    // It accepts at once, so that nothing behind it runs.
    let _taker = attach_foreign(&rig.host, "eth0", Direction::Ingress, "taker", ACCEPT, Order::First);
    let frames = traffic.send(400);
    wait_for("status to notice", || rig.ebmirror(&["status"]).code == 1);
    let status = rig.ebmirror(&["-j", "status"]).json();
    let problems = status["problems"].to_string();
    assert!(problems.contains("eth0 ingress") && problems.contains("did not see"), "{status}");
    let (received, sent): (Vec<_>, Vec<_>) =
        traffic.copies(&frames).into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    assert!(received.iter().all(|(_, count)| *count == 0), "copied, although nobody saw it");
    assert!(sent.iter().all(|(_, count)| *count <= 1));
    traffic.production_works();
    // One more attach puts the tap in front.
    rig.ebmirror(&["attach", "eth0", "--order", "first"]).ok();
    traffic.mirrored_once();
}

#[test]
fn filters_and_qdiscs_of_others_stay() {
    for mode in ["tcx", "tc"] {
        let rig = Rig::new();
        let run = |text: &str| script(&rig.mounts, &rig.host, text);
        run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
             tc qdisc add dev eth0 clsact
             tc qdisc add dev eth0 root handle 77: pfifo limit 555
             tc filter add dev eth0 ingress protocol ip prio 5 u32 match ip dport 7 0xffff flowid 1:1
             tc filter add dev eth0 egress protocol ip prio 61440 u32 match ip dport 7 0xffff flowid 1:2");
        let before = snapshot(&rig.mounts, &rig.host);
        let foreign = |parent: &str| {
            let shown = run(&format!("tc filter show dev eth0 {parent}"));
            shown.lines().filter(|line| !line.contains("ebm_tap") && !line.contains(" bpf")).collect::<String>()
        };
        let shown = ["ingress", "egress"].map(foreign);
        rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        rig.ebmirror(&ADD_IDS).ok();
        assert_eq!(["ingress", "egress"].map(foreign), shown, "{mode}");
        if mode == "tc" {
            let line = |parent: &str| -> String {
                let all = run(&format!("tc filter show dev eth0 {parent}"));
                all.lines().find(|line| line.contains("ebm_tap")).unwrap().to_owned()
            };
            assert!(line("ingress").contains("pref 1 "), "before theirs: {}", line("ingress"));
            assert!(line("egress").contains("pref 61441 "), "behind theirs: {}", line("egress"));
        }
        Traffic::new(&rig).mirrored_once();
        rig.ebmirror(&["detach", "eth0"]).ok();
        rig.ebmirror(&["unpin"]).ok();
        assert_same(&before, &snapshot(&rig.mounts, &rig.host), &format!("{mode}: detach and unpin"));
        rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        rig.ebmirror(&["unpin", "--force"]).ok();
        assert_same(&before, &snapshot(&rig.mounts, &rig.host), &format!("{mode}: unpin --force"));
    }
}

#[test]
fn an_ingress_qdisc_is_refused_in_tc_mode_and_lived_with_in_tcx_mode() {
    let rig = Rig::new();
    script(
        &rig.mounts,
        &rig.host,
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
             tc qdisc add dev eth0 ingress
             tc filter add dev eth0 parent ffff: protocol all u32 match u32 0 0 flowid 1:1",
    );
    let before = snapshot(&rig.mounts, &rig.host);
    for args in [&["attach", "eth0", "--mode", "tc"][..], &["attach", "eth1", "eth0", "--mode", "tc"]] {
        rig.ebmirror(args).fails(6, "eth0", "--mode tcx");
        assert_same(&before, &snapshot(&rig.mounts, &rig.host), &format!("{args:?}"));
        rig.ebmirror(&[args, &["--dry-run"]].concat()).fails(6, "eth0", "--mode tcx");
    }
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    let attached = snapshot(&rig.mounts, &rig.host);
    rig.ebmirror(&["attach", "eth0", "--mode", "tc"]).fails(6, "eth0", "--mode tcx");
    assert_same(&attached, &snapshot(&rig.mounts, &rig.host), "a refused switch");
    traffic.mirrored_once();
    rig.ebmirror(&["unpin", "--force"]).ok();
    assert_same(&before, &snapshot(&rig.mounts, &rig.host), "unpin --force");
}

#[test]
fn an_instance_whose_bpffs_vanished_is_not_mirrored_twice() {
    for mode in ["tcx", "tc"] {
        let rig = Rig::new();
        script(&rig.mounts, &rig.host, "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
        let before = snapshot(&rig.mounts, &rig.host);
        rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        rig.ebmirror(&ADD_IDS).ok();
        let mut traffic = Traffic::new(&rig);
        traffic.mirrored_once();
        script(&rig.mounts, &rig.host, "umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf");
        let outcome = rig.ebmirror(&["attach", "eth0", "--mode", mode]);
        if outcome.code != 0 {
            outcome.fails(6, "ebm0", "unpin --force");
            rig.ebmirror(&["unpin", "--force"]).ok();
            rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        }
        rig.ebmirror(&ADD_IDS).ok();
        traffic.mirrored_once();
        rig.balanced();

        // Lost once more, and removed for good.
        script(&rig.mounts, &rig.host, "umount /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf");
        let removed = rig.ebmirror(&["-j", "unpin", "--force"]).ok().json();
        assert_eq!(removed["changed"], true, "{mode}: {removed}");
        assert_eq!(rig.ebmirror(&["-j", "unpin", "--force"]).ok().json()["changed"], false, "{mode}");
        // Whose the qdisc is stood in the pins.
        rig.try_tool(&rig.host, "tc qdisc del dev eth0 clsact");
        assert_same(&before, &snapshot(&rig.mounts, &rig.host), &format!("{mode}: unpin --force"));
        traffic.production_works();
    }
}

#[test]
fn instances_of_two_namespaces_do_not_see_each_other() {
    let rig = Rig::new();
    rig.mirror();
    let other = |args: &[&str]| rig.ebmirror_in(&rig.client, args);
    assert_eq!(other(&["-j", "peer", "list"]).ok().json()["peers"], serde_json::json!([]));
    other(&["attach", "eth0"]).ok();
    other(&["peer", "add", "ids", "--tunnel", "vxlan", "--remote", "10.1.0.2", "--vni", "7"]).ok();
    let mut traffic = Traffic::new(&rig);
    let stats = rig.stats();
    assert_eq!(stats["interfaces"].as_array().unwrap().len(), 2, "{stats}");
    other(&["unpin", "--force"]).ok();
    traffic.mirrored_once();
    rig.balanced();
    assert_eq!(rig.ebmirror(&["-j", "attach", "eth0"]).ok().json()["changed"], false);
}

#[test]
fn unpin_force_where_nothing_is_ours_removes_nothing() {
    let solo = Solo::new();
    let _foreign = attach_foreign(&solo.host, "eth0", Direction::Ingress, "somebody", NEXT, Order::Last);
    solo.script("tc qdisc add dev eth1 clsact; ip link add br0 type bridge");
    let before = solo.snapshot();
    assert_eq!(solo.json(&["unpin", "--force"])["changed"], false);
    assert_same(&before, &solo.snapshot(), "unpin --force");
}
