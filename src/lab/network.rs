//! Throw-away networks: hosts that are anonymous network namespaces, and cables that are veth pairs.
//!
//! A namespace here has no name under `/run/netns`: it lives as long as a descriptor or a thread holds it, and the kernel
//! takes it away with all that is in it, however the process ends.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use crate::kernel::ethtool;
use crate::kernel::netlink::{self, Link, Netlink};
use crate::kernel::netns::NetNs;
use crate::model::{Code, Error, Result};

/// How long a device may take to come up.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Features that make a device take super-packets and unfinished checksums.
const OFFLOADS: [&str; 10] = [
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-checksum-ip-generic",
    "tx-checksum-sctp",
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp6-segmentation",
    "tx-generic-segmentation",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
];

/// A host: a network namespace, with `lo` up.
#[derive(Debug)]
pub struct Host {
    name: &'static str,
    netns: NetNs,
}

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// Whose interface it is.
    pub host: &'a Host,
    /// The interface's name.
    pub ifname: &'a str,
    /// Its addresses, with their prefix lengths.
    pub addresses: &'a [(IpAddr, u8)],
}

impl Host {
    /// A new one. The name is for messages.
    ///
    /// # Errors
    /// Permission without `CAP_SYS_ADMIN`.
    pub fn new(name: &'static str) -> Result<Self> {
        let netns = NetNs::new_anonymous()
            .map_err(|error| Error::io(format_args!("cannot create the network namespace of the {name}"), &error))?;
        let host = Self { name, netns };
        host.set_up("lo")?;
        Ok(host)
    }

    /// Runs `f` on a thread in this host's namespace. What `f` opens there stays there and may be used from anywhere.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        self.netns
            .run(f)
            .map_err(|error| Error::io(format_args!("cannot enter the namespace of the {}", self.name), &error))
    }

    /// Runs `f`, which may fail, and says what was being done when it does.
    ///
    /// # Errors
    /// Those of [`Host::run`] and of `f`.
    pub fn attempt<T: Send>(
        &self,
        what: impl fmt::Display,
        f: impl FnOnce() -> std::io::Result<T> + Send,
    ) -> Result<T> {
        self.run(f)?.map_err(|error| Error::io(format_args!("{what} on the {}", self.name), &error))
    }

    /// A path that every process of this user can open, as long as this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }

    /// The namespace.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// A netlink socket in the namespace.
    ///
    /// # Errors
    /// Those of [`Netlink::open`].
    pub fn netlink(&self) -> Result<Netlink> {
        self.run(Netlink::open)?.map_err(|error| self.failed("open a netlink socket", error))
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// Not found when there is none.
    pub fn link(&self, ifname: &str) -> Result<Link> {
        let link = self.netlink()?.link_by_name(ifname).map_err(|error| self.failed(ifname, error))?;
        link.ok_or_else(|| Error::new(Code::NotFound, format!("the {} has no interface {ifname}", self.name)))
    }

    /// The MAC address of an interface.
    ///
    /// # Errors
    /// Not found when there is none, or it has no address of six bytes.
    pub fn mac(&self, ifname: &str) -> Result<[u8; 6]> {
        let mac = self.link(ifname)?.mac;
        mac.ok_or_else(|| Error::new(Code::NotFound, format!("{ifname} of the {} has no MAC address", self.name)))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&self, ifname: &str) -> Result<()> {
        let ifindex = self.link(ifname)?.ifindex;
        self.netlink()?.set_up(ifindex, true).map_err(|error| self.failed(format_args!("set {ifname} up"), error))
    }

    /// Makes an interface behave as a network card without transmit offloads: the kernel cuts super-packets and finishes
    /// checksums in front of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn offloads_off(&self, ifname: &str) -> Result<()> {
        self.attempt(format_args!("turning the offloads of {ifname} off"), || {
            let there: Vec<String> = ethtool::features(ifname)?.into_iter().map(|feature| feature.name).collect();
            let off: Vec<(&str, bool)> = OFFLOADS
                .into_iter()
                .filter(|name| there.iter().any(|have| have == name))
                .map(|name| (name, false))
                .collect();
            ethtool::set_features(ifname, &off).map(|_| ())
        })
    }

    /// The kernel's own VXLAN receiver on this host, up. `false`: this kernel has none.
    ///
    /// # Errors
    /// The kernel's, other than that it has none.
    pub fn add_vxlan(&self, ifname: &str, vni: u32, local: SocketAddr) -> Result<bool> {
        match self.netlink()?.add_vxlan(ifname, vni, local.port(), local.ip()) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(false),
            Err(error) => return Err(self.failed(format_args!("create {ifname}"), error)),
        }
        self.set_up(ifname)?;
        Ok(true)
    }

    fn failed(&self, what: impl fmt::Display, error: netlink::Error) -> Error {
        error.context(&format!("{}: {what}", self.name))
    }
}

/// Joins two hosts with a veth pair: the interfaces get this MTU (in bytes) and their addresses, are set up, and have
/// carrier when this returns.
///
/// # Errors
/// The kernel's.
pub fn connect(a: Port<'_>, b: Port<'_>, mtu: u32) -> Result<()> {
    a.host
        .netlink()?
        .add_veth(a.ifname, b.ifname, mtu, Some(b.host.netns.as_fd()))
        .map_err(|error| a.host.failed(format_args!("create the veth pair {} and {}", a.ifname, b.ifname), error))?;
    for port in [a, b] {
        let (host, netlink) = (port.host, port.host.netlink()?);
        let ifindex = host.link(port.ifname)?.ifindex;
        for (ip, prefix) in port.addresses {
            netlink
                .add_address(ifindex, *ip, *prefix)
                .map_err(|error| host.failed(format_args!("give {} the address {ip}/{prefix}", port.ifname), error))?;
        }
        host.set_up(port.ifname)?;
    }
    let deadline = Instant::now() + READY_TIMEOUT;
    for port in [a, b] {
        while !port.host.link(port.ifname)?.lower_up {
            if Instant::now() > deadline {
                return Err(Error::new(
                    Code::Failed,
                    format!("{} of the {} has no carrier", port.ifname, port.host.name),
                ));
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}
