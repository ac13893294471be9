//! Every tunnel over an underlay of either family: the rig, the peer, and what arrives at the collector, whole again and
//! decoded strictly.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use ebmirror::lab::capture::{Checksum, Frame, Gso, Sender};
use ebmirror::lab::compare::{Fate, Packet, compare};
use ebmirror::lab::delivery::Delivery;
use ebmirror::lab::frame::{
    BROADCAST, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TCP_ACK, TPID_8021AD, TPID_8021Q, Tcp, pattern,
};
use ebmirror::lab::network::Host;
use ebmirror::lab::parse::Parsed;
use ebmirror::lab::reassemble::{Part, reassemble};
use ebmirror::lab::recorder::Recorder;
use ebmirror::lab::segment::Layout;
use ebmirror::lab::summary::summary;
use ebmirror::lab::tunnel::{Kind, Outer, decode, decode_bytes};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::common::traffic::{NOBODY, quiet_rig, record, sysctl, unanswered};
use super::common::{COLLECTOR, Rig, UNDERLAY, wait_for};

/// The IPv6 addresses of the underlay.
pub const UNDERLAY6: &str = "fd00:2::1";
pub const COLLECTOR6: &str = "fd00:2::2";

/// Longer than anything here should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// So many packets may be on their way at a time: the queues of veth devices hold a thousand.
const BURST: usize = 200;
/// Reassembly of long packets takes more memory than a namespace has by default: each fragment is charged the whole
/// buffer that it was cut from.
const FRAGMENT_MEMORY: &str = "1073741824";

/// A tunnel, the family that carries it, and the arguments that make it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub kind: Kind,
    pub v6: bool,
    /// GRE has a key.
    pub keyed: bool,
}

impl Way {
    /// All tunnels with outer headers over one family, GRE with and without key.
    pub fn all(v6: bool) -> [Way; 6] {
        [
            (Kind::Vxlan, false),
            (Kind::Geneve, false),
            (Kind::Gre, false),
            (Kind::Gre, true),
            (Kind::Erspan2, false),
            (Kind::Erspan3, false),
        ]
        .map(|(kind, keyed)| Way { kind, v6, keyed })
    }

    pub fn tunnel(&self) -> &'static str {
        match self.kind {
            Kind::Vxlan => "vxlan",
            Kind::Geneve => "geneve",
            Kind::Gre => "gre",
            Kind::Erspan2 => "erspan2",
            Kind::Erspan3 => "erspan3",
        }
    }

    /// The argument that tells mirrors apart.
    pub fn id_flag(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Vxlan | Kind::Geneve => Some("--vni"),
            Kind::Gre => self.keyed.then_some("--key"),
            Kind::Erspan2 | Kind::Erspan3 => Some("--session"),
        }
    }

    pub fn over_udp(&self) -> bool {
        matches!(self.kind, Kind::Vxlan | Kind::Geneve)
    }

    /// It has a sequence number.
    pub fn is_erspan(&self) -> bool {
        matches!(self.kind, Kind::Erspan2 | Kind::Erspan3)
    }

    pub fn remote(&self) -> &'static str {
        if self.v6 { COLLECTOR6 } else { COLLECTOR }
    }

    pub fn local(&self) -> &'static str {
        if self.v6 { UNDERLAY6 } else { UNDERLAY }
    }

    pub fn ip_header(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    /// Bytes between the IP header and the frame.
    pub fn headers(&self) -> usize {
        match self.kind {
            Kind::Vxlan | Kind::Geneve | Kind::Erspan2 => 16,
            Kind::Gre => 4 + 4 * usize::from(self.keyed),
            Kind::Erspan3 => 20,
        }
    }

    /// The longest frame that an IP packet of `mtu` bytes takes.
    pub fn room(&self, mtu: usize) -> usize {
        mtu - self.ip_header() - self.headers()
    }

    /// The longest frame that IP can carry, in any number of fragments.
    pub fn longest(&self) -> usize {
        // The length of IPv6 does not count its header.
        65_535 - self.headers() - if self.v6 { 0 } else { 20 }
    }

    /// The bytes of each fragment of a copy of a frame of this length; one: it is not cut.
    pub fn fragments(&self, length: usize, mtu: usize) -> Vec<usize> {
        let whole = length + self.headers();
        if self.ip_header() + whole <= mtu {
            return vec![whole];
        }
        let fragment_header = if self.v6 { 8 } else { 0 };
        let each = (mtu - self.ip_header() - fragment_header) / 8 * 8;
        let mut sizes = vec![each; whole / each];
        sizes.extend(Some(whole % each).filter(|rest| *rest > 0));
        sizes
    }

    /// `peer add NAME`, with the ID 42 where there is one.
    pub fn add(&self, rig: &Rig, name: &str, more: &[&str]) {
        let args = ["peer", "add", name, "--tunnel", self.tunnel(), "--remote", self.remote()];
        let id: Vec<&str> = self.id_flag().into_iter().flat_map(|flag| [flag, "42"]).collect();
        rig.ebmirror(&[&args[..], &id, more].concat()).ok();
    }
}

