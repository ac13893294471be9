//! A mirror's life: attached, changed, crashed into, mended, removed; and production does not notice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::traffic::{client_to_host, counter, packets, peer, quiet_rig, send, tap};
use common::{COLLECTOR, Rig, check_books, wait_for, wait_within};
use ebmirror::kernel::hooks::tcx;
use ebmirror::lab::capture::Sender;
use ebmirror::lab::compare::WireSize;
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::model::interface::Direction;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use state::{ADD_IDS, Objects, Solo, Traffic, assert_same, changing_calls, script, snapshot, strace, wait_until_up};

/// The programs of a device's two TCX chains, by number.
fn chains(rig: &Rig, device: &str) -> [Vec<u32>; 2] {
    let ifindex = rig.host.link(device).unwrap().ifindex;
    rig.host.run(|| Direction::ALL.map(|direction| tcx::query(ifindex, direction).unwrap().programs)).unwrap()
}

/// The lines of `tc filter show` that name a program of ours.
fn filters(rig: &Rig, device: &str, parent: &str) -> Vec<String> {
    let shown = script(&rig.mounts, &rig.host, &format!("tc filter show dev {device} {parent} 2>/dev/null || true"));
    shown.lines().filter(|line| line.contains("ebm_tap")).map(str::to_owned).collect()
}

fn json(rig: &Rig, args: &[&str]) -> Value {
    rig.ebmirror(&[&["--json"], args].concat()).ok().json()
}

fn status(rig: &Rig) -> (i32, Value) {
    let outcome = rig.ebmirror(&["--json", "status"]);
    (outcome.code, outcome.json())
}

#[track_caller]
fn healthy(rig: &Rig) {
    let (code, status) = status(rig);
    assert_eq!((code, &status["healthy"], &status["problems"]), (0, &true.into(), &serde_json::json!([])));
}

#[track_caller]
fn unhealthy(rig: &Rig, problem: &str) {
    let (code, status) = status(rig);
    assert_eq!((code, &status["healthy"]), (1, &false.into()), "{status}");
    assert!(status["problems"].to_string().contains(problem), "no \"{problem}\" in {status}");
}

/// Where nothing changes by itself, and no frame comes but the test's own: one that is lost meanwhile would be told by status
/// for a while, and a neighbour that is not confirmed is asked for five seconds after the traffic.
fn still_rig() -> Rig {
    let rig = quiet_rig(1500);
    wait_until_up(&rig.mounts, &rig.host);
    rig
}

fn rig_snapshot(rig: &Rig) -> String {
    snapshot(&rig.mounts, &rig.host)
}

#[test]
fn attaching_again_changes_nothing_and_mirrors_once() {
    let rig = Rig::new();
    rig.mirror();
    let before = chains(&rig, "eth0");
    assert_eq!(before.clone().map(|chain| chain.len()), [1, 1]);
    for _ in 0..3 {
        assert_eq!(json(&rig, &["attach", "eth0"])["changed"], false);
        assert_eq!(json(&rig, &["attach", "eth0", "eth0", "--mode", "tcx"])["changed"], false);
    }
    assert_eq!(chains(&rig, "eth0"), before, "the same programs");
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    traffic.production_works();
    let stats = rig.balanced();
    assert_eq!(stats["peers"][0]["lost"]["packets"], 0, "{stats}");
    healthy(&rig);
}

#[test]
fn another_direction_replaces_the_one_before() {
    let rig = Rig::new();
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    for (direction, lengths) in [("ingress", [1, 0]), ("egress", [0, 1])] {
        let attached = json(&rig, &["attach", "eth0", "--direction", direction]);
        assert_eq!(
            attached["attached"],
            serde_json::json!([{"interface": "eth0", "direction": direction, "mode": "tcx"}])
        );
        assert_eq!(attached["changed"], true);
        assert_eq!(chains(&rig, "eth0").map(|chain| chain.len()), lengths);
        traffic.mirrored_only(direction == "egress");
        assert_eq!(rig.balanced()["interfaces"].as_array().unwrap().len(), 1);
    }
    assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true);
    traffic.mirrored_once();
    rig.balanced();
}

#[test]
fn tc_mode_is_first_on_ingress_and_last_on_egress_and_takes_its_qdisc_away() {
    let rig = still_rig();
    let before = rig_snapshot(&rig);
    let attached = json(&rig, &["attach", "eth0", "--mode", "tc"]);
    assert_eq!(attached["attached"][0]["mode"], "tc", "{attached}");
    rig.ebmirror(&ADD_IDS).ok();
    assert_eq!(chains(&rig, "eth0"), [vec![], Vec::<u32>::new()]);
    assert!(rig.tool(&rig.host, "tc qdisc show dev eth0").contains("clsact"));
    let (ingress, egress) = (filters(&rig, "eth0", "ingress"), filters(&rig, "eth0", "egress"));
    assert!(ingress.iter().all(|line| line.contains("pref 1 ")) && ingress.len() == 1, "{ingress:?}");
    assert!(egress.iter().all(|line| line.contains("pref 61440 ")) && egress.len() == 1, "{egress:?}");
    assert_eq!(json(&rig, &["attach", "eth0", "--mode", "tc"])["changed"], false);
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    traffic.production_works();
    rig.balanced();
    healthy(&rig);

    rig.ebmirror(&["detach", "eth0"]).ok();
    assert!(!rig.tool(&rig.host, "tc qdisc show dev eth0").contains("clsact"), "made here, removed here");
    rig.ebmirror(&["unpin"]).ok();
    assert_same(&before, &rig_snapshot(&rig), "something was left");
}

