//! Peers in the pinned maps, and their conversion from and to the model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Pod, RawPeer, ebm_gso, ebm_limit, ebm_oversize, ebm_peer_flag, ebm_tunnel, text};
use crate::model::number::{Dscp, GreKey, Port, Session, SnapLen, Ttl, Vni};
use crate::model::peer::{Device, Outer, Peer, PeerName, UnicastAddr, Way};
use crate::model::rate::{Rate, Unit};
use crate::model::tunnel::{Encap, Gso, Oversize, Tunnel};
use crate::model::{Code, Error, Result};

const LOCAL_AUTO: u32 = ebm_peer_flag::EBM_PEER_FLAG_LOCAL_AUTO.0;
const KEY: u32 = ebm_peer_flag::EBM_PEER_FLAG_KEY.0;
const HOST: u32 = ebm_peer_flag::EBM_PEER_FLAG_HOST.0;
const RATE_PACKETS: u32 = ebm_peer_flag::EBM_PEER_FLAG_RATE_PACKETS.0;

const RATE_SHIFT: u32 = ebm_limit::EBM_LIMIT_RATE_SHIFT.0;
const NANOSECONDS: u128 = 1_000_000_000;
/// A peer that was idle may send this long at the speed of the link,
const BURST_NS: u64 = 100_000_000;
/// or one super-packet of 64 KiB with its headers, if that takes longer at its rate.
const BURST_BYTES: u128 = 65_600;
/// The same in frames: segments of 1,448 bytes (MTU 1500, TCP with timestamps). The datapath refuses for good what costs more.
const BURST_FRAMES: u128 = 46;

fn tunnel_number(tunnel: Tunnel) -> u8 {
    let number = match tunnel {
        Tunnel::Vxlan => ebm_tunnel::EBM_TUNNEL_VXLAN,
        Tunnel::Geneve => ebm_tunnel::EBM_TUNNEL_GENEVE,
        Tunnel::Gre => ebm_tunnel::EBM_TUNNEL_GRE,
        Tunnel::Erspan2 => ebm_tunnel::EBM_TUNNEL_ERSPAN2,
        Tunnel::Erspan3 => ebm_tunnel::EBM_TUNNEL_ERSPAN3,
        Tunnel::Span => ebm_tunnel::EBM_TUNNEL_SPAN,
    };
    number.0 as u8
}

fn oversize_number(oversize: Oversize) -> u8 {
    let number = match oversize {
        Oversize::Fragment => ebm_oversize::EBM_OVERSIZE_FRAGMENT,
        Oversize::Truncate => ebm_oversize::EBM_OVERSIZE_TRUNCATE,
        Oversize::Drop => ebm_oversize::EBM_OVERSIZE_DROP,
    };
    number.0 as u8
}

fn gso_number(gso: Gso) -> u8 {
    let number = match gso {
        Gso::Fast => ebm_gso::EBM_GSO_FAST,
        Gso::Wire => ebm_gso::EBM_GSO_WIRE,
    };
    number.0 as u8
}

/// IPv4 in the first four bytes.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Nanoseconds that a byte (or a frame) takes at this rate, in fixed point.
fn rate_cost(rate: Rate) -> u64 {
    let unit = match rate.unit() {
        Unit::Bits => 8 * NANOSECONDS,
        Unit::Packets => NANOSECONDS,
    };
    let amount = u128::from(rate.amount()).max(1);
    (((unit << RATE_SHIFT) + amount / 2) / amount) as u64
}

fn rate_burst_ns(rate: Rate) -> u64 {
    let least = match rate.unit() {
        Unit::Bits => BURST_BYTES,
        Unit::Packets => BURST_FRAMES,
    };
    let ns = (u128::from(rate_cost(rate)) * least) >> RATE_SHIFT;
    BURST_NS.max(ns as u64)
}

