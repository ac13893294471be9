//! What the command line says and how it ends: exit codes, messages with their remedies, one JSON document, and nothing
//! changed where nothing should be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::io::Read;
use std::process::{Command, Stdio};

use common::{EBMIRROR, Mounts, Outcome, wait_for};
use serde_json::Value;
use state::{Solo, assert_same};

/// Without any namespace: for what ends before it looks at the machine.
fn plain(args: &[&str]) -> Outcome {
    let mut command = Command::new(EBMIRROR);
    command.args(args);
    Outcome::of(command, &format!("ebmirror {}", args.join(" ")))
}

const VXLAN: [&str; 4] = ["--tunnel", "vxlan", "--vni", "1"];

fn peer_add<'a>(name: &'a str, remote: &'a str) -> Vec<&'a str> {
    [&["peer", "add", name, "--remote", remote][..], &VXLAN].concat()
}

/// Runs it as text and as JSON: the same exit code, message and hint, each in its form.
fn fails(run: impl Fn(&[&str]) -> Outcome, args: &[&str], code: i32, name: &str, message: &str, hint: &str) {
    let what = args.join(" ");
    let text = run(args);
    assert_eq!(text.code, code, "{what}\n{}{}", text.stdout, text.stderr);
    assert_eq!(text.stdout, "", "{what}: an error does not go to stdout");
    assert!(text.stderr.starts_with("error: "), "{what}: {}", text.stderr);
    assert!(text.stderr.contains(message), "{what}: no \"{message}\" in: {}", text.stderr);

    let json = run(&[&["--json"], args].concat());
    assert_eq!(json.code, code, "--json {what}\n{}{}", json.stdout, json.stderr);
    assert_eq!(json.stderr, "", "--json {what}: the document says it all");
    assert_eq!(json.stdout.lines().count(), 1, "--json {what}: {}", json.stdout);
    let document = json.json();
    assert_eq!(document["schema"], "ebmirror.error.v1", "{document}");
    let error = &document["error"];
    assert_eq!(error["code"], name, "{what}: {document}");
    let said = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{what}: no {key} in {document}")).to_owned();
    assert!(said("message").contains(message), "{what}: no \"{message}\" in {document}");
    assert!(!said("message").contains('\n') && !said("message").is_empty(), "{what}: one line: {document}");
    assert!(said("hint").contains(hint) && !said("hint").is_empty(), "{what}: no \"{hint}\" in {document}");
}

#[test]
fn help_and_version_need_no_root_and_succeed() {
    let commands = ["attach", "detach", "pin", "unpin", "peer", "filter", "run", "stats", "status", "completions"];
    for args in [&["--help"][..], &["-h"], &["--version"], &["-V"], &["peer", "add", "--help"], &["--json", "--help"]] {
        let outcome = unprivileged(&Mounts::with_bpffs(""), args).ok();
        assert!(outcome.stdout.contains("ebmirror"), "{args:?}: {}", outcome.stdout);
        assert_eq!(outcome.stderr, "", "{args:?}");
    }
    assert_eq!(plain(&["--version"]).stdout, format!("ebmirror {}\n", env!("CARGO_PKG_VERSION")));
    let help = plain(&["--help"]).stdout;
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "--help does not list {command}");
        let outcome = plain(&[command, "--help"]).ok();
        assert!(outcome.stdout.contains("Usage: ebmirror"), "{command}: {}", outcome.stdout);
    }
    for hidden in ["corpus", "generate", "oracle"] {
        assert!(!help.contains(hidden), "--help names {hidden}, which is not for users yet");
    }
}