#[test]
fn a_clsact_qdisc_that_others_use_stays() {
    let rig = Rig::new();
    // There before, and empty.
    rig.tool(&rig.host, "tc qdisc add dev eth0 clsact");
    rig.ebmirror(&["attach", "eth0", "--mode", "tc"]).ok();
    rig.ebmirror(&["detach", "eth0"]).ok();
    assert!(rig.tool(&rig.host, "tc qdisc show dev eth0").contains("clsact"), "it was there before");
    rig.tool(&rig.host, "tc qdisc del dev eth0 clsact");
    // Made here, and used by somebody since.
    rig.ebmirror(&["attach", "eth0", "--mode", "tc"]).ok();
    let add = "tc filter add dev eth0 egress protocol all prio 100 u32 match u32 0 0 flowid 1:1";
    rig.tool(&rig.host, add);
    let foreign = rig.tool(&rig.host, "tc filter show dev eth0 egress prio 100");
    rig.ebmirror(&["detach", "eth0"]).ok();
    assert!(rig.tool(&rig.host, "tc qdisc show dev eth0").contains("clsact"), "somebody uses it");
    assert_eq!(rig.tool(&rig.host, "tc filter show dev eth0 egress prio 100"), foreign);
    assert_eq!(filters(&rig, "eth0", "egress"), Vec::<String>::new());
}

#[test]
fn switching_between_the_hooks_never_mirrors_twice() {
    let rig = Rig::new();
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    for mode in ["tc", "tcx", "tc", "auto", "tcx"] {
        let attached = json(&rig, &["attach", "eth0", "--mode", mode]);
        assert_eq!(attached["changed"], mode != "auto", "{mode}");
        let tcx = chains(&rig, "eth0").map(|chain| chain.len());
        let tc = ["ingress", "egress"].map(|parent| filters(&rig, "eth0", parent).len());
        assert_eq!((tcx, tc), if mode == "tcx" { ([1, 1], [0, 0]) } else { ([0, 0], [1, 1]) }, "{mode}");
        traffic.mirrored_once();
    }
    rig.balanced();
    rig.ebmirror(&["detach", "eth0"]).ok();
    assert!(!rig.tool(&rig.host, "tc qdisc show dev eth0").contains("clsact"), "made here, removed here");
}

#[test]
fn detach_stops_the_copies_and_what_is_not_attached_is_no_error() {
    let rig = Rig::new();
    rig.ebmirror(&["detach", "eth0"]).ok();
    rig.mirror();
    rig.ebmirror(&["attach", "eth1", "lo"]).ok();
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    let detached = json(&rig, &["detach", "eth0"]);
    assert_eq!((&detached["detached"], &detached["changed"]), (&serde_json::json!(["eth0"]), &true.into()));
    assert_eq!(json(&rig, &["detach", "eth0"])["changed"], false);
    assert_eq!(chains(&rig, "eth0"), [vec![], Vec::<u32>::new()]);
    let frames = traffic.send(10);
    traffic.production_works();
    let all = json(&rig, &["detach", "--all"]);
    assert_eq!(all["detached"], serde_json::json!(["eth1", "lo"]));
    assert_eq!(json(&rig, &["detach", "--all"])["changed"], false);
    assert_eq!(json(&rig, &["detach", "eth0", "eth0"])["detached"], serde_json::json!([]));
    // What was copied before stands in the books, and the frames after it do not.
    let stats = rig.balanced();
    assert_eq!(stats["interfaces"], serde_json::json!([]));
    assert_eq!(traffic.copies(&frames), vec![0; frames.len()]);
    rig.ebmirror(&["attach", "eth0"]).ok();
    traffic.mirrored_once();
    assert_eq!(traffic.copies(&frames), vec![0; frames.len()]);
    rig.balanced();
}

#[test]
fn a_device_that_is_gone_can_be_detached_by_its_name() {
    let solo = Solo::new();
    solo.ebmirror(&["attach", "eth0", "eth1"]).ok();
    solo.script("ip link del eth0");
    let status = solo.ebmirror(&["-j", "status"]);
    assert_eq!(status.code, 1);
    assert!(status.json()["problems"].to_string().contains("eth0"), "{}", status.stdout);
    assert_eq!(solo.json(&["detach", "eth0"])["detached"], serde_json::json!(["eth0"]));
    solo.ebmirror(&["detach", "eth0"]).fails(4, "eth0", "ip link");
    assert_eq!(solo.json(&["detach", "--all"])["detached"], serde_json::json!(["eth1"]));
    solo.ebmirror(&["unpin"]).ok();
}

