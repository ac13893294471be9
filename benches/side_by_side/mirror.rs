//! The mirror beside what else could mirror: the same traffic, the same collector, what each adds to a frame.

use std::time::Duration;

use ebmirror::lab::network::Host;
use ebmirror::lab::random::Random;
use ebmirror::model::interface::Direction;
use ebmirror::model::{Code, Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::Findings;
use super::flow::{Mix, strangers};
use super::lane::{Lane, TAP, Tools, UNDERLAY, add_vxlan_sender, tool};
use super::measure::{Contender, Plan, Series, take_turns};
use super::plot::{Named, Plot, Style, draw};
use super::program::attach_clone;
use super::table::{Table, cell};
use super::tcp;
use super::traffic::{Live, Packet, Pair, Traffic, Udp, other_cpu};

/// Flows of the traffic that no rule chooses.
const FLOWS: u32 = 4096;
/// Frames that must arrive, decoded by the kernel, before anything is timed.
const PROOF_FRAMES: usize = 1024;
const UNDERLAY_MTU: u32 = 1500;
/// So many of the workloads are in the plot, the first ones.
const DRAWN: usize = 3;
/// Who copies to many collectors, and to how many.
const FAN_OUT: [Scenario; 3] = [Scenario::Nothing, Scenario::Ebmirror, Scenario::Mirred];
const FAN_PEERS: u32 = 16;
/// With one sender on each of two processors, and how many of the scenarios, the first ones: a mirror in user space would have
/// no processor left.
const PAIR: &str = "packet socket, ingress, 60 bytes";
const PAIR_SCENARIOS: usize = 4;
const FAN: &str = "XDP live frames, 60 bytes";

/// Who mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// A: nobody. What the others add is measured against it.
    Nothing,
    /// B: a program that clones the frame to the underlay as it is: the floor of what a clone costs.
    Clone,
    /// C: ebmirror, VXLAN.
    Ebmirror,
    /// D: a `u32` filter that matches all, and `mirred` into a vxlan device.
    Mirred,
    /// E: a program in user space that reads a ring and sends datagrams, on a processor of its own.
    Userspace,
}

/// What a lane is like.
#[derive(Clone, Copy, Debug)]
struct Setup {
    /// The processor of the traffic.
    cpu: usize,
    /// The underlay has no transmit offloads.
    plain_nic: bool,
    /// How many collectors there are.
    peers: u32,
}

impl Scenario {
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Clone, Self::Ebmirror, Self::Mirred, Self::Userspace];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "A nothing",
            Self::Clone => "B bare clone",
            Self::Ebmirror => "C ebmirror",
            Self::Mirred => "D u32 + mirred",
            Self::Userspace => "E user space",
        }
    }

    /// How many copies of a frame reach the collector.
    fn copies(self, peers: u32) -> u64 {
        if self == Self::Nothing { 0 } else { peers.into() }
    }

    /// A lane where it is at work, proven to deliver what the kernel decodes, and which then ends at the sink.
    fn lane(self, tools: &Tools, setup: Setup, random: &mut Random) -> Result<Lane> {
        let mut lane = Lane::new(UNDERLAY_MTU)?;
        if setup.plain_nic {
            lane.host.offloads_off(UNDERLAY)?;
        }
        match self {
            Self::Nothing => {}
            Self::Clone => {
                for direction in Direction::ALL {
                    let attached = attach_clone(&lane.host, TAP, direction, UNDERLAY)?;
                    lane.keep(attached);
                }
            }
            Self::Ebmirror => lane.mirror(tools, setup.peers)?,
            Self::Mirred => mirred(&lane.host, setup.peers)?,
            Self::Userspace => lane.mirror_from_userspace(other_cpu(setup.cpu))?,
        }
        if !matches!(self, Self::Nothing | Self::Clone) {
            self.prove(&lane, setup, random)?;
        }
        lane.sink()?;
        Ok(lane)
    }

    fn prove(self, lane: &Lane, setup: Setup, random: &mut Random) -> Result<()> {
        lane.receive()?;
        let traffic = Live::new(&strangers(FLOWS), Mix::Uniform, 60, random)?.copied(setup.peers);
        loop {
            let (before, dropped) = (lane.received()?, queue_drops());
            traffic.send(lane, setup.cpu, PROOF_FRAMES)?;
            let received = settled(lane)? - before;
            let dropped = queue_drops() - dropped;
            match (received as usize == PROOF_FRAMES, dropped) {
                (true, _) => return Ok(()),
                // The queue is the whole machine's: somebody else has filled it.
                (false, 1..) => {}
                (false, 0) => {
                    let what = format!("{}: {received} of {PROOF_FRAMES} copies were decoded", self.name());
                    return Err(Error::new(Code::Failed, what));
                }
            }
        }
    }
}

/// What the kernel's own receiver has decoded, once nothing comes any more.
fn settled(lane: &Lane) -> Result<u64> {
    let mut last = lane.received()?;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let received = lane.received()?;
        if received == last {
            return Ok(last);
        }
        last = received;
    }
}

