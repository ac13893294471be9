//! `ebmirror corpus` (hidden; `make corpus`): replays all captures of a directory through a mirrored interface of a throw-away
//! network, in both directions, and compares each copy with its original.

pub(in crate::cmd) mod files;
mod left_out;
mod network;
mod report;
mod row;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::Value;

use self::files::Input;
use self::network::{Network, PEER, TAP, VNI};
use self::report::Findings;
use self::row::Row;
use super::commands::Commands;
use crate::lab::replay::Replay;
use crate::lab::sandbox::private_bpffs;
use crate::model::interface::{Direction, ModeChoice};
use crate::model::{Error, Result};
use crate::output::Report;

/// Batches of frames that are read ahead.
const READ_AHEAD: usize = 4;
/// How long the counters may take to add up.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// Arguments of `corpus`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of pcap and pcapng files, searched with its folders; or one file
    #[arg(value_name = "DIR")]
    pub captures: PathBuf,
    /// MTU of the mirrored interface; longer frames are left out
    #[arg(long, value_name = "BYTES", default_value_t = 9216, value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub mtu: u32,
    /// MTU of the way to the collector
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(576..=65535))]
    pub underlay_mtu: u32,
    /// Kernel hook to use
    #[arg(long, value_enum, default_value_t = ModeChoice::Auto)]
    pub mode: ModeChoice,
    /// Turn the offloads of the way to the collector off, as on a plain network card
    #[arg(long)]
    pub no_offload: bool,
}

/// Replays and compares. What a capture or the mirror does wrong stands in the report.
pub fn run(args: &Args) -> Result<Box<dyn Report>> {
    let captures = files::captures(&args.captures)?;
    let findings = thread::scope(|scope| {
        let (input, inputs) = sync_channel(READ_AHEAD);
        // On a thread of its own: its mounts hide directories in which the captures may lie.
        let replay = thread::Builder::new().name("corpus".into()).spawn_scoped(scope, move || perform(args, &inputs));
        let replay = replay.map_err(|error| Error::io("start a thread", &error))?;
        // Ends early when the other thread does, which then has the error.
        files::read_all(captures, args.mtu, |next| input.send(next).is_ok());
        drop(input);
        replay.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(Box::new(findings))
}

fn perform(args: &Args, inputs: &Receiver<Input>) -> Result<Findings> {
    let root = private_bpffs().map_err(super::demo::needs_root)?.join("ebmirror");
    let network = Network::build(args).map_err(super::demo::needs_root)?;
    let mirror = Mirror::start(&network, &root, args.mode)?;
    let mut replay = Replay::new(network.bench()?).map_err(broken)?;
    let mut before = mirror.books(None)?;
    let first = before.clone();

    let (mut rows, mut row, mut crossed) = (Vec::new(), Row::default(), 0);
    for input in inputs {
        match input {
            Input::File(name) => row = Row::new(name),
            Input::Frames(frames) => {
                for direction in Direction::ALL {
                    row.tally += &replay.replay(direction, &frames).map_err(broken)?;
                }
            }
            Input::End(reading) => {
                crossed += row.tally.crossed;
                // All copies are there: the counters have nothing to explain.
                if row.tally.copies != row.tally.crossed {
                    let books = mirror.books(Some(first.seen + crossed))?;
                    row.reasons = books.since(&before);
                    before = books;
                }
                row.finish(reading);
                rows.push(std::mem::take(&mut row));
            }
        }
    }
    let last = mirror.books(Some(first.seen + crossed))?;
    Ok(Findings::new(rows, crossed, last.seen - first.seen, last.unaccounted))
}

/// The mirror under test, by its commands.
struct Mirror<'a>(Commands<'a>);

/// What the mirror counts.
#[derive(Clone, Default)]
struct Books {
    /// Frames that crossed the mirrored interface.
    seen: u64,
    /// Why frames have no copy.
    reasons: BTreeMap<String, u64>,
    unaccounted: i64,
}

impl<'a> Mirror<'a> {
    fn start(network: &Network, root: &'a Path, mode: ModeChoice) -> Result<Self> {
        let mirror = Self(Commands::new(&network.host, root, &|_| ()));
        let (remote, vni) = (network::COLLECTOR_IP.to_string(), VNI.to_string());
        mirror.0.run(&["peer", "add", PEER, "--tunnel", "vxlan", "--remote", &remote, "--vni", &vni])?;
        let mode = mode.to_possible_value();
        mirror.0.run(&["attach", TAP, "--mode", mode.as_ref().map_or("auto", PossibleValue::get_name)])?;
        Ok(mirror)
    }

    /// Reads the counters; when it is known how many frames must have been seen, waits until they say so and balance.
    fn books(&self, seen: Option<u64>) -> Result<Books> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let books = Books::of(&self.0.quietly(&["stats"])?);
            let settled = books.unaccounted == 0 && seen.is_none_or(|seen| seen == books.seen);
            if settled || Instant::now() > deadline {
                return Ok(books);
            }
            thread::sleep(SETTLE_INTERVAL);
        }
    }
}

impl Books {
    fn of(stats: &Value) -> Self {
        let mut books = Self { unaccounted: stats["unaccounted"].as_i64().unwrap_or(i64::MAX), ..Self::default() };
        let rows = |key: &str| stats[key].as_array().into_iter().flatten();
        let packets = |counter: &Value| counter["packets"].as_u64().unwrap_or_default();
        let mut lose = |reason: &str, count: u64| *books.reasons.entry(reason.to_owned()).or_default() += count;
        for row in rows("interfaces") {
            books.seen += packets(&row["seen"]);
            for (key, reason) in [("own", "own"), ("skipped", "skipped"), ("lost", "not_cloned")] {
                lose(reason, packets(&row[key]));
            }
        }
        for (reason, count) in rows("peers").flat_map(|row| row["reasons"].as_object()).flatten() {
            lose(reason, packets(count));
        }
        books
    }

    /// Those reasons for which frames have been lost since then.
    fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let earlier = |reason| before.reasons.get(reason).copied().unwrap_or_default();
        let counts = self.reasons.iter().map(|(reason, count)| (reason.clone(), count.saturating_sub(earlier(reason))));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

fn broken(error: io::Error) -> Error {
    Error::io("replay", &error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_reasons_of_a_file_are_what_the_counters_gained_meanwhile() {
        let books = |own: u64, too_big: u64, rate: u64| {
            let counter = |packets: u64| json!({ "packets": packets, "bytes": packets * 60 });
            let tap = |direction: &str| {
                json!({ "interface": TAP, "direction": direction, "seen": counter(50), "own": counter(own),
                    "skipped": counter(0), "lost": counter(2) })
            };
            let reasons = json!({ "too_big": counter(too_big), "rate": counter(rate) });
            let interfaces = [tap("ingress"), tap("egress")];
            Books::of(&json!({ "interfaces": interfaces, "peers": [{ "reasons": reasons }], "unaccounted": -3 }))
        };
        let (before, after) = (books(1, 5, 9), books(4, 7, 9));
        assert_eq!((after.seen, after.unaccounted), (100, -3));
        assert_eq!(after.since(&before), BTreeMap::from([("own".into(), 6), ("too_big".into(), 2)]));
        assert_eq!(after.since(&Books::default())["not_cloned"], 4);
        assert_ne!(Books::of(&json!({})).unaccounted, 0, "no books are not balanced books");
    }
}
