//! Frames replayed through a mirrored interface, both ways, and compared with what a collector's own decoder makes of
//! their copies.
//!
//! Frames go out in bursts that no queue on the way is too short for. Behind each burst goes a frame of ours: the queues of
//! one CPU keep their order, so whatever has not arrived when it has does not arrive any more. That is a condition to wait
//! for even when copies are lost.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::AddAssign;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::capture::{Frame, Sender};
use super::decode;
use super::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, TPID_8021AD, TPID_8021Q};
use super::recorder::Recorder;
use crate::model::interface::Direction;

/// So many frames may be on their way at a time: the queues of veth devices hold a thousand.
pub const BURST: usize = 250;

/// A frame crosses a cable at once; longer than this only when something is broken.
const CROSSING_TIMEOUT: Duration = Duration::from_secs(10);
/// The copy of the frame behind a burst may be lost, as any other.
const COPY_TIMEOUT: Duration = Duration::from_millis(250);

/// EtherType of IEEE 802 for local experiments, and what makes the frame behind a burst ours.
const MARKER_TYPE: [u8; 2] = [0x88, 0xb5];
const MARKER: [u8; 16] = *b"end of a burst: ";
const MARKER_BYTES: usize = 60;

/// In front of the type.
const ADDRESSES: usize = 12;
const ETHERNET: usize = 14;
/// The kernel takes no frame that ends before the type behind its first tag (`skb_vlan_untag`).
const TAGGED_BYTES_MIN: usize = 20;

/// What a burst, or many of them, came to. Frames count once for each direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Those that were sent, or should have been.
    pub replayed: u64,
    /// Those that never reached the interface, though they were sent.
    pub vanished: u64,
    /// Copies of what was replayed; also those that differ from all of it.
    pub arrived: u64,
    /// Those of them that are the same to the last byte.
    pub identical: u64,
    /// Those of the identical ones that the collector's decoder refuses by its own rules: compared in the outer packet.
    pub from_outer: u64,
    /// Frames that were not sent, in one direction, with the reason.
    pub not_sent: BTreeMap<String, u64>,
    /// All that crossed the interface: what was replayed, and what else there was.
    #[serde(skip)]
    pub crossed: u64,
    /// All copies.
    #[serde(skip)]
    pub copies: u64,
    /// Of what else there was: those that have no copy.
    #[serde(skip)]
    pub bystanders_lost: u64,
}

impl Tally {
    /// What the fates of single frames come to.
    fn close(&mut self, fates: &HashMap<&[u8], Fate>) {
        let ours: u64 = fates.values().map(|fate| fate.crossed).sum();
        // Of what else crossed and was copied the rest of both sums is left.
        self.bystanders_lost = (self.crossed - ours).saturating_sub(self.copies - self.arrived);
        self.vanished = fates.values().map(|fate| fate.sent - fate.crossed).sum();
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.replayed += other.replayed;
        self.vanished += other.vanished;
        self.arrived += other.arrived;
        self.identical += other.identical;
        self.from_outer += other.from_outer;
        self.crossed += other.crossed;
        self.copies += other.copies;
        self.bystanders_lost += other.bystanders_lost;
        for (reason, count) in &other.not_sent {
            *self.not_sent.entry(reason.clone()).or_default() += count;
        }
    }
}

/// The places where frames are sent and seen.
pub struct Bench {
    /// At the other end of the mirrored interface's cable.
    pub outside: Sender,
    /// On the mirrored interface.
    pub inside: Sender,
    /// The mirrored interface.
    pub originals: Recorder,
    /// The collector's interface.
    pub outer: Recorder,
    /// The collector's decoder.
    pub decoded: Recorder,
}

/// Replays.
pub struct Replay {
    bench: Bench,
    bursts: u64,
    /// What crossed the interface and was not replayed: what the hosts say by themselves. Its copies may come later.
    chatter: Chatter,
}

/// Frames, and how many of each.
type Chatter = HashMap<Vec<u8>, u64>;

/// What became of a frame that was sent, or of several that are the same.
#[derive(Default)]
struct Fate {
    sent: u64,
    crossed: u64,
    copied: u64,
}

