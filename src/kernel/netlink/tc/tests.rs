//! Qdiscs and filters, compared with what tc prints.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use super::*;
use crate::kernel::netlink::testing::{in_namespace, output};

/// Loads `r0 = result; exit` as a traffic control classifier.
fn program(result: i32) -> OwnedFd {
    /// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
    }
    let instructions = [0xb7u64 | (u64::from(result.cast_unsigned()) << 32), 0x95u64];
    let load = Load {
        kind: 3,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
    };
    // SAFETY: BPF_PROG_LOAD (5) reads `load`, the instructions and the licence, all of which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, 5, &raw const load, size_of::<Load>()) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A namespace with the device `va`, with or without a clsact qdisc.
fn on_a_device<T: Send>(clsact: bool, test: impl FnOnce(Netlink, u32) -> T + Send) -> T {
    in_namespace(|netlink| {
        let va = netlink.add_veth("va", "vb", 1500, None).unwrap();
        if clsact {
            netlink.add_clsact(va).unwrap();
        }
        test(netlink, va)
    })
}

fn errno<T: std::fmt::Debug>(result: Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

fn place(filter: &Filter) -> (u16, u32) {
    (filter.priority, filter.handle)
}

#[test]
fn clsact_is_listed_added_once_and_deleted() {
    on_a_device(false, |netlink, va| {
        let other = netlink.link_by_name("vb").unwrap().unwrap().ifindex;
        assert_eq!(netlink.qdiscs(va).unwrap(), []);
        netlink.add_clsact(va).unwrap();
        let expected = Qdisc { kind: "clsact".into(), parent: 0xffff_fff1, handle: 0xffff_0000 };
        assert_eq!(netlink.qdiscs(va).unwrap(), [expected]);
        assert_eq!(netlink.qdiscs(other).unwrap(), []);
        assert!(output("tc qdisc show dev va").contains("qdisc clsact ffff: parent ffff:fff1"));
        assert_eq!(errno(netlink.add_clsact(va)), Some(libc::EEXIST));
        netlink.delete_clsact(va).unwrap();
        assert_eq!(netlink.qdiscs(va).unwrap(), []);
        assert_eq!(errno(netlink.delete_clsact(va)), Some(libc::EINVAL));
        assert_eq!(errno(netlink.add_clsact(4711)), Some(libc::ENODEV));
    });
}

#[test]
fn a_foreign_ingress_qdisc_is_neither_converted_nor_deleted_nor_used_for_egress() {
    on_a_device(false, |netlink, va| {
        output("tc qdisc add dev va ingress");
        assert_eq!(errno(netlink.add_clsact(va)), Some(libc::EEXIST));
        assert_eq!(errno(netlink.delete_clsact(va)), Some(libc::EINVAL));
        let prog = program(-1);
        let egress = netlink.add_bpf_filter(va, CLSACT_EGRESS, 1, 1, prog.as_fd(), "x");
        assert_eq!(errno(egress), Some(libc::EINVAL));
        assert_eq!(netlink.filters(va, CLSACT_INGRESS).unwrap(), []);
        assert_eq!(netlink.qdiscs(va).unwrap()[0].kind, "ingress");
    });
}

#[test]
fn a_bpf_filter_is_listed_as_tc_prints_it() {
    on_a_device(true, |netlink, va| {
        let prog = program(-1);
        for (parent, word) in [(CLSACT_INGRESS, "ingress"), (CLSACT_EGRESS, "egress")] {
            let added = netlink.add_bpf_filter(va, parent, 77, 5, prog.as_fd(), "ebm_tap").unwrap();
            let [filter] = &netlink.filters(va, parent).unwrap()[..] else { panic!("not one filter") };
            assert_eq!(*filter, added);
            assert_eq!(filter.kind, "bpf");
            assert_eq!(place(filter), (77, 5));
            assert_eq!(u16::from_be(filter.protocol_be), libc::ETH_P_ALL as u16);
            assert_eq!(filter.chain, 0);
            let bpf = filter.bpf.as_ref().unwrap();
            assert_eq!((bpf.name.as_str(), bpf.direct_action), ("ebm_tap", true));
            let shown = output(&format!("tc filter show dev va {word}"));
            let id = bpf.id.unwrap();
            for part in ["protocol all pref 77 bpf chain 0 handle 0x5 ebm_tap direct-action", &format!(" id {id} ")] {
                assert!(shown.contains(part), "{part} is not in {shown}");
            }
        }
    });
}

#[test]
fn filters_that_tc_added_are_read() {
    on_a_device(true, |netlink, va| {
        output("tc filter add dev va ingress protocol ip prio 9 u32 match u32 0 0 flowid 1:1");
        let prog = program(-1);
        netlink.add_bpf_filter(va, CLSACT_INGRESS, 20, 1, prog.as_fd(), "ours").unwrap();
        let filters = netlink.filters(va, CLSACT_INGRESS).unwrap();
        let foreign = filters.first().unwrap();
        assert_eq!((foreign.kind.as_str(), foreign.priority), ("u32", 9));
        assert_eq!(u16::from_be(foreign.protocol_be), libc::ETH_P_IP as u16);
        assert_eq!(foreign.bpf, None);
        assert_eq!(filters.last().unwrap().priority, 20);
    });
}

#[test]
fn the_kernel_chooses_priority_and_handle_for_zero() {
    on_a_device(true, |netlink, va| {
        let prog = program(-1);
        let add = |priority, handle| netlink.add_bpf_filter(va, CLSACT_INGRESS, priority, handle, prog.as_fd(), "x");
        assert_eq!(place(&add(0, 0).unwrap()), (49152, 1));
        assert_eq!(place(&add(0, 0).unwrap()), (49151, 1));
        assert_eq!(place(&add(100, 0).unwrap()), (100, 1));
        assert_eq!(place(&add(100, 0).unwrap()), (100, 2));
        let listed = netlink.filters(va, CLSACT_INGRESS).unwrap();
        let mut places: Vec<(u16, u32)> = listed.iter().map(place).collect();
        places.sort_unstable();
        assert_eq!(places, [(100, 1), (100, 2), (49151, 1), (49152, 1)]);
    });
}

#[test]
fn a_taken_place_is_refused_and_its_filter_stays() {
    on_a_device(true, |netlink, va| {
        let (first, second) = (program(-1), program(0));
        let before = netlink.add_bpf_filter(va, CLSACT_INGRESS, 7, 1, first.as_fd(), "first").unwrap();
        let again = netlink.add_bpf_filter(va, CLSACT_INGRESS, 7, 1, second.as_fd(), "second");
        assert_eq!(errno(again), Some(libc::EEXIST));
        assert_eq!(netlink.filters(va, CLSACT_INGRESS).unwrap(), [before]);

        output("tc filter add dev va ingress protocol ip prio 8 u32 match u32 0 0 flowid 1:1");
        let other = netlink.add_bpf_filter(va, CLSACT_INGRESS, 8, 1, second.as_fd(), "second");
        assert_eq!(errno(other), Some(libc::EINVAL));
    });
}

#[test]
fn replacing_swaps_the_program_and_never_creates() {
    on_a_device(true, |netlink, va| {
        let (first, second) = (program(-1), program(0));
        let missing = netlink.replace_bpf_filter(va, CLSACT_EGRESS, 7, 1, second.as_fd(), "second");
        assert_eq!(errno(missing), Some(libc::ENOENT));
        let before = netlink.add_bpf_filter(va, CLSACT_EGRESS, 7, 1, first.as_fd(), "first").unwrap();
        let missing = netlink.replace_bpf_filter(va, CLSACT_EGRESS, 7, 2, second.as_fd(), "second");
        assert_eq!(errno(missing), Some(libc::ENOENT));
        netlink.replace_bpf_filter(va, CLSACT_EGRESS, 7, 1, second.as_fd(), "second").unwrap();
        let [after] = &netlink.filters(va, CLSACT_EGRESS).unwrap()[..] else { panic!("not one filter") };
        assert_eq!(place(after), (7, 1));
        let (before, after) = (before.bpf.unwrap(), after.bpf.as_ref().unwrap());
        assert_eq!(after.name, "second");
        assert!(after.direct_action);
        assert_ne!(after.id, before.id);
    });
}

#[test]
fn deleting_takes_one_filter_and_leaves_the_others() {
    on_a_device(true, |netlink, va| {
        let prog = program(-1);
        for (priority, handle) in [(7, 1), (7, 2), (8, 1)] {
            netlink.add_bpf_filter(va, CLSACT_INGRESS, priority, handle, prog.as_fd(), "x").unwrap();
        }
        output("tc filter add dev va ingress protocol all prio 9 handle 1: u32 divisor 1");
        let delete = |priority, handle| netlink.delete_filter(va, CLSACT_INGRESS, priority, handle);
        for (priority, handle) in [(0, 0), (0, 1), (7, 0)] {
            let error = delete(priority, handle).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
        assert_eq!(errno(delete(7, 3)), Some(libc::ENOENT));
        assert_eq!(errno(delete(6, 1)), Some(libc::ENOENT));
        assert_eq!(errno(delete(9, 0x0010_0000)), Some(libc::EINVAL));
        delete(7, 1).unwrap();
        let left: Vec<(u16, u32)> = netlink
            .filters(va, CLSACT_INGRESS)
            .unwrap()
            .iter()
            .filter(|filter| filter.kind == "bpf")
            .map(place)
            .collect();
        assert_eq!(left, [(7, 2), (8, 1)]);
    });
}

#[test]
fn without_a_qdisc_there_are_no_filters_and_none_can_be_added() {
    on_a_device(false, |netlink, va| {
        assert_eq!(netlink.filters(va, CLSACT_INGRESS).unwrap(), []);
        assert_eq!(netlink.filters(4711, CLSACT_INGRESS).unwrap(), []);
        let prog = program(-1);
        for parent in [CLSACT_INGRESS, CLSACT_EGRESS] {
            let added = netlink.add_bpf_filter(va, parent, 1, 1, prog.as_fd(), "x");
            assert_eq!(errno(added), Some(libc::EINVAL));
        }
    });
}
