//! Flows of which every byte is known: through the rig, and back out of the copies that the collector's kernel decodes.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ebmirror::lab::capture::Frame;
use ebmirror::lab::checksum::{checksum, sum};
use ebmirror::lab::compare::Packet;
use ebmirror::lab::network::Host;
use ebmirror::lab::parse::Parsed;
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::segment::Layout;
use ebmirror::lab::summary::summary;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

use super::common::traffic::{mac_text, quiet_rig, record, sysctl};
use super::common::{CLIENT, COLLECTOR, HOST, Rig, UNDERLAY};

/// The same network in IPv6: of the client, the host, its underlay, the collector.
pub const CLIENT6: &str = "fd00:1::1";
pub const HOST6: &str = "fd00:1::2";
pub const UNDERLAY6: &str = "fd00:2::1";
pub const COLLECTOR6: &str = "fd00:2::2";
/// Of the collector's VXLAN over IPv6.
pub const VNI6: u32 = 43;

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// What TCP may have in flight: the queue of a veth device holds a thousand packets, copies and fragments of them included.
const WINDOW_BYTES: usize = 64 * 1024;
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// An address of either family, from text.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The calling thread, and what it starts from now on, stays on one CPU. The packets of a flow have an order only as
/// long as who sends them does not move: each CPU has a queue of its own for virtual devices.
pub fn stay_on_this_cpu() {
    stay_on_cpu(sched_getcpu().unwrap());
}

pub fn stay_on_cpu(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// A quiet rig with IPv6 on both cables, in which all neighbours of production know each other, and whose collector's kernel
/// decodes VXLAN over IPv4 at vx0 and over IPv6 at vx6. It has room to reassemble what comes in many fragments.
pub fn flow_rig(underlay_mtu: u32) -> Rig {
    let rig = quiet_rig(underlay_mtu);
    let ends = [
        (&rig.client, "eth0", CLIENT6, &rig.host, "eth0", HOST6),
        (&rig.host, "eth0", HOST6, &rig.client, "eth0", CLIENT6),
        (&rig.host, "eth1", UNDERLAY6, &rig.collector, "eth0", COLLECTOR6),
        (&rig.collector, "eth0", COLLECTOR6, &rig.host, "eth1", UNDERLAY6),
    ];
    for (n, (host, ifname, address, ..)) in ends.into_iter().enumerate() {
        // IPv6 needs 1280 bytes (RFC 8200): a smaller underlay has none.
        if n < 2 || underlay_mtu >= 1280 {
            add_ipv6(&rig, host, ifname, address);
        }
    }
    for (host, ifname, _, other, otherif, address) in &ends[..2] {
        let mac = mac_text(other.mac(otherif).unwrap());
        rig.tool(host, &format!("ip neigh replace {address} lladdr {mac} nud permanent dev {ifname}"));
    }
    let tunnel = format!("vxlan id {VNI6} dstport 4789 local {COLLECTOR6} udp6zerocsumrx");
    rig.tool(&rig.collector, &format!("ip link add vx6 type {tunnel}"));
    rig.tool(&rig.collector, "ip link set dev vx6 up");
    // A fragment of a copy may count in here with the memory of the whole frame.
    for family in ["ipv4/ipfrag", "ipv6/ip6frag"] {
        sysctl(&rig.collector, &format!("net/{family}_high_thresh"), "67108864");
    }
    rig
}

/// Gives an interface an IPv6 address, without asking whether somebody has it, and nothing else that IPv6 sends by itself.
pub fn add_ipv6(rig: &Rig, host: &Host, ifname: &str, address: &str) {
    for (key, value) in [
        ("accept_dad", "0"),
        ("router_solicitations", "0"),
        // The groups that it is in are told once, and again at a random moment within this time: 24 days.
        ("mldv2_unsolicited_report_interval", "2147483647"),
        ("disable_ipv6", "0"),
    ] {
        sysctl(host, &format!("net/ipv6/conf/{ifname}/{key}"), value);
    }
    rig.tool(host, &format!("ip address add {address}/64 dev {ifname} nodad"));
}

/// The names of a family's addresses in the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub client: &'static str,
    pub host: &'static str,
    pub underlay: &'static str,
    pub collector: &'static str,
    /// What the collector's kernel decodes the tunnel with.
    pub decoder: &'static str,
    pub vni: u32,
    /// From the inner frame's first byte to the outer IP packet's.
    pub overhead: usize,
}

