//! Cuts super-packets as the kernel, or a network card, would: into the frames that they are on the wire. TCP and UDP,
//! plain or inside of VXLAN. Written from the RFCs, not from what the datapath thinks of them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use super::capture::{Gso, GsoKind};
use super::checksum::{checksum, sum};
use super::compare::Packet;
use super::frame::{TCP_FIN, TCP_PSH};
use super::parse::{Ip, Parsed};

const UDP_HEADER: usize = 8;
/// UDP and VXLAN headers, in front of the inner frame.
const VXLAN_HEADERS: usize = 16;
const TCP_CWR: u8 = 0x80;

/// The jumbo option's header: hop-by-hop options with this one alone (RFC 2675, section 2).
const JUMBO_HEADER: usize = 8;
const JUMBO_OPTION: u8 = 0xc2;

/// An IPv6 super-packet of more than 64 KiB without the option that tells its length: no segment of it has one. Its Ethernet header
/// has no tag.
pub fn without_jumbo(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    const IP: usize = 14;
    const OPTIONS: usize = IP + 40;
    let is_jumbo = bytes.len() > OPTIONS + JUMBO_HEADER
        && bytes[12..IP] == [0x86, 0xdd]
        && bytes[IP + 4..IP + 7] == [0, 0, 0]
        && bytes[OPTIONS + 2] == JUMBO_OPTION;
    if !is_jumbo {
        return bytes;
    }
    let mut bytes = bytes.into_owned();
    bytes[IP + 6] = bytes[OPTIONS];
    bytes.drain(OPTIONS..OPTIONS + JUMBO_HEADER);
    Cow::Owned(bytes)
}

/// Where the parts of a super-packet are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The IP headers: that of a tunnel, then the inner one. Each is followed by what it carries.
    ips: Vec<(usize, Ip)>,
    /// The transport header that each piece repeats.
    transport: Range<usize>,
    gso: Gso,
}

impl Layout {
    /// `None` for what is no super-packet, or one that is not to be understood.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let gso = packet.gso.filter(|gso| gso.size > 0)?;
        let protocol = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => 6,
            GsoKind::Udp => 17,
            GsoKind::UdpFragments => return None,
        };
        let mut ips: Vec<(usize, Ip)> = Vec::new();
        let mut at = 0;
        // The frame, or a frame in a frame.
        for _ in 0..2 {
            let parsed = Parsed::new(packet.bytes.get(at..)?)?;
            let mut ip = parsed.ip.clone()?;
            ip.payload = ip.payload.start + at..packet.bytes.len();
            let start = ip.payload.start;
            let inner = start + VXLAN_HEADERS;
            let tunnel = ip.protocol == 17 && packet.transport.is_none_or(|known| known != start);
            let plain = ip.protocol == protocol && packet.transport.is_none_or(|known| known == start);
            ips.push((at + parsed.network, ip));
            if plain {
                let length = match protocol {
                    6 => usize::from(packet.bytes.get(start + 12)? >> 4) * 4,
                    _ => UDP_HEADER,
                };
                packet.bytes.get(start..start + length)?;
                return Some(Self { ips, transport: start..start + length, gso });
            }
            if !tunnel {
                return None;
            }
            at = inner;
        }
        None
    }

    /// Bytes in front of the data: each piece has them.
    pub fn headers(&self) -> usize {
        self.transport.end
    }

    /// The frames on the wire.
    pub fn cut(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let data = bytes.get(self.headers()..).unwrap_or_default();
        let pieces: Vec<&[u8]> = data.chunks(self.gso.size.into()).collect();
        let last = pieces.len().saturating_sub(1);
        let piece = |(number, data): (usize, &&[u8])| {
            let mut frame = [&bytes[..self.headers()], data].concat();
            self.finish(&mut frame, number, number == last);
            frame
        };
        pieces.iter().enumerate().map(piece).collect()
    }

    /// Makes the headers those of the piece with this number: the inner ones first, a tunnel's checksum covers them.
    fn finish(&self, frame: &mut [u8], number: usize, last: bool) {
        for (depth, (at, ip)) in self.ips.iter().enumerate().rev() {
            finish_ip(frame, *at, ip, number);
            let start = ip.payload.start;
            if ip.protocol == 17 {
                let length = ((frame.len() - start) as u16).to_be_bytes();
                frame[start + 4..start + 6].copy_from_slice(&length);
            } else {
                self.finish_tcp(frame, number, last);
            }
            let field = start + if ip.protocol == 17 { 6 } else { 16 };
            // In UDP 0 says that there is no checksum, as in most tunnels. In what is cut it has to be made.
            let is_tunnel = depth + 1 < self.ips.len();
            if is_tunnel && frame[field..field + 2] == [0, 0] {
                continue;
            }
            frame[field..field + 2].fill(0);
            let value = match !sum(pseudo_sum(ip, frame.len() - start), &frame[start..]) {
                0 if ip.protocol == 17 => 0xffff,
                value => value,
            };
            frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
        }
    }

    fn finish_tcp(&self, frame: &mut [u8], number: usize, last: bool) {
        let header = &mut frame[self.transport.clone()];
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let seq = seq.wrapping_add((number * usize::from(self.gso.size)) as u32);
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        if !last {
            header[13] &= !(TCP_FIN | TCP_PSH);
        }
        if number > 0 {
            header[13] &= !TCP_CWR;
        }
    }
}

