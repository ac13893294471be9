//! No harm: whatever fails in the mirror, production's packets pass as they do without it, to the last byte and bit beside
//! them. `cargo test --test harm -- --nocapture` prints the table of faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test that cannot go on panics")]

mod common;
#[path = "common/state.rs"]
mod state;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::traffic::{
    Application, Marks, NOBODY, add_peer, cable, client_to_host, host_to_client, packets, peer, quiet_rig, reasons,
    record, sysctl, tap, unanswered, wire_size,
};
use common::{CLIENT, COLLECTOR, HOST, Rig, wait_for};
use ebmirror::kernel::hooks::tcx;
use ebmirror::lab::capture::{Checksum, Frame, Gso, Sender};
use ebmirror::lab::frame::{
    BROADCAST, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TCP_ACK, TCP_SYN, TPID_8021AD, TPID_8021Q, Tcp, pattern,
};
use ebmirror::lab::network::Host;
use ebmirror::lab::recorder::Recorder;
use ebmirror::model::interface::{Direction, Order};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;
use state::script;

/// Frames in each direction while a fault is on: so many rounds of [`shapes`].
const ROUNDS: usize = 40;
const SHAPES: usize = 250;
/// No queue on the way is too short for so many.
const BURST: usize = 125;
/// Longer than anything takes on a busy machine: what is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the host's own program in front of the tap, or its application, writes beside a packet.
const MARK: u32 = 0x77;
const PRIORITY: u32 = 5;
/// Both ways.
const TCP_BYTES: usize = 2_000_000;

/// A frame as it is handed to the kernel.
type Shape = (Vec<u8>, Option<Gso>, Checksum);

/// Frames of all kinds and lengths, each another one, from nobody to nobody.
fn shapes(ethernet: &Ethernet) -> Vec<Shape> {
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let v4 = || unanswered(ethernet.clone());
    let v6 = || ethernet.clone().ipv6(a6, b6);
    let tagged = || ethernet.clone().tag(TPID_8021Q, 0x6007).ipv4(NOBODY[0], NOBODY[1]);
    let service = || ethernet.clone().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 0xa00b);
    let whole = |frame: Vec<u8>| (frame, None, Checksum::Unknown);
    let shape = |n: usize| -> Shape {
        let number = n as u64;
        let data = |length: usize| pattern(number, length);
        let tcp = Tcp { sport: 4000, dport: 80, seq: n as u32 * 5000, ack: 1, flags: TCP_ACK, window: 500 };
        match n % 25 {
            0 => whole(ethernet.clone().to(BROADCAST).frame(0x88b5, &data(46 + n))),
            1 => whole(ethernet.clone().to(LLDP_MULTICAST).lldp(number)),
            2 => whole(ethernet.clone().to(STP_MULTICAST).stp(n as u32)),
            3 => whole(ethernet.frame(0x8847, &[&[0, 1, 0x41, 64][..], &v4().udp(1, 2, &data(60))[14..]].concat())),
            4 => whole(ethernet.frame(0x8864, &[&[0x11, 0, 0, 5, 0, 102, 0, 0x21][..], &data(100)].concat())),
            // The least that a filter of tc looks at.
            5 => whole(ethernet.frame(0x1234, &data(4))),
            6 => whole(v6().udp(4000, 53, &data(100 + n))),
            7 => whole(v6().tcp(tcp, &data(1000))),
            8 => whole(v4().id(n as u16).fragment(true, 0).protocol(17, &data(1200))),
            9 => whole(v4().id(n as u16).fragment(false, 150).protocol(17, &data(300))),
            10 => whole(tagged().udp(4000, 53, &data(300 + n))),
            11 => whole(tagged().tcp(tcp, &data(900))),
            12 => whole(service().ipv4(NOBODY[0], NOBODY[1]).udp(4000, 53, &data(200))),
            13 => whole(service().frame(0x88b5, &data(100))),
            14 => whole(v4().tcp(Tcp { flags: TCP_SYN, ..tcp }, &[])),
            15 => v4().udp_offloaded(4000, 5000, &data(400 + n), None),
            16 => v6().udp_offloaded(4000, 5000, &data(400 + n), None),
            17 => v4().tcp_offloaded(tcp, &data(700), None),
            18 => v4().tcp_offloaded(tcp, &data(4000 + n), Some(1400)),
            19 => v6().tcp_offloaded(tcp, &data(4000 + n), Some(1400)),
            20 => v4().udp_offloaded(4000, 5000, &data(4000 + n), Some(1000)),
            21 => whole(v4().echo_request(n as u16, 1, &data(56))),
            // The longest that an interface of 1500 bytes takes.
            22 => whole(v4().udp(4000, 5000, &data(1472))),
            _ => whole(v4().udp(4000, 5000, &data(18 + n * 5))),
        }
    };
    (0..SHAPES).map(shape).collect()
}

