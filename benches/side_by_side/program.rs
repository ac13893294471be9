//! The harness' own BPF programs, as instructions: too small for a compiler, and they share nothing with the datapath.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use ebmirror::kernel::hooks::tcx;
use ebmirror::lab::network::Host;
use ebmirror::model::interface::{Direction, Order};
use ebmirror::model::{Error, Result};

use super::flow::{ROW_BYTES, ROW_START, ROWS};

/// Where a row belongs in a frame.
const ROW_OFFSET: i16 = ROW_START as i16;

const XDP_PASS: i32 = 2;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
/// `ETH_P_IP` as `__sk_buff.protocol` holds it: in wire order.
const PROTOCOL_IPV4: i32 = 0x0800u16.to_be() as i32;
/// Offsets in `struct __sk_buff`.
const SKB_LEN: i16 = 0;
const SKB_PROTOCOL: i16 = 16;
const SKB_DATA: i16 = 76;
const SKB_DATA_END: i16 = 80;
/// Behind an IPv4 header without options.
const IPV4_END: i32 = 34;
/// Flags and fragment offset of IPv4, and the bits of the offset as they are loaded.
const FRAGMENT_OFFSET: i16 = 20;
const FRAGMENT_MASK: i32 = 0x1fffu16.to_be() as i32;
const CALL_CLONE_REDIRECT: i32 = 13;
const CALL_SMP_PROCESSOR_ID: i32 = 8;
/// A row of counters for each CPU, a cache line each.
const SINK_CPUS: usize = 64;
const SINK_LINE: usize = 64;

/// One instruction, as the kernel lays it out on a little-endian machine.
fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = immediate.to_le_bytes();
    u64::from_le_bytes([code, src << 4 | dst, low, high, a, b, c, d])
}

fn load_word(dst: u8, src: u8, offset: i16) -> u64 {
    instruction(0x61, dst, src, offset, 0)
}

fn load_double(dst: u8, src: u8, offset: i16) -> u64 {
    instruction(0x79, dst, src, offset, 0)
}

fn store_double(dst: u8, offset: i16, src: u8) -> u64 {
    instruction(0x7b, dst, src, offset, 0)
}

fn set(dst: u8, immediate: i32) -> u64 {
    instruction(0xb7, dst, 0, 0, immediate)
}

fn copy(dst: u8, src: u8) -> u64 {
    instruction(0xbf, dst, src, 0, 0)
}

fn add(dst: u8, immediate: i32) -> u64 {
    instruction(0x07, dst, 0, 0, immediate)
}

fn add_register(dst: u8, src: u8) -> u64 {
    instruction(0x0f, dst, src, 0, 0)
}

fn and(dst: u8, immediate: i32) -> u64 {
    instruction(0x57, dst, 0, 0, immediate)
}

fn shift_left(dst: u8, immediate: i32) -> u64 {
    instruction(0x67, dst, 0, 0, immediate)
}

fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

fn exit() -> u64 {
    instruction(0x95, 0, 0, 0, 0)
}

/// The address of the value of an array of one element.
fn value_address(dst: u8, map: &OwnedFd) -> [u64; 2] {
    const PSEUDO_MAP_VALUE: u8 = 2;
    [instruction(0x18, dst, PSEUDO_MAP_VALUE, 0, map.as_raw_fd()), 0]
}

/// An XDP program that gives each frame the next row of its table and passes it on: frames of many flows from one call.
pub struct Generator {
    program: OwnedFd,
}

impl Generator {
    /// With this table: the bytes from the TTL to the destination port of an IPv4 header without options.
    pub fn new(rows: &[[u8; ROW_BYTES]]) -> Result<Self> {
        let mut value = vec![0; 8];
        value.extend(rows.iter().cycle().take(ROWS).flatten());
        let map = array("bench_rows", value.len())?;
        write(&map, &value)?;
        let [address, continued] = value_address(1, &map);
        let instructions = [
            load_word(7, 1, 0),
            load_word(8, 1, 4),
            copy(2, 7),
            add(2, i32::from(ROW_OFFSET) + ROW_BYTES as i32),
            // To the end when the frame is shorter.
            instruction(0x2d, 2, 8, 13, 0),
            address,
            continued,
            load_double(2, 1, 0),
            copy(3, 2),
            add(3, 1),
            store_double(1, 0, 3),
            and(2, ROWS as i32 - 1),
            shift_left(2, ROW_BYTES.ilog2() as i32),
            add_register(1, 2),
            load_double(4, 1, 8),
            load_double(5, 1, 16),
            store_double(7, ROW_OFFSET, 4),
            store_double(7, ROW_OFFSET + 8, 5),
            set(0, XDP_PASS),
            exit(),
        ];
        Ok(Self { program: load(libbpf_sys::BPF_PROG_TYPE_XDP, "bench_rows", &instructions)? })
    }
}

impl AsFd for Generator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// A program at a device, for as long as this lives.
pub struct Attached {
    _link: OwnedFd,
}

/// A program that does nothing: what being looked at costs at least.
pub fn attach_empty(host: &Host, device: &str, direction: Direction) -> Result<Attached> {
    attach(host, device, direction, &[set(0, TCX_NEXT), exit()])
}

