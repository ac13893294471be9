//! Interfaces without an Ethernet header: their packets are mirrored with a synthesised one, and copies leave through them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::zeroed;
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use common::traffic::{
    Collector, Copy, Marks, NOBODY, add_peer, assert_same_frames, client_to_host, counter, ip, packets, peer,
    quiet_rig, reasons, record, send, sysctl, tap, udp_frames, unanswered,
};
use common::{Rig, wait_for};
use ebmirror::lab::capture::{Checksum, Frame, Gso, GsoKind, Sender};
use ebmirror::lab::compare::{Fate, Packet, WireSize, compare};
use ebmirror::lab::decode::vxlan_bytes;
use ebmirror::lab::frame::{BROADCAST, Ethernet, TCP_ACK, TCP_SYN, Tcp, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::summary::summary;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use state::{ADD_IDS, Solo, assert_same, changing_calls, script, strace};

const PATIENCE: Duration = Duration::from_secs(10);
/// `struct virtio_net_hdr` of linux/virtio_net.h, which stands in front of a packet on the descriptor.
const VNET_HEADER_BYTES: usize = 10;
const ETHERNET: usize = 14;
/// `TUN_F_USO4 | TUN_F_USO6`: kernel 6.2.
const LARGE_UDP: libc::c_uint = 0x60;

/// Of what leaves through the device.
const MARK: u32 = 0x77;

/// The descriptor of a tun device, as a VPN process holds it.
struct Vpn(File);

impl Vpn {
    fn open(host: &Host, ifname: &str) -> Self {
        let file = host.attempt("make a tun device", || {
            let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
            // SAFETY: all-zero bytes are a valid value of this plain C structure.
            let mut request: libc::ifreq = unsafe { zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
                *to = from as libc::c_char;
            }
            let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
            request.ifr_ifru.ifru_flags = flags as libc::c_short;
            // SAFETY: the request is the structure that this call reads and writes, and outlives it.
            match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
                0 => Ok(file),
                _ => Err(io::Error::last_os_error()),
            }
        });
        Self(file.unwrap())
    }

    /// One that is up and has this address, and says nothing by itself.
    fn up(host: &Host, ifname: &str, address: &str) -> Self {
        let vpn = Self::open(host, ifname);
        let netlink = host.netlink().unwrap();
        let ifindex = host.link(ifname).unwrap().ifindex;
        sysctl(host, &format!("net/ipv6/conf/{ifname}/disable_ipv6"), "0");
        netlink.set_addr_gen_none(ifindex).unwrap();
        netlink.add_address(ifindex, address.parse().unwrap(), 24).unwrap();
        netlink.set_up(ifindex, true).unwrap();
        vpn
    }

    /// Takes super-packets and unfinished checksums from the kernel.
    fn take_super_packets(&self) {
        let features = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | LARGE_UDP;
        // SAFETY: the argument is a number, not a pointer.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(features)) };
        assert_eq!(result, 0, "offloads of a tun device: {}", io::Error::last_os_error());
    }

    /// Turns it into a device of another type (`ARPHRD_*`).
    fn set_type(&self, hw_type: u16) {
        // SAFETY: the argument is a number, not a pointer.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNSETLINK as _, libc::c_ulong::from(hw_type)) };
        assert_eq!(result, 0, "device type {hw_type}: {}", io::Error::last_os_error());
    }

    /// Lets a packet arrive at the device.
    fn send(&self, shape: &Shape) {
        let message = [&shape.header()[..], &shape.packet].concat();
        assert_eq!((&self.0).write(&message).unwrap(), message.len());
    }

    /// The packets that have left through the device.
    fn receive(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(message) = self.next() {
            packets.push(message[VNET_HEADER_BYTES..].to_vec());
        }
        packets
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; VNET_HEADER_BYTES + 65_536];
        match (&self.0).read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }
}

/// A packet without an Ethernet header, as it is handed to the kernel.
#[derive(Clone)]
struct Shape {
    packet: Vec<u8>,
    gso: Option<Gso>,
    checksum: Checksum,
    /// The packet on the wire.
    finished: Vec<u8>,
}

impl Shape {
    fn whole(frame: &[u8]) -> Self {
        let packet = frame[ETHERNET..].to_vec();
        Self { finished: packet.clone(), packet, gso: None, checksum: Checksum::Unknown }
    }

