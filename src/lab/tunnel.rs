//! A strict decoder of every tunnel that ebmirror knows, over IPv4 and IPv6, written from the RFCs and the ERSPAN draft.

use super::capture::Frame;
use super::compare::Packet;
use super::delivery::{Delivery, ETHERNET};
use super::frame::{TPID_8021AD, TPID_8021Q};
use super::strict::{DecodeError, Result, double_word, expect, expect_length, field, split, word};

const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_GRE: u8 = 47;
const UDP: usize = 8;
/// RFC 1701: an Ethernet frame inside of GRE; RFC 8926 takes the same number.
const TRANSPARENT_ETHERNET: u16 = 0x6558;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;
const ERSPAN_2: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
/// Trunk encapsulation: the frame came without a tag; its tag is still in it.
const EN_UNTAGGED: u16 = 0;
const EN_IN_FRAME: u16 = 3;

/// Which tunnel a packet is to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 2784 and 2890, with an Ethernet frame inside.
    Gre,
    /// The ERSPAN draft, 4.2.
    Erspan2,
    /// The ERSPAN draft, 4.3.
    Erspan3,
}

/// All outer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Ethernet and IP.
    pub delivery: Delivery,
    /// The rest.
    pub tunnel: Tunnel,
}

/// The headers of the tunnel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// UDP and VXLAN.
    Vxlan(Udp),
    /// UDP and GENEVE.
    Geneve(Udp),
    /// GRE with an Ethernet frame; the key, if it has one.
    Gre(Option<u32>),
    /// GRE and ERSPAN, type II.
    Erspan2(Erspan),
    /// GRE and ERSPAN, type III, and its timestamp.
    Erspan3(Erspan, u32),
}

/// What varies in the tunnels over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Virtual network identifier.
    pub vni: u32,
}

/// What varies in both types of ERSPAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erspan {
    /// Of GRE.
    pub sequence: u32,
    /// The VLAN of the outermost tag; 0 without one.
    pub vlan: u16,
    /// Its priority.
    pub cos: u8,
    /// The frame was cut.
    pub truncated: bool,
    /// Which mirror it is.
    pub session: u16,
    /// The frame left the mirrored interface; else it arrived there.
    pub egress: bool,
}

impl Outer {
    /// Of a tunnel over UDP.
    pub fn udp(&self) -> Option<Udp> {
        match self.tunnel {
            Tunnel::Vxlan(udp) | Tunnel::Geneve(udp) => Some(udp),
            _ => None,
        }
    }

    /// Of ERSPAN, either type.
    pub fn erspan(&self) -> Option<Erspan> {
        match self.tunnel {
            Tunnel::Erspan2(erspan) | Tunnel::Erspan3(erspan, _) => Some(erspan),
            _ => None,
        }
    }
}

/// Decodes what was captured: the outer headers, and the frame inside, its checksum finished.
///
/// # Errors
/// The first field that is not as it must be.
pub fn decode(kind: Kind, frame: &Frame) -> Result<(Outer, Packet<'_>)> {
    let packet = Packet::captured(frame);
    let (outer, inner) = decode_bytes(kind, &packet.bytes, frame.gso.is_some())?;
    let headers = packet.bytes.len() - inner.len();
    let inner = packet.inside(headers).ok_or(DecodeError::Short("inner Ethernet"))?;
    Ok((outer, inner))
}

/// Decodes a whole packet from its first byte on: the outer headers, and the frame inside.
///
/// # Errors
/// The first field that is not as it must be.
pub fn decode_bytes(kind: Kind, bytes: &[u8], super_packet: bool) -> Result<(Outer, &[u8])> {
    let (delivery, payload) = Delivery::read(bytes, super_packet)?;
    if let Some(fragment) = delivery.fragment {
        return Err(field("the offset of a fragment", fragment.offset as u64, "here: the packet should be whole"));
    }
    let (name, protocol) = match (kind, delivery.dst.is_ipv4()) {
        (Kind::Vxlan | Kind::Geneve, true) => ("the IPv4 protocol", PROTOCOL_UDP),
        (Kind::Vxlan | Kind::Geneve, false) => ("the IPv6 next header", PROTOCOL_UDP),
        (_, true) => ("the IPv4 protocol", PROTOCOL_GRE),
        (_, false) => ("the IPv6 next header", PROTOCOL_GRE),
    };
    expect(name, delivery.protocol, protocol)?;
    let (tunnel, inner) = match kind {
        Kind::Vxlan => vxlan(payload, super_packet)?,
        Kind::Geneve => geneve(payload, super_packet)?,
        Kind::Gre => gre(payload)?,
        // Each segment would have the same sequence number.
        Kind::Erspan2 | Kind::Erspan3 if super_packet => {
            return Err(field(
                "the length of a super-packet with a sequence number",
                bytes.len() as u64,
                "a segment's",
            ));
        }
        Kind::Erspan2 => erspan2(payload)?,
        Kind::Erspan3 => erspan3(payload)?,
    };
    if inner.len() < ETHERNET {
        return Err(DecodeError::Short("inner Ethernet"));
    }
    Ok((Outer { delivery, tunnel }, inner))
}

fn udp(payload: &[u8], super_packet: bool) -> Result<(u16, u16, &[u8])> {
    let (udp, rest) = split::<UDP>(payload, "UDP")?;
    expect_length("the UDP length", word(udp, 4), payload.len(), super_packet)?;
    // RFC 7348, 5, and over IPv6 RFC 6935.
    expect("the UDP checksum", word(udp, 6), 0u16)?;
    Ok((word(udp, 0), word(udp, 2), rest))
}

