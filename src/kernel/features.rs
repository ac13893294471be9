//! What this kernel can do. One probe a feature, each with the version that brought it.

use std::io;
use std::os::fd::BorrowedFd;

use super::hooks::tcx;
use crate::model::interface::Direction;

/// No device has this number: the kernel counts up from 1 and does not come this far.
const NO_DEVICE: u32 = i32::MAX as u32;

/// TCX links (kernel 6.6). A link to a device that does not exist is ENODEV where the kernel knows them, EINVAL where not.
/// Without side effects.
pub fn has_tcx(program: BorrowedFd<'_>) -> bool {
    let result = tcx::link(program, NO_DEVICE, Direction::Ingress, None);
    result.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}

/// Whether bpf_fib_lookup tells the source address of a route: BPF_FIB_LOOKUP_SRC, kernel 6.7. Older kernels refuse the
/// flag at run time, so that it cannot be tried without a packet: the version decides.
pub fn fib_tells_source() -> bool {
    release().is_some_and(|version| version >= (6, 7))
}

/// The kernel's version: major, minor.
fn release() -> Option<(u32, u32)> {
    let name = nix::sys::utsname::uname().ok()?;
    parse_release(name.release().to_str()?)
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Whether this process may open maps and change the network: root, or CAP_BPF and CAP_NET_ADMIN.
pub fn may_use() -> io::Result<bool> {
    const CAP_NET_ADMIN: u64 = 12;
    const CAP_BPF: u64 = 39;
    Ok(has_capability(CAP_NET_ADMIN)? && has_capability(CAP_BPF)?)
}

/// Whether it may load the datapath as well: without CAP_PERFMON the verifier allows no packet offset that depends on the
/// packet (the length of an IP header).
pub fn may_load() -> io::Result<bool> {
    const CAP_PERFMON: u64 = 38;
    Ok(may_use()? && has_capability(CAP_PERFMON)?)
}

/// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, which kernel 5.8 split off it.
fn has_capability(capability: u64) -> io::Result<bool> {
    const CAP_SYS_ADMIN: u64 = 21;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u64| effective >> capability & 1 == 1;
    Ok(has(capability) || (capability > 31 && has(CAP_SYS_ADMIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_every_distribution_are_read() {
        for (text, version) in
            [("6.18.44-fc-v769", (6, 18)), ("6.1.0-37-amd64", (6, 1)), ("5.15.0-1071-aws", (5, 15)), ("7.0", (7, 0))]
        {
            assert_eq!(parse_release(text), Some(version), "{text}");
        }
        assert_eq!(parse_release("linux"), None);
    }
}