#[test]
fn wrong_command_lines_are_exit_2_with_a_message_that_names_the_value() {
    let long = "abcdefghijklmnop";
    let name = "a".repeat(32);
    let rows: Vec<(Vec<&str>, &str)> = vec![
        (vec!["frobnicate"], "frobnicate"),
        (vec!["attach"], "<IFACE>"),
        (vec!["attach", "a/b"], "a/b"),
        (vec!["attach", long], long),
        (vec!["attach", ""], "interface name"),
        (vec!["attach", "eth0", "--direction", "sideways"], "sideways"),
        (vec!["attach", "eth0", "--mode", "xdp"], "xdp"),
        (vec!["attach", "eth0", "--order", "middle"], "middle"),
        (vec!["attach", "eth0", "--for", "soon"], "soon"),
        (vec!["attach", "eth0", "--for", "0s"], "0s"),
        (vec!["attach", "eth0", "--for", "400d"], "400d"),
        (vec!["detach"], "<IFACE>"),
        (vec!["detach", "--all", "eth0"], "--all"),
        (vec!["peer", "del"], "<NAMES>"),
        (vec!["peer", "add", "ids"], "--tunnel"),
        (vec!["peer", "add", "ids", "--tunnel", "l2tp"], "l2tp"),
        (peer_add(".ids", "192.0.2.1"), ".ids"),
        (peer_add(&name, "192.0.2.1"), "1 to 31"),
        (peer_add("ids", "224.0.0.1"), "multicast"),
        (peer_add("ids", "255.255.255.255"), "broadcast"),
        (peer_add("ids", "0.0.0.0"), "unspecified"),
        (peer_add("ids", "0.1.2.3"), "0.0.0.0/8"),
        (peer_add("ids", "240.0.0.1"), "reserved"),
        (peer_add("ids", "::"), "unspecified"),
        (peer_add("ids", "ff02::1"), "multicast"),
        (peer_add("ids", "fe80::1"), "link-local"),
        (peer_add("ids", "fe80::1%eth0"), "link-local"),
        (peer_add("ids", "2001:db8::1%eth0"), "--dev"),
        (peer_add("ids", "::ffff:192.0.2.1"), "mapped"),
        (peer_add("ids", "collector"), "collector"),
        (peer_add("ids", "10.0.0"), "10.0.0"),
        (vec!["peer", "add", "ids", "--tunnel", "vxlan", "--remote", "192.0.2.1", "--vni", "16777216"], "16777215"),
        (
            vec!["peer", "add", "ids", "--tunnel", "vxlan", "--remote", "192.0.2.1", "--vni", "-1"],
            "VNI -1 is too small",
        ),
        (vec!["peer", "set", "ids", "--ttl", "-1"], "-1 is too small"),
        (vec!["filter", "add", "--priority", "-1", "udp"], "priority -1 is too small"),
        (vec!["peer", "add", "ids", "--tunnel", "vxlan", "--remote", "192.0.2.1", "--vni=-1"], "-1"),
        (vec!["peer", "set", "ids", "--vni", "0x10"], "0x10"),
        (vec!["peer", "set", "ids", "--port", "0"], "1 to 65535"),
        (vec!["peer", "set", "ids", "--port", "65536"], "1 to 65535"),
        (vec!["peer", "set", "ids", "--ttl", "0"], "1 to 255"),
        (vec!["peer", "set", "ids", "--ttl", "256"], "1 to 255"),
        (vec!["peer", "set", "ids", "--dscp", "64"], "0 to 63"),
        (vec!["peer", "set", "ids", "--dscp", "ef"], "ef"),
        (vec!["peer", "set", "ids", "--local", "224.0.0.1"], "multicast"),
        (vec!["peer", "set", "ids", "--tunnel", "gre"], "--tunnel"),
        (vec!["peer", "set", "ids", "--key", "4294967296"], "4294967295"),
        (vec!["peer", "set", "ids", "--key", "seven"], "or none"),
        (vec!["peer", "set", "ids", "--session", "1024"], "0 to 1023"),
        (vec!["peer", "set", "ids", "--dev", "a/b"], "a/b"),
        (vec!["peer", "set", "ids", "--oversize", "split"], "split"),
        (vec!["peer", "set", "ids", "--gso", "slow"], "slow"),
        (vec!["peer", "set", "ids", "--snaplen", "63"], "64 to 65535"),
        (vec!["peer", "set", "ids", "--snaplen", "65536"], "64 to 65535"),
        (vec!["peer", "set", "ids", "--snaplen", "0"], "or all"),
        (vec!["peer", "set", "ids", "--rate", "10"], "10mbit"),
        (vec!["peer", "set", "ids", "--rate", "10Mbit"], "10Mbit"),
        (vec!["peer", "set", "ids", "--rate", "7kbit"], "at least 8kbit"),
        (vec!["peer", "set", "ids", "--rate", "0pps"], "at least 1pps"),
        (vec!["peer", "set", "ids", "--rate", "2tbit"], "at most 1tbit"),
        (vec!["peer", "set", "ids", "--group", "a/b"], "a/b"),
        (vec!["stats", "--watch=0"], "0"),
        (vec!["stats", "--watch", "--reset"], "--reset"),
        (vec!["stats", "--reset", "eth0"], "--reset"),
        (vec!["status", "--color", "sometimes"], "sometimes"),
        (vec!["status", "--quiet", "--verbose"], "--verbose"),
        (vec!["completions", "tcsh"], "tcsh"),
    ];
    for (args, message) in rows {
        fails(plain, &args, 2, "usage", message, "");
    }
    // Where a command is missing, help lists them.
    for args in [&[][..], &["peer"]] {
        let outcome = plain(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?}");
        assert!(outcome.stderr.contains("Commands:"), "{args:?}: {}", outcome.stderr);
        assert_eq!(plain(&[&["-j"], args].concat()).json()["error"]["code"], "usage", "{args:?}");
    }
}

/// `peer add ids --tunnel T` and the words of the rest.
fn of_tunnel<'a>(tunnel: &'a str, rest: &'a str) -> Vec<&'a str> {
    ["peer", "add", "ids", "--tunnel", tunnel]
        .into_iter()
        .chain(rest.split(' ').filter(|word| !word.is_empty()))
        .collect()
}

