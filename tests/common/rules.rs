//! Random rules, and whether the tap finds for a frame the one that a test of the same frame finds.

use std::collections::BTreeMap;

use ebmirror::classifier::lower::{ENTRIES_MAX, lower};
use ebmirror::classifier::sieve::Sieve;
use ebmirror::lab::expressions::expression;
use ebmirror::lab::random::{self, Random};
use serde_json::Value;

use super::common::traffic::{packets, pcap, send};
use super::common::{Rig, Scratch, wait_for};

/// Expressions of this many tests each, all of which some frame can match.
pub fn random(random: &mut Random, count: usize, tests: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let expression = expression(random, tests);
        let text = expression.to_string();
        let entries = lower(&expression, &|_| None, ENTRIES_MAX);
        if entries.is_ok_and(|entries| !entries.is_empty()) && wanted(&text) {
            texts.push(text);
        }
    }
    texts
}

/// Whether flows are sieved before rules of these expressions are asked.
pub fn have_sieve(expressions: &[impl AsRef<str>]) -> bool {
    let entries = |text: &str| lower(&text.parse().unwrap(), &|_| None, ENTRIES_MAX).unwrap();
    Sieve::of(&expressions.iter().map(|text| entries(text.as_ref())).collect::<Vec<_>>()).is_some()
}

/// Frames that are whole: what is cut off in a tag the kernel does not receive.
pub fn frames(random: &mut Random, count: usize) -> Vec<Vec<u8>> {
    std::iter::repeat_with(|| random::frame(random))
        .filter(|frame| frame.bytes.len() as u32 == frame.wire_bytes && frame.bytes.len() >= 60)
        .map(|frame| frame.bytes)
        .take(count)
        .collect()
}

/// The frames that the taps have seen coming in.
pub fn received(rig: &Rig) -> u64 {
    let stats = rig.stats();
    let rows = stats["interfaces"].as_array().unwrap();
    rows.iter().filter(|row| row["direction"] == "ingress").map(|row| packets(&row["seen"])).sum()
}

/// What each rule has matched, by ID.
pub fn matched(rig: &Rig) -> BTreeMap<u64, u64> {
    let stats = rig.stats();
    let rules = stats["rules"].as_array().unwrap();
    rules.iter().map(|rule| (rule["id"].as_u64().unwrap(), packets(&rule["matched"]))).collect()
}

/// Sends the frames through eth0's tap twice, so that it has seen the flows: what it counts for rules of these expressions is what
/// a test of a capture of them says, which asks the trees alone. The rules are taken away again. How many of them matched something.
pub fn tap_and_test_agree(rig: &Rig, expressions: &[String], frames: &[Vec<u8>]) -> usize {
    let lines: Vec<_> = expressions.iter().map(|text| format!("--action skip --direction ingress '{text}'")).collect();
    let (rules, capture) = (Scratch::of(lines.join("\n").as_bytes()), Scratch::of(&pcap(frames)));
    rig.ebmirror(&["filter", "add", "--file", rules.path()]).ok();
    let tested = rig.ebmirror(&["--json", "filter", "test", capture.path()]).ok().stdout;
    let mut expected = BTreeMap::new();
    for line in tested.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Some(id) = line["rule"].as_u64() {
            *expected.entry(id).or_insert(0) += 2;
        }
    }
    let start = received(rig);
    for _ in 0..2 {
        send(&rig.client, "eth0", frames);
    }
    wait_for("the frames", || received(rig) - start >= 2 * frames.len() as u64);
    let mut found = matched(rig);
    found.retain(|_, matched| *matched > 0);
    assert_eq!(found, expected, "{lines:#?}");
    rig.ebmirror(&["filter", "flush"]).ok();
    expected.len()
}
