//! Traffic for the root tests, and what became of it at the collector.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ebmirror::lab::capture::{Checksum, Frame, Gso, Sender};
use ebmirror::lab::compare::{Fate, Packet, WireSize, compare};
use ebmirror::lab::decode::{self, Outer};
use ebmirror::lab::frame::{ETHERTYPE_IPV4, Ethernet, Ip, pattern};
use ebmirror::lab::network::{Host, Port, connect};
use ebmirror::lab::parse::Parsed;
use ebmirror::lab::pcap::{write_frame, write_header};
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::summary::summary;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

use super::{CLIENT, HOST, Rig, wait_for};

/// Frames from nobody to nobody: the hosts pass over them, so that there is no answer to be counted.
pub const NOBODY: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(198, 51, 100, 9)];

/// Longer than anything here should take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many frames may be on their way at a time: the queues of veth devices hold a thousand.
const BURST: usize = 250;
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// `SO_RCVMARK` of asm-generic/socket.h, kernel 5.19 and later.
const SO_RCVMARK: libc::c_int = 75;
/// `SO_RCVPRIORITY` of asm-generic/socket.h, kernel 6.14 and later.
const SO_RCVPRIORITY: libc::c_int = 82;

/// An IPv4 address from text.
pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A MAC address as tools write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Writes below /proc/sys in a host's namespace.
pub fn sysctl(host: &Host, key: &str, value: &str) {
    host.attempt(format_args!("writing {value} to {key}"), || std::fs::write(format!("/proc/sys/{key}"), value))
        .unwrap();
}

/// A rig on whose wires nothing is but the test's own traffic: IPv6 is silent, and client and host know each other.
pub fn quiet_rig(underlay_mtu: u32) -> Rig {
    let rig = Rig::with_underlay_mtu(underlay_mtu);
    for host in [&rig.client, &rig.host, &rig.collector] {
        sysctl(host, "net/ipv6/conf/all/disable_ipv6", "1");
    }
    for (host, other, address) in [(&rig.client, &rig.host, HOST), (&rig.host, &rig.client, CLIENT)] {
        let mac = mac_text(other.mac("eth0").unwrap());
        rig.tool(host, &format!("ip neigh replace {address} lladdr {mac} nud permanent dev eth0"));
    }
    rig
}

/// One more cable between two hosts.
pub fn cable(a: (&Host, &str, &str), b: (&Host, &str, &str), mtu: u32) {
    let address = |text: &str| [(IpAddr::V4(ip(text)), 24)];
    let (at_a, at_b) = (address(a.2), address(b.2));
    connect(Port { host: a.0, ifname: a.1, addresses: &at_a }, Port { host: b.0, ifname: b.1, addresses: &at_b }, mtu)
        .unwrap();
}

/// What the host receives at eth0.
pub fn client_to_host(rig: &Rig) -> Ethernet {
    Ethernet::new(rig.client.mac("eth0").unwrap(), rig.host.mac("eth0").unwrap())
}

/// What leaves the host there.
pub fn host_to_client(rig: &Rig) -> Ethernet {
    Ethernet::new(rig.host.mac("eth0").unwrap(), rig.client.mac("eth0").unwrap())
}

/// IPv4 that nobody answers.
pub fn unanswered(ethernet: Ethernet) -> Ip {
    ethernet.ipv4(NOBODY[0], NOBODY[1])
}

/// `count` UDP frames that differ, of this length and nothing else.
pub fn udp_frames(ethernet: &Ethernet, numbers: std::ops::Range<u64>, length: usize) -> Vec<Vec<u8>> {
    numbers.map(|n| unanswered(ethernet.clone()).udp(4000, 5000, &pattern(n, length - 42))).collect()
}

/// Puts frames on a wire as they are, without waiting for anything.
pub fn send(host: &Host, ifname: &str, frames: &[Vec<u8>]) {
    host.attempt("sending", || {
        let sender = Sender::open(ifname)?;
        frames.iter().try_for_each(|frame| sender.send(frame))
    })
    .unwrap();
}

/// Keeps all frames of an interface.
pub fn record(host: &Host, ifname: &str) -> Recorder {
    host.attempt("recording", || Recorder::start(ifname)).unwrap()
}

/// A copy that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub outer: Outer,
    /// The frame inside, its checksums finished unless it is a super-packet.
    pub bytes: Vec<u8>,
    pub gso: Option<Gso>,
}