#[test]
fn every_tunnel_has_its_own_options() {
    for (tunnel, rest, message, hint) in [
        ("vxlan", "--vni 1", "vxlan needs --remote", "--help"),
        ("vxlan", "--remote 192.0.2.1", "vxlan needs --vni", "--help"),
        ("geneve", "--remote 2001:db8::1", "geneve needs --vni", "--help"),
        ("gre", "", "gre needs --remote", "--help"),
        ("gre", "--key 7", "gre needs --remote", "--help"),
        ("erspan2", "--remote 192.0.2.1", "erspan2 needs --session", "--help"),
        ("erspan3", "--session 1", "erspan3 needs --remote", "--help"),
        ("span", "", "span needs --dev", "--help"),
        ("span", "--dev none", "span needs --dev", "--help"),
        ("vxlan", "--remote 192.0.2.1 --vni 1 --key 1", "--key is for gre, not for vxlan", "--vni"),
        ("geneve", "--remote 192.0.2.1 --vni 1 --session 1", "--session is for erspan2, erspan3, not", "--vni"),
        ("gre", "--remote 192.0.2.1 --vni 1", "--vni is for vxlan, geneve, not for gre", "--key"),
        ("gre", "--remote 192.0.2.1 --port 1", "--port is for vxlan, geneve, not for gre", "--key"),
        ("erspan2", "--remote 192.0.2.1 --key 1", "--key is for gre, not for erspan2", "--session"),
        ("erspan3", "--remote 192.0.2.1 --session 1 --port 1", "--port is for", "--session"),
        ("span", "--dev eth0 --remote 192.0.2.1", "--remote is for vxlan, geneve, gre, erspan2, erspan3, not", "--dev"),
        ("span", "--dev eth0 --local auto", "--local is for", "--dev"),
        ("span", "--dev eth0 --ttl 1", "--ttl, --dscp is for", "--dev"),
        ("span", "--dev eth0 --dscp 1", "--ttl, --dscp is for", "--dev"),
        ("span", "--dev eth0 --vni 1", "--vni is for", "--dev"),
        ("span", "--dev eth0 --key none", "--key is for", "--dev"),
        ("span", "--dev eth0 --oversize fragment", "--oversize fragment is not for span", "truncate"),
    ] {
        fails(plain, &of_tunnel(tunnel, rest), 2, "usage", message, hint);
    }
}

