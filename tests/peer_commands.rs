//! `peer add`, `set`, `list` and `show`: every tunnel over both families, groups, rates, devices, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use common::{EBMIRROR, Outcome, wait_for};
use serde_json::{Value, json};
use state::{Solo, assert_same};

/// A host that has IPv6 on eth0 as well, with a collector at 10.9.0.2 and 2001:db8::2.
fn solo() -> Solo {
    let solo = Solo::new();
    solo.script(
        "ip link set lo up
         echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6
         echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
         ip address add 2001:db8::1/64 dev eth0 nodad
         ip neighbour add 2001:db8::2 lladdr 02:00:00:00:00:02 dev eth0",
    );
    // The kernel enters the routes of an IPv6 address from a work queue.
    wait_for("the host's IPv6 address", || solo.script("ip -6 route show table local").contains("local 2001:db8::1 "));
    solo
}

/// `ebmirror` with the words of this line.
fn run(solo: &Solo, line: &str) -> Outcome {
    solo.ebmirror(&line.split(' ').collect::<Vec<_>>())
}

/// The same, successful, as JSON.
fn json_of(solo: &Solo, line: &str) -> Value {
    run(solo, &format!("--json {line}")).ok().json()
}

/// The only peer that this command tells of.
fn one(solo: &Solo, line: &str) -> Value {
    let document = json_of(solo, line);
    assert_eq!(document["peers"].as_array().map(Vec::len), Some(1), "{document}");
    document["peers"][0].clone()
}

/// It fails, and leaves everything as it was; with a dry run, too.
fn refused(solo: &Solo, line: &str, code: i32, message: &str, hint: &str) {
    let before = solo.snapshot();
    for extra in ["", " --dry-run"] {
        run(solo, &format!("{line}{extra}")).fails(code, message, hint);
        assert_same(&before, &solo.snapshot(), &format!("{line}{extra} changed something"));
    }
}

/// Of the documents `a` and `b` the keys of both, those of `b` where both have one.
fn merged(a: &Value, b: &Value) -> Value {
    let mut all = a.clone();
    all.as_object_mut().unwrap().extend(b.as_object().unwrap().clone());
    all
}

const DEFAULTS: &str =
    r#"{"dev": null, "group": null, "oversize": "fragment", "gso": "fast", "snaplen": null, "rate": null}"#;

#[test]
fn every_tunnel_over_both_families_is_listed_as_it_was_added() {
    let solo = solo();
    let defaults: Value = serde_json::from_str(DEFAULTS).unwrap();
    let mut expected = Vec::new();
    for (family, remote, local) in [("4", "10.9.0.2", "10.9.0.1"), ("6", "2001:db8::2", "2001:db8::1")] {
        for (tunnel, options, keys) in [
            ("vxlan", "--vni 16777215", json!({"vni": 16_777_215, "port": 4789})),
            ("geneve", "--vni 0", json!({"vni": 0, "port": 6081})),
            ("gre", "--key 4294967295", json!({"key": 4_294_967_295_u32})),
            ("erspan2", "--session 1023", json!({"session": 1023})),
            ("erspan3", "--session 0", json!({"session": 0})),
        ] {
            let name = format!("{tunnel}-{family}");
            let added = one(&solo, &format!("peer add {name} --tunnel {tunnel} --remote {remote} {options}"));
            let outer = json!({"name": name, "tunnel": tunnel, "remote": remote, "local": local, "local_auto": true,
                               "ttl": 64, "dscp": 0});
            let whole = merged(&merged(&defaults, &outer), &keys);
            assert_eq!(added, whole);
            expected.push(whole);
        }
    }
    let keyless = one(&solo, "peer add keyless --tunnel gre --remote 10.9.0.2");
    assert_eq!(keyless["key"], Value::Null);
    expected.push(keyless);
    let span = json!({"name": "span", "tunnel": "span", "dev": "eth1", "oversize": "drop"});
    let span = merged(&defaults, &span);
    assert_eq!(one(&solo, "peer add span --tunnel span --dev eth1"), span);
    expected.push(span);

    expected.sort_by_key(|peer| peer["name"].as_str().unwrap().to_owned());
    assert_eq!(json_of(&solo, "peer list")["peers"], Value::Array(expected));
}