/// A rig without traffic of its own on the mirrored cable, and an underlay of both families.
pub fn rig(underlay_mtu: u32) -> Rig {
    let rig = quiet_rig(underlay_mtu);
    // The stage needs IPv6 to look up IPv6 routes.
    sysctl(&rig.host, "net/ipv6/conf/default/disable_ipv6", "0");
    for (host, ifname, address) in [(&rig.host, "eth1", UNDERLAY6), (&rig.collector, "eth0", COLLECTOR6)] {
        if underlay_mtu >= 1280 {
            sysctl(host, &format!("net/ipv6/conf/{ifname}/disable_ipv6"), "0");
            rig.tool(host, &format!("ip -6 address add {address}/64 dev {ifname} nodad"));
        }
    }
    if underlay_mtu >= 1280 {
        know_each_other(&rig);
    }
    for family in ["ipv4/ipfrag", "ipv6/ip6frag"] {
        sysctl(&rig.collector, &format!("net/{family}_high_thresh"), FRAGMENT_MEMORY);
    }
    rig
}

/// IPv6 answers no solicitation before its work queue has seen that the device has carrier, and a second goes by before
/// the next one.
fn know_each_other(rig: &Rig) {
    wait_for_addresses(rig);
    let socket = rig.host.attempt("a socket", || UdpSocket::bind((UNDERLAY6, 0))).unwrap();
    wait_for("the collector's IPv6", || {
        // Nobody listens there, which an earlier datagram may have told.
        let _ = socket.send_to(b"hello", (COLLECTOR6, 9));
        rig.tool(&rig.host, "ip -6 neigh show dev eth1").contains(&format!("{COLLECTOR6} lladdr"))
    });
}

/// An address that was just given is tentative until that work queue has seen it, even without a search for duplicates.
pub fn wait_for_addresses(rig: &Rig) {
    for (host, ifname) in [(&rig.host, "eth1"), (&rig.collector, "eth0")] {
        wait_for("the addresses", || rig.tool(host, &format!("ip -6 address show dev {ifname} tentative")).is_empty());
    }
}

/// The collector's own VXLAN device over IPv6. By default a Linux device drops what has no UDP checksum there.
pub fn add_vxlan6(rig: &Rig) -> &'static str {
    let device = format!("ip link add vx6 type vxlan id 42 dstport 4789 local {COLLECTOR6} udp6zerocsumrx");
    rig.tool(&rig.collector, &device);
    sysctl(&rig.collector, "net/ipv6/conf/vx6/disable_ipv6", "1");
    rig.tool(&rig.collector, "ip link set vx6 up");
    "vx6"
}

/// Keeps this thread on one of the CPUs that the process may use: the `number`-th, counted round.
pub fn stay_on_cpu(number: usize) {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect();
    let mut one = CpuSet::new();
    one.set(cpus[number % cpus.len()]).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

/// The mirrored cable carries frames of this MTU.
pub fn set_mirrored_mtu(rig: &Rig, mtu: u32) {
    for host in [&rig.client, &rig.host] {
        rig.tool(host, &format!("ip link set dev eth0 mtu {mtu}"));
    }
}

/// A copy that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub outer: Outer,
    /// The frame inside, its checksums finished unless it is a super-packet.
    pub bytes: Vec<u8>,
    pub gso: Option<Gso>,
    /// In so many outer fragments; none: the outer packet was whole.
    pub fragments: Vec<Part>,
    /// The whole outer packet, or super-packet.
    pub packet: Vec<u8>,
}

impl AsRef<[u8]> for Arrived {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What has arrived at the collector in one way.
pub struct Arrivals {
    way: Way,
    recorder: Recorder,
}

impl Arrivals {
    pub fn of(rig: &Rig, way: Way) -> Self {
        Arrivals { way, recorder: record(&rig.collector, "eth0") }
    }

    /// Came in, to the collector's address, and is what a tunnel is made of. Nothing else at a collector is.
    fn is_ours(&self, frame: &Frame) -> bool {
        let remote: IpAddr = self.way.remote().parse().unwrap();
        let parsed = Parsed::new(&frame.bytes);
        let ip = parsed.as_ref().and_then(|parsed| parsed.ip.as_ref());
        !frame.outgoing && ip.is_some_and(|ip| ip.dst == remote && matches!(ip.protocol, 17 | 47))
    }

