//! The mirror beside what else could mirror: the same traffic, the same collector, what each adds to a frame.

use ebmirror::lab::random::Random;
use ebmirror::model::Result;
use ebmirror::model::interface::Direction;
use serde_json::{Value, json};

use super::Findings;
use super::bars::{Bar, Reading};
use super::dead::Dead;
use super::flow::{Mix, strangers};
use super::lane::{Lane, Tools, UNDERLAY_MTU};
use super::latency::{self, RoundTrips};
use super::measure::{Contender, Plan, Proof, Series, take_turns};
use super::plot::{Named, Plot, Style, draw};
use super::scenario::{FLOWS, Scenario, Setup};
use super::statistics::Estimate;
use super::table::{Table, cell};
use super::tcp::{self, Streams};
use super::traffic::{Live, Packet, Pair, Traffic, Udp};

/// A quick run leaves the last one out.
const SCENARIOS: [Scenario; 6] =
    [Scenario::Nothing, Scenario::Clone, Scenario::Ebmirror, Scenario::Mirred, Scenario::Userspace, Scenario::Batching];
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

/// Traffic, what it is called, and which bars it is for.
struct Workload {
    name: &'static str,
    bars: &'static [Bar],
    traffic: Box<dyn Traffic>,
    series: Vec<Series>,
}

impl Workload {
    fn new(name: &'static str, bars: &'static [Bar], traffic: Box<dyn Traffic>, scenarios: &[Scenario]) -> Self {
        Self { name, bars, traffic, series: vec![Series::default(); scenarios.len()] }
    }

    fn round(&mut self, scenarios: &[Scenario], lanes: &[Lane], peers: u32, plan: Plan, round: usize) -> Result<()> {
        let contender = |(scenario, lane): (&Scenario, _)| {
            let proof = Proof::Arrived(scenario.copies(peers));
            Contender { lane, traffic: self.traffic.as_ref(), proof, prepare: None }
        };
        let contenders: Vec<Contender<'_>> = scenarios.iter().zip(lanes).map(contender).collect();
        take_turns(&contenders, plan, round, &mut self.series)
    }

    /// For its bars, where the first five scenarios took part.
    fn readings(&self) -> Vec<Reading> {
        let [nothing, clone, ebmirror, mirred, userspace, ..] = &self.series[..] else { return Vec::new() };
        let reading = |bar: &Bar| {
            let value = match bar {
                Bar::LiveClone => ebmirror.added_ratio(nothing, clone),
                Bar::Userspace => ebmirror.added_ratio(nothing, &userspace.with_userspace()),
                _ => ebmirror.added_ratio(nothing, mirred),
            };
            let on = if matches!(bar, Bar::FramesMirred | Bar::Userspace) { self.name } else { "" };
            Reading::new(*bar, on, value)
        };
        self.bars.iter().map(reading).collect()
    }
}

fn workloads(scenarios: &[Scenario], quick: bool, random: &mut Random) -> Result<Vec<Workload>> {
    let flows = strangers(FLOWS);
    let live = |length, random: &mut Random| -> Result<Box<dyn Traffic>> {
        Ok(Box::new(Live::new(&flows, Mix::Uniform, length, random)?))
    };
    let packet = |length, direction| -> Box<dyn Traffic> { Box::new(Packet::new(&flows, length, direction)) };
    let udp = |length, direction| -> Box<dyn Traffic> { Box::new(Udp { direction, length }) };
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let live_bars: &[Bar] = &[Bar::LiveMirred, Bar::LiveClone, Bar::Userspace];
    let frames: &[Bar] = &[Bar::FramesMirred];
    let mut all = vec![
        ("XDP live frames, 60 bytes", live_bars, live(60, random)?),
        (PAIR, frames, packet(60, ingress)),
        ("UDP, egress, 60 bytes", frames, udp(60, egress)),
        ("packet socket, egress, 1,400 bytes", frames, packet(1400, egress)),
        ("UDP, ingress, 1,472 bytes of payload: two fragments a copy", &[Bar::Fragments], udp(1514, ingress)),
    ];
    if !quick {
        all.extend([
            ("XDP live frames, 1,400 bytes", &[Bar::Userspace][..], live(1400, random)?),
            ("packet socket, ingress, 1,400 bytes", frames, packet(1400, ingress)),
            ("packet socket, egress, 60 bytes", frames, packet(60, egress)),
            ("UDP, ingress, 60 bytes", frames, udp(60, ingress)),
            ("UDP, ingress, 1,400 bytes", frames, udp(1400, ingress)),
            ("UDP, egress, 1,400 bytes", frames, udp(1400, egress)),
        ]);
    }
    Ok(all.into_iter().map(|(name, bars, traffic)| Workload::new(name, bars, traffic, scenarios)).collect())
}