    /// `finished` is the frame with its checksum.
    fn offloaded((frame, gso, checksum): (Vec<u8>, Option<Gso>, Checksum), finished: &[u8]) -> Self {
        let Checksum::NotReady { start, offset } = checksum else { panic!("{checksum:?}") };
        let packet = frame[ETHERNET..].to_vec();
        let finished = if gso.is_some() { packet.clone() } else { finished[ETHERNET..].to_vec() };
        Self { packet, gso, checksum: Checksum::NotReady { start: start - ETHERNET, offset }, finished }
    }

    fn header(&self) -> [u8; VNET_HEADER_BYTES] {
        let mut header = [0; VNET_HEADER_BYTES];
        if let Checksum::NotReady { start, offset } = self.checksum {
            header[0] = 1;
            header[6..8].copy_from_slice(&(start as u16).to_ne_bytes());
            header[8..10].copy_from_slice(&(offset as u16).to_ne_bytes());
            if let Some(gso) = self.gso {
                let (kind, transport) = match gso.kind {
                    GsoKind::Tcp4 => (1, 20),
                    GsoKind::Tcp6 => (4, 20),
                    GsoKind::Udp | GsoKind::UdpFragments => (5, 8),
                };
                header[1] = kind;
                header[2..4].copy_from_slice(&(start as u16 + transport).to_ne_bytes());
                header[4..6].copy_from_slice(&gso.size.to_ne_bytes());
            }
        }
        header
    }

    /// The frame that a collector must get.
    fn expected(&self) -> Packet<'static> {
        let transport = match self.checksum {
            Checksum::NotReady { start, .. } => Some(start + ETHERNET),
            _ => None,
        };
        Packet { bytes: with_ethernet(&self.finished).into(), gso: self.gso, transport }
    }
}

/// A packet with the header that it gets: zero addresses, and the type that its first byte tells.
fn with_ethernet(packet: &[u8]) -> Vec<u8> {
    let ethertype: u16 = match packet[0] >> 4 {
        4 => 0x0800,
        6 => 0x86dd,
        version => panic!("IP version {version}"),
    };
    [&[0; 12][..], &ethertype.to_be_bytes(), packet].concat()
}

/// What was captured on a device without an Ethernet header.
fn captured(frame: &Frame) -> Packet<'static> {
    let transport = match frame.checksum {
        Checksum::NotReady { start, .. } => Some(start + ETHERNET),
        _ => None,
    };
    Packet { bytes: with_ethernet(&frame.finished()).into(), gso: frame.gso, transport }
}

/// Packets of both families that nobody answers; each is another one.
fn shapes(round: u64) -> Vec<Shape> {
    let ethernet = Ethernet::new([0; 6], [0; 6]);
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let v4 = || unanswered(ethernet.clone());
    let v6 = || ethernet.clone().ipv6(a6, b6);
    let tcp = Tcp { sport: 4000, dport: 80, seq: round as u32 * 100_000, ack: 1, flags: TCP_ACK, window: 500 };
    let data = |number: u64, length: usize| pattern(round * 100 + number, length);
    // A hop-by-hop header with padding, then a fragment header.
    let v6_fragment = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &[17, 0, 0, 1, 0, 0, 0, 9], &data(1, 800)].concat();
    vec![
        Shape::whole(&v4().udp(4000, 53, &data(2, 300))),
        Shape::whole(&v4().udp(4000, 53, &[])),
        Shape::whole(&v4().udp(4000, 53, &data(3, 1472))),
        Shape::whole(&v4().tcp(Tcp { flags: TCP_SYN, ..tcp }, &[])),
        Shape::whole(&v4().tcp(tcp, &data(4, 1000))),
        Shape::whole(&v4().protocol(50, &data(5, 90))),
        Shape::whole(&v4().id(77).fragment(true, 0).protocol(17, &data(6, 1400))),
        Shape::whole(&v4().id(77).fragment(false, 175).protocol(17, &data(7, 10))),
        Shape::whole(&v6().udp(4000, 53, &data(8, 300))),
        Shape::whole(&v6().tcp(tcp, &data(9, 1000))),
        Shape::whole(&v6().echo_request(1, 2, &data(10, 56))),
        Shape::whole(&v6().protocol(0, &v6_fragment)),
        Shape::offloaded(v4().udp_offloaded(1, 2, &data(11, 700), None), &v4().udp(1, 2, &data(11, 700))),
        Shape::offloaded(v6().udp_offloaded(1, 2, &data(12, 700), None), &v6().udp(1, 2, &data(12, 700))),
        Shape::offloaded(v4().tcp_offloaded(tcp, &data(13, 700), None), &v4().tcp(tcp, &data(13, 700))),
        Shape::offloaded(v4().tcp_offloaded(tcp, &data(14, 20_000), Some(1400)), &[]),
        Shape::offloaded(v6().tcp_offloaded(tcp, &data(15, 20_000), Some(1400)), &[]),
        Shape::offloaded(v4().udp_offloaded(3, 4, &data(16, 20_500), Some(1000)), &[]),
        Shape::offloaded(v6().udp_offloaded(3, 4, &data(17, 20_500), Some(1000)), &[]),
    ]
}

