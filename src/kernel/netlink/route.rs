//! Routes: where a packet would go, and adding one.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};

use super::{Error, Netlink, Result, family_of};

/// What the kernel would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteKind {
    Unicast,
    /// The host itself.
    Local,
    Blackhole,
    Unreachable,
    Prohibit,
    Broadcast,
    Multicast,
    /// Another `RTN_*`.
    Other(u8),
}

/// The answer to "where would this go".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The output device's ifindex; 0 when there is none. A packet to the host itself goes to `lo`.
    pub oif: u32,
    /// The next hop; `None` on the link. It can be IPv6 for an IPv4 destination.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel would choose, or the one that was asked with.
    pub prefsrc: Option<IpAddr>,
    pub kind: RouteKind,
    /// In bytes: of the route, or learned on the path. `None`: the device's.
    pub mtu: Option<u32>,
    /// The administrator locked the MTU. One that is not locked counts for packets of this host's sockets alone.
    pub mtu_locked: bool,
}

/// Of <linux/rtnetlink.h>.
const RTAX_MTU: u32 = 2;

impl Netlink {
    /// Asks the kernel where a packet to `dst` would go, from `src` and through the device `oif` if they are given.
    ///
    /// # Errors
    /// The kernel's: `ENETUNREACH` without a route, `ENODEV` for an unknown device. A route that refuses is an error
    /// as well: `EHOSTUNREACH` for unreachable, `EACCES` for prohibit, `EINVAL` for blackhole. An IPv4 source that
    /// the host does not have is `ENETUNREACH` too.
    pub fn route_get(&self, dst: IpAddr, src: Option<IpAddr>, oif: Option<u32>) -> Result<Route> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(dst);
        message.header.destination_prefix_length = full_length(dst);
        message.attributes.push(RouteAttribute::Destination(dst.into()));
        if let Some(src) = src {
            if src.is_ipv4() != dst.is_ipv4() {
                return Err(Error::invalid_input(format!("{src} and {dst} are of different families")));
            }
            message.header.source_prefix_length = full_length(src);
            message.attributes.push(RouteAttribute::Source(src.into()));
        }
        if let Some(oif) = oif {
            message.attributes.push(RouteAttribute::Oif(oif));
        }
        let replies = self.request(RouteNetlinkMessage::GetRoute(message), 0)?;
        match replies.first() {
            Some(payload) => Ok(Route::from(RouteMessage::parse(payload.as_slice())?)),
            None => Err(Error::invalid_data("the kernel sent no route".into())),
        }
    }

    /// Adds a unicast route to the main table, through the next hop `via` or straight onto the link of `oif`.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when there is one, `ENETUNREACH` when `via` is not on a link, `EINVAL` when bits of
    /// `dst` beyond `prefix` are set.
    pub fn add_route(&self, dst: IpAddr, prefix: u8, via: Option<IpAddr>, oif: Option<u32>) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(dst);
        message.header.destination_prefix_length = prefix;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        if via.is_none() && dst.is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
        message.attributes.push(RouteAttribute::Destination(dst.into()));
        match via {
            None => {}
            Some(via) if via.is_ipv4() == dst.is_ipv4() => {
                message.attributes.push(RouteAttribute::Gateway(via.into()));
            }
            Some(IpAddr::V6(via)) => {
                message.attributes.push(RouteAttribute::Via(RouteVia::Inet6(via)));
            }
            Some(via) => {
                return Err(Error::invalid_input(format!("{via} cannot be the next hop to {dst}")));
            }
        }
        if let Some(oif) = oif {
            message.attributes.push(RouteAttribute::Oif(oif));
        }
        self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }
}

impl From<RouteMessage> for Route {
    fn from(message: RouteMessage) -> Self {
        let mut route = Self {
            oif: 0,
            gateway: None,
            prefsrc: None,
            kind: message.header.kind.into(),
            mtu: None,
            mtu_locked: false,
        };
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Oif(oif) => route.oif = oif,
                RouteAttribute::Gateway(address) => route.gateway = ip(&address),
                RouteAttribute::Via(RouteVia::Inet(address)) => {
                    route.gateway = Some(address.into());
                }
                RouteAttribute::Via(RouteVia::Inet6(address)) => {
                    route.gateway = Some(address.into());
                }
                RouteAttribute::PrefSource(address) => route.prefsrc = ip(&address),
                RouteAttribute::Metrics(metrics) => {
                    route.mtu_locked = metrics
                        .iter()
                        .any(|metric| matches!(metric, RouteMetric::Lock(locked) if locked >> RTAX_MTU & 1 == 1));
                    route.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        route
    }
}

impl From<RouteType> for RouteKind {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local => Self::Local,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            RouteType::Broadcast => Self::Broadcast,
            RouteType::Multicast => Self::Multicast,
            other => Self::Other(other.into()),
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn full_length(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{in_namespace, ip, on_a_wire, output, wait_for};
    use super::*;

    fn errno(result: Result<Route>) -> Option<i32> {
        result.unwrap_err().raw_os_error()
    }

    #[test]
    fn no_route_is_the_kernels_error() {
        in_namespace(|netlink| {
            for dst in ["198.51.100.1", "2001:db8:5::1"] {
                let error = netlink.route_get(ip(dst), None, None);
                assert_eq!(errno(error), Some(libc::ENETUNREACH), "{dst}");
            }
            let error = netlink.route_get(ip("198.51.100.1"), None, Some(4711));
            assert_eq!(errno(error), Some(libc::ENODEV));
        });
    }

    #[test]
    fn an_address_of_the_host_is_local() {
        on_a_wire(|netlink, _, _| {
            let lo = netlink.link_by_name("lo").unwrap().unwrap().ifindex;
            netlink.set_up(lo, true).unwrap();
            for own in ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"] {
                // The kernel enters the route of an IPv6 address from a work queue.
                wait_for(&format!("local route to {own}"), || {
                    let route = netlink.route_get(ip(own), None, None).unwrap();
                    (route.kind, route.oif) == (RouteKind::Local, lo)
                });
            }
        });
    }

