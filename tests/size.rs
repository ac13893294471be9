//! Copies that do not fit the path: fragments, cut copies, lost ones, each counted as what it is; and snap lengths.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/underlay.rs"]
mod underlay;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use common::traffic::{
    Application, assert_same_frames, bridged, client_to_host, counter, host_to_client, packets, peer, reasons, record,
    send, send_unfinished, size_of_all, transfer, unanswered,
};
use common::{CLIENT, COLLECTOR, HOST, Rig, wait_for};
use ebmirror::lab::capture::{Checksum, Frame, Sender};
use ebmirror::lab::frame::{Ethernet, TPID_8021AD, TPID_8021Q, Tcp, pattern};
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::tunnel::Kind;
use serde_json::Value;
use underlay::{Arrivals, Arrived, Way, add_vxlan6, on_the_wire, rig, set_mirrored_mtu, stay_on_cpu};

const VXLAN: Way = Way { kind: Kind::Vxlan, v6: false, keyed: false };
const ERSPAN2: Way = Way { kind: Kind::Erspan2, v6: false, keyed: false };

/// The longest frames that a veth device sends.
const LONGEST_FRAME: usize = 65_549;

/// Datagrams in frames of these lengths, none like another.
fn frames_of(ethernet: &Ethernet, lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let frame = |(n, length): (u64, usize)| unanswered(ethernet.clone()).udp(4000, 5000, &pattern(n, length - 42));
    (0..).zip(lengths).map(frame).collect()
}

/// Both ways at once would mix the orders; each frame alone is enough for sizes.
fn send_both_ways(rig: &Rig, arrivals: &Arrivals, frames: [&[Vec<u8>]; 2], fragments_each: usize) {
    arrivals.send(&rig.client, frames[0], fragments_each);
    arrivals.send(&rig.host, frames[1], fragments_each);
}

fn cut(frames: &[Vec<u8>], length: usize) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame[..frame.len().min(length)].to_vec()).collect()
}

/// The outer packets of a copy: as few as can be, none longer than the path takes.
fn expect_fragments(way: Way, copy: &Arrived, mtu: usize) {
    let expected = way.fragments(copy.bytes.len(), mtu);
    let what = format!("{way:?}, {} bytes on {mtu}: {:?}", copy.bytes.len(), copy.fragments);
    assert_eq!(copy.fragments.len().max(1), expected.len(), "{what}");
    assert!(expected.len() == 1 || copy.fragments.len() > 1, "one fragment is none: {what}");
    assert!(copy.fragments.iter().all(|part| part.ip_length <= mtu), "{what}");
    if copy.fragments.is_empty() {
        assert!(copy.packet.len() - 14 <= mtu, "{what}");
    }
}

/// What a peer has sent, of that cut, and lost as too big.
fn expect_books<'a>(stats: &Value, sent: usize, truncated: impl IntoIterator<Item = &'a Vec<u8>>, too_big: &[Vec<u8>]) {
    let peer = peer(stats, "ids");
    assert_eq!(packets(&peer["sent"]), sent as u64, "{stats}");
    assert_eq!(counter(&peer["truncated"]), size_of_all(truncated), "{stats}");
    assert_eq!(packets(&peer["lost"]), too_big.len() as u64, "{stats}");
    if !too_big.is_empty() {
        assert_eq!(counter(&peer["reasons"]["too_big"]), size_of_all(too_big), "{stats}");
        assert_eq!(reasons(peer), ["too_big"]);
    }
}

