//! `ebmirror attach`: mirror interfaces.

mod report;
mod ways;

use report::{Attached, Row};
pub(super) use ways::check_underlay;

use super::{Ctx, devices};
use crate::kernel::attach::Request;
use crate::kernel::instance::{Found, Instance, open_netlink};
use crate::kernel::netlink::{Framing, Link};
use crate::kernel::pins::Access;
use crate::kernel::{collector, hooks, stage};
use crate::model::duration::Span;
use crate::model::interface::{Directions, InterfaceName, ModeChoice, Order};
use crate::model::{Code, Error, Result};
use crate::output::Report;

const EXAMPLES: &str = "Examples:
  ebmirror attach eth0                         both directions
  ebmirror attach eth0 eth1 --direction ingress
  ebmirror attach eth0 --for 10m               ends by itself
  ebmirror -n blue attach eth0                 in the namespace blue

Attaching again with the same options changes nothing; another direction or mode takes the place of the
old one. Frames are copied as soon as there is a peer: ebmirror peer add.";

/// What to mirror, and where in the kernel.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// Interfaces to mirror
    #[arg(required = true, value_name = "IFACE")]
    pub interfaces: Vec<InterfaceName>,
    /// Frames to mirror; another direction than before replaces it
    #[arg(long, value_enum, default_value_t = Directions::Both)]
    pub direction: Directions,
    /// Kernel hook to use
    #[arg(long, value_enum, default_value_t = ModeChoice::Auto)]
    pub mode: ModeChoice,
    /// Mirror it even while copies leave through a VPN whose packets it may carry
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What, and where
    #[command(flatten)]
    pub target: Target,
    /// Place among other programs [default: first on ingress, last on egress]
    #[arg(long, value_enum)]
    pub order: Option<Order>,
    /// Stop by itself after this time (90s, 10m, 2h), without a process
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<Span>,
}

/// Attaches them all, or none.
pub fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let request = Request {
        directions: args.target.direction,
        mode: args.target.mode,
        order: args.order,
        duration: args.duration.map(Span::duration),
        lease: false,
    };
    let links = devices(&args.target.interfaces)?;
    check(&links, &request)?;
    let stops_after = args.duration.map(|span| span.to_string());
    if ctx.dry_run {
        return dry_run(ctx, &links, &request, args.target.force, stops_after);
    }
    let (instance, found) = Instance::open_or_create(&ctx.place, request.mode)?;
    let attached =
        check_underlay(&instance, &links, args.target.force).and_then(|()| attach_all(&instance, &links, &request));
    let changed = match attached {
        Ok(changed) => changed || found != Found::Whole,
        Err(error) => {
            if found == Found::Made {
                // The first error is the one to tell.
                let _ = instance.remove();
            }
            return Err(error);
        }
    };
    let mut report = Attached { attached: Vec::new(), changed, dry_run: false, stops_after, warnings: Vec::new() };
    for link in &links {
        let taps = instance.taps(link.ifindex).unwrap_or_else(|error| {
            report.warnings.push(format!("{} is attached, but how cannot be told: {error}", link.name));
            Vec::new()
        });
        for tap in taps {
            report.attached.push(Row { interface: link.name.clone(), direction: tap.direction, mode: tap.mode });
            report.warnings.extend(tap.ahead.iter().map(|program| {
                format!(
                    "{} {}: the program {} ({}) comes before the tap: what it drops or takes is not seen; \
                     --order may help",
                    link.name, tap.direction, program.name, program.place
                )
            }));
        }
    }
    // What is attached is attached: from here on problems are warnings.
    report.warnings.extend(ways::warnings(&instance, &links));
    report.warnings.dedup();
    if let Err(error) = collector::resolve_all(&instance) {
        report.warnings.push(format!("the collectors' neighbours could not be asked for: {error}"));
    }
    Ok(Box::new(report))
}

/// Attaches them in order; on an error those that were attached here are detached again, in reverse.
pub(super) fn attach_all(instance: &Instance, links: &[Link], request: &Request) -> Result<bool> {
    let mut changed = !instance.reap()?.is_empty();
    // A device that was made anew has another number, which the rules' tables do not know.
    changed |= instance.renew_rules()?;
    let mut fresh = Vec::new();
    for link in links {
        let known = instance.is_attached(link.ifindex);
        match instance.attach(link, request) {
            Ok(here) => {
                changed |= here;
                if !known {
                    fresh.push(link.ifindex);
                }
            }
            Err(error) => {
                for ifindex in fresh.into_iter().rev() {
                    // The first error is the one to tell.
                    let _ = instance.detach(ifindex);
                }
                return Err(error);
            }
        }
    }
    Ok(changed)
}

/// All that can be told before anything is changed.
pub(super) fn check(links: &[Link], request: &Request) -> Result<()> {
    let netlink = open_netlink()?;
    for link in links {
        if stage::is_stage_name(&link.name) {
            return Err(Error::new(Code::Conflict, format!("{} is ebmirror's own stage device", link.name))
                .hint("attach the interface whose frames are to be mirrored"));
        }
        match link.framing() {
            Framing::Ethernet => {}
            Framing::Ip => stage::check_layer3_free(&netlink)?,
            Framing::Other => {
                let message = format!(
                    "{} carries neither Ethernet frames nor plain IP packets (device type {})",
                    link.name, link.hw_type
                );
                return Err(Error::new(Code::Unsupported, message).hint("attach the device below or above it"));
            }
        }
        if request.mode == ModeChoice::Tc {
            hooks::tc::check_clsact(&netlink, link.ifindex, &link.name)?;
        }
    }
    Ok(())
}

fn dry_run(
    ctx: &Ctx,
    links: &[Link],
    request: &Request,
    force: bool,
    stops_after: Option<String>,
) -> Result<Box<dyn Report>> {
    let instance = Instance::open(&ctx.place, Access::Read)?;
    let mut report =
        Attached { attached: Vec::new(), changed: false, dry_run: true, stops_after, warnings: Vec::new() };
    match &instance {
        None => stage::check_free(&open_netlink()?)?,
        Some(instance) => check_underlay(instance, links, force)?,
    }
    for link in links {
        let (would, request) = match &instance {
            Some(instance) => {
                let request = instance.complete(link, request)?;
                (instance.would_change(link, &request)?, request)
            }
            None => (true, *request),
        };
        report.changed |= would;
        for direction in request.directions.iter() {
            let mode = hooks::choose(request.mode, link.ifindex, direction);
            report.attached.push(Row { interface: link.name.clone(), direction, mode });
        }
    }
    Ok(Box::new(report))
}