#[test]
fn a_device_made_again_under_the_same_name_is_another_one() {
    let solo = Solo::new();
    let again = "ip link del eth0; ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up";
    for command in [&["attach", "eth0"][..], &["detach", "eth0"], &["detach", "--all"]] {
        solo.ebmirror(&["attach", "eth0"]).ok();
        solo.script(again);
        assert_eq!(solo.json(&[&["--dry-run"], command].concat())["changed"], true, "{command:?}");
        assert_eq!(solo.json(command)["changed"], true, "{command:?}");
        let stats = solo.json(&["stats"]);
        let rows = stats["interfaces"].as_array().unwrap().iter();
        let numbers: Vec<u64> = rows.map(|row| row["ifindex"].as_u64().unwrap()).collect();
        let now = u64::from(solo.host.link("eth0").unwrap().ifindex);
        assert_eq!(numbers, if command[0] == "attach" { vec![now, now] } else { vec![] }, "{command:?}");
        let status = solo.ebmirror(&["-j", "status"]).json();
        assert!(!status["problems"].to_string().contains("gone"), "after {command:?}: {status}");
        // No link of the device that is gone is left.
        let links = solo.script("find /sys/fs/bpf -name 'link_[0-9]*' | sed 's/.*link_//'");
        assert!(links.lines().all(|link| link.starts_with(&format!("{now}_"))), "after {command:?}: {links}");
    }
}

#[test]
fn a_renamed_interface_goes_on_under_its_new_name() {
    let rig = Rig::new();
    rig.mirror();
    script(&rig.mounts, &rig.host, "ip link set eth0 down; ip link set eth0 name wan0; ip link set wan0 up");
    assert_eq!(json(&rig, &["attach", "wan0"])["changed"], false);
    let stats = rig.ebmirror(&["-j", "stats", "wan0"]).ok().json();
    assert_eq!(stats["interfaces"][0]["interface"], "wan0", "{stats}");
    healthy(&rig);
    assert_eq!(json(&rig, &["detach", "wan0"])["changed"], true);
    assert_eq!(json(&rig, &["detach", "--all"])["changed"], false);
}

#[test]
fn names_with_dots_and_colons_of_vlans_work() {
    let solo = Solo::new();
    solo.script(
        "ip link add eth0.100 type veth peer name br-lan.4094; ip link set eth0.100 up; ip link set br-lan.4094 up",
    );
    for mode in ["tcx", "tc"] {
        solo.ebmirror(&["attach", "eth0.100", "br-lan.4094", "--mode", mode]).ok();
        assert_eq!(solo.json(&["attach", "eth0.100", "--mode", mode])["changed"], false);
        let stats = solo.json(&["stats", "eth0.100"]);
        assert_eq!(stats["interfaces"][0]["interface"], "eth0.100");
    }
    assert_eq!(solo.json(&["detach", "--all"])["detached"], serde_json::json!(["br-lan.4094", "eth0.100"]));
    solo.ebmirror(&["unpin"]).ok();
}

#[test]
fn a_tap_with_a_time_stops_by_itself() {
    let rig = Rig::new();
    rig.ebmirror(&ADD_IDS).ok();
    rig.ebmirror(&["attach", "eth0", "--for", "1h"]).ok();
    let mut traffic = Traffic::new(&rig);
    traffic.mirrored_once();
    let (code, long) = status(&rig);
    let seconds = long["interfaces"][0]["stops_in_seconds"].as_u64();
    assert!(code == 0 && seconds.is_some_and(|seconds| (3500..=3600).contains(&seconds)), "{long}");

    assert_eq!(json(&rig, &["attach", "eth0", "--for", "300ms"])["changed"], true);
    // No process is there to stop it.
    wait_for("the time to be over", || status(&rig).1["problems"].to_string().contains("eth0"));
    unhealthy(&rig, "the time of eth0 is over");
    let frames = traffic.send(10);
    traffic.production_works();
    assert_eq!(rig.balanced()["interfaces"][0]["seen"], rig.stats()["interfaces"][0]["seen"]);
    assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true);
    traffic.mirrored_once();
    assert_eq!(traffic.copies(&frames), vec![0; frames.len()], "copied after its time");
    // Without a time it goes on for ever, whatever was said before.
    rig.ebmirror(&["attach", "eth0", "--for", "1h"]).ok();
    assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true);
    assert_eq!(status(&rig).1["interfaces"][0]["stops_in_seconds"], Value::Null);
    rig.balanced();
}