fn finish_ip(frame: &mut [u8], at: usize, ip: &Ip, number: usize) {
    let length = frame.len() - at;
    let header = &mut frame[at..ip.payload.start];
    if ip.dst.is_ipv6() {
        header[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        return;
    }
    let id = u16::from_be_bytes([header[4], header[5]]).wrapping_add(number as u16);
    header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[10..12].fill(0);
    let value = checksum(header);
    header[10..12].copy_from_slice(&value.to_be_bytes());
}

fn pseudo_sum(ip: &Ip, length: usize) -> u16 {
    let mut pseudo = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => [src.octets(), dst.octets()].concat(),
        // A header has both addresses of one family.
        _ => Vec::new(),
    };
    pseudo.extend((length as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, ip.protocol]);
    sum(0, &pseudo)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Ethernet, Ip as Builder, TCP_ACK, TPID_8021Q, Tcp, pattern};
    use super::*;

    fn between() -> Ethernet {
        Ethernet::new([2; 6], [4; 6]).tag(TPID_8021Q, 5)
    }

    fn packet(frame: Vec<u8>, kind: GsoKind, size: u16) -> Packet<'static> {
        Packet::new(frame, Some(Gso { kind, size }))
    }

    fn pieces(packet: &Packet<'_>) -> Vec<Vec<u8>> {
        Layout::of(packet).unwrap().cut(&packet.bytes)
    }

    #[test]
    fn pieces_are_the_frames_that_would_have_been_sent_one_by_one() {
        let data = pattern(1, 2500);
        let tcp = |from: usize, flags| Tcp { sport: 1, dport: 2, seq: from as u32, ack: 3, flags, window: 4 };
        let all = TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR;
        let families: [fn() -> Builder; 2] =
            [|| between().ipv4([192, 0, 2, 1], [192, 0, 2, 2]).id(65_535), || between().ipv6([0xfd; 16], [0xfe; 16])];
        for (family, kind) in families.into_iter().zip([GsoKind::Tcp4, GsoKind::Tcp6]) {
            let expected: Vec<_> = [(0, TCP_ACK | TCP_CWR), (1000, TCP_ACK), (2000, TCP_ACK | TCP_PSH | TCP_FIN)]
                .into_iter()
                .map(|(from, flags)| {
                    let id = 65_535u16.wrapping_add((from / 1000) as u16);
                    family().id(id).tcp(tcp(from, flags), &data[from..2500.min(from + 1000)])
                })
                .collect();
            assert_eq!(pieces(&packet(family().tcp(tcp(0, all), &data), kind, 1000)), expected);
            let expected: Vec<_> = (0..3)
                .map(|n| {
                    family().id(65_535u16.wrapping_add(n as u16)).udp(5, 6, &data[n * 1000..2500.min(n * 1000 + 1000)])
                })
                .collect();
            assert_eq!(pieces(&packet(family().udp(5, 6, &data), GsoKind::Udp, 1000)), expected);
        }
    }

    #[test]
    fn inside_of_vxlan_both_headers_are_those_of_the_piece() {
        let data = pattern(1, 1500);
        let inner = |n: usize, data: &[u8]| {
            let seq = (n * 1000) as u32;
            let tcp = Tcp { sport: 1, dport: 2, seq, ack: 3, flags: TCP_ACK, window: 4 };
            between().ipv6([0xfd; 16], [0xfe; 16]).tcp(tcp, data)
        };
        let outer = |n: usize, data: &[u8]| {
            let frame = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &inner(n, data)].concat();
            let mut packet = between().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).id(9 + n as u16).udp(50_000, 4789, &frame);
            packet[44..46].fill(0);
            packet
        };
        let whole = packet(outer(0, &data), GsoKind::Tcp6, 1000);
        assert_eq!(pieces(&whole), [outer(0, &data[..1000]), outer(1, &data[1000..])]);
        assert_eq!(whole.wire_size().packets, 2);
        assert_eq!(whole.wire_size().bytes, pieces(&whole).concat().len() as u64);
    }

    #[test]
    fn what_cannot_be_cut_is_refused_and_no_panic() {
        let udp = between().ipv4([192, 0, 2, 1], [192, 0, 2, 2]).udp(1, 2, &[0; 50]);
        assert_eq!(Layout::of(&Packet::new(udp.clone(), None)), None);
        assert_eq!(Layout::of(&packet(udp.clone(), GsoKind::Tcp4, 10)), None);
        for length in 0..udp.len() {
            if let Some(layout) = Layout::of(&packet(udp[..length].to_vec(), GsoKind::Udp, 10)) {
                layout.cut(&udp[..length]);
            }
        }
    }
}
