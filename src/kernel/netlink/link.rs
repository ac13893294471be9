//! Network devices: what there is.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};

use super::device::{check_name, message_for};
use super::{Netlink, Result, attributes, text, u32_native, u64_native};

/// The kernel's `struct ifinfomsg`.
const LINK_HEADER_LEN: usize = 16;

/// `IFLA_BRPORT_STATE` of linux/if_link.h.
const IFLA_BRPORT_STATE: u16 = 1;

/// `ARPHRD_RAWIP` of linux/if_arp.h.
const ARPHRD_RAWIP: u16 = 519;

/// `ARPHRD_IP6GRE` of linux/if_arp.h.
const ARPHRD_IP6GRE: u16 = 823;

/// Where the frames of a device begin when a program at TC sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// At an Ethernet header.
    Ethernet,
    /// At the IP header.
    Ip,
    /// At something else.
    Other,
}

/// A network device as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    /// Bytes that are not UTF-8 are replaced by U+FFFD; such a name cannot be looked up.
    pub name: String,
    /// The kind of a software device (`bridge`, `veth` …); a physical device and `lo` have none.
    pub kind: Option<String>,
    /// `ARPHRD_*`: 1 is Ethernet, 772 the loopback, 65534 a device without any header.
    pub hw_type: u16,
    /// `None` when the address is not six bytes long.
    pub mac: Option<[u8; 6]>,
    /// In bytes, without the Ethernet header.
    pub mtu: u32,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// There is carrier (`IFF_LOWER_UP`).
    pub lower_up: bool,
    pub loopback: bool,
    /// There is one neighbour, which needs no address (`IFF_POINTOPOINT`).
    pub point_to_point: bool,
    /// The ifindex of the bridge, bond or VRF to which it belongs.
    pub master: Option<u32>,
    pub alias: Option<String>,
    /// In packets, as the driver counts them.
    pub rx_packets: u64,
    /// In packets, as the driver counts them.
    pub tx_packets: u64,
    /// On a bridge port `BR_STATE_*`: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking.
    pub bridge_port_state: Option<u8>,
}

impl Netlink {
    /// All devices of the namespace.
    ///
    /// # Errors
    /// The kernel's; `EAGAIN` when devices come and go faster than they can be listed.
    pub fn links(&self) -> Result<Vec<Link>> {
        self.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?
            .iter()
            .map(|payload| Link::parse(payload))
            .collect()
    }