    /// How many packets are there to the last fragment.
    fn count_in(&self, frames: &[Frame]) -> usize {
        let ends = |frame: &&Frame| match Delivery::read(&frame.bytes, frame.gso.is_some()) {
            Ok((delivery, _)) => delivery.fragment.is_none_or(|fragment| !fragment.more),
            Err(error) => panic!("an outer packet of {} bytes: {error}", frame.bytes.len()),
        };
        frames.iter().filter(|frame| self.is_ours(frame)).filter(ends).count()
    }

    pub fn count(&self) -> usize {
        self.recorder.with(|frames| self.count_in(frames)).unwrap()
    }

    pub fn wait_for(&self, count: usize) {
        let (mut seen, mut found) = (0, 0);
        let enough = self.recorder.wait(PATIENCE, |frames| {
            found += self.count_in(&frames[seen..]);
            seen = frames.len();
            found >= count
        });
        assert!(enough.unwrap(), "{:?}: {found} of {count} copies arrived", self.way);
    }

    /// Waits until so many have arrived, and returns all.
    pub fn take(&self, count: usize) -> Vec<Arrived> {
        self.wait_for(count);
        let arrived = self.arrived();
        assert_eq!(arrived.len(), count, "{:?}", self.way);
        arrived
    }

    /// What has arrived until now, taken apart; anything that is not exactly as it should be fails the test.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.recorder.with(|frames| self.decode(frames)).unwrap()
    }

