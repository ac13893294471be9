//! The classifier in the kernel beside tcpdump, and beside the reference in Rust: shipped and random expressions, shipped and
//! random frames. And `filter test`, which asks the same program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "a test shows what it has compared")]

mod common;

use std::fs;
use std::process::Command;

use common::{EBMIRROR, Outcome, Scratch};
use ebmirror::classifier::compile::{Compiled, Uses, compile};
use ebmirror::classifier::field::{COMMON, Field, Key, VIEW_WORDS, VIEWS, ViewField};
use ebmirror::classifier::key::key;
use ebmirror::classifier::lower::{ENTRIES_MAX, LowerError, lower, views};
use ebmirror::classifier::table::{Node, Root, Tables, Target};
use ebmirror::kernel::probe::{Frame, Trial};
use ebmirror::lab::expressions;
use ebmirror::lab::random::{self, Captured, Random};
use ebmirror::lab::tcpdump::{self, Program};
use ebmirror::model::expression::Expression;
use ebmirror::model::interface::Direction;
use ebmirror::model::rule::{Rule, RuleId};
use serde_json::json;

fn shipped(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn oracle(captures: &str, expressions: &str) -> Outcome {
    let mut command = Command::new(EBMIRROR);
    command.args(["--json", "oracle"]).args([captures, expressions]);
    Outcome::of(command, &format!("oracle {captures} {expressions}"))
}

/// Who is to reject the expressions of a section of the list.
fn rejecters(section: &str) -> Option<&'static [&'static str]> {
    match section {
        "# Of the language, and not covered" => Some(&["ebmirror"]),
        "# Of the language, and not covered; not of tcpdump 4.99 either" => Some(&["ebmirror", "tcpdump"]),
        "# Ours, and not of tcpdump 4.99 with a capture file" => Some(&["tcpdump"]),
        "# Not of the language" => Some(&["ebmirror", "tcpdump"]),
        _ => None,
    }
}

#[test]
fn the_shipped_expressions_choose_of_the_shipped_captures_what_tcpdump_chooses() {
    let list = shipped("expressions.txt");
    let report = oracle(&shipped("corpus"), &list).ok().json();
    assert_eq!((&report["schema"], &report["passed"]), (&json!("ebmirror.oracle.v1"), &json!(true)));
    assert_eq!(report["differences"], json!([]));
    let rows = report["expressions"].as_array().unwrap();
    let mut rows = rows.iter();
    let (mut section, mut compared) = (String::new(), 0);
    for (number, line) in (1..).zip(fs::read_to_string(&list).unwrap().lines()) {
        if line.is_empty() {
            continue;
        }
        if line.starts_with('#') {
            section = line.to_owned();
            continue;
        }
        let row = rows.next().unwrap();
        assert_eq!((row["line"].as_u64(), row["expression"].as_str()), (Some(number), Some(line)));
        let by: Vec<&str> =
            row["rejected"].as_array().into_iter().flatten().map(|one| one["by"].as_str().unwrap()).collect();
        assert_eq!(by, rejecters(&section).unwrap_or_default(), "{row}");
        compared += usize::from(by.is_empty());
    }
    assert!(rows.next().is_none());
    assert!(compared >= 200, "{compared} expressions");
    assert_eq!(report["compared"], compared);
    let frames = report["files"].as_array().unwrap().iter().map(|row| row["frames"].as_u64().unwrap()).sum::<u64>() - 3;
    assert_eq!(report["verdicts"], frames * compared as u64, "all but 3 frames that are not Ethernet's");
    println!("{compared} expressions, {} verdicts, {} chosen", report["verdicts"], report["chosen"]);
}

#[test]
fn what_cannot_be_compared_is_no_success() {
    let capture = Scratch::of(&tcpdump::capture(&[Captured { bytes: vec![0; 60], wire_bytes: 60 }]));
    let list = Scratch::of(b"# nothing\n\n");
    oracle(capture.path(), list.path()).json_fails(4, "has no expression");
    let list = Scratch::of(b"tcp and\n");
    let report = oracle(capture.path(), list.path());
    assert_eq!(report.code, 1, "{report:?}");
    let report = report.json();
    assert_eq!((&report["passed"], &report["rejected"], &report["verdicts"]), (&json!(false), &json!(1), &json!(0)));
    oracle("/nonexistent", list.path()).json_fails(4, "/nonexistent");
}

fn compiled(expression: &str) -> Compiled {
    let rule = Rule { expression: expression.to_owned(), ..Rule::new(RuleId::FIRST) };
    compile(&[rule], &|_| None).unwrap_or_else(|found| panic!("{expression}: {}", found.error))
}

