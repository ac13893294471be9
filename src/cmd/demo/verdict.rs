//! Is it all there, is it all the same, and do the books say so?

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde_json::Value;

use super::books::{check_books, peer};
use super::network::{COLLECTOR_IP, Network, UNDERLAY_IP, VNI};
use super::report::{Findings, Row, Shown};
use crate::lab::capture::Frame;
use crate::lab::compare::{Comparison, Fate, Packet, compare};
use crate::lab::decode::{self, Outer, VXLAN_PORT};
use crate::lab::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV6};
use crate::lab::parse::{Parsed, Protocol, protocol};
use crate::lab::summary::{mac, summary};
use crate::model::interface::Direction;

/// The outer header as `peer add` makes it when nothing else is asked for.
const TTL: u8 = 64;
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// So many frames are described, of those that have the same fault.
const EXAMPLES: usize = 3;

/// What was captured, and what the program counted.
pub(super) struct Evidence<'a> {
    pub(super) network: &'a Network,
    /// All frames of the mirrored interface.
    pub(super) originals: &'a [Frame],
    /// How many of these had passed when the mirror was complete. They may have a copy; all later ones must.
    pub(super) attached: usize,
    /// All frames of the collector's interface.
    pub(super) copies: &'a [Frame],
    /// All frames of the collector's own VXLAN device, if it has one.
    pub(super) decoded: Option<&'a [Frame]>,
    /// The document of `stats`.
    pub(super) stats: &'a Value,
}

/// Compares everything with everything.
pub(super) fn judge(evidence: &Evidence<'_>, shown: usize) -> Findings {
    let mut problems = Faults::default();
    let copies = decode_copies(evidence, &mut problems);
    // Those that must have a copy come first: where two are the same they get it.
    let (may, must) = evidence.originals.split_at(evidence.attached.min(evidence.originals.len()));
    let frames: Vec<&Frame> = must.iter().chain(may).collect();
    let originals: Vec<Packet<'_>> = frames.iter().map(|frame| Packet::captured(frame)).collect();
    let comparison = compare(&originals, &copies);

    let mut table = BTreeMap::new();
    for (place, original) in originals.iter().enumerate() {
        let fate = comparison.fates[place];
        if place >= must.len() && fate == Fate::Missing {
            continue;
        }
        let (direction, protocol, size) = (direction(frames[place]), protocol(&original.bytes), original.wire_size());
        let row: &mut Row = table.entry((direction, protocol)).or_insert_with(|| Row::new(direction, protocol));
        row.seen += size;
        match fate {
            Fate::Identical => row.identical += size,
            Fate::Missing => problems.add(format!("{direction} frames without a copy"), || summary(&original.bytes)),
            Fate::Different => {
                problems.add(format!("{direction} TCP data whose copy differs"), || summary(&original.bytes));
            }
        }
    }
    let mut lines = Vec::new();
    for (copy, source) in copies.iter().zip(&comparison.sources) {
        let direction = match source {
            Some(original) => direction(frames[*original]),
            None if copy.bytes.get(6..12) == Some(&evidence.network.tap_mac) => Direction::Egress,
            None => Direction::Ingress,
        };
        let protocol = protocol(&copy.bytes);
        let row = table.entry((direction, protocol)).or_insert_with(|| Row::new(direction, protocol));
        row.arrived += copy.wire_size();
        if source.is_none() {
            problems.add(format!("{direction} copies without an original"), || summary(&copy.bytes));
        }
        if lines.len() < shown {
            lines.push(Shown { direction, identical: source.is_some(), summary: summary(&copy.bytes) });
        }
    }
    let rows: Vec<Row> = table.into_values().collect();
    check_ports(evidence, &mut problems);
    let decoder = evidence.decoded.map(|frames| check_decoder(frames, &copies, &mut problems));
    let mut findings = Findings {
        passed: false,
        frames: rows,
        problems: problems.sentences(),
        peer: peer(evidence.stats).cloned().unwrap_or_default(),
        interfaces: evidence.stats.get("interfaces").cloned().unwrap_or_default(),
        unaccounted: evidence.stats.get("unaccounted").cloned().unwrap_or_default(),
        kernel_decoder: decoder,
        super_packets: originals.iter().filter(|packet| packet.gso.is_some()).count(),
        vni: VNI,
        copies: copies.len(),
        lines,
    };
    let more = [missing_traffic(&findings.frames), check_books(evidence.stats, &findings.frames)];
    findings.problems.extend(more.into_iter().flatten());
    findings
}

/// Problems of many frames, a sentence each kind.
#[derive(Default)]
struct Faults(BTreeMap<String, (usize, Vec<String>)>);

impl Faults {
    fn add(&mut self, kind: impl Into<String>, example: impl FnOnce() -> String) {
        let (count, examples) = self.0.entry(kind.into()).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    fn sentences(self) -> Vec<String> {
        let sentence = |(kind, (count, examples)): (String, (usize, Vec<String>))| {
            let more = if count > examples.len() { "; …" } else { "" };
            format!("{count} {kind}: {}{more}", examples.join("; "))
        };
        self.0.into_iter().map(sentence).collect()
    }
}

fn direction(frame: &Frame) -> Direction {
    if frame.outgoing { Direction::Egress } else { Direction::Ingress }
}

/// Every packet to the tunnel's port must be one that our decoder finds nothing wrong with. What else reaches the collector
/// is the business of its own network: ARP and IPv6's.
fn decode_copies<'a>(evidence: &Evidence<'a>, problems: &mut Faults) -> Vec<Packet<'a>> {
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
fn check_ports(evidence: &Evidence<'_>, problems: &mut Faults) {
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
fn check_decoder(frames: &[Frame], copies: &[Packet<'_>], problems: &mut Faults) -> usize {
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

/// A demo that shows nothing of a kind has not shown that it is mirrored.
fn missing_traffic(rows: &[Row]) -> Vec<String> {
    let mut missing = Vec::new();
    for direction in Direction::ALL {
        for protocol in Protocol::ALL {
            if !rows.iter().any(|row| (row.direction, row.protocol) == (direction, protocol) && row.seen.packets > 0) {
                missing.push(format!("no {protocol} frame was seen on {direction}"));
            }
        }
    }
    missing
}
