//! `peer add`, `peer set`, `peer del`.

use super::report::{Change, Peers};
use super::{Add, Del, Set, wanted, warn};
use crate::cmd::Ctx;
use crate::kernel::collector;
use crate::kernel::instance::{Found, Instance, open_netlink};
use crate::kernel::netlink::Link;
use crate::kernel::peers::{Slots, check_names, find, free_slot};
use crate::kernel::pins::Access;
use crate::kernel::rules::check_in_use;
use crate::kernel::stage;
use crate::model::interface::ModeChoice;
use crate::model::peer::{Peer, PeerName};
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// Adds a peer. The first one makes the instance.
pub fn add(args: &Add, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let netlink = open_netlink()?;
    let new = wanted::new(&netlink, args)?;
    let place = |slots: &mut Slots, attached: &[Link]| -> Result<()> {
        if find(slots, &new.name).is_some() {
            return Err(Error::new(Code::Conflict, format!("there is a peer {} already", new.name))
                .hint(format!("change it with ebmirror peer set {}, or choose another name", new.name)));
        }
        check_names(slots, &new)?;
        if !args.options.force {
            collector::check_underlay(&netlink, [&new], attached)?;
        }
        let slot = free_slot(slots)?;
        slots[slot] = Some(new.clone());
        Ok(())
    };
    let (slots, attached) = if ctx.dry_run {
        let instance = Instance::open(&ctx.place, Access::Read)?;
        let attached = instance.as_ref().map_or(Ok(Vec::new()), Instance::devices)?;
        let mut slots = match &instance {
            Some(instance) => instance.peers()?,
            None => {
                stage::check_free(&netlink)?;
                [const { None }; _]
            }
        };
        place(&mut slots, &attached)?;
        (slots, attached)
    } else {
        let (instance, found) = Instance::open_or_create(&ctx.place, ModeChoice::Auto)?;
        let added = instance.devices().and_then(|attached| {
            let mut slots = instance.peers()?;
            place(&mut slots, &attached)?;
            collector::resolve(&netlink, &new)?;
            instance.replace_peers(&slots)?;
            Ok((slots, attached))
        });
        if added.is_err() && found == Found::Made {
            // The first error is the one to tell.
            let _ = instance.remove();
        }
        added?
    };
    let warnings = warn::about(&netlink, &attached, &slots, &new)?;
    report("peer-add", "added", vec![new], true, ctx, warnings)
}

/// Changes a peer; what is not given stays.
pub fn set(args: &Set, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let netlink = open_netlink()?;
    let instance = open(ctx)?.ok_or_else(|| no_peer(&args.name))?;
    let mut slots = instance.peers()?;
    let slot = find(&slots, &args.name).ok_or_else(|| no_peer(&args.name))?;
    let Some(old) = slots[slot].clone() else { return Err(no_peer(&args.name)) };

    let new = wanted::changed(&netlink, &old, args)?;
    check_names(&slots, &new)?;
    let attached = instance.devices()?;
    // What was allowed once is not asked for again.
    if !args.options.force && new.way_differs(&old) {
        collector::check_underlay(&netlink, [&new], &attached)?;
    }
    let changed = new != old;
    slots[slot] = Some(new.clone());
    check_in_use(&instance.rules()?.set, &slots)?;
    if changed && !ctx.dry_run {
        collector::resolve(&netlink, &new)?;
        instance.replace_peers(&slots)?;
    }
    let warnings = warn::about(&netlink, &attached, &slots, &new)?;
    report("peer-set", "set", vec![new], changed, ctx, warnings)
}

/// Deletes peers, all of them or none.
pub fn del(args: &Del, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let instance = open(ctx)?.ok_or_else(|| no_peer(&args.names[0]))?;
    let mut slots = instance.peers()?;
    let mut names = args.names.clone();
    names.sort();
    names.dedup();
    let mut gone = Vec::new();
    for name in &names {
        let slot = find(&slots, name).ok_or_else(|| no_peer(name))?;
        gone.extend(slots[slot].take());
    }
    check_in_use(&instance.rules()?.set, &slots)?;
    if !ctx.dry_run {
        instance.replace_peers(&slots)?;
    }
    report("peer-del", "deleted", gone, true, ctx, Vec::new())
}

fn open(ctx: &Ctx) -> Result<Option<Instance>> {
    if ctx.dry_run { Instance::open(&ctx.place, Access::Read) } else { Instance::open_mended(&ctx.place) }
}

pub(super) fn no_peer(name: &PeerName) -> Error {
    Error::new(Code::NotFound, format!("there is no peer {name}")).hint("ebmirror peer list shows them")
}

fn report(
    schema: &'static str,
    verb: &'static str,
    peers: Vec<Peer>,
    changed: bool,
    ctx: &Ctx,
    warnings: Vec<String>,
) -> Result<Box<dyn Report>> {
    let change = Some(Change { changed, dry_run: ctx.dry_run, verb });
    Ok(Box::new(Peers { schema, peers, change, warnings }))
}
