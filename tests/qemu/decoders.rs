//! Tunnel by tunnel, over IPv4 and IPv6: what comes out of the kernel's own device is what crossed eth0.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ebmirror::lab::capture::{Checksum, Frame, Sender};
use ebmirror::lab::compare::{Fate, Packet, compare};
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::summary::summary;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::common::traffic::{
    Application, assert_same_frames, bridged, client_to_host, datagram, host_to_client, packets, peer, reasons, record,
    send, send_unfinished, size_of_all, transfer, unanswered, wire_size,
};
use super::common::{CLIENT, HOST, Rig};
use super::frames::{every_kind, oversized};
use super::network::{
    DECODER, Family, JUMBO_MTU, Mirror, PATIENCE, PEER, UNDERLAY_MTU, add_decoder, add_peer, attach, leave_nothing,
    objects, rig, set_mtu,
};

/// So many frames are under way at a time.
const BURST: usize = 16;
/// Of a TCP transfer, in each direction.
const TCP_BYTES: usize = 400_000;

/// What the copies travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    Vxlan,
    Geneve,
    Gre,
    GreKey,
    Erspan2,
    Erspan3,
}

/// Whether packets have to arrive in the order of their sequence numbers, where they have any. Two processors that send at
/// the same time take their numbers in one order and may get to the wire in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Strict,
    Any,
}

impl Tunnel {
    pub const ALL: [Tunnel; 6] = [Self::Vxlan, Self::Geneve, Self::Gre, Self::GreKey, Self::Erspan2, Self::Erspan3];

    /// What `ebmirror peer add` is told.
    pub fn peer(self) -> &'static [&'static str] {
        match self {
            Self::Vxlan => &["--tunnel", "vxlan", "--vni", "42"],
            Self::Geneve => &["--tunnel", "geneve", "--vni", "42"],
            Self::Gre => &["--tunnel", "gre"],
            // All 32 bits.
            Self::GreKey => &["--tunnel", "gre", "--key", "3735928559"],
            Self::Erspan2 => &["--tunnel", "erspan2", "--session", "42"],
            Self::Erspan3 => &["--tunnel", "erspan3", "--session", "1023"],
        }
    }

    /// What `ip link add dec0 type` is told: the kernel's device for exactly this.
    pub fn decoder(self, family: Family, order: Order) -> String {
        let (here, there) = (family.remote(), family.local());
        let order = if order == Order::Strict { "seq" } else { "oseq" };
        let (v6, zero_checksum) = match family {
            Family::V4 => ("", ""),
            // RFC 6935: a tunnel may leave the checksum out, and the receiver has to be told.
            Family::V6 => ("ip6", "udp6zerocsumrx"),
        };
        match self {
            // One that learns drops frames whose sender's address is zero, as that of a WireGuard packet's copy.
            Self::Vxlan => format!("vxlan id 42 dstport 4789 local {here} nolearning {zero_checksum}"),
            Self::Geneve => format!("geneve id 42 dstport 6081 remote {there} {zero_checksum}"),
            Self::Gre => format!("{v6}gretap local {here} remote {there}"),
            Self::GreKey => format!("{v6}gretap local {here} remote {there} key 3735928559"),
            // With `seq` the device takes packets in the order of their sequence numbers alone, with `oseq` in any. The session
            // is the key of the look-up; the number behind `erspan` is what the device itself would send.
            Self::Erspan2 => format!("{v6}erspan local {here} remote {there} {order} key 42 erspan_ver 1 erspan 7"),
            Self::Erspan3 => format!(
                "{v6}erspan local {here} remote {there} {order} key 1023 erspan_ver 2 erspan_dir ingress erspan_hwid 7"
            ),
        }
    }
}

/// What has come out of the decoder.
pub fn decoded(recorder: &Recorder) -> Vec<Frame> {
    recorder.with(|frames| incoming(frames).cloned().collect()).unwrap()
}

