//! What the tests of this folder share. All of them need root, and work in namespaces that end with them.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Netlink;
use crate::kernel::netns::NetNs;

/// Runs `test` in a fresh namespace.
pub fn in_namespace<T: Send>(test: impl FnOnce(Netlink) -> T + Send) -> T {
    NetNs::new_anonymous().unwrap().run(|| test(Netlink::open().unwrap())).unwrap()
}

/// Runs a command in the thread's namespace and returns what it printed.
pub fn output(line: &str) -> String {
    let mut words = line.split_whitespace();
    let result = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(result.status.success(), "{line}: {result:?}");
    String::from_utf8(result.stdout).unwrap()
}

/// Two namespaces joined by the veth pair `va` (here) and `vb` (there), addresses 192.0.2.1 and .2, 2001:db8::1
/// and ::2, all up. Runs `test` here with the ifindex of `va`; the other namespace lives until it returns.
pub fn on_a_wire<T: Send>(test: impl FnOnce(Netlink, u32, &NetNs) -> T + Send) -> T {
    let there = NetNs::new_anonymous().unwrap();
    in_namespace(|netlink| {
        let va = netlink.add_veth("va", "vb", 1500, Some(there.as_fd())).unwrap();
        netlink.set_addr_gen_none(va).unwrap();
        give(&netlink, va, "192.0.2.1", "2001:db8::1");
        // Neighbour solicitations that no packet asked for come from the link-local address.
        netlink.add_address(va, ip("fe80::1"), 64).unwrap();
        there
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let vb = netlink.link_by_name("vb").unwrap().unwrap().ifindex;
                give(&netlink, vb, "192.0.2.2", "2001:db8::2");
            })
            .unwrap();
        test(netlink, va, &there)
    })
}

fn give(netlink: &Netlink, ifindex: u32, v4: &str, v6: &str) {
    netlink.set_up(ifindex, true).unwrap();
    netlink.add_address(ifindex, ip(v4), 24).unwrap();
    netlink.add_address(ifindex, ip(v6), 64).unwrap();
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits until `condition` holds, ten seconds at most.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "no {what}: {}", output("ip -s neigh show"));
        std::thread::yield_now();
    }
}
