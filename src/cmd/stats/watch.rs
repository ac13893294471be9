//! `stats --watch`: the counters again and again, and how fast they grow.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Args, Counters, empty, read};
use crate::cmd::Ctx;
use crate::kernel::interrupt::Interrupt;
use crate::model::interface::{Direction, InterfaceName};
use crate::model::peer::PeerName;
use crate::model::rule::RuleId;
use crate::model::stats::{Counter, Stats};
use crate::model::{Error, Result};
use crate::output::{Report, Silence};

/// How often, and which interfaces.
pub type Plan = (Option<Duration>, Vec<InterfaceName>);

/// What the arguments mean: in `stats --watch eth0` the word behind `--watch` is one of them.
pub fn watched(args: &Args) -> Result<Plan> {
    let Some(word) = &args.watch else { return Ok((None, args.interfaces.clone())) };
    if word.parse::<f64>().is_ok() {
        return match word.parse::<u32>() {
            Ok(seconds @ 1..=86_400) => Ok((Some(Duration::from_secs(seconds.into())), args.interfaces.clone())),
            _ => Err(Error::usage(format!("--watch {word}: whole seconds, from 1 to 86400"))
                .hint("ebmirror stats --watch 5 eth0")),
        };
    }
    let first: InterfaceName = word.parse().map_err(Error::usage)?;
    Ok((Some(Duration::from_secs(1)), [vec![first], args.interfaces.clone()].concat()))
}

/// Packets and bits a second.
#[derive(Serialize)]
pub(super) struct Rate {
    #[serde(flatten)]
    pub(super) of: Of,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
}

/// Whose rate: frames seen by an interface, copies sent to a peer, frames that match a rule.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Of {
    Interface { interface: InterfaceName, direction: Direction },
    Peer { peer: PeerName },
    Rule { rule: RuleId },
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of::Interface { interface, direction } => write!(f, "{interface} {direction}"),
            Of::Peer { peer } => peer.fmt(f),
            Of::Rule { rule } => write!(f, "rule {rule}"),
        }
    }
}

/// Prints every interval until it is interrupted; `tick` runs before each. Returns the last reading.
pub fn watch(
    ctx: &Ctx,
    interfaces: &[InterfaceName],
    first: Stats,
    interval: Duration,
    interrupt: &Interrupt,
    mut tick: impl FnMut() -> Result<()>,
) -> Result<Box<dyn Report>> {
    let mut before = (Instant::now(), first);
    loop {
        let done = interrupt.wait(interval)?;
        tick()?;
        let now = (Instant::now(), read(ctx, interfaces, false)?);
        let seconds = (now.0 - before.0).as_secs_f64();
        let rates = Some(rates(&before.1, &now.1, seconds));
        let report = Counters { stats: now.1.clone(), seconds: Some(seconds), rates, reset: None, empty: empty(ctx) };
        if done {
            return Ok(Box::new(report));
        }
        ctx.printer.clear_screen();
        let read_on = ctx.printer.print(&report).map_err(|error| Error::io("write to stdout", &error))?;
        if !read_on {
            return Ok(Box::new(Silence));
        }
        before = now;
    }
}

fn rates(before: &Stats, now: &Stats, seconds: f64) -> Vec<Rate> {
    let rate = |of: Of, before: Option<Counter>, now: Counter| {
        let grown = now - before.unwrap_or(now);
        Rate {
            of,
            packets_per_second: grown.packets as f64 / seconds,
            bits_per_second: grown.bytes as f64 * 8.0 / seconds,
        }
    };
    let interfaces = now.interfaces.iter().map(|row| {
        let old = before.interfaces.iter().find(|old| (old.ifindex, old.direction) == (row.ifindex, row.direction));
        let of = Of::Interface { interface: row.interface.clone(), direction: row.direction };
        rate(of, old.map(|old| old.counters.seen), row.counters.seen)
    });
    let peers = now.peers.iter().map(|row| {
        let old = before.peers.iter().find(|old| old.peer == row.peer);
        rate(Of::Peer { peer: row.peer.clone() }, old.map(|old| old.counters.sent), row.counters.sent)
    });
    let old: HashMap<RuleId, Counter> = before.rules.iter().map(|row| (row.id, row.matched)).collect();
    let rules = now.rules.iter().map(|row| rate(Of::Rule { rule: row.id }, old.get(&row.id).copied(), row.matched));
    interfaces.chain(peers).chain(rules).collect()
}