/// A peer as the datapath wants it.
pub fn raw_peer(peer: &Peer, version: u32) -> RawPeer {
    let mut raw = RawPeer::zeroed();
    raw.version = version;
    raw.name[..peer.name.as_str().len()].copy_from_slice(peer.name.as_str().as_bytes());
    if let Some(group) = &peer.group {
        raw.group[..group.as_str().len()].copy_from_slice(group.as_str().as_bytes());
    }
    raw.tunnel = tunnel_number(peer.tunnel());
    raw.dev_ifindex = peer.dev().map_or(0, |device| device.ifindex);
    if let Some(outer) = peer.outer() {
        raw.family = if outer.remote.ip().is_ipv4() { 4 } else { 6 };
        raw.remote = address(outer.remote.ip());
        raw.local = address(outer.local.ip());
        raw.ttl = outer.ttl.get();
        raw.tos = outer.dscp.get() << 2;
        raw.flags |= if outer.local_auto { LOCAL_AUTO } else { 0 };
        raw.flags |= if outer.on_host { HOST } else { 0 };
        raw.port_be = outer.encap.port().map_or(0, |port| port.get().to_be());
        raw.key = match outer.encap {
            Encap::Vxlan { vni, .. } | Encap::Geneve { vni, .. } => vni.get(),
            Encap::Gre { key: None } => 0,
            Encap::Gre { key: Some(key) } => {
                raw.flags |= KEY;
                key.get()
            }
            Encap::Erspan2 { session } | Encap::Erspan3 { session } => session.get().into(),
        };
    }
    raw.oversize = oversize_number(peer.oversize);
    raw.gso = gso_number(peer.gso);
    raw.snaplen_bytes = peer.snaplen.map_or(0, SnapLen::get);
    if let Some(rate) = peer.rate {
        raw.flags |= if rate.unit() == Unit::Packets { RATE_PACKETS } else { 0 };
        raw.rate = rate.amount();
        raw.rate_cost = rate_cost(rate);
        raw.rate_burst_ns = rate_burst_ns(rate);
    }
    raw
}

/// A peer of the datapath; its device without a name. What no version of this program writes is damage.
pub fn peer(raw: &RawPeer) -> Result<Peer> {
    read(raw).map_err(|what| {
        Error::new(Code::Damaged, format!("the pinned peer \"{}\" is damaged: {what}", text(&raw.name)))
            .hint("remove this instance with ebmirror unpin --force, and set it up again")
    })
}

fn read(raw: &RawPeer) -> Result<Peer, String> {
    let tunnel = known(Tunnel::ALL, tunnel_number, raw.tunnel, "tunnel")?;
    let flags = raw.flags & !(LOCAL_AUTO | KEY | HOST | RATE_PACKETS);
    if flags != 0 {
        return Err(format!("flags {:#x}", raw.flags));
    }
    let dev = (raw.dev_ifindex != 0).then_some(Device { ifindex: raw.dev_ifindex, name: None });
    Ok(Peer {
        name: text(&raw.name).parse()?,
        group: (raw.group[0] != 0).then(|| text(&raw.group).parse::<PeerName>()).transpose()?,
        way: match tunnel {
            Tunnel::Span if raw.family != 0 => return Err(format!("span with family {}", raw.family)),
            Tunnel::Span => Way::Span(dev.ok_or("no device")?),
            _ => Way::Tunnel(outer(raw, tunnel, dev)?),
        },
        oversize: known(
            [Oversize::Fragment, Oversize::Truncate, Oversize::Drop],
            oversize_number,
            raw.oversize,
            "oversize",
        )?,
        gso: known([Gso::Fast, Gso::Wire], gso_number, raw.gso, "gso")?,
        snaplen: (raw.snaplen_bytes != 0).then(|| SnapLen::try_from(raw.snaplen_bytes)).transpose()?,
        rate: match (raw.rate, raw.flags & RATE_PACKETS) {
            (0, _) => None,
            (bits, 0) => Some(Rate::new(bits, Unit::Bits)?),
            (packets, _) => Some(Rate::new(packets, Unit::Packets)?),
        },
    })
}

/// The one of these that has this number.
fn known<T: Copy, const N: usize>(all: [T; N], number: fn(T) -> u8, raw: u8, what: &str) -> Result<T, String> {
    all.into_iter().find(|one| number(*one) == raw).ok_or_else(|| format!("{what} {raw}"))
}

fn outer(raw: &RawPeer, tunnel: Tunnel, dev: Option<Device>) -> Result<Outer, String> {
    let port = || Port::try_from(u32::from(u16::from_be(raw.port_be)));
    let encap = match tunnel {
        Tunnel::Vxlan => Encap::Vxlan { vni: Vni::try_from(raw.key)?, port: port()? },
        Tunnel::Geneve => Encap::Geneve { vni: Vni::try_from(raw.key)?, port: port()? },
        Tunnel::Gre => Encap::Gre { key: (raw.flags & KEY != 0).then(|| GreKey::try_from(raw.key)).transpose()? },
        Tunnel::Erspan2 => Encap::Erspan2 { session: Session::try_from(raw.key)? },
        Tunnel::Erspan3 => Encap::Erspan3 { session: Session::try_from(raw.key)? },
        Tunnel::Span => return Err("span with outer headers".to_owned()),
    };
    if raw.tos & 3 != 0 {
        return Err(format!("TOS {:#x}", raw.tos));
    }
    Ok(Outer {
        encap,
        remote: ip(raw.family, raw.remote)?,
        local: ip(raw.family, raw.local)?,
        local_auto: raw.flags & LOCAL_AUTO != 0,
        on_host: raw.flags & HOST != 0,
        dev,
        ttl: Ttl::try_from(u32::from(raw.ttl))?,
        dscp: Dscp::try_from(u32::from(raw.tos >> 2))?,
    })
}

