//! Originals against copies: has each original its copy, the same to the last byte, and each copy its original?
//!
//! Frames are compared whole; a super-packet whole, or with the pieces into which it is cut as it asks for. TCP data alone is
//! also compared as a stream, where it was cut in another way: a receiver may join what it gets, and a mirror that has to
//! fit its own headers in may ask for smaller segments. Then each byte at each sequence number must be the same as often as it
//! was sent, under the same headers: addresses, ports, TTL, acknowledgement, window, options and flags. What cutting
//! rewrites is left out of that: lengths, checksums (which are verified instead), the IPv4 identification (counted up
//! by segment), and PSH, FIN and CWR, of which the first two must end at the same sequence number.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use super::capture::{Checksum, Frame, Gso};
use super::checksum::{checksum, sum};
use super::frame::{TCP_FIN, TCP_PSH};
use super::parse::{Parsed, Tcp};
use super::segment::{Layout, without_jumbo};

const TCP_CWR: u8 = 0x80;

/// Flags that belong to the end of the data, and stay with its last segment.
const END_FLAGS: [u8; 2] = [TCP_PSH, TCP_FIN];

/// A stretch of one stream that is longer than this is a wrong sequence number.
const STREAM_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// A frame or super-packet to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// From the destination address on. In a frame that is no super-packet the checksums are finished.
    pub bytes: Cow<'a, [u8]>,
    /// How it is cut, if it is.
    pub gso: Option<Gso>,
    /// Where the transport header begins that cutting is about, if that is known. In a tunnel it is the inner one.
    pub transport: Option<usize>,
}

/// What became of an original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is a copy, and it is the same.
    Identical,
    /// There is none.
    Missing,
    /// Of a TCP stream: it came, and it is not the same.
    Different,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What became of each original.
    pub fates: Vec<Fate>,
    /// The original of each copy, or one of those whose bytes it carries. `None`: it has none, or differs.
    pub sources: Vec<Option<usize>>,
}

impl Comparison {
    /// Each original has its identical copy, each copy its original.
    pub fn is_perfect(&self) -> bool {
        self.fates.iter().all(|fate| *fate == Fate::Identical) && self.sources.iter().all(Option::is_some)
    }

    /// The copies without an original, by their place.
    pub fn strangers(&self) -> impl Iterator<Item = usize> {
        self.sources.iter().enumerate().filter(|(_, source)| source.is_none()).map(|(place, _)| place)
    }
}

/// What a packet is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WireSize {
    /// Frames.
    pub packets: u64,
    /// Bytes of all of them, from the destination address on, without check sequences.
    pub bytes: u64,
}

impl<'a> Packet<'a> {
    /// One whose transport header is where its headers say.
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>, gso: Option<Gso>) -> Self {
        Self { bytes: bytes.into(), gso, transport: None }
    }

    /// What was captured, with its checksum finished, and without what no frame on the wire has.
    pub fn captured(frame: &'a Frame) -> Self {
        let transport = match frame.checksum {
            Checksum::NotReady { start, .. } => Some(start),
            Checksum::Unknown | Checksum::Valid => None,
        };
        let bytes = frame.finished();
        if frame.gso.is_none() {
            return Self { bytes, gso: None, transport };
        }
        let before = bytes.len();
        let bytes = without_jumbo(bytes);
        let transport = transport.map(|start| start - (before - bytes.len()));
        Self { bytes, gso: frame.gso, transport }
    }

    /// The frame that begins so many bytes later: what a tunnel carries. `None`: there are not so many.
    pub fn inside(self, headers: usize) -> Option<Self> {
        let bytes = match self.bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(headers..)?),
            Cow::Owned(bytes) => Cow::Owned(bytes.get(headers..)?.to_vec()),
        };
        let transport = self.transport.and_then(|transport| transport.checked_sub(headers));
        Some(Self { bytes, gso: self.gso, transport })
    }

    /// What it is on the wire: a super-packet is cut, and each piece has the headers.
    pub fn wire_size(&self) -> WireSize {
        let whole = WireSize { packets: 1, bytes: self.bytes.len() as u64 };
        let (Some(gso), Some(layout)) = (self.gso, Layout::of(self)) else {
            return whole;
        };
        let headers = layout.headers() as u64;
        let packets = whole.bytes.saturating_sub(headers).div_ceil(gso.size.into()).max(1);
        WireSize { packets, bytes: whole.bytes + (packets - 1) * headers }
    }
}

