//! What the kernel knows about the way to a collector: route, device, neighbour.

use std::net::IpAddr;

use serde::Serialize;

use super::instance::Instance;
use super::netlink::{Framing, Link, NeighbourState, Netlink, Route, RouteKind};
use super::stage;
use crate::model::interface::InterfaceName;
use crate::model::peer::{Device, Peer, UnicastAddr, Way};
use crate::model::tunnel::{ETHERNET_HEADER, Oversize};
use crate::model::{Code, Error, Result};

/// ARPHRD_ETHER of <linux/if_arp.h>: the devices that ask for neighbours.
const ETHERNET: u16 = 1;
/// Kinds of devices that hide a packet in another one, which comes out without a mark.
const VPN: [&str; 2] = ["wireguard", "tun"];

/// The way to a collector as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// The output device.
    pub device: String,
    /// It is up, and has carrier.
    pub up: bool,
    /// The collector is on this host.
    pub on_host: bool,
    /// The gateway; null when the collector is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address that the route chooses.
    pub source: Option<IpAddr>,
    /// IP bytes that fit.
    pub mtu: u32,
    /// Whose MAC address is needed: the gateway's or the collector's; null for span, which needs none.
    pub neighbour: Option<IpAddr>,
    /// The kernel's state of that neighbour, in iproute2's words; `NONE` when it does not know it, `NOARP` on devices
    /// without neighbours.
    pub neighbour_state: Option<String>,
    /// Its MAC address.
    pub neighbour_mac: Option<String>,
    /// Whether packets can be sent to it now.
    pub reachable: bool,
    #[serde(skip)]
    ifindex: u32,
    #[serde(skip)]
    kind: Option<String>,
}

impl Path {
    /// A neighbour that the kernel has asked for, and that has not answered; with the question.
    pub fn silent(&self) -> Option<(IpAddr, &'static str)> {
        let state = self.neighbour_state.as_deref()?;
        self.neighbour.filter(|_| ["INCOMPLETE", "FAILED"].contains(&state)).map(|ip| (ip, question(ip)))
    }

    /// The same, when the kernel has given up.
    pub fn failed(&self) -> Option<(IpAddr, &'static str)> {
        self.silent().filter(|_| self.neighbour_state.as_deref() == Some("FAILED"))
    }

    /// What this path is too small for, of the frames of a device with this MTU, and what becomes of them; None when all of
    /// them fit.
    pub fn too_small_for(&self, peer: &Peer, device: &Link) -> Option<String> {
        let overhead = peer.outer().map_or(0, |outer| outer.encap.overhead(outer.remote.ip()));
        let kept = peer.snaplen.map_or(u32::MAX, |snaplen| snaplen.get());
        let longest = device.mtu.saturating_add(ETHERNET_HEADER).min(kept);
        // Of the frame, its Ethernet header included.
        let fits = self.mtu.saturating_add(ETHERNET_HEADER).saturating_sub(overhead);
        let needed = longest.saturating_add(overhead).saturating_sub(ETHERNET_HEADER);
        let fate = match peer.oversize {
            Oversize::Fragment => "leave as IP fragments, which takes time here and at the collector",
            Oversize::Truncate => "are cut",
            Oversize::Drop => "are lost as too_big",
        };
        if longest <= fits || device.loopback {
            return None;
        }
        let what = format!(
            "{} has MTU {} and {} has {}: frames of more than {fits} bytes {fate}",
            device.name, device.mtu, self.device, self.mtu
        );
        // Where both are one device a larger MTU of it asks for a larger one still.
        let same = device.ifindex == self.ifindex;
        let way = format!("; ip link set {} mtu {needed} where the network allows it", self.device);
        Some(if same { what } else { what + &way })
    }
}

fn question(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ARP" } else { "neighbour discovery" }
}

/// The way to a peer. None when the kernel has no route, or the peer's device is gone.
pub fn path_to(netlink: &Netlink, peer: &Peer) -> Result<Option<Path>> {
    match &peer.way {
        Way::Span(device) => Ok(link(netlink, device.ifindex)?
            .map(|link| Path { reachable: link.up && link.lower_up, ..path_through(link) })),
        Way::Tunnel(outer) => path(netlink, outer.remote, outer.dev.as_ref(), outer.fixed_local()),
    }
}

/// What can be told without a neighbour.
fn path_through(device: Link) -> Path {
    Path {
        up: device.up && device.lower_up,
        on_host: false,
        gateway: None,
        source: None,
        mtu: device.mtu,
        neighbour: None,
        neighbour_state: None,
        neighbour_mac: None,
        reachable: false,
        ifindex: device.ifindex,
        kind: device.kind,
        device: device.name,
    }
}

