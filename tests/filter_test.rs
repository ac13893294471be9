//! `filter test` and `filter explain`: what they say of each frame, what they refuse, and that they change nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{EBMIRROR, Mounts, Outcome, Scratch};
use ebmirror::lab::random::Captured;
use ebmirror::lab::tcpdump::capture;
use serde_json::{Value, json};
use state::Solo;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame of so many bytes: IPv4 from 10.0.0.1 to 10.0.0.2 with these ports.
fn frame(protocol: u8, source: u16, destination: u16, bytes: usize) -> Captured {
    let mut frame = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0].to_vec();
    let length = (bytes - 14) as u16;
    frame.extend([0x45, 0].into_iter().chain(length.to_be_bytes()).chain([0, 0, 0, 0, 64, protocol, 0, 0]));
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(source.to_be_bytes().into_iter().chain(destination.to_be_bytes()));
    frame.resize(bytes, 0);
    Captured { bytes: frame, wire_bytes: bytes as u32 }
}

fn shipped(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of the frames, and the totals.
fn tested(solo: &Solo, args: &[&str]) -> (Vec<Value>, Value) {
    let mut lines = lines(&solo.ebmirror(&[&["--json", "filter", "test"], args].concat()).ok());
    let totals = lines.pop().unwrap();
    assert_eq!(totals["schema"], "ebmirror.filter-test.v1");
    (lines, totals)
}

/// Without a namespace and without a bpffs.
fn expression(args: &[&str]) -> Outcome {
    let mut command = Command::new(EBMIRROR);
    command.args(["--json", "filter", "test"]).args(args);
    Outcome::of(command, &args.join(" "))
}

fn actions(outcome: &Outcome) -> Vec<String> {
    let lines = lines(outcome);
    lines[..lines.len() - 1].iter().map(|line| line["action"].as_str().unwrap_or("left out").to_owned()).collect()
}

/// Three peers: one that cuts, two that share a group; and rules that use them.
fn loaded() -> Solo {
    let solo = Solo::new();
    let run = |words: &[&str]| drop(solo.ebmirror(words).ok());
    let peer = ["--tunnel", "vxlan", "--remote", "10.9.0.2", "--vni"];
    run(&[&["peer", "add", "ids"], &peer[..], &["1", "--snaplen", "64"]].concat());
    run(&[&["peer", "add", "a"], &peer[..], &["2", "--group", "sensors"]].concat());
    run(&[&["peer", "add", "b"], &peer[..], &["3", "--group", "sensors"]].concat());
    run(&["filter", "add", "--to", "ids", "tcp port 80"]);
    run(&["filter", "add", "--to", "sensors", "--snaplen", "128", "tcp port 81"]);
    run(&["filter", "add", "--action", "skip", "udp port 53"]);
    run(&["filter", "add", "--snaplen", "200", "udp port 54"]);
    run(&["filter", "add", "--sample", "1/1000000", "udp port 55"]);
    solo
}

#[test]
fn each_frame_is_told_its_rule_its_peers_and_its_cut() {
    let solo = loaded();
    let before = solo.snapshot() + &solo.ebmirror(&["--json", "stats"]).ok().stdout;
    let frames = [
        frame(TCP, 1000, 80, 100),
        frame(TCP, 80, 1000, 60),
        frame(TCP, 1000, 81, 300),
        frame(UDP, 1000, 53, 300),
        frame(UDP, 1000, 54, 300),
        frame(UDP, 1000, 55, 300),
        frame(UDP, 1000, 56, 300),
    ];
    let capture = Scratch::of(&capture(&frames));
    let (lines, totals) = tested(&solo, &[capture.path()]);
    let to = |line: usize| lines[line]["to"].as_array().unwrap();
    assert_eq!(lines[0], json!({"frame": 1, "rule": 1, "action": "mirror", "to": ["ids"], "cut": 64}));
    assert_eq!(lines[1], json!({"frame": 2, "rule": 1, "action": "mirror", "to": ["ids"], "cut": null}));
    let of_group = |to: &Value| to == "a" || to == "b";
    assert_eq!((&lines[2]["rule"], &lines[2]["cut"], to(2).len()), (&json!(2), &json!(128), 1));
    assert!(of_group(&to(2)[0]), "{}", lines[2]);
    assert_eq!(lines[3], json!({"frame": 4, "rule": 3, "action": "skip", "to": [], "cut": null}));
    // One of every group, and the peer that cuts more than the rule.
    assert_eq!((&lines[4]["rule"], &lines[4]["cut"], to(4).len()), (&json!(4), &json!(64), 2));
    assert!(of_group(&to(4)[0]) && to(4)[1] == "ids", "{}", lines[4]);
    let of_sensors = to(4)[0].as_str().unwrap();
    assert_eq!(lines[4]["cuts"], json!({"ids": 64, of_sensors: 200}));
    let sampled_out = json!({"frame": 6, "rule": 5, "action": "skip", "to": [], "cut": null, "sampled_out": true});
    assert_eq!(lines[5], sampled_out);
    assert_eq!(lines[6], json!({"frame": 7, "rule": null, "action": "skip", "to": [], "cut": null}));
    let expected = json!({
        "schema": "ebmirror.filter-test.v1", "frames": 7, "matched": 6, "mirror": 4, "skip": 3, "sampled_out": 1, "left_out": {},
        "rules": [
            {"rule": 1, "matched": 2, "mirror": 2, "skip": 0}, {"rule": 2, "matched": 1, "mirror": 1, "skip": 0},
            {"rule": 3, "matched": 1, "mirror": 0, "skip": 1}, {"rule": 4, "matched": 1, "mirror": 1, "skip": 0},
            {"rule": 5, "matched": 1, "mirror": 0, "skip": 1},
        ],
    });
    assert_eq!(totals, expected);
    let text = solo.ebmirror(&["filter", "test", capture.path()]).ok().stdout;
    for line in [
        "1  rule 1  mirror  to ids  cut 64\n",
        "2  rule 1  mirror  to ids\n",
        "4  rule 3  skip\n",
        "6  rule 5  skip  sampled out\n",
        "7  skip\n",
        "7 frames: 6 match, 4 mirror, 3 skip, 1 of these sampled out\n",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert_eq!(solo.snapshot() + &solo.ebmirror(&["--json", "stats"]).ok().stdout, before);
}

#[test]
fn the_default_decides_where_no_rule_matches() {
    let solo = Solo::new();
    let capture = Scratch::of(&capture(&[frame(TCP, 1, 2, 60)]));
    solo.ebmirror(&["filter", "test", capture.path()]).fails(4, "nothing is loaded", "--expression");
    solo.ebmirror(&["pin"]).ok();
    assert_eq!(tested(&solo, &[capture.path()]).0[0]["action"], "mirror");
    solo.ebmirror(&["filter", "default", "skip"]).ok();
    let (lines, _) = tested(&solo, &[capture.path()]);
    assert_eq!((&lines[0]["action"], &lines[0]["rule"]), (&json!("skip"), &Value::Null));
}

#[test]
fn rules_see_the_interface_and_the_direction_that_are_named() {
    let solo = Solo::new();
    solo.ebmirror(&["filter", "add", "ifname eth0 and outbound"]).ok();
    let capture = Scratch::of(&capture(&[frame(TCP, 1, 2, 60)]));
    for (args, rule) in [
        (&[][..], Value::Null),
        (&["--iface", "eth0"], Value::Null),
        (&["--direction", "egress"], Value::Null),
        (&["--iface", "eth0", "--direction", "egress"], json!(1)),
        (&["--iface", "eth1", "--direction", "egress"], Value::Null),
    ] {
        let (lines, _) = tested(&solo, &[&[capture.path()], args].concat());
        assert_eq!(lines[0]["rule"], rule, "{args:?}");
    }
    let missing = solo.ebmirror(&["filter", "test", capture.path(), "--iface", "eth7"]);
    missing.fails(4, "there is no interface eth7", "ip link");
    // An expression needs no interface to be there.
    for (text, args, action) in [
        ("ifname eth7", &["--iface", "eth7"][..], "mirror"),
        ("ifname eth7", &["--iface", "eth8"], "skip"),
        ("ifname eth7", &[], "skip"),
        ("inbound", &[], "mirror"),
        ("inbound", &["--direction", "egress"], "skip"),
        ("outbound", &["--direction", "egress"], "mirror"),
    ] {
        let outcome = expression(&[&[capture.path(), "--expression", text], args].concat()).ok();
        assert_eq!(actions(&outcome), [action], "{text} {args:?}");
    }
}

#[test]
fn frames_may_be_long_short_cut_and_empty() {
    let cut = |bytes: usize| {
        let whole = frame(UDP, 53, 53, 100);
        Captured { bytes: whole.bytes[..bytes].to_vec(), wire_bytes: 100 }
    };
    let frames = [
        frame(UDP, 53, 53, 60_000),
        frame(UDP, 53, 53, 9014),
        frame(UDP, 53, 53, 3800),
        cut(38),
        cut(36),
        cut(35),
        cut(14),
        cut(13),
        cut(1),
        cut(0),
    ];
    let capture = Scratch::of(&capture(&frames));
    for (text, matching) in
        [("udp dst port 53", 4), ("udp src port 53", 5), ("udp", 6), ("ip", 7), ("len >= 100", 10), ("len > 9000", 2)]
    {
        let outcome = expression(&[capture.path(), "--expression", text]).ok();
        let expected: Vec<&str> = (0..10).map(|n| if n < matching { "mirror" } else { "skip" }).collect();
        assert_eq!(actions(&outcome), expected, "{text}");
    }
}

#[test]
fn an_expression_needs_nothing_loaded_and_loads_nothing() {
    let mounts = Mounts::without_bpffs();
    let mut command = mounts.command(EBMIRROR);
    command.args(["--json", "filter", "test", &shipped("ipv4.pcap"), "--expression", "tcp"]);
    let totals = lines(&Outcome::of(command, "no bpffs").ok()).pop().unwrap();
    assert_eq!((&totals["frames"], &totals["mirror"], &totals["matched"]), (&json!(50), &json!(4), &json!(4)));
    expression(&[&shipped("ipv4.pcap"), "--expression", "tcp prot 80"]).json_fails(2, "prot");
    expression(&[&shipped("ipv4.pcap"), "--expression", ""]).json_fails(2, "the expression is empty");
    expression(&["/", "--expression", "tcp"]).json_fails(3, "read /");
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        EBMIRROR,
        "--json",
        "filter",
        "test",
        "-",
        "--expression",
        "tcp",
    ]);
    Outcome::of(command, "without a capability").json_fails(5, "needs root");
}

