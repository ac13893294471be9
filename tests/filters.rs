//! The rules: `filter add`, `set`, `del`, `list`, `flush` and `default`, what is refused, and what stays when it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::fmt::Write;
use std::process::Stdio;

use common::{Outcome, Scratch};
use serde_json::{Value, json};
use state::{Solo, assert_same};

/// `ebmirror` with the words of this line; what stands between apostrophes is one.
fn run(solo: &Solo, line: &str) -> Outcome {
    let words: Vec<String> = line.split('\'').enumerate().fold(Vec::new(), |mut words, (n, part)| {
        match n % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
        words
    });
    solo.ebmirror(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn json_of(solo: &Solo, line: &str) -> Value {
    run(solo, &format!("--json {line}")).ok().json()
}

fn list(solo: &Solo) -> Value {
    json_of(solo, "filter list")
}

fn ids(document: &Value) -> Vec<u64> {
    document["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_u64().unwrap()).collect()
}

/// With two peers, one of them alone in a group.
fn solo_with_peers() -> Solo {
    let solo = Solo::new();
    run(&solo, "peer add ids --tunnel vxlan --remote 10.9.0.2 --vni 1").ok();
    run(&solo, "peer add probe --tunnel vxlan --remote 10.9.0.2 --vni 2 --group sensors").ok();
    solo
}

/// All that a change of the rules could change.
fn state_of(solo: &Solo) -> String {
    solo.snapshot() + &list(solo).to_string()
}

#[test]
fn rules_are_listed_in_the_order_in_which_they_are_asked() {
    let solo = solo_with_peers();
    assert_eq!(run(&solo, "filter add 'tcp port 443'").ok().stdout, "1\n");
    let added = json_of(&solo, "filter add --priority 7 --to ids --to sensors --snaplen 128 --sample 1/10 udp");
    let full = json!({"id": 2, "priority": 7, "action": "mirror", "expression": "udp", "to": ["ids", "sensors"],
        "snaplen": 128, "sample": "1/10"});
    assert_eq!(
        added,
        json!({"schema": "ebmirror.filter-add.v1", "id": 2, "ids": [2], "rules": [full], "changed": true,
            "dry_run": false})
    );
    // Several words are one expression; two options are joined by and.
    run(&solo, "filter add --action skip tcp port 443").ok();
    run(&solo, "filter add --to probe").ok();
    let listed = list(&solo);
    let same = listed["rules"][1]["expression"].clone();
    assert_eq!(
        listed,
        json!({"schema": "ebmirror.filter-list.v1", "default": "auto", "unmatched": "skip", "rules": [
            full,
            {"id": 1, "priority": 100, "action": "mirror", "expression": same},
            {"id": 3, "priority": 100, "action": "skip", "expression": same},
            {"id": 4, "priority": 100, "action": "mirror", "expression": "", "to": ["probe"]},
        ]})
    );
    assert_eq!(list(&solo), json_of(&solo, "filter show"));
    let table = run(&solo, "filter list").ok().stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "PRIORITY", "ACTION", "TO", "SNAPLEN", "SAMPLE", "EXPRESSION"]);
    assert_eq!(lines[1], ["2", "7", "mirror", "ids,", "sensors", "128", "1/10", "udp"]);
    assert_eq!(lines[4], ["4", "100", "mirror", "probe", "-", "-", "(every", "frame)"]);
    assert_eq!(table.lines().last(), Some("default: auto, now skip"));
}

#[test]
fn the_text_of_a_rule_is_one_that_makes_the_same_rule() {
    let solo = Solo::new();
    for line in [
        "'port 80 or 443'",
        "'not (tcp and host 10.0.0.1)'",
        "--iface eth0 --direction ingress --proto tcp --dport 8000-8100",
        "--host 10.0.0.0/8 --vlan 7 'udp or icmp'",
        "--tcp-flags syn --src 192.0.2.0/24",
    ] {
        let first = json_of(&solo, &format!("filter add {line}"))["rules"][0]["expression"].clone();
        let again = json_of(&solo, &format!("filter add '{}'", first.as_str().unwrap()));
        assert_eq!(again["rules"][0]["expression"], first, "{line}");
    }
}

#[test]
fn set_changes_what_is_given_and_keeps_the_rest() {
    let solo = solo_with_peers();
    run(&solo, "filter add --to ids --snaplen 128 --sample 1/10 tcp").ok();
    run(&solo, "filter add udp").ok();
    let rule = |document: &Value| document["rules"][0].clone();
    let set = |line: &str| json_of(&solo, &format!("filter set 1 {line}"));

    let changed = set("--priority 300");
    assert_eq!((&changed["changed"], &changed["id"]), (&json!(true), &json!(1)));
    assert_eq!(changed["schema"], "ebmirror.filter-set.v1");
    assert_eq!(
        rule(&changed),
        json!({"id": 1, "priority": 300, "action": "mirror", "expression": "tcp", "to": ["ids"], "snaplen": 128,
            "sample": "1/10"})
    );
    assert_eq!(ids(&list(&solo)), [2, 1]);
    assert_eq!(set("--priority 300")["changed"], false);
    assert_eq!(rule(&set("--to sensors --to ids"))["to"], json!(["sensors", "ids"]));
    assert_eq!(rule(&set("udp"))["expression"], "udp");
    let skip = |line: &str, had: &str, hint: &str| {
        run(&solo, &format!("filter set 1 --action skip {line}")).fails(2, had, hint);
    };
    skip("", "rule 1 has --to sensors --to ids,", "add --to all");
    skip("--to all", "rule 1 has --snaplen 128,", "add --snaplen all");
    skip("--to all --snaplen all", "rule 1 has --sample 1/10,", "add --sample 1/1");
    let plain = set("--to all --snaplen all --sample 1/1");
    assert_eq!(rule(&plain), json!({"id": 1, "priority": 300, "action": "mirror", "expression": "udp"}));
    assert_eq!(rule(&set("--action skip"))["action"], "skip");

    let before = state_of(&solo);
    run(&solo, "filter set 1").fails(2, "nothing to change of rule 1", "filter set 1 --priority");
    run(&solo, "filter set 9").fails(4, "there is no rule 9", "filter list");
    run(&solo, "filter set 9 udp").fails(4, "there is no rule 9", "filter list");
    run(&solo, "filter set 0 udp").fails(2, "rule ID 0 is too small", "");
    run(&solo, "filter set 1 --to ids").fails(2, "--to is not for rules that skip", "--action mirror");
    run(&solo, "filter set 1 --snaplen 12").fails(2, "snap length 12 is too small", "");
    run(&solo, "filter set 1 --priority -1").fails(2, "priority -1 is too small", "");
    assert_same(&before, &state_of(&solo), "a change that failed");
}

#[test]
fn numbers_are_not_given_twice() {
    let solo = Solo::new();
    for expression in ["tcp", "udp", "icmp"] {
        run(&solo, &format!("filter add {expression}")).ok();
    }
    let gone = json_of(&solo, "filter del 3 1 3");
    let expected = json!({"schema": "ebmirror.filter-del.v1", "ids": [1, 3], "changed": true, "dry_run": false});
    assert_eq!(gone, expected);
    assert_eq!(json_of(&solo, "filter add tcp")["id"], 4);
    assert_eq!(ids(&list(&solo)), [2, 4]);
    let flushed = json_of(&solo, "filter flush");
    assert_eq!((&flushed["ids"], &flushed["changed"]), (&json!([2, 4]), &json!(true)));
    assert_eq!(json_of(&solo, "filter flush")["changed"], false);
    assert_eq!(json_of(&solo, "filter add tcp")["id"], 5);

    let before = state_of(&solo);
    run(&solo, "filter rm 5 77").fails(4, "there is no rule 77", "filter list");
    assert_same(&before, &state_of(&solo), "a deletion that failed");
}

#[test]
fn the_default_is_what_was_said_or_depends_on_the_rules() {
    let solo = Solo::new();
    let now = || {
        let listed = list(&solo);
        (listed["default"].as_str().unwrap().to_owned(), listed["unmatched"].as_str().unwrap().to_owned())
    };
    let is = |default: &str, unmatched: &str| assert_eq!(now(), (default.to_owned(), unmatched.to_owned()));
    is("auto", "mirror");
    assert_eq!(json_of(&solo, "filter default auto")["changed"], false);
    run(&solo, "filter add --action skip tcp").ok();
    is("auto", "mirror");
    run(&solo, "filter add udp").ok();
    is("auto", "skip");
    let changed = json_of(&solo, "filter default mirror");
    let expected =
        json!({"schema": "ebmirror.filter-default.v1", "default": "mirror", "changed": true, "dry_run": false});
    assert_eq!(changed, expected);
    assert_eq!(json_of(&solo, "filter default mirror")["changed"], false);
    is("mirror", "mirror");
    run(&solo, "filter default skip").ok();
    run(&solo, "filter flush").ok();
    is("skip", "skip");
    run(&solo, "filter default drop").fails(2, "invalid value 'drop'", "");
}

#[test]
fn status_tells_of_the_rules_and_when_they_let_nothing_through() {
    let solo = solo_with_peers();
    let status = || run(&solo, "--json status").json();
    let problems = || status()["problems"].to_string();
    let counted = |rules: u64, unmatched: &str| {
        let status = status();
        assert_eq!((&status["rules"], &status["unmatched"]), (&json!(rules), &json!(unmatched)));
    };
    counted(0, "mirror");
    run(&solo, "filter add --action skip tcp").ok();
    counted(1, "mirror");
    assert!(!problems().contains("nothing is mirrored"), "{}", problems());
    run(&solo, "filter default skip").ok();
    counted(1, "skip");
    assert!(problems().contains("no rule mirrors, and frames that no rule matches are skipped"), "{}", problems());
    let text = run(&solo, "status");
    assert_eq!(text.code, 1);
    assert!(text.stdout.contains("filter default auto"), "{}", text.stdout);
    assert!(text.stdout.contains("rules 1, frames that no rule matches are skipped"), "{}", text.stdout);
    run(&solo, "filter add udp").ok();
    counted(2, "skip");
    assert!(!problems().contains("nothing is mirrored"), "{}", problems());
}

#[test]
fn the_first_rule_makes_the_instance_and_a_failed_one_does_not() {
    let solo = Solo::new();
    let before = solo.snapshot();
    for (line, code, message) in [
        ("add", 2, "nothing says what to mirror"),
        ("add 'tcp and'", 2, ""),
        ("add --to nobody tcp", 4, "there is no peer and no group nobody"),
        ("add --iface eth7", 4, "there is no interface eth7"),
        ("add 'ifname eth7'", 4, "there is no interface eth7"),
        ("add --action skip --to nobody", 4, "nobody"),
        ("add --to all --to nobody", 2, "--to all leaves nothing"),
        ("add --priority 65536 tcp", 2, "priority 65536 is too large"),
        ("add --sample 10 tcp", 2, "\"10\" is no sampling rate"),
        ("add --action skip --sample 1/2 tcp", 2, "--sample is not for rules that skip"),
        ("add --file rules tcp", 2, "--file"),
        ("add --file rules --priority 3", 2, "--file"),
        ("add --file rules --iface eth0", 2, "--file"),
        ("add --file nowhere", 4, "read nowhere"),
        ("add --sport http tcp", 2, "write 80, or src port http"),
        ("add --dport http tcp", 2, "write 80, or dst port http"),
        ("del 1", 4, "there is no rule 1"),
        ("set 1 tcp", 4, "there is no rule 1"),
    ] {
        run(&solo, &format!("filter {line}")).fails(code, message, "");
        assert_same(&before, &solo.snapshot(), line);
    }
    for line in ["list", "flush", "default auto", "add --dry-run tcp", "default --dry-run skip"] {
        run(&solo, &format!("filter {line}")).ok();
        assert_same(&before, &solo.snapshot(), line);
    }
    run(&solo, "filter add --file /").fails(3, "read /", "it is a directory: give a file");
    let empty = Scratch::of("# nothing\n\n".as_bytes());
    assert_eq!(json_of(&solo, &format!("filter add --file {}", empty.path()))["changed"], false);
    assert_same(&before, &solo.snapshot(), "a file without rules");

    run(&solo, "filter add tcp").ok();
    assert_eq!(ids(&list(&solo)), [1]);
    run(&solo, "unpin").ok();
    assert_same(&before, &solo.snapshot(), "unpin");
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let solo = solo_with_peers();
    run(&solo, "filter add --to ids tcp").ok();
    let before = state_of(&solo);
    for (line, changed) in [
        ("add udp", true),
        ("set 1 --to all", true),
        ("set 1 --to ids", false),
        ("del 1", true),
        ("flush", true),
        ("default skip", true),
        ("default auto", false),
    ] {
        let document = json_of(&solo, &format!("--dry-run filter {line}"));
        assert_eq!((&document["changed"], &document["dry_run"]), (&json!(changed), &json!(true)), "{line}");
        assert_same(&before, &state_of(&solo), line);
    }
    assert_eq!(run(&solo, "--dry-run filter add udp").ok().stdout, "would be added: rule 2\n");
    assert_eq!(run(&solo, "--dry-run filter del 1").ok().stdout, "would be deleted: rule 1\n");
    run(&solo, "--dry-run filter add --iface eth7").fails(4, "no interface eth7", "");
    run(&solo, "--dry-run filter del 2").fails(4, "no rule 2", "");
    run(&solo, "--dry-run peer del ids").fails(6, "rule 1 sends copies to ids", "");
}

#[test]
fn what_a_rule_names_cannot_go() {
    let solo = solo_with_peers();
    run(&solo, "peer add more --tunnel vxlan --remote 10.9.0.2 --vni 3 --group sensors").ok();
    run(&solo, "filter add --to ids --to sensors tcp").ok();
    let before = state_of(&solo);
    let hint = "filter set 1 --to NAME, or filter del 1";
    run(&solo, "peer del ids").fails(6, "rule 1 sends copies to ids", hint);
    run(&solo, "peer del more ids").fails(6, "rule 1 sends copies to ids", hint);
    run(&solo, "peer del more probe").fails(6, "rule 1 sends copies to sensors", hint);
    assert_same(&before, &state_of(&solo), "deletions that were refused");

    // A group goes with its last member.
    run(&solo, "peer set more --group none").ok();
    run(&solo, "peer set probe --group other").fails(6, "rule 1 sends copies to sensors", hint);
    run(&solo, "peer set probe --group none").fails(6, "rule 1 sends copies to sensors", hint);
    run(&solo, "peer set more --group sensors").ok();
    run(&solo, "peer del probe").ok();
    run(&solo, "filter set 1 --to more").ok();
    run(&solo, "peer set more --group none").ok();
    run(&solo, "peer del ids").ok();
    run(&solo, "filter del 1").ok();
    run(&solo, "peer del more").ok();
}

#[test]
fn a_file_has_a_rule_a_line() {
    let solo = solo_with_peers();
    let file = Scratch::of(
        "# Which traffic goes where\n\
         \n\
         tcp port 443   # the expression's words need no quotes\n\
         \t--to ids --priority=5 'udp port 53'\n\
         --action skip \"icmp\"\n"
            .as_bytes(),
    );
    let added = json_of(&solo, &format!("filter add --file {}", file.path()));
    let expected = json!({"schema": "ebmirror.filter-add.v1", "ids": [1, 2, 3], "changed": true, "dry_run": false});
    assert_eq!(added, expected);
    let listed = list(&solo);
    assert_eq!(ids(&listed), [2, 1, 3]);
    assert_eq!(listed["rules"][0]["to"], json!(["ids"]));
    assert_eq!(listed["rules"][2]["action"], "skip");
    assert_eq!(run(&solo, &format!("filter add --file {}", file.path())).ok().stdout, "added: 3 rules, 4 to 6\n");

    let mut command = solo.command(&["--json", "filter", "add", "--file", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"udp\r\nicmp\r\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["ids"], json!([7, 8]));
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_error_names_the_line() {
    let solo = solo_with_peers();
    run(&solo, "filter add tcp").ok();
    let before = state_of(&solo);
    for (line, code, message) in [
        ("tcp prot 80", 2, "prot"),
        ("--prio 5 tcp", 2, "--prio"),
        ("--priority 5 --priority 6 tcp", 2, "--priority"),
        ("--priority", 2, "--priority"),
        ("--priority x tcp", 2, "\"x\" is no priority"),
        ("--to nobody tcp", 4, "there is no peer and no group nobody"),
        ("--iface eth7", 4, "there is no interface eth7"),
        ("--file other", 2, "--file"),
        ("--json tcp", 2, "--json"),
        ("'tcp", 2, "a quotation mark is not closed"),
        ("tcp \\", 2, "backslash"),
        ("--action skip --to ids udp", 2, "--to is not for rules that skip"),
        ("tcp and udp", 2, "no frame can match \"tcp and udp\""),
        ("--proto udp --tcp-flags syn", 2, "no frame can match"),
        ("''", 2, "nothing says what to mirror"),
    ] {
        let file = Scratch::of(format!("udp\n# comment\n\n{line}\nicmp\n").as_bytes());
        let place = format!("{}:4: ", file.path());
        let outcome = run(&solo, &format!("filter add --file {}", file.path()));
        assert!(outcome.stderr.contains(&place), "{line}: {}", outcome.stderr);
        outcome.fails(code, message, "hint:");
        assert_same(&before, &state_of(&solo), line);
    }
}

#[test]
fn ten_thousand_rules_come_and_go_at_once() {
    let solo = solo_with_peers();
    let mut text = String::new();
    for n in 0..10_000 {
        let (a, b) = (n / 250, n % 250 + 1);
        writeln!(text, "--priority {} --to ids tcp dst port {} and src host 10.{a}.0.{b}", n % 100, n + 1).unwrap();
    }
    let file = Scratch::of(text.as_bytes());
    let added = run(&solo, &format!("filter add --file {}", file.path())).ok();
    assert_eq!(added.stdout, "added: 10000 rules, 1 to 10000\n");
    let listed = list(&solo);
    assert_eq!(listed["rules"].as_array().unwrap().len(), 10_000);
    let first: Vec<u64> = ids(&listed).into_iter().take(102).collect();
    assert_eq!((first[0], first[1], first[100], first[101]), (1, 101, 2, 102));
    let stats = solo.json(&["stats"]);
    assert_eq!(ids(&stats), ids(&listed));

    // More than fit: the change is refused as a whole.
    let before = state_of(&solo);
    let more = Scratch::of(text.lines().take(241).map(|line| format!("{line}\n")).collect::<String>().as_bytes());
    run(&solo, &format!("filter add --file {}", more.path())).fails(6, "10241 rules are too many: 10240 fit", "");
    assert_same(&before, &state_of(&solo), "a file with too many rules");
    run(&solo, "filter del 5000").ok();
    run(&solo, &format!("filter add --file {}", more.path())).ok();
    assert_eq!(ids(&list(&solo)).len(), 10_240);
    run(&solo, "filter flush").ok();
    assert_eq!(ids(&list(&solo)), Vec::<u64>::new());
}

#[test]
fn peers_change_under_rules_and_the_rules_stay() {
    let solo = solo_with_peers();
    run(&solo, "filter add --to sensors tcp").ok();
    run(&solo, "filter add udp").ok();
    let before = list(&solo);
    for line in [
        "peer add x --tunnel gre --remote 10.9.0.2",
        "peer set x --group sensors",
        "peer del ids",
        "peer set probe --snaplen 100",
        "peer del probe",
        "stats --reset",
    ] {
        run(&solo, line).ok();
        assert_eq!(list(&solo), before, "{line}");
    }
    run(&solo, "peer del x").fails(6, "rule 1 sends copies to sensors", "");
}

#[test]
fn counters_of_rules_are_in_the_books() {
    let solo = Solo::new();
    run(&solo, "filter add --priority 9 tcp").ok();
    run(&solo, "filter add --action skip --priority 3 udp").ok();
    let zero = json!({"packets": 0, "bytes": 0});
    assert_eq!(
        solo.json(&["stats"])["rules"],
        json!([
            {"id": 2, "priority": 3, "action": "skip", "matched": zero},
            {"id": 1, "priority": 9, "action": "mirror", "matched": zero},
        ])
    );
    let table = run(&solo, "stats").ok().stdout;
    assert!(table.contains("RULE  PRIORITY  ACTION  MATCHED  BYTES"), "{table}");
    let reset = json_of(&solo, "stats --reset");
    assert_eq!(reset["rules"].as_array().unwrap().len(), 2);
}

#[test]
fn an_instance_is_used_without_the_capability_to_open_what_is_not_pinned() {
    let solo = Solo::new();
    run(&solo, "filter add --iface eth0 tcp").ok();
    // CAP_BPF and CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter the namespace, which nsenter has done here.
    let run = |args: &[&str]| {
        let mut command = solo.mounts.command("nsenter");
        command.arg(format!("--net={}", solo.host.path())).args([
            "setpriv",
            "--bounding-set=-all,+net_admin,+bpf,+dac_override",
            "--inh-caps=-all",
            common::EBMIRROR,
            "--json",
        ]);
        command.args(args);
        Outcome::of(command, &args.join(" ")).ok().json()
    };
    assert_eq!(ids(&run(&["filter", "list"])), [1]);
    assert_eq!(run(&["filter", "add", "udp"])["id"], 2);
    assert_eq!(run(&["filter", "set", "1", "--priority", "3"])["changed"], true);
    assert_eq!(run(&["filter", "flush"])["changed"], true);
}

#[test]
fn a_rule_follows_an_interface_that_is_made_anew() {
    let solo = Solo::new();
    solo.script("ip link add d0 type veth peer name d1");
    run(&solo, "filter add --iface d0").ok();
    run(&solo, "attach d0").ok();
    assert_eq!(json_of(&solo, "attach d0")["changed"], false);
    solo.script("ip link del d0; ip link add d0 type veth peer name d1");
    // A device that is gone does not hinder others, but a new rule for it is a mistake.
    run(&solo, "filter add tcp").ok();
    assert_eq!(json_of(&solo, "attach d0")["changed"], true);
    assert_eq!(json_of(&solo, "attach d0")["changed"], false);
    solo.script("ip link del d0");
    run(&solo, "filter add --iface d0").fails(4, "there is no interface d0", "ip link");
    run(&solo, "filter set 2 --iface d0").fails(4, "there is no interface d0", "ip link");
    assert_eq!(ids(&list(&solo)), [1, 2]);
}