fn path(
    netlink: &Netlink,
    remote: UnicastAddr,
    dev: Option<&Device>,
    local: Option<UnicastAddr>,
) -> Result<Option<Path>> {
    let Some(route) = route(netlink, remote, dev, local)? else { return Ok(None) };
    let Some(device) = link(netlink, route.oif)? else { return Ok(None) };
    let wanted = route.gateway.unwrap_or(remote.ip());
    let has_neighbours = device.hw_type == ETHERNET;
    let known = netlink
        .neighbour(route.oif, wanted)
        .map_err(|error| error.context(&format!("look up the neighbour {wanted}")))?
        .filter(|_| has_neighbours);
    let mac = known.as_ref().and_then(|neighbour| neighbour.mac);
    let state = match known {
        Some(neighbour) => neighbour.state,
        None if has_neighbours => NeighbourState::None,
        None => NeighbourState::Noarp,
    };
    Ok(Some(Path {
        on_host: route.kind == RouteKind::Local,
        // The datapath's look-up is a forwarder's, which obeys a route's MTU only when it is locked.
        mtu: route.mtu.filter(|_| route.mtu_locked).unwrap_or(device.mtu).min(device.mtu),
        gateway: route.gateway,
        source: route.prefsrc,
        neighbour: Some(wanted),
        neighbour_state: Some(state.to_string()),
        neighbour_mac: mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        reachable: mac.is_some() || !has_neighbours,
        ..path_through(device)
    }))
}

/// The route to a collector. None when there is none, or one that leads to no single host.
fn route(
    netlink: &Netlink,
    remote: UnicastAddr,
    dev: Option<&Device>,
    local: Option<UnicastAddr>,
) -> Result<Option<Route>> {
    match netlink.route_get(remote.ip(), local.map(UnicastAddr::ip), dev.map(|device| device.ifindex)) {
        Ok(route) if [RouteKind::Unicast, RouteKind::Local].contains(&route.kind) => Ok(Some(route)),
        Ok(_) => Ok(None),
        Err(error) if is_no_route(error.raw_os_error()) => Ok(None),
        Err(error) => Err(error.context(&format!("look up the route to {remote}"))),
    }
}

/// Refusals of the route table, not failures of the look-up; ENODEV: the device that the user wants is gone.
fn is_no_route(errno: Option<i32>) -> bool {
    matches!(
        errno,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENODEV | libc::ENETDOWN)
    )
}

fn link(netlink: &Netlink, ifindex: u32) -> Result<Option<Link>> {
    netlink.link_by_index(ifindex).map_err(|error| error.context("look at the output device"))
}

/// The address from which copies to this collector leave.
pub fn choose_local(netlink: &Netlink, remote: UnicastAddr, dev: Option<&Device>) -> Result<UnicastAddr> {
    let through = dev.map_or_else(String::new, |device| format!(" through {device}"));
    let Some(route) = route(netlink, remote, dev, None)? else {
        return Err(Error::new(Code::Failed, format!("there is no route to {remote}{through}")).hint(
            "add a route, or give the source address with --local (ip route get shows what the kernel would do)",
        ));
    };
    let source = match route.prefsrc {
        None if route.kind == RouteKind::Local => Ok(remote),
        None => Err("it has none".to_owned()),
        Some(ip) => UnicastAddr::try_from(ip),
    };
    source.map_err(|why| {
        Error::new(Code::Failed, format!("the route to {remote}{through} gives no source address: {why}"))
            .hint("give this host an address there, or name one of its addresses with --local")
    })
}

/// Refuses what is no single host on this host's networks. Whether it is this host itself.
pub fn check_remote(netlink: &Netlink, remote: UnicastAddr, dev: Option<&Device>) -> Result<bool> {
    match netlink.route_get(remote.ip(), None, None).map(|route| (route.kind, route.oif)) {
        Ok((RouteKind::Local, oif)) => match dev.filter(|device| device.ifindex != oif) {
            None => Ok(true),
            Some(device) => {
                Err(Error::usage(format!("{remote} is an address of this host, and is not reached through {device}"))
                    .hint("leave --dev out (peer set: --dev none): copies go through lo"))
            }
        },
        Ok((RouteKind::Other(_), _)) => {
            Err(Error::usage(format!("{remote} is an anycast address of this host's networks"))
                .hint("give the unicast address of one host"))
        }
        Ok((RouteKind::Broadcast, _)) => {
            Err(Error::usage(format!("{remote} is a broadcast address of this host's networks"))
                .hint("give the unicast address of one host"))
        }
        _ => Ok(false),
    }
}

