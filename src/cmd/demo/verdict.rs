//! The verdict: is it all there, is it all the same, and do the books say so?

use std::collections::BTreeMap;

use serde_json::Value;

use super::books::{check_books, peer};
use super::network::{Network, VNI};
use super::outer::{check_decoder, check_ports, decode_copies};
use super::report::{Findings, Row, Shown};
use crate::lab::capture::Frame;
use crate::lab::compare::{Fate, Packet, compare};
use crate::lab::parse::{Protocol, protocol};
use crate::lab::summary::summary;
use crate::model::interface::Direction;

/// So many frames are described, of those that have the same fault.
const EXAMPLES: usize = 3;

/// What was captured, and what the program counted.
pub(super) struct Evidence<'a> {
    pub(super) network: &'a Network,
    /// All frames of the mirrored interface.
    pub(super) originals: &'a [Frame],
    /// How many of these had passed when the mirror was complete. They may have a copy; all later ones must.
    pub(super) attached: usize,
    /// All frames of the collector's interface.
    pub(super) copies: &'a [Frame],
    /// All frames of the collector's own VXLAN device, if it has one.
    pub(super) decoded: Option<&'a [Frame]>,
    /// The document of `stats`.
    pub(super) stats: &'a Value,
}

/// Compares everything with everything.
pub(super) fn judge(evidence: &Evidence<'_>, shown: usize) -> Findings {
    let mut problems = Faults::default();
    let copies = decode_copies(evidence, &mut problems);
    // Those that must have a copy come first: where two are the same they get it.
    let (may, must) = evidence.originals.split_at(evidence.attached.min(evidence.originals.len()));
    let frames: Vec<&Frame> = must.iter().chain(may).collect();
    let originals: Vec<Packet<'_>> = frames.iter().map(|frame| Packet::captured(frame)).collect();
    let comparison = compare(&originals, &copies);

    let mut table = BTreeMap::new();
    for (place, original) in originals.iter().enumerate() {
        let fate = comparison.fates[place];
        if place >= must.len() && fate == Fate::Missing {
            continue;
        }
        let (direction, protocol, size) = (direction(frames[place]), protocol(&original.bytes), original.wire_size());
        let row: &mut Row = table.entry((direction, protocol)).or_insert_with(|| Row::new(direction, protocol));
        row.seen += size;
        match fate {
            Fate::Identical => row.identical += size,
            Fate::Missing => problems.add(format!("{direction} frames without a copy"), || summary(&original.bytes)),
            Fate::Different => {
                problems.add(format!("{direction} TCP data whose copy differs"), || summary(&original.bytes));
            }
        }
    }
    let mut lines = Vec::new();
    for (copy, source) in copies.iter().zip(&comparison.sources) {
        let direction = match source {
            Some(original) => direction(frames[*original]),
            None if copy.bytes.get(6..12) == Some(&evidence.network.tap_mac) => Direction::Egress,
            None => Direction::Ingress,
        };
        let protocol = protocol(&copy.bytes);
        let row = table.entry((direction, protocol)).or_insert_with(|| Row::new(direction, protocol));
        row.arrived += copy.wire_size();
        if source.is_none() {
            problems.add(format!("{direction} copies without an original"), || summary(&copy.bytes));
        }
        if lines.len() < shown {
            lines.push(Shown { direction, identical: source.is_some(), summary: summary(&copy.bytes) });
        }
    }
    let rows: Vec<Row> = table.into_values().collect();
    check_ports(evidence, &mut problems);
    let decoder = evidence.decoded.map(|frames| check_decoder(frames, &copies, &mut problems));
    let mut findings = Findings {
        passed: false,
        frames: rows,
        problems: problems.sentences(),
        peer: peer(evidence.stats).cloned().unwrap_or_default(),
        interfaces: evidence.stats.get("interfaces").cloned().unwrap_or_default(),
        unaccounted: evidence.stats.get("unaccounted").cloned().unwrap_or_default(),
        kernel_decoder: decoder,
        super_packets: originals.iter().filter(|packet| packet.gso.is_some()).count(),
        vni: VNI,
        copies: copies.len(),
        lines,
    };
    let more = [missing_traffic(&findings.frames), check_books(evidence.stats, &findings.frames)];
    findings.problems.extend(more.into_iter().flatten());
    findings
}

/// Problems of many frames, a sentence each kind.
#[derive(Default)]
pub(super) struct Faults(BTreeMap<String, (usize, Vec<String>)>);

impl Faults {
    pub(super) fn add(&mut self, kind: impl Into<String>, example: impl FnOnce() -> String) {
        let (count, examples) = self.0.entry(kind.into()).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    fn sentences(self) -> Vec<String> {
        let sentence = |(kind, (count, examples)): (String, (usize, Vec<String>))| {
            let more = if count > examples.len() { "; …" } else { "" };
            format!("{count} {kind}: {}{more}", examples.join("; "))
        };
        self.0.into_iter().map(sentence).collect()
    }
}

fn direction(frame: &Frame) -> Direction {
    if frame.outgoing { Direction::Egress } else { Direction::Ingress }
}

/// A demo that shows nothing of a kind has not shown that it is mirrored.
fn missing_traffic(rows: &[Row]) -> Vec<String> {
    let mut missing = Vec::new();
    for direction in Direction::ALL {
        for protocol in Protocol::ALL {
            if !rows.iter().any(|row| (row.direction, row.protocol) == (direction, protocol) && row.seen.packets > 0) {
                missing.push(format!("no {protocol} frame was seen on {direction}"));
            }
        }
    }
    missing
}
