//! A mirror in user space: a ring that the kernel shares (TPACKET_V3), and a datagram for each frame that stands in it,
//! without a copy in between, on a processor of its own. A system call a datagram, or one for many.

use std::ffi::c_void;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ebmirror::lab::network::Host;
use ebmirror::model::{Error, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::lane::{COLLECTOR, TAP, VNI, VXLAN_PORT};
use super::traffic::{Softirqs, pin, thread_time};

/// Together they hold a whole run of small frames: what the mirror does not do at once it does afterwards.
const BLOCKS: usize = 256;
const BLOCK_BYTES: usize = 1 << 20;
/// After so long a block is handed over that is not full.
const RETIRE_MS: u32 = 2;
/// Longer than a tick of any kernel.
const TICK: Duration = Duration::from_millis(11);
const BATCH: usize = 64;
/// What a frame begins with in the ring, and what the ring is checked with.
const FRAME_BYTES: usize = 2048;
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// How it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// A system call a frame, as programs do.
    One,
    /// `sendmmsg`, many frames a call.
    Many,
}

/// It runs as long as this lives.
pub struct Userspace {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    statistics: PathBuf,
    softirqs: Softirqs,
}

impl Userspace {
    /// On a host, at its tap, on this processor.
    pub fn start(host: &Host, cpu: usize, sending: Sending) -> Result<Self> {
        let (ring, socket) = host.attempt("opening a ring", || Ok((Ring::open()?, open_sender()?)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicU32::new(0));
        let (told, shared) = (Arc::clone(&stop), Arc::clone(&number));
        let work = move || {
            shared.store(nix::unistd::gettid().as_raw() as u32, Ordering::Release);
            // Where it cannot be pinned or cannot send, copies are missing, and nothing is counted.
            let _ = pin(cpu).and_then(|()| ring.mirror(&socket, sending, &told));
        };
        let thread = std::thread::Builder::new().name("mirror".into()).spawn(work);
        let thread = thread.map_err(|error| Error::io("start a thread", &error))?;
        while number.load(Ordering::Acquire) == 0 && !thread.is_finished() {
            std::thread::yield_now();
        }
        let statistics = format!("/proc/self/task/{}/schedstat", number.load(Ordering::Acquire)).into();
        Ok(Self { stop, thread: Some(thread), statistics, softirqs: Softirqs::of(cpu) })
    }

    /// What its thread has used of its processor, once it has nothing to do: the kernel books the time of a thread that
    /// runs with the next tick. What it sends is delivered by soft interrupts, which run on its account or, where they
    /// become too much, on that of the kernel's thread for them.
    pub fn time(&self) -> Duration {
        std::thread::sleep(TICK);
        thread_time(&self.statistics) + self.softirqs.time()
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open_sender() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES)?;
    socket.connect((COLLECTOR, VXLAN_PORT))?;
    Ok(socket)
}

/// A packet socket and the memory that it shares with the kernel.
struct Ring {
    socket: OwnedFd,
    memory: *mut u8,
}

// SAFETY: the memory belongs to this value alone, whichever thread holds it.
unsafe impl Send for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing points to it any more.
        unsafe { libc::munmap(self.memory.cast(), BLOCKS * BLOCK_BYTES) };
    }
}