impl Copy {
    pub fn packet(&self) -> Packet<'_> {
        Packet::new(self.bytes.as_slice(), self.gso)
    }
}

impl AsRef<[u8]> for Copy {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// UDP over IPv4 that came in: at a collector these are copies, and nothing else is.
pub fn is_copy(frame: &Frame) -> bool {
    !frame.outgoing
        && frame.bytes.get(12..14) == Some(&ETHERTYPE_IPV4.to_be_bytes())
        && frame.bytes.get(23) == Some(&17)
}

/// Takes the copies apart; one that is not exactly as it should be fails the test.
pub fn copies(frames: &[Frame]) -> Vec<Copy> {
    frames
        .iter()
        .filter(|frame| is_copy(frame))
        .map(|frame| {
            let (outer, packet) = decode::vxlan(frame)
                .unwrap_or_else(|error| panic!("an outer packet of {} bytes: {error}", frame.bytes.len()));
            Copy { outer, bytes: packet.bytes.into_owned(), gso: packet.gso }
        })
        .collect()
}

/// A collector's interface and what has arrived there.
pub struct Collector(Recorder);

impl Collector {
    pub fn start(host: &Host, ifname: &str) -> Self {
        Self(record(host, ifname))
    }

    /// The rig's own.
    pub fn of(rig: &Rig) -> Self {
        Self::start(&rig.collector, "eth0")
    }

    pub fn copies(&self) -> Vec<Copy> {
        self.0.with(copies).unwrap()
    }

    pub fn count(&self) -> usize {
        self.0.with(|frames| frames.iter().filter(|frame| is_copy(frame)).count()).unwrap()
    }

    /// Waits until so many have arrived.
    pub fn wait_for(&self, count: usize) {
        let (mut seen, mut found) = (0, 0);
        let enough = self.0.wait(PATIENCE, |frames| {
            found += frames[seen..].iter().filter(|frame| is_copy(frame)).count();
            seen = frames.len();
            found >= count
        });
        assert!(enough.unwrap(), "{found} of {count} copies arrived");
    }

    /// Waits until so many have arrived, and returns them.
    pub fn take(&self, count: usize) -> Vec<Copy> {
        self.wait_for(count);
        self.copies()
    }

    /// Sends frames in bursts that no queue on the way is too short for: before the next one, `each` copies of every
    /// frame so far have arrived.
    pub fn send(&self, host: &Host, ifname: &str, frames: &[Vec<u8>], each: usize) {
        let mut expected = self.count();
        host.run(|| {
            let sender = Sender::open(ifname).unwrap();
            for burst in frames.chunks((BURST / each).max(1)) {
                burst.iter().for_each(|frame| sender.send(frame).unwrap());
                expected += burst.len() * each;
                self.wait_for(expected);
            }
        })
        .unwrap();
    }
}

/// The same frames, each as often, in any order.
pub fn assert_same_frames(what: &str, originals: &[Vec<u8>], copies: &[impl AsRef<[u8]>]) {
    let mut balance: HashMap<&[u8], i64> = HashMap::new();
    for original in originals {
        *balance.entry(original).or_default() += 1;
    }
    for copy in copies {
        *balance.entry(copy.as_ref()).or_default() -= 1;
    }
    balance.retain(|_, balance| *balance != 0);
    let mut report = String::new();
    for (bytes, balance) in balance.iter().take(6) {
        let fault = if *balance > 0 { "missing" } else { "too many" };
        writeln!(report, "{fault} ({balance}): {} bytes, {}\n  {}", bytes.len(), summary(bytes), hex(bytes)).unwrap();
    }
    assert!(
        balance.is_empty(),
        "{what}: {} originals, {} copies, {} unequal, such as\n{report}",
        originals.len(),
        copies.len(),
        balance.len()
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(80).map(|byte| format!("{byte:02x}")).collect()
}

/// A counter of `stats`.
pub fn counter(value: &Value) -> WireSize {
    let number = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"));
    WireSize { packets: number("packets"), bytes: number("bytes") }
}

pub fn packets(value: &Value) -> u64 {
    counter(value).packets
}

/// What these frames are on the wire.
pub fn size_of_all<'a>(frames: impl IntoIterator<Item = &'a Vec<u8>>) -> WireSize {
    frames.into_iter().fold(WireSize::default(), |sum, frame| WireSize {
        packets: sum.packets + 1,
        bytes: sum.bytes + frame.len() as u64,
    })
}

/// The counters of the tap on eth0.
pub fn tap<'a>(stats: &'a Value, direction: &str) -> &'a Value {
    row(stats, "interfaces", |row| row["interface"] == "eth0" && row["direction"] == direction)
}