impl Replay {
    /// Starts with what is on the wires from now on. The calling thread stays on its CPU from now on, and must be the one
    /// that replays: it is what keeps the frames in order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(bench: Bench) -> io::Result<Self> {
        let mut here = CpuSet::new();
        here.set(sched_getcpu()?)?;
        sched_setaffinity(Pid::from_raw(0), &here)?;
        for recorder in [&bench.originals, &bench.outer, &bench.decoded] {
            recorder.take()?;
        }
        Ok(Self { bench, bursts: 0, chatter: Chatter::new() })
    }

    /// Sends frames in a direction and says what became of them.
    ///
    /// # Errors
    /// When frames cannot cross the interface at all, and those of the captures.
    pub fn replay(&mut self, direction: Direction, frames: &[Vec<u8>]) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for burst in frames.chunks(BURST) {
            tally += &self.burst(direction, burst)?;
        }
        Ok(tally)
    }

    fn burst(&mut self, direction: Direction, frames: &[Vec<u8>]) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let sender = match direction {
            Direction::Ingress => &self.bench.outside,
            Direction::Egress => &self.bench.inside,
        };
        let mut fates: HashMap<&[u8], Fate> = HashMap::with_capacity(frames.len());
        for frame in frames {
            let refused = match direction {
                Direction::Ingress if has_cut_tag(frame) => {
                    Some("the kernel drops what it receives with a VLAN tag that is cut short".to_owned())
                }
                _ => refusal(sender.send(frame))?,
            };
            match refused {
                Some(reason) => *tally.not_sent.entry(format!("{direction}: {reason}")).or_default() += 1,
                None => {
                    fates.entry(frame).or_default().sent += 1;
                    tally.replayed += 1;
                }
            }
        }
        self.bursts += 1;
        let marker = marker(self.bursts);
        sender.send(&marker)?;
        if !wait_for(&self.bench.originals, &marker, CROSSING_TIMEOUT)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "frames do not cross the mirrored interface"));
        }
        wait_for(&self.bench.decoded, &marker, COPY_TIMEOUT)?;

        // From the last to the first: each copy's original has then been seen.
        let decoded = self.bench.decoded.take()?;
        let outer = self.bench.outer.take()?;
        let originals = self.bench.originals.take()?;
        count_originals(direction, &originals, &mut fates, &mut self.chatter, &mut tally);
        count_copies(&decoded, &mut fates, &mut self.chatter, &mut tally);
        count_refused(&outer, &mut fates, &mut tally);
        tally.close(&fates);
        Ok(tally)
    }
}

/// What crossed the interface: ours in this direction, and what else there is.
fn count_originals(
    direction: Direction,
    originals: &[Frame],
    fates: &mut HashMap<&[u8], Fate>,
    chatter: &mut Chatter,
    tally: &mut Tally,
) {
    for original in originals {
        tally.crossed += 1;
        let bytes = original.finished();
        let ours = fates.get_mut(&*bytes).filter(|fate| fate.crossed < fate.sent);
        match ours.filter(|_| original.outgoing == (direction == Direction::Egress)) {
            Some(fate) => fate.crossed += 1,
            None => *chatter.entry(bytes.into_owned()).or_default() += 1,
        }
    }
}

/// What the collector's decoder delivered.
fn count_copies(decoded: &[Frame], fates: &mut HashMap<&[u8], Fate>, chatter: &mut Chatter, tally: &mut Tally) {
    for copy in decoded.iter().filter(|frame| !frame.outgoing) {
        tally.copies += 1;
        let bytes = copy.finished();
        if let Some(fate) = fates.get_mut(&*bytes).filter(|fate| fate.copied < fate.crossed) {
            fate.copied += 1;
            tally.identical += 1;
            tally.arrived += 1;
        } else if let Some(count) = chatter.get_mut(&*bytes).filter(|count| **count > 0) {
            *count -= 1;
        } else {
            tally.arrived += 1;
        }
    }
    chatter.retain(|_, count| *count > 0);
}

/// Copies that came, and that the collector's kernel does not deliver whoever made them.
fn count_refused(outer: &[Frame], fates: &mut HashMap<&[u8], Fate>, tally: &mut Tally) {
    for frame in outer.iter().filter(|frame| !frame.outgoing) {
        let Ok((_, inner)) = decode::vxlan(frame) else { continue };
        let Some(fate) = fates.get_mut(&*inner.bytes) else { continue };
        if fate.copied < fate.crossed && decoder_refuses(&inner.bytes) {
            fate.copied += 1;
            tally.identical += 1;
            tally.arrived += 1;
            tally.from_outer += 1;
            tally.copies += 1;
        }
    }
}