#[test]
fn every_setting_is_changed_and_taken_back() {
    let solo = solo();
    let before = one(&solo, "peer add ids --tunnel gre --remote 10.9.0.2");
    for (change, keys, back) in [
        ("--key 7", json!({"key": 7}), "--key none"),
        ("--dev eth0", json!({"dev": "eth0"}), "--dev none"),
        ("--ttl 1", json!({"ttl": 1}), "--ttl 64"),
        ("--dscp 63", json!({"dscp": 63}), "--dscp 0"),
        ("--oversize truncate", json!({"oversize": "truncate"}), "--oversize fragment"),
        ("--oversize drop", json!({"oversize": "drop"}), "--oversize fragment"),
        ("--gso wire", json!({"gso": "wire"}), "--gso fast"),
        ("--snaplen 64", json!({"snaplen": 64}), "--snaplen all"),
        ("--rate 1500kbit", json!({"rate": "1500kbit"}), "--rate none"),
        ("--rate 1000kpps", json!({"rate": "1mpps"}), "--rate none"),
        ("--group g", json!({"group": "g"}), "--group none"),
        ("--local 10.9.0.1", json!({"local_auto": false}), "--local auto"),
        ("--remote 2001:db8::2", json!({"remote": "2001:db8::2", "local": "2001:db8::1"}), "--remote 10.9.0.2"),
    ] {
        let after = merged(&before, &keys);
        for (options, expected) in [(change, &after), (back, &before)] {
            let line = format!("peer set ids {options}");
            assert_eq!(json_of(&solo, &format!("{line} --dry-run"))["changed"], true, "{line}");
            assert_eq!(one(&solo, &line), *expected, "{line}");
            assert_eq!(json_of(&solo, &line)["changed"], false, "{line} a second time");
            assert_eq!(one(&solo, "peer list"), *expected, "{line}");
        }
    }
    // An address that the user fixed cannot stay with a collector of the other family.
    run(&solo, "peer set ids --local 10.9.0.1").ok();
    let moved = one(&solo, "peer set ids --remote 2001:db8::2");
    assert_eq!((&moved["local"], &moved["local_auto"]), (&"2001:db8::1".into(), &true.into()));
}

#[test]
fn a_tunnel_keeps_its_kind_and_its_options() {
    let solo = solo();
    for add in [
        "vxlan --tunnel vxlan --remote 10.9.0.2 --vni 1",
        "gre --tunnel gre --remote 10.9.0.2",
        "erspan --tunnel erspan3 --remote 10.9.0.2 --session 1",
        "span --tunnel span --dev eth1",
    ] {
        run(&solo, &format!("peer add {add}")).ok();
    }
    for (line, message, hint) in [
        ("vxlan --key 1", "--key is for gre, not for vxlan", "--vni"),
        ("gre --port 1", "--port is for vxlan, geneve, not for gre", "--key"),
        ("erspan --vni 1", "--vni is for vxlan, geneve, not for erspan3", "--session"),
        ("span --remote 10.9.0.2", "--remote is for", "--dev"),
        ("span --oversize fragment", "not for span", "truncate"),
        ("span --dev none", "span needs --dev", "--help"),
        ("vxlan --local 2001:db8::1", "2001:db8::1 and 10.9.0.2 are of different families", "--local"),
        ("vxlan --remote 2001:db8::2 --local 10.9.0.1", "different families", "--local"),
        ("vxlan --local 2001:db8::9 --remote 2001:db8::2", "2001:db8::9 is no address of this host", "ip address"),
        ("gre --remote 10.9.0.255", "10.9.0.255 is a broadcast address", "unicast"),
    ] {
        refused(&solo, &format!("peer set {line}"), 2, message, hint);
    }
}