fn vxlan(payload: &[u8], super_packet: bool) -> Result<(Tunnel, &[u8])> {
    let (sport, dport, rest) = udp(payload, super_packet)?;
    let (vxlan, inner) = split::<8>(rest, "VXLAN")?;
    expect("the VXLAN flags", vxlan[0], 0x08)?;
    expect("the reserved 24 bits of VXLAN", double_word(vxlan, 0) & 0xff_ffff, 0)?;
    expect("the reserved last byte of VXLAN", vxlan[7], 0)?;
    Ok((Tunnel::Vxlan(Udp { sport, dport, vni: double_word(vxlan, 4) >> 8 }), inner))
}

fn geneve(payload: &[u8], super_packet: bool) -> Result<(Tunnel, &[u8])> {
    let (sport, dport, rest) = udp(payload, super_packet)?;
    let (geneve, inner) = split::<8>(rest, "GENEVE")?;
    expect("GENEVE version and option length", geneve[0], 0)?;
    expect("the GENEVE bits O, C and reserved", geneve[1], 0)?;
    expect("the GENEVE protocol", word(geneve, 2), TRANSPARENT_ETHERNET)?;
    expect("the reserved last byte of GENEVE", geneve[7], 0)?;
    Ok((Tunnel::Geneve(Udp { sport, dport, vni: double_word(geneve, 4) >> 8 }), inner))
}

fn gre(payload: &[u8]) -> Result<(Tunnel, &[u8])> {
    let (gre, rest) = split::<4>(payload, "GRE")?;
    let flags = word(gre, 0);
    expect("the GRE flags but K, and its version", flags & !GRE_KEY, 0)?;
    expect("the GRE protocol", word(gre, 2), TRANSPARENT_ETHERNET)?;
    if flags == 0 {
        return Ok((Tunnel::Gre(None), rest));
    }
    let (key, inner) = split::<4>(rest, "GRE")?;
    Ok((Tunnel::Gre(Some(double_word(key, 0))), inner))
}

/// GRE with a sequence number: that, and what follows.
fn sequenced(payload: &[u8], protocol: u16) -> Result<(u32, &[u8])> {
    let (gre, rest) = split::<8>(payload, "GRE")?;
    expect("the GRE flags and version", word(gre, 0), GRE_SEQUENCE)?;
    expect("the GRE protocol", word(gre, 2), protocol)?;
    Ok((double_word(gre, 4), rest))
}

fn erspan2(payload: &[u8]) -> Result<(Tunnel, &[u8])> {
    let (sequence, rest) = sequenced(payload, ERSPAN_2)?;
    let (header, inner) = split::<8>(rest, "ERSPAN")?;
    expect("the ERSPAN version", header[0] >> 4, 1)?;
    // 12 reserved bits, 20 of the index, of which we use one.
    let index = double_word(header, 4);
    expect("the reserved bits and the index of ERSPAN but its last bit", index & !1, 0)?;
    let erspan = erspan(header, sequence, index == 1);
    erspan.agrees_with(inner)?;
    let en = if tag(inner).is_some() { EN_IN_FRAME } else { EN_UNTAGGED };
    if !tag_is_cut(inner) {
        expect("the trunk encapsulation of ERSPAN", word(header, 2) >> 11 & 3, en)?;
    }
    Ok((Tunnel::Erspan2(erspan), inner))
}

fn erspan3(payload: &[u8]) -> Result<(Tunnel, &[u8])> {
    let (sequence, rest) = sequenced(payload, ERSPAN_3)?;
    let (header, inner) = split::<12>(rest, "ERSPAN")?;
    expect("the ERSPAN version", header[0] >> 4, 2)?;
    expect("the BSO bits of ERSPAN", word(header, 2) >> 11 & 3, 0)?;
    expect("the security group tag of ERSPAN", word(header, 8), 0)?;
    // P: an Ethernet frame; FT 0: Ethernet; hardware 0; timestamps of 100 ns; no sub-header. D is free.
    expect("P, FT, Hw, Gra and O of ERSPAN", word(header, 10) & !8, 0x8002)?;
    let erspan = erspan(header, sequence, word(header, 10) & 8 != 0);
    erspan.agrees_with(inner)?;
    Ok((Tunnel::Erspan3(erspan, double_word(header, 4)), inner))
}

/// What both types have in their first four bytes.
fn erspan(header: &[u8], sequence: u32, egress: bool) -> Erspan {
    let second = word(header, 2);
    Erspan {
        sequence,
        vlan: word(header, 0) & 0xfff,
        cos: (second >> 13) as u8,
        truncated: second & 0x400 != 0,
        session: second & 0x3ff,
        egress,
    }
}

impl Erspan {
    /// VLAN and priority must be those of the frame's outermost tag, unless that was cut off.
    fn agrees_with(&self, inner: &[u8]) -> Result<()> {
        if tag_is_cut(inner) {
            return Ok(());
        }
        let tci = tag(inner).unwrap_or(0);
        expect("the VLAN of ERSPAN", self.vlan, tci & 0xfff)?;
        expect("the class of service of ERSPAN", self.cos, (tci >> 13) as u8)
    }
}

fn has_tpid(inner: &[u8]) -> bool {
    inner.get(12..14).is_some_and(|tpid| matches!(word(tpid, 0), TPID_8021Q | TPID_8021AD))
}

/// The control information of the outermost tag.
fn tag(inner: &[u8]) -> Option<u16> {
    (has_tpid(inner) && inner.len() >= 18).then(|| word(inner, 14))
}

fn tag_is_cut(inner: &[u8]) -> bool {
    has_tpid(inner) && inner.len() < 18
}

#[cfg(test)]
mod tests;