fn ip(family: u8, bytes: [u8; 16]) -> Result<UnicastAddr, String> {
    match family {
        4 => IpAddr::from(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])).try_into(),
        6 => IpAddr::from(Ipv6Addr::from(bytes)).try_into(),
        _ => Err(format!("family {family}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Peer {
        Peer {
            name: "ids".parse().unwrap(),
            group: None,
            way: Way::Span(Device { ifindex: 7, name: Some("eth7".to_owned()) }),
            oversize: Oversize::Drop,
            gso: Gso::Wire,
            snaplen: None,
            rate: None,
        }
    }

    fn tunnel(encap: Encap, remote: &str, local: &str) -> Peer {
        let way = Way::Tunnel(Outer {
            encap,
            remote: remote.parse().unwrap(),
            local: local.parse().unwrap(),
            local_auto: true,
            on_host: false,
            dev: None,
            ttl: "1".parse().unwrap(),
            dscp: "63".parse().unwrap(),
        });
        Peer { way, oversize: Oversize::Fragment, gso: Gso::Fast, ..span() }
    }

    fn encaps() -> [Encap; 7] {
        let (vni, port) = ("16777215".parse().unwrap(), "4789".parse().unwrap());
        let session = "1023".parse().unwrap();
        [
            Encap::Vxlan { vni, port },
            Encap::Geneve { vni, port },
            Encap::Gre { key: None },
            Encap::Gre { key: Some("0".parse().unwrap()) },
            Encap::Gre { key: Some("4294967295".parse().unwrap()) },
            Encap::Erspan2 { session },
            Encap::Erspan3 { session },
        ]
    }

    /// All tunnels over both families, each with each policy.
    fn all() -> Vec<Peer> {
        let mut all = vec![span()];
        for encap in encaps() {
            all.push(tunnel(encap, "10.1.2.3", "192.0.2.1"));
            all.push(tunnel(encap, "2001:db8::3", "2001:db8::1"));
        }
        let policies = [Oversize::Fragment, Oversize::Truncate, Oversize::Drop].into_iter().flat_map(|oversize| {
            ["8kbit", "1tbit", "1pps", "1gpps"].map(|rate| (oversize, rate.parse::<Rate>().unwrap()))
        });
        let policies: Vec<_> = policies.collect();
        all.iter()
            .flat_map(|peer| {
                policies.iter().flat_map(|(oversize, rate)| {
                    let with = Peer {
                        group: Some("a".repeat(31).parse().unwrap()),
                        oversize: *oversize,
                        snaplen: Some("64".parse().unwrap()),
                        rate: Some(*rate),
                        ..peer.clone()
                    };
                    [peer.clone(), with]
                })
            })
            .collect()
    }

    #[test]
    fn every_peer_comes_back_from_the_datapath_as_it_went_in() {
        for mut before in all() {
            for bit in [false, true] {
                if let Way::Tunnel(outer) = &mut before.way {
                    (outer.local_auto, outer.on_host) = (bit, !bit);
                    outer.dev = bit.then_some(Device { ifindex: 9, name: None });
                }
                let raw = raw_peer(&before, 7);
                assert_eq!(peer(&raw).unwrap(), before);
                assert_eq!(RawPeer::from_bytes(raw.bytes()).unwrap().bytes(), raw.bytes());
            }
        }
    }

    #[test]
    fn the_datapath_gets_wire_order_and_nothing_that_a_tunnel_does_not_have() {
        let [vxlan, _, gre, zero, key, erspan, _] =
            encaps().map(|encap| raw_peer(&tunnel(encap, "10.1.2.3", "192.0.2.1"), 7));
        assert_eq!((vxlan.version, vxlan.family, vxlan.key), (7, 4, 16_777_215));
        assert_eq!(vxlan.port_be.to_ne_bytes(), [0x12, 0xb5], "wire order");
        assert_eq!((&vxlan.remote[..5], vxlan.tos), (&[10, 1, 2, 3, 0][..], 63 << 2));
        assert_eq!((gre.key, gre.flags & KEY, gre.port_be), (0, 0, 0));
        assert_eq!((zero.key, zero.flags & KEY), (0, KEY), "a key of zero is a key");
        assert_eq!((key.key, key.flags & KEY), (u32::MAX, KEY));
        assert_eq!((erspan.key, erspan.flags & KEY, erspan.port_be), (1023, 0, 0));
        let v6 = raw_peer(&tunnel(encaps()[0], "2001:db8::3", "2001:db8::1"), 7);
        assert_eq!((v6.family, &v6.remote[..4], v6.remote[15]), (6, &[0x20, 1, 0xd, 0xb8][..], 3));
        let span = raw_peer(&span(), 7);
        assert_eq!((span.family, span.dev_ifindex, span.ttl, span.port_be, span.remote), (0, 7, 0, 0, [0; 16]));
    }

    #[test]
    fn a_peer_that_nobody_wrote_is_damage() {
        type Harm = fn(&mut RawPeer);
        let harms: [(Harm, &str); 15] = [
            (|raw| raw.tunnel = 0, "tunnel 0"),
            (|raw| raw.tunnel = 7, "tunnel 7"),
            (|raw| raw.family = 0, "family 0"),
            (|raw| raw.family = 6, "unspecified"),
            (|raw| raw.name = [0; 32], "name"),
            (|raw| raw.group[0] = b'/', "name"),
            (|raw| raw.flags |= 16, "flags"),
            (|raw| raw.key = 1 << 24, "VNI"),
            (|raw| raw.port_be = 0, "port"),
            (|raw| raw.ttl = 0, "TTL"),
            (|raw| raw.tos |= 1, "TOS"),
            (|raw| raw.oversize = 0, "oversize 0"),
            (|raw| raw.gso = 3, "gso 3"),
            (|raw| raw.snaplen_bytes = 63, "snap length"),
            (|raw| raw.rate = 7, "rate"),
        ];
        for (harm, named) in harms {
            let mut raw = raw_peer(&tunnel(encaps()[0], "10.1.2.3", "192.0.2.1"), 7);
            assert!(peer(&raw).is_ok());
            harm(&mut raw);
            if named == "unspecified" {
                raw.remote = [0; 16];
            }
            let error = peer(&raw).unwrap_err();
            assert_eq!(error.code, Code::Damaged);
            assert!(error.message.contains(named), "{named}: {}", error.message);
        }
        assert_eq!(peer(&RawPeer::zeroed()).unwrap_err().code, Code::Damaged);
        let mut homeless = raw_peer(&span(), 7);
        homeless.dev_ifindex = 0;
        assert!(peer(&homeless).unwrap_err().message.contains("no device"));
        let mut session = raw_peer(&tunnel(encaps()[5], "10.1.2.3", "192.0.2.1"), 7);
        session.key = 1024;
        assert!(peer(&session).unwrap_err().message.contains("session"));
    }

    #[test]
    fn a_rate_costs_time() {
        for (rate, flags, amount, cost, burst_ns) in [
            // A byte takes 800 ns; in 100 ms there are 125,000 of them, more than one super-packet.
            ("10mbit", 0, 10_000_000, 800 << 16, 100_000_000),
            // 65,600 bytes of 125,000 ns each.
            ("64kbit", 0, 64_000, 125_000 << 16, 8_200_000_000),
            ("8kbit", 0, 8_000, 1_000_000 << 16, 65_600_000_000),
            // 0.008 ns, rounded to the fixed point: 524.288.
            ("1tbit", 0, 1_000_000_000_000, 524, 100_000_000),
            ("500kpps", RATE_PACKETS, 500_000, 2_000 << 16, 100_000_000),
            ("1gpps", RATE_PACKETS, 1_000_000_000, 1 << 16, 100_000_000),
            ("1pps", RATE_PACKETS, 1, 1_000_000_000 << 16, 46_000_000_000),
            ("100pps", RATE_PACKETS, 100, 10_000_000 << 16, 460_000_000),
            ("7pps", RATE_PACKETS, 7, 9_362_285_714_286, 6_571_428_571),
        ] {
            let raw = raw_peer(&Peer { rate: Some(rate.parse().unwrap()), ..span() }, 1);
            assert_eq!(
                (raw.flags, raw.rate, raw.rate_cost, raw.rate_burst_ns),
                (flags, amount, cost, burst_ns),
                "{rate}"
            );
        }
        let raw = raw_peer(&span(), 1);
        assert_eq!((raw.rate, raw.rate_cost, raw.rate_burst_ns), (0, 0, 0), "no limit");
    }
}
