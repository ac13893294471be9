//! Devices as the kernel made them, in namespaces of the tests.

use std::os::fd::AsFd;

use super::*;
use crate::kernel::ethtool;
use crate::kernel::netlink::testing::{in_namespace, ip, output};
use crate::kernel::netns::NetNs;

const MAC: [u8; 6] = [0x02, 0x12, 0x34, 0x56, 0x78, 0x9a];

#[test]
fn a_stage_bridge_has_the_settings_it_was_made_with() {
    in_namespace(|netlink| {
        let bridge = netlink.add_bridge("ebm0", MAC, 65535, Some("a stage")).unwrap();
        let link = netlink.link_by_index(bridge).unwrap().unwrap();
        assert_eq!(link.name, "ebm0");
        assert_eq!(link.kind.as_deref(), Some("bridge"));
        assert_eq!(link.mac, Some(MAC));
        assert_eq!(link.mtu, 65535);
        assert_eq!(link.alias.as_deref(), Some("a stage"));
        assert!(!link.up);
        let shown = output("ip -d link show ebm0");
        for setting in ["stp_state 0", "mcast_snooping 0", "addrgenmode none"] {
            assert!(shown.contains(setting), "{setting} is not in {shown}");
        }
    });
}

#[test]
fn a_stage_of_bridge_and_veth_forwards_keeps_its_mtu_and_gets_no_address() {
    in_namespace(|netlink| {
        let bridge = netlink.add_bridge("ebm0", MAC, 65535, None).unwrap();
        let port = netlink.add_veth("ebm1", "ebm1p", 1500, None).unwrap();
        let peer = netlink.link_by_name("ebm1p").unwrap().unwrap().ifindex;
        netlink.set_master(port, Some(bridge)).unwrap();
        for ifindex in [port, peer, bridge] {
            netlink.set_addr_gen_none(ifindex).unwrap();
            netlink.set_up(ifindex, true).unwrap();
        }
        let port = netlink.link_by_index(port).unwrap().unwrap();
        assert_eq!(port.master, Some(bridge));
        assert_eq!(port.bridge_port_state, Some(3));
        assert!(port.up && port.lower_up);
        assert_eq!(netlink.link_by_index(bridge).unwrap().unwrap().mtu, 65535);
        assert_eq!(output("ip -6 -o address show"), "");

        netlink.set_master(port.ifindex, None).unwrap();
        let port = netlink.link_by_index(port.ifindex).unwrap().unwrap();
        assert_eq!((port.master, port.bridge_port_state), (None, None));
    });
}

#[test]
fn stage_offloads_stay_off_when_a_port_joins() {
    in_namespace(|netlink| {
        let bridge = netlink.add_bridge("ebm0", MAC, 65535, None).unwrap();
        assert_eq!(ethtool::stage_offloads_off("ebm0").unwrap(), Vec::<String>::new());
        let port = netlink.add_veth("ebm1", "ebm1p", 65535, None).unwrap();
        netlink.set_master(port, Some(bridge)).unwrap();
        netlink.set_up(port, true).unwrap();
        netlink.set_up(bridge, true).unwrap();
        let shown = output("ethtool -k ebm0");
        for feature in [
            "tx-checksumming",
            "tcp-segmentation-offload",
            "generic-segmentation-offload",
            "generic-receive-offload",
            "tx-checksum-ip-generic",
            "tx-tcp-segmentation",
            "tx-udp-segmentation",
            "tx-sctp-segmentation",
        ] {
            let line = shown.lines().find(|line| line.trim_start().starts_with(&format!("{feature}:"))).unwrap();
            assert!(line.contains(": off"), "{line}");
            assert!(!line.contains("requested on"), "{line}");
        }
    });
}

