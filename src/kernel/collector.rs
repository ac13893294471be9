//! What the kernel knows about the way to a collector: route, device, neighbour.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::abi::PEERS;
use super::instance::Instance;
use super::netlink::{Link, Netlink, RouteKind};
use crate::model::peer::{Peer, UnicastAddr};
use crate::model::{Code, Error, Result};

/// The way to a collector as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The output device.
    pub device: String,
    /// The gateway; null when the collector is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address that the route chooses.
    pub source: Option<IpAddr>,
    /// IP bytes that fit.
    pub mtu: u32,
    /// Whose MAC address is needed: the gateway's or the collector's.
    pub neighbour: IpAddr,
    /// The kernel's state of that neighbour, in iproute2's words; `NONE` when it does not know it.
    pub neighbour_state: String,
    /// Its MAC address.
    pub neighbour_mac: Option<String>,
    /// Whether packets can be sent to it now.
    pub reachable: bool,
}

impl Path {
    /// Whether the kernel has asked for the neighbour and got no answer.
    pub fn is_silent(&self) -> bool {
        ["INCOMPLETE", "FAILED"].contains(&self.neighbour_state.as_str())
    }

    /// What this path is too small for, of the frames of a device with this MTU; None when all of them fit.
    pub fn too_small_for(&self, device: &Link) -> Option<String> {
        let needed = device.mtu.saturating_add(OVERHEAD);
        (needed > self.mtu && !device.loopback).then(|| {
            format!(
                "{} has MTU {} and {} has {}: frames of more than {} bytes are lost as too_big; ip link set {} mtu {needed} \
                 where the network allows it",
                device.name,
                device.mtu,
                self.device,
                self.mtu,
                self.mtu.saturating_sub(OVERHEAD) + ETHERNET_HEADER,
                self.device,
            )
        })
    }
}

/// What the outer headers add to an IP packet: inner Ethernet 14, IPv4 20, UDP 8, VXLAN 8.
const OVERHEAD: u32 = 50;
const ETHERNET_HEADER: u32 = 14;

/// The way to a peer, from the source address that is fixed, if one is.
pub fn path_to(netlink: &Netlink, peer: &Peer) -> Result<Option<Path>> {
    path(netlink, peer.remote.ip(), (!peer.local_auto).then(|| peer.local.ip()))
}

/// The way to this address. None when the kernel has no route.
pub fn path(netlink: &Netlink, remote: Ipv4Addr, local: Option<Ipv4Addr>) -> Result<Option<Path>> {
    let route = match netlink.route_get(remote.into(), local.map(IpAddr::V4), None) {
        Ok(route) if route.kind == RouteKind::Unicast => route,
        Ok(_) => return Ok(None),
        Err(error) if is_no_route(error.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error.context(&format!("look up the route to {remote}"))),
    };
    let device = netlink.link_by_index(route.oif).map_err(|error| error.context("look at the output device"))?;
    let Some(device) = device else { return Ok(None) };
    let wanted = route.gateway.unwrap_or(remote.into());
    let known = netlink
        .neighbour(route.oif, wanted)
        .map_err(|error| error.context(&format!("look up the neighbour {wanted}")))?;
    let mac = known.as_ref().and_then(|neighbour| neighbour.mac);
    Ok(Some(Path {
        // The datapath's look-up is a forwarder's, which obeys a route's MTU only when it is locked.
        mtu: route.mtu.filter(|_| route.mtu_locked).unwrap_or(device.mtu).min(device.mtu),
        device: device.name,
        gateway: route.gateway,
        source: route.prefsrc,
        neighbour: wanted,
        neighbour_state: known.map_or_else(|| "NONE".to_owned(), |neighbour| neighbour.state.to_string()),
        neighbour_mac: mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        reachable: mac.is_some(),
    }))
}

/// Refusals of the route table, not failures of the look-up.
fn is_no_route(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL))
}

/// The address from which copies to this collector leave. Errors: no route, an address of this host itself.
pub fn choose_local(netlink: &Netlink, remote: UnicastAddr) -> Result<UnicastAddr> {
    check_remote(netlink, remote)?;
    let source = path(netlink, remote.ip(), None)?.and_then(|path| path.source);
    match source {
        Some(IpAddr::V4(ip)) => ip.try_into().map_err(Error::usage),
        _ => Err(Error::new(Code::Failed, format!("there is no route to {remote}")).hint(
            "add a route, or give the source address with --local (ip route get shows what the kernel would do)",
        )),
    }
}

/// Refuses what is no single other host on this host's networks: broadcast addresses, its own addresses.
pub fn check_remote(netlink: &Netlink, remote: UnicastAddr) -> Result<()> {
    match netlink.route_get(remote.ip().into(), None, None).map(|route| route.kind) {
        Ok(RouteKind::Local) => Err(Error::new(Code::Unsupported, format!("{remote} is an address of this host"))
            .hint("this version sends copies to other hosts alone")),
        Ok(RouteKind::Broadcast) => {
            Err(Error::usage(format!("{remote} is a broadcast address of this host's networks"))
                .hint("give the unicast address of one host"))
        }
        _ => Ok(()),
    }
}

/// Refuses a source address that this host does not have: collectors' answers would go astray.
pub fn check_local(netlink: &Netlink, local: UnicastAddr) -> Result<()> {
    match netlink.route_get(local.ip().into(), None, None) {
        Ok(route) if route.kind == RouteKind::Local => Ok(()),
        _ => Err(Error::usage(format!("{local} is no address of this host"))
            .hint("ip address lists them; without --local the route chooses")),
    }
}

/// Asks the kernel to resolve the neighbour now, so that the first copy finds it. Failing is no error: the datapath
/// probes by itself.
pub fn resolve(netlink: &Netlink, peer: &Peer) -> Result<()> {
    if let Ok(route) = netlink.route_get(peer.remote.ip().into(), None, None)
        && route.kind == RouteKind::Unicast
    {
        // Devices without neighbours (tun) refuse.
        let _ = netlink.neighbour_resolve(route.oif, route.gateway.unwrap_or(peer.remote.ip().into()));
    }
    Ok(())
}

/// The same for all peers.
pub fn resolve_all(instance: &Instance) -> Result<()> {
    let peers = instance.peers()?;
    debug_assert!(peers.len() == PEERS);
    peers.iter().flatten().try_for_each(|peer| resolve(instance.netlink(), peer))
}