fn incoming(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames.iter().filter(|frame| !frame.outgoing)
}

/// Frames of every kind, of sizes that fit the underlay.
pub fn decoded_as_sent(tunnel: Tunnel, family: Family) -> String {
    through(tunnel, family, every_kind)
}

/// Frames that do not, up to jumbo frames: their copies are fragments, which the collector's kernel joins.
pub fn oversized_as_sent(tunnel: Tunnel, family: Family) -> String {
    through(tunnel, family, oversized)
}

/// Frames through the host's eth0, in both directions, come out of the decoder as they were: each once, and no other.
fn through(tunnel: Tunnel, family: Family, make: impl Fn(&Ethernet, u64) -> Vec<Vec<u8>>) -> String {
    Mirror::with(family, tunnel.peer(), &tunnel.decoder(family, Order::Strict), |mirror| {
        let rig = &mirror.rig;
        let (inbound, outbound) = (make(&client_to_host(rig), 1_000), make(&host_to_client(rig), 2_000));
        let all = [inbound.clone(), outbound.clone()].concat();
        let (outer, recorder) = (record(&rig.collector, "eth0"), record(&rig.collector, DECODER));
        let mut sent = 0;
        for (host, frames) in [(&rig.client, &inbound), (&rig.host, &outbound)] {
            for burst in frames.chunks(BURST) {
                in_order(host, burst);
                sent += burst.len();
                wait_for_frames(rig, &recorder, &all[..sent]);
            }
        }
        let copies: Vec<Vec<u8>> = decoded(&recorder).into_iter().map(|frame| frame.bytes).collect();
        assert_same_frames("decoded", &all, &copies);
        let counted = mirror.counted(|counted| counted.sent().packets >= all.len() as u64);
        for (direction, frames) in [("ingress", &inbound), ("egress", &outbound)] {
            for key in ["seen", "selected", "cloned", "copies"] {
                assert_eq!(counted.tap(direction, key), size_of_all(frames), "{direction} {key}: {}", counted.after);
            }
        }
        assert_eq!(counted.sent(), size_of_all(&all), "{}", counted.after);
        let outer = outer.with(|frames| incoming(frames).count()).unwrap();
        format!("{} frames, {} decoded, all identical, in {outer} outer packets", all.len(), copies.len())
    })
}

/// Sends frames from one processor, whose queues keep their order.
fn in_order(host: &Host, frames: &[Vec<u8>]) {
    host.attempt("sending", || {
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first)?;
        let sender = Sender::open("eth0")?;
        frames.iter().try_for_each(|frame| sender.send(frame))
    })
    .unwrap();
}

/// Datagrams that leave in two fragments, with checksums that were left to the device, in their own place and in others: they
/// do without the bridge of the stage.
pub fn unfinished_as_sent(tunnel: Tunnel, family: Family) -> String {
    Mirror::with(family, tunnel.peer(), &tunnel.decoder(family, Order::Strict), |mirror| {
        let rig = &mirror.rig;
        let (recorder, before, mut sent) = (record(&rig.collector, DECODER), bridged(rig), Vec::new());
        for (host, ethernet) in [(&rig.client, client_to_host(rig)), (&rig.host, host_to_client(rig))] {
            let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
            for length in (1490..=1514).step_by(3) {
                let data = pattern(length as u64, length - 42);
                let (datagram, _, own) = unanswered(ethernet.clone()).udp_offloaded(4000, 5000, &data, None);
                let elsewhere = [20, 37, 241, 256].map(|start| Checksum::NotReady { start, offset: 16 });
                for checksum in std::iter::once(own).chain(elsewhere) {
                    sent.push(send_unfinished(&sender, datagram.clone(), checksum));
                }
                wait_for_frames(rig, &recorder, &sent);
            }
        }
        let copies: Vec<Vec<u8>> = decoded(&recorder).into_iter().map(|frame| frame.bytes).collect();
        assert_same_frames(&whereabouts(rig), &sent, &copies);
        let crossed = bridged(rig) - before;
        assert!(crossed < sent.len() as u64 / 4, "{crossed} copies of {} crossed the bridge", sent.len());
        let counted = mirror.counted(|counted| counted.sent().packets >= sent.len() as u64);
        assert_eq!(counted.sent(), size_of_all(&sent), "{}", counted.after);
        format!("{} datagrams, {crossed} copies over the bridge", sent.len())
    })
}

