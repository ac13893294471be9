//! What the ratios of a run must reach, in one place: the bar, which is asked for, and the aim, which would be good.

use serde_json::{Value, json};

use super::statistics::Estimate;
use super::table::{Table, cell};

/// One quantity that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    LiveMirred,
    LiveClone,
    FramesMirred,
    StreamNothing,
    StreamMirred,
    StreamPlainNic,
    StreamWire,
    Fragments,
    FanOut,
    OtherDatagrams,
    OtherFrames,
    RulesZipf,
    RulesUniform,
    Userspace,
    Dead,
    RoundTripMedian,
    RoundTripTail,
    ApplyTime,
    ApplyRatio,
    TwoProcessors,
}

/// On which side of its bar a quantity is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    AtMost,
    AtLeast,
}

use Side::{AtLeast, AtMost};

/// What a bar is about, and how high it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Several quantities may belong to one workload.
    pub number: u32,
    pub workload: &'static str,
    pub quantity: &'static str,
    pub side: Side,
    pub bar: f64,
    pub aim: f64,
    /// With which it is written.
    pub decimals: usize,
}

impl Bar {
    pub const ALL: [Self; 20] = [
        Self::LiveMirred,
        Self::LiveClone,
        Self::FramesMirred,
        Self::StreamNothing,
        Self::StreamMirred,
        Self::StreamPlainNic,
        Self::StreamWire,
        Self::Fragments,
        Self::FanOut,
        Self::OtherDatagrams,
        Self::OtherFrames,
        Self::RulesZipf,
        Self::RulesUniform,
        Self::Userspace,
        Self::Dead,
        Self::RoundTripMedian,
        Self::RoundTripTail,
        Self::ApplyTime,
        Self::ApplyRatio,
        Self::TwoProcessors,
    ];

    /// The numbers: nowhere else.
    pub fn definition(self) -> Definition {
        let (number, workload, quantity, side, [bar, aim], decimals) = match self {
            Self::LiveMirred => (1, "XDP live frames, 60 bytes", "added C / D", AtMost, [0.75, 0.60], 2),
            Self::LiveClone => (2, "XDP live frames, 60 bytes", "added C / B", AtMost, [1.45, 1.20], 2),
            Self::FramesMirred => (3, "packet socket or UDP sender", "added C / D", AtMost, [0.85, 0.60], 2),
            Self::StreamNothing => (4, "TCP, offloads on", "Gbit/s C / A", AtLeast, [0.88, 0.95], 2),
            Self::StreamMirred => (5, "TCP, offloads on", "Gbit/s C / D", AtLeast, [3.0, 3.5], 2),
            Self::StreamPlainNic => (6, "TCP, plain NIC", "Gbit/s C / D", AtLeast, [1.8, 2.5], 2),
            Self::StreamWire => (7, "TCP, plain NIC, --gso wire", "Gbit/s C / D", AtLeast, [0.9, 1.3], 2),
            Self::Fragments => (8, "UDP, 1,472 bytes: two fragments", "added C / D", AtMost, [1.0, 0.65], 2),
            Self::FanOut => (9, "16 collectors", "added C / D", AtMost, [0.75, 0.50], 2),
            Self::OtherDatagrams => {
                (10, "10 rules, nothing selected, UDP sender", "pps / empty program", AtLeast, [0.97, 0.99], 3)
            }
            Self::OtherFrames => (
                10,
                "10 rules, nothing selected, XDP live frames",
                "added ns to empty program",
                AtMost,
                [25.0, 12.0],
                0,
            ),
            Self::RulesZipf => (11, "10,000 rules, Zipf", "added / with one rule", AtMost, [1.3, 1.1], 2),
            Self::RulesUniform => (11, "10,000 rules, uniform", "added / with one rule", AtMost, [1.8, 1.35], 2),
            Self::Userspace => (12, "processor time of a copy", "C / E", AtMost, [0.25, 0.12], 2),
            Self::Dead => (13, "dead collector", "pps / healthy", AtLeast, [0.97, 1.0], 3),
            Self::RoundTripMedian => (14, "request and response, 64 bytes", "p50 C / A", AtMost, [1.06, 1.03], 3),
            Self::RoundTripTail => (14, "request and response, 64 bytes", "p99 C / A", AtMost, [1.15, 1.06], 3),
            Self::ApplyTime => (15, "10,000 filters applied", "milliseconds", AtMost, [300.0, 80.0], 0),
            Self::ApplyRatio => (15, "10,000 filters applied", "time / tc -batch", AtMost, [2.0, 0.7], 2),
            Self::TwoProcessors => (16, "60 bytes, two processors", "added C, two / one", AtMost, [1.15, 1.03], 2),
        };
        Definition { number, workload, quantity, side, bar, aim, decimals }
    }
}

impl Side {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            AtMost => value <= limit,
            AtLeast => value >= limit,
        }
    }

    fn sign(self) -> char {
        match self {
            AtMost => '≤',
            AtLeast => '≥',
        }
    }
}

/// What a run has measured for a bar.
#[derive(Clone, Debug)]
pub struct Reading {
    bar: Bar,
    /// Which of the workloads of the bar it was, where there are several.
    on: String,
    /// None when no run counted.
    value: Option<Estimate>,
}

impl Reading {
    pub fn new(bar: Bar, on: impl Into<String>, value: Option<Estimate>) -> Self {
        Self { bar, on: on.into(), value }
    }

    /// Whether the median reaches the bar, and the aim.
    pub fn met(&self) -> [bool; 2] {
        let Definition { side, bar, aim, .. } = self.bar.definition();
        [bar, aim].map(|limit| self.value.is_some_and(|value| side.holds(value.median, limit)))
    }
}

/// All bars with what was measured for them, those that were not included.
pub fn table(readings: &[Reading]) -> Table {
    let head = ["#", "workload", "quantity", "bar", "aim", "measured", "bar met", "aim met"];
    let mut table = Table::new("Bars", &head).with_text(3);
    for bar in Bar::ALL {
        let Definition { number, workload, quantity, side, bar: limit, aim, decimals } = bar.definition();
        let mut row = |on: &str, rest: [String; 3]| {
            let workload = if on.is_empty() { workload.to_owned() } else { format!("{workload}: {on}") };
            let limits = [limit, aim].map(|limit| format!("{} {limit}", side.sign()));
            table.row(
                [number.to_string(), workload, quantity.to_owned()].into_iter().chain(limits).chain(rest).collect(),
            );
        };
        let mut found = readings.iter().filter(|reading| reading.bar == bar).peekable();
        if found.peek().is_none() {
            row("", ["not in this run".to_owned(), String::new(), String::new()]);
        }
        for reading in found {
            let [met, aimed] = reading.met().map(|met| if met { "yes" } else { "no" }.to_owned());
            row(&reading.on, [cell(reading.value, decimals), met, aimed]);
        }
    }
    table
}

/// The same for programs.
pub fn document(readings: &[Reading]) -> Vec<Value> {
    let one = |bar: Bar| {
        let Definition { number, workload, quantity, side, bar: limit, aim, .. } = bar.definition();
        let reading = |reading: &Reading| {
            let [met, aimed] = reading.met();
            json!({ "on": reading.on, "measured": reading.value, "met": met, "aim_met": aimed })
        };
        let found: Vec<Value> = readings.iter().filter(|reading| reading.bar == bar).map(reading).collect();
        let side = if side == AtMost { "at_most" } else { "at_least" };
        json!({ "number": number, "workload": workload, "quantity": quantity, "side": side, "bar": limit, "aim": aim,
            "readings": found })
    };
    Bar::ALL.into_iter().map(one).collect()
}
