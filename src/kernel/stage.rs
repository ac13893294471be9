//! The stage: a bridge with one port, on which the copies are grown. `ebm0` is the bridge, `ebm1` its port, a veth end
//! whose other end, `ebm1p`, gives it a carrier and receives nothing. veth and not ifb or dummy: loading those modules
//! makes devices that nobody asked for. `ebm2`, made when it is first needed, is a tun device: packets without an Ethernet
//! header can be cloned to a device without one alone.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ethtool;
use super::hooks;
use super::netlink::{Framing, Link, Netlink};
use super::tun::{self, Tun};
use crate::model::interface::Direction;
use crate::model::{Code, Error, Result};

/// The bridge.
pub const BRIDGE: &str = "ebm0";
/// Its port.
pub const PORT: &str = "ebm1";
/// The port's other end.
pub const PORT_PEER: &str = "ebm1p";

/// Where packets without an Ethernet header get one.
pub const LAYER3: &str = "ebm2";

/// Locally administered, "ebm"; the rest is random.
const MAC_PREFIX: [u8; 4] = [0x02, 0x65, 0x62, 0x6d];
/// For people who look at their devices.
const ALIAS: &str = "ebmirror: works on copies, carries no traffic of its own";
/// The largest the kernel allows; below 1280 IPv6 is switched off on the device.
const MTU: u32 = 65_535;
/// BR_STATE_FORWARDING of <linux/if_bridge.h>.
const FORWARDING: u8 = 3;

/// The devices' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Of the bridge.
    pub bridge: u32,
    /// Of its port.
    pub port: u32,
}

/// Whether this name is one of the stage's.
pub fn is_stage_name(name: &str) -> bool {
    [BRIDGE, PORT, PORT_PEER, LAYER3].contains(&name)
}

/// Whether this device is one of the stage's, and made by ebmirror: told by its MAC address, which it has from the first moment
/// on; an alias comes later, and a command may die in between. A tun device has no MAC address, but it outlives the
/// command that makes it only when it has got its alias.
pub fn is_ours(link: &Link) -> bool {
    if link.name == LAYER3 {
        return link.kind.as_deref() == Some("tun")
            && link.framing() == Framing::Ip
            && link.alias.as_deref() == Some(ALIAS);
    }
    is_stage_name(&link.name) && link.mac.is_some_and(|mac| mac.starts_with(&MAC_PREFIX))
}

fn failed(what: &str) -> impl Fn(super::netlink::Error) -> Error {
    let what = what.to_owned();
    move |error| error.context(&what)
}

/// The device of the stage that has this name, if it is ebmirror's.
fn device(netlink: &Netlink, name: &str) -> Result<Option<Link>> {
    let found = netlink.link_by_name(name).map_err(failed(&format!("look for {name}")))?;
    // The kernel finds alternative names as well.
    Ok(found.filter(|link| link.name == name && is_ours(link)))
}

/// The stage that is there. None when one of its devices is missing.
pub fn find(netlink: &Netlink) -> Result<Option<Stage>> {
    let device = |name| device(netlink, name);
    let (Some(bridge), Some(port), Some(_)) = (device(BRIDGE)?, device(PORT)?, device(PORT_PEER)?) else {
        return Ok(None);
    };
    if port.master != Some(bridge.ifindex) {
        return Ok(None);
    }
    Ok(Some(Stage { bridge: bridge.ifindex, port: port.ifindex }))
}

/// The number of the device for packets without an Ethernet header. None when there is none.
pub fn find_layer3(netlink: &Netlink) -> Result<Option<u32>> {
    Ok(device(netlink, LAYER3)?.map(|link| link.ifindex))
}

/// Refuses a device of this name that somebody else made.
fn check_name(netlink: &Netlink, name: &str) -> Result<Option<Link>> {
    let found = netlink.link_by_name(name).map_err(failed(&format!("look for {name}")))?;
    if found.as_ref().is_some_and(|link| !is_ours(link)) {
        return Err(Error::new(Code::Conflict, format!("there is a device {name}, and it is not ebmirror's"))
            .hint(format!("rename or remove it: ip link show dev {name}")));
    }
    Ok(found)
}

/// Refuses somebody else's device in the place of the one for packets without an Ethernet header.
pub fn check_layer3_free(netlink: &Netlink) -> Result<()> {
    check_name(netlink, LAYER3).map(drop)
}

/// Refuses devices of these names that somebody else made, or that another instance is using.
pub fn check_free(netlink: &Netlink) -> Result<()> {
    for name in [BRIDGE, PORT, PORT_PEER] {
        let Some(link) = check_name(netlink, name)? else { continue };
        let attached = hooks::programs(netlink, link.ifindex, Direction::Egress)?;
        if !attached.is_empty() {
            return Err(Error::new(Code::Conflict, format!("{name} is in use by an instance pinned elsewhere"))
                .hint("use its --root; if that is lost, ebmirror unpin --force removes what is left of it"));
        }
    }
    Ok(())
}