/// Waits until each of these has come out of the decoder, and names those that did not.
fn wait_for_frames(rig: &Rig, recorder: &Recorder, sent: &[Vec<u8>]) {
    let arrived = |frames: &[Frame]| incoming(frames).count() >= sent.len();
    let deadline = Instant::now() + PATIENCE;
    while !recorder.wait(Duration::from_millis(500), arrived).unwrap() {
        let stats = rig.stats();
        // What the books call lost does not come.
        if packets(&peer(&stats, PEER)["lost"]) > 0 || Instant::now() > deadline {
            let copies: Vec<Vec<u8>> = decoded(recorder).into_iter().map(|frame| frame.bytes).collect();
            assert_same_frames(&whereabouts(rig), sent, &copies);
        }
    }
}

/// Where copies may have got lost: what the books say, and the decoder.
pub fn whereabouts(rig: &Rig) -> String {
    let stats = rig.stats();
    let row = peer(&stats, PEER);
    let device = rig.tool(&rig.collector, &format!("ip -s -s link show dev {DECODER}"));
    format!("sent {}, lost as {:?}, unaccounted {}\n{device}", row["sent"], reasons(row), stats["unaccounted"])
}

/// A TCP transfer in each direction, in super-packets of many segments that are as long as the underlay's packets: each
/// byte comes out of the decoder under the same headers.
pub fn tcp_as_sent(tunnel: Tunnel, family: Family) -> String {
    tcp(tunnel, family, UNDERLAY_MTU)
}

/// The same with segments that are longer than the underlay's packets.
pub fn jumbo_tcp_as_sent(tunnel: Tunnel, family: Family) -> String {
    tcp(tunnel, family, JUMBO_MTU)
}

fn tcp(tunnel: Tunnel, family: Family, mtu: u32) -> String {
    Mirror::with(family, tunnel.peer(), &tunnel.decoder(family, Order::Any), |mirror| {
        let rig = &mirror.rig;
        set_mtu(rig, mtu);
        let (originals, recorder) = (record(&rig.host, "eth0"), record(&rig.collector, DECODER));
        transfer(&rig.client, &rig.host, HOST, TCP_BYTES);
        transfer(&rig.host, &rig.client, CLIENT, TCP_BYTES);
        let (before, after) = wait_until_same(rig, &originals, &recorder, |frame| Packet::captured(frame));
        assert!(before.iter().any(|frame| frame.gso.is_some()), "no super-packet among {} packets", before.len());
        set_mtu(rig, JUMBO_MTU);
        // An acknowledgement may have come after that.
        let seen = |outgoing| originals.with(|frames| wire_size(frames, outgoing)).unwrap();
        let counted = mirror.counted(|counted| {
            counted.tap("ingress", "seen") == seen(false) && counted.tap("egress", "seen") == seen(true)
        });
        for (direction, outgoing) in [("ingress", false), ("egress", true)] {
            assert_eq!(counted.tap(direction, "seen"), seen(outgoing), "{direction}: {}", counted.after);
        }
        format!("{} packets of TCP, {} decoded, the same streams", before.len(), after.len())
    })
}