impl Ring {
    fn open() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        check(fd)?;
        // SAFETY: the kernel has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&socket, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V3)?;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: BLOCKS as u32,
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: (BLOCKS * BLOCK_BYTES / FRAME_BYTES) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping, of the size that the ring was made with.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCKS * BLOCK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = Self { socket, memory: memory.cast() };
        let name = std::ffi::CString::new(TAP)?;
        // SAFETY: all-zero bytes are a valid value of this plain C structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the name ends in zero and outlives the call.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address is readable for the length told, and outlives the call.
        check(unsafe { libc::bind(ring.socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(ring)
    }

    /// Sends all that comes, behind a VXLAN header, until it is told to stop.
    fn mirror(&self, socket: &UdpSocket, sending: Sending, stop: &AtomicBool) -> io::Result<()> {
        let mut header = [0x08, 0, 0, 0, 0, 0, 0, 0];
        header[4..7].copy_from_slice(&VNI.to_be_bytes()[1..]);
        let mut number = 0;
        while !stop.load(Ordering::Acquire) {
            // SAFETY: the number is below BLOCKS, so the block lies in the mapping, and begins with this structure.
            let block = unsafe { self.memory.add(number * BLOCK_BYTES).cast::<libc::tpacket_block_desc>() };
            // SAFETY: the structure is mapped, and the kernel writes the word as a whole.
            let status = unsafe { &*(&raw const (*block).hdr.bh1.block_status).cast::<AtomicU32>() };
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                let mut wait = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one structure, writable, which outlives the call.
                unsafe { libc::poll(&raw mut wait, 1, 50) };
                continue;
            }
            // SAFETY: the block is ours until its status is given back.
            unsafe {
                match sending {
                    Sending::One => send_each(block, &header, socket),
                    Sending::Many => send_many(block, &header, socket),
                }
            }?;
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            number = (number + 1) % BLOCKS;
        }
        Ok(())
    }
}

/// Sends the frames of a block, one a call: the header is written into the room in front of the frame, and nothing is copied.
///
/// # Safety
/// The block is mapped, and the kernel has handed it over.
unsafe fn send_each(block: *mut libc::tpacket_block_desc, header: &[u8; 8], socket: &UdpSocket) -> io::Result<()> {
    // SAFETY: the caller's promise.
    let (count, first) = unsafe { ((*block).hdr.bh1.num_pkts, (*block).hdr.bh1.offset_to_first_pkt) };
    // SAFETY: the kernel's offset lies in the block.
    let mut packet = unsafe { block.cast::<u8>().add(first as usize).cast::<libc::tpacket3_hdr>() };
    for _ in 0..count {
        // SAFETY: the block holds so many packets, each of which tells where its bytes and the next one begin. In front of
        // the bytes there is the address of where they came from, which nobody needs: longer than the header.
        let (datagram, next) = unsafe {
            let frame = packet.cast::<u8>().byte_add(usize::from((*packet).tp_mac));
            let start = frame.byte_sub(header.len());
            std::ptr::copy_nonoverlapping(header.as_ptr(), start, header.len());
            let length = header.len() + (*packet).tp_snaplen as usize;
            (std::slice::from_raw_parts(start, length), packet.byte_add((*packet).tp_next_offset as usize))
        };
        socket.send(datagram)?;
        packet = next;
    }
    Ok(())
}

/// Sends the frames of a block, many a call.
///
/// # Safety
/// The block is mapped, and the kernel has handed it over.
unsafe fn send_many(block: *mut libc::tpacket_block_desc, header: &[u8; 8], socket: &UdpSocket) -> io::Result<()> {
    // SAFETY: the caller's promise.
    let (count, first) = unsafe { ((*block).hdr.bh1.num_pkts, (*block).hdr.bh1.offset_to_first_pkt) };
    // SAFETY: all-zero bytes are a valid value of these plain C structures.
    let mut parts: [[libc::iovec; 2]; BATCH] = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel's offset lies in the block.
    let mut packet = unsafe { block.cast::<u8>().add(first as usize).cast::<libc::tpacket3_hdr>() };
    let mut left = count as usize;
    while left > 0 {
        let size = left.min(BATCH);
        for (part, message) in parts.iter_mut().zip(&mut messages).take(size) {
            // SAFETY: the block holds so many packets, each of which tells where its bytes and the next one begin.
            unsafe {
                part[0] = libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() };
                part[1] = libc::iovec {
                    iov_base: packet.cast::<c_void>().byte_add(usize::from((*packet).tp_mac)),
                    iov_len: (*packet).tp_snaplen as usize,
                };
                packet = packet.byte_add((*packet).tp_next_offset as usize);
            }
            message.msg_hdr.msg_iov = part.as_mut_ptr();
            message.msg_hdr.msg_iovlen = part.len();
        }
        let mut sent = 0;
        while sent < size {
            // SAFETY: the messages point to parts, which point to the header and the block: all outlive the call.
            let result = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), messages[sent..].as_mut_ptr(), (size - sent) as libc::c_uint, 0)
            };
            sent += usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        }
        left -= size;
    }
    Ok(())
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is readable for its length, and outlives the call.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, std::ptr::from_ref(value).cast(), length)
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
