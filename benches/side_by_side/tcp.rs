//! One TCP stream of iperf3 through the tap, and whether all its bytes arrived at the collector.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ebmirror::lab::sandbox::die_with_parent;
use ebmirror::model::{Code, Error, Result};
use serde_json::{Value, json};

use super::lane::{HOST, Lane, TAP, tool};
use super::mirror::Scenario;
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

/// A mirror in user space is none of them: a super-packet fits into no datagram.
const SCENARIOS: [Scenario; 4] = [Scenario::Nothing, Scenario::Clone, Scenario::Ebmirror, Scenario::Mirred];

/// How the underlay behaves.
const UNDERLAYS: [&str; 2] = ["offloads on", "plain NIC"];

/// Gbit/s of each scenario with each underlay, a number a round.
pub struct Streams {
    rates: Vec<Vec<Vec<f64>>>,
    discarded: usize,
}

impl Streams {
    pub fn new() -> Self {
        Self { rates: vec![vec![Vec::new(); SCENARIOS.len()]; UNDERLAYS.len()], discarded: 0 }
    }

    /// Some rounds over these lanes, by underlay and scenario.
    pub fn measure(&mut self, lanes: &[&Vec<Lane>], quick: bool, rig: usize) -> Result<()> {
        let (rounds, seconds) = if quick { (2, 1) } else { (10, 2) };
        for round in 0..rounds {
            for (underlay, lanes) in lanes.iter().enumerate() {
                for place in order(SCENARIOS.len(), rig * rounds + round) {
                    let mut rate = f64::NAN;
                    for _ in 0..ATTEMPTS {
                        if let Some(found) = stream(&lanes[place], SCENARIOS[place], seconds)? {
                            rate = found;
                            break;
                        }
                        self.discarded += 1;
                    }
                    self.rates[underlay][place].push(rate);
                }
            }
        }
        Ok(())
    }

    pub fn tables(&self) -> Vec<Table> {
        let mut table = Table::new(
            "One TCP stream, Gbit/s (median, 95 % interval)",
            &["underlay", "A", "B", "C", "D", "C / A", "C / D"],
        );
        for (name, rates) in UNDERLAYS.iter().zip(&self.rates) {
            let mut row = vec![(*name).to_owned()];
            row.extend(rates.iter().map(|rates| cell(estimate(rates.iter().copied()), 1)));
            row.push(cell(ratio(&rates[2], &rates[0]), 2));
            row.push(cell(ratio(&rates[2], &rates[3]), 2));
            table.row(row);
        }
        vec![table]
    }

    pub fn document(&self) -> Value {
        let underlay = |(name, rates): (&&str, &Vec<Vec<f64>>)| {
            let rows = SCENARIOS.into_iter().zip(rates).map(|(scenario, rates)| {
                json!({ "scenario": scenario, "gbit": estimate(rates.iter().copied()), "runs": rates })
            });
            json!({ "underlay": name, "scenarios": rows.collect::<Vec<_>>() })
        };
        json!({ "discarded": self.discarded, "underlays": UNDERLAYS.iter().zip(&self.rates).map(underlay).collect::<Vec<_>>() })
    }
}

fn ratio(these: &[f64], those: &[f64]) -> Option<Estimate> {
    estimate(these.iter().zip(those).map(|(this, that)| this / that))
}

/// Gbit/s of a stream from client to host; `None` when a part of it did not arrive at the collector.
fn stream(lane: &Lane, scenario: Scenario, seconds: u32) -> Result<Option<f64>> {
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
        let headers = STREAM_HEADERS + if scenario == Scenario::Clone { 0 } else { TUNNEL_HEADERS };
        let arrived = lane.arrived()? - arrived;
        arrived.bytes.saturating_sub(arrived.copies() * headers + arrived.fragments * FRAGMENT_HEADERS)
    };
    let whole = scenario == Scenario::Nothing || copied as f64 >= original as f64 * (1.0 - TOLERANCE);
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