#[test]
fn pin_prepares_and_unpin_removes_everything() {
    let rig = still_rig();
    let before = rig_snapshot(&rig);
    assert_eq!(json(&rig, &["unpin"])["changed"], false);
    assert_eq!(json(&rig, &["pin"])["changed"], true);
    assert_eq!(json(&rig, &["pin"])["changed"], false);
    rig.ebmirror(&ADD_IDS).ok();
    let prepared = Objects::pinned(&rig.mounts, &rig.host);
    assert_eq!((prepared.count("prog"), prepared.count("link")), (6, 2));
    rig.ebmirror(&["unpin"]).ok();
    prepared.wait_gone();
    assert_same(&before, &rig_snapshot(&rig), "unpin left something");

    rig.mirror();
    let objects = Objects::pinned(&rig.mounts, &rig.host);
    assert_eq!((objects.count("prog"), objects.count("link")), (6, 4));
    rig.ebmirror(&["unpin"]).fails(6, "eth0", "--force");
    Traffic::new(&rig).mirrored_once();
    rig.ebmirror(&["unpin", "--force"]).ok();
    objects.wait_gone();
    assert_same(&before, &rig_snapshot(&rig), "unpin --force left something");

    // Whose time is over is not attached any more.
    rig.ebmirror(&["attach", "eth0", "--for", "1ms"]).ok();
    wait_for("the time to be over", || rig.ebmirror(&["unpin"]).code == 0);
    assert_same(&before, &rig_snapshot(&rig), "unpin left something");
}

/// Kills a command at each of its steps, and sees that the next ones work as if nothing had happened.
fn survives_kills(prepare: impl Fn(&Rig) + Sync, args: &[&str]) {
    let rig = Rig::new();
    prepare(&rig);
    let calls = changing_calls(&rig.mounts, &rig.host, args);
    let prepare = &prepare;
    // Most of the time is spent waiting for the kernel.
    thread::scope(|scope| {
        for part in calls.chunks(calls.len().div_ceil(4)) {
            scope.spawn(move || {
                let rig = still_rig();
                let before = rig_snapshot(&rig);
                let mut traffic = Traffic::new(&rig);
                for (name, number) in part {
                    prepare(&rig);
                    survives_kill(&rig, args, name, *number, &mut traffic);
                    let what = format!("killed at {name} number {number}: unpin --force left something");
                    assert_same(&before, &rig_snapshot(&rig), &what);
                }
                traffic.production_works();
            });
        }
    });
}

fn survives_kill(rig: &Rig, args: &[&str], name: &str, number: usize, traffic: &mut Traffic) {
    let what = format!("killed at {name} number {number}");
    let works = |args: &[&str]| {
        let outcome = rig.ebmirror(args);
        assert_eq!(outcome.code, 0, "{what}: {outcome:?}");
        outcome
    };
    let option = format!("inject={name}:signal=SIGKILL:when={number}");
    let killed = strace(&rig.mounts, &rig.host, &["-e", &option], args);
    assert_eq!(killed.code, -1, "{what}: it lived: {killed:?}");

    let list = works(&["-j", "peer", "list"]).json();
    let names: Vec<&str> =
        list["peers"].as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap()).collect();
    if names.contains(&"ids") {
        works(&["peer", "set", "ids", "--vni", "42"]);
    } else {
        works(&ADD_IDS);
    }
    for other in names.iter().filter(|name| **name != "ids") {
        works(&["peer", "del", other]);
    }
    works(&["attach", "eth0"]);
    traffic.mirrored_once();
    rig.balanced();
    works(&["unpin", "--force"]);
}

#[test]
fn a_first_attach_may_die_at_any_step() {
    survives_kills(|_| {}, &["attach", "eth0"]);
}

#[test]
fn a_first_attach_in_tc_mode_may_die_at_any_step() {
    survives_kills(|_| {}, &["attach", "eth0", "--mode", "tc"]);
}

#[test]
fn a_switch_of_hooks_may_die_at_any_step() {
    survives_kills(Rig::mirror, &["attach", "eth0", "--mode", "tc"]);
}

#[test]
fn a_change_of_peers_may_die_at_any_step() {
    survives_kills(Rig::mirror, &["peer", "add", "two", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "43"]);
    survives_kills(Rig::mirror, &["peer", "set", "ids", "--vni", "43"]);
}

#[test]
fn a_detach_may_die_at_any_step() {
    survives_kills(Rig::mirror, &["detach", "eth0"]);
}

#[test]
fn an_unpin_may_die_at_any_step() {
    survives_kills(Rig::mirror, &["unpin", "--force"]);
    let tc = |rig: &Rig| {
        rig.ebmirror(&["attach", "eth0", "--mode", "tc"]).ok();
    };
    survives_kills(tc, &["unpin", "--force"]);
}