fn wire_size(packets: &[Packet<'_>]) -> WireSize {
    packets.iter().fold(WireSize::default(), |mut sum, packet| {
        sum += packet.wire_size();
        sum
    })
}

/// Waits until each original has its identical copy, and each copy its original.
fn wait_until_same(what: &str, originals: impl Fn() -> Vec<Packet<'static>>, copies: impl Fn() -> Vec<Copy>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (originals, copies) = (originals(), copies());
        let after: Vec<Packet<'_>> = copies.iter().map(Copy::packet).collect();
        let result = compare(&originals, &after);
        if result.is_perfect() {
            return;
        }
        if Instant::now() > deadline {
            let mut report = String::new();
            for (packet, fate) in
                originals.iter().zip(&result.fates).filter(|(_, fate)| **fate != Fate::Identical).take(9)
            {
                writeln!(report, "{fate:?}: {:?} {}", packet.gso, summary(&packet.bytes)).unwrap();
            }
            for stranger in result.strangers().take(9) {
                writeln!(report, "stranger: {:?} {}", after[stranger].gso, summary(&after[stranger].bytes)).unwrap();
            }
            panic!("{what}: {} originals, {} copies\n{report}", originals.len(), copies.len());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn tap_of<'a>(stats: &'a Value, interface: &str, direction: &str) -> &'a Value {
    let rows = stats["interfaces"].as_array().unwrap();
    rows.iter().find(|row| row["interface"] == interface && row["direction"] == direction).unwrap()
}

fn status(rig: &Rig) -> Value {
    rig.ebmirror(&["-j", "status"]).json()
}

/// A rig whose host has a tun device with both families.
fn tun_rig() -> (Rig, Vpn) {
    let rig = quiet_rig(1600);
    let vpn = Vpn::up(&rig.host, "tun0", "10.8.0.1");
    let (netlink, ifindex) = (rig.host.netlink().unwrap(), rig.host.link("tun0").unwrap().ifindex);
    netlink.add_address(ifindex, "2001:db8:8::1".parse().unwrap(), 64).unwrap();
    (rig, vpn)
}

/// Sends packets out of the device, without asking routes.
fn send_out(host: &Host, shapes: &[Shape]) {
    host.attempt("send", || {
        let sender = Sender::open("tun0")?;
        setsockopt(&sender, sockopt::Mark, &MARK)?;
        setsockopt(&sender, sockopt::Priority, &5)?;
        shapes.iter().try_for_each(|shape| sender.send_offloaded(&shape.packet, shape.gso, shape.checksum))
    })
    .unwrap();
}

fn each_packet_has_its_copy(mode: &str, offloads: bool) {
    let (rig, vpn) = tun_rig();
    if !offloads {
        rig.host.offloads_off("eth1").unwrap();
    }
    let what = format!("{mode}, offloads of the underlay: {offloads}");
    let marks = Marks::listen(&rig.host, "tun0");
    send_out(&rig.host, &shapes(0));
    let before = (vpn.receive(), marks.heard());
    assert!(before.0.len() > shapes(0).len(), "{what}: the kernel cuts for the device");
    assert_eq!(before.1, vec![(MARK, 5); before.0.len()], "{what}: mark and priority");

    rig.ebmirror(&["attach", "tun0", "--mode", mode]).ok();
    rig.ebmirror(&ADD_IDS).ok();
    assert_eq!(status(&rig)["healthy"], true, "{what}: {}", status(&rig));
    let collector = Collector::of(&rig);
    let mut originals = Vec::new();
    for direction in ["ingress", "egress"] {
        marks.heard();
        let mut size = WireSize::default();
        for round in 0..10 {
            let shapes = shapes(if direction == "egress" { round } else { 100 + round });
            let packets: Vec<Packet<'_>> = shapes.iter().map(Shape::expected).collect();
            size += wire_size(&packets);
            originals.extend(packets);
            if direction == "ingress" {
                shapes.iter().for_each(|shape| vpn.send(shape));
            } else {
                send_out(&rig.host, &shapes);
                let after = (vpn.receive(), marks.heard());
                assert!(round > 0 || after.0 == before.0, "{what}: production was altered");
                assert_eq!((after.0.len(), &after.1), (before.0.len(), &before.1), "{what}");
            }
            wait_until_same(&format!("{what}, {direction}"), || originals.clone(), || collector.copies());
        }
        let stats = rig.balanced();
        let tap = tap_of(&stats, "tun0", direction);
        for key in ["seen", "cloned", "copies"] {
            assert_eq!(counter(&tap[key]), size, "{what}: {direction} {key}: {stats}");
        }
    }
    let stats = rig.balanced();
    assert_eq!(counter(&peer(&stats, "ids")["sent"]), wire_size(&originals), "{what}: {stats}");
    assert_eq!(vpn.receive(), Vec::<Vec<u8>>::new(), "{what}: nobody else was to send");
}

#[test]
fn packets_without_an_ethernet_header_are_copied_with_one() {
    each_packet_has_its_copy("tcx", true);
    each_packet_has_its_copy("tcx", false);
}

#[test]
fn packets_without_an_ethernet_header_are_copied_with_one_in_tc_mode() {
    each_packet_has_its_copy("tc", true);
    each_packet_has_its_copy("tc", false);
}

/// Two ends of a VPN: what leaves through one device comes in through the other.
fn pump(here: &Vpn, there: &Vpn, done: &io::PipeReader) {
    loop {
        let mut ready = [here.0.as_fd(), there.0.as_fd(), done.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut ready, PollTimeout::NONE).unwrap();
        if ready[2].any() == Some(true) {
            return;
        }
        for (from, to) in [(here, there), (there, here)] {
            while let Some(message) = from.next() {
                assert_eq!((&to.0).write(&message).unwrap(), message.len());
            }
        }
    }
}

fn transfer(from: &Host, to: &Host, address: &str, length: usize) {
    let listener = to.attempt("listen", || TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0))).unwrap();
    let server = listener.local_addr().unwrap();
    let data = pattern(length as u64, length);
    let receiver = thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_end(&mut received)?;
        Ok(received)
    });
    from.attempt("send", || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&data)
    })
    .unwrap();
    assert!(receiver.join().unwrap().unwrap() == data, "other bytes arrived");
}