/// A packet as the kernel has it: bytes, tags, how it is to be cut, the state of its checksum; and what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    frame: Frame,
    mark: u32,
    priority: u32,
}

/// Hears what passes one interface in one direction.
struct Witness {
    recorder: Recorder,
    marks: Marks,
    outgoing: bool,
    expected: usize,
}

impl Witness {
    fn new(host: &Host, ifname: &str, outgoing: bool) -> Self {
        Self { recorder: record(host, ifname), marks: Marks::listen(host, ifname), outgoing, expected: 0 }
    }

    /// Waits for so many more.
    fn wait(&mut self, more: usize) {
        self.expected += more;
        let heard = |frames: &[Frame]| frames.iter().filter(|frame| frame.outgoing == self.outgoing).count();
        // What does not come is missing in the end.
        self.recorder.wait(PATIENCE, |frames| heard(frames) >= self.expected).unwrap();
    }

    fn finish(self) -> Vec<Seen> {
        let (frames, marks) = (self.recorder.finish().unwrap(), self.marks.heard());
        assert_eq!(frames.len(), marks.len(), "both sockets hear the same");
        let seen = frames.into_iter().zip(marks);
        seen.filter(|(frame, _)| frame.outgoing == self.outgoing)
            .map(|(frame, (mark, priority))| Seen { frame, mark, priority })
            .collect()
    }
}

/// Where a mirrored interface's packets are looked at: behind the tap on their way in and on their way out, and when those
/// that left arrive.
const PLACES: [&str; 3] = ["in", "out", "arrived"];

/// What was seen at each of them.
type Observation = [Vec<Seen>; 3];

/// Sends these rounds of shapes in both directions through the mirrored interface.
fn observe(rig: &Rig, rounds: usize) -> Observation {
    let mut inside = Witness::new(&rig.host, BEHIND, true);
    let mut outside = Witness::new(&rig.host, "eth0", true);
    let mut arrived = Witness::new(&rig.client, "eth0", false);
    let send = |host: &Host, shapes: &[Shape], witnesses: &mut [&mut Witness]| {
        let sender = host.attempt("open a sender", || Sender::open("eth0")).unwrap();
        setsockopt(&sender, sockopt::Mark, &MARK).unwrap();
        setsockopt(&sender, sockopt::Priority, &(PRIORITY as i32)).unwrap();
        for _ in 0..rounds {
            for burst in shapes.chunks(BURST) {
                for (bytes, gso, checksum) in burst {
                    sender.send_offloaded(bytes, *gso, *checksum).unwrap();
                }
                witnesses.iter_mut().for_each(|witness| witness.wait(burst.len()));
            }
        }
    };
    send(&rig.client, &shapes(&client_to_host(rig)), &mut [&mut inside]);
    send(&rig.host, &shapes(&host_to_client(rig)), &mut [&mut outside, &mut arrived]);
    [inside, outside, arrived].map(Witness::finish)
}

/// The device at which a copy of everything behind the ingress tap is looked at.
const BEHIND: &str = "w0";

/// A tc filter behind every tap shows what it was given: `mirred` clones a packet with all that stands beside it.
fn show_ingress(rig: &Rig) {
    rig.tool(&rig.host, &format!("ip link add {BEHIND} type ifb"));
    rig.host.set_up(BEHIND).unwrap();
    rig.tool(&rig.host, "tc qdisc add dev eth0 clsact");
    let show = format!("match u32 0 0 action mirred egress mirror dev {BEHIND}");
    rig.tool(&rig.host, &format!("tc filter add dev eth0 ingress pref 65000 protocol all u32 {show}"));
}

