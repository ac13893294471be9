//! Tunnels: what carries the copies, what its header names, and how many bytes it adds.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use serde::Serialize;

use super::number::{GreKey, Port, Session, Vni};

/// What carries the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// VXLAN (RFC 7348): UDP, with a 24-bit VNI
    Vxlan,
    /// GENEVE (RFC 8926): UDP, with a 24-bit VNI
    Geneve,
    /// GRE (RFC 2784, 2890): Ethernet frames, with or without a 32-bit key
    Gre,
    /// ERSPAN type II: GRE, with a 10-bit session and the frame's VLAN
    Erspan2,
    /// ERSPAN type III: the same, with direction and time
    Erspan3,
    /// No tunnel: the plain frame, sent out of a device of this host
    Span,
}

impl Tunnel {
    /// All of them.
    pub const ALL: [Tunnel; 6] =
        [Tunnel::Vxlan, Tunnel::Geneve, Tunnel::Gre, Tunnel::Erspan2, Tunnel::Erspan3, Tunnel::Span];

    /// The port that IANA gave to it. None for those without UDP.
    pub fn default_port(self) -> Option<Port> {
        match self {
            Tunnel::Vxlan => Some(Port::VXLAN),
            Tunnel::Geneve => Some(Port::GENEVE),
            _ => None,
        }
    }

    /// What becomes of an oversized copy when nobody says.
    pub fn default_oversize(self) -> Oversize {
        match self {
            // There is no outer packet that could be cut into fragments.
            Tunnel::Span => Oversize::Drop,
            _ => Oversize::Fragment,
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tunnel::Vxlan => "vxlan",
            Tunnel::Geneve => "geneve",
            Tunnel::Gre => "gre",
            Tunnel::Erspan2 => "erspan2",
            Tunnel::Erspan3 => "erspan3",
            Tunnel::Span => "span",
        })
    }
}

/// What becomes of a copy that does not fit the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Oversize {
    /// Sent as fragments of the outer IP packet, which the collector puts together
    Fragment,
    /// Cut to what fits
    Truncate,
    /// Not sent, and counted as too_big
    Drop,
}

impl fmt::Display for Oversize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oversize::Fragment => "fragment",
            Oversize::Truncate => "truncate",
            Oversize::Drop => "drop",
        })
    }
}

/// What becomes of a TCP super-packet, which the network card cuts into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gso {
    /// Copied whole: every byte arrives; where the path has no room for the outer headers, the segments of the copy are
    /// smaller than those that were on the wire
    #[default]
    Fast,
    /// Cut into the segments that were on the wire, then copied
    Wire,
}

impl fmt::Display for Gso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gso::Fast => "fast",
            Gso::Wire => "wire",
        })
    }
}

/// The tunnel's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encap {
    /// VXLAN.
    Vxlan {
        /// The network identifier.
        vni: Vni,
        /// The UDP destination port.
        port: Port,
    },
    /// GENEVE.
    Geneve {
        /// The network identifier.
        vni: Vni,
        /// The UDP destination port.
        port: Port,
    },
    /// GRE with transparent Ethernet bridging.
    Gre {
        /// The key, if the header has one.
        key: Option<GreKey>,
    },
    /// ERSPAN type II.
    Erspan2 {
        /// The session.
        session: Session,
    },
    /// ERSPAN type III.
    Erspan3 {
        /// The session.
        session: Session,
    },
}

/// Bytes of an Ethernet header; every tunnel carries that of the frame.
pub const ETHERNET_HEADER: u32 = 14;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const UDP_HEADER: u32 = 8;
const VXLAN_HEADER: u32 = 8;
/// Without options.
const GENEVE_HEADER: u32 = 8;
const GRE_HEADER: u32 = 4;
const GRE_KEY: u32 = 4;
const GRE_SEQUENCE: u32 = 4;
const ERSPAN2_HEADER: u32 = 8;
/// Without the platform-specific subheader.
const ERSPAN3_HEADER: u32 = 12;

