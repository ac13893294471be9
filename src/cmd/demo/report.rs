//! What the demo found, for people and for scripts.

use serde::Serialize;
use serde_json::Value;

use crate::lab::compare::WireSize;
use crate::lab::parse::Protocol;
use crate::model::interface::Direction;
use crate::output::{JsonStyle, Report, document, table};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// Nothing is wrong.
    pub(super) passed: bool,
    pub(super) frames: Vec<Row>,
    pub(super) problems: Vec<String>,
    /// The counters of the peer and of the interface, as `stats` gives them.
    pub(super) peer: Value,
    pub(super) interfaces: Value,
    pub(super) unaccounted: Value,
    /// Frames that the kernel's own VXLAN device delivered; null when this kernel has none.
    pub(super) kernel_decoder: Option<usize>,
    /// Captured originals that stand for several frames on the wire.
    pub(super) super_packets: usize,
    #[serde(skip)]
    pub(super) vni: u32,
    /// Outer packets at the collector; a super-packet is one.
    #[serde(skip)]
    pub(super) copies: usize,
    #[serde(skip)]
    pub(super) lines: Vec<Shown>,
}

/// One direction and protocol. Frames on the wire: a super-packet counts its segments.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
    /// Originals, on the mirrored interface.
    pub(super) seen: WireSize,
    /// Copies, at the collector.
    pub(super) arrived: WireSize,
    /// Originals whose copy is the same to the last byte.
    pub(super) identical: WireSize,
}

/// A copy to show.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) direction: Direction,
    pub(super) identical: bool,
    pub(super) summary: String,
}

impl Row {
    pub(super) fn new(direction: Direction, protocol: Protocol) -> Self {
        let none = WireSize::default();
        Self { direction, protocol, seen: none, arrived: none, identical: none }
    }
}

impl Findings {
    fn total(&self, of: impl Fn(&Row) -> WireSize) -> u64 {
        self.frames.iter().map(|row| of(row).packets).sum()
    }

    fn peer_packets(&self, key: &str) -> String {
        let packets = self.peer.get(key).and_then(|counter| counter.get("packets")).and_then(Value::as_u64);
        packets.map_or_else(|| "?".into(), |packets| packets.to_string())
    }

    fn table(&self) -> String {
        let total = [self.total(|row| row.seen), self.total(|row| row.arrived), self.total(|row| row.identical)];
        let rows = self.frames.iter().map(|row| {
            let numbers = [row.seen.packets, row.arrived.packets, row.identical.packets, row.seen.bytes];
            let mut cells = vec![row.direction.to_string(), row.protocol.to_string()];
            cells.extend(numbers.map(|number| number.to_string()));
            cells
        });
        let bytes: u64 = self.frames.iter().map(|row| row.seen.bytes).sum();
        let mut last = vec!["both".to_owned(), "all".to_owned()];
        last.extend(total.map(|number| number.to_string()));
        last.push(bytes.to_string());
        table(&["direction", "protocol", ">seen", ">arrived", ">identical", ">bytes"], rows.chain([last]))
    }

    fn verdict(&self) -> String {
        if self.passed {
            let seen = self.total(|row| row.seen);
            return format!(
                "PASS: each of {seen} frames arrived once, identical to the last byte, and the books balance\n"
            );
        }
        let mut text = "FAIL:\n".to_owned();
        for problem in &self.problems {
            text += &format!("  {problem}\n");
        }
        text
    }
}

impl Report for Findings {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("demo", self, style)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.lines.is_empty() {
            text += &format!(
                "\nOut of the tunnel, at the collector (VNI {}; the first {} of {} packets):\n",
                self.vni,
                self.lines.len(),
                self.copies
            );
        }
        for line in &self.lines {
            let mark = if line.identical { "" } else { "  (not as it was sent)" };
            text += &format!("  {:<7}  {}{mark}\n", line.direction.to_string(), line.summary);
        }
        text += "\nFrames on the wire (a TCP super-packet counts its segments):\n";
        text += &self.table();
        let segments = |of: fn(&Row) -> WireSize| -> u64 {
            self.frames.iter().filter(|row| row.protocol == Protocol::Tcp).map(|row| of(row).packets).sum()
        };
        let (seen, arrived) = (segments(|row| row.seen), segments(|row| row.arrived));
        if self.passed && seen != arrived {
            text += &format!(
                "The {seen} TCP segments came as {arrived}, so that they fit with the outer headers; compared byte by byte.\n"
            );
        }
        text += &format!(
            "\nThe tap: {} super-packets among the originals.  The peer: selected {}, sent {}, lost {}; unaccounted {}.\n",
            self.super_packets,
            self.peer_packets("selected"),
            self.peer_packets("sent"),
            self.peer_packets("lost"),
            self.unaccounted
        );
        text += &match self.kernel_decoder {
            Some(frames) => format!("The kernel's own VXLAN device took {frames} packets out of the tunnel as well.\n"),
            None => "This kernel has no VXLAN device: the copies were decoded by this program alone.\n".to_owned(),
        };
        text + &self.verdict()
    }

    fn exit(&self) -> u8 {
        u8::from(!self.passed)
    }
}