/// Packets that the queues of all processors had no room for.
fn queue_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    text.lines().filter_map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok()).sum()
}

/// What people use today: one filter, with an action for each collector.
fn mirred(host: &Host, peers: u32) -> Result<()> {
    let devices = (0..peers).map(|number| add_vxlan_sender(host, number)).collect::<Result<Vec<_>>>()?;
    let actions: String = devices.iter().map(|device| format!(" action mirred egress mirror dev {device}")).collect();
    tool(host, &format!("tc qdisc add dev {TAP} clsact"), "")?;
    for direction in Direction::ALL {
        let add = format!("tc filter add dev {TAP} {direction} protocol all prio 1 u32 match u32 0 0{actions}");
        tool(host, &add, "")?;
    }
    Ok(())
}

/// Traffic, and what it is called.
struct Workload {
    name: &'static str,
    traffic: Box<dyn Traffic>,
    series: Vec<Series>,
}

impl Workload {
    fn new(name: &'static str, traffic: Box<dyn Traffic>, scenarios: &[Scenario]) -> Self {
        Self { name, traffic, series: vec![Series::default(); scenarios.len()] }
    }

    fn round(&mut self, scenarios: &[Scenario], lanes: &[Lane], peers: u32, plan: Plan, round: usize) -> Result<()> {
        let contender = |(scenario, lane): (&Scenario, _)| {
            let copies = scenario.copies(peers);
            Contender { lane, traffic: self.traffic.as_ref(), copies }
        };
        let contenders: Vec<Contender<'_>> = scenarios.iter().zip(lanes).map(contender).collect();
        take_turns(&contenders, plan, round, &mut self.series)
    }
}

fn workloads(quick: bool, random: &mut Random) -> Result<Vec<Workload>> {
    let flows = strangers(FLOWS);
    let live = |length, random: &mut Random| -> Result<Box<dyn Traffic>> {
        Ok(Box::new(Live::new(&flows, Mix::Uniform, length, random)?))
    };
    let packet = |length, direction| -> Box<dyn Traffic> { Box::new(Packet::new(&flows, length, direction)) };
    let udp = |length, direction| -> Box<dyn Traffic> { Box::new(Udp { direction, length }) };
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let mut all = vec![
        ("XDP live frames, 60 bytes", live(60, random)?),
        ("packet socket, ingress, 60 bytes", packet(60, ingress)),
        ("UDP, egress, 60 bytes", udp(60, egress)),
    ];
    if !quick {
        all.extend([
            ("XDP live frames, 1,400 bytes", live(1400, random)?),
            ("packet socket, ingress, 1,400 bytes", packet(1400, ingress)),
            ("packet socket, egress, 60 bytes", packet(60, egress)),
            ("packet socket, egress, 1,400 bytes", packet(1400, egress)),
            ("UDP, ingress, 60 bytes", udp(60, ingress)),
            ("UDP, ingress, 1,400 bytes", udp(1400, ingress)),
            ("UDP, egress, 1,400 bytes", udp(1400, egress)),
            ("UDP, ingress, 1,514 bytes: two fragments a copy", udp(1514, ingress)),
        ]);
    }
    Ok(all.into_iter().map(|(name, traffic)| Workload::new(name, traffic, &Scenario::ALL)).collect())
}

/// The whole suite: its tables, its plot and its document.
pub fn run(tools: &Tools, plan: Plan, rigs: usize, quick: bool, say: &dyn Fn(&str)) -> Result<Findings> {
    let mut random = Random::new(1);
    let mut all = workloads(quick, &mut random)?;
    let copied = Live::new(&strangers(FLOWS), Mix::Uniform, 60, &mut random)?.copied(FAN_PEERS);
    let mut fan = Workload::new(FAN, Box::new(copied), &FAN_OUT);
    let packets = Packet::new(&strangers(FLOWS), 60, Direction::Ingress);
    let mut pair = Workload::new(PAIR, Box::new(Pair(packets)), &Scenario::ALL[..PAIR_SCENARIOS]);
    let mut streams = tcp::Streams::new();
    let plain = Setup { cpu: plan.cpu, plain_nic: false, peers: 1 };
    for rig in 0..rigs {
        say(&format!("mirror: rig {} of {rigs}", rig + 1));
        let mut build = |scenarios: &[Scenario], setup: Setup| -> Result<Vec<Lane>> {
            scenarios.iter().map(|scenario| scenario.lane(tools, setup, &mut random)).collect()
        };
        let lanes = build(&Scenario::ALL, plain)?;
        let fan_lanes = build(&FAN_OUT, Setup { peers: FAN_PEERS, ..plain })?;
        let nic_lanes = build(&Scenario::ALL, Setup { plain_nic: true, ..plain })?;
        for round in 0..plan.rounds {
            let round = rig * plan.rounds + round;
            for workload in &mut all {
                workload.round(&Scenario::ALL, &lanes, 1, plan, round)?;
            }
            pair.round(&Scenario::ALL[..PAIR_SCENARIOS], &lanes, 2, plan, round)?;
            fan.round(&FAN_OUT, &fan_lanes, FAN_PEERS, plan, round)?;
        }
        say("mirror: TCP streams");
        streams.measure(&[&lanes, &nic_lanes], quick, rig)?;
        let built = [(&Scenario::ALL[..], &lanes), (&FAN_OUT[..], &fan_lanes), (&Scenario::ALL[..], &nic_lanes)];
        for (scenarios, lanes) in built {
            for (_, lane) in scenarios.iter().zip(lanes).filter(|(scenario, _)| **scenario == Scenario::Ebmirror) {
                lane.close(tools)?;
            }
        }
    }
    let mut tables = vec![costs(&all), two_processors(&all, &pair), fan_out(&fan)];
    tables.extend(streams.tables());
    let document = json!({
        "frames": documents(&Scenario::ALL, &all), "fan_out": documents(&FAN_OUT, std::slice::from_ref(&fan)),
        "two_processors": documents(&Scenario::ALL[..PAIR_SCENARIOS], std::slice::from_ref(&pair)),
        "streams": streams.document(),
    });
    Ok(Findings { tables, plots: vec![plot(&all)?], document })
}