/// A program that clones each frame to another device as it is.
pub fn attach_clone(host: &Host, device: &str, direction: Direction, to: &str) -> Result<Attached> {
    let to = i32::try_from(host.link(to)?.ifindex).unwrap_or(i32::MAX);
    attach(host, device, direction, &[set(2, to), set(3, 0), call(CALL_CLONE_REDIRECT), set(0, TCX_NEXT), exit()])
}

/// Where the copies end: a program in front of the collector's stack that counts and drops all IPv4, so that what the
/// collector does with a copy is nobody's cost. The rest goes on.
pub struct Sink {
    map: OwnedFd,
    _attached: Attached,
}

/// What has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets as the kernel hands them over: a super-packet is one.
    pub packets: u64,
    /// With their Ethernet headers.
    pub bytes: u64,
    /// Those of the packets that are a fragment other than the first.
    pub fragments: u64,
}

impl Arrived {
    /// Packets, fragmented or not.
    pub fn copies(self) -> u64 {
        self.packets - self.fragments
    }
}

impl std::ops::Sub for Arrived {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
            fragments: self.fragments - earlier.fragments,
        }
    }
}

impl Sink {
    /// At a device of the collector.
    pub fn attach(host: &Host, device: &str) -> Result<Self> {
        let map = array("bench_sink", SINK_CPUS * SINK_LINE)?;
        let [address, continued] = value_address(1, &map);
        let instructions = [
            copy(6, 1),
            load_word(2, 6, SKB_PROTOCOL),
            // To the end when it is another protocol.
            instruction(0x55, 2, 0, 26, PROTOCOL_IPV4),
            call(CALL_SMP_PROCESSOR_ID),
            and(0, SINK_CPUS as i32 - 1),
            shift_left(0, SINK_LINE.ilog2() as i32),
            address,
            continued,
            add_register(1, 0),
            load_double(2, 1, 0),
            add(2, 1),
            store_double(1, 0, 2),
            load_word(3, 6, SKB_LEN),
            load_double(2, 1, 8),
            add_register(2, 3),
            store_double(1, 8, 2),
            load_word(7, 6, SKB_DATA),
            load_word(8, 6, SKB_DATA_END),
            copy(2, 7),
            add(2, IPV4_END),
            // To the verdict when the frame is shorter, and when it is no fragment or the first.
            instruction(0x2d, 2, 8, 6, 0),
            instruction(0x69, 2, 7, FRAGMENT_OFFSET, 0),
            and(2, FRAGMENT_MASK),
            instruction(0x15, 2, 0, 3, 0),
            load_double(2, 1, 16),
            add(2, 1),
            store_double(1, 16, 2),
            set(0, TCX_DROP),
            exit(),
            set(0, TCX_NEXT),
            exit(),
        ];
        let attached = attach(host, device, Direction::Ingress, &instructions)?;
        Ok(Self { map, _attached: attached })
    }

    /// All that has arrived up to now.
    pub fn arrived(&self) -> Result<Arrived> {
        let mut value = vec![0u8; SINK_CPUS * SINK_LINE];
        let key = 0u32;
        // SAFETY: the map's key is four bytes, and its value as long as the buffer.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(self.map.as_raw_fd(), (&raw const key).cast(), value.as_mut_ptr().cast())
        };
        check("read the counters of the sink", result)?;
        let mut all = Arrived::default();
        for line in value.chunks(SINK_LINE) {
            let number = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| line[at + byte]));
            all.packets += number(0);
            all.bytes += number(8);
            all.fragments += number(16);
        }
        Ok(all)
    }
}

fn attach(host: &Host, device: &str, direction: Direction, instructions: &[u64]) -> Result<Attached> {
    let program = load(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, "bench", instructions)?;
    let ifindex = host.link(device)?.ifindex;
    let link = host.attempt(format_args!("attaching a program to {device}"), || {
        let revision = tcx::query(ifindex, direction)?.revision;
        tcx::link(program.as_fd(), ifindex, direction, Some((Order::First, revision)))
    })?;
    Ok(Attached { _link: link })
}

fn load(kind: libbpf_sys::bpf_prog_type, name: &str, instructions: &[u64]) -> Result<OwnedFd> {
    let c_name = CString::new(name).unwrap_or_default();
    // SAFETY: an instruction is eight bytes, and the number of them is told; both strings end in zero; no options.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            kind,
            c_name.as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as libbpf_sys::size_t,
            std::ptr::null_mut(),
        )
    };
    check(format_args!("load the program {name}"), fd)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An array of one element.
fn array(name: &str, value_bytes: usize) -> Result<OwnedFd> {
    let c_name = CString::new(name).unwrap_or_default();
    // SAFETY: the name ends in zero; no options.
    let fd = unsafe {
        libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_ARRAY,
            c_name.as_ptr(),
            4,
            value_bytes as u32,
            1,
            std::ptr::null(),
        )
    };
    check(format_args!("create the map {name}"), fd)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn write(map: &OwnedFd, value: &[u8]) -> Result<()> {
    let key = 0u32;
    // SAFETY: the map's key is four bytes, and its value as long as the slice: both are this file's.
    let result =
        unsafe { libbpf_sys::bpf_map_update_elem(map.as_raw_fd(), (&raw const key).cast(), value.as_ptr().cast(), 0) };
    check("fill a map", result)
}

fn check(what: impl std::fmt::Display, result: i32) -> Result<()> {
    if result < 0 { Err(Error::io(what, &io::Error::from_raw_os_error(-result))) } else { Ok(()) }
}
