//! `ebmirror run`: a mirror that lives as long as the command.

use std::time::Duration;

use super::{Ctx, attach, devices, stats};
use crate::kernel::attach::Request;
use crate::kernel::collector;
use crate::kernel::instance::{Found, Instance};
use crate::kernel::interrupt::Interrupt;
use crate::kernel::netlink::Link;
use crate::kernel::pins::Access;
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// The taps stop by themselves this long after the command was killed.
const LEASE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(1);

const LIFE: &str =
    "Ctrl-C detaches and shows the counters a last time. If the command is killed, the taps stop by themselves
within ten seconds: until then they have a time limit that the command renews, which status shows.";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = LIFE)]
pub struct Args {
    /// What, and where
    #[command(flatten)]
    pub target: attach::Target,
}

/// Attaches, prints the counters every second, and detaches on Ctrl-C.
pub fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let request = Request {
        directions: args.target.direction,
        mode: args.target.mode,
        order: None,
        duration: Some(LEASE),
        lease: true,
    };
    let links = devices(&args.target.interfaces)?;
    attach::check(&links, &request)?;
    if ctx.dry_run {
        if let Some(instance) = Instance::open(&ctx.place, Access::Read)? {
            check_free(&instance, &links)?;
        }
        let attach = attach::Args { target: args.target.clone(), order: None, duration: None };
        return attach::run(&attach, ctx);
    }
    let interrupt = Interrupt::catch()?;
    {
        let (instance, found) = Instance::open_or_create(&ctx.place, request.mode)?;
        instance.reap()?;
        check_free(&instance, &links)?;
        let attached = attach::check_underlay(&instance, &links, args.target.force)
            .and_then(|()| attach::attach_all(&instance, &links, &request));
        if let Err(error) = attached {
            if found == Found::Made {
                // The first error is the one to tell.
                let _ = instance.remove();
            }
            return Err(error);
        }
        collector::resolve_all(&instance)?;
    }
    let renew = || with(ctx, |instance| links.iter().try_for_each(|link| instance.renew(link.ifindex, LEASE)));
    let shown = stats::read(ctx, &args.target.interfaces, false)
        .and_then(|first| stats::watch(ctx, &args.target.interfaces, first, INTERVAL, &interrupt, renew));
    let detached = with(ctx, |instance| {
        links
            .iter()
            .filter(|link| instance.is_leased(link.ifindex))
            .try_for_each(|link| instance.detach(link.ifindex).map(drop))
    });
    let report = shown?;
    detached.map(|()| report)
}

/// Refuses interfaces that another command attached: they would be detached at the end.
fn check_free(instance: &Instance, links: &[Link]) -> Result<()> {
    match links.iter().find(|link| instance.is_attached(link.ifindex)) {
        Some(link) => Err(Error::new(Code::Conflict, format!("{} is attached already", link.name))
            .hint(format!("watch it with ebmirror stats --watch, or detach it: ebmirror detach {}", link.name))),
        None => Ok(()),
    }
}

/// With the instance, locked for this one step.
fn with(ctx: &Ctx, step: impl FnOnce(&Instance) -> Result<()>) -> Result<()> {
    match Instance::open(&ctx.place, Access::Write)? {
        Some(instance) => step(&instance),
        None => Err(Error::new(Code::NotFound, "the instance was removed while this command was running")
            .hint("somebody ran ebmirror unpin --force")),
    }
}