/// The counters of a peer.
pub fn peer<'a>(stats: &'a Value, name: &str) -> &'a Value {
    row(stats, "peers", |row| row["peer"] == name)
}

fn row<'a>(stats: &'a Value, key: &str, wanted: impl Fn(&Value) -> bool) -> &'a Value {
    let mut rows = stats[key].as_array().into_iter().flatten().filter(|row| wanted(row));
    let row = rows.next().unwrap_or_else(|| panic!("not in {key} of {stats}"));
    assert!(rows.next().is_none(), "twice in {key} of {stats}");
    row
}

/// The reasons for which a peer has lost copies.
pub fn reasons(peer: &Value) -> Vec<&str> {
    let reasons = peer["reasons"].as_object().unwrap_or_else(|| panic!("no reasons in {peer}"));
    reasons.iter().filter(|(_, lost)| packets(lost) > 0).map(|(reason, _)| reason.as_str()).collect()
}

/// Sends `length` bytes over TCP; they arrive as they were. After this nothing of the connection is on the wire any more: the
/// server closes last, and its `close` lingers until the client has acknowledged that.
pub fn transfer(from: &Host, to: &Host, address: &str, length: usize) {
    let listener = to.attempt("listening", || TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0))).unwrap();
    let server = listener.local_addr().unwrap();
    let data = pattern(length as u64, length);
    let received = std::thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_end(&mut received)?;
        let linger = libc::linger { l_onoff: 1, l_linger: PATIENCE.as_secs() as libc::c_int };
        setsockopt(&stream, sockopt::Linger, &linger)?;
        Ok(received)
    });
    from.attempt("sending", || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&data)
    })
    .unwrap();
    let received = received.join().unwrap().unwrap();
    assert!(received == data, "{} of {length} bytes arrived, or others", received.len());
}

/// Whether the copy of a frame fits into outer packets of `mtu` bytes; super-packets are cut so that theirs do.
pub fn fits(frame: &Frame, mtu: usize) -> bool {
    frame.gso.is_some() || frame.bytes.len() + 36 <= mtu
}

