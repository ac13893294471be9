//! Measuring: things take turns in balanced order, and a run that lost a copy does not count.

use std::time::Duration;

use ebmirror::model::Result;
use serde::Serialize;

use super::dead::Losses;
use super::lane::{Lane, Tools};
use super::schedule::order;
use super::statistics::{Estimate, estimate};
use super::traffic::Traffic;

/// How often a run that does not count is repeated.
const ATTEMPTS: usize = 3;

/// One of the things that take turns.
pub struct Contender<'a> {
    pub lane: &'a Lane,
    pub traffic: &'a dyn Traffic,
    pub proof: Proof<'a>,
    /// Comes before each of its turns, where several share a lane.
    pub prepare: Option<Box<dyn Fn() -> Result<()> + 'a>>,
}

/// What must have become of the copies, that a run counts.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// So many of each frame have arrived at the collector.
    Arrived(u64),
    /// The books of the lane's mirror say of each frame's that it was lost, and why.
    Lost(&'a Tools),
}

/// How to measure.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Frames in a run.
    pub frames: usize,
    /// Turns that each of them gets in a rig.
    pub rounds: usize,
    /// The processor on which the traffic runs.
    pub cpu: usize,
}

/// What one of them took, a number a round: nanoseconds a frame.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Not a number where every attempt lost copies.
    pub nanoseconds: Vec<f64>,
    /// What a mirror in user space used of its own processor, for each frame.
    pub userspace: Vec<f64>,
    /// Runs that did not count.
    pub discarded: usize,
}

impl Series {
    /// The median and its interval.
    pub fn estimate(&self) -> Option<Estimate> {
        estimate(self.nanoseconds.iter().copied())
    }

    /// Another quantity of each round, from this and what another one took in the same round.
    pub fn with(&self, other: &Self, quantity: impl Fn(f64, f64) -> f64) -> Option<Estimate> {
        estimate(self.nanoseconds.iter().zip(&other.nanoseconds).map(|(this, that)| quantity(*this, *that)))
    }

    /// The same with what a mirror in user space used besides.
    pub fn with_userspace(&self) -> Self {
        let both = self.nanoseconds.iter().zip(&self.userspace).map(|(traffic, userspace)| traffic + userspace);
        Self { nanoseconds: both.collect(), ..self.clone() }
    }

    /// What it took more than another one, round by round.
    pub fn difference(&self, base: &Self) -> Self {
        let rounds = self.nanoseconds.iter().zip(&base.nanoseconds);
        Self { nanoseconds: rounds.map(|(this, base)| this - base).collect(), ..Self::default() }
    }

    /// What it took more than another one in the same round.
    pub fn added(&self, base: &Self) -> Option<Estimate> {
        self.with(base, |this, that| this - that)
    }

    /// How many packets a second there were for each of another one.
    pub fn throughput(&self, other: &Self) -> Option<Estimate> {
        self.with(other, |this, that| that / this)
    }

    /// How many times as much it added to a base as another one, round by round.
    pub fn added_ratio(&self, base: &Self, other: &Self) -> Option<Estimate> {
        let rounds = self.nanoseconds.iter().zip(&base.nanoseconds).zip(&other.nanoseconds);
        estimate(rounds.map(|((this, base), other)| (this - base) / (other - base)))
    }
}

/// One round: each of them gets one turn. `round` decides the order.
pub fn take_turns(contenders: &[Contender<'_>], plan: Plan, round: usize, series: &mut [Series]) -> Result<()> {
    for place in order(contenders.len(), round) {
        let one = &mut series[place];
        let mut found = None;
        for _ in 0..ATTEMPTS {
            found = run(&contenders[place], plan)?;
            if found.is_some() {
                break;
            }
            one.discarded += 1;
        }
        let each = |took: Duration| took.as_nanos() as f64 / plan.frames as f64;
        let [traffic, userspace] = found.map_or([f64::NAN; 2], |times| times.map(each));
        one.nanoseconds.push(traffic);
        one.userspace.push(userspace);
    }
    Ok(())
}

/// One run: the time of the traffic, and that of a mirror in user space. `None` when not exactly that became of the copies
/// which should have.
fn run(contender: &Contender<'_>, plan: Plan) -> Result<Option<[Duration; 2]>> {
    let Contender { lane, traffic, proof, prepare } = contender;
    if let Some(prepare) = prepare {
        prepare()?;
    }
    let userspace = lane.userspace_time();
    let (took, proven) = match proof {
        Proof::Arrived(copies) => {
            let before = lane.arrived()?.copies();
            let took = traffic.send(lane, plan.cpu, plan.frames)?;
            let expected = plan.frames as u64 * copies;
            (took, lane.arrived_at_least(before + expected)?.copies() - before == expected)
        }
        Proof::Lost(tools) => {
            let before = Losses::read(tools, lane)?;
            let took = traffic.send(lane, plan.cpu, plan.frames)?;
            (took, Losses::read(tools, lane)?.explain(before, plan.frames as u64))
        }
    };
    Ok(proven.then(|| [took, lane.userspace_time().saturating_sub(userspace)]))
}
