//! What rules cost: sets of one to ten thousand, for frames that they select and frames that they do not.

use std::cell::{Cell, RefCell};

use ebmirror::lab::classbench;
use ebmirror::lab::random::Random;
use ebmirror::model::Result;
use ebmirror::model::interface::Direction;
use serde_json::{Value, json};

use super::Findings;
use super::apply::Apply;
use super::bars::{Bar, Reading};
use super::flow::Mix;
use super::lane::{Lane, TAP, Tools, UNDERLAY_MTU};
use super::measure::{Contender, Plan, Proof, Series, take_turns};
use super::plot::{Named, Plot, Style, draw};
use super::program::{Attached, attach_empty};
use super::rules::Set;
use super::table::{Table, cell};
use super::traffic::{Live, Traffic, Udp};

const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// What the bars ask for: all that a quick run has time for.
const QUICK_SIZES: [usize; 3] = [1, 10, 10_000];
/// What the cache of flows holds in the processor's first level.
const FEW_FLOWS: usize = 100;
/// Of the bars: with frames that rules select, and with others.
const BAR_MANY: usize = 10_000;
const BAR_FEW: usize = 10;
const FRAME_BYTES: usize = 60;
/// In the order of a group's contenders, of which there are these three for each size of a set.
const NOTHING: usize = 0;
const EMPTY: usize = 1;
const RULES: usize = 2;
const CONTENDERS: usize = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Options {
    pub plan: Plan,
    pub rigs: usize,
    pub flows: usize,
    pub quick: bool,
}

/// Frames of one kind: through no program, an empty one, and one that knows the rules; for each size.
struct Group<'a> {
    set: classbench::Mix,
    kind: Kind,
    traffic: Vec<Box<dyn Traffic + 'a>>,
    series: Vec<Series>,
    sizes: Vec<usize>,
}

/// What the frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Selected(Mix),
    Other(Mix),
    /// The same of few flows, all equally often.
    Few,
    /// Datagrams through the whole stack that no rule selects.
    Datagrams,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Selected(Mix::Zipf),
        Self::Selected(Mix::Uniform),
        Self::Other(Mix::Zipf),
        Self::Other(Mix::Uniform),
        Self::Few,
        Self::Datagrams,
    ];

    fn name(self) -> String {
        match self {
            Self::Selected(mix) => format!("selected, {}", mix.name()),
            Self::Other(mix) => format!("not selected, {}", mix.name()),
            Self::Few => format!("not selected, {FEW_FLOWS} flows"),
            Self::Datagrams => "not selected, connected UDP sender".into(),
        }
    }

    fn traffic(self, set: &Set) -> Result<Box<dyn Traffic>> {
        let mut random = Random::new(set.seed);
        Ok(match self {
            Self::Selected(mix) => Box::new(Live::new(&set.hits, mix, FRAME_BYTES, &mut random)?),
            Self::Other(mix) => Box::new(Live::new(&set.misses, mix, FRAME_BYTES, &mut random)?),
            Self::Few => {
                let flows = &set.misses[..set.misses.len().min(FEW_FLOWS)];
                Box::new(Live::new(flows, Mix::Uniform, FRAME_BYTES, &mut random)?)
            }
            Self::Datagrams => Box::new(Udp { direction: Direction::Ingress, length: FRAME_BYTES }),
        })
    }
}