/// Waits until each original that fits the underlay has its identical copy, and each copy its original. TCP's last segments
/// may be under way when the applications are done. Returns these originals and the copies.
pub fn wait_until_perfect(
    what: &str,
    originals: &Recorder,
    collector: &Collector,
    underlay_mtu: usize,
) -> (Vec<Frame>, Vec<Copy>) {
    let deadline = Instant::now() + PATIENCE;
    let fitting = |frames: &[Frame]| frames.iter().filter(|frame| fits(frame, underlay_mtu)).cloned().collect();
    loop {
        let originals: Vec<Frame> = originals.with(fitting).unwrap();
        let copies = collector.copies();
        let (before, after): (Vec<_>, Vec<_>) =
            (originals.iter().map(Packet::captured).collect(), copies.iter().map(Copy::packet).collect());
        let result = compare(&before, &after);
        if result.is_perfect() {
            drop(before);
            return (originals, copies);
        }
        if Instant::now() > deadline {
            let mut report = String::new();
            for (packet, fate) in before.iter().zip(&result.fates).filter(|(_, fate)| **fate != Fate::Identical).take(5)
            {
                writeln!(report, "{fate:?}: {:?} {}", packet.gso, summary(&packet.bytes)).unwrap();
            }
            for stranger in result.strangers().take(5) {
                writeln!(report, "stranger: {:?} {}", after[stranger].gso, summary(&after[stranger].bytes)).unwrap();
            }
            panic!("{what}: {} originals, {} copies\n{report}", before.len(), after.len());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What captured frames are on the wire, in one direction.
pub fn wire_size(frames: &[Frame], outgoing: bool) -> WireSize {
    frames.iter().filter(|frame| frame.outgoing == outgoing).fold(WireSize::default(), |mut sum, frame| {
        sum += Packet::captured(frame).wire_size();
        sum
    })
}

/// An application that receives datagrams, and misses none.
pub struct Application(UdpSocket);

impl Application {
    pub fn bind(host: &Host, address: &str, port: u16) -> Self {
        let socket = host.attempt("binding", || UdpSocket::bind((ip(address), port))).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next `count` datagrams, and there are no more.
    pub fn receive(&self, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut received = Vec::with_capacity(count);
        while received.len() < count {
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("after {} of {count} datagrams: {error}", received.len());
            });
            received.push(buffer[..length].to_vec());
        }
        self.0.set_nonblocking(true).unwrap();
        let more = self.0.recv(&mut buffer).map_err(|error| error.kind());
        assert_eq!(more, Err(io::ErrorKind::WouldBlock), "{count} datagrams, and one more");
        self.0.set_nonblocking(false).unwrap();
        received
    }

    /// Sends from this socket.
    pub fn send(&self, to: &Application, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            let sent = self.0.send_to(datagram, to.address()).unwrap();
            assert_eq!(sent, datagram.len());
        }
    }

    /// Hands the kernel super-packets, to be cut into datagrams of this size.
    pub fn segment(&self, size: u16) {
        set_number(&self.0, libc::SOL_UDP, libc::UDP_SEGMENT, size.into());
    }

    /// Hears the mark and priority of what this socket receives, and takes it.
    pub fn marks(&self) -> Marks {
        Marks::of(self.0.as_fd().try_clone_to_owned().unwrap())
    }

    /// What is sent from now on has this mark and this priority.
    pub fn mark(&self, mark: u32, priority: i32) {
        setsockopt(&self.0, sockopt::Mark, &mark).unwrap();
        setsockopt(&self.0, sockopt::Priority, &priority).unwrap();
    }
}

/// Hears what the kernel keeps beside each frame that leaves an interface, or reaches it. Packet sockets hear a frame
/// that leaves after every program at TC egress.
pub struct Marks(OwnedFd);

impl Marks {
    pub fn listen(host: &Host, ifname: &str) -> Self {
        use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike, bind, socket};
        let ifindex = host.link(ifname).unwrap().ifindex;
        host.attempt("listening", || {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
            // SAFETY: all-zero bytes are a valid value of this plain C structure.
            let mut address: libc::sockaddr_ll = unsafe { zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = ifindex as i32;
            let length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` is a whole link layer address of the length that is told.
            let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
            bind(socket.as_raw_fd(), &address.ok_or(io::ErrorKind::InvalidInput)?)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
            Ok(Self::of(socket))
        })
        .unwrap()
    }

    fn of(socket: OwnedFd) -> Self {
        set_number(&socket, libc::SOL_SOCKET, SO_RCVMARK, 1);
        set_number(&socket, libc::SOL_SOCKET, SO_RCVPRIORITY, 1);
        Self(socket)
    }

    /// Mark and priority of what has passed until now, in order.
    pub fn heard(&self) -> Vec<(u32, u32)> {
        let mut heard = Vec::new();
        while let Some(one) = self.next() {
            heard.push(one);
        }
        heard
    }

    fn next(&self) -> Option<(u32, u32)> {
        let mut bytes = [0u8; 64];
        let mut control = [0u64; 16];
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all-zero bytes are a valid value of this plain C structure.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: `message` points to `part`, through it to `bytes`, and to `control`, each with its true length; all
        // outlive the call.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        if length < 0 {
            assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::WouldBlock);
            return None;
        }
        let (mut mark, mut priority) = (None, None);
        // SAFETY: `message` was filled in by recvmsg, and its control buffer is alive.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !next.is_null() {
            // SAFETY: the macros return null or a whole control message header inside the buffer.
            let header = unsafe { &*next };
            // SAFETY: both messages hold 32 bits, without a promise about their alignment.
            let value = || Some(unsafe { libc::CMSG_DATA(next).cast::<u32>().read_unaligned() });
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_SOCKET, libc::SO_MARK) => mark = value(),
                (libc::SOL_SOCKET, libc::SO_PRIORITY) => priority = value(),
                _ => {}
            }
            // SAFETY: as for CMSG_FIRSTHDR.
            next = unsafe { libc::CMSG_NXTHDR(&raw const message, next) };
        }
        Some((mark.expect("a mark (kernel 5.19)"), priority.expect("a priority (kernel 6.14)")))
    }
}

fn set_number(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
    let length = size_of_val(&value) as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `value` is readable for the length that the kernel is told, and outlives the call.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    assert_eq!(result, 0, "option {option}: {}", io::Error::last_os_error());
}

/// The kernel's end of a tunnel device without Ethernet, such as a VPN process holds.
pub struct Tun(std::fs::File);

impl Tun {
    /// Makes one.
    pub fn new(host: &Host, ifname: &str) -> Self {
        host.attempt("making a tun device", || {
            let flags = libc::O_NONBLOCK;
            let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
            // SAFETY: all-zero bytes are a valid value of this plain C structure.
            let mut request: libc::ifreq = unsafe { zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: the request is the structure that this call reads and writes, and outlives it.
            match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
                0 => Ok(Self(file)),
                _ => Err(io::Error::last_os_error()),
            }
        })
        .unwrap()
    }

    /// The packets that wait there.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            match self.0.read(&mut buffer) {
                Ok(length) => packets.push(buffer[..length].to_vec()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return packets;
                }
            }
        }
    }
}

/// What Wireshark says of these frames: a row each, the fields in their order; several values of one field (of the outer
/// and an inner header) are joined by commas. `options` are tshark's own.
pub fn dissect(frames: &[Vec<u8>], options: &[&str], fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields"]);
    command.args(["-E", "separator=|"]).args(options);
    for field in fields {
        command.args(["-e", field]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let capture = pcap(frames);
    let writer = std::thread::spawn(move || input.write_all(&capture));
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {errors}");
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

/// A capture file.
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&mut file).unwrap();
    for (second, frame) in (0..).zip(frames) {
        write_frame(&mut file, second, frame.len() as u32, frame).unwrap();
    }
    file
}

/// The datagram in a frame, whose checksums are right.
pub fn datagram(bytes: &[u8]) -> Vec<u8> {
    let parsed = Parsed::new(bytes).unwrap();
    let payload = parsed.ip_payload().unwrap_or_else(|| panic!("no IP: {}", summary(bytes)));
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (parsed.ip.as_ref().unwrap().src, parsed.ip.as_ref().unwrap().dst) else {
        panic!("not IPv4: {}", summary(bytes));
    };
    let sum = ebmirror::lab::checksum::sum;
    let pseudo = [&src.octets()[..], &dst.octets(), &(payload.len() as u32).to_be_bytes(), &[0, 0, 0, 17]].concat();
    assert_eq!(sum(sum(0, &pseudo), payload), 0xffff, "UDP checksum: {}", summary(bytes));
    assert_eq!(sum(0, &bytes[14..34]), 0xffff, "IPv4 checksum: {}", summary(bytes));
    payload[8..].to_vec()
}

/// A TCP or UDP frame as a super-packet is handed to the kernel: its checksum field holds the sum of the pseudo header.
/// `start` is where the transport header begins, `offset` where in it the field is.
pub fn as_super_packet(mut frame: Vec<u8>, protocol: u8, start: usize, offset: usize) -> Vec<u8> {
    let sum = ebmirror::lab::checksum::sum;
    let length = (frame.len() - start) as u32;
    let seed = sum(sum(protocol.into(), &frame[start - 8..start]), &length.to_be_bytes());
    frame[start + offset..start + offset + 2].copy_from_slice(&seed.to_be_bytes());
    frame
}

/// Waits until `condition` holds for the books.
pub fn wait_for_stats(rig: &Rig, what: &str, mut condition: impl FnMut(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(what, || {
        last = rig.stats();
        condition(&last)
    });
    last
}

/// Adds a VXLAN peer.
pub fn add_peer(rig: &Rig, name: &str, remote: &str, vni: u32, more: &[&str]) {
    let vni = vni.to_string();
    let args = ["peer", "add", name, "--tunnel", "vxlan", "--remote", remote, "--vni", &vni];
    rig.ebmirror(&[&args[..], more].concat()).ok();
}

/// How many copies have crossed the bridge of the stage.
pub fn bridged(rig: &Rig) -> u64 {
    let links: Value = serde_json::from_str(&rig.tool(&rig.host, "ip -s -j link show dev ebm0")).unwrap();
    links[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

/// Sends a frame whose checksum is left to the device. The frame as it is when the kernel has finished it.
pub fn send_unfinished(sender: &Sender, bytes: Vec<u8>, checksum: Checksum) -> Vec<u8> {
    sender.send_offloaded(&bytes, None, checksum).unwrap();
    Frame { bytes, outgoing: false, gso: None, checksum }.finished().into_owned()
}
