//! `ebmirror pin`: load and pin the datapath with nothing attached.

use serde::Serialize;

use super::Ctx;
use crate::kernel::instance::{Found, Instance, open_netlink};
use crate::kernel::pins::Access;
use crate::kernel::stage;
use crate::model::Result;
use crate::model::interface::ModeChoice;
use crate::output::{JsonStyle, Report, document};

/// Arguments of `pin`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel hook of the stage's programs
    #[arg(long, value_enum, default_value_t = ModeChoice::Auto)]
    pub mode: ModeChoice,
}

#[derive(Serialize)]
struct Pinned {
    directory: String,
    changed: bool,
    dry_run: bool,
}

/// Makes the instance, if there is none, and mends it where others undid something.
pub fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let changed = if ctx.dry_run {
        let existed = Instance::open(&ctx.place, Access::Read)?.is_some();
        if !existed {
            stage::check_free(&open_netlink()?)?;
        }
        !existed
    } else {
        Instance::open_or_create(&ctx.place, args.mode)?.1 != Found::Whole
    };
    let directory = ctx.place.dir().display().to_string();
    Ok(Box::new(Pinned { directory, changed, dry_run: ctx.dry_run }))
}

impl Report for Pinned {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("pin", self, style)
    }

    fn text(&self) -> String {
        match (self.changed, self.dry_run) {
            (false, _) => format!("no change: pinned in {}", self.directory),
            (true, true) => format!("would pin in {}", self.directory),
            (true, false) => format!("pinned in {}", self.directory),
        }
    }
}