/// Refuses a source address that this host does not have: collectors' answers would go astray.
pub fn check_local(netlink: &Netlink, local: UnicastAddr, remote: UnicastAddr) -> Result<()> {
    if !local.same_family(remote) {
        return Err(Error::usage(format!("{local} and {remote} are of different families"))
            .hint("both IPv4 or both IPv6; without --local the route chooses"));
    }
    match netlink.route_get(local.ip(), None, None) {
        Ok(route) if route.kind == RouteKind::Local => Ok(()),
        _ => Err(Error::usage(format!("{local} is no address of this host"))
            .hint("ip address lists them; without --local the route chooses")),
    }
}

/// The device of this name, for copies to leave through.
pub fn output_device(netlink: &Netlink, name: &InterfaceName, span: bool) -> Result<Device> {
    let found = netlink.link_by_name(name.as_str()).map_err(|error| error.context(&format!("look for {name}")))?;
    let Some(device) = found else {
        return Err(Error::new(Code::NotFound, format!("there is no interface {name} in this network namespace"))
            .hint("ip link lists them; -n NS looks in another namespace"));
    };
    if stage::is_stage_name(&device.name) {
        return Err(Error::new(Code::Conflict, format!("{} is ebmirror's own stage device", device.name))
            .hint("name the device through which the copies are to leave"));
    }
    if device.kind.as_deref() == Some("ifb") {
        let message = format!("{name} is an ifb device, which would send the copies back to where they came from");
        return Err(Error::new(Code::Conflict, message).hint("use a veth or dummy device"));
    }
    if span && device.loopback {
        return Err(Error::new(
            Code::Conflict,
            format!("{} is the loopback device: this host would receive the copies itself", device.name),
        )
        .hint("name a device with a collector behind it; a veth pair leads to one on this host"));
    }
    if span && device.framing() != Framing::Ethernet {
        let message = format!("{} has no Ethernet header (device type {})", device.name, device.hw_type);
        return Err(Error::new(Code::Unsupported, message).hint("span takes Ethernet devices alone"));
    }
    Ok(Device { ifindex: device.ifindex, name: Some(device.name) })
}

/// Refuses ways out that do harm. Plain copies back onto the network that they come from. Copies through a VPN while an interface
/// is mirrored that may carry the VPN's own packets: they come back through it without their mark and in a form that cannot be
/// recognised, and are copied again.
pub fn check_underlay<'a>(
    netlink: &Netlink,
    peers: impl IntoIterator<Item = &'a Peer>,
    mirrored: &[Link],
) -> Result<()> {
    for peer in peers {
        let Some(path) = path_to(netlink, peer)? else { continue };
        let carries = |link: &&Link| link.ifindex == path.ifindex || link.master == Some(path.ifindex);
        if let (None, Some(same)) = (peer.outer(), mirrored.iter().find(carries)) {
            return Err(Error::new(
                Code::Conflict,
                format!("copies to the peer {} would leave through {}, where {} is mirrored", peer.name, path.device, same.name),
            )
            .hint("each frame would be seen twice on that network; a span peer needs a device of its own; --force does it all the same"));
        }
        let Some(kind) = path.kind.as_deref().filter(|kind| VPN.contains(kind)) else { continue };
        // A mirrored VPN device shows its packets as they are: what leaves through it with our mark is recognised.
        if let Some(other) = mirrored.iter().find(|link| link.ifindex != path.ifindex) {
            return Err(Error::new(
                Code::Conflict,
                format!(
                    "copies to the peer {} would leave through {} ({kind}) while {} is mirrored",
                    peer.name, path.device, other.name
                ),
            )
            .hint(format!(
                "if {} carries the packets of that VPN, every copy comes back as one of them and is copied again, without \
                 end; where it does not (or a virtual machine is behind the device), add --force",
                other.name
            )));
        }
    }
    Ok(())
}

/// Asks the kernel to resolve the neighbour now, so that the first copy finds it. Failing is no error: the datapath
/// probes by itself.
pub fn resolve(netlink: &Netlink, peer: &Peer) -> Result<()> {
    if let Some(outer) = peer.outer()
        && let Ok(Some(route)) = route(netlink, outer.remote, outer.dev.as_ref(), outer.fixed_local())
        && route.kind == RouteKind::Unicast
    {
        // Devices without neighbours (tun) refuse.
        let _ = netlink.neighbour_resolve(route.oif, route.gateway.unwrap_or(outer.remote.ip()));
    }
    Ok(())
}

/// The same for all peers.
pub fn resolve_all(instance: &Instance) -> Result<()> {
    instance.peers()?.iter().flatten().try_for_each(|peer| resolve(instance.netlink(), peer))
}
