//! Packet sockets: frames from one interface, whole and with what the kernel knows about them, and frames to it.

use std::borrow::Cow;
use std::ffi::CString;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::checksum;

/// Longer than any packet: 64 KiB, or what BIG TCP makes of it on the interfaces where it is used by default.
const SNAP_BYTES: usize = 256 * 1024;
/// Room for what arrives while nobody reads: some hundred super-packets, or a hundred thousand small frames. It is a
/// limit, nothing is set aside.
const RECEIVE_BUFFER_BYTES: libc::c_int = 128 * 1024 * 1024;

/// `struct virtio_net_hdr` of linux/virtio_net.h: what a packet socket puts in front of a frame with PACKET_VNET_HDR.
const VNET_HEADER_BYTES: usize = 10;
const VNET_NEEDS_CSUM: u8 = 1;
const VNET_DATA_VALID: u8 = 2;
const VNET_GSO_TCPV4: u8 = 1;
const VNET_GSO_UDP: u8 = 3;
const VNET_GSO_TCPV6: u8 = 4;
const VNET_GSO_UDP_L4: u8 = 5;
const VNET_GSO_ECN: u8 = 0x80;

/// Both addresses: a tag stands behind them.
const TAG_OFFSET: usize = 12;
const TAG_BYTES: usize = 4;

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// One UDP datagram, in IP fragments.
    UdpFragments,
    /// Many UDP datagrams.
    Udp,
}

/// A super-packet: it stands for several packets on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The way of cutting.
    pub kind: GsoKind,
    /// Bytes of payload in all packets but the last.
    pub size: u16,
}

/// The state of the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nobody looked.
    Unknown,
    /// The kernel, or the device, says that it is right.
    Valid,
    /// It is not computed yet: to be summed from `start`, written to `start + offset`. Bytes from the frame's first.
    NotReady {
        /// Where summing begins.
        start: usize,
        /// From there to the field.
        offset: usize,
    },
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the destination address on. A VLAN tag that the kernel kept beside the frame is back in its place.
    pub bytes: Vec<u8>,
    /// Sent by this host (`PACKET_OUTGOING`), not received.
    pub outgoing: bool,
    /// What this frame stands for when it is a super-packet.
    pub gso: Option<Gso>,
    /// The state of the transport checksum.
    pub checksum: Checksum,
}

impl Frame {
    /// The bytes as they would be on the wire: a transport checksum that is not ready is computed. Not so in a
    /// super-packet, whose checksum is the business of who cuts it.
    pub fn finished(&self) -> Cow<'_, [u8]> {
        match self.checksum {
            Checksum::NotReady { start, offset } if self.gso.is_none() => {
                let mut bytes = self.bytes.clone();
                checksum::finish(&mut bytes, start, offset);
                Cow::Owned(bytes)
            }
            _ => Cow::Borrowed(&self.bytes),
        }
    }
}

/// A packet socket that receives all frames of one interface, in both directions. It stays with the namespace in which
/// it was opened and may be used from any thread.
pub struct Capture {
    socket: OwnedFd,
    buffer: Vec<u8>,
    drops: u64,
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Capture {
    /// Opens one on an interface of the calling thread's namespace. Frames that pass from now on are kept until they
    /// are received.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` for an unknown interface.
    pub fn open(ifname: &str) -> io::Result<Self> {
        let socket = packet_socket()?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        // Without CAP_NET_ADMIN the smaller of this and net.core.rmem_max.
        set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            .or_else(|_| set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES))?;
        bind(&socket, interface_index(ifname)?, libc::ETH_P_ALL as u16)?;
        Ok(Self { socket, buffer: vec![0; VNET_HEADER_BYTES + SNAP_BYTES], drops: 0 })
    }

    /// The next frame; `None` when there is none now.
    ///
    /// # Errors
    /// `ENETDOWN` once after the interface went down or away, `EINVAL` for a super-packet of a kind that packet sockets
    /// cannot describe (SCTP; UDP before kernel 6.2), which is lost; invalid data when a frame did not fit.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        // SAFETY: all-zero bytes are a valid value of these plain C structures.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { zeroed() };
        let mut part = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        // Words, because a control message begins with one.
        let mut control = [0u64; 16];
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: `message` points to `from`, `part` (and through it to `self.buffer`) and `control`, each with its
        // true length, and all of them outlive the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        if message.msg_flags & libc::MSG_TRUNC != 0 || length < VNET_HEADER_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame is longer than {SNAP_BYTES} bytes"),
            ));
        }
        let (header, bytes) = self.buffer[..length].split_at(VNET_HEADER_BYTES);
        let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
        Ok(Some(frame_of(header, bytes, auxiliary(&message), outgoing)))
    }

    /// How many frames the kernel has thrown away since the socket was opened, because the buffer was full.
    ///
    /// # Errors
    /// Those of `getsockopt`.
    pub fn drops(&mut self) -> io::Result<u64> {
        // SAFETY: all-zero bytes are a valid value of this plain C structure.
        let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `statistics` is writable for the `length` bytes that the kernel is told, and outlives the call.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        check(result)?;
        // Reading sets the kernel's own counter to zero.
        self.drops += u64::from(statistics.tp_drops);
        Ok(self.drops)
    }
}

