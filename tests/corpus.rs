//! `make corpus`: captures of odd protocols replayed through a mirrored interface, and directories that are not as they
//! should be.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{EBMIRROR, Outcome};
use serde_json::{Value, json};

/// What tshark must find in the committed captures: nobody can take a protocol out of them unnoticed.
const PROTOCOLS: &str = "ah aoe arp batadv bfd bgp cdp cfm dccp dhcp dns eapol ecat eigrp epl erspan esp etherip \
     fcoe fip geneve goose gre gtp hsr icmp icmpv6 ieee1722 ieee8021ad ieee8021ah ieee8021cb igmp ip ipv6 ipv6.dstopts \
     ipv6.fraghdr ipv6.hopopts ipv6.routing ipx isis.hello l2tp lacp lcp ldp llc lldp loop macc macsec mpls mrp-mvrp nsh \
     oampdu ospf pim pn_dcp pn_io ppp pppoed pppoes ptp pwethcw rip rsvp sctp stp sv tcp trill udp udpencap udplite \
     vlan vrrp vxlan wg wol";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn corpus(options: &[&str], captures: &Path) -> Outcome {
    let mut command = Command::new(EBMIRROR);
    command.args(options).arg("corpus").arg(captures);
    Outcome::of(command, &format!("ebmirror corpus {}", captures.display()))
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

/// All counts of a table of reasons.
fn sum(row: &Value, key: &str) -> u64 {
    row[key]
        .as_object()
        .unwrap_or_else(|| panic!("no {key} in {row}"))
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum()
}

/// The line of a file.
fn row<'a>(report: &'a Value, file: &str) -> &'a Value {
    let mut rows = report["files"].as_array().unwrap().iter().filter(|row| row["file"] == file);
    rows.next().unwrap_or_else(|| panic!("no {file} in {report}"))
}

fn tshark(file: &Path, field: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields", "-e", field]);
    Outcome::of(command, &format!("tshark -r {}", file.display())).ok().stdout.lines().map(str::to_owned).collect()
}

/// The sums in each line: nothing is forgotten, and nothing counts twice.
fn check(report: &Value) {
    for row in report["files"].as_array().unwrap().iter().chain([&report["total"]]) {
        let offered = 2 * (number(row, "frames") - sum(row, "left_out"));
        assert_eq!(number(row, "replayed") + sum(row, "not_sent"), offered, "{row}");
        assert_eq!(number(row, "arrived") + sum(row, "lost"), number(row, "replayed"), "{row}");
        assert_eq!(number(row, "identical"), number(row, "arrived"), "{row}");
        assert_eq!((&row["unaccounted"], &row["vanished"]), (&json!(0), &json!(0)), "{row}");
    }
}

#[test]
fn every_frame_of_the_shipped_captures_arrives_identical_in_both_directions() {
    for options in [&["--json"][..], &["--json", "--no-offload"], &["--json", "--mode", "tc"]] {
        let (global, own) = options.split_at(1);
        let mut command = Command::new(EBMIRROR);
        command.args(global).arg("corpus").args(own).arg(shipped());
        let report = Outcome::of(command, &format!("corpus {own:?}")).ok().json();
        assert_eq!((&report["schema"], &report["passed"]), (&json!("ebmirror.corpus.v1"), &json!(true)));
        check(&report);
        let total = &report["total"];
        assert_eq!((sum(total, "lost"), sum(total, "left_out")), (0, 7), "{own:?}: {total}");
        assert!(number(total, "identical") > 1000, "{total}");
    }
}

#[test]
fn tshark_reads_as_many_frames_and_finds_the_protocols() {
    let report = corpus(&["--json"], &shipped()).ok().json();
    let mut found = BTreeSet::new();
    for row in report["files"].as_array().unwrap() {
        let name = row["file"].as_str().unwrap();
        let file = shipped().join(name);
        // It stops where a frame is of an interface that nobody described.
        if name != "mixed.pcapng" {
            assert_eq!(tshark(&file, "frame.len").len() as u64, number(row, "frames"), "{name}");
            let stacks = tshark(&file, "frame.protocols");
            found.extend(stacks.iter().flat_map(|stack| stack.split(':')).map(str::to_owned));
        }
    }
    let missing: Vec<&str> = PROTOCOLS.split_whitespace().filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {found:?}");
}

#[test]
fn each_frame_that_is_left_out_is_named_with_its_reason() {
    let report = corpus(&["--json"], &shipped().join("mixed.pcapng")).ok().json();
    let expected = json!({
        "cut by the capture": 1,
        "longer than an MTU of 9216 takes": 1,
        "of an interface that the capture does not describe": 1,
        "of link type 113 (Linux cooked)": 1,
        "of link type 127 (802.11 with radiotap header)": 1,
        "shorter than 14 bytes": 2,
    });
    assert_eq!(report["total"]["left_out"], expected);
    check(&report);
    let text = corpus(&[], &shipped().join("vlan.pcap")).ok().stdout;
    let cut = "not sent: 5 ingress: the kernel drops what it receives with a VLAN tag that is cut short";
    assert!(text.contains(cut) && text.contains("PASS: of 91 frames replayed 91 arrived"), "{text}");
}

