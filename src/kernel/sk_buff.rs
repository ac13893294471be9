//! Where this kernel's packet, `struct sk_buff`, has what no helper of BPF tells: its layout differs from kernel to kernel, and
//! the kernel's own types (BTF, /sys/kernel/btf/vmlinux) say what it is. Nothing here is needed: without it the checksums that
//! copies leave unfinished are finished by the bridge.

use libbpf_rs::ProgramType;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{Composite, MemberAttr, Struct};

/// Offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `csum_start`, 16 bits; `csum_offset` behind it.
    pub checksum: u16,
    /// `head`, a pointer; `data` behind it.
    pub head: u16,
}

/// The layout; or nothing, where the kernel does not tell it, or does not let programs read its memory (lockdown), or has what
/// belongs together in different places.
pub fn layout() -> Option<Layout> {
    let readable = ProgramType::SchedCls.is_helper_supported(libbpf_sys::BPF_FUNC_probe_read_kernel);
    if !readable.unwrap_or(false) {
        return None;
    }
    // Not Btf::from_vmlinux: it looks for files as well, which may be of another kernel.
    let btf = Btf::from_path("/sys/kernel/btf/vmlinux").ok()?;
    let packet = btf.type_by_name::<Struct<'_>>("sk_buff")?.into();
    let place = |name| Some(member(&btf, &packet, name)? / 8);
    let (checksum, head) = (place("csum_start")?, place("head")?);
    if place("csum_offset")? != checksum + 2 || place("data")? != head + 8 {
        return None;
    }
    Some(Layout { checksum: checksum.try_into().ok()?, head: head.try_into().ok()? })
}

/// Where the member is, in bits; those of structures and unions without a name are members as well.
fn member(btf: &Btf<'_>, of: &Composite<'_>, name: &str) -> Option<u32> {
    of.iter().find_map(|member| match (member.name, member.attr) {
        (Some(own), MemberAttr::Normal { offset }) => (own == name).then_some(offset),
        (None, MemberAttr::Normal { offset }) => Some(offset + self::member(btf, &btf.type_by_id(member.ty)?, name)?),
        (_, MemberAttr::BitField { .. }) => None,
    })
}