/// Somebody's program in front of the tap that marks what comes in; attached as long as this lives.
fn mark_ingress(rig: &Rig) -> OwnedFd {
    // r2 = MARK; skb->mark = r2; r2 = PRIORITY; skb->priority = r2; r0 = TCX_NEXT; exit
    let store = |offset: u64| 0x63 | 0x21 << 8 | offset << 16;
    let set = |register: u64, value: u32| 0xb7 | register << 8 | u64::from(value) << 32;
    let code = [set(2, MARK), store(8), set(2, PRIORITY), store(32), set(0, u32::MAX), 0x95];
    // SAFETY: an instruction is eight bytes; both strings end in zero; no options.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            c"marks".as_ptr(),
            c"GPL".as_ptr(),
            code.as_ptr().cast(),
            code.len() as _,
            std::ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "load a program: {}", io::Error::from_raw_os_error(-fd));
    // SAFETY: the kernel has just made it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let ifindex = rig.host.link("eth0").unwrap().ifindex;
    rig.host
        .attempt("attach a program", || {
            let revision = tcx::query(ifindex, Direction::Ingress)?.revision;
            tcx::link(program.as_fd(), ifindex, Direction::Ingress, Some((Order::First, revision)))
        })
        .unwrap()
}

/// The first bytes of the SHA-256 of data, by somebody else's program.
fn sha256(data: &[u8]) -> String {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(data).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// Sends data over TCP and returns what arrives: nothing, when it takes too long.
fn transfer(from: &Host, to: &Host, address: &str, data: &[u8]) -> Vec<u8> {
    let listener = to.attempt("listen", || TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0))).unwrap();
    let server = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_end(&mut received)?;
        Ok(received)
    });
    let sent = from.attempt("send", || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(data)
    });
    sent.unwrap();
    receiver.join().unwrap().unwrap_or_default()
}

/// Whether both directions of TCP carry what they are given.
fn tcp_hash(rig: &Rig) -> bool {
    let both = [(&rig.client, &rig.host, HOST, 1), (&rig.host, &rig.client, CLIENT, 2)];
    both.into_iter().all(|(from, to, address, number)| {
        let data = pattern(number, TCP_BYTES);
        sha256(&transfer(from, to, address, &data)) == sha256(&data)
    })
}