impl Group<'_> {
    fn new(sets: &[Set], kind: Kind) -> Result<Self> {
        let traffic = sets.iter().map(|set| kind.traffic(set)).collect::<Result<Vec<_>>>()?;
        let sizes = sets.iter().map(|set| set.rules.len()).collect();
        Ok(Self { set: sets[0].mix, kind, traffic, series: vec![Series::default(); sets.len() * CONTENDERS], sizes })
    }

    fn series(&self, size: usize, what: usize) -> &Series {
        &self.series[size * CONTENDERS + what]
    }

    fn round(&mut self, tools: &Tools, base: &[Lane; 2], lanes: &[Lane], plan: Plan, round: usize) -> Result<()> {
        if !matches!(self.kind, Kind::Selected(_)) {
            return self.round_in_one_lane(tools, lanes, plan, round);
        }
        let mut contenders = Vec::with_capacity(self.series.len());
        for (traffic, lane) in self.traffic.iter().zip(lanes) {
            for (lane, copies) in [(&base[NOTHING], 0), (&base[EMPTY], 0), (lane, 1)] {
                let proof = Proof::Arrived(copies);
                contenders.push(Contender { lane, traffic: traffic.as_ref(), proof, prepare: None });
            }
        }
        take_turns(&contenders, plan, round, &mut self.series)
    }

    /// The same, with what is at the tap exchanged before each turn: two lanes that are alike differ by as much as is looked for.
    fn round_in_one_lane(&mut self, tools: &Tools, lanes: &[Lane], plan: Plan, round: usize) -> Result<()> {
        let taps: Vec<Tap<'_>> = lanes.iter().map(|lane| Tap::new(tools, lane)).collect();
        let mut contenders = Vec::with_capacity(self.series.len());
        for (traffic, tap) in self.traffic.iter().zip(&taps) {
            for what in [NOTHING, EMPTY, RULES] {
                let (traffic, proof) = (traffic.as_ref(), Proof::Arrived(0));
                let prepare: Box<dyn Fn() -> _> = Box::new(move || tap.put(what));
                contenders.push(Contender { lane: tap.lane, traffic, proof, prepare: Some(prepare) });
            }
        }
        take_turns(&contenders, plan, round, &mut self.series)?;
        taps.iter().try_for_each(|tap| tap.put(RULES))
    }

    fn document(&self) -> Value {
        let size = |(place, size): (usize, &usize)| {
            let [nothing, empty, rules] = [NOTHING, EMPTY, RULES].map(|what| self.series(place, what));
            json!({
                "rules": size, "nothing": nothing, "empty": empty, "ebmirror": rules,
                "added_to_nothing": rules.added(nothing), "added_to_empty": rules.added(empty),
                "throughput_of_empty": rules.throughput(empty),
                "times_one_rule": self.times_one_rule(place),
            })
        };
        json!({ "set": self.set.name(), "traffic": self.kind.name(),
            "sizes": self.sizes.iter().enumerate().map(size).collect::<Vec<_>>() })
    }

    /// For the bar of its kind.
    fn reading(&self) -> Option<Reading> {
        let rules = if matches!(self.kind, Kind::Selected(_)) { BAR_MANY } else { BAR_FEW };
        let place = self.sizes.iter().position(|size| *size == rules)?;
        let [empty, ours] = [EMPTY, RULES].map(|what| self.series(place, what));
        let set = self.set.name();
        Some(match self.kind {
            Kind::Selected(Mix::Zipf) => Reading::new(Bar::RulesZipf, set, self.times_one_rule(place)),
            Kind::Selected(Mix::Uniform) => Reading::new(Bar::RulesUniform, set, self.times_one_rule(place)),
            Kind::Other(mix) => Reading::new(Bar::OtherFrames, format!("{set}, {}", mix.name()), ours.added(empty)),
            Kind::Few => Reading::new(Bar::OtherFrames, format!("{set}, {FEW_FLOWS} flows"), ours.added(empty)),
            Kind::Datagrams => Reading::new(Bar::OtherDatagrams, set, ours.throughput(empty)),
        })
    }

    /// What it adds to nothing, as a multiple of what one rule adds in the same round.
    fn times_one_rule(&self, place: usize) -> Option<super::statistics::Estimate> {
        let added = |place: usize| -> Vec<f64> {
            let [rules, nothing] = [RULES, NOTHING].map(|what| &self.series(place, what).nanoseconds);
            rules.iter().zip(nothing).map(|(rules, nothing)| rules - nothing).collect()
        };
        super::statistics::estimate(added(place).iter().zip(added(0)).map(|(this, one)| this / one))
    }
}

/// What is at the tap of a lane with rules.
struct Tap<'a> {
    tools: &'a Tools,
    lane: &'a Lane,
    now: Cell<usize>,
    empty: RefCell<Option<Attached>>,
}

impl<'a> Tap<'a> {
    fn new(tools: &'a Tools, lane: &'a Lane) -> Self {
        Self { tools, lane, now: Cell::new(RULES), empty: RefCell::new(None) }
    }

    fn put(&self, what: usize) -> Result<()> {
        let before = self.now.replace(what);
        let ebmirror = |command| self.tools.ebmirror(&self.lane.host, &[command, TAP], "");
        if before == RULES && what != RULES {
            ebmirror("detach")?;
        }
        let empty = (what == EMPTY).then(|| attach_empty(&self.lane.host, TAP, Direction::Ingress)).transpose()?;
        self.empty.replace(empty);
        if before != RULES && what == RULES {
            ebmirror("attach")?;
        }
        Ok(())
    }
}