#[test]
fn many_processes_at_once_lose_nothing() {
    let rig = Rig::new();
    let run = |args: Vec<String>| {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let outcome = rig.ebmirror(&words);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
    };
    // From nothing: one of them makes the instance.
    thread::scope(|scope| {
        for number in 0..16 {
            let add = format!("peer add p{number} --tunnel vxlan --remote {COLLECTOR} --vni {}", 100 + number);
            scope.spawn(move || run(add.split(' ').map(str::to_owned).collect()));
        }
        for _ in 0..4 {
            scope.spawn(move || run(vec!["attach".into(), "eth0".into()]));
        }
    });
    let names: Vec<String> = json(&rig, &["peer", "list"])["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 16, "{names:?}");
    assert_eq!(chains(&rig, "eth0").map(|chain| chain.len()), [1, 1]);
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(move || run(vec!["peer".into(), "del".into(), name.clone()]));
        }
        scope.spawn(move || run(ADD_IDS.map(str::to_owned).to_vec()));
    });
    assert_eq!(json(&rig, &["peer", "list"])["peers"].as_array().unwrap().len(), 1);
    Traffic::new(&rig).mirrored_once();
    rig.balanced();
}

#[test]
fn an_instance_that_goes_does_not_take_the_root_from_one_that_comes() {
    let rig = Rig::new();
    // Two namespaces share a root. The second instance is made while the first one, the last so far, is removed.
    rig.ebmirror(&["pin"]).ok();
    let options = ["-e", "trace=mkdir", "-e", "inject=mkdir:delay_exit=300000:when=1"];
    thread::scope(|scope| {
        let coming = scope.spawn(|| strace(&rig.mounts, &rig.client, &options, &["pin"]));
        // It has seen the root, and is held up before it makes its own directory.
        thread::sleep(Duration::from_millis(150));
        rig.ebmirror(&["unpin"]).ok();
        let outcome = coming.join().unwrap();
        assert_eq!(outcome.code, 0, "{outcome:?}");
    });
    rig.ebmirror_in(&rig.client, &["unpin"]).ok();
}

fn spawn(rig: &Rig, args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = rig.mounts.command(common::EBMIRROR);
    command.args(["--netns", &rig.host.path()]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn run_detaches_when_it_is_interrupted() {
    let rig = Rig::new();
    rig.ebmirror(&ADD_IDS).ok();
    for end in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, mut stdout) = spawn(&rig, &["-j", "run", "eth0"]);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(first["interfaces"].as_array().map(Vec::len), Some(2), "{first}");
        Traffic::new(&rig).mirrored_once();
        rig.ebmirror(&["run", "eth0"]).fails(6, "eth0", "stats --watch");
        signal(&child, end);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{end}");
        assert_eq!(chains(&rig, "eth0"), [vec![], Vec::<u32>::new()], "{end}");
    }
    rig.balanced();
}

#[test]
fn what_run_attached_stops_by_itself_when_run_is_killed() {
    let rig = Rig::new();
    rig.ebmirror(&ADD_IDS).ok();
    let (mut child, mut stdout) = spawn(&rig, &["-j", "run", "eth0"]);
    stdout.read_line(&mut String::new()).unwrap();
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // The taps hold a lease of ten seconds.
    wait_within(Duration::from_secs(15), "the taps to stop without their process", || {
        status(&rig).1["problems"].to_string().contains("the time of eth0 is over")
    });
    let mut traffic = Traffic::new(&rig);
    let frames = traffic.send(10);
    traffic.production_works();
    // It can be run again, as if nothing had happened.
    let (mut child, mut stdout) = spawn(&rig, &["-j", "run", "eth0"]);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("ebmirror.stats.v1"), "{line}");
    traffic.mirrored_once();
    assert_eq!(traffic.copies(&frames), vec![0; frames.len()], "copied without a process");
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn watching_prints_a_document_a_line_until_it_is_interrupted() {
    let rig = Rig::new();
    rig.mirror();
    let (mut child, stdout) = spawn(&rig, &["-j", "stats", "--watch=1"]);
    let mut lines = stdout.lines();
    for _ in 0..2 {
        let document: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(document["schema"], "ebmirror.stats.v1");
        let rates = document["rates"].as_array().unwrap();
        assert_eq!(rates.len(), 3, "two directions and a peer: {document}");
        assert!(rates[0]["packets_per_second"].is_f64() && document["seconds"].as_f64().unwrap() > 0.5, "{document}");
        check_books(&document);
    }
    signal(&child, Signal::SIGINT);
    let last: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(last.len() <= 2, "{last:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_books_balance_when_they_are_reset_under_traffic() {
    let rig = still_rig();
    rig.mirror();
    let ethernet = Ethernet::new(rig.client.mac("eth0").unwrap(), rig.host.mac("eth0").unwrap());
    let frame = ethernet.ipv4([10, 1, 0, 1], [10, 1, 0, 2]).udp(1, 9, &pattern(0, 64));
    let stop = AtomicBool::new(false);
    let sender = rig.client.attempt("open a sender", || Sender::open("eth0")).unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut sent = 0u64;
            while !stop.load(Ordering::Relaxed) {
                sender.send(&frame).unwrap();
                sent += 1;
            }
            sent
        });
        let mut told = 0;
        for _ in 0..10 {
            let stats = json(&rig, &["stats", "--reset"]);
            assert_eq!(stats["changed"], true);
            assert!(stats["unaccounted"].as_u64().unwrap() < 10_000, "more than what is in flight: {stats}");
            told += stats["interfaces"][0]["seen"]["packets"].as_u64().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        let sent = sending.join().unwrap();
        let last = rig.balanced();
        told += last["interfaces"][0]["seen"]["packets"].as_u64().unwrap();
        assert!(told > 0 && told <= sent, "{told} of {sent} frames");
    });
    let stats = json(&rig, &["stats", "--reset"]);
    check_books(&stats);
    let after = rig.balanced();
    // What the host answers leaves it.
    let mut copies = WireSize::default();
    for direction in ["ingress", "egress"] {
        copies += counter(&tap(&after, direction)["copies"]);
    }
    assert_eq!(counter(&peer(&after, "ids")["selected"]), copies, "{after}");
    Traffic::new(&rig).mirrored_once();
    rig.balanced();
}

