//! The outer packets at the collector: are they what a collector expects, and does its kernel find the same in them?

use std::collections::HashMap;
use std::net::IpAddr;

use super::network::{COLLECTOR_IP, Network, UNDERLAY_IP, VNI};
use super::verdict::{Evidence, Faults};
use crate::lab::capture::Frame;
use crate::lab::compare::{Comparison, Fate, Packet, compare};
use crate::lab::decode::{self, Outer, VXLAN_PORT};
use crate::lab::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV6};
use crate::lab::parse::Parsed;
use crate::lab::summary::{mac, summary};

/// The outer header as `peer add` makes it when nothing else is asked for.
const TTL: u8 = 64;
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// Every packet to the tunnel's port must be one that our decoder finds nothing wrong with. What else reaches the collector
/// is the business of its own network: ARP and IPv6's.
pub(super) fn decode_copies<'a>(evidence: &Evidence<'a>, problems: &mut Faults) -> Vec<Packet<'a>> {
    let mut copies = Vec::new();
    for frame in evidence.copies.iter().filter(|frame| !frame.outgoing) {
        if !decode::is_udp_to(&frame.bytes, COLLECTOR_IP, VXLAN_PORT) {
            if !matches!(Parsed::new(&frame.bytes).map(|p| p.ethertype), Some(ETHERTYPE_ARP | ETHERTYPE_IPV6)) {
                problems.add("packets at the collector that are no copies", || summary(&frame.bytes));
            }
            continue;
        }
        match decode::vxlan(frame) {
            Ok((outer, inner)) => {
                if let Some(wrong) = wrong_address(&outer, evidence.network) {
                    problems.add(format!("outer packets with {wrong}"), || summary(&frame.bytes));
                }
                copies.push(inner);
            }
            Err(error) => problems
                .add(format!("outer packets that are not as they should be ({error})"), || summary(&frame.bytes)),
        }
    }
    copies
}

fn wrong_address(outer: &Outer, network: &Network) -> Option<String> {
    let Outer { src_mac, dst_mac, src, tos, ttl, sport, vni, .. } = *outer;
    match () {
        () if src != UNDERLAY_IP => Some(format!("the sender {src}")),
        () if src_mac != network.underlay_mac => Some(format!("the sender {}", mac(src_mac))),
        () if dst_mac != network.collector_mac => Some(format!("the receiver {}", mac(dst_mac))),
        () if vni != VNI => Some(format!("VNI {vni}")),
        () if ttl != TTL => Some(format!("TTL {ttl}")),
        () if tos != 0 => Some(format!("type of service {tos}")),
        () if !SOURCE_PORTS.contains(&sport) => Some(format!("source port {sport}")),
        () => None,
    }
}

/// The source port stands for the flow, and both directions of a connection are one flow.
pub(super) fn check_ports(evidence: &Evidence<'_>, problems: &mut Faults) {
    let mut flows: HashMap<_, u16> = HashMap::new();
    for frame in evidence.copies.iter().filter(|frame| !frame.outgoing) {
        let Ok((outer, inner)) = decode::vxlan(frame) else { continue };
        let Some(parsed) = Parsed::new(&inner.bytes) else { continue };
        let Some((ends, protocol)) = flow(&parsed) else { continue };
        let port = *flows.entry((ends, protocol)).or_insert(outer.sport);
        if port != outer.sport {
            problems.add("copies whose outer source port is not that of their flow", || {
                format!("{}: {} and {port}", summary(&inner.bytes), outer.sport)
            });
        }
    }
}

type End = (IpAddr, u16);

/// Both ends of a TCP or UDP flow, in an order that does not depend on the direction, and the protocol.
fn flow(parsed: &Parsed<'_>) -> Option<([End; 2], u8)> {
    let ip = parsed.ip.as_ref().filter(|ip| !ip.fragment && matches!(ip.protocol, 6 | 17))?;
    let ports = parsed.ip_payload()?.first_chunk::<4>()?;
    let mut ends =
        [(ip.src, u16::from_be_bytes([ports[0], ports[1]])), (ip.dst, u16::from_be_bytes([ports[2], ports[3]]))];
    ends.sort();
    Some((ends, ip.protocol))
}

/// The kernel's VXLAN device must have found the same frames in the same packets. Returns how many it found.
pub(super) fn check_decoder(frames: &[Frame], copies: &[Packet<'_>], problems: &mut Faults) -> usize {
    let found: Vec<Packet<'_>> = frames.iter().filter(|frame| !frame.outgoing).map(Packet::captured).collect();
    let Comparison { fates, sources } = compare(copies, &found);
    for (copy, _) in copies.iter().zip(fates).filter(|(_, fate)| *fate != Fate::Identical) {
        problems.add("copies that the kernel's own VXLAN device did not deliver", || summary(&copy.bytes));
    }
    for (frame, _) in found.iter().zip(sources).filter(|(_, source)| source.is_none()) {
        problems.add("frames of the kernel's own VXLAN device that we did not find", || summary(&frame.bytes));
    }
    found.len()
}