/// A packet socket that sends frames through one interface and receives nothing. It stays with the namespace in which
/// it was opened and may be used from any thread.
pub struct Sender(OwnedFd);

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Sender {
    /// Opens one on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` for an unknown interface.
    pub fn open(ifname: &str) -> io::Result<Self> {
        let socket = packet_socket()?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        // Protocol 0: nothing is delivered to this socket.
        bind(&socket, interface_index(ifname)?, 0)?;
        Ok(Self(socket))
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// `EMSGSIZE` above the MTU, `ENETDOWN`, `ENOBUFS` when the device's queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.send_offloaded(frame, None, Checksum::Unknown)
    }

    /// Sends a frame whose checksum the device shall finish, or a super-packet that it shall cut. The former's field
    /// holds the sum of the pseudo header; the latter needs [`Checksum::NotReady`] too.
    ///
    /// # Errors
    /// `EINVAL` when the kernel does not believe the description, and those of [`Sender::send`].
    pub fn send_offloaded(&self, frame: &[u8], gso: Option<Gso>, checksum: Checksum) -> io::Result<()> {
        let message = [&vnet_header(frame, gso, checksum)?[..], frame].concat();
        let sent = nix::sys::socket::send(self.0.as_raw_fd(), &message, nix::sys::socket::MsgFlags::empty())?;
        if sent != message.len() {
            return Err(io::Error::other(format!("{sent} of {} bytes were sent", message.len())));
        }
        Ok(())
    }
}

/// The auxiliary data that came with a message.
fn auxiliary(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    // SAFETY: `message` was filled in by recvmsg, and its control buffer is alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: the macros return null or a whole control message header inside the buffer.
        let header = unsafe { &*next };
        if header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA {
            // SAFETY: a message of this type holds this structure, without a promise about its alignment.
            return Some(unsafe { libc::CMSG_DATA(next).cast::<libc::tpacket_auxdata>().read_unaligned() });
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    None
}

fn frame_of(header: &[u8], bytes: &[u8], auxiliary: Option<libc::tpacket_auxdata>, outgoing: bool) -> Frame {
    let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let kind = match header[1] & !VNET_GSO_ECN {
        VNET_GSO_TCPV4 => Some(GsoKind::Tcp4),
        VNET_GSO_TCPV6 => Some(GsoKind::Tcp6),
        VNET_GSO_UDP => Some(GsoKind::UdpFragments),
        VNET_GSO_UDP_L4 => Some(GsoKind::Udp),
        _ => None,
    };
    let tag = auxiliary.filter(|aux| aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0).map(|aux| {
        let known = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        (if known { aux.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 }, aux.tp_vlan_tci)
    });
    let mut whole = Vec::with_capacity(bytes.len() + TAG_BYTES);
    let mut moved = 0;
    match tag {
        Some((tpid, tci)) if bytes.len() >= TAG_OFFSET => {
            whole.extend(&bytes[..TAG_OFFSET]);
            whole.extend(tpid.to_be_bytes());
            whole.extend(tci.to_be_bytes());
            whole.extend(&bytes[TAG_OFFSET..]);
            moved = TAG_BYTES;
        }
        _ => whole.extend(bytes),
    }
    let checksum = match header[0] {
        flags if flags & VNET_NEEDS_CSUM != 0 => {
            Checksum::NotReady { start: usize::from(word(6)) + moved, offset: usize::from(word(8)) }
        }
        flags if flags & VNET_DATA_VALID != 0 => Checksum::Valid,
        _ => Checksum::Unknown,
    };
    Frame { bytes: whole, outgoing, gso: kind.map(|kind| Gso { kind, size: word(4) }), checksum }
}

fn vnet_header(frame: &[u8], gso: Option<Gso>, checksum: Checksum) -> io::Result<[u8; VNET_HEADER_BYTES]> {
    let word = |value: usize| {
        u16::try_from(value)
            .map(u16::to_ne_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an offset above 65,535"))
    };
    let mut header = [0; VNET_HEADER_BYTES];
    if let Checksum::NotReady { start, offset } = checksum {
        header[0] = VNET_NEEDS_CSUM;
        header[6..8].copy_from_slice(&word(start)?);
        header[8..10].copy_from_slice(&word(offset)?);
    }
    let Some(gso) = gso else { return Ok(header) };
    header[1] = match gso.kind {
        GsoKind::Tcp4 => VNET_GSO_TCPV4,
        GsoKind::Tcp6 => VNET_GSO_TCPV6,
        GsoKind::UdpFragments => VNET_GSO_UDP,
        GsoKind::Udp => VNET_GSO_UDP_L4,
    };
    header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
    // The length of all headers: only a hint of what to make linear, but it must cover them.
    if let Checksum::NotReady { start, .. } = checksum {
        let transport = match gso.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => frame.get(start + 12).map_or(20, |byte| usize::from(byte >> 4) * 4),
            GsoKind::UdpFragments | GsoKind::Udp => 8,
        };
        header[2..4].copy_from_slice(&word(start + transport)?);
    }
    Ok(header)
}

fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers. Protocol 0: nothing is received until the socket is bound to an interface.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(socket: &OwnedFd, ifindex: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid value of this plain C structure.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as i32;
    // SAFETY: `address` is readable for the length that the kernel is told, and outlives the call.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            (offset_of!(libc::sockaddr_ll, sll_addr) + 8) as libc::socklen_t,
        )
    })
}

