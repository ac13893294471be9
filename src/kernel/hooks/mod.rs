//! Where programs meet packets: TCX links on kernels that have them, clsact with cls_bpf on all others. What others
//! have attached is listed and never touched.

pub mod tc;
pub mod tcx;

use std::os::fd::{AsFd, BorrowedFd};

use super::netlink::Netlink;
use super::programs;
use crate::model::interface::{Direction, Mode, ModeChoice};
use crate::model::{Error, Result};

/// A program at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The hook.
    pub mode: Mode,
    /// The kernel's number; 0 for a tc filter that is no BPF program.
    pub id: u32,
    /// Its name, where this process may know it; of a filter, its kind.
    pub name: String,
    /// How to find it: a TCX position, or a tc priority and handle.
    pub place: String,
}

/// Everything attached to a device, in the order in which a packet meets it: TCX first, then tc.
pub fn programs(netlink: &Netlink, ifindex: u32, direction: Direction) -> Result<Vec<Attached>> {
    let chain = match tcx::query(ifindex, direction) {
        // Before 6.6 there is no TCX, on a device that is gone no hook: nothing is attached.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => tcx::Chain::default(),
        other => other.map_err(|error| Error::io("list the TCX programs", &error))?,
    };
    let mut found: Vec<Attached> = (1..)
        .zip(&chain.programs)
        .map(|(position, id)| {
            let name = programs::describe_id(*id).map_or_else(|| "(unknown)".to_owned(), |program| program.name);
            Attached { mode: Mode::Tcx, id: *id, name, place: format!("tcx {position}") }
        })
        .collect();
    for filter in tc::filters(netlink, ifindex, direction)? {
        let id = filter.bpf.as_ref().and_then(|bpf| bpf.id).unwrap_or(0);
        let known = programs::describe_id(id).map(|program| program.name);
        let named = filter.bpf.as_ref().map(|bpf| bpf.name.clone()).filter(|name| !name.is_empty());
        found.push(Attached {
            mode: Mode::Tc,
            id,
            // The filter's own name, which does not need CAP_SYS_ADMIN, is the program's where we attached it.
            name: known.or(named).unwrap_or(filter.kind),
            place: format!("tc priority {} handle {:#x}", filter.priority, filter.handle),
        });
    }
    Ok(found)
}

/// The hook that a choice means on this device.
pub fn choose(choice: ModeChoice, ifindex: u32, direction: Direction) -> Mode {
    match choice {
        ModeChoice::Tc => Mode::Tc,
        ModeChoice::Tcx => Mode::Tcx,
        ModeChoice::Auto if tcx::query(ifindex, direction).is_ok() => Mode::Tcx,
        ModeChoice::Auto => Mode::Tc,
    }
}

/// The kernel's number of a program.
pub fn id(program: BorrowedFd<'_>) -> Result<u32> {
    programs::describe(program.as_fd())
        .map(|program| program.id)
        .map_err(|error| Error::io("describe a pinned program", &error))
}