#[test]
fn stats_of_chosen_interfaces_are_those_alone() {
    let rig = Rig::new();
    rig.mirror();
    rig.ebmirror(&["attach", "lo", "--direction", "egress"]).ok();
    Traffic::new(&rig).mirrored_once();
    let names = |args: &[&str]| -> Vec<String> {
        let stats = json(&rig, &[&["stats"], args].concat());
        let rows = stats["interfaces"].as_array().unwrap().clone();
        rows.iter().map(|row| format!("{} {}", row["interface"], row["direction"]).replace('"', "")).collect()
    };
    assert_eq!(names(&[]), ["eth0 ingress", "eth0 egress", "lo egress"]);
    assert_eq!(names(&["lo"]), ["lo egress"]);
    assert_eq!(names(&["eth0"]), ["eth0 ingress", "eth0 egress"]);
    assert_eq!(names(&["lo", "eth0"]), ["eth0 ingress", "eth0 egress", "lo egress"]);
    rig.ebmirror(&["stats", "eth1"]).fails(4, "eth1", "attach");
    let table = rig.ebmirror(&["stats"]).ok().stdout;
    for word in ["eth0", "ingress", "egress", "ids", "SEEN", "SENT"] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn status_tells_what_is_missing() {
    let rig = still_rig();
    unhealthy(&rig, "nothing is loaded");
    rig.ebmirror(&["pin"]).ok();
    unhealthy(&rig, "no interface");
    rig.ebmirror(&["attach", "eth0"]).ok();
    unhealthy(&rig, "no peer");
    rig.ebmirror(&ADD_IDS).ok();
    healthy(&rig);
    assert!(rig.ebmirror(&["status"]).ok().stdout.starts_with("healthy\n"));
    rig.tool(&rig.host, "ip route flush dev eth1");
    unhealthy(&rig, "no route to 10.2.0.2");
    rig.tool(&rig.host, "ip route add 10.2.0.0/24 dev eth1");
    // A frame that came in between was lost, and status tells it for ten seconds.
    wait_within(Duration::from_secs(15), "the loss to be past", || status(&rig).0 == 0);
    healthy(&rig);
    rig.ebmirror(&["peer", "set", "ids", "--remote", "10.2.0.99"]).ok();
    wait_for("the neighbour to fail", || status(&rig).0 == 1);
    unhealthy(&rig, "10.2.0.99");
    rig.ebmirror(&["peer", "set", "ids", "--remote", COLLECTOR]).ok();
    healthy(&rig);
}

/// Does harm, sees that status finds it, and that every command that changes something mends it.
fn mends(harm: &str, problem: &str) {
    let rig = still_rig();
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    let two = ["peer", "add", "two", "--tunnel", "vxlan", "--remote", "10.2.0.2", "--vni", "43"];
    for command in
        [&["pin"][..], &["attach", "eth0"], &two, &["peer", "set", "ids", "--ttl", "65"], &["peer", "del", "two"]]
    {
        script(&rig.mounts, &rig.host, harm);
        unhealthy(&rig, problem);
        assert_eq!(json(&rig, command)["changed"], true, "{command:?} after: {harm}");
        healthy(&rig);
        traffic.mirrored_once();
    }
    traffic.production_works();
    rig.balanced();
}

#[test]
fn a_stage_that_somebody_deleted_is_made_again() {
    mends("ip link del ebm0", "ebm0");
    mends("ip link del ebm1", "ebm");
}

#[test]
fn a_stage_that_somebody_set_down_is_set_up_again() {
    mends("ip link set ebm0 down", "ebm0");
    mends("ip link set ebm1p down", "ebm1");
}

#[test]
fn a_stage_that_may_not_forward_may_again() {
    mends("echo 0 >/proc/sys/net/ipv4/conf/ebm0/forwarding", "forwarding");
    mends("echo 0 >/proc/sys/net/ipv6/conf/ebm0/forwarding", "forwarding");
    // As who switches routing on and off again does it.
    mends("cd /proc/sys/net/ipv6/conf/all; echo 1 >forwarding; echo 0 >forwarding", "forwarding");
}

#[test]
fn a_stage_without_ipv6_or_with_a_smaller_mtu_gets_them_back() {
    mends("echo 1 >/proc/sys/net/ipv6/conf/ebm0/disable_ipv6", "disable_ipv6");
    // Below 1280 bytes the kernel forgets what was set for IPv6.
    mends("ip link set ebm0 mtu 1000", "MTU");
}

/// Compiled out, or disabled when the host was started.
#[test]
fn a_host_without_ipv6_mirrors() {
    let rig = Rig::new();
    script(&rig.mounts, &rig.host, "mount -t tmpfs tmpfs /proc/sys/net/ipv6");
    rig.mirror();
    healthy(&rig);
    Traffic::new(&rig).mirrored_once();
    script(&rig.mounts, &rig.host, "echo 0 >/proc/sys/net/ipv4/conf/ebm0/forwarding");
    assert_eq!(json(&rig, &["pin"])["changed"], true);
    assert_eq!(json(&rig, &["pin"])["changed"], false);
    rig.ebmirror(&["unpin", "--force"]).ok();
}

#[test]
fn a_stage_without_its_program_gets_it_back() {
    mends("bpftool link detach pinned $(find /sys/fs/bpf -name link_stage)", "ebm0");
}

#[test]
fn what_crosses_a_stage_without_its_program_is_lost_and_counted() {
    let rig = Rig::new();
    rig.mirror();
    let mut traffic = Traffic::new(&rig);
    script(&rig.mounts, &rig.host, "bpftool link detach pinned $(find /sys/fs/bpf -name link_stage)");
    traffic.production_works();
    rig.ebmirror(&["pin"]).ok();
    traffic.mirrored_once();
    let stats = rig.balanced();
    // The first frame stops the taps of both directions, and may be one that the host itself sends.
    let lost: u64 = stats["interfaces"].as_array().unwrap().iter().map(|row| packets(&row["lost"])).sum();
    assert!(lost > 0, "{stats}");
}

#[test]
fn a_port_without_its_program_gets_it_back() {
    mends("bpftool link detach pinned $(find /sys/fs/bpf -name link_exact)", "ebm");
}

#[test]
fn a_tap_that_somebody_detached_is_attached_again() {
    let rig = Rig::new();
    rig.mirror();
    script(&rig.mounts, &rig.host, "bpftool link detach pinned $(find /sys/fs/bpf -name 'link_*_ingress')");
    unhealthy(&rig, "eth0 ingress");
    assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true);
    healthy(&rig);
    Traffic::new(&rig).mirrored_once();
    rig.balanced();
}

