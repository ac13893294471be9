//! `stats --watch`: the counters again and again, and how fast they grow.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Counters, read};
use crate::cmd::Ctx;
use crate::kernel::interrupt::Interrupt;
use crate::model::interface::InterfaceName;
use crate::model::stats::{Counter, Stats};
use crate::model::{Error, Result};
use crate::output::{JsonStyle, Report};

/// Packets and bits a second.
#[derive(Serialize)]
pub(super) struct Rate {
    pub(super) name: String,
    pub(super) packets_per_second: f64,
    pub(super) bits_per_second: f64,
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
        let report = Counters { stats: now.1.clone(), seconds: Some(seconds), rates, reset: None };
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
    let rate = |name: String, before: Option<Counter>, now: Counter| {
        let grown = now - before.unwrap_or(now);
        Rate {
            name,
            packets_per_second: grown.packets as f64 / seconds,
            bits_per_second: grown.bytes as f64 * 8.0 / seconds,
        }
    };
    let interfaces = now.interfaces.iter().map(|row| {
        let old = before.interfaces.iter().find(|old| (old.ifindex, old.direction) == (row.ifindex, row.direction));
        rate(format!("{} {}", row.interface, row.direction), old.map(|old| old.counters.seen), row.counters.seen)
    });
    let peers = now.peers.iter().map(|row| {
        let old = before.peers.iter().find(|old| old.peer == row.peer);
        rate(row.peer.to_string(), old.map(|old| old.counters.sent), row.counters.sent)
    });
    interfaces.chain(peers).collect()
}

/// Nothing more to say: the reader is gone.
struct Silence;

impl Report for Silence {
    fn json(&self, _: JsonStyle) -> serde_json::Result<String> {
        Ok(String::new())
    }

    fn text(&self) -> String {
        String::new()
    }
}