#[test]
fn tcp_through_a_vpn_is_copied_in_both_directions() {
    for super_packets in [true, false] {
        let (rig, here) = tun_rig();
        let there = Vpn::up(&rig.client, "tun0", "10.8.0.2");
        let (netlink, ifindex) = (rig.client.netlink().unwrap(), rig.client.link("tun0").unwrap().ifindex);
        netlink.add_address(ifindex, "2001:db8:8::2".parse().unwrap(), 64).unwrap();
        if super_packets {
            here.take_super_packets();
            there.take_super_packets();
        }
        rig.ebmirror(&["attach", "tun0"]).ok();
        rig.ebmirror(&ADD_IDS).ok();
        let (originals, collector) = (record(&rig.host, "tun0"), Collector::of(&rig));
        let (done, running) = io::pipe().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| pump(&here, &there, &done));
            for (from, to, address) in [
                (&rig.client, &rig.host, "10.8.0.1"),
                (&rig.host, &rig.client, "10.8.0.2"),
                (&rig.client, &rig.host, "2001:db8:8::1"),
                (&rig.host, &rig.client, "2001:db8:8::2"),
            ] {
                transfer(from, to, address, 500_000);
            }
            let originals = || originals.with(|frames| frames.iter().map(captured).collect::<Vec<_>>()).unwrap();
            wait_until_same(&format!("super-packets: {super_packets}"), originals, || collector.copies());
            drop(running);
        });
        let frames = originals.finish().unwrap();
        for outgoing in [true, false] {
            let found = frames.iter().any(|frame| frame.gso.is_some() && frame.outgoing == outgoing);
            assert!(found || !super_packets, "no super-packet, nothing tested");
        }
        let stats = rig.balanced();
        let all: Vec<Packet<'_>> = frames.iter().map(captured).collect();
        assert_eq!(counter(&peer(&stats, "ids")["sent"]), wire_size(&all), "{stats}");
    }
}