#[test]
fn captures_that_are_not_as_they_should_be() {
    let of = |path: &str| expression(&[path, "--expression", "ip"]);
    let mixed = of(&shipped("mixed.pcapng")).ok();
    let mut rows = lines(&mixed);
    let totals = rows.pop().unwrap();
    let left_out: Vec<&Value> = rows.iter().filter(|row| !row["left_out"].is_null()).collect();
    assert_eq!((rows.len(), left_out.len()), (10, 3), "{}", mixed.stdout);
    assert_eq!((&totals["frames"], &totals["left_out"]["of link type 113 (Linux cooked)"]), (&json!(10), &json!(1)));
    of("/nonexistent.pcap").json_fails(4, "/nonexistent.pcap");
    of(Scratch::of(b"# Captures\n").path()).json_fails(3, "not a capture");
    let mut bytes = capture(&[frame(TCP, 1, 2, 60)]);
    let whole = of(Scratch::of(&bytes).path()).ok();
    assert_eq!(actions(&whole), ["mirror"]);
    bytes.extend([0; 9]);
    let damaged = of(Scratch::of(&bytes).path());
    damaged.json_fails(3, "damaged at byte");
    assert_eq!(actions(&damaged), ["mirror"], "what stands in front of the damage");
    bytes.truncate(24);
    let empty = lines(&of(Scratch::of(&bytes).path()).ok());
    assert_eq!((empty.len(), &empty[0]["frames"]), (1, &json!(0)));
    // Linux cooked, which "any" gives.
    let mut bytes = capture(&[frame(TCP, 1, 2, 60)]);
    bytes[20] = 113;
    of(Scratch::of(&bytes).path()).json_fails(3, "no frame that can be tried: of link type 113");
}