fn asked(trial: &Trial, frame: &Captured) -> bool {
    let (direction, ifindex) = (Direction::Ingress, 1);
    trial.probe().ask(&Frame { bytes: &frame.bytes, wire_bytes: frame.wire_bytes, direction, ifindex }).unwrap().mirror
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Frames of which an expression compares four bytes where libpcap loads one.
fn is_excused(expression: &str, frame: &Captured) -> bool {
    let captured = frame.bytes.len();
    let inside = |first: usize| (0..4).any(|view| (first + 4 * view..first + 4 * view + 3).contains(&captured));
    expression.contains("ip multicast") && inside(31) || expression.contains("ip6 multicast") && inside(39)
}

#[test]
fn random_expressions_choose_in_the_kernel_what_tcpdump_chooses() {
    const FRAMES: usize = 100;
    let cases = std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let seed = Random::seed(4);
    println!("SEED={seed} CASES={cases}");
    let mut trial = Trial::load().unwrap();
    let (mut verdicts, mut chosen, mut excused, mut optimiser) = (0, 0, 0, 0);
    for case in 0..cases {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(case as u64));
        let expression = expressions::expression(&mut random, 6);
        let frames: Vec<Captured> = (0..FRAMES).map(|_| random::frame(&mut random)).collect();
        let text = expression.to_string();
        // What is printed is what is read.
        assert_eq!(text.parse::<Expression>().unwrap_or_else(|error| panic!("{text}: {error}")), expression, "{text}");
        let entries = match lower(&expression, &|_| None, ENTRIES_MAX) {
            Ok(entries) => entries,
            Err(LowerError::TooMany(_)) => continue,
            Err(error) => panic!("{text}: {error}"),
        };
        trial.set(&compiled(&text)).unwrap();
        let choose =
            |program| tcpdump::choose(&text, &frames, program).unwrap().unwrap_or_else(|why| panic!("{text}: {why}"));
        let theirs = choose(Program::Optimised);
        let mut unoptimised = None;
        for (number, frame) in frames.iter().enumerate() {
            let ours = asked(&trial, frame);
            let key = key(&frame.bytes, frame.wire_bytes, 1, 1, views(&entries));
            let reference = entries.iter().any(|entry| entry.matches(&key));
            let (captured, wire) = (frame.bytes.len(), frame.wire_bytes);
            assert_eq!(ours, reference, "{text}: reference: {captured} of {wire} bytes: {}", hex(&frame.bytes));
            if is_excused(&text, frame) {
                excused += 1;
                continue;
            }
            if ours != theirs[number] {
                // Of frames that end early tcpdump says one thing with its optimiser and another without.
                let written = unoptimised.get_or_insert_with(|| choose(Program::Written));
                assert_eq!(ours, written[number], "{text}: tcpdump: {captured} of {wire} bytes: {}", hex(&frame.bytes));
                optimiser += 1;
            }
            verdicts += 1;
            chosen += usize::from(ours);
        }
    }
    println!("{verdicts} verdicts, {chosen} chosen, {excused} excused, {optimiser} that only tcpdump -O gives");
    assert!(optimiser < verdicts / 50, "{optimiser} of {verdicts}");
    assert!(verdicts >= cases * FRAMES * 2 / 3 && chosen > verdicts / 50, "{verdicts} verdicts, {chosen} chosen");
}

/// The field that is a word.
fn field(word: u8) -> Field {
    let found = match word.checked_sub(COMMON) {
        None => Field::OF_FRAME[usize::from(word)],
        Some(word) => Field::view(word / VIEW_WORDS, ViewField::ALL[usize::from(word % VIEW_WORDS)]),
    };
    assert_eq!(found.word(), usize::from(word));
    found
}

/// Tables that only a frame with this key passes: one comparison for each of the words.
fn only(key: &Key, words: &[u8], views: u8) -> Compiled {
    let node = |(number, word): (usize, &u8)| {
        let value = key[usize::from(*word)];
        let yes = if number + 1 < words.len() { Target::Node(number as u32 + 1) } else { Target::End(Some(0)) };
        Node { field: field(*word), low: value, high: value, yes, no: Target::End(None) }
    };
    let nodes = words.iter().enumerate().map(node).collect();
    let uses = Uses { mac: true, length: true, addresses: true, ports: true, tcp_flags: true, interface: true };
    Compiled {
        tables: Tables { nodes, roots: vec![Root { target: Target::Node(0), rank: 0 }], views },
        uses,
        sieve: None,
        idle: None,
    }
}

#[test]
fn the_kernel_makes_of_a_frame_the_key_that_the_reference_makes() {
    const FRAMES: usize = 20_000;
    let seed = Random::seed(7);
    println!("SEED={seed}");
    let mut random = Random::new(seed);
    let mut trial = Trial::load().unwrap();
    for number in 0..FRAMES {
        let frame = random::frame(&mut random);
        let views = (number % usize::from(VIEWS)) as u8;
        // Views that no rule looks at are left as they are.
        let all: Vec<u8> = (0..COMMON + VIEW_WORDS * (views + 1)).collect();
        let mut key = key(&frame.bytes, frame.wire_bytes, 1, 1, views);
        if frame.bytes.len() == 1 {
            // Beside the bit of groups, nothing of it is ever compared.
            key[Field::DST_MAC_HIGH.word()] |= u32::from(frame.bytes[0] & 1) << 8;
        }
        trial.set(&only(&key, &all, views)).unwrap();
        if asked(&trial, &frame) {
            continue;
        }
        let wrong = all.iter().filter(|word| {
            trial.set(&only(&key, &[**word], views)).unwrap();
            !asked(&trial, &frame)
        });
        let wrong: Vec<String> =
            wrong.map(|word| format!("{} is not {:#x}", field(*word), key[usize::from(*word)])).collect();
        let (captured, wire) = (frame.bytes.len(), frame.wire_bytes);
        panic!("{captured} of {wire} bytes, {views} views: {}: {wrong:?}", hex(&frame.bytes));
    }
}