pub const V4: Family = Family {
    name: "IPv4",
    client: CLIENT,
    host: HOST,
    underlay: UNDERLAY,
    collector: COLLECTOR,
    decoder: "vx0",
    vni: 42,
    overhead: 36,
};
pub const V6: Family = Family {
    name: "IPv6",
    client: CLIENT6,
    host: HOST6,
    underlay: UNDERLAY6,
    collector: COLLECTOR6,
    decoder: "vx6",
    vni: VNI6,
    overhead: 56,
};
pub const FAMILIES: [Family; 2] = [V4, V6];

/// Adds a VXLAN peer of this family, named ids, and attaches eth0.
pub fn mirror_over(rig: &Rig, family: Family, more: &[&str]) {
    rig.ebmirror(&["attach", "eth0"]).ok();
    add_ids(rig, family, more);
}

pub fn add_ids(rig: &Rig, family: Family, more: &[&str]) {
    let vni = family.vni.to_string();
    let args = ["peer", "add", "ids", "--tunnel", "vxlan", "--remote", family.collector, "--vni", &vni];
    rig.ebmirror(&[&args[..], more].concat()).ok();
}

/// A conversation over TCP that has ended: `up` went to the server, then `down` came from it.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub up: Vec<u8>,
    pub down: Vec<u8>,
}

impl Conversation {
    /// Has one; what the applications get must be what was sent.
    pub fn hold(client: &Host, server: &Host, ip: IpAddr, up: Vec<u8>, down: Vec<u8>) -> Self {
        let listener = server.attempt("listening", || TcpListener::bind((ip, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let connected = client.attempt("connecting", || TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for stream in [&connected, &accepted] {
            setsockopt(stream, sockopt::SndBuf, &WINDOW_BYTES).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        let from = connected.local_addr().unwrap();
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let mut got = Vec::new();
                let mut accepted = &accepted;
                accepted.read_to_end(&mut got).unwrap();
                accepted.write_all(&down).unwrap();
                accepted.shutdown(Shutdown::Write).unwrap();
                got
            });
            let mut connected = &connected;
            connected.write_all(&up).unwrap();
            connected.shutdown(Shutdown::Write).unwrap();
            let mut got = Vec::new();
            connected.read_to_end(&mut got).unwrap();
            assert!(got == down, "production: {} of {} bytes came down, or others", got.len(), down.len());
            let got = serving.join().unwrap();
            assert!(got == up, "production: {} of {} bytes went up, or others", got.len(), up.len());
        });
        Self { client: from, server: address, up, down }
    }

    /// Both directions: from, to, and the bytes.
    pub fn directions(&self) -> [(SocketAddr, SocketAddr, &[u8]); 2] {
        [(self.client, self.server, &self.up), (self.server, self.client, &self.down)]
    }

    /// What is missing or wrong in the frames, if anything: every byte of both directions, FIN to SYN, in segments
    /// whose checksums are right.
    pub fn fault(&self, frames: &[Vec<u8>]) -> Option<String> {
        self.directions().into_iter().find_map(|(from, to, data)| {
            let fault = tcp_fault(frames, from, to, data)?;
            Some(format!("{from} to {to}: {fault}"))
        })
    }

    /// Whether both ends have said that they will say no more, and heard it.
    pub fn has_ended(&self, frames: &[Vec<u8>]) -> bool {
        let segments = |from, to| frames.iter().filter_map(move |frame| of_tcp(frame, from, to)).collect::<Vec<_>>();
        self.directions().into_iter().all(|(from, to, _)| {
            let end = segments(from, to).iter().find(|segment| segment.fin).map(Segment::end);
            end.is_some_and(|end| segments(to, from).iter().any(|segment| segment.ack == end))
        })
    }
}

struct Segment<'a> {
    seq: u32,
    ack: u32,
    syn: bool,
    fin: bool,
    data: &'a [u8],
}

impl Segment<'_> {
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.data.len() as u32 + u32::from(self.syn) + u32::from(self.fin))
    }
}

fn of_tcp(frame: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Segment<'_>> {
    let parsed = Parsed::new(frame)?;
    let (ip, tcp) = (parsed.ip.as_ref()?, parsed.tcp()?);
    let right = ip.src == from.ip() && ip.dst == to.ip() && tcp.sport == from.port() && tcp.dport == to.port();
    right.then(|| Segment {
        seq: tcp.seq,
        ack: tcp.ack,
        syn: tcp.flags & 2 != 0,
        fin: tcp.flags & 1 != 0,
        data: &frame[tcp.payload],
    })
}