#[test]
fn json_is_asked_for_by_its_options_alone() {
    let pretty = plain(&["-p", "attach"]);
    assert_eq!(pretty.code, 2);
    assert!(pretty.stdout.starts_with("{\n  \"schema\": \"ebmirror.error.v1\""), "{}", pretty.stdout);
    for args in [&["-jp", "attach"][..], &["-pj", "attach"], &["attach", "-j", "--pretty"], &["--json", "-p", "attach"]]
    {
        let outcome = plain(args);
        assert!(outcome.stdout.starts_with("{\n  \"schema\": \"ebmirror.error.v1\""), "{args:?}: {}", outcome.stdout);
        assert_eq!(outcome.json()["error"]["message"], pretty.json()["error"]["message"], "{args:?}");
    }
    let compact = plain(&["-j", "attach"]);
    assert_eq!(compact.stdout.lines().count(), 1, "{}", compact.stdout);
    assert_eq!(compact.json()["error"]["message"], pretty.json()["error"]["message"]);
    // The value of another option, and what stands behind --, are none.
    for args in [
        &["-nprod", "attach"][..],
        &["-njack", "attach"],
        &["-n", "-p", "attach"],
        &["attach", "--", "-j/x"],
        &["filter", "add", "-tp"],
    ] {
        let outcome = plain(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{args:?} is no wish for JSON");
        assert!(outcome.stderr.starts_with("error: "), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn every_command_prints_one_document_with_its_schema() {
    let solo = Solo::new();
    let add = peer_add("ids", "10.9.0.2");
    for (args, schema, code) in [
        (&["status"][..], "status", 1),
        (&["stats"], "stats", 0),
        (&["peer", "list"], "peer-list", 0),
        (&["pin"], "pin", 0),
        (&["attach", "eth0"], "attach", 0),
        (&add, "peer-add", 0),
        (&["peer", "set", "ids", "--vni", "2"], "peer-set", 0),
        (&["peer", "list"], "peer-list", 0),
        (&["peer", "show", "ids"], "peer-show", 0),
        (&["status"], "status", 0),
        (&["stats", "--reset"], "stats", 0),
        (&["peer", "rm", "ids"], "peer-del", 0),
        (&["detach", "--all"], "detach", 0),
        (&["unpin"], "unpin", 0),
        (&["completions", "fish"], "completions", 0),
    ] {
        for option in [&["-j"][..], &["-p"], &["-j", "-p"]] {
            // The second and third time there is nothing left to do, or an error: a document all the same.
            let outcome = solo.ebmirror(&[option, args].concat());
            let document: Value = outcome.json();
            assert_eq!(outcome.stderr, "", "{args:?}");
            assert_eq!(outcome.stdout.lines().count() > 1, option.contains(&"-p"), "{args:?} {option:?}");
            if option == ["-j"] {
                assert_eq!(
                    (outcome.code, &document["schema"]),
                    (code, &format!("ebmirror.{schema}.v1").into()),
                    "{args:?}: {document}"
                );
            } else {
                assert!(
                    document["schema"].as_str().is_some_and(|schema| schema.starts_with("ebmirror.")),
                    "{document}"
                );
            }
        }
    }
}

#[test]
fn documents_have_the_keys_of_the_contract() {
    let solo = Solo::new();
    let attach = solo.json(&["attach", "eth0"]);
    assert_eq!(
        attach["attached"],
        serde_json::json!([
            {"interface": "eth0", "direction": "ingress", "mode": "tcx"},
            {"interface": "eth0", "direction": "egress", "mode": "tcx"}
        ])
    );
    assert_eq!(attach["changed"], true);
    let add = [&peer_add("ids", "10.9.0.2")[..], &["--ttl", "9", "--dscp", "46", "--port", "4790"]].concat();
    assert_eq!(solo.json(&add)["changed"], true);
    let peers = &solo.json(&["peer", "list"])["peers"];
    assert_eq!(
        peers[0],
        serde_json::json!({"name": "ids", "tunnel": "vxlan", "remote": "10.9.0.2", "local": "10.9.0.1", "local_auto": true,
                           "vni": 1, "port": 4790, "ttl": 9, "dscp": 46, "dev": null, "group": null,
                           "oversize": "fragment", "gso": "fast", "snaplen": null, "rate": null})
    );
    let stats = solo.json(&["stats"]);
    let row = &stats["interfaces"][0];
    assert_eq!((&row["interface"], &row["direction"]), (&"eth0".into(), &"ingress".into()));
    assert!(row["ifindex"].is_u64(), "{row}");
    for key in ["seen", "own", "skipped", "selected", "cloned", "lost", "copies"] {
        assert!(row[key]["packets"].is_u64() && row[key]["bytes"].is_u64(), "{key}: {row}");
    }
    let peer = &stats["peers"][0];
    assert_eq!(peer["peer"], "ids");
    for key in ["selected", "sent", "truncated", "lost"] {
        assert!(peer[key]["packets"].is_u64() && peer[key]["bytes"].is_u64(), "{key}: {peer}");
    }
    let reasons = "no_route no_neighbour forwarding_off too_big no_room rate loop stage_full not_ethernet no_memory";
    for reason in reasons.split(' ') {
        assert!(peer["reasons"][reason]["packets"].is_u64(), "{reason}: {peer}");
    }
    assert!(stats["retired"]["packets"].is_u64() && stats["unaccounted"].is_u64(), "{stats}");
    let shown = solo.json(&["peer", "show", "ids"]);
    assert_eq!((&shown["peer"]["name"], &shown["path"]["device"]), (&"ids".into(), &"eth0".into()), "{shown}");
}

#[test]
fn what_cannot_be_done_changes_nothing_and_says_why() {
    let solo = Solo::new();
    solo.script("ip route add 198.51.100.0/24 via 10.9.0.2");
    solo.ebmirror(&["attach", "eth0"]).ok();
    solo.ebmirror(&peer_add("ids", "10.9.0.2")).ok();
    let (twice, far) = (peer_add("ids", "10.9.0.2"), peer_add("two", "203.0.113.1"));
    let (broadcast, far6) = (peer_add("two", "10.9.0.255"), peer_add("two", "2001:db8::1"));
    let local = [&peer_add("two", "10.9.0.2")[..], &["--local", "10.99.0.1"]].concat();
    for (args, code, name, message, hint) in [
        (&["attach", "nope"][..], 4, "not_found", "nope", "ip link"),
        (&["attach", "eth1", "nope"], 4, "not_found", "nope", "ip link"),
        (&["attach", "ebm0"], 6, "conflict", "ebm0", ""),
        (&["attach", "ebm1"], 6, "conflict", "ebm1", ""),
        (&["attach", "eth1", "ebm0"], 6, "conflict", "ebm0", ""),
        (&["run", "nope"], 4, "not_found", "nope", ""),
        (&["run", "eth0"], 6, "conflict", "eth0", "detach"),
        (&["detach", "nope"], 4, "not_found", "nope", ""),
        (&["detach", "eth0", "nope"], 4, "not_found", "nope", ""),
        (&["stats", "eth1"], 4, "not_found", "eth1", "attach"),
        (&["peer", "show", "nope"], 4, "not_found", "nope", "peer list"),
        (&["peer", "set", "nope", "--vni", "1"], 4, "not_found", "nope", "peer list"),
        (&["peer", "del", "nope"], 4, "not_found", "nope", "peer list"),
        (&["peer", "del", "ids", "nope"], 4, "not_found", "nope", "peer list"),
        (&["peer", "set", "ids", "--remote", "10.9.0.255"], 2, "usage", "10.9.0.255", "unicast"),
        (&["peer", "set", "ids", "--local", "10.99.0.1"], 2, "usage", "10.99.0.1", "ip address"),
        (&["unpin"], 6, "conflict", "eth0", "--force"),
        (&twice, 6, "conflict", "ids", "peer set"),
        (&far, 3, "failed", "no route to 203.0.113.1", "--local"),
        (&far6, 3, "failed", "no route to 2001:db8::1", "--local"),
        (&broadcast, 2, "usage", "10.9.0.255", "unicast"),
        (&local, 2, "usage", "10.99.0.1", "ip address"),
    ] {
        let before = solo.snapshot();
        fails(|args| solo.ebmirror(args), args, code, name, message, hint);
        assert_same(&before, &solo.snapshot(), &format!("{args:?} changed something"));
    }
}

#[test]
fn nothing_is_made_for_a_command_that_fails() {
    let solo = Solo::new();
    let before = solo.snapshot();
    let far = peer_add("ids", "203.0.113.1");
    for args in [
        &["attach", "nope"][..],
        &["run", "nope"],
        &["peer", "set", "ids", "--ttl", "1"],
        &["peer", "del", "ids"],
        &far,
    ] {
        assert_ne!(solo.ebmirror(args).code, 0, "{args:?}");
        assert_same(&before, &solo.snapshot(), &format!("{args:?} made something"));
    }
    // Nothing to do is no failure.
    for args in [
        &["detach", "eth0"][..],
        &["detach", "--all"],
        &["unpin"],
        &["unpin", "--force"],
        &["stats"],
        &["peer", "list"],
    ] {
        solo.ebmirror(args).ok();
        assert_same(&before, &solo.snapshot(), &format!("{args:?} made something"));
    }
}

/// As a user without any right, in a namespace of mounts.
fn unprivileged(mounts: &Mounts, args: &[&str]) -> Outcome {
    let mut command = mounts.command("sh");
    // By descriptor: the user may not walk to where the binary lies.
    let script = "bin=$1; shift; exec 3<\"$bin\"; exec setpriv --reuid 65534 --regid 65534 --clear-groups /proc/self/fd/3 \"$@\"";
    command.args(["-c", script, "sh", EBMIRROR]).args(args);
    Outcome::of(command, &format!("as nobody: ebmirror {}", args.join(" ")))
}

#[test]
fn without_root_it_says_how_to_get_it() {
    let mounts = Mounts::with_bpffs("");
    for args in [
        &["attach", "lo"][..],
        &["status"],
        &["stats"],
        &["peer", "list"],
        &["unpin", "--force"],
        &["pin", "--dry-run"],
    ] {
        fails(|args| unprivileged(&mounts, args), args, 5, "permission", "CAP_BPF and CAP_NET_ADMIN", "sudo");
    }
    unprivileged(&mounts, &["completions", "bash"]).ok();
}

#[test]
fn three_capabilities_load_and_two_do_the_rest() {
    let solo = Solo::new();
    let with = |capabilities: &str, args: &[&str]| {
        let mut command = solo.mounts.command("nsenter");
        command.arg(format!("--net={}", solo.host.path()));
        let bounding = format!("--bounding-set=-all,{capabilities}");
        command.args(["setpriv", &bounding, "--inh-caps=-all", EBMIRROR]).args(args);
        Outcome::of(command, &format!("with {capabilities}: ebmirror {}", args.join(" ")))
    };
    let (two, three) = ("+net_admin,+bpf", "+net_admin,+bpf,+perfmon");
    let before = solo.snapshot();
    fails(|args| with(two, args), &["attach", "eth0"], 5, "permission", "CAP_PERFMON", "sudo");
    for lacking in ["+net_admin", "+bpf", "+bpf,+perfmon", "+sys_admin"] {
        fails(|args| with(lacking, args), &["attach", "eth0"], 5, "permission", "CAP_NET_ADMIN", "sudo");
    }
    assert_same(&before, &solo.snapshot(), "a refused attach");

    with(three, &["pin"]).ok();
    with(two, &["attach", "eth0"]).ok();
    with(two, &peer_add("ids", "10.9.0.2")).ok();
    assert_eq!(with(two, &["-j", "attach", "eth0"]).ok().json()["changed"], false);
    assert_eq!(with(two, &["-j", "status"]).ok().json()["healthy"], true);
    with(two, &["peer", "set", "ids", "--vni", "2"]).ok();
    with(two, &["detach", "eth0"]).ok();
    with(two, &["unpin"]).ok();
    assert_same(&before, &solo.snapshot(), "something was left");
}

#[test]
fn without_bpffs_it_says_how_to_mount_one_and_where_else_to_run() {
    let solo = Solo::with(Mounts::without_bpffs());
    let before = solo.snapshot();
    let add = peer_add("ids", "10.9.0.2");
    for args in
        [&["attach", "eth0"][..], &["pin"], &["status"], &["stats"], &["unpin", "--force"], &["detach", "--all"], &add]
    {
        fails(|args| solo.ebmirror(args), args, 3, "failed", "/sys/fs/bpf/ebmirror", "mount -t bpf");
        // Another mount namespace than that of the first process, as below ip netns exec.
        solo.ebmirror(args).fails(3, "bpffs", "--netns");
    }
    assert_same(&before, &solo.snapshot(), "something changed");
    let with_bpffs = Solo::new();
    for root in [env!("CARGO_MANIFEST_DIR"), "not/there"] {
        solo.ebmirror(&["--root", root, "pin"]).fails(3, root, "mount -t bpf");
        with_bpffs.ebmirror(&["--root", root, "pin"]).fails(3, root, "--root takes a directory in a bpffs");
    }
}

#[test]
fn a_read_only_bpffs_is_a_matter_of_permission() {
    let solo = Solo::new();
    let text = solo.ebmirror(&["stats", "--root", "/sys/fs/bpf/other"]).ok().stdout;
    let (before_root, behind) = text.split_once(" --root /sys/fs/bpf/other ").expect("the root in what is to be typed");
    assert!(before_root.starts_with("nothing is loaded: ebmirror -n ") && behind == "attach IFACE\n", "{text}");
    solo.ebmirror(&["pin", "--root", "/sys/fs/bpf/other"]).ok();
    solo.ebmirror(&["unpin", "--root", "/sys/fs/bpf/other"]).ok();
    solo.script("mount -o remount,ro /sys/fs/bpf");
    let before = solo.snapshot();
    let add = peer_add("ids", "10.9.0.2");
    for args in [&["attach", "eth0"][..], &["pin"], &add] {
        fails(|args| solo.ebmirror(args), args, 5, "permission", "/sys/fs/bpf", "read-only");
        assert_same(&before, &solo.snapshot(), &format!("{args:?} changed something"));
    }
    solo.ebmirror(&["stats"]).ok();
    solo.script("mount -o remount,rw /sys/fs/bpf");
    solo.ebmirror(&["attach", "eth0"]).ok();
    solo.script("mount -o remount,ro /sys/fs/bpf");
    let before = solo.snapshot();
    for args in [&["attach", "eth1"][..], &["unpin", "--force"]] {
        fails(|args| solo.ebmirror(args), args, 5, "permission", "/sys/fs/bpf", "read-only");
        assert_same(&before, &solo.snapshot(), &format!("{args:?} changed something"));
    }
}

#[test]
fn network_namespaces_that_are_none_are_told_by_kind() {
    let solo = Solo::new();
    let run = |args: &[&str]| {
        let mut command = solo.mounts.command(EBMIRROR);
        command.args(args);
        Outcome::of(command, &args.join(" "))
    };
    for (spec, code, name, message) in [
        ("", 2, "usage", "is not a network namespace"),
        ("..", 2, "usage", "'..'"),
        ("pid:x", 2, "usage", "'pid:x'"),
        ("pid:0", 2, "usage", "'pid:0'"),
        ("/proc/self/ns/mnt", 2, "usage", "/proc/self/ns/mnt"),
        ("/proc/self/status", 2, "usage", "/proc/self/status"),
        ("/proc", 2, "usage", "/proc"),
        ("there-is-none", 4, "not_found", "there-is-none"),
        ("/nowhere/at/all", 4, "not_found", "/nowhere/at/all"),
        ("pid:4194305", 4, "not_found", "4194305"),
    ] {
        fails(run, &["--netns", spec, "stats"], code, name, message, "--netns");
    }
}

#[test]
fn a_namespace_is_entered_by_path_process_and_name() {
    let solo = Solo::new();
    let held =
        solo.mounts.command("nsenter").arg(format!("--net={}", solo.host.path())).args(["sleep", "infinity"]).spawn();
    let mut held = held.expect("a process in the namespace");
    solo.script(&format!(
        "mount -t tmpfs tmpfs /run; mkdir /run/netns; touch /run/netns/blue; mount --bind {} /run/netns/blue",
        solo.host.path()
    ));
    let pid = format!("pid:{}", held.id());
    wait_for("the process to be in the namespace", || {
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        net(&held.id().to_string()) != net("self")
    });
    let place = solo.json(&["pin"])["directory"].clone();
    for spec in [pid.as_str(), "blue", "/run/netns/blue"] {
        let mut command = solo.mounts.command(EBMIRROR);
        command.args(["-j", "--netns", spec, "pin"]);
        let document = Outcome::of(command, spec).ok().json();
        assert_eq!((&document["directory"], &document["changed"]), (&place, &false.into()), "{spec}");
    }
    held.kill().expect("kill what was started here");
    held.wait().expect("its end");
}

#[test]
fn a_directory_that_others_could_change_is_not_trusted() {
    let solo = Solo::new();
    let dir = solo.json(&["pin", "--dry-run"])["directory"].as_str().expect("a path").to_owned();
    let root = dir.rsplit_once('/').expect("a parent").0.to_owned();
    for (make, named) in [
        (format!("mkdir -p {dir}; chmod 770 {dir}"), &dir),
        (format!("mkdir -p {dir}; chmod 702 {dir}"), &dir),
        (format!("mkdir -p {dir}; chown 65534 {dir}"), &dir),
        (format!("mkdir -p {root}; mkdir /sys/fs/bpf/evil; ln -s /sys/fs/bpf/evil {dir}"), &dir),
        (format!("mkdir -p {root}; chown 65534 {root}"), &root),
        (format!("mkdir -p {root}; chmod 777 {root}"), &root),
        (format!("mkdir /sys/fs/bpf/evil; ln -s /sys/fs/bpf/evil {root}"), &root),
    ] {
        solo.script(&make);
        let before = solo.snapshot();
        let add = peer_add("ids", "10.9.0.2");
        for args in [&["attach", "eth0"][..], &["pin"], &["status"], &["unpin", "--force"], &add] {
            fails(|args| solo.ebmirror(args), args, 5, "permission", named, "");
            assert_same(&before, &solo.snapshot(), &format!("after: {make}: {args:?} changed something"));
        }
        solo.script("rm -rf /sys/fs/bpf/ebmirror /sys/fs/bpf/evil");
    }
}

#[test]
fn another_directory_of_bpffs_is_as_good_and_is_removed_again() {
    let solo = Solo::new();
    let before = solo.snapshot();
    solo.ebmirror(&["--root", "/sys/fs/bpf/another", "attach", "eth0"]).ok();
    assert_eq!(solo.json(&["--root", "/sys/fs/bpf/another", "attach", "eth0"])["changed"], false);
    solo.ebmirror(&["attach", "eth0"]).fails(6, "ebm0", "--root");
    solo.ebmirror(&["--root", "/sys/fs/bpf/another", "unpin", "--force"]).ok();
    solo.ebmirror(&["--root", "/sys/fs/bpf/a/b", "attach", "eth0"]).fails(4, "/sys/fs/bpf/a/b", "mkdir");
    assert_same(&before, &solo.snapshot(), "something changed");
}

#[test]
fn colours_are_for_terminals_unless_told_otherwise() {
    let solo = Solo::new();
    let coloured = |args: &[&str], no_color: Option<&str>, terminal: bool| {
        let mut command = if terminal {
            let mut command = solo.mounts.command("script");
            let line = [&[EBMIRROR, "--netns", &solo.host.path()], args].concat().join(" ");
            command.args(["-qec", &line, "/dev/null"]);
            command
        } else {
            solo.command(args)
        };
        command.env_remove("NO_COLOR");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        let outcome = Outcome::of(command, "colours");
        assert_eq!(outcome.code, 4, "{}{}", outcome.stdout, outcome.stderr);
        format!("{}{}", outcome.stdout, outcome.stderr).contains('\x1b')
    };
    for (args, no_color, terminal, expected) in [
        (&["attach", "nope"][..], None, false, false),
        (&["attach", "nope"], None, true, true),
        (&["attach", "nope"], Some("1"), true, false),
        (&["attach", "nope"], Some(""), true, true),
        (&["attach", "nope", "--color", "never"], None, true, false),
        (&["attach", "nope", "--color", "always"], Some("1"), false, true),
        (&["attach", "nope", "--color", "always", "--json"], None, false, false),
    ] {
        assert_eq!(coloured(args, no_color, terminal), expected, "{args:?} NO_COLOR={no_color:?} terminal: {terminal}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let solo = Solo::new();
    solo.ebmirror(&["attach", "eth0"]).ok();
    let gone = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    for args in [
        &["--help"][..],
        &["stats"],
        &["stats", "--json"],
        &["peer", "list"],
        &["completions", "bash"],
        &["attach", "eth0"],
    ] {
        let output = solo.command(args).stdout(gone()).stderr(Stdio::piped()).output().expect("the binary");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), errors.as_ref()), (Some(0), ""), "{args:?}");
    }
    // One that prints again and again ends.
    let mut child = solo.command(&["stats", "--watch=1"]).stdout(gone()).spawn().expect("the binary");
    let mut status = None;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while status.is_none() && std::time::Instant::now() < deadline {
        status = child.try_wait().expect("its state");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "stats --watch goes on without a reader");
}

#[test]
fn a_full_disk_is_an_error() {
    let solo = Solo::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = solo.command(&["stats"]).stdout(full).stderr(Stdio::piped()).output().expect("the binary");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: write to stdout"), "{output:?}");
}

#[test]
fn a_dry_run_changes_nothing_and_tells_what_the_run_will_change() {
    let solo = Solo::new();
    let add = peer_add("ids", "10.9.0.2");
    for (args, changes) in [
        (&["unpin"][..], false),
        (&["unpin", "--force"], false),
        (&["detach", "--all"], false),
        (&["pin"], true),
        (&["pin"], false),
        (&["attach", "eth0"], true),
        (&["attach", "eth0"], false),
        (&["attach", "eth0", "eth1"], true),
        (&["detach", "eth1"], true),
        (&["attach", "eth0", "--direction", "ingress"], true),
        (&["attach", "eth0", "--direction", "ingress"], false),
        (&["attach", "eth0", "--direction", "egress"], true),
        (&["attach", "eth0", "--mode", "tc"], true),
        (&["attach", "eth0", "--mode", "tc"], false),
        (&["attach", "eth0", "--mode", "auto"], false),
        (&["attach", "eth0", "--mode", "tcx"], true),
        (&["attach", "eth0", "--for", "1h"], true),
        (&["attach", "eth0"], true),
        (&["attach", "eth0"], false),
        (&add, true),
        (&["peer", "set", "ids", "--vni", "7"], true),
        (&["peer", "set", "ids", "--vni", "7"], false),
        (&["peer", "set", "ids"], false),
        (&["peer", "del", "ids"], true),
        (&["detach", "eth1"], false),
        (&["detach", "eth0"], true),
        (&["detach", "eth0"], false),
        (&["attach", "eth0"], true),
        (&["unpin", "--force"], true),
        (&["unpin", "--force"], false),
    ] {
        let before = solo.snapshot();
        let dry = solo.json(&[&["--dry-run"], args].concat());
        assert_same(&before, &solo.snapshot(), &format!("--dry-run {args:?} changed something"));
        assert_eq!((&dry["changed"], &dry["dry_run"]), (&changes.into(), &true.into()), "--dry-run {args:?}: {dry}");
        let real = solo.json(args);
        assert_eq!(real["changed"], changes, "{args:?}: {real}");
        if !changes {
            assert_same(&before, &solo.snapshot(), &format!("{args:?} says that nothing changed"));
        }
    }
}

#[test]
fn a_dry_run_of_reset_leaves_the_counters() {
    let solo = Solo::new();
    solo.ebmirror(&["attach", "eth0"]).ok();
    solo.script("bpftool -j prog >/dev/null; ip neighbour replace 10.9.0.3 lladdr 02:00:00:00:00:03 dev eth0");
    let sent = solo.host.attempt("send", || std::net::UdpSocket::bind("10.9.0.1:0")?.send_to(b"x", "10.9.0.3:9"));
    assert_eq!(sent.expect("a datagram"), 1);
    let seen = || solo.json(&["stats"])["interfaces"][1]["seen"]["packets"].as_u64().expect("a number");
    wait_for("the datagram to be counted", || seen() > 0);
    let before = seen();
    let dry = solo.json(&["stats", "--reset", "--dry-run"]);
    assert_eq!((&dry["changed"], &dry["dry_run"]), (&true.into(), &true.into()), "{dry}");
    assert!(seen() >= before);
    assert_eq!(solo.json(&["stats", "--reset"])["changed"], true);
    assert!(seen() < before, "the counters begin again");
}

#[test]
fn shells_accept_their_completion_scripts() {
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let script = plain(&["completions", shell]).ok().stdout;
        assert!(script.contains("ebmirror") && script.contains("attach"), "{shell}: {script}");
        if Command::new(check).args(["-c", "exit"]).output().is_err() {
            assert_ne!(shell, "bash", "bash is missing");
            continue;
        }
        let mut child = Command::new(check);
        if shell == "fish" {
            child.arg("--no-execute")
        } else {
            child.arg("-n")
        };
        let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(check);
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), script.as_bytes()).expect("the script");
        let mut errors = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut errors).expect("its errors");
        assert!(child.wait().expect("its end").success(), "{shell}: {errors}");
        assert_eq!(errors, "", "{shell}");
    }
    // What bash offers behind "ebmirror pe".
    let script = plain(&["completions", "bash"]).stdout;
    let test = "COMP_WORDS=(ebmirror pe); COMP_CWORD=1; _ebmirror ebmirror pe ebmirror; echo \"${COMPREPLY[*]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{script}\n{test}")]);
    assert_eq!(Outcome::of(command, "bash completion").ok().stdout, "peer\n");
}

#[test]
fn quiet_hides_warnings_and_verbose_shows_the_log() {
    let solo = Solo::new();
    solo.ebmirror(&peer_add("ids", "10.9.0.2")).ok();
    let loud = solo.ebmirror(&peer_add("two", "10.9.0.2")).ok();
    assert!(loud.stderr.starts_with("warning: 10.9.0.2 gets every frame twice"), "{}", loud.stderr);
    assert_eq!(solo.ebmirror(&[&["-q"], &peer_add("three", "10.9.0.2")[..]].concat()).ok().stderr, "");
    let document = solo.json(&peer_add("four", "10.9.0.2"));
    assert!(document["warnings"][0].as_str().is_some_and(|text| text.contains("twice")), "{document}");
    solo.ebmirror(&["unpin", "--force"]).ok();
    let verbose = solo.ebmirror(&["-v", "pin"]).ok();
    assert!(verbose.stderr.contains("libbpf:"), "{}", verbose.stderr);
    assert!(verbose.stdout.starts_with("pinned in "), "{}", verbose.stdout);
    // An error is told, however quiet.
    solo.ebmirror(&["-q", "attach", "nope"]).fails(4, "nope", "hint");
}