impl std::ops::AddAssign for WireSize {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Compares. Where fewer copies than identical originals have come, the first originals get them.
pub fn compare(originals: &[Packet<'_>], copies: &[Packet<'_>]) -> Comparison {
    let mut result = Comparison { fates: vec![Fate::Missing; originals.len()], sources: vec![None; copies.len()] };
    let mut waiting: HashMap<(&[u8], bool), Vec<usize>> = HashMap::with_capacity(copies.len());
    for (place, copy) in copies.iter().enumerate().rev() {
        waiting.entry((&copy.bytes, copy.gso.is_some())).or_default().push(place);
    }
    for (place, original) in originals.iter().enumerate() {
        let key = (&*original.bytes, original.gso.is_some());
        if let Some(copy) = waiting.get_mut(&key).and_then(Vec::pop) {
            result.fates[place] = Fate::Identical;
            result.sources[copy] = Some(place);
        }
    }
    compare_pieces(originals, copies, &mut result);
    compare_streams(originals, copies, &mut result);
    result
}

/// Super-packets of which all pieces came, as [`Layout`] cuts them.
fn compare_pieces(originals: &[Packet<'_>], copies: &[Packet<'_>], result: &mut Comparison) {
    let mut waiting: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (place, copy) in copies.iter().enumerate().rev() {
        if result.sources[place].is_none() && copy.gso.is_none() {
            waiting.entry(&copy.bytes).or_default().push(place);
        }
    }
    for (place, original) in originals.iter().enumerate() {
        let Some(layout) = Layout::of(original).filter(|_| result.fates[place] != Fate::Identical) else { continue };
        let mut found = Vec::new();
        for piece in layout.cut(&original.bytes) {
            // Not whole: those that came stay for the comparison as a stream.
            let Some(copy) = waiting.get_mut(&*piece).and_then(Vec::pop) else { break };
            found.push((piece, copy));
        }
        let whole = found.len() as u64 == original.wire_size().packets;
        for (piece, copy) in found {
            if whole {
                result.sources[copy] = Some(place);
            } else if let Some(places) = waiting.get_mut(&*piece) {
                places.push(copy);
            }
        }
        if whole {
            result.fates[place] = Fate::Identical;
        }
    }
}

/// A TCP segment or super-packet with data.
struct Segment<'a> {
    place: usize,
    is_super: bool,
    /// Sequence numbers of the data, counted from the first original's.
    start: i64,
    data: &'a [u8],
    flags: u8,
}

impl Segment<'_> {
    fn end(&self) -> i64 {
        self.start + self.data.len() as i64
    }

    fn overlaps(&self, start: i64, end: i64) -> bool {
        self.start < end && start < self.end()
    }
}

/// The segments under one header.
#[derive(Default)]
struct Stream<'a> {
    first_sequence: Option<u32>,
    originals: Vec<Segment<'a>>,
    copies: Vec<Segment<'a>>,
}

