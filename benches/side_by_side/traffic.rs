//! Traffic that is timed: frames injected at the tap's ingress, a connected UDP sender, a packet socket.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use ebmirror::lab::capture::Sender;
use ebmirror::lab::classbench::Packet5;
use ebmirror::lab::random::Random;
use ebmirror::model::Result;
use ebmirror::model::interface::Direction;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::flow::{Mix, frame};
use super::lane::{Lane, TAP};
use super::program::Generator;

/// Frames of one trip into the kernel: as many as a network card hands over at a time.
const BATCH: usize = 64;
/// Less than what waits on a processor at most: net.core.netdev_max_backlog is 1,000.
const QUEUE: u32 = 512;
/// Where nobody reads.
pub const UDP_PORT: u16 = 5201;
/// Where they come from.
pub const UDP_SOURCE: u16 = 33_333;
/// Bytes of headers around a datagram's payload.
const UDP_HEADERS: usize = 42;
/// `struct virtio_net_hdr`, which the laboratory's packet sockets expect in front of each frame.
const VNET_HEADER_BYTES: usize = 10;
/// Different frames of a packet socket.
const PACKET_FRAMES: usize = 1024;

/// Lets the calling thread run on this processor alone.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Something that sends frames and knows how long it took.
pub trait Traffic: Sync {
    /// Sends so many frames through the lane, on this processor.
    fn send(&self, lane: &Lane, cpu: usize, count: usize) -> Result<Duration>;
}

/// XDP live frames: the kernel itself makes them, and they enter the stack at the tap's ingress as a network card's do,
/// with headroom, and without a sender whose cost would hide the mirror's.
pub struct Live {
    generator: Generator,
    frame: Vec<u8>,
    batch: u32,
}

impl Live {
    /// Frames of this length of these flows.
    pub fn new(flows: &[Packet5], mix: Mix, length: usize, random: &mut Random) -> Result<Self> {
        let generator = Generator::new(&mix.rows(flows, length, random))?;
        Ok(Self { generator, frame: frame(&flows[0], length), batch: BATCH as u32 })
    }

    /// The same in portions that a queue of a thousand packets holds, as many times copied.
    pub fn copied(self, times: u32) -> Self {
        Self { batch: self.batch.min(QUEUE / times), ..self }
    }

    fn inject(&self, ifindex: u32, count: usize) -> io::Result<Duration> {
        let context = libbpf_sys::xdp_md {
            data_end: self.frame.len() as u32,
            ingress_ifindex: ifindex,
            ..libbpf_sys::xdp_md::default()
        };
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            data_in: self.frame.as_ptr().cast(),
            data_size_in: self.frame.len() as u32,
            ctx_in: (&raw const context).cast(),
            ctx_size_in: size_of::<libbpf_sys::xdp_md>() as u32,
            repeat: i32::try_from(count).map_err(io::Error::other)?,
            flags: libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: self.batch,
            ..libbpf_sys::bpf_test_run_opts::default()
        };
        let program = self.generator.as_fd().as_raw_fd();
        // SAFETY: frame and context are readable for the lengths told, and outlive the call.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program, &raw mut options) };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        // The kernel's own time for a frame: around the loop alone. The call waits for an RCU grace period besides, which
        // takes as long as tens of thousands of frames, and never equally long.
        Ok(Duration::from_nanos(u64::from(options.duration)) * count as u32)
    }
}

impl Traffic for Live {
    fn send(&self, lane: &Lane, cpu: usize, count: usize) -> Result<Duration> {
        let ifindex = lane.host.link(TAP)?.ifindex;
        let softirqs = Softirqs::of(cpu);
        lane.host.attempt("injecting XDP live frames", || {
            pin(cpu)?;
            let before = softirqs.time();
            let took = self.inject(ifindex, count)?;
            // Copies that the kernel put off, to be delivered by that thread, are a part of the cost.
            Ok(took + softirqs.time().saturating_sub(before))
        })
    }
}

/// The kernel's thread for the interrupt work of a processor that does not get done in passing.
pub struct Softirqs {
    statistics: Option<PathBuf>,
}

impl Softirqs {
    /// That of a processor.
    pub fn of(cpu: usize) -> Self {
        let name = format!("ksoftirqd/{cpu}\n");
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let mut threads =
            processes.filter(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name));
        Self { statistics: threads.next().map(|path| path.join("schedstat")) }
    }

    /// How long it has run; nothing where the kernel does not say.
    pub fn time(&self) -> Duration {
        self.statistics.as_deref().map_or(Duration::ZERO, thread_time)
    }
}