fn tcp_fault(frames: &[Vec<u8>], from: SocketAddr, to: SocketAddr, data: &[u8]) -> Option<String> {
    let frames: Vec<(&Vec<u8>, Segment<'_>)> =
        frames.iter().filter_map(|frame| Some((frame, of_tcp(frame, from, to)?))).collect();
    if let Some((frame, _)) = frames.iter().find(|(frame, _)| !has_right_checksums(frame)) {
        return Some(format!("a checksum is wrong in {}", summary(frame)));
    }
    let Some(first) = frames.iter().find(|(_, segment)| segment.syn).map(|(_, segment)| segment.seq.wrapping_add(1))
    else {
        return Some(format!("no SYN among {} frames", frames.len()));
    };
    let mut missing = vec![true; data.len()];
    for (frame, segment) in &frames {
        let at = segment.seq.wrapping_sub(first) as usize;
        if segment.data.is_empty() {
            continue;
        }
        if data.get(at..at + segment.data.len()) != Some(segment.data) {
            return Some(format!("other bytes in {}", summary(frame)));
        }
        missing[at..at + segment.data.len()].fill(false);
    }
    if let Some(at) = missing.iter().position(|missing| *missing) {
        let count = missing.iter().filter(|missing| **missing).count();
        return Some(format!("{count} of {} bytes are missing, from {at} on, of {} frames", data.len(), frames.len()));
    }
    (!frames.iter().any(|(_, segment)| segment.fin)).then(|| "no FIN".to_owned())
}

/// Of the data segments of a flow in this order: how many begin before the one in front of them.
pub fn steps_back(frames: &[Vec<u8>], from: SocketAddr, to: SocketAddr) -> usize {
    let starts: Vec<u32> = frames
        .iter()
        .filter_map(|frame| of_tcp(frame, from, to))
        .filter(|segment| !segment.data.is_empty())
        .map(|segment| segment.seq)
        .collect();
    starts.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]).cast_signed() < 0).count()
}

/// The checksums of the IPv4 header, and of TCP, UDP or ICMP behind it; a fragment has no such. UDP may have none.
pub fn has_right_checksums(frame: &[u8]) -> bool {
    let Some(parsed) = Parsed::new(frame) else { return false };
    let Some(ip) = &parsed.ip else { return true };
    let payload = &frame[ip.payload.clone()];
    let (addresses, header) = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = usize::from(frame[parsed.network] & 0xf) * 4;
            ([src.octets(), dst.octets()].concat(), checksum(&frame[parsed.network..parsed.network + header]))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ([src.octets(), dst.octets()].concat(), 0),
        _ => return false,
    };
    if header != 0 {
        return false;
    }
    let seed = match ip.protocol {
        _ if ip.fragment => return true,
        17 if payload.get(6..8) == Some(&[0, 0]) => return ip.src.is_ipv4(),
        6 | 17 | 58 => sum(sum(sum(0, &addresses), &(payload.len() as u32).to_be_bytes()), &[0, 0, 0, ip.protocol]),
        1 => 0,
        _ => return true,
    };
    sum(seed, payload) == 0xffff
}

/// The payloads of a flow of UDP datagrams that are no fragments, in this order.
pub fn udp_payloads(frames: &[Vec<u8>], from: SocketAddr, to: SocketAddr) -> Vec<Vec<u8>> {
    let payload = |frame: &Vec<u8>| {
        let parsed = Parsed::new(frame)?;
        let ip = parsed.ip.as_ref().filter(|ip| ip.protocol == 17 && !ip.fragment)?;
        let datagram = frame.get(ip.payload.clone())?;
        let port = |at| Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]));
        let right = (ip.src, ip.dst, port(0)?, port(2)?) == (from.ip(), to.ip(), from.port(), to.port());
        right.then(|| datagram[8..].to_vec())
    };
    frames.iter().filter_map(payload).collect()
}

/// Whether a frame belongs to TCP or UDP between these two, whoever speaks.
pub fn is_between(frame: &[u8], a: SocketAddr, b: SocketAddr) -> bool {
    let Some(parsed) = Parsed::new(frame) else { return false };
    let Some(ip) = parsed.ip.as_ref().filter(|ip| matches!(ip.protocol, 6 | 17) && !ip.later_fragment) else {
        return false;
    };
    let Some(ports) = frame.get(ip.payload.start..ip.payload.start + 4) else { return false };
    let from = SocketAddr::new(ip.src, u16::from_be_bytes([ports[0], ports[1]]));
    let to = SocketAddr::new(ip.dst, u16::from_be_bytes([ports[2], ports[3]]));
    (from, to) == (a, b) || (from, to) == (b, a)
}

