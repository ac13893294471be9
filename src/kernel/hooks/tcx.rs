//! TCX (kernel 6.6): links at a device's ingress or egress, in an order.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::model::interface::{Direction, Order};

fn attach_type(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    }
}

/// The programs of a hook, in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The kernel's numbers.
    pub programs: Vec<u32>,
    /// Changes with every change of the chain.
    pub revision: u64,
}

/// Programs a hook can hold: BPF_MPROG_MAX of the kernel.
const CHAIN_MAX: usize = 64;

/// What is attached. Errors: ENODEV, EPERM, EINVAL where the kernel has no TCX.
pub fn query(ifindex: u32, direction: Direction) -> io::Result<Chain> {
    let mut programs = [0u32; CHAIN_MAX];
    // SAFETY: an all-zero options structure is valid, and the fields set below are all that is used.
    let mut options: libbpf_sys::bpf_prog_query_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_prog_query_opts>() as libbpf_sys::size_t;
    options.prog_ids = programs.as_mut_ptr();
    options.__bindgen_anon_1.prog_cnt = CHAIN_MAX as u32;
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: prog_ids has room for prog_cnt numbers.
    let result = unsafe { libbpf_sys::bpf_prog_query_opts(target, attach_type(direction), &mut options) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has written the count.
    let count = unsafe { options.__bindgen_anon_1.prog_cnt } as usize;
    Ok(Chain { programs: programs[..count.min(CHAIN_MAX)].to_vec(), revision: options.revision })
}

/// Attaches a program; the link holds it until it is closed and unpinned. With a place: there, and only when the
/// chain is still of this revision (ESTALE otherwise).
pub fn link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    direction: Direction,
    place: Option<(Order, u64)>,
) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero options structure is valid: append, any revision.
    let mut options: libbpf_sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t;
    if let Some((order, revision)) = place {
        options.flags = match order {
            Order::First => libbpf_sys::BPF_F_BEFORE,
            Order::Last => libbpf_sys::BPF_F_AFTER,
        };
        options.__bindgen_anon_1.tcx.expected_revision = revision;
    }
    let target = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: a live program descriptor and options of the stated size.
    let fd = unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), target, attach_type(direction), &options) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches the link's program at once, whoever else holds the link. A device that is gone is detached already.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a live descriptor.
    let result = unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) };
    match -result {
        0 | libc::ENOLINK => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Puts another program into the link, in place: no packet passes in between.
pub fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two live descriptors; no options.
    let result = unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) };
    match -result {
        0 | libc::ENOLINK => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