#[test]
fn a_device_of_somebody_else_called_like_the_stage_is_a_conflict() {
    let solo = Solo::new();
    for device in ["ebm0", "ebm1", "ebm1p"] {
        solo.script(&format!("ip link add {device} type bridge"));
        let before = solo.snapshot();
        for args in
            [&["attach", "eth0"][..], &["pin"], &["attach", "eth0", "--dry-run"], &["attach", "eth0", "--mode", "tc"]]
        {
            solo.ebmirror(args).fails(6, device, "ip link");
            assert_same(&before, &solo.snapshot(), &format!("{args:?} changed something"));
        }
        solo.ebmirror(&["unpin", "--force"]).ok();
        assert_same(&before, &solo.snapshot(), "unpin --force removed what is not ours");
        solo.script(&format!("ip link del {device}"));
    }
    solo.ebmirror(&["attach", "eth0"]).ok();
}

/// Writes a number into the pinned notes of the instance: `offset` and `length` in bytes.
fn write_meta(rig: &Rig, offset: usize, value: &[u8]) {
    let dump = script(&rig.mounts, &rig.host, "bpftool -j map dump pinned $(find /sys/fs/bpf -name ebm_meta)");
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let mut bytes: Vec<String> =
        dump[0]["value"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().to_owned()).collect();
    for (byte, new) in bytes[offset..].iter_mut().zip(value) {
        *byte = format!("{new:#04x}");
    }
    let update =
        format!("bpftool map update pinned $(find /sys/fs/bpf -name ebm_meta) key 0 0 0 0 value {}", bytes.join(" "));
    script(&rig.mounts, &rig.host, &update);
}