/// Makes the stage anew, without programs. Devices of an earlier one that nothing uses are replaced.
pub fn create(netlink: &Netlink) -> Result<Stage> {
    check_free(netlink)?;
    remove(netlink)?;
    build(netlink).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = remove(netlink);
    })
}

fn build(netlink: &Netlink) -> Result<Stage> {
    let mac = random_mac()?;
    let bridge = netlink.add_bridge(BRIDGE, mac, MTU, Some(ALIAS)).map_err(|error| {
        let new = error.context(&format!("create the bridge {BRIDGE}"));
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Error { code: Code::Unsupported, ..new }.hint("load the module: modprobe bridge"),
            _ => new,
        }
    })?;
    let port = netlink.add_veth_with_macs([PORT, PORT_PEER], [random_mac()?, random_mac()?], MTU).map_err(|error| {
        let new = error.context(&format!("create the veth pair {PORT}"));
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => Error { code: Code::Unsupported, ..new }.hint("load the module: modprobe veth"),
            _ => new,
        }
    })?;
    let other = netlink
        .link_by_name(PORT_PEER)
        .map_err(failed("look for the port's other end"))?
        .ok_or_else(|| Error::new(Code::Failed, format!("{PORT_PEER} vanished while the stage was made")))?
        .ifindex;
    for ifindex in [bridge, port, other] {
        netlink.set_alias(ifindex, ALIAS).map_err(failed("name the stage"))?;
        addresses_off(netlink, ifindex)?;
    }
    offloads_off()?;
    for ifindex in [other, port] {
        netlink.set_up(ifindex, true).map_err(failed("set the stage up"))?;
    }
    netlink.set_master(port, Some(bridge)).map_err(failed("put the port into the bridge"))?;
    netlink.set_up(bridge, true).map_err(failed("set the stage up"))?;
    set_forwarding()?;
    wait_for_port(netlink, port)?;
    Ok(Stage { bridge, port })
}

/// Makes the device for packets without an Ethernet header, without its program.
pub fn create_layer3(netlink: &Netlink) -> Result<u32> {
    check_layer3_free(netlink)?;
    remove_device(netlink, LAYER3)?;
    let tun = Tun::new(LAYER3).map_err(|error| {
        let new = Error::io(format!("create the tun device {LAYER3} with {}", tun::CONTROL), &error);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error { code: Code::Unsupported, ..new }
                .hint(format!("load the module: modprobe tun; in a container: mknod {} c 10 200", tun::CONTROL)),
            _ => new,
        }
    })?;
    let ifindex = netlink
        .link_by_name(LAYER3)
        .map_err(failed(&format!("look for {LAYER3}")))?
        .ok_or_else(|| Error::new(Code::Failed, format!("{LAYER3} vanished while it was made")))?
        .ifindex;
    netlink.set_alias(ifindex, ALIAS).map_err(failed("name the stage"))?;
    addresses_off(netlink, ifindex)?;
    // It needs no address, and what IPv6 would say there by itself is no copy.
    set_ipv6(LAYER3, "disable_ipv6", "1")?;
    netlink.set_mtu(ifindex, MTU).map_err(failed("set the MTU of the stage"))?;
    netlink.set_up(ifindex, true).map_err(failed("set the stage up"))?;
    tun.persist().map_err(|error| Error::io(format!("make {LAYER3} stay"), &error))?;
    Ok(ifindex)
}

/// No automatic IPv6 addresses. Without IPv6 there are none.
fn addresses_off(netlink: &Netlink, ifindex: u32) -> Result<()> {
    match netlink.set_addr_gen_none(ifindex) {
        Err(error) if error.raw_os_error() != Some(libc::EAFNOSUPPORT) => {
            Err(error.context("keep addresses off the stage"))
        }
        _ => Ok(()),
    }
}

/// What others changed in the settings of a stage. None when all is as it was made.
pub fn fault(netlink: &Netlink) -> Result<Option<String>> {
    for name in [LAYER3, PORT_PEER, PORT, BRIDGE] {
        let Some(link) = device(netlink, name)? else { continue };
        if !link.up {
            return Ok(Some(format!("somebody set {name} down")));
        }
        if link.mtu != MTU {
            return Ok(Some(format!("somebody changed the MTU of {name}")));
        }
    }
    if has_offloads()? {
        return Ok(Some(format!("somebody switched offloads of {BRIDGE} on")));
    }
    if !forwarding() {
        return Ok(Some(format!("somebody switched forwarding off on {BRIDGE}")));
    }
    let changed = IPV6.into_iter().find(|(setting, value)| ipv6(BRIDGE, setting).is_some_and(|now| now != *value));
    Ok(changed.map(|(setting, _)| format!("somebody changed the IPv6 setting {setting} of {BRIDGE}")))
}

