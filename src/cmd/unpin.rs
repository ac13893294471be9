//! `ebmirror unpin`: remove everything of this instance.

use serde::Serialize;

use super::Ctx;
use crate::kernel::abi;
use crate::kernel::instance::{self, Instance};
use crate::kernel::pins::Access;
use crate::model::{Code, Error, Result};
use crate::output::{JsonStyle, Report, document};

/// Arguments of `unpin`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also when interfaces are attached, and what an instance left that was damaged or lost its pins
    #[arg(long)]
    pub force: bool,
}

#[derive(Serialize)]
struct Unpinned {
    removed: Vec<String>,
    changed: bool,
    dry_run: bool,
}

/// Detaches (with --force) and removes.
pub fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let mut report = Unpinned { removed: Vec::new(), changed: false, dry_run: ctx.dry_run };
    let access = if ctx.dry_run { Access::Read } else { Access::Write };
    let removed = match Instance::open(&ctx.place, access) {
        Ok(Some(instance)) => remove(instance, args, ctx, &mut report),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match removed {
        // What cannot be removed in order is swept away below.
        Err(error) if error.code == Code::Damaged && args.force => {}
        other => other?,
    }
    // What is removed in order leaves nothing to sweep, which a dry run would not know.
    if args.force && (report.removed.is_empty() || !ctx.dry_run) {
        report.removed.extend(instance::sweep(&ctx.place, ctx.dry_run)?);
    }
    report.changed = !report.removed.is_empty();
    if !report.changed && instance::has_leftovers(&ctx.place) {
        return Err(Error::new(
            Code::Conflict,
            "nothing is pinned, but an instance that lost its pins left devices or taps",
        )
        .hint("ebmirror unpin --force removes them"));
    }
    Ok(Box::new(report))
}

fn remove(instance: Instance, args: &Args, ctx: &Ctx, report: &mut Unpinned) -> Result<()> {
    if !ctx.dry_run {
        instance.reap()?;
    }
    let attached = instance.interfaces()?;
    let names: Vec<_> = attached.iter().map(|(_, iface)| abi::text(&iface.name)).collect();
    if !attached.is_empty() && !args.force {
        return Err(Error::new(Code::Conflict, format!("interfaces are attached: {}", names.join(" ")))
            .hint("detach them first (ebmirror detach --all), or use --force"));
    }
    report.removed.extend(names);
    report.removed.push(ctx.place.dir().display().to_string());
    if ctx.dry_run {
        return Ok(());
    }
    for (_, iface) in attached {
        instance.detach(iface.ifindex)?;
    }
    instance.remove()
}

impl Report for Unpinned {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("unpin", self, style)
    }

    fn text(&self) -> String {
        match (self.removed.is_empty(), self.dry_run) {
            (true, _) => "no change: nothing is pinned".to_owned(),
            (false, true) => format!("would remove: {}", self.removed.join(" ")),
            (false, false) => format!("removed: {}", self.removed.join(" ")),
        }
    }
}
