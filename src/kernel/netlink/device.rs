//! Network devices: making the few kinds that are needed, changing and deleting them.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoVeth, InfoVxlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{RouteNetlinkMessage, address};

use super::{Error, Netlink, Result, family_of};

/// The longest device name in bytes: `IFNAMSIZ` without the NUL.
const NAME_MAX: usize = 15;

/// The longest alias in bytes: `IFALIASZ` without the NUL.
const ALIAS_MAX: usize = 255;

impl Netlink {
    /// Makes a bridge and returns its ifindex: STP and multicast snooping off, no automatic IPv6 address, down. `mtu`
    /// is in bytes and stays when ports with a smaller one join, which a bridge otherwise follows. If one of the
    /// settings is refused, the bridge is deleted again.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when the name is taken, `EINVAL` for a name or an MTU that it does not allow.
    pub fn add_bridge(&self, name: &str, mac: [u8; 6], mtu: u32, alias: Option<&str>) -> Result<u32> {
        check_alias(alias)?;
        let data = InfoData::Bridge(vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::MulticastSnooping(false),
        ]);
        let ifindex = self.create(name, InfoKind::Bridge, data, vec![LinkAttribute::Address(mac.to_vec())])?;
        let settings = || {
            // The MTU comes in a request of its own: the bridge only takes it for the administrator's choice, and
            // keeps it, when it is changed on an existing device.
            self.set_mtu(ifindex, mtu)?;
            match self.set_addr_gen_none(ifindex) {
                // Without IPv6, on the host or at this MTU, there is nothing to switch off.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                other => other?,
            }
            alias.map_or(Ok(()), |alias| self.set_alias(ifindex, alias))
        };
        self.or_delete(ifindex, settings())
    }

    /// Makes a veth pair, both ends with `mtu` (in bytes) and down, and returns the ifindex of the end called `name`.
    /// The other end goes to `peer_netns`, or stays here. Both have the kernel's automatic IPv6 addresses until
    /// [`Netlink::set_addr_gen_none`] is called for them, in their own namespace, before they are set up.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when a name is taken, `EINVAL` for a name or an MTU that it does not allow.
    pub fn add_veth(&self, name: &str, peer_name: &str, mtu: u32, peer_netns: Option<BorrowedFd<'_>>) -> Result<u32> {
        let peer_netns = peer_netns.map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd()));
        self.create_veth(name, peer_name, mtu, Vec::new(), peer_netns.into_iter().collect())
    }

    /// The same, both ends here, with these MAC addresses from the first moment on.
    ///
    /// # Errors
    /// Those of [`Netlink::add_veth`].
    pub fn add_veth_with_macs(&self, names: [&str; 2], macs: [[u8; 6]; 2], mtu: u32) -> Result<u32> {
        let [own, peer] = macs.map(|mac| vec![LinkAttribute::Address(mac.to_vec())]);
        self.create_veth(names[0], names[1], mtu, own, peer)
    }

    fn create_veth(
        &self,
        name: &str,
        peer_name: &str,
        mtu: u32,
        mut own: Vec<LinkAttribute>,
        peer: Vec<LinkAttribute>,
    ) -> Result<u32> {
        check_name(peer_name)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(peer_name.to_owned()), LinkAttribute::Mtu(mtu)];
        message.attributes.extend(peer);
        own.push(LinkAttribute::Mtu(mtu));
        self.create(name, InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(message)), own)
    }

    /// Makes a vxlan device that receives on `local` (`dstport` in host byte order, `vni` up to 24 bits), learns
    /// nothing, accepts zero checksums over IPv6, and has no destination to send to. Returns its ifindex.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when the name or the VNI on this port is taken, `ERANGE` for a VNI that is too large.
    pub fn add_vxlan(&self, name: &str, vni: u32, dstport: u16, local: IpAddr) -> Result<u32> {
        let data = InfoData::Vxlan(vec![
            InfoVxlan::Id(vni),
            InfoVxlan::Port(dstport),
            match local {
                IpAddr::V4(address) => InfoVxlan::Local(address),
                IpAddr::V6(address) => InfoVxlan::Local6(address),
            },
            InfoVxlan::Learning(false),
            InfoVxlan::UDPZeroCsumRX(true),
        ]);
        self.create(name, InfoKind::Vxlan, data, Vec::new())
    }

    fn create(&self, name: &str, kind: InfoKind, data: InfoData, mut more: Vec<LinkAttribute>) -> Result<u32> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
        ];
        message.attributes.append(&mut more);
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
        // The kernel echoes what it made only since 6.2, hence the look-up.
        match self.link_by_name(name)? {
            Some(link) => Ok(link.ifindex),
            None => Err(Error::errno(libc::ENODEV, None)),
        }
    }

    fn or_delete(&self, ifindex: u32, settings: Result<()>) -> Result<u32> {
        match settings {
            Ok(()) => Ok(ifindex),
            Err(error) => {
                // The first error is the one worth reporting; what the deletion returns changes nothing about it.
                let _ = self.delete(ifindex);
                Err(error)
            }
        }
    }

    /// Sets a device up or down.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` when there is no such device.
    pub fn set_up(&self, ifindex: u32, up: bool) -> Result<()> {
        check_ifindex(ifindex)?;
        let mut message = message_for(ifindex);
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets the MTU, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` outside of what the device allows.
    pub fn set_mtu(&self, ifindex: u32, mtu: u32) -> Result<()> {
        self.set(ifindex, LinkAttribute::Mtu(mtu))
    }

    /// Sets the MAC address, first byte on the wire first.
    ///
    /// # Errors
    /// The kernel's; `EADDRNOTAVAIL` for a multicast address, `EBUSY` on a device that must be down for it.
    pub fn set_mac(&self, ifindex: u32, mac: [u8; 6]) -> Result<()> {
        self.set(ifindex, LinkAttribute::Address(mac.to_vec()))
    }

    /// Makes the device a port of `master`, or of nothing.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` and `EOPNOTSUPP` when the two do not go together.
    pub fn set_master(&self, ifindex: u32, master: Option<u32>) -> Result<()> {
        self.set(ifindex, LinkAttribute::Controller(master.unwrap_or(0)))
    }

    /// Sets the alias, the text that `ip link` shows; an empty one removes it.
    ///
    /// # Errors
    /// The kernel's, and invalid input above 255 bytes.
    pub fn set_alias(&self, ifindex: u32, alias: &str) -> Result<()> {
        check_alias(Some(alias))?;
        // Without the NUL, which the kernel counts as part of the alias; an empty attribute is what clears it.
        self.set(ifindex, LinkAttribute::Other(DefaultNla::new(libc::IFLA_IFALIAS, alias.into())))
    }

    /// Switches the automatic IPv6 addresses off (`addr_gen_mode none`). Existing ones stay.
    ///
    /// # Errors
    /// The kernel's; `EAFNOSUPPORT` when the device has no IPv6, as below an MTU of 1280 bytes. The setting is lost
    /// whenever the MTU goes below that.
    pub fn set_addr_gen_none(&self, ifindex: u32) -> Result<()> {
        self.set(
            ifindex,
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]),
        )
    }

    /// Deletes a device. A veth takes its other end with it.
    ///
    /// # Errors
    /// The kernel's: `ENODEV` when there is no such device, `EOPNOTSUPP` when it is not a software device.
    pub fn delete(&self, ifindex: u32) -> Result<()> {
        check_ifindex(ifindex)?;
        self.change(RouteNetlinkMessage::DelLink(message_for(ifindex)), 0)
    }

    /// Adds an address to a device. An IPv6 one is usable at once: duplicate detection is skipped.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when it is there already, `EINVAL` for an impossible prefix.
    pub fn add_address(&self, ifindex: u32, ip: IpAddr, prefix: u8) -> Result<()> {
        let mut message = address::AddressMessage::default();
        message.header.family = family_of(ip);
        message.header.prefix_len = prefix;
        message.header.index = ifindex;
        if ip.is_ipv6() {
            message.header.flags = address::AddressHeaderFlags::Nodad;
        }
        message.attributes = vec![address::AddressAttribute::Local(ip), address::AddressAttribute::Address(ip)];
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn set(&self, ifindex: u32, attribute: LinkAttribute) -> Result<()> {
        check_ifindex(ifindex)?;
        let mut message = message_for(ifindex);
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }
}

pub(super) fn message_for(ifindex: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message
}

/// What the kernel would cut or take for a pattern: `x%d` makes `x0`, or `x1`. The rest of its rules (no `/`, no
/// blank …) it checks itself.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(['\0', '%']) {
        return Err(Error::invalid_input(format!("'{name}' cannot be a device name: 1 to {NAME_MAX} bytes, no '%'")));
    }
    Ok(())
}

fn check_alias(alias: Option<&str>) -> Result<()> {
    match alias {
        Some(alias) if alias.len() > ALIAS_MAX || alias.contains('\0') => {
            Err(Error::invalid_input(format!("an alias has at most {ALIAS_MAX} bytes and no NUL")))
        }
        _ => Ok(()),
    }
}

/// 0 is no device; in a request it stands for "the one with this name", or for a whole group.
fn check_ifindex(ifindex: u32) -> Result<()> {
    match ifindex {
        0 => Err(Error::errno(libc::ENODEV, None)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