/// What becomes of the copies while a fault is on.
enum Copies {
    /// All are sent, and the collector's kernel decodes as many.
    Arrive,
    /// All are sent.
    Sent,
    /// All are lost for this reason, but for a probe now and then.
    Lost(&'static str),
    /// Some are lost, for this reason and no other.
    Some(&'static str),
    /// Nobody wants them.
    Skipped,
    /// They get no further than the tap.
    AtTheTap,
    /// The first one does not, and the tap makes no other.
    Stopped,
}

struct Fault {
    name: &'static str,
    inject: fn(&Rig),
    copies: Copies,
}

const fn fault(name: &'static str, inject: fn(&Rig), copies: Copies) -> Fault {
    Fault { name, inject, copies }
}

fn in_host(rig: &Rig, text: &str) {
    script(&rig.mounts, &rig.host, text);
}

const FAULTS: [Fault; 21] = [
    fault("none", |_| {}, Copies::Arrive),
    fault("underlay without offloads", |rig| rig.host.offloads_off("eth1").unwrap(), Copies::Arrive),
    fault("every tunnel at once", every_tunnel, Copies::Arrive),
    fault("no route", |rig| in_host(rig, "ip route flush dev eth1"), Copies::Lost("no_route")),
    fault(
        "no neighbour",
        |rig| drop(rig.ebmirror(&["peer", "set", "ids", "--remote", "10.2.0.99"]).ok()),
        Copies::Lost("no_neighbour"),
    ),
    fault("link down", |rig| in_host(rig, "ip link set eth1 down"), Copies::Lost("no_route")),
    fault("carrier lost", |rig| drop(rig.tool(&rig.collector, "ip link set eth0 down")), Copies::Lost("no_neighbour")),
    fault(
        "full queue",
        |rig| in_host(rig, "tc qdisc replace dev eth1 root tbf rate 64kbit burst 2000 limit 4000"),
        Copies::Sent,
    ),
    fault(
        "rate exhausted",
        |rig| drop(rig.ebmirror(&["peer", "set", "ids", "--rate", "1mbit"]).ok()),
        Copies::Some("rate"),
    ),
    fault("peer deleted", |rig| drop(rig.ebmirror(&["peer", "del", "ids"]).ok()), Copies::Skipped),
    fault("stage removed", |rig| in_host(rig, "ip link del ebm0"), Copies::AtTheTap),
    fault("stage's port removed", |rig| in_host(rig, "ip link del ebm1"), Copies::Some("stage_full")),
    fault("stage set down", |rig| in_host(rig, "ip link set ebm0 down"), Copies::Some("stage_full")),
    fault("stage's port set down", |rig| in_host(rig, "ip link set ebm1 down"), Copies::Some("stage_full")),
    fault(
        "stage's program detached",
        |rig| {
            in_host(
                rig,
                "link=$(find /sys/fs/bpf -name link_stage)
                 if test -n \"$link\"; then bpftool link detach pinned $link; else tc filter del dev ebm0 egress; fi",
            );
        },
        Copies::Stopped,
    ),
    fault("stage's offloads on", |rig| in_host(rig, "ethtool -K ebm0 tx on tso on gso on"), Copies::Arrive),
    fault(
        "ip_forward 1, 0",
        |rig| in_host(rig, "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward"),
        Copies::Some("forwarding_off"),
    ),
    fault("underlay MTU 600", |rig| in_host(rig, "ip link set eth1 mtu 600"), Copies::Sent),
    fault(
        "underlay MTU 600, drop",
        |rig| {
            rig.ebmirror(&["peer", "set", "ids", "--oversize", "drop"]).ok();
            in_host(rig, "ip link set eth1 mtu 600");
        },
        Copies::Some("too_big"),
    ),
    fault("64 peers, one more", one_peer_more, Copies::Sent),
    fault("256 interfaces, one more", one_interface_more, Copies::Sent),
];

/// A peer of each kind, with copies that are cut, and cut into the segments of the wire.
fn every_tunnel(rig: &Rig) {
    in_host(rig, "ip link add s0 type veth peer name s1; ip link set s0 up; ip link set s1 up");
    for peer in [
        &["geneve", "--vni", "7"][..],
        &["gre"],
        &["gre", "--key", "7", "--gso", "wire"],
        &["erspan2", "--session", "7"],
        &["erspan3", "--session", "8", "--snaplen", "100"],
    ] {
        let name = peer.join("");
        let name = name.replace("--", "-");
        rig.ebmirror(&[&["peer", "add", &name, "--remote", COLLECTOR, "--tunnel"], peer].concat()).ok();
    }
    rig.ebmirror(&["peer", "add", "span", "--tunnel", "span", "--dev", "s0"]).ok();
}

fn one_peer_more(rig: &Rig) {
    for vni in 100..163 {
        add_peer(rig, &format!("ids-{vni}"), COLLECTOR, vni, &[]);
    }
    let one_more = ["peer", "add", "one-more", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "99"];
    rig.ebmirror(&one_more).fails(6, "64", "peer del");
}

fn one_interface_more(rig: &Rig) {
    in_host(rig, "for i in $(seq 128); do echo link add a$i type veth peer name b$i; done | ip -batch -");
    let names: Vec<String> = (1..=128).flat_map(|i| [format!("a{i}"), format!("b{i}")]).collect();
    let mut all = vec!["attach"];
    all.extend(names.iter().take(255).map(String::as_str));
    rig.ebmirror(&all).ok();
    rig.ebmirror(&["attach", &names[255]]).fails(6, "256", "detach");
}

/// A row of the table.
struct Row {
    sent: usize,
    received: usize,
    altered: usize,
    tcp: bool,
    losses: String,
    problem: Option<String>,
}

/// Puts a fault on, and looks at production meanwhile and at the books afterwards.
fn try_fault(fault: &Fault, mode: &str) -> Row {
    // Room for every outer header, so that the fault is the only one.
    let rig = quiet_rig(1600);
    show_ingress(&rig);
    let marks = mark_ingress(&rig);
    let before = observe(&rig, 1);
    for (place, seen) in PLACES.iter().zip(&before) {
        assert_eq!(seen.len(), SHAPES, "{place} without a mirror");
    }
    assert!(before[..2].iter().flatten().all(|seen| (seen.mark, seen.priority) == (MARK, PRIORITY)));
    let states = before[0].iter().map(|seen| &seen.frame);
    assert!(states.clone().any(|frame| frame.gso.is_some()) && states.clone().any(|f| f.checksum != Checksum::Unknown));
    drop(marks);
    rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
    rig.ebmirror(&["peer", "add", "ids", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "42"]).ok();
    let _marks = mark_ingress(&rig);
    (fault.inject)(&rig);
    rig.ebmirror(&["stats", "--reset"]).ok();

    let decoded = record(&rig.collector, "vx0");
    let after = observe(&rig, ROUNDS);
    let tcp = tcp_hash(&rig);
    let mut row = Row { sent: 0, received: 0, altered: 0, tcp, losses: String::new(), problem: None };
    for ((place, before), after) in PLACES.iter().zip(&before).zip(&after) {
        let expected = before.iter().cycle().take(ROUNDS * SHAPES);
        // What leaves the host is looked at twice, and counted when it arrives.
        if *place != "out" {
            row.sent += ROUNDS * SHAPES;
            row.received += after.len();
        }
        if after.len() != ROUNDS * SHAPES {
            row.problem = Some(format!("{place}: {} of {}", after.len(), ROUNDS * SHAPES));
        }
        let mut differing = expected.zip(after).filter(|(before, after)| before != after);
        if let Some((before, after)) = differing.next() {
            row.altered += 1 + differing.count();
            row.problem = Some(format!("{place}: {before:?}\nbecame {after:?}"));
        }
    }
    let stats = rig.balanced();
    row.losses = losses(&stats);
    if (row.received, row.altered, row.tcp) != (row.sent, 0, true) {
        row.problem.get_or_insert_with(|| "production was harmed".into());
    } else if let Some(problem) = books_problem(&rig, fault, &stats, &decoded) {
        row.problem = Some(format!("{problem}\n{stats}"));
    }
    row
}

/// What became of the copies, in words.
fn losses(stats: &Value) -> String {
    let sum =
        |key: &str| ["ingress", "egress"].map(|direction| packets(&tap(stats, direction)[key])).iter().sum::<u64>();
    let mut text = format!("copies {}", sum("copies"));
    for key in ["skipped", "lost"] {
        if sum(key) > 0 {
            write!(text, ", {key} at the tap {}", sum(key)).unwrap();
        }
    }
    let peers = stats["peers"].as_array().unwrap();
    let sent: u64 = peers.iter().map(|peer| packets(&peer["sent"])).sum();
    write!(text, ", sent {sent}").unwrap();
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, lost) in peers.iter().flat_map(|peer| peer["reasons"].as_object().unwrap()) {
        *reasons.entry(reason).or_default() += packets(lost);
    }
    for (reason, lost) in reasons.into_iter().filter(|(_, lost)| *lost > 0) {
        write!(text, ", {reason} {lost}").unwrap();
    }
    text
}

/// What the books should say and do not.
fn books_problem(rig: &Rig, fault: &Fault, stats: &Value, decoded: &Recorder) -> Option<String> {
    let of_taps = |key: &str| ["ingress", "egress"].map(|direction| packets(&tap(stats, direction)[key]));
    let all_seen = of_taps("seen").iter().all(|seen| *seen >= (ROUNDS * SHAPES) as u64);
    match fault.copies {
        Copies::Stopped => {
            let right = of_taps("seen").iter().sum::<u64>() <= 2 && of_taps("cloned") == [0, 0];
            return (!right).then(|| "a tap without a stage went on".into());
        }
        _ if !all_seen => return Some("the taps have not seen all".into()),
        Copies::Skipped => {
            return (of_taps("seen") != of_taps("skipped")).then(|| "something was not skipped".into());
        }
        Copies::AtTheTap => {
            return (of_taps("lost") != of_taps("selected")).then(|| "something got past the tap".into());
        }
        _ => {}
    }
    for peer in stats["peers"].as_array()? {
        let (selected, sent) = (packets(&peer["selected"]), packets(&peer["sent"]));
        let lost = reasons(peer);
        let right = match fault.copies {
            Copies::Lost(reason) => lost == [reason] && sent * 100 < selected,
            Copies::Some(reason) => lost == [reason],
            _ => lost.is_empty() && sent == selected && sent > 0,
        };
        if !right {
            return Some(format!("{}: other losses than expected", peer["peer"]));
        }
    }
    if let Copies::Arrive = fault.copies {
        let sent = packets(&peer(stats, "ids")["sent"]);
        // What GRO joined counts as what it was.
        let count = |frames: &[Frame]| wire_size(frames, false).packets;
        let mut found = 0;
        let all = decoded.wait(PATIENCE, |frames| {
            found = count(frames);
            found >= sent
        });
        return (!all.unwrap() || found != sent).then(|| format!("{found} of {sent} copies arrived"));
    }
    if fault.name == "full queue" {
        let shown = rig.tool(&rig.host, "tc -s qdisc show dev eth1");
        let dropped = shown.split("dropped ").nth(1)?.split(',').next()?.parse().unwrap_or(0u64);
        return (dropped == 0).then(|| format!("the queue was never full: {shown}"));
    }
    None
}

fn no_fault_harms(mode: &str) {
    let wanted = std::env::var("HARM").unwrap_or_default();
    println!("{:<26} {:<5} {:>6} {:>8} {:>7} {:<6} copies", "fault", "hook", "sent", "received", "altered", "TCP");
    let mut problems = String::new();
    for fault in FAULTS.iter().filter(|fault| fault.name.contains(&wanted)) {
        let row = try_fault(fault, mode);
        println!(
            "{:<26} {mode:<5} {:>6} {:>8} {:>7} {:<6} {}",
            fault.name,
            row.sent,
            row.received,
            row.altered,
            if row.tcp { "right" } else { "WRONG" },
            row.losses
        );
        if let Some(problem) = row.problem {
            writeln!(problems, "{} ({mode}): {problem}\n", fault.name).unwrap();
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn no_fault_of_the_mirror_harms_production() {
    no_fault_harms("tcx");
}

#[test]
fn no_fault_of_the_mirror_harms_production_in_tc_mode() {
    no_fault_harms("tc");
}

/// Datagrams that a client sends as super-packets to a container of the host, all at once: they cross a veth, whose
/// receiving end has a queue of 1000 that it shares with every other device of this kind on the same CPU.
#[test]
fn a_burst_of_super_packets_to_a_container_arrives_whole() {
    const SERVER: &str = "10.5.0.2";
    for mode in ["no mirror", "tcx", "tc"] {
        let rig = quiet_rig(1600);
        let container = Host::new("container").unwrap();
        cable((&rig.host, "eth2", "10.5.0.1"), (&container, "eth0", SERVER), 1500);
        for host in [&container, &rig.host] {
            sysctl(host, "net/ipv6/conf/all/disable_ipv6", "1");
        }
        sysctl(&rig.host, "net/ipv4/ip_forward", "1");
        rig.tool(&rig.client, &format!("ip route add default via {HOST}"));
        // The collector is another machine: what it receives must not wait in the queue of this one's containers. A veth
        // has a queue of its own (NAPI) when its receiver merges and its sender does not segment.
        rig.host.offloads_off("eth1").unwrap();
        rig.tool(&rig.collector, "ethtool -K eth0 gro on");
        if mode != "no mirror" {
            rig.ebmirror(&["attach", "eth0", "--mode", mode]).ok();
            rig.ebmirror(&["peer", "add", "ids", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "42"]).ok();
        }
        let there = Application::bind(&container, SERVER, 7000);
        let client = rig.client.attempt("bind", || UdpSocket::bind((CLIENT, 7000))).unwrap();
        // The way is known, to the container and to the collector.
        client.send_to(b"hello", there.address()).unwrap();
        there.receive(1);
        setsockopt(&client, sockopt::SndBufForce, &(64 << 20)).unwrap();
        setsockopt(&client, sockopt::UdpGsoSegment, &1000).unwrap();
        let data: Vec<Vec<u8>> = (0..133).map(|n| pattern(n, if n < 132 { 45_000 } else { 46_000 })).collect();
        let expected: Vec<Vec<u8>> = data.iter().flat_map(|data| data.chunks(1000).map(<[u8]>::to_vec)).collect();
        assert_eq!(expected.len(), 5986);

        // They wait at the client until the host says its address; the kernel then sends all of them in one go.
        sysctl(&rig.client, "net/ipv4/neigh/eth0/unres_qlen_bytes", "67108864");
        sysctl(&rig.client, "net/ipv4/neigh/eth0/mcast_solicit", "1000");
        sysctl(&rig.client, "net/ipv4/neigh/eth0/retrans_time_ms", "100");
        rig.tool(&rig.host, "ip link set dev eth0 arp off");
        rig.tool(&rig.client, &format!("ip neigh del {HOST} dev eth0"));
        let sent = rig.client.link("eth0").unwrap().tx_packets;
        for data in &data {
            assert_eq!(client.send_to(data, there.address()).unwrap(), data.len());
        }
        assert!(rig.client.link("eth0").unwrap().tx_packets < sent + 100, "they did not wait");
        rig.tool(&rig.host, "ip link set dev eth0 arp on");
        let received = there.receive(expected.len());
        assert!(received == expected, "{mode}: other datagrams, or in another order");
        if mode == "no mirror" {
            continue;
        }
        let mut stats = Value::Null;
        wait_for("the burst to be counted", || {
            stats = rig.balanced();
            packets(&peer(&stats, "ids")["selected"]) >= 5987
        });
        println!("burst ({mode}): {} of {} datagrams; {}", received.len(), expected.len(), losses(&stats));
        assert_eq!(packets(&peer(&stats, "ids")["lost"]), 0, "{stats}");
    }
}
