//! Peers: remote collectors and how copies reach them.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::address::UnicastAddr;
pub use super::number::{Dscp, GreKey, Port, Session, SnapLen, Ttl, Vni};
pub use super::rate::Rate;
pub use super::tunnel::{Encap, Gso, Oversize, Tunnel};

/// The name of a peer or of a group: 1 to 31 letters, digits, `-` and `_`, the first one a letter or digit.
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
                "\"{text}\" is no name of a peer or group: 1 to 31 letters, digits, - and _, beginning with a letter or \
                 digit"
            ));
        }
        Ok(PeerName(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for PeerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device of this host. The kernel knows it by its number; the name may change.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its number.
    pub ifindex: u32,
    /// Its name now; None when it is gone, or when nobody has looked.
    pub name: Option<String>,
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.ifindex == other.ifindex
    }
}

impl Eq for Device {}

impl fmt::Display for Device {
    /// As iproute2 writes a device that is gone: `if7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "if{}", self.ifindex),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The outer headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The tunnel's own.
    pub encap: Encap,
    /// Where the copies go.
    pub remote: UnicastAddr,
    /// Where they come from; of the same family.
    pub local: UnicastAddr,
    /// The route chose `local`, and goes on choosing it where the kernel can (6.7 and later).
    pub local_auto: bool,
    /// `remote` is an address of this host.
    pub on_host: bool,
    /// The output device that the user wants; None: the route's.
    pub dev: Option<Device>,
    /// The TTL, or hop limit.
    pub ttl: Ttl,
    /// The DSCP.
    pub dscp: Dscp,
}

impl Outer {
    /// The source address that the user fixed.
    pub fn fixed_local(&self) -> Option<UnicastAddr> {
        (!self.local_auto).then_some(self.local)
    }
}

/// How copies reach the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a tunnel.
    Tunnel(Outer),
    /// As they are, out of this device.
    Span(Device),
}

/// A collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Unique among the peers and groups of an instance.
    pub name: PeerName,
    /// Its group; None: a group of its own.
    pub group: Option<PeerName>,
    /// How copies reach it.
    pub way: Way,
    /// What becomes of copies that do not fit the path.
    pub oversize: Oversize,
    /// What becomes of super-packets.
    pub gso: Gso,
    /// How much of a frame it gets; None: all of it.
    pub snaplen: Option<SnapLen>,
    /// How much it gets a second, over all CPUs; None: no limit.
    pub rate: Option<Rate>,
}

impl Peer {
    /// What carries its copies.
    pub fn tunnel(&self) -> Tunnel {
        match &self.way {
            Way::Tunnel(outer) => outer.encap.tunnel(),
            Way::Span(_) => Tunnel::Span,
        }
    }

    /// The outer headers; None for span.
    pub fn outer(&self) -> Option<&Outer> {
        match &self.way {
            Way::Tunnel(outer) => Some(outer),
            Way::Span(_) => None,
        }
    }

    /// The device that the user named.
    pub fn dev(&self) -> Option<&Device> {
        match &self.way {
            Way::Tunnel(outer) => outer.dev.as_ref(),
            Way::Span(device) => Some(device),
        }
    }

    /// The same, to be changed.
    pub fn dev_mut(&mut self) -> Option<&mut Device> {
        match &mut self.way {
            Way::Tunnel(outer) => outer.dev.as_mut(),
            Way::Span(device) => Some(device),
        }
    }

    /// Where its copies end, in messages: an address, or a device.
    pub fn destination(&self) -> String {
        match &self.way {
            Way::Tunnel(outer) => outer.remote.to_string(),
            Way::Span(device) => device.to_string(),
        }
    }

    /// Whether both are the same collector: a frame that goes to both arrives there twice.
    pub fn same_collector(&self, other: &Self) -> bool {
        match (&self.way, &other.way) {
            (Way::Tunnel(a), Way::Tunnel(b)) => (a.remote, a.encap) == (b.remote, b.encap),
            (Way::Span(a), Way::Span(b)) => a == b,
            _ => false,
        }
    }

