//! SCTP, whose super-packets only the kernel can cut: each of their pieces has its own chunks, and a checksum (CRC32c) that
//! is computed last.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use ebmirror::lab::capture::{Checksum, Frame};
use ebmirror::lab::frame::pattern;
use ebmirror::lab::network::Host;
use ebmirror::lab::parse::Parsed;
use nix::sys::socket::{Backlog, SockaddrIn, bind, connect, listen};

use super::common::traffic::{counter, ip, packets, peer, record, size_of_all, tap};
use super::common::{CLIENT, HOST, Rig};
use super::decoders::{Order, Tunnel, decoded, whereabouts};
use super::network::{
    DECODER, Family, PATIENCE, PEER, UNDERLAY_MTU, add_decoder, add_peer, attach, leave_nothing, nothing_is_lost,
    objects, rig, set_mtu,
};

const PROTOCOL: u8 = 132;
const PORT: u16 = 9899;
/// Of the common header: ports, verification tag, checksum.
const HEADER: usize = 12;
const CHUNK_DATA: u8 = 0;
/// Of a DATA chunk: type, flags, length, TSN, stream and its sequence number, protocol.
const DATA_HEADER: usize = 16;
/// A message is cut into chunks, and many messages are under way at a time.
const MESSAGE: usize = 30_000;
const MESSAGES: usize = 12;

/// What the underlay of the mirrored host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// As a veth device comes: it takes checksums that are not computed yet, and says so to its other end.
    Veth,
    /// Without offloads: on its wire everything is finished.
    Plain,
}

/// An association sends in both directions. What comes out of the decoder are whole packets that carry all that was sent, as
/// many as the books say.
pub fn every_byte_arrives(card: Card) -> String {
    let before = objects();
    let rig = rig();
    set_mtu(&rig, UNDERLAY_MTU);
    if card == Card::Plain {
        rig.host.offloads_off("eth1").unwrap();
    }
    attach(&rig, "eth0");
    add_decoder(&rig, &Tunnel::Vxlan.decoder(Family::V4, Order::Any));
    add_peer(&rig, Family::V4, Tunnel::Vxlan.peer());
    let recorder = record(&rig.collector, DECODER);
    let received_before = received(&rig);
    let sent = [1, 2].map(|n| pattern(n, MESSAGES * MESSAGE));
    talk(&rig, &sent);

    let deadline = Instant::now() + PATIENCE;
    let (stats, frames) = loop {
        let (stats, frames) = (nothing_is_lost(&rig), decoded(&recorder));
        // The last acknowledgements may be on their way when the applications are done.
        if packets(&peer(&stats, PEER)["sent"]) == frames.len() as u64 {
            break (stats, frames);
        }
        assert!(Instant::now() < deadline, "{} decoded, {}", frames.len(), whereabouts(&rig));
    };
    assert_eq!(counter(&peer(&stats, PEER)["sent"]), size_of_all(frames.iter().map(|frame| &frame.bytes)), "{stats}");
    let (seen, came_as) = (packets(&tap(&stats, "ingress")["seen"]), received(&rig) - received_before);
    // Acknowledgements come alone.
    assert!(came_as + 100 < seen, "{seen} packets came as {came_as}: no super-packets");
    let pending = frames.iter().filter(|frame| !is_finished(frame)).count();
    assert!(card == Card::Veth || pending == 0, "{pending} checksums are not computed");

    let arrived = [PORT, PORT + 1].map(|sport| data_from(sport, &frames));
    for (from, (sent, arrived)) in ["client", "host"].iter().zip(sent.iter().zip(&arrived)) {
        assert!(sent == arrived, "{} of {} bytes from the {from} arrived, or others", arrived.len(), sent.len());
    }
    leave_nothing(&rig, &before);
    format!("{} packets, {seen} of them came in as {came_as}; every byte of both directions", frames.len())
}

fn is_finished(frame: &Frame) -> bool {
    !matches!(frame.checksum, Checksum::NotReady { .. })
}

/// How many packets and super-packets have come in at the mirrored interface.
fn received(rig: &Rig) -> u64 {
    let links: serde_json::Value = serde_json::from_str(&rig.tool(&rig.host, "ip -j -s link show dev eth0")).unwrap();
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

/// The client sends the first, the host the second, at the same time; both get what the other sent.
fn talk(rig: &Rig, sent: &[Vec<u8>; 2]) {
    let at = |host: &Host, address: &str, port| {
        host.attempt("opening an SCTP socket", || {
            // SAFETY: the call takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is new and nobody else's.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(ip(address), port)))?;
            Ok(socket)
        })
        .unwrap()
    };
    let (client, host) = (at(&rig.client, CLIENT, PORT), at(&rig.host, HOST, PORT + 1));
    listen(&host, Backlog::new(1).unwrap()).unwrap();
    connect(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(ip(HOST), PORT + 1))).unwrap();
    // One-to-one sockets of SCTP are used as those of TCP are.
    let (client, host) = (TcpStream::from(client), TcpListener::from(host).accept().unwrap().0);
    std::thread::scope(|scope| {
        for (stream, data) in [(&client, &sent[0]), (&host, &sent[1])] {
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            scope.spawn(move || data.chunks(MESSAGE).for_each(|message| (&*stream).write_all(message).unwrap()));
        }
        for (name, stream, expected) in [("host", &host, &sent[0]), ("client", &client, &sent[1])] {
            scope.spawn(move || {
                let mut got = vec![0; expected.len()];
                (&*stream).read_exact(&mut got).unwrap();
                assert!(got == *expected, "the {name} has received something else");
            });
        }
    });
}

/// The data that came from this port, put together by their sequence numbers. Each packet is whole and has its checksum.
fn data_from(sport: u16, frames: &[Frame]) -> Vec<u8> {
    let mut chunks: BTreeMap<u32, &[u8]> = BTreeMap::new();
    for frame in frames {
        let parsed = Parsed::new(&frame.bytes).unwrap();
        let Some(packet) = parsed.ip_payload().filter(|_| parsed.ip.as_ref().unwrap().protocol == PROTOCOL) else {
            continue;
        };
        if packet[..2] != sport.to_be_bytes() {
            continue;
        }
        assert!(
            !is_finished(frame) || packet[8..HEADER] == checksum(packet).to_le_bytes(),
            "wrong CRC32c of {} bytes",
            packet.len()
        );
        let mut rest = &packet[HEADER..];
        while let [kind, _, high, low, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            assert!((4..=rest.len()).contains(&length), "a chunk of {length} bytes in a rest of {}", rest.len());
            if kind == CHUNK_DATA {
                let tsn = u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
                let before = chunks.insert(tsn, &rest[DATA_HEADER..length]);
                // Sent again, or else it has another number.
                assert!(before.is_none_or(|before| before == &rest[DATA_HEADER..length]), "TSN {tsn} twice");
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    let (first, last) = (chunks.keys().next().copied(), chunks.keys().next_back().copied());
    let span = last.zip(first).map(|(last, first)| last - first + 1);
    assert_eq!(span, Some(chunks.len() as u32), "a sequence number is missing");
    chunks.into_values().flatten().copied().collect()
}

/// CRC32c (RFC 9260, appendix A) of the packet, its own field taken as zero.
fn checksum(packet: &[u8]) -> u32 {
    let field = 8..HEADER;
    !packet.iter().enumerate().fold(!0, |crc, (at, byte)| {
        let byte = if field.contains(&at) { 0 } else { *byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    })
}