/// The whole suite: its tables, its plots and its document.
pub fn run(tools: &Tools, plan: Plan, rigs: usize, quick: bool, say: &dyn Fn(&str)) -> Result<Findings> {
    let mut random = Random::new(1);
    let scenarios = &SCENARIOS[..SCENARIOS.len() - usize::from(quick)];
    let mut all = workloads(scenarios, quick, &mut random)?;
    let copied = Live::new(&strangers(FLOWS), Mix::Uniform, 60, &mut random)?.copied(FAN_PEERS);
    let mut fan = Workload::new(FAN, &[], Box::new(copied), &FAN_OUT);
    let packets = Packet::new(&strangers(FLOWS), 60, Direction::Ingress);
    let mut pair = Workload::new(PAIR, &[], Box::new(Pair(packets)), &SCENARIOS[..PAIR_SCENARIOS]);
    let mut dead = Dead::new(&mut random)?;
    let mut round_trips = RoundTrips::new();
    let mut streams: Vec<Streams> = tcp::underlays(quick).into_iter().map(Streams::new).collect();
    let (stream_rounds, seconds, trips) = if quick { (6, 1, 3_000) } else { (10, 2, 20_000) };
    let stream_rounds = plan.rounds.min(stream_rounds);
    let plain = Setup { cpu: plan.cpu, plain_nic: false, underlay_mtu: UNDERLAY_MTU, decoded: false, peers: 1 };
    for rig in 0..rigs {
        say(&format!("mirror: rig {} of {rigs}", rig + 1));
        let mut build = |scenarios: &[Scenario], setup: Setup| -> Result<Vec<Lane>> {
            scenarios.iter().map(|scenario| scenario.lane(tools, setup, &mut random)).collect()
        };
        let lanes = build(scenarios, plain)?;
        let fan_lanes = build(&FAN_OUT, Setup { peers: FAN_PEERS, ..plain })?;
        let dead_lanes = Dead::lanes(tools)?;
        let lane = |scenario| lanes.iter().zip(scenarios).find(|(_, other)| **other == scenario).map(|(lane, _)| lane);
        let trip_lanes: Vec<&Lane> = latency::SCENARIOS.into_iter().filter_map(lane).collect();
        for round in 0..plan.rounds {
            let round = rig * plan.rounds + round;
            for workload in &mut all {
                workload.round(scenarios, &lanes, 1, plan, round)?;
            }
            pair.round(&SCENARIOS[..PAIR_SCENARIOS], &lanes, 2, plan, round)?;
            fan.round(&FAN_OUT, &fan_lanes, FAN_PEERS, plan, round)?;
            if let Some(healthy) = lane(Scenario::Ebmirror) {
                dead.round(tools, healthy, &dead_lanes, plan, round)?;
            }
            round_trips.round(&trip_lanes, plan.cpu, trips, round)?;
        }
        say("mirror: TCP streams");
        let mut stream_lanes = Vec::new();
        for streams in &streams {
            let tcp::Underlay { plain_nic, mtu: underlay_mtu, decoded, scenarios, .. } = *streams.underlay();
            stream_lanes.push(build(scenarios, Setup { plain_nic, underlay_mtu, decoded, ..plain })?);
        }
        for round in 0..stream_rounds {
            for (streams, lanes) in streams.iter_mut().zip(&stream_lanes) {
                streams.round(lanes, seconds, rig * stream_rounds + round)?;
            }
        }
        let mut built = vec![(scenarios, &lanes), (&FAN_OUT, &fan_lanes)];
        built.extend(streams.iter().map(|streams| streams.underlay().scenarios).zip(&stream_lanes));
        for (scenarios, lanes) in built {
            for (_, lane) in scenarios.iter().zip(lanes).filter(|(scenario, _)| scenario.is_ours()) {
                lane.close(tools)?;
            }
        }
        dead_lanes.iter().try_for_each(|lane| lane.close(tools))?;
    }
    let mut tables = vec![costs(&all)];
    tables.extend((!quick).then(|| user_space(&all)));
    tables.extend([
        two_processors(&all, &pair),
        fan_out(&fan),
        Streams::table(&streams),
        round_trips.table(),
        dead.table(),
    ]);
    let document = json!({
        "frames": documents(scenarios, &all), "fan_out": documents(&FAN_OUT, std::slice::from_ref(&fan)),
        "two_processors": documents(&SCENARIOS[..PAIR_SCENARIOS], std::slice::from_ref(&pair)),
        "streams": streams.iter().map(Streams::document).collect::<Vec<_>>(),
        "round_trips": round_trips.document(), "dead_collectors": dead.document(),
    });
    let mut bars: Vec<Reading> = all.iter().flat_map(Workload::readings).collect();
    bars.extend(streams.iter().flat_map(Streams::readings));
    if let [nothing, ebmirror, mirred] = &fan.series[..] {
        bars.push(Reading::new(Bar::FanOut, "", ebmirror.added_ratio(nothing, mirred)));
    }
    bars.extend(dead.readings());
    bars.extend(round_trips.readings());
    if let Some(one) = all.iter().find(|workload| workload.name == PAIR) {
        let place = SCENARIOS.iter().position(|scenario| *scenario == Scenario::Ebmirror).unwrap_or_default();
        bars.push(Reading::new(Bar::TwoProcessors, "", two_by_one(one, &pair, place)));
    }
    Ok(Findings { tables, plots: vec![plot(scenarios, &all)?, plot_streams(&streams)?], document, bars })
}