/// The collector is behind a VPN: outer packets leave without an Ethernet header.
#[test]
fn copies_leave_through_a_device_without_an_ethernet_header() {
    let rig = quiet_rig(1500);
    let vpn = Vpn::up(&rig.host, "tun1", "10.9.0.1");
    let mirrored = Vpn::up(&rig.host, "tun0", "10.8.0.1");
    sysctl(&rig.host, "net/ipv6/conf/tun0/disable_ipv6", "1");
    sysctl(&rig.host, "net/ipv6/conf/tun1/disable_ipv6", "1");
    rig.tool(&rig.host, "ip link set tun1 mtu 1600");
    rig.ebmirror(&["attach", "eth0", "tun0"]).ok();
    add_peer(&rig, "ids", "10.9.0.2", 42, &["--force"]);
    let ethernet = client_to_host(&rig);
    let tagged = ethernet.clone().tag(0x8100, 7);
    let frames = [
        udp_frames(&ethernet, 1..50, 300),
        udp_frames(&ethernet, 50..60, 1500),
        udp_frames(&tagged, 60..70, 300),
        vec![ethernet.clone().to(BROADCAST).arp_request(ip("192.0.2.1"), ip("192.0.2.2"))],
    ]
    .concat();
    let packets_of_ip: Vec<Shape> = shapes(1);
    // The neighbour code is asked first, with a packet of IP.
    wait_for("a good next hop on every CPU", || {
        vpn.receive();
        rig.ebmirror(&["stats", "--reset"]).ok();
        send(&rig.client, "eth0", &frames[..49]);
        packets(&peer(&rig.balanced(), "ids")["lost"]) == 0
    });
    vpn.receive();
    rig.ebmirror(&["stats", "--reset"]).ok();
    send(&rig.client, "eth0", &frames);
    packets_of_ip.iter().for_each(|shape| mirrored.send(shape));
    let mut originals: Vec<Packet<'static>> = frames.iter().map(|frame| Packet::new(frame.clone(), None)).collect();
    originals.extend(packets_of_ip.iter().map(Shape::expected));
    let size = wire_size(&originals);
    let mut stats = Value::Null;
    wait_for("all to be counted", || {
        stats = rig.balanced();
        packets(&peer(&stats, "ids")["selected"]) >= size.packets
    });
    assert_eq!(counter(&peer(&stats, "ids")["selected"]), size, "{stats}");
    assert_eq!(reasons(peer(&stats, "ids")), Vec::<&str>::new(), "{stats}");
    // No super-packet of UDP comes out whole, and none of TCP: the device takes none.
    let mut arrived: Vec<Vec<u8>> = Vec::new();
    for packet in vpn.receive() {
        let packet = with_ethernet(&packet);
        let (outer, frame) = vxlan_bytes(&packet, false).unwrap();
        assert_eq!((outer.src, outer.dst, outer.vni), (ip("10.9.0.1"), ip("10.9.0.2"), 42));
        arrived.push(frame.to_vec());
    }
    let copies: Vec<Packet<'_>> = arrived.iter().map(|frame| Packet::new(frame.as_slice(), None)).collect();
    let result = compare(&originals, &copies);
    assert!(result.is_perfect(), "{} copies: {:?}", copies.len(), result.fates);
}

