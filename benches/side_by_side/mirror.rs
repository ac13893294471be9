//! The mirror beside what else could mirror: the same traffic, the same collector, what each adds to a frame.

use ebmirror::lab::classbench::Random;
use ebmirror::lab::network::Host;
use ebmirror::model::interface::Direction;
use ebmirror::model::{Code, Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::Findings;
use super::flow::{Mix, strangers};
use super::lane::{Lane, SENDER, TAP, Tools, UNDERLAY, add_vxlan_sender, tool};
use super::measure::{Contender, Plan, Series, take_turns};
use super::plot::{Named, Plot, Style, draw};
use super::program::attach_clone;
use super::table::{Table, cell};
use super::tcp;
use super::traffic::{Live, Packet, Traffic, Udp};

/// Flows of the traffic that no rule chooses.
const FLOWS: u32 = 4096;
/// Frames that must arrive, decoded by the kernel, before anything is timed.
const PROOF_FRAMES: usize = 1024;
const UNDERLAY_MTU: u32 = 1500;

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

    /// How many packets reach the collector for each frame.
    fn copies(self) -> u64 {
        u64::from(self != Self::Nothing)
    }

    /// A lane where it is at work, proven to deliver what the kernel decodes, and which then ends at the sink. With
    /// `plain_nic` the underlay has no transmit offloads.
    pub fn lane(self, tools: &Tools, plain_nic: bool, cpu: usize, random: &mut Random) -> Result<Lane> {
        let mut lane = Lane::new(UNDERLAY_MTU)?;
        if plain_nic {
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
            Self::Ebmirror => lane.mirror(tools, &[])?,
            Self::Mirred => mirred(&lane.host)?,
            Self::Userspace => lane.mirror_from_userspace(other_cpu(cpu))?,
        }
        if !matches!(self, Self::Nothing | Self::Clone) {
            self.prove(&lane, cpu, random)?;
        }
        lane.sink()?;
        Ok(lane)
    }

    fn prove(self, lane: &Lane, cpu: usize, random: &mut Random) -> Result<()> {
        lane.receive()?;
        let traffic = Live::new(&strangers(FLOWS), Mix::Uniform, 60, random)?;
        let before = lane.received()?;
        traffic.send(lane, cpu, PROOF_FRAMES)?;
        let wanted = PROOF_FRAMES as u64;
        for _ in 0..200 {
            let received = lane.received()? - before;
            if received == wanted {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let received = lane.received()? - before;
        Err(Error::new(Code::Failed, format!("{}: {received} of {wanted} copies were decoded", self.name())))
    }
}

/// Another processor than the traffic's, where there is one.
fn other_cpu(cpu: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    (cpu + processors - 1) % processors
}

/// What people use today.
fn mirred(host: &Host) -> Result<()> {
    add_vxlan_sender(host)?;
    let mut lines = vec![format!("tc qdisc add dev {TAP} clsact")];
    for direction in Direction::ALL {
        lines.push(format!(
            "tc filter add dev {TAP} {direction} protocol all prio 1 u32 match u32 0 0 action mirred egress mirror dev {SENDER}"
        ));
    }
    lines.iter().try_for_each(|line| tool(host, line, "").map(|_| ()))
}

/// Traffic, and what it is called.
struct Workload {
    name: &'static str,
    traffic: Box<dyn Traffic>,
    series: Vec<Series>,
    /// In the plot too.
    drawn: bool,
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
        ]);
    }
    let series = || vec![Series::default(); Scenario::ALL.len()];
    Ok(all
        .into_iter()
        .enumerate()
        .map(|(place, (name, traffic))| Workload { name, traffic, series: series(), drawn: place < 3 })
        .collect())
}

/// The whole suite: its tables, and its document.
pub fn run(tools: &Tools, plan: Plan, rigs: usize, quick: bool, say: &dyn Fn(&str)) -> Result<Findings> {
    let mut random = Random::new(1);
    let mut all = workloads(quick, &mut random)?;
    let mut streams = tcp::Streams::new();
    for rig in 0..rigs {
        say(&format!("mirror: rig {} of {rigs}", rig + 1));
        let build = |plain_nic: bool, random: &mut Random| -> Result<Vec<Lane>> {
            Scenario::ALL.into_iter().map(|scenario| scenario.lane(tools, plain_nic, plan.cpu, random)).collect()
        };
        let lanes = build(false, &mut random)?;
        for round in 0..plan.rounds {
            for workload in &mut all {
                let contenders: Vec<Contender<'_>> = Scenario::ALL
                    .into_iter()
                    .zip(&lanes)
                    .map(|(scenario, lane)| Contender {
                        lane,
                        traffic: workload.traffic.as_ref(),
                        copies: scenario.copies(),
                    })
                    .collect();
                take_turns(&contenders, plan, rig * plan.rounds + round, &mut workload.series)?;
            }
        }
        let plain = build(true, &mut random)?;
        say("mirror: TCP streams");
        streams.measure(&[&lanes, &plain], quick, rig)?;
        for (scenario, lane) in Scenario::ALL.into_iter().zip(lanes.iter()).chain(Scenario::ALL.into_iter().zip(&plain))
        {
            if scenario == Scenario::Ebmirror {
                lane.close(tools)?;
            }
        }
    }
    let mut tables = vec![costs(&all)];
    tables.extend(streams.tables());
    let document = json!({ "frames": documents(&all), "streams": streams.document() });
    Ok(Findings { tables, plots: vec![plot(&all)?], document })
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
    let labels: Vec<String> =
        all.iter().filter(|workload| workload.drawn).map(|workload| workload.name.replace(" bytes", " B")).collect();
    let series: Vec<Named> = Scenario::ALL
        .into_iter()
        .enumerate()
        .skip(1)
        .map(|(place, scenario)| {
            let added = |workload: &Workload| workload.series[place].with_userspace().added(&workload.series[0]);
            (scenario.name().to_owned(), all.iter().filter(|workload| workload.drawn).map(added).collect())
        })
        .collect();
    let title = "What a mirror adds to a frame";
    draw("mirror", Style::Bars, title, ["traffic", "nanoseconds a frame"], &labels, &series)
}

fn documents(all: &[Workload]) -> Vec<Value> {
    let one = |workload: &Workload| {
        let rows = Scenario::ALL.into_iter().zip(&workload.series).map(|(scenario, series)| {
            json!({ "scenario": scenario, "nanoseconds": series.estimate(), "runs": series,
                "added": series.added(&workload.series[0]) })
        });
        json!({ "traffic": workload.name, "scenarios": rows.collect::<Vec<_>>() })
    };
    all.iter().map(one).collect()
}
