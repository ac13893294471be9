//! `ebmirror stats`: the counters.

mod help;
mod watch;

use serde::Serialize;

use watch::Rate;
pub use watch::{Plan, watch, watched};

use super::{Ctx, devices};
use crate::kernel::instance::Instance;
use crate::kernel::interrupt::Interrupt;
use crate::kernel::pins::Access;
use crate::model::interface::InterfaceName;
use crate::model::stats::{Counter, Reason, Stats};
use crate::model::{Code, Error, Result};
use crate::output::{JsonStyle, Report, document, table};

/// Arguments of `stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::COUNTERS)]
pub struct Args {
    /// Only these interfaces
    #[arg(value_name = "IFACE")]
    pub interfaces: Vec<InterfaceName>,
    /// Again each SECS seconds, with rates, until Ctrl-C
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "1")]
    pub watch: Option<String>,
    /// Print all counters, then set them to zero
    #[arg(long, conflicts_with_all = ["watch", "interfaces"])]
    pub reset: bool,
}

/// The counters; when watching also how fast they grow.
#[derive(Serialize)]
pub(super) struct Counters {
    #[serde(flatten)]
    stats: Stats,
    /// Seconds between this reading and the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<Vec<Rate>>,
    #[serde(flatten)]
    reset: Option<Reset>,
    /// What people read where nothing is loaded.
    #[serde(skip)]
    empty: String,
}

#[derive(Serialize)]
struct Reset {
    changed: bool,
    dry_run: bool,
}

/// Prints once, or again and again.
pub fn run(args: &Args, (interval, interfaces): Plan, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let stats = read(ctx, &interfaces, args.reset && !ctx.dry_run)?;
    let Some(interval) = interval else {
        let reset = args.reset.then_some(Reset { changed: stats != Stats::default(), dry_run: ctx.dry_run });
        return Ok(Box::new(Counters { stats, seconds: None, rates: None, reset, empty: empty(ctx) }));
    };
    let interrupt = Interrupt::catch()?;
    watch(ctx, &interfaces, stats, interval, &interrupt, || Ok(()))
}

fn empty(ctx: &Ctx) -> String {
    ctx.as_typed("nothing is loaded: ebmirror attach IFACE\n")
}

/// The counters of an instance; all empty when there is none.
pub(super) fn read(ctx: &Ctx, interfaces: &[InterfaceName], reset: bool) -> Result<Stats> {
    let access = if reset { Access::Write } else { Access::Read };
    let Some(instance) = Instance::open(&ctx.place, access)? else {
        return match interfaces.first() {
            Some(name) => Err(not_attached(name)),
            None => Ok(Stats::default()),
        };
    };
    let mut stats = instance.stats()?;
    for name in interfaces {
        if !stats.interfaces.iter().any(|row| row.interface == *name) {
            return Err(not_attached(name));
        }
    }
    if reset {
        instance.reset()?;
    }
    if !interfaces.is_empty() {
        stats.interfaces.retain(|row| interfaces.contains(&row.interface));
    }
    Ok(stats)
}

fn not_attached(name: &InterfaceName) -> Error {
    if let Err(error) = devices(std::slice::from_ref(name)) {
        return error;
    }
    Error::new(Code::NotFound, format!("{name} is not attached")).hint(format!("attach it: ebmirror attach {name}"))
}

impl Report for Counters {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("stats", self, style)
    }

    fn text(&self) -> String {
        let stats = &self.stats;
        if stats == &Stats::default() {
            return self.empty.clone();
        }
        let packets = |counter: &Counter| counter.packets.to_string();
        let mut text = table(
            &[
                "interface",
                "direction",
                ">seen",
                ">bytes",
                ">own",
                ">skipped",
                ">selected",
                ">cloned",
                ">lost",
                ">copies",
            ],
            stats.interfaces.iter().map(|row| {
                let c = &row.counters;
                let mut cells = vec![row.interface.to_string(), row.direction.to_string()];
                cells.extend([packets(&c.seen), c.seen.bytes.to_string()]);
                cells.extend([&c.own, &c.skipped, &c.selected, &c.cloned, &c.lost, &c.copies].map(packets));
                cells
            }),
        );
        text += "\n";
        text += &table(
            &["peer", ">selected", ">sent", ">bytes", ">truncated", ">lost", "reasons"],
            stats.peers.iter().map(|row| {
                let c = &row.counters;
                let reasons: Vec<String> = Reason::ALL
                    .iter()
                    .filter_map(|reason| Some((reason, c.reasons.get(reason)?)))
                    .filter(|(_, counter)| counter.packets > 0)
                    .map(|(reason, counter)| format!("{reason}={}", counter.packets))
                    .collect();
                let mut cells = vec![row.peer.to_string(), packets(&c.selected), packets(&c.sent)];
                cells.extend([c.sent.bytes.to_string(), packets(&c.truncated), packets(&c.lost), reasons.join(" ")]);
                cells
            }),
        );
        if !stats.rules.is_empty() {
            text += "\n";
            text += &table(
                &[">rule", ">priority", "action", ">matched", ">bytes"],
                stats.rules.iter().map(|row| {
                    let (id, priority, matched) = (row.id.to_string(), row.priority.to_string(), row.matched);
                    vec![id, priority, row.action.to_string(), packets(&matched), matched.bytes.to_string()]
                }),
            );
        }
        if let Some(rates) = &self.rates {
            text += "\n";
            text += &table(
                &["rate of", ">packets/s", ">Mbit/s"],
                rates.iter().map(|rate| {
                    let (packets, bits) = (rate.packets_per_second, rate.bits_per_second);
                    vec![rate.of.to_string(), format!("{packets:.0}"), format!("{:.3}", bits / 1e6)]
                }),
            );
        }
        let (detached, retired) = (stats.detached.copies.packets, stats.retired.packets);
        text += &format!(
            "\ncopies of detached interfaces {detached}, of deleted peers {retired}; unaccounted {}\n",
            stats.unaccounted
        );
        match &self.reset {
            Some(Reset { dry_run: true, .. }) => text + "would be set to zero\n",
            Some(_) => text + "set to zero\n",
            None => text,
        }
    }
}
