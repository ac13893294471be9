//! `ebmirror detach`: stop mirroring interfaces.

use serde::Serialize;

use super::{Ctx, no_interface};
use crate::kernel::abi;
use crate::kernel::instance::{Instance, open_netlink};
use crate::kernel::netlink::Netlink;
use crate::kernel::pins::Access;
use crate::model::Result;
use crate::model::interface::InterfaceName;
use crate::output::{JsonStyle, Report, document};

/// Arguments of `detach`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "ebmirror detach [OPTIONS] <IFACE>...\n       ebmirror detach [OPTIONS] --all")]
pub struct Args {
    /// Interfaces to mirror no longer
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "IFACE")]
    pub interfaces: Vec<InterfaceName>,
    /// All interfaces
    #[arg(long)]
    pub all: bool,
}

#[derive(Serialize)]
struct Detached {
    detached: Vec<String>,
    changed: bool,
    dry_run: bool,
}

/// Detaches them. What others attached stays.
pub fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let access = if ctx.dry_run { Access::Read } else { Access::Write };
    let instance = Instance::open(&ctx.place, access)?;
    let interfaces = instance.as_ref().map_or(Ok(Vec::new()), Instance::interfaces)?;
    let attached: Vec<(u32, String)> =
        interfaces.iter().map(|(_, iface)| (iface.ifindex, abi::text(&iface.name))).collect();
    let chosen = if args.all { attached } else { choose(&args.interfaces, &attached)? };

    let mut report = Detached { detached: Vec::new(), changed: !chosen.is_empty(), dry_run: ctx.dry_run };
    let mut first_error = None;
    for (ifindex, name) in chosen {
        if let (Some(instance), false) = (&instance, ctx.dry_run)
            && let Err(error) = instance.detach(ifindex)
        {
            first_error = first_error.or(Some(error));
        }
        report.detached.push(name);
    }
    first_error.map_or(Ok(Box::new(report)), Err)
}

/// The attached ones among the names. A name that is neither attached nor an interface is an error.
fn choose(names: &[InterfaceName], attached: &[(u32, String)]) -> Result<Vec<(u32, String)>> {
    let netlink = open_netlink()?;
    let mut chosen = Vec::new();
    for name in names {
        let link = netlink.link_by_name(name.as_str()).map_err(|error| error.context(&format!("look for {name}")))?;
        // A device may have been renamed since; of one that is gone only the table knows the name, which another one may
        // have got.
        let before = chosen.len();
        for (ifindex, text) in attached {
            let is_device = link.as_ref().is_some_and(|link| link.ifindex == *ifindex);
            if is_device || (text == name.as_str() && is_gone(&netlink, *ifindex)?) {
                chosen.push((*ifindex, text.clone()));
            }
        }
        if chosen.len() == before && link.is_none() {
            return Err(no_interface(name));
        }
    }
    chosen.dedup();
    Ok(chosen)
}

fn is_gone(netlink: &Netlink, ifindex: u32) -> Result<bool> {
    let link = netlink.link_by_index(ifindex).map_err(|error| error.context("look at a device"))?;
    Ok(link.is_none())
}

impl Report for Detached {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("detach", self, style)
    }

    fn text(&self) -> String {
        match (self.detached.is_empty(), self.dry_run) {
            (true, _) => "no change".to_owned(),
            (false, true) => format!("would detach: {}", self.detached.join(" ")),
            (false, false) => format!("detached: {}", self.detached.join(" ")),
        }
    }
}