    /// The device of this name. The kernel looks through alternative names too, so the `name` of the answer can be
    /// another one.
    ///
    /// # Errors
    /// The kernel's, except that `ENODEV` is `None`.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.link(message)
    }

    /// The device of this ifindex; 0 is never one.
    ///
    /// # Errors
    /// The kernel's, except that `ENODEV` is `None`.
    pub fn link_by_index(&self, ifindex: u32) -> Result<Option<Link>> {
        if ifindex == 0 {
            return Ok(None);
        }
        self.link(message_for(ifindex))
    }

    fn link(&self, message: LinkMessage) -> Result<Option<Link>> {
        match self.request(RouteNetlinkMessage::GetLink(message), 0) {
            Ok(replies) => replies.first().map(|payload| Link::parse(payload)).transpose(),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Link {
    /// Where its frames begin. The list is the kernel's own (`dev_is_mac_header_xmit`, linux/if_arp.h), without those that
    /// carry no traffic. A GRE device with no fixed remote end puts the outer header in front, and its programs see it.
    pub fn framing(&self) -> Framing {
        match self.hw_type {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Framing::Ethernet,
            libc::ARPHRD_NONE | ARPHRD_RAWIP | libc::ARPHRD_PPP => Framing::Ip,
            libc::ARPHRD_TUNNEL | libc::ARPHRD_TUNNEL6 | libc::ARPHRD_SIT => Framing::Ip,
            libc::ARPHRD_IPGRE | ARPHRD_IP6GRE if self.point_to_point => Framing::Ip,
            _ => Framing::Other,
        }
    }

    fn parse(payload: &[u8]) -> Result<Self> {
        let header = LinkHeader::parse(payload)?;
        let mut link = Self {
            ifindex: header.index,
            name: String::new(),
            kind: None,
            hw_type: header.link_layer_type.into(),
            mac: None,
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            lower_up: header.flags.contains(LinkFlags::LowerUp),
            loopback: header.flags.contains(LinkFlags::Loopback),
            point_to_point: header.flags.contains(LinkFlags::Pointopoint),
            master: None,
            alias: None,
            rx_packets: 0,
            tx_packets: 0,
            bridge_port_state: None,
        };
        for attribute in attributes(&payload[LINK_HEADER_LEN..]) {
            match attribute? {
                (libc::IFLA_IFNAME, value) => link.name = text(value),
                (libc::IFLA_ADDRESS, value) => link.mac = value.try_into().ok(),
                (libc::IFLA_MTU, value) => link.mtu = u32_native(value).unwrap_or(0),
                (libc::IFLA_MASTER, value) => link.master = u32_native(value),
                (libc::IFLA_IFALIAS, value) => link.alias = Some(text(value)),
                (libc::IFLA_STATS64, value) => {
                    link.rx_packets = u64_native(value).unwrap_or(0);
                    link.tx_packets = value.get(8..).and_then(u64_native).unwrap_or(0);
                }
                (libc::IFLA_LINKINFO, value) => link.parse_info(value)?,
                _ => {}
            }
        }
        Ok(link)
    }

    fn parse_info(&mut self, info: &[u8]) -> Result<()> {
        let mut port_of_bridge = false;
        for attribute in attributes(info) {
            match attribute? {
                (libc::IFLA_INFO_KIND, value) => self.kind = Some(text(value)),
                (libc::IFLA_INFO_SLAVE_KIND, value) => port_of_bridge = text(value) == "bridge",
                (libc::IFLA_INFO_SLAVE_DATA, value) if port_of_bridge => {
                    for port in attributes(value) {
                        if let (IFLA_BRPORT_STATE, state) = port? {
                            self.bridge_port_state = state.first().copied();
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::{in_namespace, on_a_wire, output, wait_for};
    use super::*;
    use crate::kernel::netns::NetNs;

    #[test]
    fn a_fresh_namespace_has_lo_alone() {
        in_namespace(|netlink| {
            let links = netlink.links().unwrap();
            let lo = links.iter().find(|link| link.name == "lo").unwrap();
            assert!(lo.loopback && !lo.up);
            assert_eq!((lo.hw_type, lo.mtu), (libc::ARPHRD_LOOPBACK, 65536));
            assert_eq!((lo.kind.as_deref(), lo.master), (None, None));
        });
    }

    #[test]
    fn three_hundred_links_are_all_listed() {
        in_namespace(|netlink| {
            let before = netlink.links().unwrap().len();
            for number in 0..150 {
                netlink.add_veth(&format!("a{number}"), &format!("b{number}"), 1500, None).unwrap();
            }
            let mut names: Vec<String> = netlink.links().unwrap().into_iter().map(|link| link.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), before + 300);
        });
    }

    #[test]
    fn a_listing_while_links_come_and_go_has_every_lasting_one_once() {
        in_namespace(|netlink| {
            for number in 0..100 {
                netlink.add_veth(&format!("a{number}"), &format!("b{number}"), 1500, None).unwrap();
            }
            let here = NetNs::current().unwrap();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let changing = scope.spawn(|| {
                    here.enter().unwrap();
                    let netlink = Netlink::open().unwrap();
                    let mut changes = 0;
                    while !done.load(Ordering::Relaxed) {
                        let ifindex = netlink.add_bridge("comes-and-goes", [2; 6], 1500, None);
                        netlink.delete(ifindex.unwrap()).unwrap();
                        changes += 1;
                    }
                    changes
                });
                for _ in 0..200 {
                    let links = netlink.links().unwrap();
                    let lasting = links.iter().filter(|link| link.kind.as_deref() == Some("veth"));
                    let mut names: Vec<&str> = lasting.map(|link| link.name.as_str()).collect();
                    assert_eq!(names.len(), 200);
                    names.sort_unstable();
                    names.dedup();
                    assert_eq!(names.len(), 200);
                }
                done.store(true, Ordering::Relaxed);
                assert!(changing.join().unwrap() > 0);
            });
        });
    }

    #[test]
    fn the_type_of_a_device_tells_where_its_frames_begin() {
        let lo = in_namespace(|netlink| netlink.link_by_name("lo").unwrap().unwrap());
        let of = |hw_type, point_to_point| Link { hw_type, point_to_point, ..lo.clone() }.framing();
        for (hw_type, framing) in [
            (libc::ARPHRD_ETHER, Framing::Ethernet),
            (libc::ARPHRD_LOOPBACK, Framing::Ethernet),
            (libc::ARPHRD_NONE, Framing::Ip),
            (ARPHRD_RAWIP, Framing::Ip),
            (libc::ARPHRD_SIT, Framing::Ip),
            (libc::ARPHRD_INFINIBAND, Framing::Other),
            (libc::ARPHRD_SLIP, Framing::Other),
            (280, Framing::Other),
            (824, Framing::Other),
        ] {
            assert_eq!((of(hw_type, false), of(hw_type, true)), (framing, framing), "{hw_type}");
        }
        for gre in [libc::ARPHRD_IPGRE, ARPHRD_IP6GRE] {
            assert_eq!((of(gre, false), of(gre, true)), (Framing::Other, Framing::Ip));
        }
    }

    #[test]
    fn unknown_links_are_none() {
        in_namespace(|netlink| {
            for name in ["", "nothing", "sixteen-bytes-xx", "nul\0", "x%d"] {
                assert_eq!(netlink.link_by_name(name).unwrap(), None, "{name:?}");
            }
            assert_eq!(netlink.link_by_index(0).unwrap(), None);
            assert_eq!(netlink.link_by_index(4711).unwrap(), None);
        });
    }

    #[test]
    fn names_of_fifteen_unusual_bytes_are_found() {
        in_namespace(|netlink| {
            for name in ["fifteen-bytes-x", "eth0.100", "ß{}\"'\\$;&|<>"] {
                let ifindex = netlink.add_bridge(name, [2; 6], 1500, None).unwrap();
                let link = netlink.link_by_name(name).unwrap().unwrap();
                assert_eq!((link.ifindex, link.name.as_str()), (ifindex, name));
            }
        });
    }

    #[test]
    fn a_name_that_is_not_utf8_does_not_hide_the_other_links() {
        in_namespace(|netlink| {
            let made = Command::new("ip")
                .args(["link", "add", "name"])
                .arg(OsStr::from_bytes(b"x\xff\xfe"))
                .args(["type", "bridge"])
                .status()
                .unwrap();
            assert!(made.success());
            let names: Vec<String> = netlink.links().unwrap().into_iter().map(|link| link.name).collect();
            assert!(names.contains(&"lo".to_owned()));
            assert!(names.contains(&"x\u{fffd}\u{fffd}".to_owned()));
        });
    }

    #[test]
    fn an_alternative_name_finds_the_link_under_its_own_name() {
        in_namespace(|netlink| {
            netlink.add_veth("va", "vb", 1500, None).unwrap();
            output("ip link property add dev va altname other");
            let link = netlink.link_by_name("other").unwrap().unwrap();
            assert_eq!(link.name, "va");
        });
    }

    #[test]
    fn packet_counters_are_those_of_the_device() {
        on_a_wire(|netlink, va, there| {
            let now = || netlink.link_by_index(va).unwrap().unwrap();
            let before = now();
            netlink.neighbour_resolve(va, "192.0.2.2".parse().unwrap()).unwrap();
            wait_for("ARP request sent", || now().tx_packets > before.tx_packets);
            wait_for("ARP reply received", || now().rx_packets > before.rx_packets);
            let peer = there.run(|| Netlink::open().unwrap().link_by_name("vb").unwrap()).unwrap().unwrap();
            assert!(peer.rx_packets >= 1 && peer.tx_packets >= 1);
            assert_eq!(peer.hw_type, libc::ARPHRD_ETHER);
        });
    }
}
