//! Programs of somebody else on the devices of a rig.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::ffi::CString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use ebmirror::kernel::hooks::tcx;
use ebmirror::lab::network::Host;
use ebmirror::model::interface::{Direction, Order};

/// Loads a tc program made of these instructions, each in host order as the kernel wants it.
pub fn load(name: &str, instructions: &[u64]) -> OwnedFd {
    let (name, license) = (CString::new(name).unwrap(), c"GPL");
    // SAFETY: an instruction is eight bytes, and the number of them is told; both strings end in zero; no options.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            name.as_ptr(),
            license.as_ptr(),
            instructions.as_ptr().cast(),
            instructions.len() as u64,
            std::ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "load a program: {}", std::io::Error::from_raw_os_error(-fd));
    // SAFETY: the kernel has just made it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Puts a program into the TCX chain of a device, for as long as the link lives.
pub fn attach(program: &OwnedFd, host: &Host, device: &str, direction: Direction, order: Order) -> OwnedFd {
    let ifindex = host.link(device).unwrap().ifindex;
    host.run(|| {
        let revision = tcx::query(ifindex, direction).unwrap().revision;
        tcx::link(program.as_fd(), ifindex, direction, Some((order, revision))).unwrap()
    })
    .unwrap()
}