impl Encap {
    /// Its tunnel.
    pub fn tunnel(self) -> Tunnel {
        match self {
            Encap::Vxlan { .. } => Tunnel::Vxlan,
            Encap::Geneve { .. } => Tunnel::Geneve,
            Encap::Gre { .. } => Tunnel::Gre,
            Encap::Erspan2 { .. } => Tunnel::Erspan2,
            Encap::Erspan3 { .. } => Tunnel::Erspan3,
        }
    }

    /// The VNI, of a tunnel that has one.
    pub fn vni(self) -> Option<Vni> {
        match self {
            Encap::Vxlan { vni, .. } | Encap::Geneve { vni, .. } => Some(vni),
            _ => None,
        }
    }

    /// The UDP destination port, of a tunnel that has one.
    pub fn port(self) -> Option<Port> {
        match self {
            Encap::Vxlan { port, .. } | Encap::Geneve { port, .. } => Some(port),
            _ => None,
        }
    }

    /// The GRE key, if there is one.
    pub fn key(self) -> Option<GreKey> {
        match self {
            Encap::Gre { key } => key,
            _ => None,
        }
    }

    /// The session, of ERSPAN.
    pub fn session(self) -> Option<Session> {
        match self {
            Encap::Erspan2 { session } | Encap::Erspan3 { session } => Some(session),
            _ => None,
        }
    }

    /// By what the collector tells this mirror from others: `VNI 42`, `key 7`, `session 3`. None for GRE without a key.
    pub fn id(self) -> Option<String> {
        self.vni()
            .map(|vni| format!("VNI {vni}"))
            .or(self.key().map(|key| format!("key {key}")))
            .or(self.session().map(|session| format!("session {session}")))
    }

    /// Bytes that an IP packet grows by when its frame is sent to this address: the frame's Ethernet header, and all
    /// headers of the tunnel from IP on.
    pub fn overhead(self, remote: IpAddr) -> u32 {
        let ip = if remote.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let tunnel = match self {
            Encap::Vxlan { .. } => UDP_HEADER + VXLAN_HEADER,
            Encap::Geneve { .. } => UDP_HEADER + GENEVE_HEADER,
            Encap::Gre { key: None } => GRE_HEADER,
            Encap::Gre { key: Some(_) } => GRE_HEADER + GRE_KEY,
            Encap::Erspan2 { .. } => GRE_HEADER + GRE_SEQUENCE + ERSPAN2_HEADER,
            Encap::Erspan3 { .. } => GRE_HEADER + GRE_SEQUENCE + ERSPAN3_HEADER,
        };
        ETHERNET_HEADER + ip + tunnel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for tunnel in Tunnel::ALL {
            let name = tunnel.to_possible_value().unwrap();
            assert_eq!(name.get_name(), tunnel.to_string());
            assert_eq!(serde_json::to_value(tunnel).unwrap(), name.get_name());
        }
        assert_eq!(Tunnel::ALL.len(), Tunnel::value_variants().len());
        for oversize in Oversize::value_variants() {
            assert_eq!(oversize.to_possible_value().unwrap().get_name(), oversize.to_string());
        }
        for gso in Gso::value_variants() {
            assert_eq!(gso.to_possible_value().unwrap().get_name(), gso.to_string());
        }
    }

    #[test]
    fn every_tunnel_adds_its_headers() {
        let (vni, port) = ("1".parse().unwrap(), Port::VXLAN);
        let session = "1".parse().unwrap();
        for (encap, v4) in [
            (Encap::Vxlan { vni, port }, 50),
            (Encap::Geneve { vni, port }, 50),
            (Encap::Gre { key: None }, 38),
            (Encap::Gre { key: Some("7".parse().unwrap()) }, 42),
            (Encap::Erspan2 { session }, 50),
            (Encap::Erspan3 { session }, 54),
        ] {
            assert_eq!(encap.overhead("192.0.2.1".parse().unwrap()), v4, "{encap:?}");
            assert_eq!(encap.overhead("2001:db8::1".parse().unwrap()), v4 + 20, "{encap:?}");
        }
    }
}
