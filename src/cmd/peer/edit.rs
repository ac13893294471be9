//! `peer add`, `peer set`, `peer del`.

use super::{Add, Change, Del, Local, Options, Peers, Set};
use crate::cmd::Ctx;
use crate::kernel::collector;
use crate::kernel::instance::{Found, Instance, open_netlink};
use crate::kernel::netlink::{Link, Netlink};
use crate::kernel::peers::{Slots, find, free_slot};
use crate::kernel::pins::Access;
use crate::kernel::stage;
use crate::model::interface::ModeChoice;
use crate::model::peer::{Dscp, Peer, PeerName, UnicastAddr};
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// Adds a peer. The first one makes the instance.
pub fn add(args: &Add, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let netlink = open_netlink()?;
    collector::check_remote(&netlink, args.remote)?;
    let (local, local_auto) = local(&netlink, args.remote, &args.options, true)?;
    let new = Peer {
        name: args.name.clone(),
        tunnel: args.tunnel,
        remote: args.remote,
        local,
        local_auto,
        vni: args.vni,
        port: args.options.port.unwrap_or_else(|| args.tunnel.default_port()),
        ttl: args.options.ttl.unwrap_or_default(),
        dscp: args.options.dscp.unwrap_or(Dscp::BEST_EFFORT),
    };
    let place = |slots: &mut Slots| -> Result<()> {
        if find(slots, &new.name).is_some() {
            return Err(Error::new(Code::Conflict, format!("there is a peer {} already", new.name))
                .hint(format!("change it with ebmirror peer set {}, or choose another name", new.name)));
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
        place(&mut slots)?;
        (slots, attached)
    } else {
        let (instance, found) = Instance::open_or_create(&ctx.place, ModeChoice::Auto)?;
        let added = instance.peers().and_then(|mut slots| {
            place(&mut slots)?;
            collector::resolve(&netlink, &new)?;
            instance.replace_peers(&slots)?;
            Ok(slots)
        });
        if let Err(error) = added {
            if found == Found::Made {
                // The first error is the one to tell.
                let _ = instance.remove();
            }
            return Err(error);
        }
        (added?, instance.devices()?)
    };
    let warnings = warn(&netlink, &attached, &slots, &new)?;
    report("peer-add", "added", vec![new], true, ctx, warnings)
}

/// Changes a peer; what is not given stays.
pub fn set(args: &Set, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let netlink = open_netlink()?;
    let instance = open(ctx)?.ok_or_else(|| no_peer(&args.name))?;
    let mut slots = instance.peers()?;
    let slot = find(&slots, &args.name).ok_or_else(|| no_peer(&args.name))?;
    let Some(old) = slots[slot].clone() else { return Err(no_peer(&args.name)) };

    let mut new = old.clone();
    new.vni = args.vni.unwrap_or(old.vni);
    new.port = args.options.port.unwrap_or(old.port);
    new.ttl = args.options.ttl.unwrap_or(old.ttl);
    new.dscp = args.options.dscp.unwrap_or(old.dscp);
    if let Some(remote) = args.remote {
        collector::check_remote(&netlink, remote)?;
        new.remote = remote;
    }
    if args.options.local.is_some() || (args.remote.is_some() && old.local_auto) {
        (new.local, new.local_auto) = local(&netlink, new.remote, &args.options, old.local_auto)?;
    }
    let changed = new != old;
    slots[slot] = Some(new.clone());
    if changed && !ctx.dry_run {
        collector::resolve(&netlink, &new)?;
        instance.replace_peers(&slots)?;
    }
    let warnings = warn(&netlink, &instance.devices()?, &slots, &new)?;
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
    if !ctx.dry_run {
        instance.replace_peers(&slots)?;
    }
    report("peer-del", "deleted", gone, true, ctx, Vec::new())
}

fn open(ctx: &Ctx) -> Result<Option<Instance>> {
    if ctx.dry_run { Instance::open(&ctx.place, Access::Read) } else { Instance::open_mended(&ctx.place) }
}

/// The source address, and whether the route chose it.
fn local(netlink: &Netlink, remote: UnicastAddr, options: &Options, auto: bool) -> Result<(UnicastAddr, bool)> {
    match options.local {
        Some(Local::Address(local)) => {
            collector::check_local(netlink, local)?;
            Ok((local, false))
        }
        Some(Local::Auto) => Ok((collector::choose_local(netlink, remote)?, true)),
        None => Ok((collector::choose_local(netlink, remote)?, auto)),
    }
}

/// What is allowed, and probably not meant.
fn warn(netlink: &Netlink, attached: &[Link], slots: &Slots, new: &Peer) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let same =
        |peer: &&Peer| peer.name != new.name && (peer.remote, peer.port, peer.vni) == (new.remote, new.port, new.vni);
    if let Some(other) = slots.iter().flatten().find(same) {
        warnings
            .push(format!("{} gets every frame twice: the peer {} has the same destination", new.remote, other.name));
    }
    match collector::path_to(netlink, new)? {
        None => warnings.push(format!("there is no route to {} now: copies are lost as no_route", new.remote)),
        Some(path) => {
            if path.neighbour_state == "FAILED" {
                let (neighbour, device) = (path.neighbour, &path.device);
                warnings.push(format!("{neighbour} does not answer ARP on {device}: copies are lost as no_neighbour"));
            }
            warnings.extend(attached.iter().filter_map(|device| path.too_small_for(device)));
        }
    }
    Ok(warnings)
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