#[test]
fn frames_arrive_whole_whether_the_way_to_the_collector_is_wide_or_narrow() {
    for underlay_mtu in ["576", "1500", "9300"] {
        let mut command = Command::new(EBMIRROR);
        command.args(["--json", "corpus", "--underlay-mtu", underlay_mtu]).arg(shipped().join("sizes.pcap"));
        let report = Outcome::of(command, underlay_mtu).ok().json();
        check(&report);
        let total = &report["total"];
        assert_eq!((number(total, "frames"), number(total, "identical")), (89, 178), "{underlay_mtu}: {report}");
    }
}

/// A directory that vanishes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("corpus-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn damaged_and_foreign_files_are_named_and_do_not_stop_the_run() {
    let directory = Directory::new("damaged");
    let [ipv4, vlan, labels] =
        ["ipv4.pcap", "vlan.pcap", "labels.pcapng"].map(|name| fs::read(shipped().join(name)).unwrap());
    directory.file("README.md", b"# Captures of a friend\n");
    directory.file("compressed.pcap.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    directory.file("empty.pcap", &[]);
    directory.file("header alone.pcap", &ipv4[..24]);
    directory.file("ends early.pcap", &ipv4[..ipv4.len() - 1]);
    directory.file("ends early.pcapng", &labels[..labels.len() - 40]);
    directory.file("no record.pcap", &[&ipv4[..], &[0xff; 40]].concat());
    fs::create_dir(directory.0.join("z folder")).unwrap();
    directory.file("z folder/whole.pcap", &vlan);
    symlink(".", directory.0.join("circle")).unwrap();

    let report = corpus(&["--json"], &directory.0).ok().json();
    check(&report);
    let whole = number(row(&corpus(&["--json"], &shipped()).ok().json(), "ipv4.pcap"), "frames");
    let ends = ipv4.len();
    for (file, frames, fault) in [
        ("README.md", 0, Some("not a capture: magic number 23204361".to_owned())),
        ("circle", 0, Some("not a capture: not a regular file".into())),
        ("compressed.pcap.gz", 0, Some("not a capture: compressed with gzip".into())),
        ("empty.pcap", 0, Some("not a capture: it is empty".into())),
        ("header alone.pcap", 0, None),
        ("no record.pcap", whole, Some(format!("damaged at byte {ends}: a record of 4294967295 bytes"))),
        ("z folder/whole.pcap", 48, None),
    ] {
        let row = row(&report, file);
        assert_eq!((number(row, "frames"), &row["fault"]), (frames, &json!(fault)), "{row}");
    }
    for (file, frames, fault) in [
        ("ends early.pcap", whole - 1, "the file ends inside a record"),
        ("ends early.pcapng", 22, "the file ends inside a block"),
    ] {
        let row = row(&report, file);
        let text = row["fault"].as_str().unwrap();
        assert!(text.starts_with("damaged at byte ") && text.ends_with(fault), "{row}");
        // Of the pcapng file the last block, which holds statistics, and the last frame are not there.
        assert_eq!(number(row, "frames"), frames, "{row}");
    }
    assert_eq!(report["files"].as_array().unwrap().len(), 9, "{report}");
    let text = corpus(&[], &directory.0).ok().stdout;
    assert!(text.contains("PASS") && text.contains("7 files were not read, or not to their end"), "{text}");
}

#[test]
fn a_run_that_compares_nothing_fails() {
    let directory = Directory::new("nothing");
    let missing = directory.0.join("missing");
    corpus(&[], &missing).fails(4, "missing: No such file", "make corpus PCAPS=dir");
    corpus(&[], &directory.0).fails(4, "has no files", "make corpus PCAPS=dir");
    directory.file("notes", b"nothing to see");
    let outcome = corpus(&[], &directory.0);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.contains("nothing was compared"), "{}", outcome.stdout);
}

#[test]
fn a_file_that_this_machine_cannot_read_fails_the_run_and_does_not_stop_it() {
    let directory = Directory::new("unreadable");
    symlink("nowhere", directory.0.join("a.pcap")).unwrap();
    fs::copy(shipped().join("link.pcap"), directory.0.join("b.pcap")).unwrap();
    let outcome = corpus(&["--json"], &directory.0);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let report = outcome.json();
    assert!(row(&report, "a.pcap")["fault"].as_str().unwrap().starts_with("cannot be read: No such file"), "{report}");
    assert_eq!(number(row(&report, "b.pcap"), "identical"), 76, "{report}");
    assert_eq!(report["problems"], json!(["not as it should be: a.pcap"]));
}

#[test]
fn it_has_no_dry_run() {
    corpus(&["--dry-run"], &shipped()).fails(2, "corpus has no dry run", "vanish with it");
}
