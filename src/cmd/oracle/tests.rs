//! Choices that differ.

use super::super::expressions::Line;
use super::super::frames::{FileRow, Frame, Portion};
use super::*;
use crate::classifier::compile::Compiled;
use crate::model::Error;
use crate::output::Report;

fn lines() -> Vec<Line> {
    let line = |number, text: &str, compiled| Line { number, text: text.to_owned(), compiled };
    vec![
        line(1, "tcp", Ok(Compiled::default())),
        line(3, "mpls", Err(Error::usage("mpls is not covered"))),
        line(4, "inbound", Ok(Compiled::default())),
    ]
}

/// Frames 1 to 4 of the second file.
fn portion() -> Portion {
    let frame = |number| Frame { file: 1, number, wire_bytes: 60, head: Vec::new() };
    Portion { frames: (1..5).map(frame).collect(), capture: std::fs::File::open("/dev/null").unwrap() }
}

fn files() -> Vec<FileRow> {
    ["a.pcap", "b.pcap"].map(|file| FileRow { file: file.to_owned(), ..FileRow::default() }).into()
}

#[test]
fn each_difference_is_named_and_fails() {
    let mut findings = Findings::new(&lines());
    findings.compare(0, &portion(), Some(&[0, 1, 3]), Ok(vec![1, 2, 3]), || Ok(Ok(vec![1, 2, 3]))).unwrap();
    findings.compare(1, &portion(), None, Ok(vec![0]), || unreachable!()).unwrap();
    findings.compare(2, &portion(), Some(&[0]), Err("not supported".to_owned()), || unreachable!()).unwrap();
    let findings = findings.finish(files());
    assert_eq!((findings.exit(), findings.compared, findings.rejected), (1, 1, 2));
    assert_eq!((findings.verdicts, findings.chosen), (4, 2));
    let text = findings.text();
    for expected in [
        "line 1: tcp: b.pcap frame 1: chosen by ebmirror alone\n",
        "line 1: tcp: b.pcap frame 3: chosen by tcpdump alone\n",
        "line 3: mpls: rejected by ebmirror: mpls is not covered\n",
        "line 4: inbound: rejected by tcpdump: not supported\n",
        "FAIL: 2 differences",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
}

#[test]
fn no_difference_passes_and_nothing_compared_fails() {
    let mut findings = Findings::new(&lines());
    findings.compare(0, &portion(), Some(&[2]), Ok(vec![2]), || unreachable!()).unwrap();
    let findings = findings.finish(files());
    assert_eq!((findings.exit(), findings.chosen), (0, 1));
    assert!(findings.text().contains("PASS: 2 expressions compared, 1 rejected"), "{}", findings.text());
    assert_eq!(Findings::new(&lines()).finish(files()).exit(), 1);
}

#[test]
fn what_tcpdump_does_not_agree_on_with_itself_is_told_and_no_difference() {
    let mut findings = Findings::new(&lines());
    findings.compare(0, &portion(), Some(&[0]), Ok(vec![0, 1, 2]), || Ok(Ok(vec![0, 2]))).unwrap();
    let findings = findings.finish(files());
    assert_eq!((findings.differences.len(), findings.optimiser.len(), findings.exit()), (1, 1, 1));
    let text = findings.text();
    assert!(text.contains("b.pcap frame 3: chosen by tcpdump alone\n"), "{text}");
    assert!(text.contains("b.pcap frame 2: chosen by tcpdump alone, but not by tcpdump -O\n"), "{text}");
}