fn compare_streams(originals: &[Packet<'_>], copies: &[Packet<'_>], result: &mut Comparison) {
    let mut streams: HashMap<Vec<u8>, Stream<'_>> = HashMap::new();
    let left = |(place, packet): (usize, &Packet<'_>), done: bool| (!done && !packet.bytes.is_empty()).then_some(place);
    for place in originals.iter().enumerate().filter_map(|o| left(o, result.fates[o.0] == Fate::Identical)) {
        if let Some((key, sequence, mut segment)) = segment(place, &originals[place]) {
            let stream = streams.entry(key).or_default();
            let first = *stream.first_sequence.get_or_insert(sequence);
            segment.start = distance(first, sequence);
            stream.originals.push(segment);
        }
    }
    for place in copies.iter().enumerate().filter_map(|c| left(c, result.sources[c.0].is_some())) {
        let Some((key, sequence, mut segment)) = segment(place, &copies[place]) else { continue };
        if let Some(stream) = streams.get_mut(&key)
            && let Some(first) = stream.first_sequence
            && (segment.is_super || checksums_are_right(&copies[place].bytes))
        {
            segment.start = distance(first, sequence);
            stream.copies.push(segment);
        }
    }
    for stream in streams.values().filter(|stream| !stream.copies.is_empty()) {
        stream.compare(result);
    }
}

impl Stream<'_> {
    fn compare(&self, result: &mut Comparison) {
        let (first, last) = self.originals.iter().fold((i64::MAX, i64::MIN), |(first, last), original| {
            (first.min(original.start), last.max(original.end()))
        });
        if last - first > STREAM_BYTES_MAX {
            return;
        }
        let mut reference = vec![0; (last - first) as usize];
        for original in &self.originals {
            let at = (original.start - first) as usize;
            reference[at..at + original.data.len()].copy_from_slice(original.data);
        }
        let is_right = |copy: &Segment<'_>| {
            copy.start >= first && copy.end() <= last && {
                let at = (copy.start - first) as usize;
                reference[at..at + copy.data.len()] == *copy.data
            }
        };
        let uneven = self.uneven();
        let wrong_ends = self.wrong_ends();
        let touches = |segment: &Segment<'_>, missing: bool| {
            uneven.iter().any(|(start, end, net)| (*net > 0) == missing && segment.overlaps(*start, *end))
        };
        let ends_wrong =
            |segment: &Segment<'_>| wrong_ends.iter().any(|end| segment.start < *end && *end <= segment.end());
        for original in &self.originals {
            // What was no super-packet arrives as it was, or joined with others to one.
            let changed = |copy: &Segment<'_>| !is_right(copy) || (!original.is_super && !copy.is_super);
            let mut pieces = self.copies.iter().filter(|copy| copy.overlaps(original.start, original.end()));
            result.fates[original.place] = if touches(original, true) {
                Fate::Missing
            } else if ends_wrong(original) || pieces.any(changed) {
                Fate::Different
            } else {
                Fate::Identical
            };
        }
        for copy in self.copies.iter().filter(|copy| is_right(copy) && !touches(copy, false) && !ends_wrong(copy)) {
            let source = self.originals.iter().find(|original| original.overlaps(copy.start, copy.end()));
            result.sources[copy.place] = source.map(|original| original.place);
        }
    }

    /// The stretches that were not copied as often as they were sent: start, end, how much more often sent.
    fn uneven(&self) -> Vec<(i64, i64, i64)> {
        let mut steps: BTreeMap<i64, i64> = BTreeMap::new();
        for (segments, sign) in [(&self.originals, 1), (&self.copies, -1)] {
            for segment in segments {
                *steps.entry(segment.start).or_default() += sign;
                *steps.entry(segment.end()).or_default() -= sign;
            }
        }
        let mut stretches = Vec::new();
        let (mut since, mut net) = (0, 0);
        for (at, step) in steps {
            if net != 0 && step != 0 {
                stretches.push((since, at, net));
            }
            if step != 0 {
                (since, net) = (at, net + step);
            }
        }
        stretches
    }

    /// Where PSH or FIN stand more often, or less often, in the copies than in the originals.
    fn wrong_ends(&self) -> Vec<i64> {
        let mut ends: BTreeMap<(i64, u8), i64> = BTreeMap::new();
        for (segments, sign) in [(&self.originals, 1), (&self.copies, -1)] {
            for segment in segments {
                for flag in END_FLAGS.into_iter().filter(|flag| segment.flags & flag != 0) {
                    *ends.entry((segment.end(), flag)).or_default() += sign;
                }
            }
        }
        ends.into_iter().filter(|(_, net)| *net != 0).map(|((end, _), _)| end).collect()
    }
}

/// The header that a segment shares with others of its stream, its sequence number, and the segment, which still starts
/// at 0. `None` for what is not TCP with data.
fn segment<'a>(place: usize, packet: &'a Packet<'_>) -> Option<(Vec<u8>, u32, Segment<'a>)> {
    let parsed = Parsed::new(&packet.bytes)?;
    let tcp = parsed.tcp().filter(|tcp| !tcp.payload.is_empty())?;
    let segment = Segment {
        place,
        is_super: packet.gso.is_some(),
        start: 0,
        data: &packet.bytes[tcp.payload.clone()],
        flags: tcp.flags,
    };
    Some((shared_header(&parsed, &tcp), tcp.seq, segment))
}

