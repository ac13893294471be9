//! Frames made by hand.
//!
//! An [`Ethernet`] is a sender and a receiver, maybe with VLAN tags; what it makes are whole frames, from the first byte
//! of the destination address on, without the frame check sequence:
//!
//! ```
//! # use ebmirror::lab::frame::{Ethernet, pattern};
//! let frame = Ethernet::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
//!     .tag(0x8100, 7)
//!     .ipv4([192, 0, 2, 1], [192, 0, 2, 2])
//!     .udp(1000, 2000, &pattern(1, 100));
//! assert_eq!(frame.len(), 14 + 4 + 20 + 8 + 100);
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::capture::{Checksum, Gso, GsoKind};
use super::checksum::{checksum, sum};

/// IEEE 802.1Q customer tag.
pub const TPID_8021Q: u16 = 0x8100;
/// IEEE 802.1ad service tag.
pub const TPID_8021AD: u16 = 0x88a8;
/// `ETH_P_*` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `ETH_P_*` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `ETH_P_*` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `ETH_P_*` of LLDP.
pub const ETHERTYPE_LLDP: u16 = 0x88cc;
/// All stations.
pub const BROADCAST: [u8; 6] = [0xff; 6];
/// Where LLDP is sent to: the nearest bridge.
pub const LLDP_MULTICAST: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
/// Where the spanning tree protocol is sent to.
pub const STP_MULTICAST: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];

/// The least length of an Ethernet frame without its check sequence.
pub const MIN_LENGTH: usize = 60;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

/// FIN, no more data from the sender.
pub const TCP_FIN: u8 = 0x01;
/// SYN, the first segment.
pub const TCP_SYN: u8 = 0x02;
/// RST, reset.
pub const TCP_RST: u8 = 0x04;
/// PSH, hand it to the application.
pub const TCP_PSH: u8 = 0x08;
/// ACK, the acknowledgement number counts.
pub const TCP_ACK: u8 = 0x10;

/// `length` bytes that no other `sequence` has, from nine bytes on: the number itself, then noise that depends on it, so
/// that a byte at the wrong place is noticed.
pub fn pattern(sequence: u64, length: usize) -> Vec<u8> {
    let mut state = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = sequence.to_be_bytes().to_vec();
    while bytes.len() < length {
        // xorshift64: it never gets to zero from a state that is not.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fills up with zeros to the least length of a frame, as a network card does.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    if frame.len() < MIN_LENGTH {
        frame.resize(MIN_LENGTH, 0);
    }
    frame
}

/// A sender, a receiver, and the VLAN tags between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The sender's address.
    pub src: [u8; 6],
    /// The receiver's address.
    pub dst: [u8; 6],
    /// Tag protocol and tag control information, outermost first.
    pub tags: Vec<(u16, u16)>,
}

impl Ethernet {
    /// Without tags.
    pub fn new(src: [u8; 6], dst: [u8; 6]) -> Self {
        Self { src, dst, tags: Vec::new() }
    }

    /// The same with one more tag, inside of those that there are. `tci` is the priority (3 bits), the drop
    /// eligible bit and the VLAN (12 bits).
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    /// The same to another receiver.
    pub fn to(mut self, dst: [u8; 6]) -> Self {
        self.dst = dst;
        self
    }

    /// A frame of any type; one below 0x600 is a length (IEEE 802.3).
    pub fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(14 + 4 * self.tags.len() + payload.len());
        frame.extend(self.dst);
        frame.extend(self.src);
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// "Who has `target`? Tell `sender`."
    pub fn arp_request(&self, sender: impl Into<Ipv4Addr>, target: impl Into<Ipv4Addr>) -> Vec<u8> {
        self.arp(1, sender.into(), [0; 6], target.into())
    }

    /// "`sender` is at the frame's sender", told to the frame's receiver, `target`.
    pub fn arp_reply(&self, sender: impl Into<Ipv4Addr>, target: impl Into<Ipv4Addr>) -> Vec<u8> {
        self.arp(2, sender.into(), self.dst, target.into())
    }

    fn arp(&self, operation: u16, sender: Ipv4Addr, target_mac: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
        let mut arp = vec![0, 1, 8, 0, 6, 4];
        arp.extend(operation.to_be_bytes());
        arp.extend(self.src);
        arp.extend(sender.octets());
        arp.extend(target_mac);
        arp.extend(target.octets());
        self.frame(ETHERTYPE_ARP, &arp)
    }

