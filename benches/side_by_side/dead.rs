//! Collectors that do not answer: what production keeps of its speed, and whether the books name the losses.

use ebmirror::lab::random::Random;
use ebmirror::model::interface::Direction;
use ebmirror::model::{Code, Error, Result};
use serde_json::{Value, json};

use super::bars::{Bar, Reading};
use super::flow::{Mix, strangers};
use super::lane::{COLLECTOR, Lane, TAP, Tools, UNDERLAY, UNDERLAY_MTU, tool};
use super::measure::{Contender, Plan, Proof, Series, take_turns};
use super::scenario::FLOWS;
use super::table::{Table, cell, cell_or};
use super::traffic::{Live, Packet, Traffic, Udp};

/// On the underlay's network, and nobody's.
const NOBODY: &str = "10.2.0.99";
/// Reasons that say what is the matter.
const REASONS: [&str; 2] = ["no_neighbour", "no_route"];
/// Copies that may be sent for each that is lost: now and then one goes out to find the neighbour.
const PROBES: f64 = 0.01;

/// Why a collector is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    NoNeighbour,
    /// The device is up, and the cable is out.
    NoCarrier,
    /// The device is down.
    Down,
}

impl Death {
    const ALL: [Self; 3] = [Self::NoNeighbour, Self::NoCarrier, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::NoNeighbour => "no neighbour",
            Self::NoCarrier => "no carrier",
            Self::Down => "link down",
        }
    }

    fn lane(self, tools: &Tools) -> Result<Lane> {
        let lane = Lane::new(UNDERLAY_MTU)?;
        tools.ebmirror(&lane.host, &["attach", TAP], "")?;
        let remote = if self == Self::NoNeighbour { NOBODY } else { COLLECTOR };
        lane.add_peer(tools, 0, remote, &[])?;
        match self {
            Self::NoNeighbour => {}
            Self::NoCarrier => {
                // What a lane knows for good outlives a carrier; what a host has found out does not.
                tool(&lane.host, &format!("ip neigh del {COLLECTOR} dev {UNDERLAY}"), "")?;
                tool(&lane.collector, &format!("ip link set {TAP} down"), "")?;
            }
            Self::Down => drop(tool(&lane.host, &format!("ip link set {UNDERLAY} down"), "")?),
        }
        Ok(lane)
    }
}

/// What the books of a lane's one peer say, in packets.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    selected: u64,
    sent: u64,
    /// For the reasons that say what is the matter.
    named: u64,
    unaccounted: i64,
}

impl Losses {
    pub fn read(tools: &Tools, lane: &Lane) -> Result<Self> {
        let (document, _) = tools.ebmirror(&lane.host, &["stats"], "")?;
        let peer = |path: &str| document.pointer(&format!("/peers/0/{path}/packets")).and_then(Value::as_u64);
        let (selected, sent) = (peer("selected"), peer("sent"));
        let named = REASONS.iter().filter_map(|reason| peer(&format!("reasons/{reason}"))).sum();
        match (selected, sent, document["unaccounted"].as_i64()) {
            (Some(selected), Some(sent), Some(unaccounted)) => Ok(Self { selected, sent, named, unaccounted }),
            _ => Err(Error::new(Code::Failed, "ebmirror stats: no counters of a peer in the document")),
        }
    }

    /// Whether what has come since explains so many copies.
    pub fn explain(self, before: Self, copies: u64) -> bool {
        let sent = self.sent - before.sent;
        self.selected - before.selected == copies
            && self.named - before.named + sent == copies
            && sent as f64 <= copies as f64 * PROBES
            && self.unaccounted == 0
    }
}

/// Traffic past the healthy collector and all the dead ones.
struct Workload {
    name: &'static str,
    traffic: Box<dyn Traffic>,
    series: Vec<Series>,
}

/// All that is measured here.
pub struct Dead {
    workloads: Vec<Workload>,
}

impl Dead {
    pub fn new(random: &mut Random) -> Result<Self> {
        let flows = strangers(FLOWS);
        let traffic: [(_, Box<dyn Traffic>); 3] = [
            ("XDP live frames, 60 bytes", Box::new(Live::new(&flows, Mix::Uniform, 60, random)?)),
            ("packet socket, ingress, 60 bytes", Box::new(Packet::new(&flows, 60, Direction::Ingress))),
            ("UDP, egress, 60 bytes", Box::new(Udp { direction: Direction::Egress, length: 60 })),
        ];
        let series = || vec![Series::default(); 1 + Death::ALL.len()];
        let workload = |(name, traffic)| Workload { name, traffic, series: series() };
        Ok(Self { workloads: traffic.into_iter().map(workload).collect() })
    }

    /// A rig's lanes.
    pub fn lanes(tools: &Tools) -> Result<Vec<Lane>> {
        Death::ALL.into_iter().map(|death| death.lane(tools)).collect()
    }

    /// One turn of each.
    pub fn round(&mut self, tools: &Tools, healthy: &Lane, dead: &[Lane], plan: Plan, round: usize) -> Result<()> {
        for workload in &mut self.workloads {
            let traffic = workload.traffic.as_ref();
            let mut contenders = vec![Contender { lane: healthy, traffic, proof: Proof::Arrived(1), prepare: None }];
            contenders.extend(dead.iter().map(|lane| Contender {
                lane,
                traffic,
                proof: Proof::Lost(tools),
                prepare: None,
            }));
            take_turns(&contenders, plan, round, &mut workload.series)?;
        }
        Ok(())
    }

    pub fn table(&self) -> Table {
        let [first, second, third] = Death::ALL.map(Death::name);
        let mut table = Table::new(
            "A dead collector: production's packets a second against those with a healthy one (median, 95 % interval)",
            &["traffic", "nanoseconds with a healthy one", first, second, third],
        );
        for workload in &self.workloads {
            let [healthy, dead @ ..] = &workload.series[..] else { continue };
            let mut row = vec![workload.name.to_owned(), cell(healthy.estimate(), 0)];
            row.extend(dead.iter().map(|dead| cell_or(dead.throughput(healthy), 3, "wrong books")));
            table.row(row);
        }
        table
    }

    pub fn readings(&self) -> Vec<Reading> {
        let mut found = Vec::new();
        for workload in &self.workloads {
            let [healthy, dead @ ..] = &workload.series[..] else { continue };
            for (death, dead) in Death::ALL.into_iter().zip(dead) {
                let on = format!("{}, {}", death.name(), workload.name);
                found.push(Reading::new(Bar::Dead, on, dead.throughput(healthy)));
            }
        }
        found
    }

    pub fn document(&self) -> Vec<Value> {
        let one = |workload: &Workload| {
            let [healthy, dead @ ..] = &workload.series[..] else { return Value::Null };
            let rows = Death::ALL.into_iter().zip(dead).map(|(death, dead)| {
                json!({ "collector": death.name(), "throughput": dead.throughput(healthy), "runs": dead })
            });
            json!({ "traffic": workload.name, "healthy": healthy, "dead": rows.collect::<Vec<_>>() })
        };
        self.workloads.iter().map(one).collect()
    }
}