    fn decode(&self, frames: &[Frame]) -> Vec<Arrived> {
        let kind = self.way.kind;
        let (supers, plain): (Vec<_>, Vec<_>) =
            frames.iter().filter(|frame| self.is_ours(frame)).partition(|frame| frame.gso.is_some());
        let finished: Vec<_> = plain.iter().map(|frame| frame.finished()).collect();
        let whole =
            reassemble(finished.iter().map(|bytes| &**bytes)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        for frame in plain {
            let fragment = Delivery::read(&frame.bytes, false).unwrap().0.fragment;
            let ready = !matches!(frame.checksum, Checksum::NotReady { .. });
            assert!(fragment.is_none() || ready, "a fragment whose checksum nobody can finish");
        }
        let mut arrived: Vec<Arrived> = whole
            .into_iter()
            .map(|whole| {
                let (outer, inner) = decode_bytes(kind, &whole.bytes, false)
                    .unwrap_or_else(|error| panic!("{:?}, {} bytes: {error}", self.way, whole.bytes.len()));
                let bytes = inner.to_vec();
                Arrived { outer, bytes, gso: None, fragments: whole.fragments, packet: whole.bytes }
            })
            .collect();
        arrived.extend(supers.into_iter().map(|frame| {
            let (outer, inner) =
                decode(kind, frame).unwrap_or_else(|error| panic!("{:?}, a super-packet: {error}", self.way));
            let bytes = inner.bytes.into_owned();
            Arrived { outer, bytes, gso: inner.gso, fragments: Vec::new(), packet: frame.bytes.clone() }
        }));
        arrived
    }

    /// Sends frames in bursts that no queue on the way is too short for.
    pub fn send(&self, host: &Host, frames: &[Vec<u8>], fragments_each: usize) {
        let mut expected = self.count();
        host.run(|| {
            let sender = Sender::open("eth0").unwrap();
            for burst in frames.chunks((BURST / fragments_each).max(1)) {
                burst.iter().for_each(|frame| sender.send(frame).unwrap());
                expected += burst.len();
                self.wait_for(expected);
            }
        })
        .unwrap();
    }

    /// Waits until each original has its identical copy, and each copy its original.
    pub fn wait_until_perfect(&self, what: &str, originals: &Recorder) -> Vec<Frame> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let originals = originals.with(<[Frame]>::to_vec).unwrap();
            if let Some(copies) = self.settled() {
                let before: Vec<_> = originals.iter().map(Packet::captured).collect();
                let after: Vec<_> = copies.iter().map(|copy| Packet::new(copy.bytes.as_slice(), copy.gso)).collect();
                let result = compare(&before, &after);
                if result.is_perfect() {
                    drop(before);
                    return originals;
                }
                if Instant::now() > deadline {
                    let mut report = String::new();
                    let unequal = before.iter().zip(&result.fates).filter(|(_, fate)| **fate != Fate::Identical);
                    for (packet, fate) in unequal.take(5) {
                        writeln!(report, "{fate:?}: {:?} {}", packet.gso, summary(&packet.bytes)).unwrap();
                    }
                    for stranger in result.strangers().take(5) {
                        writeln!(report, "stranger: {:?} {}", after[stranger].gso, summary(&after[stranger].bytes))
                            .unwrap();
                    }
                    panic!("{what}, {:?}: {} originals, {} copies\n{report}", self.way, before.len(), after.len());
                }
            }
            assert!(Instant::now() < deadline, "{what}, {:?}: a packet never became whole", self.way);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What has arrived, unless the last fragment of a packet is still on its way.
    fn settled(&self) -> Option<Vec<Arrived>> {
        self.recorder
            .with(|frames| {
                let part = |frame: &Frame| Delivery::read(&frame.bytes, frame.gso.is_some()).ok()?.0.fragment;
                let last = frames.iter().rfind(|frame| self.is_ours(frame)).and_then(part);
                last.is_none_or(|fragment| !fragment.more).then(|| self.decode(frames))
            })
            .unwrap()
    }
}

/// The frames that a captured one is on the wire, checksums finished.
pub fn on_the_wire(frame: &Frame) -> Vec<Vec<u8>> {
    let packet = Packet::captured(frame);
    match Layout::of(&packet) {
        Some(layout) => layout.cut(&packet.bytes),
        None => vec![packet.bytes.into_owned()],
    }
}

/// Frames that are right in themselves, so that what Wireshark complains about is the outer header.
pub fn good_frames(ethernet: &Ethernet) -> Vec<Vec<u8>> {
    let [a, b] = NOBODY;
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let mut strange = unanswered(ethernet.clone()).ttl(33);
    (strange.tos, strange.dont_fragment) = (0xb9, true);
    let tcp = Tcp { sport: 4000, dport: 5001, seq: 1, ack: 2, flags: TCP_ACK, window: 500 };
    vec![
        ethernet.clone().to(BROADCAST).arp_request(a, b),
        ethernet.arp_reply(a, b),
        unanswered(ethernet.clone()).echo_request(1, 2, &pattern(1, 56)),
        unanswered(ethernet.clone()).udp(4000, 5000, &pattern(2, 300)),
        unanswered(ethernet.clone()).tcp(tcp, &pattern(3, 1000)),
        strange.udp(4000, 5000, &pattern(4, 1390)),
        ethernet.clone().ipv6(a6, b6).udp(4000, 5000, &pattern(5, 300)),
        ethernet.clone().to(LLDP_MULTICAST).lldp(6),
        ethernet.clone().tag(TPID_8021Q, 7).ipv4(a, b).udp(4000, 5000, &pattern(7, 300)),
        ethernet.clone().tag(TPID_8021Q, 0xefff).ipv4(a, b).udp(4000, 5000, &pattern(9, 300)),
        ethernet.clone().tag(TPID_8021AD, 0x6008).tag(TPID_8021Q, 9).ipv4(a, b).udp(4000, 5000, &pattern(8, 300)),
    ]
}

/// Frames with odd protocols and of odd lengths.
pub fn odd_frames(ethernet: &Ethernet) -> Vec<Vec<u8>> {
    let [a, b] = NOBODY;
    let [a6, b6] = [7, 9].map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
    let v4 = || unanswered(ethernet.clone());
    let overlay = [&[8, 0, 0, 0, 0, 0, 9, 0][..], &v4().udp(7, 8, &pattern(1, 500))].concat();
    let mut frames = vec![
        ethernet.clone().to(STP_MULTICAST).stp(9),
        ethernet.frame(0x8847, &[&[0, 1, 0x41, 64][..], &v4().udp(1, 2, b"mpls")[14..]].concat()),
        ethernet.frame(0x8864, &[&[0x11, 0, 0, 5, 0, 200, 0, 0x21][..], &pattern(10, 198)].concat()),
        ethernet.frame(0x1234, &pattern(11, 77)),
        ethernet.frame(0x1234, &[]),
        ethernet.frame(0x1234, &[7]),
        ethernet.frame(0x0800, &[0x45, 0, 0]),
        v4().id(77).fragment(true, 0).protocol(17, &pattern(12, 1400)),
        v4().id(77).fragment(false, 175).protocol(17, &pattern(13, 99)),
        v4().protocol(50, &pattern(14, 90)),
        v4().udp(50_000, 4788, &overlay),
        v4().protocol(47, &[&[0, 0, 0x65, 0x58][..], &v4().udp(1, 2, b"gre")].concat()),
        ethernet.clone().ipv6(a6, b6).protocol(0, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &pattern(15, 60)].concat()),
        ethernet.clone().to([0x33, 0x33, 0, 0, 0, 1]).ipv6(a6, b6).udp(1, 2, &pattern(16, 30)),
        ethernet.clone().tag(TPID_8021Q, 0xe000).to(BROADCAST).arp_request(a, b),
        ethernet.clone().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 3).tag(TPID_8021Q, 4).frame(0x1234, &pattern(17, 60)),
    ];
    frames.extend((60..70).map(|length| v4().udp(4000, 5000, &pattern(length, length as usize - 42))));
    frames
}
