//! Outer packets from their fragments, strictly: those of a packet come in order, without gap and overlap, under headers
//! that are the same but for what a fragment has of its own. Fragments of several packets may be mixed.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use super::checksum::checksum;
use super::delivery::{Delivery, ETHERNET, FRAGMENT, IPV4, IPV6};
use super::strict::DecodeError;

/// A packet, whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// From the destination address on, as it would be had it not been cut. The identification stays in IPv4.
    pub bytes: Vec<u8>,
    /// Its fragments, in the order in which they came; none: it came as one.
    pub fragments: Vec<Part>,
}

/// A fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of the packet in front of it.
    pub offset: usize,
    /// Bytes of the packet in it.
    pub length: usize,
    /// Bytes of the IP packet that carried it: what an MTU limits.
    pub ip_length: usize,
}

/// Why packets cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReassembleError {
    /// A fragment is no packet of ours.
    Decode(DecodeError),
    /// A fragment begins where it should not.
    Offset {
        /// The packet's identification.
        id: u32,
        /// Where it begins.
        found: usize,
        /// Where the last one ended.
        expected: usize,
    },
    /// A fragment has other headers than the first one.
    Headers(u32),
    /// The packet is longer than IP allows.
    Long(u32),
    /// Fragments are missing at the end.
    Incomplete(u32),
}

impl fmt::Display for ReassembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "a fragment: {error}"),
            Self::Offset { id, found, expected } => {
                write!(f, "a fragment of packet {id:#x} begins at {found}, not at {expected}")
            }
            Self::Headers(id) => write!(f, "the fragments of packet {id:#x} have different headers"),
            Self::Long(id) => write!(f, "packet {id:#x} is longer than IP allows"),
            Self::Incomplete(id) => write!(f, "the last fragment of packet {id:#x} is missing"),
        }
    }
}

impl std::error::Error for ReassembleError {}

/// What the fragments of one packet share (RFC 791, RFC 8200).
type Key = (IpAddr, IpAddr, u8, u32);

struct Begun {
    first: Delivery,
    payload: Vec<u8>,
    parts: Vec<Part>,
}

/// Puts all packets together, each where its last fragment came.
///
/// # Errors
/// The first fragment that does not fit what came before.
pub fn reassemble<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Whole>, ReassembleError> {
    let mut begun: HashMap<Key, Begun> = HashMap::new();
    let mut whole = Vec::new();
    for bytes in packets {
        let (delivery, payload) = Delivery::read(bytes, false).map_err(ReassembleError::Decode)?;
        let (Some(fragment), Some(id)) = (delivery.fragment, delivery.id) else {
            whole.push(Whole { bytes: bytes.to_vec(), fragments: Vec::new() });
            continue;
        };
        let key = (delivery.src, delivery.dst, delivery.protocol, id);
        let packet =
            begun.entry(key).or_insert_with(|| Begun { first: delivery, payload: Vec::new(), parts: Vec::new() });
        if fragment.offset != packet.payload.len() {
            return Err(ReassembleError::Offset { id, found: fragment.offset, expected: packet.payload.len() });
        }
        if (Delivery { fragment: packet.first.fragment, ..delivery }) != packet.first {
            return Err(ReassembleError::Headers(id));
        }
        packet.payload.extend(payload);
        let ip_length = bytes.len() - ETHERNET;
        packet.parts.push(Part { offset: fragment.offset, length: payload.len(), ip_length });
        if !fragment.more
            && let Some(packet) = begun.remove(&key)
        {
            let headers = &bytes[..bytes.len() - payload.len()];
            let bytes = join(headers, &packet.payload, delivery.protocol).ok_or(ReassembleError::Long(id))?;
            whole.push(Whole { bytes, fragments: packet.parts });
        }
    }
    match begun.keys().next() {
        Some((_, _, _, id)) => Err(ReassembleError::Incomplete(*id)),
        None => Ok(whole),
    }
}