    #[test]
    fn a_neighbour_on_the_link_has_no_gateway() {
        on_a_wire(|netlink, va, _| {
            for (dst, src) in [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")] {
                let route = netlink.route_get(ip(dst), None, None).unwrap();
                let expected = Route {
                    oif: va,
                    gateway: None,
                    prefsrc: Some(ip(src)),
                    kind: RouteKind::Unicast,
                    mtu: None,
                    mtu_locked: false,
                };
                assert_eq!(route, expected);
                let asked = netlink.route_get(ip(dst), Some(ip(src)), Some(va));
                assert_eq!(asked.unwrap().oif, va);
            }
        });
    }

    #[test]
    fn a_route_through_a_gateway_names_it() {
        on_a_wire(|netlink, va, _| {
            for (dst, prefix, via, target) in [
                ("198.51.100.0", 24, "192.0.2.2", "198.51.100.77"),
                ("2001:db8:5::", 48, "2001:db8::2", "2001:db8:5::77"),
                ("203.0.113.0", 24, "2001:db8::2", "203.0.113.77"),
            ] {
                netlink.add_route(ip(dst), prefix, Some(ip(via)), Some(va)).unwrap();
                let route = netlink.route_get(ip(target), None, None).unwrap();
                assert_eq!(route.gateway, Some(ip(via)), "{target}");
                assert_eq!((route.oif, route.kind), (va, RouteKind::Unicast));
                let again = netlink.add_route(ip(dst), prefix, Some(ip(via)), Some(va));
                assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EEXIST));
            }
            netlink.add_route(ip("198.51.101.0"), 24, None, Some(va)).unwrap();
            let route = netlink.route_get(ip("198.51.101.1"), None, None).unwrap();
            assert_eq!((route.oif, route.gateway), (va, None));
        });
    }

    #[test]
    fn the_mtu_of_a_route_is_its_own() {
        on_a_wire(|netlink, _, _| {
            output("ip route add 198.51.100.0/24 via 192.0.2.2 mtu 1400");
            output("ip route add 2001:db8:5::/48 via 2001:db8::2 mtu 1401");
            for (dst, mtu) in [("198.51.100.1", 1400), ("2001:db8:5::1", 1401)] {
                let route = netlink.route_get(ip(dst), None, None).unwrap();
                assert_eq!(route.mtu, Some(mtu));
            }
        });
    }

    #[test]
    fn broadcast_and_multicast_are_told_apart() {
        on_a_wire(|netlink, va, _| {
            for (dst, kind) in [
                ("192.0.2.255", RouteKind::Broadcast),
                ("224.0.0.1", RouteKind::Multicast),
                ("ff02::1", RouteKind::Multicast),
            ] {
                let route = netlink.route_get(ip(dst), None, Some(va)).unwrap();
                assert_eq!(route.kind, kind, "{dst}");
            }
        });
    }

    #[test]
    fn refusing_routes_are_the_kernels_errors() {
        on_a_wire(|netlink, _, _| {
            for (number, (word, expected)) in
                [("unreachable", libc::EHOSTUNREACH), ("prohibit", libc::EACCES), ("blackhole", libc::EINVAL)]
                    .into_iter()
                    .enumerate()
            {
                output(&format!("ip route add {word} 198.51.10{number}.0/24"));
                output(&format!("ip route add {word} 2001:db8:5{number}::/48"));
                for dst in [format!("198.51.10{number}.1"), format!("2001:db8:5{number}::1")] {
                    let refused = netlink.route_get(ip(&dst), None, None);
                    assert_eq!(errno(refused), Some(expected), "{word} {dst}");
                }
            }
        });
    }

    #[test]
    fn a_source_that_the_host_does_not_have_is_refused_in_ipv4() {
        on_a_wire(|netlink, _, _| {
            let foreign = Some(ip("203.0.113.1"));
            let refused = netlink.route_get(ip("192.0.2.2"), foreign, None);
            assert_eq!(errno(refused), Some(libc::ENETUNREACH));
            let mixed = netlink.route_get(ip("192.0.2.2"), Some(ip("2001:db8::1")), None);
            assert_eq!(mixed.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        });
    }
}
