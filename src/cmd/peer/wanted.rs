//! The peer that the options describe: a new one, or an old one with changes.

use super::options::{Local, Options, Setting, missing};
use super::{Add, Set};
use crate::kernel::collector;
use crate::kernel::netlink::Netlink;
use crate::model::Result;
use crate::model::interface::InterfaceName;
use crate::model::peer::{Device, Dscp, Encap, Outer, Peer, UnicastAddr, Way};
use crate::model::tunnel::Tunnel;

/// A new peer.
pub(super) fn new(netlink: &Netlink, args: &Add) -> Result<Peer> {
    let (tunnel, options) = (args.tunnel, &args.options);
    let way = match tunnel {
        Tunnel::Span => Way::Span(span_device(netlink, options)?.ok_or_else(|| missing(tunnel, "--dev", "IFACE"))?),
        _ => Way::Tunnel(new_outer(netlink, tunnel, options)?),
    };
    Ok(Peer {
        name: args.name.clone(),
        group: set(&options.group, None),
        way,
        oversize: options.oversize.unwrap_or(tunnel.default_oversize()),
        gso: options.gso.unwrap_or_default(),
        snaplen: set(&options.snaplen, None),
        rate: set(&options.rate, None),
    })
}

/// The old one, with what was given.
pub(super) fn changed(netlink: &Netlink, old: &Peer, args: &Set) -> Result<Peer> {
    let options = &args.options;
    options.check(old.tunnel())?;
    let way = match &old.way {
        Way::Span(device) => Way::Span(span_device(netlink, options)?.unwrap_or_else(|| device.clone())),
        Way::Tunnel(outer) => Way::Tunnel(changed_outer(netlink, outer, options)?),
    };
    Ok(Peer {
        name: old.name.clone(),
        group: set(&options.group, old.group.clone()),
        way,
        oversize: options.oversize.unwrap_or(old.oversize),
        gso: options.gso.unwrap_or(old.gso),
        snaplen: set(&options.snaplen, old.snaplen),
        rate: set(&options.rate, old.rate),
    })
}

/// What was given, or what was there.
fn set<T: Clone>(given: &Option<Setting<T>>, old: Option<T>) -> Option<T> {
    given.as_ref().map_or(old, |setting| setting.0.clone())
}

fn span_device(netlink: &Netlink, options: &Options) -> Result<Option<Device>> {
    let name = set(&options.dev, None);
    name.map(|name: InterfaceName| collector::output_device(netlink, &name, true)).transpose()
}

/// The output device of a tunnel.
fn output_device(netlink: &Netlink, options: &Options, old: Option<&Device>) -> Result<Option<Device>> {
    match &options.dev {
        None => Ok(old.cloned()),
        Some(Setting(None)) => Ok(None),
        Some(Setting(Some(name))) => collector::output_device(netlink, name, false).map(Some),
    }
}

fn new_outer(netlink: &Netlink, tunnel: Tunnel, options: &Options) -> Result<Outer> {
    let remote = options.remote.ok_or_else(|| missing(tunnel, "--remote", "ADDR"))?;
    let encap = encap(tunnel, options, None)?;
    let dev = output_device(netlink, options, None)?;
    let on_host = collector::check_remote(netlink, remote, dev.as_ref())?;
    let (local, local_auto) = match options.local {
        Some(Local::Address(local)) => (fixed(netlink, local, remote)?, false),
        Some(Local::Auto) | None => (collector::choose_local(netlink, remote, dev.as_ref())?, true),
    };
    let ttl = options.ttl.unwrap_or_default();
    let dscp = options.dscp.unwrap_or(Dscp::BEST_EFFORT);
    Ok(Outer { encap, remote, local, local_auto, on_host, dev, ttl, dscp })
}

fn changed_outer(netlink: &Netlink, old: &Outer, options: &Options) -> Result<Outer> {
    let remote = options.remote.unwrap_or(old.remote);
    let dev = output_device(netlink, options, old.dev.as_ref())?;
    let on_host = collector::check_remote(netlink, remote, dev.as_ref())?;
    let moved = options.remote.is_some() || dev != old.dev;
    let (local, local_auto) = match options.local {
        Some(Local::Address(local)) => (fixed(netlink, local, remote)?, false),
        // An address of the other family cannot stay.
        None if !old.local_auto && old.local.same_family(remote) => (old.local, false),
        None if !moved => (old.local, old.local_auto),
        Some(Local::Auto) | None => (collector::choose_local(netlink, remote, dev.as_ref())?, true),
    };
    Ok(Outer {
        encap: encap(old.encap.tunnel(), options, Some(old.encap))?,
        remote,
        local,
        local_auto,
        on_host,
        dev,
        ttl: options.ttl.unwrap_or(old.ttl),
        dscp: options.dscp.unwrap_or(old.dscp),
    })
}

fn fixed(netlink: &Netlink, local: UnicastAddr, remote: UnicastAddr) -> Result<UnicastAddr> {
    collector::check_local(netlink, local, remote)?;
    Ok(local)
}

fn encap(tunnel: Tunnel, options: &Options, old: Option<Encap>) -> Result<Encap> {
    let vni = || options.vni.or(old.and_then(Encap::vni)).ok_or_else(|| missing(tunnel, "--vni", "N"));
    let port = || {
        options
            .port
            .or(old.and_then(Encap::port))
            .or(tunnel.default_port())
            .ok_or_else(|| missing(tunnel, "--port", "N"))
    };
    let session = || options.session.or(old.and_then(Encap::session)).ok_or_else(|| missing(tunnel, "--session", "N"));
    Ok(match tunnel {
        Tunnel::Vxlan => Encap::Vxlan { vni: vni()?, port: port()? },
        Tunnel::Geneve => Encap::Geneve { vni: vni()?, port: port()? },
        Tunnel::Gre => Encap::Gre { key: set(&options.key, old.and_then(Encap::key)) },
        Tunnel::Erspan2 => Encap::Erspan2 { session: session()? },
        Tunnel::Erspan3 => Encap::Erspan3 { session: session()? },
        Tunnel::Span => return Err(missing(tunnel, "--dev", "IFACE")),
    })
}