/// The device is mirrored, and the collector is behind it.
#[test]
fn copies_that_leave_through_the_mirrored_device_are_not_copied_again() {
    let (rig, vpn) = tun_rig();
    rig.tool(&rig.host, "ip link set tun0 mtu 1600");
    rig.ebmirror(&["attach", "tun0"]).ok();
    add_peer(&rig, "ids", "10.8.0.2", 42, &[]);
    let shapes: Vec<Shape> = shapes(1).into_iter().filter(|shape| shape.gso.is_none()).collect();
    wait_for("a good next hop on every CPU", || {
        rig.ebmirror(&["stats", "--reset"]).ok();
        shapes.iter().for_each(|shape| vpn.send(shape));
        vpn.receive();
        packets(&peer(&rig.balanced(), "ids")["lost"]) == 0
    });
    rig.ebmirror(&["stats", "--reset"]).ok();
    shapes.iter().for_each(|shape| vpn.send(shape));
    send_out(&rig.host, &shapes);
    let stats = rig.balanced();
    let count = shapes.len() as u64;
    assert_eq!(packets(&tap_of(&stats, "tun0", "ingress")["selected"]), count, "{stats}");
    assert_eq!(packets(&tap_of(&stats, "tun0", "egress")["selected"]), count, "{stats}");
    assert_eq!(packets(&tap_of(&stats, "tun0", "egress")["own"]), 2 * count, "{stats}");
    assert_eq!(packets(&peer(&stats, "ids")["sent"]), 2 * count, "{stats}");
    let (copies, plain): (Vec<_>, Vec<_>) = vpn
        .receive()
        .into_iter()
        .partition(|packet| packet[9] == 17 && packet[0] >> 4 == 4 && packet[16..20] == [10, 8, 0, 2]);
    let expected: Vec<Vec<u8>> = shapes.iter().map(|shape| with_ethernet(&shape.finished)).collect();
    let inner: Vec<Vec<u8>> =
        copies.iter().map(|packet| vxlan_bytes(&with_ethernet(packet), false).unwrap().1.to_vec()).collect();
    assert_same_frames("copies", &[expected.clone(), expected.clone()].concat(), &inner);
    let plain: Vec<Vec<u8>> = plain.iter().map(|packet| with_ethernet(packet)).collect();
    assert_same_frames("production", &expected, &plain);
}

/// Ethernet and no Ethernet at once, with one peer.
#[test]
fn both_kinds_of_interfaces_are_mirrored_to_one_peer() {
    let (rig, vpn) = tun_rig();
    rig.ebmirror(&["attach", "eth0", "tun0", "lo"]).ok();
    rig.ebmirror(&ADD_IDS).ok();
    let collector = Collector::of(&rig);
    let frames = udp_frames(&client_to_host(&rig), 0..20, 200);
    let shape = Shape::whole(&Ethernet::new([0; 6], [0; 6]).ipv4(NOBODY[0], NOBODY[1]).udp(1, 2, &pattern(500, 99)));
    send(&rig.client, "eth0", &frames);
    vpn.send(&shape);
    let expected = [frames, vec![with_ethernet(&shape.finished)]].concat();
    assert_same_frames("copies", &expected, &collector.take(21));
    let stats = rig.balanced();
    assert_eq!(packets(&tap(&stats, "ingress")["seen"]), 20, "{stats}");
    assert_eq!(packets(&tap_of(&stats, "tun0", "ingress")["seen"]), 1, "{stats}");
    // Detached, the device is as it was.
    rig.ebmirror(&["detach", "tun0"]).ok();
    vpn.send(&shape);
    send(&rig.client, "eth0", &udp_frames(&client_to_host(&rig), 20..21, 200));
    assert_eq!(collector.take(22).len(), 22);
    assert_eq!(packets(&tap(&rig.balanced(), "ingress")["seen"]), 21);
}