/// The frames on the wire that captured ones stand for: super-packets are cut, checksums are finished.
pub fn wire_frames<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<Vec<u8>> {
    frames
        .into_iter()
        .flat_map(|frame| {
            let packet = Packet::captured(frame);
            match Layout::of(&packet) {
                Some(layout) => layout.cut(&packet.bytes),
                None => vec![packet.bytes.into_owned()],
            }
        })
        .collect()
}

/// What the collector's kernel has taken out of the tunnel.
pub struct Decoded(Recorder);

impl Decoded {
    /// At this device, which must not join what it gets where boundaries matter.
    pub fn start(host: &Host, ifname: &str) -> Self {
        Self(record(host, ifname))
    }

    pub fn of(rig: &Rig, family: Family) -> Self {
        Self::start(&rig.collector, family.decoder)
    }

    /// All frames until now, one by one as on the wire.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.0.with(|frames| wire_frames(frames.iter().filter(|frame| !frame.outgoing))).unwrap()
    }

    /// The super-packets among them.
    pub fn super_packets(&self) -> usize {
        self.0.with(|frames| frames.iter().filter(|frame| frame.gso.is_some()).count()).unwrap()
    }

    pub fn count(&self) -> usize {
        self.0.with(|frames| frames.iter().filter(|frame| !frame.outgoing).count()).unwrap()
    }

    /// Waits until there are as many, and returns them; there may be more.
    pub fn take(&self, count: usize) -> Vec<Vec<u8>> {
        settle("the copies", || {
            let frames = self.frames();
            if frames.len() >= count { Ok(frames) } else { Err(format!("{} of {count} arrived", frames.len())) }
        })
    }
}

/// Waits until `look` has no fault any more, and says the last one when it has.
pub fn settle<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(result) => return result,
            Err(fault) => assert!(Instant::now() < deadline, "{what}: {fault}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether two frames are the same, but for the form of a zero in TCP's checksum: 0x0000 and 0xffff are one number (RFC 1071),
/// and a cut segment gets the former from Linux, one that a device was left to finish the latter. Which of the two is on the
/// wire nobody knows who sees the super-packet.
fn are_same(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let Some(tcp) = Parsed::new(a).and_then(|parsed| parsed.tcp()) else { return false };
    let field = tcp.header.start + 16..tcp.header.start + 18;
    let is_zero = |frame: &[u8]| frame.get(field.clone()).is_some_and(|sum| sum == [0, 0] || sum == [0xff, 0xff]);
    let rest = |frame: &[u8]| [&frame[..field.start], &frame[field.end..]].concat();
    is_zero(a) && is_zero(b) && rest(a) == rest(b)
}

/// The first difference of two sequences of frames, in words.
pub fn difference(expected: &[Vec<u8>], found: &[Vec<u8>]) -> Option<String> {
    let at = expected.iter().zip(found).position(|(a, b)| !are_same(a, b));
    let at = match at {
        None if expected.len() == found.len() => return None,
        None => expected.len().min(found.len()),
        Some(at) => at,
    };
    let show = |frames: &[Vec<u8>]| {
        frames.get(at).map_or("nothing".to_owned(), |frame| {
            let head: String = frame.iter().take(74).map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes, {}\n    {head}", frame.len(), summary(frame))
        })
    };
    let lengths = (expected.len(), found.len());
    Some(format!("{lengths:?} frames; the {at}th is\n  {}, not\n  {}", show(found), show(expected)))
}

/// A UDP socket.
pub struct Datagrams(pub UdpSocket);

impl Datagrams {
    pub fn bind(host: &Host, ip: &str, port: u16) -> Self {
        let socket = host.attempt("binding", || UdpSocket::bind((address(ip), port))).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Hands the kernel super-packets, to be cut into datagrams of this size; 0: no more.
    pub fn segment(&self, size: i32) {
        setsockopt(&self.0, sockopt::UdpGsoSegment, &size).unwrap();
    }

    /// Takes from the kernel what it has joined.
    pub fn take_joined(&self) {
        setsockopt(&self.0, sockopt::UdpGroSegment, &true).unwrap();
    }

    pub fn send(&self, to: &Datagrams, data: &[u8]) {
        assert_eq!(self.0.send_to(data, to.address()).unwrap(), data.len());
    }

    /// So many bytes, however they are cut.
    pub fn receive(&self, what: &str, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let mut received = Vec::with_capacity(length);
        while received.len() < length {
            let count = self.0.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{what}: production: after {} of {length} bytes: {error}", received.len());
            });
            received.extend_from_slice(&buffer[..count]);
        }
        received
    }
}