/// Puts that right. True when something was wrong.
pub fn mend(netlink: &Netlink) -> Result<bool> {
    if fault(netlink)?.is_none() {
        return Ok(false);
    }
    for name in [LAYER3, PORT_PEER, PORT, BRIDGE] {
        let Some(link) = device(netlink, name)? else { continue };
        if link.mtu != MTU {
            netlink.set_mtu(link.ifindex, MTU).map_err(failed(&format!("set the MTU of {name}")))?;
            // IPv6 forgets its settings on a device whose MTU was below 1280.
            addresses_off(netlink, link.ifindex)?;
        }
        netlink.set_up(link.ifindex, true).map_err(failed(&format!("set {name} up")))?;
    }
    offloads_off()?;
    set_forwarding()?;
    Ok(true)
}

/// Whether somebody gave the bridge an offload that would keep the kernel from finishing checksums or cutting
/// super-packets in front of the port.
fn has_offloads() -> Result<bool> {
    let features =
        ethtool::features(BRIDGE).map_err(|error| Error::io(format!("look at the offloads of {BRIDGE}"), &error))?;
    Ok(features.iter().any(|feature| {
        let name = feature.name.as_str();
        feature.active
            && !feature.fixed
            && name.starts_with("tx-")
            && (name.contains("checksum") || name.contains("segmentation"))
    }))
}

fn offloads_off() -> Result<()> {
    let kept = ethtool::stage_offloads_off(BRIDGE)
        .map_err(|error| Error::io(format!("switch the offloads of {BRIDGE} off"), &error))?;
    if !kept.is_empty() {
        let message = format!("{BRIDGE} keeps the offloads {}", kept.join(", "));
        return Err(Error::new(Code::Unsupported, message).hint(format!("ethtool -k {BRIDGE} shows who asks for them")));
    }
    ethtool::stage_offloads_off(PORT)
        .map(drop)
        .map_err(|error| Error::io(format!("switch the offloads of {PORT} off"), &error))
}

/// bpf_fib_lookup answers for the bridge only while forwarding is on there. The bridge has no address and receives
/// nothing, so that nothing is forwarded.
fn set_forwarding() -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{BRIDGE}/forwarding");
    fs::write(&path, "1").map_err(|error| Error::io(format!("write 1 to {path}"), &error))?;
    IPV6.into_iter().try_for_each(|(setting, value)| set_ipv6(BRIDGE, setting, value))
}

/// The same for IPv6, which must be on for it whatever the default is, and must not take an address from anybody.
const IPV6: [(&str, &str); 3] = [("accept_ra", "0"), ("disable_ipv6", "0"), ("forwarding", "1")];

fn ipv6_path(name: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net/ipv6/conf", name, setting].iter().collect()
}

/// A setting of IPv6 on a device. None where the kernel has no IPv6, or was told to do without.
fn ipv6(name: &str, setting: &str) -> Option<String> {
    fs::read_to_string(ipv6_path(name, setting)).ok().map(|text| text.trim().to_owned())
}

fn set_ipv6(name: &str, setting: &str, value: &str) -> Result<()> {
    if ipv6(name, setting).is_none_or(|now| now == value) {
        return Ok(());
    }
    let path = ipv6_path(name, setting);
    fs::write(&path, value).map_err(|error| Error::io(format!("write {value} to {}", path.display()), &error))
}

/// Whether forwarding is on for the bridge.
fn forwarding() -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{BRIDGE}/forwarding")).is_ok_and(|text| text.trim() == "1")
}

/// The port forwards as soon as the kernel has seen its carrier.
fn wait_for_port(netlink: &Netlink, port: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let link = netlink.link_by_index(port).map_err(failed("look at the stage's port"))?;
        if link.is_some_and(|link| link.bridge_port_state == Some(FORWARDING)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Code::Failed, format!("{PORT} does not forward two seconds after it was set up")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes the stage's devices, those alone that are ebmirror's.
pub fn remove(netlink: &Netlink) -> Result<()> {
    [LAYER3, PORT, BRIDGE, PORT_PEER].into_iter().try_for_each(|name| remove_device(netlink, name))
}

fn remove_device(netlink: &Netlink, name: &str) -> Result<()> {
    let Some(link) = device(netlink, name)? else { return Ok(()) };
    match netlink.delete(link.ifindex) {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error.context(&format!("remove {name}"))),
        _ => Ok(()),
    }
}

/// An address that says whose it is, and that no other device is likely to have.
fn random_mac() -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    super::load::random(&mut mac)?;
    mac[..MAC_PREFIX.len()].copy_from_slice(&MAC_PREFIX);
    Ok(mac)
}