/// UDP super-packets in both directions, of datagrams that fit the underlay and of such that do not with a tunnel around
/// them: each datagram comes out of the decoder, alone, with a right checksum.
pub fn udp_super_packets_as_sent(tunnel: Tunnel, family: Family) -> String {
    Mirror::with(family, tunnel.peer(), &tunnel.decoder(family, Order::Any), |mirror| {
        let rig = &mirror.rig;
        set_mtu(rig, UNDERLAY_MTU);
        let recorder = record(&rig.collector, DECODER);
        let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7001));
        let mut all = Vec::new();
        for (size, number) in [(1000, 1), (1472, 2)] {
            for (from, to, number) in [(&client, &host, number), (&host, &client, number + 2)] {
                from.segment(size);
                let whole = pattern(number, 30_000);
                let datagrams: Vec<Vec<u8>> = whole.chunks(size.into()).map(<[u8]>::to_vec).collect();
                from.send(to, &[whole]);
                assert!(to.receive(datagrams.len()) == datagrams, "production got something else");
                all.extend(datagrams);
            }
        }
        let counted = mirror.counted(|counted| counted.sent().packets >= all.len() as u64);
        let rig = &mirror.rig;
        let arrived = recorder.wait(PATIENCE, |frames| incoming(frames).count() >= all.len()).unwrap();
        assert!(arrived, "{} of {} datagrams, {}", decoded(&recorder).len(), all.len(), whereabouts(rig));
        let copies: Vec<Vec<u8>> = decoded(&recorder).iter().map(|frame| datagram(&frame.finished())).collect();
        assert_same_frames("datagrams", &all, &copies);
        assert_eq!(counted.sent().packets, all.len() as u64, "{}", counted.after);
        set_mtu(rig, JUMBO_MTU);
        format!("{} datagrams in 4 super-packets, {} decoded, all identical", all.len(), copies.len())
    })
}

/// A mirror, with a peer and copies that it got, goes without a trace.
pub fn unpin_leaves_nothing() -> String {
    let before = objects();
    let rig = rig();
    let devices = || rig.host.netlink().unwrap().links().unwrap().into_iter().map(|link| link.name).collect::<Vec<_>>();
    let qdiscs = || rig.tool(&rig.host, "tc qdisc show");
    let state = (devices(), qdiscs());
    attach(&rig, "eth0");
    add_decoder(&rig, &Tunnel::Vxlan.decoder(Family::V4, Order::Any));
    add_peer(&rig, Family::V4, Tunnel::Vxlan.peer());
    let recorder = record(&rig.collector, DECODER);
    let frames = every_kind(&client_to_host(&rig), 1);
    send(&rig.client, "eth0", &frames[..10]);
    wait_for_frames(&rig, &recorder, &frames[..10]);
    leave_nothing(&rig, &before);
    assert_eq!((devices(), qdiscs()), state);
    format!("{} copies, and no device, qdisc, filter, pin, program or map is left", decoded(&recorder).len())
}

/// Waits until the copies are the originals, as [`compare`] says. Both, as captured.
pub fn wait_until_same(
    rig: &Rig,
    originals: &Recorder,
    copies: &Recorder,
    packet: impl Fn(&Frame) -> Packet<'_>,
) -> (Vec<Frame>, Vec<Frame>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let originals = originals.with(<[Frame]>::to_vec).unwrap();
        let copies = decoded(copies);
        let before: Vec<Packet<'_>> = originals.iter().map(&packet).collect();
        let after: Vec<Packet<'_>> = copies.iter().map(Packet::captured).collect();
        let result = compare(&before, &after);
        if result.is_perfect() {
            drop((before, after));
            return (originals, copies);
        }
        if Instant::now() > deadline {
            let mut report = format!("{} originals, {} copies\n{}", before.len(), after.len(), whereabouts(rig));
            for (packet, fate) in before.iter().zip(&result.fates).filter(|(_, fate)| **fate != Fate::Identical).take(5)
            {
                writeln!(report, "{fate:?}: {:?} {}", packet.gso, summary(&packet.bytes)).unwrap();
            }
            for stranger in result.strangers().take(5) {
                writeln!(report, "stranger: {:?} {}", after[stranger].gso, summary(&after[stranger].bytes)).unwrap();
            }
            panic!("{report}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