/// How many times as much a scenario adds with a sender on each of two processors as with one.
fn two_by_one(one: &Workload, pair: &Workload, place: usize) -> Option<Estimate> {
    let [single, both] = [one, pair].map(|workload| workload.series[place].difference(&workload.series[0]));
    both.with(&single, |both, single| both / single)
}

/// One sender, and one on each of two processors.
fn two_processors(all: &[Workload], pair: &Workload) -> Table {
    let mut table = Table::new(
        format!("{PAIR}: added cost on one processor and on each of two, nanoseconds a frame (median, 95 % interval)"),
        &["", "one", "each of two", "two / one"],
    );
    let Some(one) = all.iter().find(|workload| workload.name == PAIR) else { return table };
    for (place, scenario) in SCENARIOS.into_iter().enumerate().take(PAIR_SCENARIOS).skip(1) {
        table.row(vec![
            scenario.name().to_owned(),
            cell(one.series[place].added(&one.series[0]), 0),
            cell(pair.series[place].added(&pair.series[0]), 0),
            cell(two_by_one(one, pair, place), 2),
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
        let [nothing, clone, ebmirror, mirred, userspace, ..] = &series[..] else { continue };
        let userspace = userspace.with_userspace();
        table.row(vec![
            (*name).to_owned(),
            cell(nothing.estimate(), 0),
            cell(clone.added(nothing), 0),
            cell(ebmirror.added(nothing), 0),
            cell(mirred.added(nothing), 0),
            cell(ebmirror.added_ratio(nothing, clone), 2),
            cell(ebmirror.added_ratio(nothing, mirred), 2),
            cell(userspace.added(nothing), 0),
            cell(ebmirror.added_ratio(nothing, &userspace), 2),
        ]);
    }
    table
}

/// The two mirrors in user space.
fn user_space(all: &[Workload]) -> Table {
    let mut table = Table::new(
        "A mirror in user space, processor time, nanoseconds a frame (median, 95 % interval)",
        &["traffic", "C adds", "one a call", "C / it", "sendmmsg", "C / it"],
    );
    for Workload { name, series, .. } in all {
        let [nothing, _, ebmirror, _, one, many] = &series[..] else { continue };
        let mut row = vec![(*name).to_owned(), cell(ebmirror.added(nothing), 0)];
        for userspace in [one, many].map(Series::with_userspace) {
            row.push(cell(userspace.added(nothing), 0));
            row.push(cell(ebmirror.added_ratio(nothing, &userspace), 2));
        }
        table.row(row);
    }
    table
}

fn plot(scenarios: &[Scenario], all: &[Workload]) -> Result<Plot> {
    let all = &all[..all.len().min(DRAWN)];
    let labels: Vec<String> = all.iter().map(|workload| workload.name.replace(" bytes", " B")).collect();
    let series: Vec<Named> = scenarios
        .iter()
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

fn plot_streams(all: &[Streams]) -> Result<Plot> {
    let labels: Vec<String> = all.iter().map(|streams| streams.underlay().name.to_owned()).collect();
    let series: Vec<Named> = tcp::SHOWN
        .into_iter()
        .map(|scenario| (scenario.name().to_owned(), all.iter().map(|streams| streams.rate(scenario)).collect()))
        .collect();
    draw("streams", Style::Bars, "One TCP stream", ["underlay", "Gbit/s"], &labels, &series)
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