    /// A link layer discovery frame: chassis and port of the sender, and a description that `sequence` makes unique.
    /// It belongs to [`LLDP_MULTICAST`].
    pub fn lldp(&self, sequence: u64) -> Vec<u8> {
        let description = format!("ebmirror test {sequence:016x}");
        let mut lldp = vec![0x02, 7, 4];
        lldp.extend(self.src);
        lldp.extend([0x04, 7, 3]);
        lldp.extend(self.src);
        lldp.extend([0x06, 2, 0, 120]);
        // 16 + 16 characters, the length fits its byte.
        lldp.extend([0x08, description.len() as u8]);
        lldp.extend(description.as_bytes());
        lldp.extend([0, 0]);
        padded(self.frame(ETHERTYPE_LLDP, &lldp))
    }

    /// A spanning tree frame (802.3 length, LLC), whose root path cost is `sequence`. It belongs to [`STP_MULTICAST`].
    pub fn stp(&self, sequence: u32) -> Vec<u8> {
        let mut llc = vec![0x42, 0x42, 0x03, 0, 0, 0, 0, 0];
        let bridge = [&[0x80, 0x00][..], &self.src].concat();
        llc.extend(&bridge);
        llc.extend(sequence.to_be_bytes());
        llc.extend(&bridge);
        llc.extend([0x80, 0x01, 0, 0, 20, 0, 2, 0, 15, 0]);
        // 38 bytes, the length that the standard gives.
        padded(self.frame(llc.len() as u16, &llc))
    }

    /// IPv4 packets between these two addresses.
    pub fn ipv4(self, src: impl Into<Ipv4Addr>, dst: impl Into<Ipv4Addr>) -> Ip {
        Ip::new(self, IpAddr::V4(src.into()), IpAddr::V4(dst.into()))
    }

    /// IPv6 packets between these two addresses.
    pub fn ipv6(self, src: impl Into<Ipv6Addr>, dst: impl Into<Ipv6Addr>) -> Ip {
        Ip::new(self, IpAddr::V6(src.into()), IpAddr::V6(dst.into()))
    }
}

/// IP packets between two addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// The frame around it.
    pub ethernet: Ethernet,
    /// The sender's address, of the same family as `dst`: that of `dst` decides.
    src: IpAddr,
    dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN: the type of service, or traffic class.
    pub tos: u8,
    /// Identification, in IPv4.
    pub id: u16,
    /// Don't fragment, in IPv4.
    pub dont_fragment: bool,
    /// IPv4: more fragments, and the offset of this one in units of eight bytes.
    pub fragment: (bool, u16),
}

/// What varies in a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// `TCP_*`.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
}

impl Ip {
    fn new(ethernet: Ethernet, src: IpAddr, dst: IpAddr) -> Self {
        Self { ethernet, src, dst, ttl: 64, tos: 0, id: 0, dont_fragment: false, fragment: (false, 0) }
    }

    /// The same with this IPv4 identification.
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// The same with this TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The same as a fragment, in IPv4: whether more follow, and the offset in units of eight bytes (13 bits).
    pub fn fragment(mut self, more: bool, offset: u16) -> Self {
        self.fragment = (more, offset & 0x1fff);
        self
    }

    /// A packet of any protocol. `payload` is at most 65,515 bytes long, which nothing checks: a longer one makes a
    /// header that lies about its length.
    pub fn protocol(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = self.header(protocol, payload.len());
        packet.extend(payload);
        let ethertype = if self.dst.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        self.ethernet.frame(ethertype, &packet)
    }

    /// A UDP datagram.
    pub fn udp(&self, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        // 0 says "no checksum" in UDP.
        let value = match self.transport_checksum(PROTOCOL_UDP, &datagram) {
            0 => 0xffff,
            value => value,
        };
        datagram[6..8].copy_from_slice(&value.to_be_bytes());
        self.protocol(PROTOCOL_UDP, &datagram)
    }