/// How long a thread has run, from its `schedstat`; nothing where the kernel does not say.
pub fn thread_time(schedstat: &Path) -> Duration {
    let text = std::fs::read_to_string(schedstat).ok();
    let nanoseconds = text.and_then(|text| text.split(' ').next()?.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Datagrams from a connected socket through the whole stack to a socket that nobody reads. One flow.
pub struct Udp {
    pub direction: Direction,
    /// Of the frame.
    pub length: usize,
}

impl Traffic for Udp {
    fn send(&self, lane: &Lane, cpu: usize, count: usize) -> Result<Duration> {
        let (from, to, address) = lane.ends(self.direction);
        // Small, and soon full: what is sent then ends as late as it can without a reader.
        let reader = to.attempt("opening the UDP receiver", || {
            let socket = UdpSocket::bind((address, UDP_PORT))?;
            setsockopt(&socket, sockopt::RcvBuf, &4096)?;
            Ok(socket)
        })?;
        let payloads = [vec![0x5a; self.length.saturating_sub(UDP_HEADERS)]];
        let took = from.attempt("sending datagrams", || {
            pin(cpu)?;
            let socket = UdpSocket::bind(("0.0.0.0", UDP_SOURCE))?;
            socket.connect((address, UDP_PORT))?;
            let mut batch = Batch::new(&payloads);
            batch.send(socket.as_raw_fd(), BATCH)?;
            batch.send_timed(socket.as_raw_fd(), &Softirqs::of(cpu), count)
        });
        drop(reader);
        took
    }
}

/// Frames of many flows from a packet socket, to nobody.
pub struct Packet {
    direction: Direction,
    frames: Vec<Vec<u8>>,
}

impl Packet {
    pub fn new(flows: &[Packet5], length: usize, direction: Direction) -> Self {
        let with_header = |flow: &Packet5| [&[0; VNET_HEADER_BYTES], &frame(flow, length)[..]].concat();
        Self { direction, frames: flows.iter().cycle().take(PACKET_FRAMES).map(with_header).collect() }
    }
}

impl Packet {
    /// Waits for the others, if there are any, once it is warm.
    fn send_from(&self, cpu: usize, count: usize, others: Option<&Barrier>) -> io::Result<Duration> {
        pin(cpu)?;
        let (socket, softirqs) = (Sender::open(TAP)?, Softirqs::of(cpu));
        let mut batch = Batch::new(&self.frames);
        batch.send(socket.as_fd().as_raw_fd(), BATCH)?;
        if let Some(others) = others {
            others.wait();
        }
        batch.send_timed(socket.as_fd().as_raw_fd(), &softirqs, count)
    }
}

impl Traffic for Packet {
    fn send(&self, lane: &Lane, cpu: usize, count: usize) -> Result<Duration> {
        let (from, _, _) = lane.ends(self.direction);
        from.attempt("sending frames", || self.send_from(cpu, count, None))
    }
}

/// The same from the processor and from another one at the same time: twice the frames, and the mean of both times.
pub struct Pair(pub Packet);

impl Traffic for Pair {
    fn send(&self, lane: &Lane, cpu: usize, count: usize) -> Result<Duration> {
        let (from, _, _) = lane.ends(self.0.direction);
        let barrier = Barrier::new(2);
        let one = |cpu| from.attempt("sending frames", || self.0.send_from(cpu, count, Some(&barrier)));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| one(other_cpu(cpu)));
            let took = one(cpu)?;
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((took + other) / 2)
        })
    }
}

/// Another processor than this one, where there is one.
pub fn other_cpu(cpu: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    (cpu + processors - 1) % processors
}

/// Messages for `sendmmsg`, one a payload, at least a batch of them.
struct Batch<'a> {
    parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
    next: usize,
    _payloads: std::marker::PhantomData<&'a [Vec<u8>]>,
}

impl<'a> Batch<'a> {
    fn new(payloads: &'a [Vec<u8>]) -> Self {
        let part =
            |payload: &Vec<u8>| libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        let count = payloads.len().next_multiple_of(BATCH);
        let mut parts: Vec<libc::iovec> = payloads.iter().cycle().take(count).map(part).collect();
        let message = |part: &mut libc::iovec| {
            // SAFETY: all-zero bytes are a valid value of this plain C structure.
            let mut message: libc::mmsghdr = unsafe { zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = parts.iter_mut().map(message).collect();
        Self { parts, messages, next: 0, _payloads: std::marker::PhantomData }
    }

    /// Sends so many less those of the warm-up, and tells what all would have taken: the processor time of this thread and of
    /// the kernel's that delivers what it could not in passing. Where nobody else wants the processor that is the time by the
    /// clock.
    fn send_timed(&mut self, socket: libc::c_int, softirqs: &Softirqs, count: usize) -> io::Result<Duration> {
        let now = || -> io::Result<Duration> {
            Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?) + softirqs.time())
        };
        let start = now()?;
        self.send(socket, count - BATCH)?;
        let took = now()?.saturating_sub(start);
        Ok(took.mul_f64(count as f64 / (count - BATCH) as f64))
    }

    fn send(&mut self, socket: libc::c_int, count: usize) -> io::Result<()> {
        debug_assert_eq!(self.parts.len(), self.messages.len());
        let mut left = count;
        while left > 0 {
            let size = BATCH.min(left).min(self.messages.len() - self.next);
            let messages = &mut self.messages[self.next..self.next + size];
            // SAFETY: each message points to one part, which points to a payload that outlives this; none is moved.
            let sent = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), size as libc::c_uint, 0) };
            let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
            left -= sent;
            self.next = (self.next + sent) % self.messages.len();
        }
        Ok(())
    }
}