/// The pinned map that the taps read: of the generation in use the peers' slots, group by group.
fn groups(solo: &Solo) -> Vec<Vec<u64>> {
    let dump = |map: &str| -> Value {
        let pin = solo.script(&format!("find /sys/fs/bpf -name {map}"));
        serde_json::from_str(&solo.script(&format!("bpftool -j map dump pinned {}", pin.trim()))).unwrap()
    };
    let control = dump("ebm_control");
    let generation = control[0]["formatted"]["value"]["active"].as_u64().or(control[0]["value"]["active"].as_u64());
    let generation = generation.unwrap_or_else(|| panic!("{control}")) & 1;
    let all = dump("ebm_config");
    let config = &all.as_array().unwrap()[generation as usize];
    let config = config.get("formatted").unwrap_or(config);
    let config = &config["value"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{config}"));
    (0..number(&config["group_count"]) as usize)
        .map(|group| {
            let first = number(&config["first"][group]) as usize;
            let count = number(&config["count"][group]) as usize;
            (first..first + count).map(|at| number(&config["members"][at])).collect()
        })
        .collect()
}

#[test]
fn groups_are_made_by_naming_them_and_reach_the_datapath() {
    let solo = solo();
    run(&solo, "peer add a --tunnel vxlan --remote 10.9.0.2 --vni 1 --group g").ok();
    run(&solo, "peer add b --tunnel gre --remote 2001:db8::2").ok();
    run(&solo, "peer add c --tunnel erspan2 --remote 10.9.0.2 --session 1 --group h").ok();
    run(&solo, "peer add d --tunnel span --dev eth1 --group g").ok();
    assert_eq!(groups(&solo), [vec![0, 3], vec![1], vec![2]]);
    run(&solo, "peer set b --group h").ok();
    assert_eq!(groups(&solo), [vec![0, 3], vec![1, 2]]);
    run(&solo, "peer set d --group none").ok();
    assert_eq!(groups(&solo), [vec![0], vec![1, 2], vec![3]]);
    run(&solo, "peer del a").ok();
    assert_eq!(groups(&solo), [vec![1, 2], vec![3]]);
    // Nobody has it any more: the name is free.
    run(&solo, "peer add g --tunnel geneve --remote 10.9.0.2 --vni 1").ok();
    assert_eq!(groups(&solo), [vec![0], vec![1, 2], vec![3]]);

    for (line, taken) in [
        ("peer add h --tunnel vxlan --remote 10.9.0.2 --vni 9", "h is the name of a group"),
        ("peer add e --tunnel vxlan --remote 10.9.0.2 --vni 9 --group b", "b is the name of a peer"),
        ("peer add e --tunnel vxlan --remote 10.9.0.2 --vni 9 --group e", "e is the name of a peer"),
        ("peer set b --group g", "g is the name of a peer"),
        ("peer set b --group b", "b is the name of a peer"),
    ] {
        refused(&solo, line, 6, taken, "another name");
    }
}

#[test]
fn sixty_four_peers_of_every_kind_share_groups() {
    let solo = solo();
    let kinds = [
        "--tunnel vxlan --remote 10.9.0.2 --vni",
        "--tunnel geneve --remote 2001:db8::2 --vni",
        "--tunnel gre --remote 10.9.0.2 --key",
        "--tunnel erspan3 --remote 2001:db8::2 --session",
    ];
    for n in 0..64 {
        run(&solo, &format!("peer add p{n} {} {n} --group g{}", kinds[n % 4], n % 2)).ok();
    }
    let even_and_odd = [0, 1].map(|first| (first..64).step_by(2).collect::<Vec<u64>>());
    assert_eq!(groups(&solo), even_and_odd);
    refused(&solo, "peer add more --tunnel vxlan --remote 10.9.0.2 --vni 99", 6, "64", "peer del");
    assert_eq!(json_of(&solo, "peer list")["peers"].as_array().unwrap().len(), 64);
}

#[test]
fn the_word_for_every_group_is_no_name() {
    let solo = solo();
    let add = "--tunnel gre --remote 10.9.0.2";
    run(&solo, &format!("peer add ids {add}")).ok();
    for line in [&format!("peer add all {add}"), &format!("peer add new {add} --group all"), "peer set ids --group all"]
    {
        refused(&solo, line, 2, "\"all\" cannot be the name of a peer or group", "another name");
    }
    assert_eq!(one(&solo, "peer list")["name"], "ids");
}

#[test]
fn devices_that_cannot_be_used_are_refused() {
    let solo = solo();
    solo.script("ip tuntap add tun0 mode tun; ip link set tun0 up");
    run(&solo, "peer add ids --tunnel gre --remote 10.9.0.2").ok();
    for (line, code, message, hint) in [
        ("--tunnel span --dev nope", 4, "nope", "ip link"),
        ("--tunnel span --dev ebm0", 6, "ebm0 is ebmirror's own", ""),
        ("--tunnel span --dev ebm1", 6, "ebm1 is ebmirror's own", ""),
        ("--tunnel span --dev ebm1p", 6, "ebm1p is ebmirror's own", ""),
        ("--tunnel span --dev lo", 6, "lo is the loopback device", "veth"),
        ("--tunnel span --dev tun0", 7, "tun0 has no Ethernet header", "Ethernet"),
        ("--tunnel vxlan --vni 1 --remote 10.9.0.2 --dev nope", 4, "nope", "ip link"),
        ("--tunnel vxlan --vni 1 --remote 10.9.0.2 --dev ebm0", 6, "ebm0", ""),
        (
            "--tunnel vxlan --vni 1 --remote 2001:db8::2 --dev eth1",
            3,
            "no route to 2001:db8::2 through eth1",
            "--local",
        ),
        ("--tunnel vxlan --vni 1 --remote 10.9.0.1 --dev eth0", 2, "10.9.0.1 is an address of this host", "--dev none"),
    ] {
        refused(&solo, &format!("peer add new {line}"), code, message, hint);
    }
    refused(&solo, "peer set ids --dev nope", 4, "nope", "ip link");
    refused(&solo, "peer set ids --dev ebm1", 6, "ebm1", "");
}

#[test]
fn a_span_peer_is_its_device() {
    let solo = solo();
    solo.script("ip link add veth8 type veth peer name veth9; ip link set veth8 up; ip link set veth9 up");
    wait_for("its carrier", || solo.script("ip -o link show veth9").contains("state UP"));
    run(&solo, "peer add ids --tunnel span --dev veth9").ok();
    let shown = json_of(&solo, "peer show ids");
    let path = &shown["path"];
    assert_eq!((&path["device"], &path["up"], &path["mtu"]), (&"veth9".into(), &true.into(), &1500.into()), "{shown}");
    assert_eq!((&path["neighbour"], &path["reachable"]), (&Value::Null, &true.into()), "{shown}");
    let text = run(&solo, "peer show ids").ok().stdout;
    assert!(text.contains("device        veth9 up, MTU 1500\n"), "{text}");

    // The device is known by its number, whatever its name.
    solo.script("ip link set veth9 down; ip link set veth9 name seven");
    assert_eq!(one(&solo, "peer list")["dev"], "seven");
    assert_eq!(json_of(&solo, "peer show ids")["path"]["reachable"], false);
    let problem = |expected: &str| {
        let status = run(&solo, "-j status");
        assert_eq!(status.code, 1, "{}", status.stdout);
        let problems = status.json()["problems"].to_string();
        assert!(problems.contains(expected), "no \"{expected}\" in {problems}");
    };
    problem("peer ids: seven is down");
    solo.script("ip link del seven");
    problem("peer ids: the device if");
    assert_eq!(json_of(&solo, "peer show ids")["path"], Value::Null);
    let text = run(&solo, "peer show ids").ok().stdout;
    assert!(text.contains("is gone: every copy is lost"), "{text}");
    assert_eq!(one(&solo, "peer set ids --dev eth1")["dev"], "eth1");
    let warned = run(&solo, "peer list").ok().stdout;
    assert!(warned.contains("dev eth1"), "{warned}");
}

#[test]
fn a_collector_on_this_host_is_reached_through_lo() {
    let solo = solo();
    for (name, remote) in [("a", "10.9.0.1"), ("b", "127.0.0.1"), ("c", "2001:db8::1"), ("d", "::1")] {
        let peer = one(&solo, &format!("peer add {name} --tunnel geneve --vni 1 --remote {remote}"));
        assert_eq!((&peer["remote"], &peer["local"]), (&remote.into(), &remote.into()), "{peer}");
        let path = &json_of(&solo, &format!("peer show {name}"))["path"];
        assert_eq!((&path["device"], &path["on_host"], &path["reachable"]), (&"lo".into(), &true.into(), &true.into()));
    }
    let text = run(&solo, "peer show a").ok().stdout;
    assert!(text.contains("dev lo this host itself"), "{text}");
    let told = run(&solo, "peer set a").ok().stderr;
    assert!(told.contains("10.9.0.1 is an address of this host: the collector must run here"), "{told}");
    // Whose address it is may change.
    run(&solo, "peer add e --tunnel gre --remote 10.9.0.77").ok();
    solo.script("ip address add 10.9.0.77/32 dev eth1");
    let problems = run(&solo, "-j status").json()["problems"].to_string();
    assert!(problems.contains("10.9.0.77 has become an address of this host"), "{problems}");
    assert_eq!(json_of(&solo, "peer set e")["changed"], true);
    assert_eq!(json_of(&solo, "peer set e")["changed"], false);
    let problems = run(&solo, "-j status").json()["problems"].to_string();
    assert!(!problems.contains("10.9.0.77"), "{problems}");
}

#[test]
fn the_way_over_ipv6_is_shown() {
    let solo = solo();
    solo.script("ip -6 route add 2001:db8:5::/48 via 2001:db8::2 mtu lock 1400");
    run(&solo, "peer add near --tunnel gre --remote 2001:db8::2").ok();
    run(&solo, "peer add far --tunnel gre --remote 2001:db8:5::9 --dev eth0").ok();
    for (name, gateway, mtu) in [("near", Value::Null, 1500), ("far", "2001:db8::2".into(), 1400)] {
        let path = &json_of(&solo, &format!("peer show {name}"))["path"];
        assert_eq!(
            (&path["device"], &path["gateway"], &path["mtu"]),
            (&"eth0".into(), &gateway, &mtu.into()),
            "{path}"
        );
        assert_eq!((&path["neighbour"], &path["neighbour_state"]), (&"2001:db8::2".into(), &"PERMANENT".into()));
        assert_eq!((&path["neighbour_mac"], &path["source"]), (&"02:00:00:00:00:02".into(), &"2001:db8::1".into()));
    }
    // Where nothing changes nobody is asked again.
    solo.script("ip -6 neigh replace 2001:db8::2 dev eth0 nud failed");
    let warnings = json_of(&solo, "peer set near")["warnings"].to_string();
    assert!(warnings.contains("2001:db8::2 does not answer neighbour discovery on eth0"), "{warnings}");
    solo.script("ip -6 route del 2001:db8:5::/48");
    assert_eq!(json_of(&solo, "peer show far")["path"], Value::Null);
    let problems = run(&solo, "-j status").json()["problems"].to_string();
    assert!(problems.contains("peer far: there is no route to 2001:db8:5::9 dev eth0"), "{problems}");
}

#[test]
fn udp_over_ipv6_tells_what_a_linux_collector_needs() {
    let solo = solo();
    for (name, options, expected) in [
        ("a", "--tunnel vxlan --vni 1 --remote 2001:db8::2", true),
        ("b", "--tunnel geneve --vni 1 --remote 2001:db8::2", true),
        ("c", "--tunnel gre --remote 2001:db8::2", false),
        ("d", "--tunnel erspan2 --session 1 --remote 2001:db8::2", false),
        ("e", "--tunnel vxlan --vni 1 --remote 10.9.0.2", false),
    ] {
        let added = run(&solo, &format!("peer add {name} {options}")).ok();
        assert_eq!(added.stderr.contains("udp6zerocsumrx"), expected, "{name}: {}", added.stderr);
        let shown = json_of(&solo, &format!("peer show {name}"));
        assert_eq!(shown["notes"].to_string().contains("udp6zerocsumrx"), expected, "{shown}");
        let text = run(&solo, &format!("peer show {name}")).ok().stdout;
        assert_eq!(text.contains("udp6zerocsumrx"), expected, "{text}");
    }
}

#[test]
fn what_does_not_fit_is_told_by_policy() {
    let solo = solo();
    run(&solo, "attach eth1").ok();
    let about = |line: &str| json_of(&solo, line)["warnings"].to_string();
    for (add, fits, needed) in [
        ("--tunnel vxlan --vni 1 --remote 10.9.0.2", 1464, 1550),
        ("--tunnel geneve --vni 1 --remote 10.9.0.2", 1464, 1550),
        ("--tunnel gre --remote 10.9.0.2", 1476, 1538),
        ("--tunnel gre --key 1 --remote 10.9.0.2", 1472, 1542),
        ("--tunnel erspan2 --session 1 --remote 10.9.0.2", 1464, 1550),
        ("--tunnel erspan3 --session 1 --remote 10.9.0.2", 1460, 1554),
        ("--tunnel gre --remote 2001:db8::2", 1456, 1558),
    ] {
        for (oversize, fate) in
            [("fragment", "leave as IP fragments"), ("truncate", "are cut;"), ("drop", "are lost as too_big")]
        {
            let said = about(&format!("peer add ids {add} --oversize {oversize}"));
            let expected = format!("frames of more than {fits} bytes {fate}");
            assert!(said.contains(&expected), "{add}: no \"{expected}\" in {said}");
            assert!(said.contains(&format!("ip link set eth0 mtu {needed} ")), "{add}: {said}");
            run(&solo, "peer del ids").ok();
        }
    }
    // Where the copies are short enough there is nothing to say; one byte more, and there is.
    run(&solo, "peer add ids --tunnel vxlan --vni 1 --remote 10.9.0.2").ok();
    assert_eq!(about("peer set ids --snaplen 1464"), "null");
    assert!(about("peer set ids --snaplen 1465").contains("frames of more than 1464 bytes"));
    run(&solo, "peer set ids --snaplen all").ok();
    assert!(json_of(&solo, "attach eth1 --direction ingress")["warnings"].to_string().contains("more than 1464 bytes"));
    assert!(json_of(&solo, "peer show ids")["notes"].to_string().contains("more than 1464 bytes"));
    solo.script("ip link set eth0 mtu 1550");
    assert_eq!(about("peer set ids --ttl 9"), "null");
    solo.script("ip link add veth8 type veth peer name veth9; ip link set veth8 mtu 1400");
    assert!(
        about("peer add span --tunnel span --dev veth8").contains("frames of more than 1414 bytes are lost as too_big")
    );
}

#[test]
fn a_mirrored_span_device_is_refused_and_a_second_copy_warned_of() {
    let solo = solo();
    run(&solo, "attach eth1").ok();
    let said = |line: &str| run(&solo, line).ok().stderr;
    let message = "would leave through eth1, where eth1 is mirrored";
    refused(&solo, "peer add a --tunnel span --dev eth1", 6, message, "--force");
    assert!(said("peer add a --tunnel span --dev eth1 --force").contains("eth1 is mirrored itself"));
    assert!(said("peer add b --tunnel span --dev eth1 --force").contains("eth1 gets every frame twice: the peer a "));
    assert!(!said("peer add c --tunnel gre --remote 10.9.0.2 --group g").contains("twice"));
    assert!(!said("peer add d --tunnel gre --remote 10.9.0.2 --key 0 --group g").contains("twice"), "another key");
    assert!(!said("peer set d --key none").contains("twice"), "a frame goes to one of the group");
    assert!(said("peer set d --group none").contains("10.9.0.2 gets every frame twice: the peer c "));
}

#[test]
fn a_vpn_underlay_is_refused_while_another_interface_is_mirrored() {
    let solo = solo();
    solo.script("ip tuntap add tun0 mode tun; ip link set tun0 up; ip address add 10.8.0.1/24 dev tun0");
    let add = "peer add ids --tunnel vxlan --vni 1 --remote 10.8.0.2";
    let warning = "tun0 (tun) while eth0 is mirrored";
    run(&solo, "attach eth0").ok();
    refused(&solo, add, 6, warning, "--force");
    run(&solo, "peer add ids --tunnel vxlan --vni 1 --remote 10.9.0.2").ok();
    refused(&solo, "peer set ids --remote 10.8.0.2", 6, warning, "--force");
    run(&solo, "peer set ids --remote 10.8.0.2 --force").ok();
    // What was allowed stays so; something new is refused.
    run(&solo, "peer set ids --ttl 9").ok();
    run(&solo, "attach eth0").ok();
    for line in ["attach eth1", "attach eth0 eth1"] {
        refused(&solo, line, 6, "while eth1 is mirrored", "--force");
    }
    refused(&solo, "run eth1", 6, "while eth1 is mirrored", "--force");
    run(&solo, "attach eth1 --force").ok();

    run(&solo, "unpin --force").ok();
    let before = solo.snapshot();
    run(&solo, add).ok();
    // The VPN's own device shows its packets as they are, our copies with their mark among them.
    run(&solo, "attach tun0").ok();
    run(&solo, "attach eth0").fails(6, warning, "--force");
    run(&solo, "unpin --force").ok();
    assert_same(&before, &solo.snapshot(), "something was left");
}

#[test]
fn the_table_tells_peers_apart_and_what_differs_from_the_defaults() {
    let solo = solo();
    for add in [
        "plain --tunnel vxlan --remote 10.9.0.2 --vni 42",
        "picky --tunnel geneve --remote 2001:db8::2 --vni 7 --group g --rate 10mbit --snaplen 128 --oversize drop --gso wire \
         --dev eth0 --ttl 9 --dscp 46 --local 2001:db8::1",
        "gre --tunnel gre --remote 10.9.0.2 --port 1",
        "gre --tunnel gre --remote 10.9.0.2",
        "span --tunnel span --dev eth1",
    ] {
        let added = run(&solo, &format!("peer add {add}"));
        assert_eq!(added.code, if add.contains("--port") { 2 } else { 0 }, "{}", added.stderr);
    }
    let table = run(&solo, "peer list").ok().stdout;
    let cells =
        |row: &str| row.split("  ").filter(|cell| !cell.is_empty()).map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = table.lines().map(cells).collect();
    assert_eq!(
        rows,
        [
            vec!["PEER", "GROUP", "TUNNEL", "ID", "REMOTE", "PORT", "LOCAL", "POLICY"],
            vec!["gre", "-", "gre", "-", "10.9.0.2", "-", "10.9.0.1 (auto)", "-"],
            vec![
                "picky",
                "g",
                "geneve",
                "VNI 7",
                "2001:db8::2",
                "6081",
                "2001:db8::1",
                "rate 10mbit, snaplen 128, drop, gso wire, dev eth0, ttl 9, dscp 46"
            ],
            vec!["plain", "-", "vxlan", "VNI 42", "10.9.0.2", "4789", "10.9.0.1 (auto)", "-"],
            vec!["span", "-", "span", "-", "dev eth1", "-", "-", "-"],
        ],
        "{table}"
    );
    let shown = run(&solo, "peer show picky").ok().stdout;
    for line in [
        "group         g\n",
        "tunnel        geneve VNI 7\n",
        "remote        2001:db8::2 port 6081\n",
        "outer header  TTL 9, DSCP 46, dev eth0\n",
        "oversize      drop\n",
        "gso           wire\n",
        "snaplen       128 bytes of each frame\n",
        "rate          10mbit at most\n",
        "route         dev eth0 on link, MTU 1500\n",
        "neighbour     2001:db8::2 PERMANENT 02:00:00:00:00:02\n",
    ] {
        assert!(shown.contains(line), "no \"{line}\" in {shown}");
    }
}

/// The examples of `peer add --help` are command lines that this program accepts.
#[test]
fn the_examples_of_the_help_are_accepted() {
    let mut help = std::process::Command::new(EBMIRROR);
    help.args(["peer", "add", "--help"]);
    let help = Outcome::of(help, "help").ok().stdout;
    let solo = Solo::new();
    solo.script(
        "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
         ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 dev eth0 nodad
         ip link add eth9 type veth peer name eth8",
    );
    let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ebmirror ")).collect();
    assert_eq!(examples.len(), 6, "{help}");
    for (number, example) in examples.iter().enumerate() {
        run(&solo, &example.replace("add ids", &format!("add ids{number}"))).ok();
    }
}

/// Such a device sends what it gets back to where it came from.
#[test]
fn an_ifb_device_is_refused_for_copies() {
    let solo = solo();
    solo.script("ip link add ifb7 type ifb && ip link set ifb7 up");
    let message = "ifb7 is an ifb device";
    refused(&solo, "peer add a --tunnel span --dev ifb7", 6, message, "veth");
    refused(&solo, "peer add a --tunnel vxlan --vni 1 --remote 10.9.0.2 --dev ifb7", 6, message, "veth");
}