#[test]
fn a_bridge_that_cannot_be_finished_is_not_left_behind() {
    in_namespace(|netlink| {
        let error = netlink.add_bridge("ebm0", MAC, 70000, None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        assert_eq!(netlink.link_by_name("ebm0").unwrap(), None);
    });
}

#[test]
fn a_bridge_below_the_mtu_of_ipv6_is_made() {
    in_namespace(|netlink| {
        let bridge = netlink.add_bridge("ebm0", MAC, 600, None).unwrap();
        assert_eq!(netlink.link_by_index(bridge).unwrap().unwrap().mtu, 600);
    });
}

#[test]
fn a_taken_name_is_refused_and_its_owner_stays() {
    in_namespace(|netlink| {
        let foreign = netlink.add_veth("ebm0", "x", 1500, None).unwrap();
        let error = netlink.add_bridge("ebm0", MAC, 1500, None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        let link = netlink.link_by_name("ebm0").unwrap().unwrap();
        assert_eq!((link.ifindex, link.kind.as_deref()), (foreign, Some("veth")));
    });
}

#[test]
fn the_other_end_of_a_veth_is_made_in_its_namespace() {
    let there = NetNs::new_anonymous().unwrap();
    in_namespace(|netlink| {
        netlink.add_veth("va", "vb", 9000, Some(there.as_fd())).unwrap();
        assert_eq!(netlink.link_by_name("vb").unwrap(), None);
        let peer = there.run(|| Netlink::open().unwrap().link_by_name("vb").unwrap()).unwrap().unwrap();
        assert_eq!(peer.kind.as_deref(), Some("veth"));
        assert_eq!(peer.mtu, 9000);
    });
}

#[test]
fn settings_of_a_device_change_one_by_one() {
    in_namespace(|netlink| {
        let veth = netlink.add_veth("va", "vb", 1500, None).unwrap();
        let now = || netlink.link_by_index(veth).unwrap().unwrap();
        netlink.set_mtu(veth, 3000).unwrap();
        netlink.set_mac(veth, MAC).unwrap();
        netlink.set_alias(veth, "grüße").unwrap();
        netlink.set_up(veth, true).unwrap();
        let link = now();
        assert_eq!((link.mtu, link.mac, link.up), (3000, Some(MAC), true));
        assert_eq!(link.alias.as_deref(), Some("grüße"));
        netlink.set_alias(veth, "").unwrap();
        netlink.set_up(veth, false).unwrap();
        assert_eq!((now().alias, now().up), (None, false));
        netlink.set_alias(veth, &"a".repeat(255)).unwrap();
        assert_eq!(now().alias.unwrap().len(), 255);
        assert_eq!(netlink.set_alias(veth, &"a".repeat(256)).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        netlink.delete(veth).unwrap();
        assert_eq!(netlink.link_by_name("va").unwrap(), None);
        assert_eq!(netlink.link_by_name("vb").unwrap(), None);
    });
}

#[test]
fn a_name_with_a_pattern_makes_nothing() {
    in_namespace(|netlink| {
        let before = netlink.links().unwrap();
        for (name, peer) in [("x%d", "y"), ("x", "y%d"), ("x", "sixteen-bytes-xx")] {
            let error = netlink.add_veth(name, peer, 1500, None).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
        assert_eq!(netlink.links().unwrap(), before);
    });
}

#[test]
fn a_missing_device_is_enodev() {
    in_namespace(|netlink| {
        for result in [
            netlink.set_up(0, true),
            netlink.set_up(4711, true),
            netlink.delete(0),
            netlink.delete(4711),
            netlink.set_mtu(0, 1500),
            netlink.set_mtu(4711, 1500),
        ] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENODEV));
        }
    });
}

#[test]
fn a_vxlan_device_has_its_key_port_and_address() {
    in_namespace(|netlink| {
        let lo = netlink.link_by_name("lo").unwrap().unwrap().ifindex;
        netlink.set_up(lo, true).unwrap();
        for (name, local, shown) in [("vx4", "127.0.0.1", "local 127.0.0.1"), ("vx6", "::1", "local ::1")] {
            netlink.add_vxlan(name, 0xabcdef, 4789, ip(local)).unwrap();
            let text = output(&format!("ip -d link show {name}"));
            for setting in ["id 11259375", "dstport 4789", shown, "udp6zerocsumrx"] {
                assert!(text.contains(setting), "{setting} is not in {text}");
            }
            assert!(!text.contains("noudp6zerocsumrx"), "{text}");
        }
        let error = netlink.add_vxlan("vx", 1 << 24, 4789, ip("::1")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ERANGE));
    });
}

#[test]
fn an_ipv6_address_is_usable_at_once() {
    in_namespace(|netlink| {
        let veth = netlink.add_veth("va", "vb", 1500, None).unwrap();
        netlink.set_up(veth, true).unwrap();
        netlink.add_address(veth, ip("2001:db8::1"), 64).unwrap();
        let shown = output("ip -6 -o address show dev va to 2001:db8::/64");
        assert!(shown.contains("2001:db8::1/64") && shown.contains("nodad"));
        assert!(!shown.contains("tentative"), "{shown}");
        let error = netlink.add_address(veth, ip("2001:db8::1"), 64).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
    });
}
