//! Addresses of collectors and of the host that sends to them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;

/// An address that one host has, and that means the same on every link: no wildcard, multicast, broadcast or link-local
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UnicastAddr(IpAddr);

impl UnicastAddr {
    /// The address.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Whether both are IPv4, or both IPv6.
    pub fn same_family(self, other: Self) -> bool {
        self.0.is_ipv4() == other.0.is_ipv4()
    }
}

impl TryFrom<IpAddr> for UnicastAddr {
    type Error = String;

    fn try_from(ip: IpAddr) -> Result<Self, Self::Error> {
        let wrong = match ip {
            IpAddr::V4(ip) => wrong_v4(ip),
            IpAddr::V6(ip) => wrong_v6(ip),
        };
        match wrong {
            Some(what) => Err(format!("{ip} is {what}: give the unicast address of one host")),
            None => Ok(UnicastAddr(ip)),
        }
    }
}

fn wrong_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("the unspecified address"),
        _ if ip.octets()[0] == 0 => Some("in 0.0.0.0/8, which names no other host (RFC 1122)"),
        _ if ip.is_multicast() => Some("a multicast address"),
        _ if ip.is_broadcast() => Some("the broadcast address"),
        _ if ip.octets()[0] >= 240 => Some("a reserved address (RFC 1112)"),
        _ => None,
    }
}

fn wrong_v6(ip: Ipv6Addr) -> Option<&'static str> {
    match ip {
        _ if ip.is_unspecified() => Some("the unspecified address"),
        _ if ip.is_multicast() => Some("a multicast address"),
        _ if ip.is_unicast_link_local() => Some("a link-local address, which means another host on every link"),
        _ if ip.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address mapped into IPv6, which is never on the wire (write it as IPv4)")
        }
        _ => None,
    }
}

impl FromStr for UnicastAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // With its zone (fe80::1%eth0) it is no address to the parser.
        let address = text.split_once('%').map_or(text, |(address, _)| address);
        let ip: IpAddr = address
            .parse()
            .map_err(|_| format!("\"{text}\" is no IP address: write it as 192.0.2.1 or 2001:db8::1"))?;
        let address = UnicastAddr::try_from(ip)?;
        match text.contains('%') {
            true => Err(format!("\"{text}\" has a zone: write {ip} alone, and the device behind --dev")),
            false => Ok(address),
        }
    }
}

impl fmt::Display for UnicastAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trip;
    use super::*;

    #[test]
    fn only_unicast_addresses_are_collectors() {
        round_trip::<UnicastAddr>(
            &["10.0.0.5", "192.0.2.1", "127.0.0.1", "2001:db8::1", "fd00::5", "::1"],
            &[
                ("0.0.0.0", "unspecified"),
                ("0.1.2.3", "0.0.0.0/8"),
                ("224.0.0.1", "multicast"),
                ("255.255.255.255", "broadcast"),
                ("240.0.0.1", "reserved"),
                ("::", "unspecified"),
                ("ff02::1", "multicast"),
                ("fe80::1", "link-local"),
                ("fe80::1%eth0", "link-local"),
                ("2001:db8::1%eth0", "--dev"),
                ("::ffff:192.0.2.1", "mapped"),
                ("collector", "\"collector\" is no IP address"),
                ("10.0.0", "is no IP address"),
                ("2001:db8::1/64", "is no IP address"),
                ("[2001:db8::1]", "is no IP address"),
                ("", "is no IP address"),
            ],
        );
    }

    #[test]
    fn families_are_told_apart() {
        let [a, b, c] = ["192.0.2.1", "2001:db8::1", "10.0.0.1"].map(|text| text.parse::<UnicastAddr>().unwrap());
        assert!(a.same_family(c) && !a.same_family(b));
    }
}