/// Addresses of production that nobody has, and nobody answers.
pub const NOBODY6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)];

/// What a tunnel has brought: where to, its number, and what was inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub dst: IpAddr,
    /// VNI, GRE key or ERSPAN session.
    pub number: u32,
    pub inner: Vec<u8>,
}

/// Outer packets taken apart, those in fragments joined, in the order in which they became whole. What is no tunnel, or
/// was sent from here, is left out.
pub fn delivered(frames: &[Frame]) -> Vec<Delivered> {
    let mut waiting: HashMap<(IpAddr, IpAddr, u32), Datagram> = HashMap::new();
    let mut found = Vec::new();
    for frame in frames.iter().filter(|frame| !frame.outgoing) {
        let packet = Packet::captured(frame);
        let bytes = packet.bytes.to_vec();
        let Some(parsed) = Parsed::new(&bytes) else { continue };
        let Some(ip) = &parsed.ip else { continue };
        if !ip.fragment {
            // The length of a super-packet may not fit its header.
            let end = if packet.gso.is_some() { bytes.len() } else { ip.payload.end };
            let Some((number, start)) = inside(ip.protocol, &bytes[ip.payload.start..end]) else { continue };
            let inner = packet.inside(ip.payload.start + start).unwrap();
            let pieces = match Layout::of(&inner) {
                Some(layout) => layout.cut(&inner.bytes),
                None => vec![bytes[ip.payload.start + start..end].to_vec()],
            };
            found.extend(pieces.into_iter().map(|inner| Delivered { dst: ip.dst, number, inner }));
            continue;
        }
        let payload = &bytes[ip.payload.clone()];
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let at = parsed.network;
        let (offset, more, id) = if ip.src.is_ipv4() {
            (usize::from(word(at + 6) & 0x1fff) * 8, word(at + 6) & 0x2000 != 0, word(at + 4).into())
        } else {
            let id = u32::from(word(at + 44)) << 16 | u32::from(word(at + 46));
            (usize::from(word(at + 42) & 0xfff8), word(at + 42) & 1 != 0, id)
        };
        let key = (ip.src, ip.dst, id);
        let datagram = waiting.entry(key).or_default();
        datagram.pieces.push((offset, payload.to_vec()));
        if !more {
            datagram.length = Some(offset + payload.len());
        }
        if datagram.length == Some(datagram.pieces.iter().map(|(_, piece)| piece.len()).sum()) {
            datagram.pieces.sort_by_key(|(offset, _)| *offset);
            let whole: Vec<u8> = datagram.pieces.iter().flat_map(|(_, piece)| piece.clone()).collect();
            let inner =
                |(number, start): (u32, usize)| Delivered { dst: ip.dst, number, inner: whole[start..].to_vec() };
            found.extend(inside(ip.protocol, &whole).map(inner));
            waiting.remove(&key);
        }
    }
    found
}

#[derive(Default)]
struct Datagram {
    pieces: Vec<(usize, Vec<u8>)>,
    length: Option<usize>,
}

/// RFC 7348, RFC 8926, RFC 2784 and 2890, and the draft of ERSPAN, as far as one needs to know to get at the frame.
/// The tunnel's number, and where the frame begins.
fn inside(protocol: u8, payload: &[u8]) -> Option<(u32, usize)> {
    let word = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let double = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
    let (number, start) = match (protocol, word(0)?, word(2)?) {
        (17, _, 4789) => (double(12)? >> 8, 16),
        (17, _, 6081) => (double(12)? >> 8, 16 + usize::from(payload.get(8)? & 0x3f) * 4),
        (47, flags, kind) => {
            let length = 4 + [0x8000, 0x2000, 0x1000].into_iter().filter(|flag| flags & flag != 0).count() * 4;
            match kind {
                0x6558 if flags & 0x2000 != 0 => (double(4)?, length),
                0x6558 => (0, length),
                0x88be => (u32::from(word(length + 2)? & 0x3ff), length + 8),
                0x22eb => (u32::from(word(length + 2)? & 0x3ff), length + 12),
                _ => return None,
            }
        }
        _ => return None,
    };
    payload.get(start..)?;
    Some((number, start))
}