#[test]
fn stdin_is_answered_frame_by_frame_and_a_reader_that_goes_is_no_error() {
    let spawn = |output: Stdio| {
        let mut command = Command::new(EBMIRROR);
        command.args(["--json", "filter", "test", "-", "--expression", "tcp"]).stdin(Stdio::piped()).stdout(output);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = spawn(Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let file = capture(&[frame(TCP, 1, 2, 60), frame(UDP, 1, 2, 60)]);
    let (first, rest) = file.split_at(24 + 16 + 60);
    input.write_all(first).unwrap();
    // The second frame is not there yet.
    let line: Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!((&line["frame"], &line["action"]), (&json!(1), &json!("mirror")));
    input.write_all(rest).unwrap();
    drop(input);
    assert_eq!(output.count(), 2);
    assert!(child.wait().unwrap().success());

    let frames = vec![frame(TCP, 1, 2, 60); 20_000];
    let capture = Scratch::of(&capture(&frames));
    let mut command = Command::new(EBMIRROR);
    command.args(["--json", "filter", "test", capture.path(), "--expression", "tcp"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    output.next().unwrap().unwrap();
    drop(output);
    let outcome = child.wait_with_output().unwrap();
    assert!(outcome.status.success() && outcome.stderr.is_empty(), "{outcome:?}");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(EBMIRROR);
    command.args(["filter", "test", capture.path(), "--expression", "tcp"]).stdout(full);
    let outcome = command.output().unwrap();
    assert_eq!(outcome.status.code(), Some(3), "{outcome:?}");
}

#[test]
fn explain_shows_the_entries_to_everybody() {
    let explain = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", EBMIRROR]).args(args);
        Outcome::of(command, &args.join(" "))
    };
    let document = explain(&["--json", "filter", "explain", "tcp dst port http and src net 10.0.0.0/8"]).ok().json();
    let expected = json!({
        "schema": "ebmirror.filter-explain.v1",
        "expression": "tcp dst port 80 and src net 10.0.0.0/8",
        "count": 1,
        "entries": [{"ether-type": "ip", "protocol": "tcp", "fragment": "first", "src": "10.0.0.0/8", "dport": "80",
            "transport": ">= 4"}],
    });
    assert_eq!(document["schema"], expected["schema"]);
    assert_eq!(document["expression"], expected["expression"]);
    assert_eq!(document["entries"].as_array().unwrap().len(), document["count"].as_u64().unwrap() as usize);
    let entry = &document["entries"][0];
    for field in ["ether-type", "protocol", "fragment", "src", "dport"] {
        assert_eq!(entry[field], expected["entries"][0][field], "{document}");
    }
    let text = explain(&["filter", "explain", "vlan 5 and ether proto 0x88cc"]).ok().stdout;
    assert!(text.starts_with("vlan 5 and ether proto 0x88cc\n"), "{text}");
    assert!(text.contains("ether-type 802.1q, vlan 5, ether-type@1 0x88cc") && text.contains("3 entries\n"), "{text}");
    let text = explain(&["filter", "explain", "ifname eth7 and inbound"]).ok().stdout;
    assert!(text.contains("direction ingress, interface eth7\n1 entry\n"), "{text}");
    let text = explain(&["filter", "explain", "tcp and udp"]).ok().stdout;
    assert!(text.contains("no entry"), "{text}");
    let words = explain(&["filter", "explain", "tcp", "and", "udp"]).ok().stdout;
    assert_eq!(words, text, "several words are one expression");
    let hosts: Vec<String> = (1..=200).map(|n| format!("10.0.{n}.1")).collect();
    let many = format!("not (host {})", hosts.join(" or "));
    explain(&["filter", "explain", &many]).fails(6, "4096", "several rules in place of one");
    explain(&["filter", "explain", "tcp prot 80"]).fails(2, ">>>prot<<<", "");
}

/// Whoever tests what comes through a pipe keeps nobody from changing the rules, and is told when somebody does.
#[test]
fn rules_that_change_while_they_are_tested_end_the_test() {
    let solo = loaded();
    let mut command = solo.command(&["--json", "filter", "test", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let file = capture(&[frame(TCP, 1, 80, 60), frame(TCP, 1, 80, 60)]);
    let (first, rest) = file.split_at(24 + 16 + 60);
    input.write_all(first).unwrap();
    let line: Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!((&line["frame"], &line["rule"]), (&json!(1), &json!(1)));

    solo.ebmirror(&["filter", "del", "1"]).ok();
    input.write_all(rest).unwrap();
    drop(input);
    let last: Value = serde_json::from_str(&output.next().unwrap().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "conflict", "{last}");
    assert!(output.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

/// The rules that the datapath goes by are written down beside it; without that nothing may say that there are none.
#[test]
fn rules_that_are_not_written_down_any_more_are_damage() {
    let solo = loaded();
    solo.script("rm /sys/fs/bpf/ebmirror/*/texts_*");
    for args in [&["filter", "list"][..], &["filter", "add", "udp"], &["filter", "flush"], &["peer", "del", "ids"]] {
        solo.ebmirror(args).fails(8, "the datapath goes by 5 rules, and 0 are written down", "unpin --force");
    }
    solo.ebmirror(&["unpin", "--force"]).ok();
    solo.ebmirror(&["filter", "add", "udp"]).ok();
}