/// Somebody does harm to the device of the stage: production goes on, the books balance, and the next command mends it.
#[test]
fn a_stage_device_that_somebody_harmed_is_mended() {
    for mode in ["tcx", "tc"] {
        for (harm, problem) in [
            ("ip link del ebm2", "ebm2"),
            ("ip link set ebm2 down", "ebm2"),
            ("ip link set ebm2 mtu 1500", "MTU"),
            (
                "link=$(find /sys/fs/bpf -name link_layer3)
                 if test -n \"$link\"; then bpftool link detach pinned $link; else tc filter del dev ebm2 egress; fi",
                "ebm2",
            ),
            ("ip link del ebm0", "ebm0"),
        ] {
            let (rig, vpn) = tun_rig();
            rig.ebmirror(&["attach", "tun0", "--mode", mode]).ok();
            rig.ebmirror(&ADD_IDS).ok();
            assert_eq!(status(&rig)["healthy"], true, "{}", status(&rig));
            let collector = Collector::of(&rig);
            let shapes: Vec<Shape> = shapes(3).into_iter().filter(|shape| shape.gso.is_none()).collect();
            script(&rig.mounts, &rig.host, harm);
            let found = status(&rig);
            assert!(found["problems"].to_string().contains(problem), "{harm} ({mode}): {found}");
            send_out(&rig.host, &shapes);
            shapes.iter().for_each(|shape| vpn.send(shape));
            let production: Vec<Vec<u8>> = shapes.iter().map(|shape| shape.finished.clone()).collect();
            assert_eq!(vpn.receive(), production, "{harm} ({mode})");
            rig.balanced();

            let mended = rig.ebmirror(&["-j", "pin"]).ok().json();
            assert_eq!(mended["changed"], true, "{harm} ({mode})");
            assert_eq!(status(&rig)["healthy"], true, "{harm} ({mode}): {}", status(&rig));
            let before = collector.count();
            shapes.iter().for_each(|shape| vpn.send(shape));
            let copies = collector.take(before + shapes.len()).split_off(before);
            let expected: Vec<Vec<u8>> = shapes.iter().map(|shape| with_ethernet(&shape.finished)).collect();
            assert_same_frames(harm, &expected, &copies);
            rig.balanced();
            assert_eq!(rig.ebmirror(&["-j", "pin"]).ok().json()["changed"], false, "{harm} ({mode})");
        }
    }
}

#[test]
fn the_device_of_the_stage_comes_when_it_is_needed_and_goes_with_the_stage() {
    for mode in ["tcx", "tc"] {
        let solo = Solo::new();
        let _vpn = Vpn::open(&solo.host, "tun0");
        solo.script("ip link set tun0 up");
        let before = solo.snapshot();
        let devices = || solo.script("ip -o link | grep -c ebm").trim().parse::<u32>().unwrap();
        solo.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
        assert_eq!(devices(), 3, "ebm0, ebm1, ebm1p");
        let prepared = solo.snapshot();
        assert_eq!(solo.json(&["attach", "tun0", "--dry-run"])["changed"], true);
        assert_same(&prepared, &solo.snapshot(), "a dry run");
        assert_eq!(solo.json(&["attach", "tun0", "--mode", mode])["changed"], true);
        assert_eq!(devices(), 4);
        let shown = solo.script("ip -d link show ebm2; cat /proc/sys/net/ipv6/conf/ebm2/disable_ipv6");
        for setting in ["mtu 65535", ",UP", "tun type tun", "persist on", "addrgenmode none", "alias ebmirror"] {
            assert!(shown.contains(setting), "{setting}: {shown}");
        }
        assert!(shown.ends_with("1\n"), "{shown}");
        assert_eq!(solo.json(&["attach", "tun0"])["changed"], false);
        solo.ebmirror(&["attach", "ebm2"]).fails(6, "ebm2", "attach the interface");
        solo.ebmirror(&["detach", "--all"]).ok();
        assert_eq!(solo.json(&["pin"])["changed"], false);
        solo.ebmirror(&["unpin"]).ok();
        assert_same(&before, &solo.snapshot(), "unpin left something");
        // Whoever lost the pins finds it as well.
        solo.ebmirror(&["attach", "tun0", "--mode", mode]).ok();
        solo.script("rm -r /sys/fs/bpf/ebmirror");
        solo.ebmirror(&["unpin", "--force"]).ok();
        solo.script("tc qdisc del dev tun0 clsact 2>/dev/null || true");
        assert_same(&before, &solo.snapshot(), "unpin --force left something");
    }
}