/// The whole suite: its tables, and its document.
pub fn run(tools: &Tools, options: Options, say: &dyn Fn(&str)) -> Result<Findings> {
    let mixes = if options.quick { &classbench::Mix::ALL[..1] } else { &classbench::Mix::ALL };
    let sizes: &[usize] = if options.quick { &QUICK_SIZES } else { &SIZES };
    let mut sets = Vec::new();
    for mix in mixes {
        say(&format!("filters: making {} rules", mix.name()));
        sets.push(sizes.iter().map(|size| Set::new(*mix, *size, options.flows)).collect::<Result<Vec<_>>>()?);
    }
    let mut groups = Vec::new();
    for sets in &sets {
        groups.push(Kind::ALL.into_iter().map(|kind| Group::new(sets, kind)).collect::<Result<Vec<_>>>()?);
    }
    let mut apply = Apply::default();
    for rig in 0..options.rigs {
        say(&format!("filters: rig {} of {}", rig + 1, options.rigs));
        measure(tools, options, &sets, &mut groups, rig)?;
    }
    for sets in &sets {
        if let Some(largest) = sets.last() {
            say(&format!("filters: applying {} {} rules", largest.rules.len(), largest.mix.name()));
            apply.measure(tools, largest, options.quick)?;
        }
    }
    let mut tables: Vec<Table> = groups.iter().flat_map(|groups| [selected(groups), others(groups)]).collect();
    tables.push(apply.table());
    let seeds: Vec<Value> = sets
        .iter()
        .flatten()
        .map(|set| json!({ "set": set.mix.name(), "rules": set.rules.len(), "seed": set.seed }))
        .collect();
    let mut bars: Vec<Reading> = groups.iter().flatten().filter_map(Group::reading).collect();
    bars.extend(apply.readings());
    let plots = vec![plot(&groups)?];
    let groups: Vec<Value> = groups.iter().flatten().map(Group::document).collect();
    let document = json!({ "options": options, "seeds": seeds, "costs": groups, "apply": apply.document() });
    Ok(Findings { tables, plots, document, bars })
}

/// One rig: a lane for each set, and two for what they are compared with.
fn measure(
    tools: &Tools,
    options: Options,
    sets: &[Vec<Set>],
    groups: &mut [Vec<Group<'_>>],
    rig: usize,
) -> Result<()> {
    let mut base = [Lane::new(UNDERLAY_MTU)?, Lane::new(UNDERLAY_MTU)?];
    let empty = attach_empty(&base[EMPTY].host, TAP, Direction::Ingress)?;
    base[EMPTY].keep(empty);
    let mut lanes = Vec::new();
    for set in sets.iter().flatten() {
        let mut lane = Lane::new(UNDERLAY_MTU)?;
        lane.mirror(tools, 1, &[])?;
        tools.ebmirror(&lane.host, &["filter", "add", "--file", "-"], &set.file())?;
        lane.sink()?;
        lanes.push(lane);
    }
    for round in 0..options.plan.rounds {
        for (groups, lanes) in groups.iter_mut().zip(lanes.chunks(sets[0].len())) {
            for group in groups {
                group.round(tools, &base, lanes, options.plan, rig * options.plan.rounds + round)?;
            }
        }
    }
    lanes.iter().try_for_each(|lane| lane.close(tools))
}

/// Frames that are mirrored.
fn selected(groups: &[Group<'_>]) -> Table {
    let mut table = Table::new(
        format!("{}: every frame selected, nanoseconds a frame more than with nothing attached", groups[0].set.name()),
        &["rules", "Zipf", "times one rule", "uniform", "times one rule"],
    );
    for (place, size) in groups[0].sizes.iter().enumerate() {
        let mut row = vec![size.to_string()];
        for group in groups.iter().filter(|group| matches!(group.kind, Kind::Selected(_))) {
            row.push(cell(group.series(place, RULES).added(group.series(place, NOTHING)), 0));
            row.push(cell(group.times_one_rule(place), 2));
        }
        table.row(row);
    }
    table
}

/// Frames that are not.
fn others(groups: &[Group<'_>]) -> Table {
    let mut table = Table::new(
        format!(
            "{}: no frame selected, against an empty TCX program: nanoseconds a frame more, and the UDP sender's throughput",
            groups[0].set.name()
        ),
        &["rules", "Zipf", "uniform", &format!("{FEW_FLOWS} flows"), "throughput"],
    );
    for (place, size) in groups[0].sizes.iter().enumerate() {
        let mut row = vec![size.to_string()];
        for group in groups {
            let (rules, empty) = (group.series(place, RULES), group.series(place, EMPTY));
            match group.kind {
                Kind::Selected(_) => {}
                Kind::Other(_) | Kind::Few => row.push(cell(rules.added(empty), 0)),
                Kind::Datagrams => row.push(cell(rules.throughput(empty), 3)),
            }
        }
        table.row(row);
    }
    table
}

/// What a selected frame costs, by the number of rules.
fn plot(groups: &[Vec<Group<'_>>]) -> Result<Plot> {
    let series: Vec<Named> = groups
        .iter()
        .flatten()
        .filter_map(|group| {
            let Kind::Selected(mix) = group.kind else { return None };
            let added = |place| group.series(place, RULES).added(group.series(place, NOTHING));
            Some((format!("{}, {}", group.set.name(), mix.name()), (0..group.sizes.len()).map(added).collect()))
        })
        .collect();
    let labels: Vec<String> = groups[0][0].sizes.iter().map(usize::to_string).collect();
    let title = "What a mirrored frame costs, by the number of rules";
    draw("filters", Style::Lines, title, ["rules", "nanoseconds a frame"], &labels, &series)
}
