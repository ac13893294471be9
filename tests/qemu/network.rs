//! The network in the machine: client eth0 -- eth0 host eth1 -- eth0 collector, whose kernel decodes at `dec0`. Nothing but
//! a scenario's own frames crosses eth0 of the host; the MTU of the underlay is 1500.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ebmirror::lab::compare::WireSize;
use ebmirror::lab::network::{Host, Port, connect};
use serde_json::Value;

use super::common::traffic::{counter, mac_text, packets, peer, sysctl, tap};
use super::common::{CLIENT, COLLECTOR, HOST, Mounts, Outcome, Rig, UNDERLAY, wait_for};

/// Longer than anything here takes in an emulated machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The collector's end of the tunnel.
pub const DECODER: &str = "dec0";
/// The name of the collector among the peers.
pub const PEER: &str = "ids";
/// Of the mirrored interface.
pub const JUMBO_MTU: u32 = 9000;
/// Of the way to the collector.
pub const UNDERLAY_MTU: u32 = 1500;
const UNDERLAY6: &str = "fd00:2::1";
const COLLECTOR6: &str = "fd00:2::2";

/// Of the outer packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Where the copies come from.
    pub fn local(self) -> &'static str {
        if self == Self::V4 { UNDERLAY } else { UNDERLAY6 }
    }

    /// Where they go.
    pub fn remote(self) -> &'static str {
        if self == Self::V4 { COLLECTOR } else { COLLECTOR6 }
    }
}

/// Builds it, with neither a mirror nor a decoder.
pub fn rig() -> Rig {
    let [client, host, collector] = ["client", "host", "collector"].map(|name| Host::new(name).unwrap());
    for at in [&client, &host, &collector] {
        // Devices are silent, and have an address as soon as they get it.
        sysctl(at, "net/ipv6/conf/default/disable_ipv6", "1");
        sysctl(at, "net/ipv6/conf/default/accept_dad", "0");
        sysctl(at, "net/ipv6/conf/default/router_solicitations", "0");
    }
    // By default 64 fragments of other packets may come between two of one. Of two emulated processors that send at the same
    // time one may stand still for longer than that.
    sysctl(&collector, "net/ipv4/ipfrag_max_dist", "0");
    let address = |text: &str, prefix| (text.parse::<IpAddr>().unwrap(), prefix);
    let cable = |a: (&Host, &str, &str), b: (&Host, &str, &str), mtu| {
        connect(
            Port { host: a.0, ifname: a.1, addresses: &[address(a.2, 24)] },
            Port { host: b.0, ifname: b.1, addresses: &[address(b.2, 24)] },
            mtu,
        )
        .unwrap();
    };
    cable((&client, "eth0", CLIENT), (&host, "eth0", HOST), JUMBO_MTU);
    cable((&host, "eth1", UNDERLAY), (&collector, "eth0", COLLECTOR), UNDERLAY_MTU);
    for (at, ifname, ip) in [(&host, "eth1", UNDERLAY6), (&collector, "eth0", COLLECTOR6)] {
        sysctl(at, &format!("net/ipv6/conf/{ifname}/disable_ipv6"), "0");
        let ifindex = at.link(ifname).unwrap().ifindex;
        let (ip, prefix) = address(ip, 64);
        at.netlink().unwrap().add_address(ifindex, ip, prefix).unwrap();
    }
    let rig = Rig { client, host, collector, mounts: Mounts::with_bpffs("") };
    for (at, other, ip) in [(&rig.client, &rig.host, HOST), (&rig.host, &rig.client, CLIENT)] {
        let mac = mac_text(other.mac("eth0").unwrap());
        rig.tool(at, &format!("ip neigh replace {ip} lladdr {mac} nud permanent dev eth0"));
    }
    rig
}

/// A network whose host mirrors eth0 to the collector. In an emulated machine each command takes long: a scenario takes over
/// what the one before has left, with the peer and the decoder if they are the same.
pub struct Mirror {
    pub rig: Rig,
    family: Option<Family>,
    peer: Vec<&'static str>,
    device: String,
    stats: Value,
}

/// What has been counted by a scenario.
pub struct Counted {
    before: Value,
    pub after: Value,
}