#[test]
fn a_device_of_somebody_else_in_its_place_is_a_conflict_for_those_who_need_it() {
    let solo = Solo::new();
    let _vpn = Vpn::open(&solo.host, "tun0");
    for make in ["ip link add ebm2 type bridge", "ip tuntap add ebm2 mode tun"] {
        solo.script(make);
        let before = solo.snapshot();
        for args in [&["attach", "tun0"][..], &["attach", "eth0", "tun0"], &["attach", "tun0", "--dry-run"]] {
            solo.ebmirror(args).fails(6, "ebm2", "ip link");
            assert_same(&before, &solo.snapshot(), &format!("{args:?} changed something"));
        }
        solo.ebmirror(&["attach", "eth0"]).ok();
        solo.ebmirror(&["unpin", "--force"]).ok();
        assert_same(&before, &solo.snapshot(), "unpin --force removed what is not ours");
        solo.script("ip link del ebm2");
    }
}

/// What begins with neither an Ethernet header nor an IP header cannot be mirrored.
#[test]
fn devices_of_other_kinds_are_refused() {
    let solo = Solo::new();
    let vpn = Vpn::open(&solo.host, "tun0");
    // InfiniBand, CAN, SLIP, IEEE 802.15.4, netlink, GRE to many.
    for (hw_type, mirrored) in [(32, false), (280, false), (256, false), (804, false), (824, false), (519, true)] {
        vpn.set_type(hw_type);
        let before = solo.snapshot();
        if mirrored {
            solo.ebmirror(&["attach", "tun0"]).ok();
            solo.ebmirror(&["unpin", "--force"]).ok();
        } else {
            let kind = format!("device type {hw_type}");
            solo.ebmirror(&["attach", "tun0"]).fails(7, &kind, "attach the device");
            solo.ebmirror(&["attach", "eth0", "tun0"]).fails(7, "tun0", "attach the device");
        }
        assert_same(&before, &solo.snapshot(), &format!("device type {hw_type}"));
    }
}

#[test]
fn a_host_that_makes_no_tun_devices_is_told_what_to_do() {
    let solo = Solo::new();
    let _vpn = Vpn::open(&solo.host, "tun0");
    solo.script("mount -t tmpfs tmpfs /dev/net");
    let before = solo.snapshot();
    for args in [&["attach", "tun0"][..], &["attach", "eth0", "tun0"]] {
        solo.ebmirror(args).fails(7, "/dev/net/tun", "modprobe tun");
        assert_same(&before, &solo.snapshot(), &format!("{args:?} left something"));
    }
    solo.ebmirror(&["attach", "eth0"]).ok();
    let attached = solo.snapshot();
    solo.ebmirror(&["attach", "tun0"]).fails(7, "/dev/net/tun", "modprobe tun");
    assert_same(&attached, &solo.snapshot(), "a refused attach left something");
}

#[test]
fn a_first_attach_may_die_at_any_step() {
    for mode in ["tcx", "tc"] {
        let solo = Solo::new();
        let _vpn = Vpn::open(&solo.host, "tun0");
        solo.script("ip link set tun0 up");
        let before = solo.snapshot();
        let args = ["attach", "tun0", "--mode", mode];
        let calls = changing_calls(&solo.mounts, &solo.host, &args);
        solo.ebmirror(&["unpin", "--force"]).ok();
        // Those of the stage itself are the business of another test.
        for (name, number) in calls.iter().rev().take(16) {
            let what = format!("{mode}: killed at {name} number {number}");
            let option = format!("inject={name}:signal=SIGKILL:when={number}");
            let killed = strace(&solo.mounts, &solo.host, &["-e", &option], &args);
            assert_eq!(killed.code, -1, "{what}: it lived: {killed:?}");
            let next = solo.ebmirror(&["-j", "attach", "tun0", "--mode", mode]);
            assert_eq!(next.code, 0, "{what}: {next:?}");
            let status = solo.ebmirror(&["-j", "status"]).json();
            let problems: Vec<&str> =
                status["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect();
            assert!(problems.iter().all(|problem| problem.starts_with("no peer")), "{what}: {problems:?}");
            assert_eq!(solo.json(&["attach", "tun0"])["changed"], false, "{what}");
            solo.ebmirror(&["unpin", "--force"]).ok();
            assert_same(&before, &solo.snapshot(), &what);
        }
    }
}