    /// A TCP segment without options.
    pub fn tcp(&self, tcp: Tcp, payload: &[u8]) -> Vec<u8> {
        let mut segment = [tcp.sport.to_be_bytes(), tcp.dport.to_be_bytes()].concat();
        segment.extend(tcp.seq.to_be_bytes());
        segment.extend(tcp.ack.to_be_bytes());
        segment.extend([5 << 4, tcp.flags]);
        segment.extend(tcp.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(payload);
        let value = self.transport_checksum(PROTOCOL_TCP, &segment);
        segment[16..18].copy_from_slice(&value.to_be_bytes());
        self.protocol(PROTOCOL_TCP, &segment)
    }

    /// An echo request, ICMP or ICMPv6 as the addresses are.
    pub fn echo_request(&self, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        self.echo([8, 128], id, sequence, payload)
    }

    /// An echo reply, ICMP or ICMPv6 as the addresses are.
    pub fn echo_reply(&self, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        self.echo([0, 129], id, sequence, payload)
    }

    /// A TCP segment as an application's socket leaves it to the device: the checksum is only the sum of the pseudo
    /// header, and with `size` it is a super-packet to be cut into pieces of so many bytes of data.
    pub fn tcp_offloaded(&self, tcp: Tcp, payload: &[u8], size: Option<u16>) -> (Vec<u8>, Option<Gso>, Checksum) {
        let kind = if self.dst.is_ipv4() { GsoKind::Tcp4 } else { GsoKind::Tcp6 };
        self.offloaded(self.tcp(tcp, payload), PROTOCOL_TCP, 16, size.map(|size| Gso { kind, size }))
    }

    /// The same of UDP; with `size` it stands for many datagrams.
    pub fn udp_offloaded(
        &self,
        sport: u16,
        dport: u16,
        payload: &[u8],
        size: Option<u16>,
    ) -> (Vec<u8>, Option<Gso>, Checksum) {
        let gso = size.map(|size| Gso { kind: GsoKind::Udp, size });
        self.offloaded(self.udp(sport, dport, payload), PROTOCOL_UDP, 6, gso)
    }

    fn offloaded(
        &self,
        mut frame: Vec<u8>,
        protocol: u8,
        offset: usize,
        gso: Option<Gso>,
    ) -> (Vec<u8>, Option<Gso>, Checksum) {
        let header = if self.dst.is_ipv4() { 20 } else { 40 };
        let start = 14 + 4 * self.ethernet.tags.len() + header;
        let seed = self.pseudo_sum(protocol, frame.len() - start);
        frame[start + offset..start + offset + 2].copy_from_slice(&seed.to_be_bytes());
        (frame, gso, Checksum::NotReady { start, offset })
    }

    fn echo(&self, kinds: [u8; 2], id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let v4 = self.dst.is_ipv4();
        let message = echo_message(if v4 { kinds[0] } else { kinds[1] }, id, sequence, payload);
        if v4 {
            return self.protocol(PROTOCOL_ICMP, &message);
        }
        let mut message = message;
        message[2..4].fill(0);
        let value = self.transport_checksum(PROTOCOL_ICMPV6, &message);
        message[2..4].copy_from_slice(&value.to_be_bytes());
        self.protocol(PROTOCOL_ICMPV6, &message)
    }

    fn header(&self, protocol: u8, payload: usize) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = vec![0x45, self.tos];
                header.extend((20 + payload as u16).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                let (more, offset) = self.fragment;
                let flags = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | offset;
                header.extend(flags.to_be_bytes());
                header.extend([self.ttl, protocol, 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                let value = checksum(&header);
                header[10..12].copy_from_slice(&value.to_be_bytes());
                header
            }
            (src, dst) => {
                let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                header.extend((payload as u16).to_be_bytes());
                header.extend([protocol, self.ttl]);
                header.extend(octets_v6(src));
                header.extend(octets_v6(dst));
                header
            }
        }
    }

    fn transport_checksum(&self, protocol: u8, bytes: &[u8]) -> u16 {
        !sum(self.pseudo_sum(protocol, bytes.len()), bytes)
    }

    fn pseudo_sum(&self, protocol: u8, length: usize) -> u16 {
        let mut pseudo = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
            (src, dst) => [octets_v6(src), octets_v6(dst)].concat(),
        };
        pseudo.extend((length as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, protocol]);
        sum(0, &pseudo)
    }
}

/// The ICMP message alone, with its checksum (which in ICMPv6 is another one), as a raw socket takes it. `kind` 8 is
/// an echo request, 0 a reply.
pub fn echo_message(kind: u8, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(payload);
    let value = checksum(&message);
    message[2..4].copy_from_slice(&value.to_be_bytes());
    message
}

fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

    fn between() -> Ethernet {
        Ethernet::new(A, B)
    }

    fn v4() -> Ip {
        between().ipv4([192, 0, 2, 1], [192, 0, 2, 2])
    }

    fn v6() -> Ip {
        between().ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    // The checksums of this table were computed by another program.
    #[test]
    fn frames_are_these_bytes() {
        let tcp =
            Tcp { sport: 1000, dport: 80, seq: 0x01020304, ack: 0x05060708, flags: TCP_ACK | TCP_PSH, window: 512 };
        let rows: [(&str, Vec<u8>, &str); 8] = [
            (
                "ARP request",
                between().to(BROADCAST).arp_request([192, 0, 2, 1], [192, 0, 2, 2]),
                "ffffffffffff 02000000000a 0806 0001 0800 06 04 0001 02000000000a c0000201 000000000000 c0000202",
            ),
            (
                "ARP reply",
                between().arp_reply([192, 0, 2, 1], [192, 0, 2, 2]),
                "02000000000b 02000000000a 0806 0001 0800 06 04 0002 02000000000a c0000201 02000000000b c0000202",
            ),
            (
                "UDP",
                v4().id(0x1234).udp(1000, 2000, b"abc"),
                "02000000000b 02000000000a 0800 4500001f 12340000 4011e496 c0000201 c0000202 03e8 07d0 000b abb9 616263",
            ),
            (
                "tagged twice",
                between().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 7).frame(0x1234, &[1, 2]),
                "02000000000b 02000000000a 88a8 2064 8100 0007 1234 0102",
            ),
            (
                "TCP",
                v4().tcp(tcp, b"x"),
                "02000000000b 02000000000a 0800 45000029 00000000 4006f6cb c0000201 c0000202 \
                 03e8 0050 01020304 05060708 5018 0200 9d7b 0000 78",
            ),
            (
                "ICMP echo request",
                v4().echo_request(1, 2, &[]),
                "02000000000b 02000000000a 0800 4500001c 00000000 4001f6dd c0000201 c0000202 0800 f7fc 0001 0002",
            ),
            (
                "ICMPv6 echo reply",
                v6().echo_reply(1, 2, &[]),
                "02000000000b 02000000000a 86dd 60000000 0008 3a 40 20010db8000000000000000000000001 \
                 20010db8000000000000000000000002 8100 2345 0001 0002",
            ),
            (
                "second fragment",
                v4().fragment(true, 3).protocol(17, &[9]),
                "02000000000b 02000000000a 0800 45000015 00002003 4011d6d1 c0000201 c0000202 09",
            ),
        ];
        for (what, frame, expected) in rows {
            assert_eq!(frame, hex(expected), "{what}: {frame:02x?}");
        }
    }

    #[test]
    fn transport_checksums_close_the_sum() {
        let pseudo_v6 = |frame: &[u8]| {
            let length = (frame.len() - 54) as u16;
            sum(sum(u16::from(frame[20]), &frame[22..54]), &length.to_be_bytes())
        };
        for length in [0, 1, 2, 3, 99, 1400] {
            for frame in [v6().udp(1, 2, &pattern(5, length)), v6().echo_request(7, 8, &pattern(5, length))] {
                assert_eq!(sum(pseudo_v6(&frame), &frame[54..]), 0xffff, "{length}");
            }
        }
    }

    #[test]
    fn spanning_tree_and_discovery_frames_have_the_least_length() {
        let stp = between().to(STP_MULTICAST).stp(1);
        assert_eq!((stp.len(), &stp[12..17]), (60, &[0, 38, 0x42, 0x42, 0x03][..]));
        let lldp = between().to(LLDP_MULTICAST).lldp(1);
        assert_eq!((lldp.len() >= 60, &lldp[12..14]), (true, &[0x88, 0xcc][..]));
        assert_ne!(lldp, between().to(LLDP_MULTICAST).lldp(2));
    }

    #[test]
    fn patterns_of_different_numbers_differ_in_most_bytes() {
        let (first, second) = (pattern(1, 1000), pattern(2, 1000));
        let equal = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(equal < 30, "{equal}");
        assert_eq!(pattern(1, 1000)[..100], pattern(1, 100));
        assert_eq!((pattern(3, 0).len(), pattern(3, 5).len()), (0, 5));
    }
}