/// The packet, under the headers of a fragment. `None`: its length does not fit.
fn join(headers: &[u8], payload: &[u8], protocol: u8) -> Option<Vec<u8>> {
    if headers.len() == ETHERNET + IPV4 {
        let length = u16::try_from(IPV4 + payload.len()).ok()?;
        let mut packet = [headers, payload].concat();
        let ip = &mut packet[ETHERNET..ETHERNET + IPV4];
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        ip[6..8].fill(0);
        ip[10..12].fill(0);
        let value = checksum(ip);
        ip[10..12].copy_from_slice(&value.to_be_bytes());
        return Some(packet);
    }
    let length = u16::try_from(payload.len()).ok()?;
    let mut packet = [&headers[..headers.len() - FRAGMENT], payload].concat();
    let ip = &mut packet[ETHERNET..ETHERNET + IPV6];
    ip[4..6].copy_from_slice(&length.to_be_bytes());
    ip[6] = protocol;
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Ethernet, Ip, pattern};
    use super::*;

    const PROTOCOL: u8 = 47;

    fn v4() -> Ip {
        Ethernet::new([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2]).id(0x1234)
    }

    fn v6() -> Ip {
        Ethernet::new([2; 6], [4; 6]).ipv6([0xfd; 16], [0xfe; 16])
    }

    fn v6_part(id: u8, more: bool, offset: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = ((offset * 8) | u16::from(more)).to_be_bytes();
        v6().protocol(44, &[&[PROTOCOL, 0, high, low, 0, 0, 0, id], payload].concat())
    }

    fn run(packets: &[Vec<u8>]) -> Result<Vec<Whole>, ReassembleError> {
        reassemble(packets.iter().map(Vec::as_slice))
    }

    #[test]
    fn packets_are_whole_again_also_when_their_fragments_are_mixed() {
        let data = pattern(1, 3000);
        let part = |more, offset: u16, data: &[u8]| v4().fragment(more, offset).protocol(PROTOCOL, data);
        let other = v4().id(7).protocol(PROTOCOL, &data);
        let packets = [
            part(true, 0, &data[..1480]),
            v6_part(1, true, 0, &data[..1448]),
            v4().id(7).fragment(true, 0).protocol(PROTOCOL, &data[..8]),
            part(true, 185, &data[1480..2960]),
            v4().id(9).protocol(PROTOCOL, &data[..50]),
            v6_part(1, false, 181, &data[1448..]),
            v4().id(7).fragment(false, 1).protocol(PROTOCOL, &data[8..]),
            part(false, 370, &data[2960..]),
        ];
        let whole = run(&packets).unwrap();
        let bytes: Vec<&[u8]> = whole.iter().map(|whole| whole.bytes.as_slice()).collect();
        let expected = [packets[4].clone(), v6().protocol(PROTOCOL, &data), other, v4().protocol(PROTOCOL, &data)];
        assert_eq!(bytes, expected.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(whole[0].fragments, []);
        let parts: Vec<_> = whole[3].fragments.iter().map(|part| (part.offset, part.length, part.ip_length)).collect();
        assert_eq!(parts, [(0, 1480, 1500), (1480, 1480, 1500), (2960, 40, 60)]);
        let parts: Vec<_> = whole[1].fragments.iter().map(|part| (part.offset, part.length, part.ip_length)).collect();
        assert_eq!(parts, [(0, 1448, 1496), (1448, 1552, 1600)]);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let data = pattern(1, 3000);
        let part = |more, offset: u16, data: &[u8]| v4().fragment(more, offset).protocol(PROTOCOL, data);
        let first = part(true, 0, &data[..1480]);
        let rows: Vec<(Vec<Vec<u8>>, &str)> = vec![
            (vec![first.clone()], "the last fragment of packet 0x1234 is missing"),
            (vec![first.clone(), part(false, 184, &data[1472..])], "begins at 1472, not at 1480"),
            (vec![first.clone(), part(false, 186, &data[1488..])], "begins at 1488, not at 1480"),
            (vec![first.clone(), first.clone()], "begins at 0, not at 1480"),
            (vec![part(false, 185, &data[1480..])], "begins at 1480, not at 0"),
            (vec![first.clone(), v4().id(1).fragment(false, 185).protocol(PROTOCOL, &data)], "not at 0"),
            (
                vec![first.clone(), v4().ttl(9).fragment(false, 185).protocol(PROTOCOL, &data[1480..])],
                "different headers",
            ),
            (vec![part(true, 0, &data[..1479])], "the length of a fragment is 0x5c7, not a multiple of 8"),
            (vec![first.clone(), part(true, 185, &[])], "the length of a fragment is 0x0"),
            (vec![v6_part(1, false, 0, &data)], "the packet is whole"),
            (vec![v6_part(1, true, 0, &data), v6_part(2, false, 375, &data)], "begins at 3000, not at 0"),
            (
                {
                    let mut reserved = v6_part(1, true, 0, &data);
                    reserved[55] = 1;
                    vec![reserved]
                },
                "reserved byte of the IPv6 fragment header is 0x1",
            ),
            (
                {
                    let mut reserved = v6_part(1, true, 0, &data);
                    reserved[57] |= 4;
                    vec![reserved]
                },
                "reserved bits of the IPv6 fragment header is 0x4",
            ),
            (
                {
                    let mut dont_fragment = v4().fragment(true, 0);
                    dont_fragment.dont_fragment = true;
                    vec![dont_fragment.protocol(PROTOCOL, &data)]
                },
                "not without DF",
            ),
        ];
        for (packets, expected) in rows {
            let error = run(&packets).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} has no {expected:?}");
        }
    }

    #[test]
    fn packets_of_the_greatest_length_pass_and_longer_ones_do_not() {
        let data = pattern(1, 65_536);
        let whole = |length: usize, family: fn(&[u8], usize) -> Vec<Vec<u8>>| run(&family(&data, length));
        let cut4 = |data: &[u8], length: usize| {
            let last = length.div_ceil(1480) - 1;
            let part = |(n, piece): (usize, &[u8])| v4().fragment(n < last, n as u16 * 185).protocol(PROTOCOL, piece);
            data[..length].chunks(1480).enumerate().map(part).collect()
        };
        let cut6 = |data: &[u8], length: usize| {
            let last = length.div_ceil(1448) - 1;
            let part = |(n, piece): (usize, &[u8])| v6_part(1, n < last, n as u16 * 181, piece);
            data[..length].chunks(1448).enumerate().map(part).collect()
        };
        assert_eq!(whole(65_515, cut4).unwrap()[0].bytes, v4().protocol(PROTOCOL, &data[..65_515]));
        assert_eq!(whole(65_516, cut4), Err(ReassembleError::Long(0x1234)));
        assert_eq!(whole(65_535, cut6).unwrap()[0].bytes, v6().protocol(PROTOCOL, &data[..65_535]));
        assert_eq!(whole(65_536, cut6), Err(ReassembleError::Long(1)));
    }
}