impl Mirror {
    /// Runs `f` with one. A scenario that fails leaves none.
    pub fn with<T>(family: Family, peer: &[&'static str], device: &str, f: impl FnOnce(&mut Mirror) -> T) -> T {
        static LEFT: Mutex<Option<Mirror>> = Mutex::new(None);
        let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut mirror = left.unwrap_or_else(Self::new);
        mirror.aim(family, peer, device);
        let result = f(&mut mirror);
        *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = Some(mirror);
        result
    }

    fn new() -> Self {
        let rig = rig();
        attach(&rig, "eth0");
        let stats = rig.stats();
        Self { rig, family: None, peer: Vec::new(), device: String::new(), stats }
    }

    fn aim(&mut self, family: Family, peer: &[&'static str], device: &str) {
        if self.device != device {
            if !self.device.is_empty() {
                self.rig.tool(&self.rig.collector, &format!("ip link del {DECODER}"));
            }
            add_decoder(&self.rig, device);
            self.device = device.to_owned();
        }
        if (self.family, &self.peer[..]) != (Some(family), peer) {
            if self.family.is_some() {
                self.rig.ebmirror(&["peer", "del", PEER]).ok();
            }
            add_peer(&self.rig, family, peer);
            (self.family, self.peer) = (Some(family), peer.to_vec());
            self.stats["peers"] = Value::Array(Vec::new());
        }
    }

    /// Waits until the books balance and show what is expected, and tells what has come to them since the last time. Nothing
    /// is lost.
    pub fn counted(&mut self, expected: impl Fn(&Counted) -> bool) -> Counted {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counted = Counted { before: self.stats.clone(), after: nothing_is_lost(&self.rig) };
            if expected(&counted) || Instant::now() > deadline {
                self.stats = counted.after.clone();
                return counted;
            }
        }
    }
}

impl Counted {
    /// At a tap on eth0.
    pub fn tap(&self, direction: &str, key: &str) -> WireSize {
        let [before, after] = [&self.before, &self.after].map(|stats| counter(&tap(stats, direction)[key]));
        WireSize { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
    }

    /// Sent by the peer.
    pub fn sent(&self) -> WireSize {
        let after = counter(&peer(&self.after, PEER)["sent"]);
        let is_new = self.before["peers"].as_array().is_none_or(Vec::is_empty);
        let before = if is_new { WireSize::default() } else { counter(&peer(&self.before, PEER)["sent"]) };
        WireSize { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
    }
}

/// Adds the collector's device, `ip link add dec0 type …`, and sets it up.
pub fn add_decoder(rig: &Rig, device: &str) {
    rig.tool(&rig.collector, &format!("ip link add {DECODER} type {device}"));
    rig.collector.set_up(DECODER).unwrap();
}

/// Adds the peer that is to reach it.
pub fn add_peer(rig: &Rig, family: Family, peer: &[&str]) {
    rig.ebmirror(&[&["peer", "add", PEER, "--remote", family.remote()], peer].concat()).ok();
}

/// Gives both ends of the mirrored cable this MTU.
pub fn set_mtu(rig: &Rig, mtu: u32) {
    for at in [&rig.client, &rig.host] {
        let ifindex = at.link("eth0").unwrap().ifindex;
        at.netlink().unwrap().set_mtu(ifindex, mtu).unwrap();
    }
}

/// Mirrors an interface of the host, in both directions.
pub fn attach(rig: &Rig, ifname: &str) {
    let report = rig.ebmirror(&["--json", "attach", ifname]).ok().json();
    let modes: BTreeSet<&str> =
        report["attached"].as_array().unwrap().iter().map(|row| row["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, BTreeSet::from(["tc"]), "kernel 6.1 has no TCX: {report}");
}

/// The books balance, and the peer has lost nothing. The document.
pub fn nothing_is_lost(rig: &Rig) -> Value {
    let stats = rig.balanced();
    let row = peer(&stats, PEER);
    assert_eq!(packets(&row["lost"]), 0, "{stats}");
    assert_eq!(packets(&row["truncated"]), 0, "{stats}");
    assert_eq!(stats["unaccounted"], 0, "{stats}");
    stats
}

/// The kernel's numbers of all programs and maps.
pub fn objects() -> BTreeSet<(&'static str, u32)> {
    let programs = libbpf_rs::query::ProgInfoIter::default().map(|program| ("program", program.id));
    let maps = libbpf_rs::query::MapInfoIter::default().map(|map| ("map", map.id));
    programs.chain(maps).collect()
}

/// Takes the mirror away: no device, qdisc, filter or pin of ours is left, and no object that was not there before.
pub fn leave_nothing(rig: &Rig, before: &BTreeSet<(&'static str, u32)>) {
    assert!(objects().difference(before).count() > 0, "a mirror has programs and maps");
    rig.ebmirror(&["detach", "--all"]).ok();
    rig.ebmirror(&["unpin"]).ok();
    let links = rig.host.netlink().unwrap().links().unwrap();
    let ours: Vec<_> = links.into_iter().map(|link| link.name).filter(|name| name.starts_with("ebm")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    let qdiscs = rig.tool(&rig.host, "tc qdisc show");
    assert!(!qdiscs.contains("clsact") && !qdiscs.contains("ingress"), "{qdiscs}");
    let mut find = rig.mounts.command("find");
    find.args(["/sys/fs/bpf", "-mindepth", "1", "!", "-name", "*.debug"]);
    assert_eq!(Outcome::of(find, "find").ok().stdout, "", "pins");
    // The kernel frees an object a moment after its last user is gone.
    wait_for("programs and maps to be freed", || objects().is_subset(before));
}