fn shared_header(parsed: &Parsed<'_>, tcp: &Tcp) -> Vec<u8> {
    let mut header = parsed.bytes[..tcp.header.end].to_vec();
    let (ip, at) = (parsed.network, tcp.header.start);
    if parsed.ip.as_ref().is_some_and(|ip| ip.dst.is_ipv4()) {
        header[ip + 2..ip + 6].fill(0);
        header[ip + 10..ip + 12].fill(0);
    } else {
        header[ip + 4..ip + 6].fill(0);
    }
    header[at + 4..at + 8].fill(0);
    header[at + 13] &= !(TCP_PSH | TCP_FIN | TCP_CWR);
    header[at + 16..at + 18].fill(0);
    header
}

/// How far behind `first` a sequence number is; they wrap.
fn distance(first: u32, sequence: u32) -> i64 {
    i64::from(sequence.wrapping_sub(first).cast_signed())
}

/// The checksums of a TCP segment, that of its IPv4 header included.
fn checksums_are_right(bytes: &[u8]) -> bool {
    let Some(parsed) = Parsed::new(bytes) else { return false };
    let (Some(ip), Some(tcp)) = (&parsed.ip, parsed.tcp()) else { return false };
    let segment = &bytes[ip.payload.clone()];
    let (addresses, header) = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ([src.octets(), dst.octets()].concat(), checksum(&bytes[parsed.network..ip.payload.start]))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ([src.octets(), dst.octets()].concat(), 0),
        _ => return false,
    };
    let pseudo = sum(sum(6, &addresses), &(segment.len() as u32).to_be_bytes());
    header == 0 && tcp.header.start == ip.payload.start && sum(pseudo, segment) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::super::capture::GsoKind;
    use super::super::frame::{Ethernet, TCP_ACK, TCP_SYN, Tcp as Header, pattern};
    use super::*;

    const ACK: u32 = 77;

    fn udp(sequence: u64) -> Packet<'static> {
        let frame =
            Ethernet::new([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2]).udp(1, 2, &pattern(sequence, 90));
        Packet::new(frame, None)
    }

    fn tcp_with(seq: u32, data: &[u8], flags: u8, id: u16, gso: u16) -> Packet<'static> {
        let header = Header { sport: 1, dport: 2, seq, ack: ACK, flags: TCP_ACK | flags, window: 9 };
        let frame = Ethernet::new([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2]).id(id).tcp(header, data);
        let gso = (gso > 0).then_some(Gso { kind: GsoKind::Tcp4, size: gso });
        Packet::new(frame, gso)
    }

    /// A piece of one stream whose data begins at sequence number 2^32 - 1000.
    fn tcp(from: usize, to: usize, flags: u8, gso: u16) -> Packet<'static> {
        let seq = (from as u32).wrapping_sub(1000);
        tcp_with(seq, &pattern(5, 4000)[from..to], flags, 1, gso)
    }

    fn broken(mut packet: Packet<'static>, at: usize) -> Packet<'static> {
        let place = if at < 100 { at } else { packet.bytes.len() - 1 };
        packet.bytes.to_mut()[place] ^= 1;
        packet
    }

    #[test]
    fn whole_frames_are_counted_not_merely_found() {
        use Fate::{Identical, Missing};
        type Row = (&'static str, Vec<u64>, Vec<u64>, Vec<Fate>, usize);
        let rows: [Row; 5] = [
            ("in another order", vec![1, 2, 3], vec![3, 1, 2], vec![Identical; 3], 0),
            ("one is missing", vec![1, 2, 3], vec![3, 1], vec![Identical, Missing, Identical], 0),
            ("one came twice", vec![1, 2], vec![1, 2, 2], vec![Identical; 2], 1),
            ("sent twice, came once", vec![1, 1], vec![1], vec![Identical, Missing], 0),
            ("sent twice, came twice", vec![1, 1], vec![1, 1], vec![Identical; 2], 0),
        ];
        for (what, originals, copies, fates, strangers) in rows {
            let frames = |numbers: Vec<u64>| numbers.into_iter().map(udp).collect::<Vec<_>>();
            let result = compare(&frames(originals), &frames(copies));
            assert_eq!(result.fates, fates, "{what}");
            assert_eq!(result.strangers().count(), strangers, "{what}");
        }
    }

    #[test]
    fn streams_are_compared_byte_by_byte_however_they_are_cut() {
        use Fate::{Different, Identical, Missing};
        let whole = || vec![tcp(0, 3000, TCP_PSH, 1000)];
        type Row = (&'static str, Vec<Packet<'static>>, Vec<Packet<'static>>, Fate, usize);
        let rows: Vec<Row> = vec![
            ("uncut", whole(), whole(), Identical, 0),
            (
                "cut as it asks",
                whole(),
                vec![tcp(0, 1000, 0, 0), tcp(1000, 2000, 0, 0), tcp(2000, 3000, TCP_PSH, 0)],
                Identical,
                0,
            ),
            (
                "cut into other sizes",
                whole(),
                vec![tcp(0, 950, 0, 0), tcp(950, 1900, 0, 0), tcp(1900, 2850, 0, 0), tcp(2850, 3000, TCP_PSH, 0)],
                Identical,
                0,
            ),
            ("a hole", whole(), vec![tcp(0, 1000, 0, 0), tcp(1001, 3000, TCP_PSH, 0)], Missing, 0),
            (
                "a piece twice",
                whole(),
                vec![tcp(0, 1000, 0, 0), tcp(1000, 3000, TCP_PSH, 0), tcp(100, 200, 0, 0)],
                Identical,
                2,
            ),
            ("beyond the end", whole(), vec![tcp(0, 2999, 0, 0), tcp(2999, 3001, TCP_PSH, 0)], Different, 1),
            (
                "a changed byte",
                whole(),
                vec![tcp(0, 1000, 0, 0), broken(tcp(1000, 3000, TCP_PSH, 1000), 100)],
                Different,
                1,
            ),
            (
                "a changed byte under its old checksum",
                whole(),
                vec![tcp(0, 1000, 0, 0), broken(tcp(1000, 3000, TCP_PSH, 0), 100)],
                Missing,
                1,
            ),
            ("PSH lost", whole(), vec![tcp(0, 1000, 0, 0), tcp(1000, 3000, 0, 0)], Different, 1),
            ("PSH too early", whole(), vec![tcp(0, 1000, TCP_PSH, 0), tcp(1000, 3000, TCP_PSH, 0)], Different, 1),
            ("another TTL", whole(), vec![broken(tcp(0, 3000, TCP_PSH, 1000), 22)], Missing, 1),
            ("another window", whole(), vec![broken(tcp(0, 3000, TCP_PSH, 1000), 49)], Missing, 1),
            ("another receiver", whole(), vec![broken(tcp(0, 3000, TCP_PSH, 1000), 0)], Missing, 1),
            ("joined", vec![tcp(0, 900, 0, 0), tcp(900, 1800, 0, 0)], vec![tcp(0, 1800, 0, 900)], Identical, 0),
            (
                "sent twice, both cut",
                vec![tcp(0, 2000, 0, 1000), tcp(0, 2000, 0, 1000)],
                vec![tcp(0, 1000, 0, 0), tcp(0, 1000, 0, 0), tcp(1000, 2000, 0, 0), tcp(1000, 2000, 0, 0)],
                Identical,
                0,
            ),
            (
                "no super-packet, another identification",
                vec![tcp_with(5, b"data", 0, 1, 0)],
                vec![tcp_with(5, b"data", 0, 2, 0)],
                Different,
                0,
            ),
            ("grown to no super-packet", whole(), vec![tcp(0, 3000, TCP_PSH, 0)], Identical, 0),
            ("without data", vec![tcp_with(5, b"", TCP_SYN, 1, 0)], vec![tcp_with(5, b"", 0, 1, 0)], Missing, 1),
        ];
        for (what, originals, copies, fate, strangers) in rows {
            let result = compare(&originals, &copies);
            assert!(result.fates.iter().all(|found| *found == fate), "{what}: {:?}", result.fates);
            assert_eq!(result.strangers().count(), strangers, "{what}");
        }
    }

    #[test]
    fn the_size_on_the_wire_counts_the_headers_of_each_piece() {
        let rows = [
            (udp(1), 1, 132),
            (tcp(0, 3000, 0, 1000), 3, 3 * 1054),
            (tcp(0, 3001, 0, 1000), 4, 3001 + 4 * 54),
            (tcp(0, 10, 0, 1000), 1, 64),
        ];
        for (packet, packets, bytes) in rows {
            assert_eq!(packet.wire_size(), WireSize { packets, bytes });
        }
    }
}
