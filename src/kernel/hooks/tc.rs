//! clsact and cls_bpf in direct-action mode, for kernels before 6.6 and for --mode tc.

use std::os::fd::BorrowedFd;

use crate::kernel::netlink::{CLSACT_EGRESS, CLSACT_INGRESS, Filter, Netlink};
use crate::model::interface::{Direction, Order};
use crate::model::{Code, Error, Result};

/// Handles of others are counted up from 1; this one says whose filter it is.
const HANDLE: u32 = 0x00eb_0001;
/// Where the last filter goes when nobody is behind it: room is left for those who want to be.
const LAST: u16 = 0xf000;

fn parent(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => CLSACT_INGRESS,
        Direction::Egress => CLSACT_EGRESS,
    }
}

/// The qdisc at a device's ingress hook, which clsact and ingress share.
fn ingress_qdisc(netlink: &Netlink, ifindex: u32) -> Result<Option<String>> {
    let qdiscs = netlink.qdiscs(ifindex).map_err(|error| error.context("list the qdiscs"))?;
    Ok(qdiscs.into_iter().map(|qdisc| qdisc.kind).find(|kind| kind == "clsact" || kind == "ingress"))
}

/// The filters of a clsact qdisc, in order. Without clsact there are none.
pub fn filters(netlink: &Netlink, ifindex: u32, direction: Direction) -> Result<Vec<Filter>> {
    if ingress_qdisc(netlink, ifindex)?.as_deref() != Some("clsact") {
        return Ok(Vec::new());
    }
    netlink.filters(ifindex, parent(direction)).map_err(|error| error.context("list the tc filters"))
}

/// Sees to a clsact qdisc. True when it was made here.
pub fn ensure_clsact(netlink: &Netlink, ifindex: u32, interface: &str) -> Result<bool> {
    check_clsact(netlink, ifindex, interface)?;
    if ingress_qdisc(netlink, ifindex)?.is_some() {
        return Ok(false);
    }
    netlink.add_clsact(ifindex).map_err(|error| {
        let new = error.context(&format!("add a clsact qdisc to {interface}"));
        match error.raw_os_error() {
            Some(libc::ENOENT) => {
                Error { code: Code::Unsupported, ..new }.hint("load the module: modprobe sch_ingress")
            }
            _ => new,
        }
    })?;
    Ok(true)
}

/// Refuses a device whose ingress hook holds an `ingress` qdisc: a filter meant for egress would land on ingress there.
pub fn check_clsact(netlink: &Netlink, ifindex: u32, interface: &str) -> Result<()> {
    match ingress_qdisc(netlink, ifindex)?.as_deref() {
        Some("ingress") => {
            Err(Error::new(Code::Conflict, format!("{interface} has an ingress qdisc that ebmirror did not make"))
                .hint(format!(
                    "use --mode tcx where the kernel has it, or replace it by clsact: tc qdisc show dev {interface}"
                )))
        }
        _ => Ok(()),
    }
}

/// Attaches a program, before or behind all filters of others, and in the place of ours: two would mirror each frame twice.
pub fn attach(
    netlink: &Netlink,
    ifindex: u32,
    direction: Direction,
    order: Order,
    program: BorrowedFd<'_>,
    name: &str,
) -> Result<()> {
    detach(netlink, ifindex, direction, name)?;
    let others = filters(netlink, ifindex, direction)?;
    let priority = place(&others.iter().map(|filter| filter.priority).collect::<Vec<_>>(), order);
    netlink
        .add_bpf_filter(ifindex, parent(direction), priority, HANDLE, program, name)
        .map(drop)
        .map_err(|error| error.context(&format!("add a tc filter of priority {priority}")))
}

/// The priority: 1 is first. Where somebody sits at the end of the range, the nearest free one within it.
fn place(taken: &[u16], order: Order) -> u16 {
    let free = |priority: &u16| !taken.contains(priority);
    let found = match order {
        Order::First => (1..=u16::MAX).find(free),
        Order::Last => {
            let behind = taken.iter().max().map_or(LAST, |last| last.saturating_add(1).max(LAST));
            (behind..=u16::MAX).find(free).or_else(|| (1..=u16::MAX).rev().find(free))
        }
    };
    found.unwrap_or(LAST)
}

/// Whether we attached this filter. By name and handle, not by program: it may hold the one of an earlier version, or of an
/// instance whose pins are gone.
fn is_ours(filter: &Filter, name: &str) -> bool {
    filter.handle == HANDLE && filter.bpf.as_ref().is_some_and(|bpf| bpf.name == name)
}

/// Whether a filter of ours of this name is there.
pub fn is_attached(netlink: &Netlink, ifindex: u32, direction: Direction, name: &str) -> Result<bool> {
    Ok(filters(netlink, ifindex, direction)?.iter().any(|filter| is_ours(filter, name)))
}

/// Removes our filters of this name. True when there was one.
pub fn detach(netlink: &Netlink, ifindex: u32, direction: Direction, name: &str) -> Result<bool> {
    let mut removed = false;
    for filter in filters(netlink, ifindex, direction)?.iter().filter(|filter| is_ours(filter, name)) {
        netlink
            .delete_filter(ifindex, parent(direction), filter.priority, filter.handle)
            .map_err(|error| error.context("delete the tc filter"))?;
        removed = true;
    }
    Ok(removed)
}

/// Puts another program into our filters of this name, in place.
pub fn replace(
    netlink: &Netlink,
    ifindex: u32,
    direction: Direction,
    program: BorrowedFd<'_>,
    name: &str,
) -> Result<()> {
    for filter in filters(netlink, ifindex, direction)?.iter().filter(|filter| is_ours(filter, name)) {
        netlink
            .replace_bpf_filter(ifindex, parent(direction), filter.priority, filter.handle, program, name)
            .map_err(|error| error.context("replace the tc filter"))?;
    }
    Ok(())
}

/// Removes a clsact qdisc in which no filter is left. True when it is gone.
pub fn remove_clsact_if_unused(netlink: &Netlink, ifindex: u32) -> Result<bool> {
    for direction in Direction::ALL {
        if !filters(netlink, ifindex, direction)?.is_empty() {
            return Ok(false);
        }
    }
    if ingress_qdisc(netlink, ifindex)?.as_deref() == Some("clsact") {
        netlink.delete_clsact(ifindex).map_err(|error| error.context("delete the clsact qdisc"))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_goes_before_or_behind_those_of_others() {
        for (taken, order, priority) in [
            (&[][..], Order::First, 1),
            (&[49152], Order::First, 1),
            (&[1, 2], Order::First, 3),
            (&[], Order::Last, LAST),
            (&[1, 49152], Order::Last, LAST),
            (&[LAST], Order::Last, LAST + 1),
            (&[u16::MAX], Order::Last, u16::MAX - 1),
        ] {
            assert_eq!(place(taken, order), priority, "{taken:?} {order:?}");
        }
    }
}