#[test]
fn another_version_takes_over_in_place_without_losing_a_frame() {
    for mode in ["tcx", "tc"] {
        let rig = Rig::new();
        rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        rig.ebmirror(&ADD_IDS).ok();
        let mut traffic = Traffic::new(&rig);
        traffic.mirrored_once();
        let old = Objects::pinned(&rig.mounts, &rig.host);
        let before = rig.balanced();
        write_meta(&rig, 16, &1u64.to_ne_bytes());

        let stop = AtomicBool::new(false);
        let frames = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut frames = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    frames.extend(traffic.send(10));
                    // A veth's backlog holds a thousand.
                    thread::sleep(Duration::from_millis(1));
                }
                frames
            });
            assert_eq!(json(&rig, &["attach", "eth0", "--mode", mode])["changed"], true, "{mode}");
            stop.store(true, Ordering::Relaxed);
            sending.join().unwrap()
        });
        traffic.mirrored_once();
        let copies = traffic.copies(&frames);
        let wrong: Vec<_> = copies.iter().enumerate().filter(|(_, count)| **count != 1).collect();
        assert!(wrong.is_empty(), "{mode}: {} frames, copies of some: {wrong:?}", frames.len());
        let after = rig.balanced();
        let sent = |stats: &Value| stats["peers"][0]["sent"]["packets"].as_u64().unwrap();
        assert!(sent(&after) >= sent(&before) + frames.len() as u64, "the counters go on");
        assert_eq!(json(&rig, &["attach", "eth0", "--mode", mode])["changed"], false);
        healthy(&rig);
        rig.ebmirror(&["unpin", "--force"]).ok();
        old.wait_gone();
    }
}

/// A change of the rules that follows makes all void that the tap has kept of flows since.
#[test]
fn rules_that_another_version_compiled_again_can_be_changed() {
    let rig = quiet_rig(1600);
    rig.ebmirror(&["attach", "eth0"]).ok();
    rig.ebmirror(&["filter", "add", "udp dst port 11"]).ok();
    write_meta(&rig, 16, &1u64.to_ne_bytes());
    assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true);

    let ethernet = client_to_host(&rig);
    let frame = ethernet.ipv4([192, 0, 2, 1], [192, 0, 2, 2]).udp(5, 11, &pattern(1, 200));
    let frames = vec![frame; 100];
    let matched = || -> Vec<u64> {
        rig.stats()["rules"].as_array().unwrap().iter().map(|rule| packets(&rule["matched"])).collect()
    };
    send(&rig.client, "eth0", &frames);
    wait_for("the frames", || matched() == [100]);
    rig.ebmirror(&["filter", "add", "--priority", "1", "udp dst port 12"]).ok();
    send(&rig.client, "eth0", &frames);
    wait_for("the frames", || matched().iter().sum::<u64>() == 200);
    assert_eq!(matched(), [0, 200], "the new rule, which is asked first, wants none of them");
}

#[test]
fn maps_of_another_schema_or_with_holes_are_refused_and_can_be_removed() {
    for (harm, message) in [("", "schema"), ("rm $(find /sys/fs/bpf -name ebm_peers)", "ebm_peers")] {
        for mode in ["tcx", "tc"] {
            let rig = still_rig();
            let before = rig_snapshot(&rig);
            rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
            rig.ebmirror(&ADD_IDS).ok();
            if harm.is_empty() {
                write_meta(&rig, 0, &99u32.to_ne_bytes());
            } else {
                script(&rig.mounts, &rig.host, harm);
            }
            let damaged = rig_snapshot(&rig);
            for args in [&["attach", "eth0"][..], &["status"], &["peer", "list"]] {
                rig.ebmirror(args).fails(8, message, "unpin --force");
                assert_same(&damaged, &rig_snapshot(&rig), &format!("{args:?} changed something"));
            }
            removed_by_force(&rig, &before);
        }
    }
}

#[test]
fn a_program_that_lost_its_pin_is_loaded_again() {
    for program in ["ebm_tap_in", "ebm_tap_out", "ebm_stage", "ebm_exact", "ebm_layer3", "ebm_probe"] {
        for mode in ["tcx", "tc"] {
            let rig = still_rig();
            let before = rig_snapshot(&rig);
            rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
            rig.ebmirror(&ADD_IDS).ok();
            let harm = format!("rm $(find /sys/fs/bpf -name {program})");
            script(&rig.mounts, &rig.host, &harm);
            rig.ebmirror(&["status"]).fails(8, program, "pin loads it again");
            assert_eq!(json(&rig, &["attach", "eth0"])["changed"], true, "{program} {mode}");
            healthy(&rig);
            let mut traffic = Traffic::new(&rig);
            traffic.mirrored_once();
            rig.balanced();
            script(&rig.mounts, &rig.host, &harm);
            removed_by_force(&rig, &before);
        }
    }
}

/// unpin --force removes what is damaged, and a new mirror works.
fn removed_by_force(rig: &Rig, before: &str) {
    rig.ebmirror(&["unpin", "--force"]).ok();
    // Whose the qdisc is stood in the pins.
    rig.try_tool(&rig.host, "tc qdisc del dev eth0 clsact");
    assert_same(before, &rig_snapshot(rig), "unpin --force left something");
    rig.mirror();
    Traffic::new(rig).mirrored_once();
}