/// Jumbo frames, and those about the length from which on fragments are needed, in every tunnel.
fn fragments(v6: bool, mtu: u32) {
    let rig = rig(mtu);
    set_mirrored_mtu(&rig, 9000);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let mtu = mtu as usize;
    for way in Way::all(v6) {
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let room = way.room(mtu);
        let mut lengths: Vec<usize> = (room.max(63) - 3..room.max(63) + 12).chain(1464..=1514).collect();
        lengths.extend([2 * mtu, 4000, 9013, 9014].into_iter().filter(|length| (60..=9014).contains(length)));
        // On 68, the least that IPv4 allows, a jumbo frame has two hundred.
        let most = way.fragments(9014, mtu).len();
        let (inbound, outbound) =
            (frames_of(&client_to_host(&rig), lengths.clone()), frames_of(&host_to_client(&rig), lengths));
        send_both_ways(&rig, &arrivals, [&inbound, &outbound], most);
        let all = [inbound, outbound].concat();
        let copies = arrivals.take(all.len());
        assert_same_frames(way.tunnel(), &all, &copies);
        for copy in &copies {
            expect_fragments(way, copy, mtu);
            assert!(copy.outer.erspan().is_none_or(|erspan| !erspan.truncated));
        }
        expect_books(&rig.balanced(), all.len(), [], &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

macro_rules! fragments {
    ($($name:ident: $family:literal $mtu:literal,)*) => {
        $(
            #[test]
            fn $name() {
                fragments($family == 6, $mtu);
            }
        )*
    };
}

fragments! {
    copies_are_fragmented_on_ipv4_of_1500: 4 1500,
    copies_are_fragmented_on_ipv4_of_1280: 4 1280,
    copies_are_fragmented_on_ipv4_of_576: 4 576,
    copies_are_fragmented_on_ipv4_of_68: 4 68,
    copies_are_fragmented_on_ipv6_of_1500: 6 1500,
    copies_are_fragmented_on_ipv6_of_1280: 6 1280,
    copies_are_fragmented_on_ipv6_of_1499: 6 1499,
}

/// Frames of other kinds, whose last fragment would be shorter than their own headers.
fn short_rests(v6: bool, mtu: u32) {
    let rig = rig(mtu);
    set_mirrored_mtu(&rig, 9000);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    for kind in [Kind::Vxlan, Kind::Gre, Kind::Erspan3] {
        let way = Way { kind, v6, keyed: false };
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let each = way.fragments(9014, mtu as usize)[0];
        let mut sent = Vec::new();
        for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
            let tagged = || ethernet.clone().tag(TPID_8021AD, 5).tag(TPID_8021Q, 0x6009);
            // Hop-by-hop options of 64 bytes.
            let options = [&[17, 7, 1, 60][..], &[0; 60]].concat();
            for rest in (1..=136).step_by(5) {
                let length = 2 * each + rest - way.headers();
                let data = |headers: usize| pattern(rest as u64, length - headers);
                let frames = [
                    ethernet.clone().ipv6(a6, b6).udp(1, 2, &data(62)),
                    tagged().ipv6(a6, b6).udp(1, 2, &data(70)),
                    ethernet.clone().ipv6(a6, b6).protocol(0, &[&options[..], &data(118)].concat()),
                    unanswered(tagged()).udp(1, 2, &data(50)),
                    ethernet.frame(0x8847, &data(14)),
                ];
                arrivals.send(host, &frames, 3);
                sent.extend(frames);
            }
        }
        let copies = arrivals.take(sent.len());
        assert_same_frames(way.tunnel(), &sent, &copies);
        copies.iter().for_each(|copy| expect_fragments(way, copy, mtu as usize));
        assert!(copies.iter().all(|copy| copy.fragments.len() == 3));
        expect_books(&rig.balanced(), sent.len(), [], &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

#[test]
fn what_remains_for_the_last_fragment_may_be_short() {
    for mtu in [576, 1500] {
        short_rests(false, mtu);
    }
    short_rests(true, 1280);
}

/// Two CPUs and two peers send to one collector at the same time. The decoder puts together by address, protocol and ID, as
/// a collector does.
#[test]
fn fragments_of_cpus_and_peers_do_not_mix() {
    const EACH: usize = 400;
    for v6 in [false, true] {
        let way = Way { v6, ..VXLAN };
        let rig = rig(1500);
        set_mirrored_mtu(&rig, 9000);
        rig.ebmirror(&["attach", "eth0"]).ok();
        way.add(&rig, "ids", &[]);
        rig.ebmirror(&["peer", "add", "two", "--tunnel", "vxlan", "--remote", way.remote(), "--vni", "43"]).ok();
        let arrivals = Arrivals::of(&rig, way);
        let lengths = (0..EACH).map(|n| 3000 + n);
        let inbound = frames_of(&client_to_host(&rig), lengths.clone());
        let outbound = frames_of(&host_to_client(&rig), lengths);
        let mut expected = 0;
        for (inbound, outbound) in inbound.chunks(40).zip(outbound.chunks(40)) {
            std::thread::scope(|scope| {
                for (host, frames) in [(&rig.client, inbound), (&rig.host, outbound)] {
                    scope.spawn(|| send(host, "eth0", frames));
                }
            });
            expected += 2 * (inbound.len() + outbound.len());
            arrivals.wait_for(expected);
        }
        let copies = arrivals.take(expected);
        let all = [inbound, outbound].concat();
        assert_same_frames("both peers", &[all.clone(), all].concat(), &copies);
        // IDs of IPv6 are in the fragment header alone, which is gone.
        let ids: BTreeSet<u32> = copies.iter().filter_map(|copy| copy.outer.delivery.id).collect();
        let first = ids.iter().filter(|id| !ids.contains(&(id.wrapping_sub(1) & 0xffff))).count();
        assert_eq!((ids.len(), first), if v6 { (0, 0) } else { (4 * EACH, 1) }, "one after the other, none twice");
        rig.balanced();
    }
}

/// Up to what IP can carry; what is longer is cut to that.
fn longest(v6: bool) {
    let rig = rig(1500);
    set_mirrored_mtu(&rig, 65_535);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for way in Way::all(v6) {
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let lengths = [16_384, 32_768, 40_000, way.longest() - 1, way.longest(), way.longest() + 1, LONGEST_FRAME];
        let (inbound, outbound) =
            (frames_of(&client_to_host(&rig), lengths), frames_of(&host_to_client(&rig), lengths));
        send_both_ways(&rig, &arrivals, [&inbound, &outbound], 50);
        let all = [inbound, outbound].concat();
        let copies = arrivals.take(all.len());
        assert_same_frames(way.tunnel(), &cut(&all, way.longest()), &copies);
        for copy in &copies {
            expect_fragments(way, copy, 1500);
            if let Some(erspan) = copy.outer.erspan() {
                let was_cut = !all.contains(&copy.bytes);
                assert_eq!(erspan.truncated, was_cut, "{} bytes", copy.bytes.len());
            }
        }
        let truncated = all.iter().filter(|frame| frame.len() > way.longest());
        expect_books(&rig.balanced(), all.len(), truncated, &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

#[test]
fn the_longest_copies_over_ipv4_are_whole_and_longer_ones_cut_to_them() {
    longest(false);
}

#[test]
fn the_longest_copies_over_ipv6_are_whole_and_longer_ones_cut_to_them() {
    longest(true);
}

/// By its own reassembly and its own VXLAN device.
fn the_collectors_kernel(v6: bool) {
    let way = Way { v6, ..VXLAN };
    for mtu in [1500, 1280] {
        let rig = rig(mtu);
        set_mirrored_mtu(&rig, 65_535);
        let vxlan = if v6 { add_vxlan6(&rig) } else { "vx0" };
        let decoded = record(&rig.collector, vxlan);
        rig.ebmirror(&["attach", "eth0"]).ok();
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let lengths = (1420..1520).chain([9014, 20_000, 60_042, way.longest()]);
        let (inbound, outbound) =
            (frames_of(&client_to_host(&rig), lengths.clone()), frames_of(&host_to_client(&rig), lengths));
        send_both_ways(&rig, &arrivals, [&inbound, &outbound], 60);
        let all = [inbound, outbound].concat();
        wait_for("the collector's vxlan device", || incoming(&decoded).len() >= all.len());
        assert_same_frames(vxlan, &all, &incoming(&decoded));
        expect_books(&rig.balanced(), all.len(), [], &[]);
    }
}

#[test]
fn the_collectors_kernel_puts_fragments_together_over_ipv4() {
    the_collectors_kernel(false);
}

#[test]
fn the_collectors_kernel_puts_fragments_together_over_ipv6() {
    the_collectors_kernel(true);
}

fn incoming(recorder: &Recorder) -> Vec<Vec<u8>> {
    let bytes = |frames: &[Frame]| {
        frames.iter().filter(|frame| !frame.outgoing).map(|frame| frame.finished().into_owned()).collect()
    };
    recorder.with(bytes).unwrap()
}

/// A frame is cut to what fits, its own headers stay as they were, and ERSPAN says so.
#[test]
fn truncate_cuts_to_what_fits() {
    let rig = rig(1500);
    set_mirrored_mtu(&rig, 9000);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for way in Way::all(false).into_iter().chain(Way::all(true)) {
        way.add(&rig, "ids", &["--oversize", "truncate"]);
        let arrivals = Arrivals::of(&rig, way);
        let room = way.room(1500);
        let lengths = (room - 3..room + 4).chain([1514, 9014]);
        let (inbound, outbound) =
            (frames_of(&client_to_host(&rig), lengths.clone()), frames_of(&host_to_client(&rig), lengths));
        send_both_ways(&rig, &arrivals, [&inbound, &outbound], 1);
        let all = [inbound, outbound].concat();
        let copies = arrivals.take(all.len());
        assert_same_frames(way.tunnel(), &cut(&all, room), &copies);
        for copy in &copies {
            assert!(copy.fragments.is_empty() && copy.packet.len() - 14 <= 1500);
            let whole = all.contains(&copy.bytes);
            assert!(copy.outer.erspan().is_none_or(|erspan| erspan.truncated != whole), "{way:?}");
        }
        expect_books(&rig.balanced(), all.len(), all.iter().filter(|frame| frame.len() > room), &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

#[test]
fn drop_loses_what_does_not_fit() {
    let rig = rig(1500);
    set_mirrored_mtu(&rig, 9000);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for way in Way::all(false).into_iter().chain(Way::all(true)) {
        way.add(&rig, "ids", &["--oversize", "drop"]);
        let arrivals = Arrivals::of(&rig, way);
        let room = way.room(1500);
        let lengths = (room - 3..room + 4).chain([1514, 9014]);
        let (inbound, outbound) =
            (frames_of(&client_to_host(&rig), lengths.clone()), frames_of(&host_to_client(&rig), lengths));
        send(&rig.client, "eth0", &inbound);
        send(&rig.host, "eth0", &outbound);
        let (fitting, too_big): (Vec<_>, Vec<_>) =
            [inbound, outbound].concat().into_iter().partition(|frame| frame.len() <= room);
        assert_eq!((fitting.len(), too_big.len()), (8, 10));
        let copies = arrivals.take(fitting.len());
        assert_same_frames(way.tunnel(), &fitting, &copies);
        expect_books(&rig.balanced(), fitting.len(), [], &too_big);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// With `--gso wire` a super-packet's copies are the frames that were on the wire, whatever becomes of each.
#[test]
fn the_frames_of_super_packets_are_fragmented_cut_or_lost_one_by_one() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (offloads, way) in [
        ("as they come", VXLAN),
        ("as they come", Way { kind: Kind::Geneve, v6: true, ..VXLAN }),
        ("off", Way { kind: Kind::Gre, ..VXLAN }),
        ("off", ERSPAN2),
    ] {
        if offloads == "off" {
            rig.host.offloads_off("eth1").unwrap();
        }
        for oversize in ["fragment", "truncate", "drop"] {
            way.add(&rig, "ids", &["--gso", "wire", "--oversize", oversize]);
            let (originals, arrivals) = (record(&rig.host, "eth0"), Arrivals::of(&rig, way));
            transfer(&rig.client, &rig.host, HOST, 200_000);
            transfer(&rig.host, &rig.client, CLIENT, 200_000);
            let room = way.room(1500);
            let mut frames = wire_frames(&rig, &originals);
            let (sent, lost): (Vec<_>, Vec<_>) =
                frames.drain(..).partition(|frame| oversize != "drop" || frame.len() <= room);
            assert!(sent.iter().chain(&lost).any(|frame| frame.len() == 1514), "no frame of full length");
            let expected = if oversize == "truncate" { cut(&sent, room) } else { sent.clone() };
            let copies = arrivals.take(sent.len());
            assert_same_frames(oversize, &expected, &copies);
            let truncated = sent.iter().filter(|frame| oversize == "truncate" && frame.len() > room);
            expect_books(&rig.balanced(), sent.len(), truncated, &lost);
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

/// The frames that have been on the wire, once the counters say that there are no more.
fn wire_frames(rig: &Rig, originals: &Recorder) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    wait_for("the last segments", || {
        let seen = packets(&peer(&rig.balanced(), "ids")["selected"]);
        let captured = originals.with(<[Frame]>::to_vec).unwrap();
        frames = captured.iter().flat_map(on_the_wire).collect();
        assert!(captured.iter().any(|frame| frame.gso.is_some()), "no super-packet, nothing tested");
        frames.len() as u64 == seen && seen == packets(&peer(&rig.balanced(), "ids")["selected"])
    });
    frames
}

/// In how many fragments a copy arrives now, made on this CPU. 0: it does not; one that is too long for the device is lost
/// there.
fn fragments_from(rig: &Rig, way: Way, cpu: usize, frames: &[Vec<u8>]) -> usize {
    let arrivals = Arrivals::of(rig, way);
    rig.client
        .run(|| {
            stay_on_cpu(cpu);
            send(&rig.client, "eth0", frames);
        })
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    while arrivals.count() == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    if arrivals.count() == 0 { 0 } else { arrivals.arrived()[0].fragments.len().max(1) }
}

#[test]
fn a_change_of_the_underlays_mtu_is_followed_within_a_second() {
    for way in [VXLAN, Way { v6: true, ..VXLAN }, ERSPAN2] {
        let rig = rig(1500);
        rig.ebmirror(&["attach", "eth0"]).ok();
        way.add(&rig, "ids", &[]);
        let frames = frames_of(&client_to_host(&rig), [1400]);
        for mtu in [1500, 1300, 1430, 1400, 1500] {
            rig.tool(&rig.host, &format!("ip link set dev eth1 mtu {mtu}"));
            let changed = Instant::now();
            // What is known of the path is known to each CPU for itself, and a copy is made where its frame is sent.
            for cpu in 0..2 {
                wait_for("the new MTU", || fragments_from(&rig, way, cpu, &frames) == way.fragments(1400, mtu).len());
            }
            let took = changed.elapsed();
            assert!(took < Duration::from_secs(1), "{way:?}: {mtu} took {took:?}");
        }
        rig.balanced();
    }
}

/// Like any forwarded packet a copy obeys the MTU of a route where that is locked.
#[test]
fn the_mtu_of_a_route_that_is_locked_limits_fragments() {
    let rig = rig(1500);
    rig.tool(&rig.host, &format!("ip route add {COLLECTOR}/32 dev eth1 mtu lock 1000"));
    rig.ebmirror(&["attach", "eth0"]).ok();
    VXLAN.add(&rig, "ids", &[]);
    let arrivals = Arrivals::of(&rig, VXLAN);
    let room = VXLAN.room(1000);
    let frames = frames_of(&client_to_host(&rig), [room, room + 1, 1514]);
    arrivals.send(&rig.client, &frames, 2);
    let copies = arrivals.take(3);
    assert_same_frames("copies", &frames, &copies);
    copies.iter().for_each(|copy| expect_fragments(VXLAN, copy, 1000));
    assert_eq!(copies.iter().filter(|copy| copy.fragments.is_empty()).count(), 1);
    rig.balanced();
}

/// The snap length counts from the first byte of the MAC address on, tags included.
#[test]
fn a_snap_length_counts_from_the_first_byte_tags_included() {
    let rig = rig(1500);
    set_mirrored_mtu(&rig, 9000);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for way in [VXLAN, ERSPAN2, Way { kind: Kind::Erspan3, v6: true, ..VXLAN }, Way { kind: Kind::Gre, ..VXLAN }] {
        for snaplen in [64, 96, 200, 2000] {
            way.add(&rig, "ids", &["--snaplen", &snaplen.to_string()]);
            let arrivals = Arrivals::of(&rig, way);
            let mut all = Vec::new();
            for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
                let mut frames = frames_of(&ethernet, [60, snaplen - 1, snaplen, snaplen + 1, 1400, 9014]);
                let tagged = ethernet.clone().tag(TPID_8021Q, 0x6007);
                frames.extend(frames_of(&tagged, [60, snaplen - 5, snaplen - 4, snaplen - 3, 1400]));
                frames.extend(frames_of(&tagged.tag(TPID_8021Q, 9), [60, 1400]));
                frames.extend(frames_of(&ethernet.clone().tag(TPID_8021AD, 5).tag(TPID_8021Q, 9), [60, 1400]));
                frames.push(ethernet.frame(0x1234, &pattern(1, 300)));
                frames.push(ethernet.frame(0x1234, &[]));
                arrivals.send(host, &frames, 2);
                all.extend(frames);
            }
            let copies = arrivals.take(all.len());
            assert_same_frames(&format!("{way:?}, {snaplen} bytes"), &cut(&all, snaplen), &copies);
            for copy in copies.iter().filter(|copy| copy.bytes.len() < snaplen) {
                assert!(copy.outer.erspan().is_none_or(|erspan| !erspan.truncated));
            }
            let truncated = copies.iter().filter_map(|copy| copy.outer.erspan()).filter(|erspan| erspan.truncated);
            let longer: Vec<&Vec<u8>> = all.iter().filter(|frame| frame.len() > snaplen).collect();
            assert_eq!(truncated.count(), if way.is_erspan() { longer.len() } else { 0 });
            expect_books(&rig.balanced(), all.len(), longer, &[]);
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

/// Each frame that was on the wire is cut, and has the headers and checksums that it had there.
#[test]
fn a_snap_length_cuts_each_segment_of_a_super_packet() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for (way, gso) in
        [(VXLAN, "fast"), (VXLAN, "wire"), (ERSPAN2, "fast"), (Way { kind: Kind::Gre, v6: true, ..VXLAN }, "fast")]
    {
        for snaplen in [64, 128, 1000] {
            way.add(&rig, "ids", &["--gso", gso, "--snaplen", &snaplen.to_string()]);
            let (originals, arrivals) = (record(&rig.host, "eth0"), Arrivals::of(&rig, way));
            transfer(&rig.client, &rig.host, HOST, 200_000);
            transfer(&rig.host, &rig.client, CLIENT, 200_000);
            let frames = wire_frames(&rig, &originals);
            let copies = arrivals.take(frames.len());
            assert!(copies.iter().all(|copy| copy.gso.is_none()));
            assert_same_frames(&format!("{way:?}, {snaplen} bytes"), &cut(&frames, snaplen), &copies);
            let longer = frames.iter().filter(|frame| frame.len() > snaplen);
            expect_books(&rig.balanced(), frames.len(), longer, &[]);
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

/// A datagram that leaves with a checksum to be finished by the device: in its copy the checksum is that of the whole
/// original, although the copy has not all of it.
#[test]
fn checksums_in_cut_copies_are_those_of_the_whole_originals() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    let datagrams: Vec<Vec<u8>> = (0..50).map(|n| pattern(n, 1 + n as usize * 29)).collect();
    for offloads in ["as they come", "off"] {
        if offloads == "off" {
            rig.host.offloads_off("eth1").unwrap();
        }
        for way in [VXLAN, ERSPAN2, Way { kind: Kind::Geneve, v6: true, ..VXLAN }] {
            // Behind the checksum field of UDP, which ends at 42, and further on.
            for snaplen in [64, 65, 300] {
                way.add(&rig, "ids", &["--snaplen", &snaplen.to_string()]);
                let (originals, arrivals) = (record(&rig.host, "eth0"), Arrivals::of(&rig, way));
                host.send(&client, &datagrams);
                client.send(&host, &datagrams);
                assert_eq!(client.receive(datagrams.len()), datagrams);
                assert_eq!(host.receive(datagrams.len()), datagrams);
                let originals = originals.finish().unwrap();
                let unfinished = |frame: &&Frame| matches!(frame.checksum, Checksum::NotReady { .. });
                assert!(originals.iter().filter(unfinished).count() >= 50, "no checksum was unfinished");
                let frames: Vec<Vec<u8>> = originals.iter().flat_map(on_the_wire).collect();
                for frame in &frames {
                    // It asserts that the checksums are right.
                    common::traffic::datagram(frame);
                }
                let copies = arrivals.take(frames.len());
                assert_same_frames(&format!("{way:?}, {snaplen} bytes"), &cut(&frames, snaplen), &copies);
                rig.balanced();
                rig.ebmirror(&["peer", "del", "ids"]).ok();
            }
        }
    }
}

/// Datagrams of full length that leave with checksums to be finished, alone and as super-packets: in fragments nobody could
/// finish them any more. Where the kernel tells where its packets have them, and the copy leaves in two fragments over IPv4,
/// they do without the bridge.
fn checksums_are_finished(rig: &Rig, told: bool) {
    rig.ebmirror(&["attach", "eth0"]).ok();
    let (client, host) = (Application::bind(&rig.client, CLIENT, 7000), Application::bind(&rig.host, HOST, 7000));
    for segments in [false, true] {
        let datagrams: Vec<Vec<u8>> = match segments {
            false => (0..40).map(|n| pattern(n, 1433 + n as usize)).collect(),
            true => (0..4).map(|n| pattern(n, 14_720 + n as usize)).collect(),
        };
        if segments {
            [&client, &host].into_iter().for_each(|application| application.segment(1472));
        }
        for way in [VXLAN, ERSPAN2, Way { kind: Kind::Gre, ..VXLAN }, Way { kind: Kind::Geneve, v6: true, ..VXLAN }] {
            way.add(rig, "ids", &[]);
            let (originals, arrivals, before) = (record(&rig.host, "eth0"), Arrivals::of(rig, way), bridged(rig));
            host.send(&client, &datagrams);
            client.send(&host, &datagrams);
            let originals = originals.finish().unwrap();
            let unfinished = |frame: &&Frame| matches!(frame.checksum, Checksum::NotReady { .. });
            assert!(originals.iter().filter(unfinished).count() >= datagrams.len(), "no checksum was unfinished");
            assert_eq!(originals.iter().any(|frame| frame.gso.is_some()), segments);
            let frames: Vec<Vec<u8>> = originals.iter().flat_map(on_the_wire).collect();
            let copies = arrivals.take(frames.len());
            assert_same_frames(way.tunnel(), &frames, &copies);
            assert!(copies.iter().any(|copy| copy.fragments.len() == 2));
            copies.iter().for_each(|copy| expect_fragments(way, copy, 1500));
            // The first copy of a CPU looks for the way to the collector, and takes the long one itself.
            let (straight, crossed) =
                (told && !segments && way.kind != Kind::Erspan2 && !way.v6, bridged(rig) - before);
            assert_eq!(crossed < originals.len() as u64 / 4, straight, "{way:?}: {crossed} copies crossed the bridge");
            expect_books(&rig.balanced(), frames.len(), [], &[]);
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

#[test]
fn checksums_are_finished_in_copies_that_are_fragmented() {
    checksums_are_finished(&rig(1500), true);
}

/// The kernel's types are not there to be read.
#[test]
fn checksums_are_finished_where_nothing_tells_where_they_are() {
    let rig = rig(1500);
    rig.tool(&rig.host, "mount --bind /dev/null /sys/kernel/btf/vmlinux");
    checksums_are_finished(&rig, false);
}

/// A frame, and what is said of its checksum: of full length, as applications leave them, and as nobody should.
fn unfinished(ethernet: &Ethernet, length: usize) -> Vec<(Vec<u8>, Checksum)> {
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let data = |headers: usize| pattern(length as u64, length - headers);
    let (v4, v6) = (unanswered(ethernet.clone()), ethernet.clone().ipv6(a6, b6));
    let tcp = Tcp { sport: 4000, dport: 5000, seq: 1, ack: 2, flags: 0x10, window: 1000 };
    let usual = [
        v4.udp_offloaded(4000, 5000, &data(42), None),
        v4.tcp_offloaded(tcp, &data(54), None),
        v6.udp_offloaded(4000, 5000, &data(62), None),
        v6.tcp_offloaded(tcp, &data(74), None),
    ];
    let mut all: Vec<_> = usual.into_iter().map(|(frame, _, checksum)| (frame, checksum)).collect();
    let (datagram, checksum) = all[0].clone();
    // The end makes the sum zero, which is written as its other form.
    let finished =
        |bytes: &[u8]| Frame { bytes: bytes.to_vec(), outgoing: false, gso: None, checksum }.finished().into_owned();
    if length.is_multiple_of(2) {
        let mut zero = datagram.clone();
        zero[length - 2..].fill(0);
        let value = finished(&zero)[40..42].to_vec();
        zero[length - 2..].copy_from_slice(&value);
        assert_eq!(finished(&zero)[40..42], [0xff, 0xff]);
        all.push((zero, checksum));
    }
    // Without the pseudo header; more than the IP packet; another field; another beginning.
    let mut bare = datagram.clone();
    bare[40..42].fill(0);
    all.push((bare, checksum));
    let mut short = datagram.clone();
    short[16..18].copy_from_slice(&(length as u16 - 24).to_be_bytes());
    all.push((short, checksum));
    all.push((datagram.clone(), Checksum::NotReady { start: 34, offset: 100 }));
    all.push((datagram.clone(), Checksum::NotReady { start: 34, offset: 2 }));
    all.push((datagram.clone(), Checksum::NotReady { start: 36, offset: 4 }));
    // Where that of UDP or TCP would be, if it began elsewhere.
    for (start, offset) in [(35, 6), (36, 6), (36, 16), (200, 6), (255, 16), (256, 6), (257, 6), (length - 8, 6)] {
        all.push((datagram.clone(), Checksum::NotReady { start, offset }));
    }
    all.push((datagram, Checksum::NotReady { start: 50, offset: 2 }));
    all
}

/// Whoever has begun a checksum, and however: the copy has what the kernel makes of it.
#[test]
fn checksums_in_fragments_are_those_that_the_kernel_would_finish() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for way in [VXLAN, Way { kind: Kind::Gre, ..VXLAN }, Way { v6: true, ..VXLAN }] {
        way.add(&rig, "ids", &[]);
        let arrivals = Arrivals::of(&rig, way);
        let mut wanted = Vec::new();
        for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
            let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
            for length in 1490..=1514 {
                for (bytes, checksum) in unfinished(&ethernet, length) {
                    wanted.push(send_unfinished(&sender, bytes, checksum));
                }
            }
        }
        let copies = arrivals.take(wanted.len());
        assert_same_frames(way.tunnel(), &wanted, &copies);
        copies.iter().for_each(|copy| expect_fragments(way, copy, 1500));
        assert!(copies.iter().all(|copy| copy.fragments.len() == 2));
        expect_books(&rig.balanced(), wanted.len(), [], &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// Far behind the first byte, at odd places, and in long frames.
#[test]
fn checksums_are_finished_wherever_they_are() {
    let lengths = |mtu: u32| (mtu as usize - 10..=mtu as usize + 14).step_by(3).filter(|length| *length <= 9014);
    for mtu in [1500, 5000, 8999] {
        let rig = rig(mtu);
        set_mirrored_mtu(&rig, 9000);
        rig.ebmirror(&["attach", "eth0"]).ok();
        for way in [VXLAN, Way { kind: Kind::Gre, keyed: true, ..VXLAN }] {
            way.add(&rig, "ids", &[]);
            let (arrivals, before, mut wanted) = (Arrivals::of(&rig, way), bridged(&rig), Vec::new());
            for (host, ethernet) in [(&rig.client, client_to_host(&rig)), (&rig.host, host_to_client(&rig))] {
                let sender = host.run(|| Sender::open("eth0")).unwrap().unwrap();
                for length in lengths(mtu) {
                    let (datagram, _) = unfinished(&ethernet, length).swap_remove(0);
                    for (start, offset) in
                        [20, 21, 33, 34, 37, 100, 241, 255, 256].into_iter().flat_map(|start| [(start, 6), (start, 16)])
                    {
                        let checksum = Checksum::NotReady { start, offset };
                        wanted.push(send_unfinished(&sender, datagram.clone(), checksum));
                    }
                }
            }
            let copies = arrivals.take(wanted.len());
            assert_same_frames(way.tunnel(), &wanted, &copies);
            copies.iter().for_each(|copy| expect_fragments(way, copy, mtu as usize));
            let crossed = bridged(&rig) - before;
            assert!(crossed < wanted.len() as u64 / 4, "MTU {mtu}, {way:?}: {crossed} copies crossed the bridge");
            expect_books(&rig.balanced(), wanted.len(), [], &[]);
            rig.ebmirror(&["peer", "del", "ids"]).ok();
        }
    }
}

/// A classifier on the underlay sees the outer headers, in each fragment, and not those of the copy.
#[test]
fn classifiers_see_the_outer_header_of_every_fragment() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "eth0"]).ok();
    for command in [
        "tc qdisc add dev eth1 root handle 1: htb default 2 r2q 100000",
        "tc class add dev eth1 parent 1: classid 1:1 htb rate 10gbit",
        "tc class add dev eth1 parent 1: classid 1:2 htb rate 10gbit",
        &format!("tc filter add dev eth1 parent 1: protocol all u32 match ip dst {COLLECTOR}/32 flowid 1:1"),
    ] {
        rig.tool(&rig.host, command);
    }
    let sent = |class: &str| {
        let classes = rig.tool(&rig.host, "tc -s class show dev eth1");
        let one = classes.split("class htb ").find(|text| text.starts_with(class)).expect("the class").to_owned();
        let words: Vec<&str> = one.split_whitespace().skip_while(|word| *word != "Sent").collect();
        words[3].parse::<usize>().unwrap()
    };
    for way in [VXLAN, Way { kind: Kind::Gre, ..VXLAN }] {
        way.add(&rig, "ids", &[]);
        let (ours, others) = (sent("1:1"), sent("1:2"));
        let arrivals = Arrivals::of(&rig, way);
        let frames = [client_to_host(&rig), host_to_client(&rig)].map(|ethernet| frames_of(&ethernet, 1490..=1514));
        send_both_ways(&rig, &arrivals, [&frames[0], &frames[1]], 2);
        let copies = arrivals.take(50);
        assert_same_frames(way.tunnel(), &frames.concat(), &copies);
        assert!(copies.iter().all(|copy| copy.fragments.len() == 2));
        assert!(sent("1:1") - ours >= 100, "{way:?}: {} of them", sent("1:1") - ours);
        assert!(sent("1:2") - others < 10, "{way:?}: {} others", sent("1:2") - others);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// There is no IP around the frames of a span: what the device does not take is cut, or lost.
#[test]
fn a_span_is_as_wide_as_its_device() {
    let rig = rig(1500);
    rig.tool(&rig.host, "ip link add span0 mtu 1300 type veth peer name span1 mtu 1300");
    for device in ["span0", "span1"] {
        common::traffic::sysctl(&rig.host, &format!("net/ipv6/conf/{device}/disable_ipv6"), "1");
        rig.tool(&rig.host, &format!("ip link set {device} up"));
    }
    rig.ebmirror(&["attach", "eth0"]).ok();
    // A frame of an MTU of 1300 has 1314 bytes, and a tag is not counted.
    let plain = client_to_host(&rig);
    let tagged = plain.clone().tag(TPID_8021Q, 0x6007);
    let mut frames = frames_of(&plain, [60, 1313, 1314, 1315, 1514]);
    frames.extend(frames_of(&tagged, [60, 1313, 1314, 1315, 1510]));
    let most = |frame: &Vec<u8>| if frame[12..14] == [0x81, 0] { 1318 } else { 1314 };
    let (fitting, longer): (Vec<_>, Vec<_>) = frames.iter().cloned().partition(|frame| frame.len() <= most(frame));
    assert_eq!((fitting.len(), longer.len()), (6, 4));
    for oversize in ["truncate", "drop"] {
        let args = ["peer", "add", "ids", "--tunnel", "span", "--dev", "span0", "--oversize", oversize];
        rig.ebmirror(&args).ok();
        let copies = record(&rig.host, "span1");
        send(&rig.client, "eth0", &frames);
        let mut expected = fitting.clone();
        if oversize == "truncate" {
            expected.extend(longer.iter().map(|frame| frame[..most(frame)].to_vec()));
        }
        wait_for("the frames", || incoming(&copies).len() >= expected.len());
        assert_same_frames(oversize, &expected, &incoming(&copies));
        let (cut, lost) = if oversize == "truncate" { (&longer[..], &[][..]) } else { (&[][..], &longer[..]) };
        expect_books(&rig.balanced(), expected.len(), cut, lost);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// Packets of `lo` are as long as an IP packet can be, and not cut by anybody.
#[test]
fn the_longest_packets_of_lo_are_cut_and_counted() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "lo", "--direction", "egress"]).ok();
    let (a, b) = (Application::bind(&rig.host, "127.0.0.1", 7000), Application::bind(&rig.host, "127.0.0.1", 7001));
    let longest = 65_507;
    let lengths = [1, 1000, 1472, 9000, 30_000, VXLAN.longest() - 42, VXLAN.longest() - 41, longest];
    let datagrams: Vec<Vec<u8>> = (0..).zip(lengths).map(|(n, length)| pattern(n, length)).collect();
    for way in [VXLAN, ERSPAN2, Way { kind: Kind::Gre, ..VXLAN }, Way { v6: true, ..VXLAN }] {
        way.add(&rig, "ids", &[]);
        let (originals, arrivals) = (record(&rig.host, "lo"), Arrivals::of(&rig, way));
        for datagram in &datagrams {
            let before = arrivals.count();
            a.send(&b, std::slice::from_ref(datagram));
            assert_eq!(b.receive(1), std::slice::from_ref(datagram));
            arrivals.wait_for(before + 1);
        }
        let originals: Vec<Frame> = originals.finish().unwrap().into_iter().filter(|frame| frame.outgoing).collect();
        let frames: Vec<Vec<u8>> = originals.iter().flat_map(on_the_wire).collect();
        assert_eq!((frames.len(), frames.last().unwrap().len()), (datagrams.len(), LONGEST_FRAME));
        let copies = arrivals.take(frames.len());
        assert_same_frames(way.tunnel(), &cut(&frames, way.longest()), &copies);
        copies.iter().for_each(|copy| expect_fragments(way, copy, 1500));
        let truncated = frames.iter().filter(|frame| frame.len() > way.longest());
        expect_books(&rig.balanced(), frames.len(), truncated, &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}

/// TCP on `lo` has segments of 64 KiB, far too long for the underlay even after room was made for the outer headers.
#[test]
fn streams_on_lo_arrive_in_fragments() {
    let rig = rig(1500);
    rig.ebmirror(&["attach", "lo", "--direction", "egress"]).ok();
    for way in [VXLAN, Way { v6: true, ..VXLAN }] {
        way.add(&rig, "ids", &[]);
        let (originals, arrivals) = (record(&rig.host, "lo"), Arrivals::of(&rig, way));
        transfer(&rig.host, &rig.host, "127.0.0.1", 300_000);
        let mut frames = Vec::new();
        wait_for("the last segments", || {
            let seen = packets(&peer(&rig.balanced(), "ids")["selected"]);
            let outgoing =
                |frames: &[Frame]| frames.iter().filter(|frame| frame.outgoing).flat_map(on_the_wire).collect();
            frames = originals.with(outgoing).unwrap();
            frames.len() as u64 == seen
        });
        let truncated: Vec<&Vec<u8>> = frames.iter().filter(|frame| frame.len() > way.longest()).collect();
        let copies = arrivals.take(frames.len());
        assert_same_frames(way.tunnel(), &cut(&frames, way.longest()), &copies);
        expect_books(&rig.balanced(), frames.len(), truncated, &[]);
        rig.ebmirror(&["peer", "del", "ids"]).ok();
    }
}
