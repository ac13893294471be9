//! One TCP stream of iperf3 through the tap, and whether all its bytes arrived at the collector.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ebmirror::lab::sandbox::die_with_parent;
use ebmirror::model::{Code, Error, Result};
use serde_json::{Value, json};

use super::bars::{Bar, Reading};
use super::lane::{HOST, Lane, TAP, UNDERLAY_MTU, tool};
use super::scenario::Scenario::{self, Ebmirror, Mirred, Nothing, Wire};
use super::schedule::order;
use super::statistics::{Estimate, estimate};
use super::table::{Table, cell};

/// Ethernet, IPv4, TCP with time stamps.
const STREAM_HEADERS: u64 = 66;
/// VXLAN over IPv4.
const TUNNEL_HEADERS: u64 = 50;
/// Ethernet and IPv4: all that a later fragment has.
const FRAGMENT_HEADERS: u64 = 34;
/// Of the payload may be missing: what was in flight when the counters were read, and headers with more options.
const TOLERANCE: f64 = 0.001;
const ATTEMPTS: usize = 3;
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where iperf3 puts its buffers: the sandbox's directory for such things is too small.
const BUFFERS: &str = "/dev/shm";

/// A way to the collectors, and who takes turns on it. A mirror in user space is none of them: a super-packet fits into no
/// datagram.
pub struct Underlay {
    pub name: &'static str,
    pub plain_nic: bool,
    pub mtu: u32,
    /// The collector's own stack decodes the copies, on the processors that carry the stream.
    pub decoded: bool,
    pub scenarios: &'static [Scenario],
}

/// As cables and cards come: the tunnel's headers do not fit.
const OFFLOADS: Underlay = Underlay {
    name: "offloads on",
    plain_nic: false,
    mtu: UNDERLAY_MTU,
    decoded: false,
    scenarios: &[Nothing, Scenario::Clone, Ebmirror, Mirred],
};
/// The kernel cuts super-packets and finishes checksums in front of the card.
const PLAIN_NIC: Underlay = Underlay {
    name: "plain NIC",
    plain_nic: true,
    scenarios: &[Nothing, Scenario::Clone, Ebmirror, Mirred, Wire],
    ..OFFLOADS
};
/// With room for the tunnel's headers, which spares the others the fragments.
const JUMBO: Underlay = Underlay { name: "offloads on, MTU 9000", mtu: 9000, scenarios: COMPARED, ..OFFLOADS };
/// What a collector on the same machine would take.
const DECODED: Underlay =
    Underlay { name: "offloads on, collector decodes", decoded: true, scenarios: COMPARED, ..OFFLOADS };
const COMPARED: &[Scenario] = &[Nothing, Ebmirror, Mirred];

/// All of them; or those that bars are about, and who is compared there.
pub fn underlays(quick: bool) -> Vec<Underlay> {
    if quick {
        let offloads = Underlay { scenarios: COMPARED, ..OFFLOADS };
        vec![offloads, Underlay { scenarios: &[Nothing, Ebmirror, Mirred, Wire], ..PLAIN_NIC }]
    } else {
        vec![OFFLOADS, PLAIN_NIC, JUMBO, DECODED]
    }
}

/// Who is in the table and the plot, in this order.
pub const SHOWN: [Scenario; 5] = [Nothing, Scenario::Clone, Ebmirror, Wire, Mirred];

/// Gbit/s of each scenario of an underlay, a number a round.
pub struct Streams {
    underlay: Underlay,
    rates: Vec<Vec<f64>>,
    discarded: usize,
}

impl Streams {
    pub fn new(underlay: Underlay) -> Self {
        Self { rates: vec![Vec::new(); underlay.scenarios.len()], underlay, discarded: 0 }
    }

    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    /// A turn of each, over these lanes.
    pub fn round(&mut self, lanes: &[Lane], seconds: u32, round: usize) -> Result<()> {
        for place in order(self.underlay.scenarios.len(), round) {
            let mut rate = f64::NAN;
            for _ in 0..ATTEMPTS {
                if let Some(found) = stream(&lanes[place], &self.underlay, self.underlay.scenarios[place], seconds)? {
                    rate = found;
                    break;
                }
                self.discarded += 1;
            }
            self.rates[place].push(rate);
        }
        Ok(())
    }

    fn rates(&self, scenario: Scenario) -> Option<&Vec<f64>> {
        let place = self.underlay.scenarios.iter().position(|other| *other == scenario)?;
        self.rates.get(place)
    }

    /// Of a scenario that took part.
    pub fn rate(&self, scenario: Scenario) -> Option<Estimate> {
        estimate(self.rates(scenario)?.iter().copied())
    }

    /// How many times as fast, where both were measured.
    fn ratio(&self, these: Scenario, those: Scenario) -> Option<Option<Estimate>> {
        let (these, those) = (self.rates(these)?, self.rates(those)?);
        Some(estimate(these.iter().zip(those).map(|(this, that)| this / that)))
    }

