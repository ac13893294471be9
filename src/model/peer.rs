//! Peers: remote collectors and how copies reach them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

/// The name of a peer: 1 to 31 letters, digits, `-` and `_`, the first one a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerName(String);

impl PeerName {
    /// The longest name, in bytes.
    pub const MAX: usize = 31;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !first || text.len() > Self::MAX || !text.chars().all(good) {
            return Err(format!(
                "\"{text}\" is no peer name: 1 to 31 letters, digits, - and _, beginning with a letter or digit"
            ));
        }
        Ok(PeerName(text.to_owned()))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tunnel that carries the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// VXLAN (RFC 7348): UDP, with a 24-bit VNI
    Vxlan,
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tunnel::Vxlan => f.write_str("vxlan"),
        }
    }
}

/// A number with a largest value, such as a VNI.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The number, in host order.
            pub fn get(self) -> $inner {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let number: i128 = text.parse().map_err(|_| {
                    format!("\"{text}\" is no {}: a whole number from {} to {}", $what, $min, $max)
                })?;
                if number < $min {
                    return Err(format!("{} {text} is too small: {} to {}", $what, $min, $max));
                }
                if number > $max {
                    return Err(format!("{} {text} is too large: {} to {}", $what, $min, $max));
                }
                Ok($name(number as $inner))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded!(
    /// A VXLAN network identifier: 24 bits (RFC 7348, section 5).
    Vni(u32), "VNI", 0..=16_777_215
);
bounded!(
    /// A UDP port, 1 to 65535.
    Port(u16), "port", 1..=65_535
);
bounded!(
    /// The TTL of the outer header, 1 to 255.
    Ttl(u8), "TTL", 1..=255
);
bounded!(
    /// A differentiated services code point: 6 bits (RFC 2474).
    Dscp(u8), "DSCP", 0..=63
);

/// An address that one host has: no wildcard, multicast, broadcast or (as a collector) network-of-this-host address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UnicastAddr(Ipv4Addr);

impl UnicastAddr {
    /// The address.
    pub fn ip(self) -> Ipv4Addr {
        self.0
    }
}

impl TryFrom<Ipv4Addr> for UnicastAddr {
    type Error = String;

    fn try_from(ip: Ipv4Addr) -> Result<Self, Self::Error> {
        let what = match ip {
            _ if ip.is_unspecified() => "the unspecified address",
            _ if ip.octets()[0] == 0 => "in 0.0.0.0/8, which names no other host (RFC 1122)",
            _ if ip.is_multicast() => "a multicast address",
            _ if ip.is_broadcast() => "the broadcast address",
            _ if ip.octets()[0] >= 240 => "a reserved address (RFC 1112)",
            _ => return Ok(UnicastAddr(ip)),
        };
        Err(format!("{ip} is {what}: give the unicast address of one host"))
    }
}

impl FromStr for UnicastAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.try_into(),
            Ok(IpAddr::V6(_)) => Err(format!("{text} is an IPv6 address: tunnels go over IPv4 in this version")),
            Err(_) => Err(format!("\"{text}\" is no IPv4 address: write it as 192.0.2.1")),
        }
    }
}

impl fmt::Display for UnicastAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A remote collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Unique among the peers of an instance.
    pub name: PeerName,
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Where the copies go.
    pub remote: UnicastAddr,
    /// Where they come from.
    pub local: UnicastAddr,
    /// The route chose `local`, and goes on choosing it where the kernel can (6.7 and later).
    pub local_auto: bool,
    /// The VXLAN network identifier.
    pub vni: Vni,
    /// The UDP destination port.
    pub port: Port,
    /// The TTL of the outer header.
    pub ttl: Ttl,
    /// The DSCP of the outer header.
    pub dscp: Dscp,
}

impl Default for Ttl {
    fn default() -> Self {
        Ttl(64)
    }
}

impl Dscp {
    /// The class of traffic that asks for nothing.
    pub const BEST_EFFORT: Dscp = Dscp(0);
}

impl Tunnel {
    /// The port that IANA gave to the tunnel.
    pub fn default_port(self) -> Port {
        match self {
            Tunnel::Vxlan => Port(4789),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr<Err = String> + fmt::Display>(good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            assert_eq!(text.parse::<T>().unwrap_or_else(|e| panic!("{e}")).to_string(), *text);
        }
        for (text, error) in bad {
            let got = text.parse::<T>().err().unwrap_or_else(|| panic!("{text} was accepted"));
            assert!(got.contains(error), "{text}: {got}");
        }
    }

    #[test]
    fn vni_is_24_bits() {
        round_trip::<Vni>(
            &["0", "42", "16777215"],
            &[
                ("16777216", "VNI 16777216 is too large: 0 to 16777215"),
                ("-1", "too small"),
                ("x", "\"x\" is no VNI"),
                ("", "is no VNI"),
                ("0x10", "is no VNI"),
            ],
        );
    }

    #[test]
    fn ports_ttl_and_dscp_have_their_ranges() {
        round_trip::<Port>(&["1", "65535"], &[("0", "too small"), ("65536", "too large")]);
        round_trip::<Ttl>(&["1", "255"], &[("0", "too small"), ("256", "too large")]);
        round_trip::<Dscp>(&["0", "63"], &[("64", "too large"), ("ef", "is no DSCP")]);
    }

    #[test]
    fn only_unicast_addresses_are_collectors() {
        round_trip::<UnicastAddr>(
            &["10.0.0.5", "192.0.2.1", "127.0.0.1"],
            &[
                ("0.0.0.0", "unspecified"),
                ("0.1.2.3", "0.0.0.0/8"),
                ("224.0.0.1", "multicast"),
                ("255.255.255.255", "broadcast"),
                ("240.0.0.1", "reserved"),
                ("::1", "IPv6"),
                ("collector", "is no IPv4 address"),
                ("10.0.0", "is no IPv4 address"),
            ],
        );
    }

    #[test]
    fn peer_names_are_words() {
        let long = "a".repeat(32);
        round_trip::<PeerName>(
            &["ids", "a", "ids-2_b", "9"],
            &[("", "no peer name"), ("-x", "no peer name"), ("a b", "no peer name"), (&long, "1 to 31"), ("a/b", "no")],
        );
    }
}