/// What the kernel has against this frame; whatever else goes wrong is no fault of the frame.
fn refusal(sent: io::Result<()>) -> io::Result<Option<String>> {
    match sent {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL)) => {
            Ok(Some(format!("the packet socket refused: {error}")))
        }
        Err(error) => Err(error),
    }
}

/// A frame that is like no other.
fn marker(number: u64) -> Vec<u8> {
    // Locally administered addresses that are nobody's.
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(MARKER_TYPE);
    frame.extend(MARKER);
    frame.extend(std::process::id().to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame.resize(MARKER_BYTES, 0);
    frame
}

fn wait_for(recorder: &Recorder, marker: &[u8], timeout: Duration) -> io::Result<bool> {
    let mut looked_at = 0;
    recorder.wait(timeout, |frames| {
        let found = frames[looked_at..].iter().any(|frame| frame.bytes == marker);
        looked_at = frames.len();
        found
    })
}

fn ethertype(frame: &[u8]) -> u16 {
    frame.get(ADDRESSES..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

fn has_cut_tag(frame: &[u8]) -> bool {
    matches!(ethertype(frame), TPID_8021Q | TPID_8021AD) && frame.len() < TAGGED_BYTES_MIN
}

/// The kernel's tunnel devices want to see whole IP headers (`pskb_inet_may_pull`), and whole tags as every device does.
fn decoder_refuses(frame: &[u8]) -> bool {
    let header = match ethertype(frame) {
        ETHERTYPE_IPV4 => 20,
        ETHERTYPE_IPV6 => 40,
        _ => 0,
    };
    frame.len() < ETHERNET + header || has_cut_tag(frame)
}

#[cfg(test)]
mod tests {
    use super::super::capture::Checksum;
    use super::super::frame::{Ethernet, pattern};
    use super::super::network::{Host, Port, connect};
    use super::*;

    const SMALL: &[u8] = &[1; 60];
    const OTHER: &[u8] = &[2; 60];
    /// A type of IPv4, and one byte of the header.
    const CUT: &[u8] = &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45];

    fn frame(bytes: &[u8], outgoing: bool) -> Frame {
        Frame { bytes: bytes.to_vec(), outgoing, gso: None, checksum: Checksum::Unknown }
    }

    /// VXLAN as the mirror sends it.
    fn in_vxlan(inner: &[u8]) -> Frame {
        let header = [8, 0, 0, 0, 0, 0, 42, 0];
        let mut outer = Ethernet::new([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2]).udp(
            50_000,
            decode::VXLAN_PORT,
            &[&header, inner].concat(),
        );
        outer[40..42].fill(0);
        let frame = frame(&outer, false);
        assert_eq!(*decode::vxlan(&frame).unwrap().1.bytes, *inner);
        frame
    }

    /// SMALL twice and CUT once, sent outwards; both captures, and the outer packets.
    fn count(originals: &[Frame], decoded: &[Frame], outer: &[Frame], chatter: &mut Chatter) -> Tally {
        let mut fates =
            HashMap::from([(SMALL, Fate { sent: 2, ..Fate::default() }), (CUT, Fate { sent: 1, ..Fate::default() })]);
        let mut tally = Tally { replayed: 3, ..Tally::default() };
        count_originals(Direction::Egress, originals, &mut fates, chatter, &mut tally);
        count_copies(decoded, &mut fates, chatter, &mut tally);
        count_refused(outer, &mut fates, &mut tally);
        tally.close(&fates);
        tally
    }

    #[test]
    fn each_copy_is_of_one_frame_that_crossed() {
        let crossed = || [frame(SMALL, true), frame(SMALL, true), frame(CUT, true)];
        let copy = |bytes| frame(bytes, false);
        let all = Tally { replayed: 3, crossed: 3, ..Tally::default() };
        for (what, decoded, outer, expected) in [
            ("none", vec![], vec![], all.clone()),
            ("one", vec![copy(SMALL)], vec![], Tally { arrived: 1, identical: 1, copies: 1, ..all.clone() }),
            (
                "one too many",
                vec![copy(SMALL); 3],
                vec![],
                Tally { arrived: 3, identical: 2, copies: 3, ..all.clone() },
            ),
            ("one that differs", vec![copy(OTHER)], vec![], Tally { arrived: 1, copies: 1, ..all.clone() }),
            ("what the decoder sends", vec![frame(SMALL, true)], vec![], all.clone()),
            (
                "one that the decoder refuses",
                vec![copy(SMALL); 2],
                vec![in_vxlan(SMALL), in_vxlan(SMALL), in_vxlan(CUT)],
                Tally { arrived: 3, identical: 3, from_outer: 1, copies: 3, ..all.clone() },
            ),
            ("one that it should have delivered", vec![], vec![in_vxlan(SMALL)], all.clone()),
        ] {
            assert_eq!(count(&crossed(), &decoded, &outer, &mut Chatter::new()), expected, "{what}");
        }
    }

    #[test]
    fn frames_that_never_crossed_are_missed() {
        for (what, originals, vanished, crossed, bystanders_lost) in [
            ("none", vec![], 3, 0, 0),
            ("one", vec![frame(SMALL, true)], 2, 1, 0),
            ("the wrong way", vec![frame(SMALL, false)], 3, 1, 1),
            ("another one", vec![frame(OTHER, true)], 3, 1, 1),
        ] {
            let expected = Tally { replayed: 3, vanished, crossed, bystanders_lost, ..Tally::default() };
            assert_eq!(count(&originals, &[], &[], &mut Chatter::new()), expected, "{what}");
        }
    }

    #[test]
    fn what_the_hosts_say_is_no_frame_of_ours_and_its_copy_may_come_later() {
        let mut chatter = Chatter::new();
        let first = count(&[frame(OTHER, false), frame(OTHER, true)], &[frame(OTHER, false)], &[], &mut chatter);
        assert_eq!((first.arrived, first.crossed, first.copies, first.bystanders_lost), (0, 2, 1, 1));
        let second = count(&[], &[frame(OTHER, false), frame(OTHER, false)], &[], &mut chatter);
        assert_eq!((second.arrived, second.identical, second.copies), (1, 0, 2), "the third copy is nobody's");
    }

    #[test]
    fn without_a_mirror_all_frames_cross_and_no_copy_arrives() {
        let hosts = ["client", "host", "collector"].map(|name| Host::new(name).unwrap());
        let [client, host, collector] = &hosts;
        for host in &hosts {
            let off = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            host.attempt("silencing IPv6", off).unwrap();
        }
        let port = |host, ifname| Port { host, ifname, addresses: &[] };
        connect(port(client, "eth0"), port(host, "eth0"), 1500).unwrap();
        connect(port(host, "eth1"), port(collector, "eth0"), 1500).unwrap();
        let record = |host: &Host| host.attempt("record", || Recorder::start("eth0")).unwrap();
        let send = |host: &Host| host.attempt("open a sender", || Sender::open("eth0")).unwrap();
        let bench = Bench {
            outside: send(client),
            inside: send(host),
            originals: record(host),
            outer: record(collector),
            decoded: record(collector),
        };
        // On a thread of its own, which stays on its CPU.
        std::thread::spawn(move || {
            let between = Ethernet::new([2; 6], [4; 6]);
            let mut frames: Vec<_> = (0..BURST as u64 + 50).map(|n| between.frame(0x88b6, &pattern(n, 100))).collect();
            frames.push(between.frame(TPID_8021Q, &[0, 7]));
            frames.push(between.frame(0x88b6, &[0; 1501]));
            let sent = BURST as u64 + 50;
            let mut replay = Replay::new(bench).unwrap();
            for (direction, refused) in [(Direction::Ingress, 2), (Direction::Egress, 1)] {
                let tally = replay.replay(direction, &frames).unwrap();
                assert_eq!(tally.replayed, sent + 2 - refused);
                assert_eq!(tally.not_sent.values().sum::<u64>(), refused, "{:?}", tally.not_sent);
                let (crossed, markers) = (tally.replayed + 2, 2);
                assert_eq!((tally.crossed, tally.vanished, tally.bystanders_lost), (crossed, 0, markers));
                assert_eq!((tally.arrived, tally.copies), (0, 0));
            }
        })
        .join()
        .unwrap();
    }
}