    pub fn readings(&self) -> Vec<Reading> {
        let bars: &[(Bar, Scenario, Scenario)] = match &self.underlay {
            Underlay { plain_nic: false, mtu: UNDERLAY_MTU, decoded: false, .. } => {
                &[(Bar::StreamNothing, Ebmirror, Nothing), (Bar::StreamMirred, Ebmirror, Mirred)]
            }
            Underlay { plain_nic: true, .. } => {
                &[(Bar::StreamPlainNic, Ebmirror, Mirred), (Bar::StreamWire, Wire, Mirred)]
            }
            Underlay { .. } => &[],
        };
        bars.iter()
            .filter_map(|(bar, these, those)| Some(Reading::new(*bar, "", self.ratio(*these, *those)?)))
            .collect()
    }

    pub fn table(all: &[Self]) -> Table {
        let mut table = Table::new(
            "One TCP stream, Gbit/s (median, 95 % interval)",
            &["underlay", "A", "B", "C", "C wire", "D", "C / A", "C / D", "C wire / D"],
        );
        for streams in all {
            let mut row = vec![streams.underlay.name.to_owned()];
            for scenario in SHOWN {
                let rates = streams.rates(scenario);
                row.push(rates.map_or(String::new(), |rates| cell(estimate(rates.iter().copied()), 1)));
            }
            for (these, those) in [(Ebmirror, Nothing), (Ebmirror, Mirred), (Wire, Mirred)] {
                row.push(streams.ratio(these, those).map_or(String::new(), |ratio| cell(ratio, 2)));
            }
            table.row(row);
        }
        table
    }

    pub fn document(&self) -> Value {
        let rows = self.underlay.scenarios.iter().zip(&self.rates).map(
            |(scenario, rates)| json!({ "scenario": scenario, "gbit": estimate(rates.iter().copied()), "runs": rates }),
        );
        json!({ "underlay": self.underlay.name, "mtu": self.underlay.mtu, "decoded": self.underlay.decoded, "discarded": self.discarded,
            "scenarios": rows.collect::<Vec<_>>() })
    }
}

/// Gbit/s of a stream from client to host; `None` when a part of it did not arrive at the collector.
fn stream(lane: &Lane, underlay: &Underlay, scenario: Scenario, seconds: u32) -> Result<Option<f64>> {
    let server = Server::start(lane)?;
    let (device, arrived) = (lane.host.link(TAP)?, lane.arrived()?);
    let before = received_bytes(lane)?;
    // The client and the server on a processor each, whatever the machine has more.
    let line = format!("env TMPDIR={BUFFERS} iperf3 --client {HOST} --time {seconds} --json --affinity 0,1");
    let (report, _) = tool(&lane.client, &line, "")?;
    drop(server);
    let report: Value = serde_json::from_str(&report).unwrap_or_default();
    let Some(rate) = report.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64) else {
        return Err(Error::new(Code::Failed, format!("{line}: no rate in what it reported")));
    };
    let original = {
        let packets = lane.host.link(TAP)?.rx_packets - device.rx_packets;
        (received_bytes(lane)? - before).saturating_sub(packets * STREAM_HEADERS)
    };
    let copied = {
        let tunnelled = scenario != Scenario::Clone && !underlay.decoded;
        let headers = STREAM_HEADERS + if tunnelled { TUNNEL_HEADERS } else { 0 };
        let arrived = lane.arrived()? - arrived;
        arrived.bytes.saturating_sub(arrived.copies() * headers + arrived.fragments * FRAGMENT_HEADERS)
    };
    let whole = scenario == Nothing || copied as f64 >= original as f64 * (1.0 - TOLERANCE);
    Ok(whole.then_some(rate / 1e9))
}

/// Bytes that the tap's device has received: a super-packet has one set of headers.
fn received_bytes(lane: &Lane) -> Result<u64> {
    let text = lane
        .host
        .attempt("reading the counters of the devices", || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{TAP}:")));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| Error::new(Code::NotFound, format!("the host has no counters of {TAP}")))
}

/// An iperf3 that serves one client.
struct Server(Child);

impl Server {
    fn start(lane: &Lane) -> Result<Self> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", lane.host.path()));
        command.env("TMPDIR", BUFFERS).args(["iperf3", "--server", "--one-off", "--bind", HOST]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        die_with_parent(&mut command);
        let child = command.spawn().map_err(|error| Error::io("run iperf3", &error))?;
        let mut server = Self(child);
        let deadline = Instant::now() + READY_TIMEOUT;
        // Port 5201 in state 0A, LISTEN.
        let listens =
            || std::fs::read_to_string("/proc/thread-self/net/tcp").map(|text| text.contains(":1451 00000000:0000 0A"));
        while !lane.host.attempt("looking for a listening socket", listens)? {
            let ended = server.0.try_wait().ok().flatten();
            if Instant::now() > deadline || ended.is_some() {
                return Err(Error::new(Code::Failed, "iperf3 does not listen").hint("install the package iperf3"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