/// One sender, and one on each of two processors.
fn two_processors(all: &[Workload], pair: &Workload) -> Table {
    let mut table = Table::new(
        format!("{PAIR}: added cost on one processor and on each of two, nanoseconds a frame (median, 95 % interval)"),
        &["", "one", "each of two", "two / one"],
    );
    let Some(one) = all.iter().find(|workload| workload.name == PAIR) else { return table };
    let rows = Scenario::ALL.into_iter().zip(one.series.iter().zip(&pair.series)).skip(1);
    for (scenario, (single, both)) in rows {
        let (single, both) = (single.difference(&one.series[0]), both.difference(&pair.series[0]));
        table.row(vec![
            scenario.name().to_owned(),
            cell(single.estimate(), 0),
            cell(both.estimate(), 0),
            cell(both.with(&single, |both, single| both / single), 2),
        ]);
    }
    table
}

/// Many collectors.
fn fan_out(fan: &Workload) -> Table {
    let mut table = Table::new(
        format!("{FAN_PEERS} collectors: added cost, nanoseconds a frame (median, 95 % interval)"),
        &["traffic", "A takes", "C adds", "D adds", "C / D"],
    );
    if let [nothing, ebmirror, mirred] = &fan.series[..] {
        table.row(vec![
            fan.name.to_owned(),
            cell(nothing.estimate(), 0),
            cell(ebmirror.added(nothing), 0),
            cell(mirred.added(nothing), 0),
            cell(ebmirror.added_ratio(nothing, mirred), 2),
        ]);
    }
    table
}

/// What each adds, and how ebmirror compares.
fn costs(all: &[Workload]) -> Table {
    let mut table = Table::new(
        "Added cost, nanoseconds a frame (median, 95 % interval)",
        &["traffic", "A takes", "B adds", "C adds", "D adds", "C / B", "C / D", "E uses", "C / E"],
    );
    for Workload { name, series, .. } in all {
        let [nothing, clone, ebmirror, mirred, userspace] = &series[..] else { continue };
        table.row(vec![
            (*name).to_owned(),
            cell(nothing.estimate(), 0),
            cell(clone.added(nothing), 0),
            cell(ebmirror.added(nothing), 0),
            cell(mirred.added(nothing), 0),
            cell(ebmirror.added_ratio(nothing, clone), 2),
            cell(ebmirror.added_ratio(nothing, mirred), 2),
            cell(userspace.with_userspace().added(nothing), 0),
            cell(ebmirror.added_ratio(nothing, &userspace.with_userspace()), 2),
        ]);
    }
    table
}

fn plot(all: &[Workload]) -> Result<Plot> {
    let all = &all[..all.len().min(DRAWN)];
    let labels: Vec<String> = all.iter().map(|workload| workload.name.replace(" bytes", " B")).collect();
    let series: Vec<Named> = Scenario::ALL
        .into_iter()
        .enumerate()
        .skip(1)
        .map(|(place, scenario)| {
            let added = |workload: &Workload| workload.series[place].with_userspace().added(&workload.series[0]);
            (scenario.name().to_owned(), all.iter().map(added).collect())
        })
        .collect();
    let title = "What a mirror adds to a frame";
    draw("mirror", Style::Bars, title, ["traffic", "nanoseconds a frame"], &labels, &series)
}

fn documents(scenarios: &[Scenario], all: &[Workload]) -> Vec<Value> {
    let one = |workload: &Workload| {
        let rows = scenarios.iter().zip(&workload.series).map(|(scenario, series)| {
            json!({ "scenario": scenario, "nanoseconds": series.estimate(), "runs": series,
                "added": series.added(&workload.series[0]) })
        });
        json!({ "traffic": workload.name, "scenarios": rows.collect::<Vec<_>>() })
    };
    all.iter().map(one).collect()
}