    /// Whether copies may leave through another device than those of the other one do.
    pub fn way_differs(&self, other: &Self) -> bool {
        match (&self.way, &other.way) {
            (Way::Tunnel(a), Way::Tunnel(b)) => (a.remote, a.local, &a.dev) != (b.remote, b.local, &b.dev),
            (a, b) => a != b,
        }
    }

    /// A Linux collector must be told to take UDP over IPv6 without a checksum.
    pub fn needs_zero_checksums(&self) -> bool {
        self.outer().is_some_and(|outer| outer.remote.ip().is_ipv6() && outer.encap.port().is_some())
    }
}

impl Serialize for Peer {
    /// A key that does not apply to the tunnel is absent; one that applies and is not set is null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("tunnel", &self.tunnel())?;
        if let Some(outer) = self.outer() {
            map.serialize_entry("remote", &outer.remote)?;
            map.serialize_entry("local", &outer.local)?;
            map.serialize_entry("local_auto", &outer.local_auto)?;
            match outer.encap {
                Encap::Vxlan { vni, port } | Encap::Geneve { vni, port } => {
                    map.serialize_entry("vni", &vni)?;
                    map.serialize_entry("port", &port)?;
                }
                Encap::Gre { key } => map.serialize_entry("key", &key)?,
                Encap::Erspan2 { session } | Encap::Erspan3 { session } => map.serialize_entry("session", &session)?,
            }
            map.serialize_entry("ttl", &outer.ttl)?;
            map.serialize_entry("dscp", &outer.dscp)?;
        }
        map.serialize_entry("dev", &self.dev())?;
        map.serialize_entry("group", &self.group)?;
        map.serialize_entry("oversize", &self.oversize)?;
        map.serialize_entry("gso", &self.gso)?;
        map.serialize_entry("snaplen", &self.snaplen)?;
        map.serialize_entry("rate", &self.rate)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trip;
    use super::*;

    #[test]
    fn names_are_words() {
        let long = "a".repeat(32);
        round_trip::<PeerName>(
            &["ids", "a", "ids-2_b", "9"],
            &[("", "is no name"), ("-x", "is no name"), ("a b", "is no name"), (&long, "1 to 31"), ("a/b", "no")],
        );
    }

    fn gre(key: Option<&str>) -> Peer {
        Peer {
            name: "ids".parse().unwrap(),
            group: None,
            way: Way::Tunnel(Outer {
                encap: Encap::Gre { key: key.map(|key| key.parse().unwrap()) },
                remote: "2001:db8::1".parse().unwrap(),
                local: "2001:db8::2".parse().unwrap(),
                local_auto: true,
                on_host: false,
                dev: None,
                ttl: Ttl::default(),
                dscp: Dscp::BEST_EFFORT,
            }),
            oversize: Oversize::Fragment,
            gso: Gso::Fast,
            snaplen: None,
            rate: None,
        }
    }

    #[test]
    fn documents_have_the_keys_of_the_tunnel_alone() {
        let document = serde_json::json!({
            "name": "ids", "tunnel": "gre", "remote": "2001:db8::1", "local": "2001:db8::2", "local_auto": true, "key": null,
            "ttl": 64, "dscp": 0, "dev": null, "group": null, "oversize": "fragment", "gso": "fast", "snaplen": null, "rate": null
        });
        assert_eq!(serde_json::to_value(gre(None)).unwrap(), document);
        assert_eq!(serde_json::to_value(gre(Some("7"))).unwrap()["key"], 7);
        let span = Peer { way: Way::Span(Device { ifindex: 7, name: None }), ..gre(None) };
        let document = serde_json::json!({
            "name": "ids", "tunnel": "span", "dev": "if7", "group": null, "oversize": "fragment", "gso": "fast",
            "snaplen": null, "rate": null
        });
        assert_eq!(serde_json::to_value(span).unwrap(), document);
    }

    #[test]
    fn the_key_tells_collectors_apart() {
        assert!(gre(None).same_collector(&gre(None)));
        assert!(!gre(None).same_collector(&gre(Some("7"))));
        assert!(!gre(None).needs_zero_checksums(), "GRE is not UDP");
    }
}