fn interface_index(ifname: &str) -> io::Result<u32> {
    let name = CString::new(ifname)?;
    // SAFETY: `name` is a string with a NUL at its end, and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn set_option(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is readable for the length that the kernel is told, and outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::compare::{Packet, compare};
    use super::super::frame::{
        Ethernet, LLDP_MULTICAST, STP_MULTICAST, TCP_ACK, TCP_PSH, TPID_8021AD, TPID_8021Q, Tcp, pattern,
    };
    use super::super::network::{Host, Port, connect};
    use super::super::recorder::Recorder;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Runs `test` with two hosts, the frames between them, a sender on the left and a recorder at each end.
    fn on_a_wire(no_offload: bool, test: impl FnOnce(Ethernet, &Sender, &Recorder, &Recorder)) {
        let (left, right) = (Host::new("left").unwrap(), Host::new("right").unwrap());
        let port = |host| Port { host, ifname: "eth0", addresses: &[] };
        connect(port(&left), port(&right), 1500).unwrap();
        if no_offload {
            left.offloads_off("eth0").unwrap();
        }
        let record = |host: &Host| host.attempt("record", || Recorder::start("eth0")).unwrap();
        let (here, there) = (record(&left), record(&right));
        let sender = left.attempt("open a sender", || Sender::open("eth0")).unwrap();
        test(Ethernet::new(left.mac("eth0").unwrap(), right.mac("eth0").unwrap()), &sender, &here, &there);
    }

    /// The frames that begin with these addresses and hold our pattern, not the kernel's own chatter.
    fn ours<'a>(frames: &'a [Frame], between: &Ethernet) -> Vec<&'a Frame> {
        frames.iter().filter(|frame| frame.bytes[..6] == between.dst && frame.bytes[6..12] == between.src).collect()
    }

    #[test]
    fn frames_are_captured_at_both_ends_as_they_were_sent() {
        on_a_wire(false, |between, sender, here, there| {
            let v4 = |ethernet: Ethernet| ethernet.ipv4([192, 0, 2, 1], [192, 0, 2, 2]);
            let sent = [
                v4(between.clone()).udp(1, 2, &pattern(1, 1400)),
                v4(between.clone().tag(TPID_8021Q, 3 << 13 | 100)).udp(1, 2, &pattern(2, 50)),
                v4(between.clone().tag(TPID_8021AD, 100).tag(TPID_8021Q, 7)).udp(1, 2, &pattern(3, 50)),
                between.clone().tag(TPID_8021Q, 5).arp_request([192, 0, 2, 1], [192, 0, 2, 2]),
                between.frame(0x88b5, &[]),
                between.frame(0x8847, &pattern(4, 1496)),
            ];
            for frame in &sent {
                sender.send(frame).unwrap();
            }
            for (recorder, outgoing) in [(here, true), (there, false)] {
                assert!(recorder.wait(TIMEOUT, |frames| ours(frames, &between).len() == sent.len()).unwrap());
                let frames = recorder.with(<[Frame]>::to_vec).unwrap();
                let frames = ours(&frames, &between);
                assert!(frames.iter().all(|frame| frame.outgoing == outgoing && frame.gso.is_none()));
                assert_eq!(frames.iter().map(|frame| frame.bytes.clone()).collect::<Vec<_>>(), sent);
            }
        });
    }

    #[test]
    fn link_local_multicasts_are_captured() {
        on_a_wire(false, |between, sender, _, there| {
            let sent = [between.clone().to(LLDP_MULTICAST).lldp(1), between.clone().to(STP_MULTICAST).stp(2)];
            sent.iter().for_each(|frame| sender.send(frame).unwrap());
            let all_there = |frames: &[Frame]| sent.iter().all(|sent| frames.iter().any(|frame| frame.bytes == *sent));
            assert!(there.wait(TIMEOUT, all_there).unwrap());
        });
    }

    #[test]
    fn a_checksum_that_is_not_ready_is_finished_as_the_wire_would_have_it() {
        on_a_wire(false, |between, sender, _, there| {
            let frames = between.clone().tag(TPID_8021Q, 9).ipv4([192, 0, 2, 1], [192, 0, 2, 2]);
            let (unfinished, gso, checksum) = frames.udp_offloaded(1, 2, &pattern(1, 99), None);
            sender.send_offloaded(&unfinished, gso, checksum).unwrap();
            assert!(there.wait(TIMEOUT, |frames| !ours(frames, &between).is_empty()).unwrap());
            let captured = there.with(<[Frame]>::to_vec).unwrap();
            let frame = ours(&captured, &between)[0];
            assert_eq!((frame.checksum, &frame.bytes), (checksum, &unfinished));
            assert_eq!(*frame.finished(), frames.udp(1, 2, &pattern(1, 99)));
        });
    }

    #[test]
    fn super_packets_come_whole_or_cut_and_compare_equal() {
        let header = Tcp { sport: 1, dport: 2, seq: u32::MAX - 9999, ack: 7, flags: TCP_ACK | TCP_PSH, window: 9 };
        // The longest ones are 65,535 bytes long: from the default gso_max_size (65,536) on the kernel cuts them in any case.
        for (v6, length) in [(false, 65_481), (true, 65_461), (false, 2000)] {
            for no_offload in [false, true] {
                on_a_wire(no_offload, |between, sender, here, there| {
                    let frames = match v6 {
                        false => between.clone().ipv4([192, 0, 2, 1], [192, 0, 2, 2]),
                        true => between.clone().ipv6([0xfd; 16], [0xfe; 16]),
                    };
                    let size = 1400;
                    let (bytes, gso, checksum) = frames.tcp_offloaded(header, &pattern(1, length), Some(size));
                    sender.send_offloaded(&bytes, gso, checksum).unwrap();
                    let pieces = if no_offload { length.div_ceil(size.into()) } else { 1 };
                    assert!(there.wait(TIMEOUT, |frames| ours(frames, &between).len() == pieces).unwrap());
                    let (here, there) = (here.with(<[Frame]>::to_vec).unwrap(), there.with(<[Frame]>::to_vec).unwrap());
                    let packets = |frames| ours(frames, &between).into_iter().map(Packet::captured).collect::<Vec<_>>();
                    let transport = Some(14 + if v6 { 40 } else { 20 });
                    let (sent, arrived) = (Packet { bytes: bytes.into(), gso, transport }, packets(&there));
                    if !no_offload {
                        assert_eq!((&arrived[0], packets(&here)), (&sent, vec![sent.clone()]));
                    }
                    assert_eq!(
                        arrived.iter().map(|packet| packet.wire_size().bytes).sum::<u64>(),
                        sent.wire_size().bytes
                    );
                    assert!(compare(&[sent], &arrived).is_perfect(), "{v6} {length} {no_offload}");
                });
            }
        }
    }

    #[test]
    fn waiting_for_what_does_not_come_ends() {
        on_a_wire(false, |_, _, here, _| {
            assert!(!here.wait(Duration::from_millis(1), |_| false).unwrap());
        });
    }

    #[test]
    fn an_unknown_interface_is_an_error() {
        let host = Host::new("alone").unwrap();
        let error = host.run(|| Capture::open("nothing").err().and_then(|error| error.raw_os_error())).unwrap();
        assert_eq!(error, Some(libc::ENODEV));
    }
}
