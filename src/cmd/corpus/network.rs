//! The network of the replay: nobody has an address on the mirrored interface, so that nobody answers what is replayed.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Args;
use crate::kernel::ethtool;
use crate::lab::capture::Sender;
use crate::lab::decode::VXLAN_PORT;
use crate::lab::network::{Host, Port, connect};
use crate::lab::recorder::Recorder;
use crate::lab::replay::Bench;
use crate::model::{Code, Error, Result};

/// The mirrored interface; the other end of its cable has the same name, and so has the collector's.
pub(super) const TAP: &str = "eth0";
const UNDERLAY: &str = "eth1";
const DECODER: &str = "vxlan0";
/// The name of the peer.
pub(super) const PEER: &str = "collector";
/// Captures of tunnels have other numbers: what looks like a copy of ours is left alone by the mirror, and counted.
pub(super) const VNI: u32 = 0x00c0_4905;
const UNDERLAY_IP: Ipv4Addr = Ipv4Addr::new(198, 19, 77, 1);
/// Where the copies go.
pub(super) const COLLECTOR_IP: Ipv4Addr = Ipv4Addr::new(198, 19, 77, 2);

/// For the fragments of copies: each has the memory of a whole one.
const FRAGMENT_BYTES: &str = "268435456";

/// The three hosts.
pub(super) struct Network {
    client: Host,
    /// Whose interface is mirrored.
    pub(super) host: Host,
    collector: Host,
}

impl Network {
    pub(super) fn build(args: &Args) -> Result<Self> {
        let (client, host, collector) = (Host::new("client")?, Host::new("host")?, Host::new("collector")?);
        for host in [&client, &host, &collector] {
            // Or its own packets would stand among those that are replayed.
            set(host, "ipv6/conf/all/disable_ipv6", "1")?;
            set(host, "ipv6/conf/default/disable_ipv6", "1")?;
        }
        set(&collector, "ipv4/ipfrag_high_thresh", FRAGMENT_BYTES)?;
        let silent = |host| Port { host, ifname: TAP, addresses: &[] };
        connect(silent(&client), silent(&host), args.mtu)?;
        let end = |ip: Ipv4Addr| [(IpAddr::V4(ip), 24)];
        connect(
            Port { host: &host, ifname: UNDERLAY, addresses: &end(UNDERLAY_IP) },
            Port { host: &collector, ifname: TAP, addresses: &end(COLLECTOR_IP) },
            args.underlay_mtu,
        )?;
        if args.no_offload {
            host.offloads_off(UNDERLAY)?;
        }
        if !collector.add_vxlan(DECODER, VNI, SocketAddr::from((COLLECTOR_IP, VXLAN_PORT)))? {
            return Err(Error::new(Code::Unsupported, "this kernel has no vxlan device to decode the copies")
                .hint("load the module (modprobe vxlan), or run it on a kernel that has it"));
        }
        // Else it would join the TCP segments of a capture before they can be compared.
        collector.attempt("turning the merging of packets off", || {
            ethtool::set_features(DECODER, &[("rx-gro", false)]).map(|_| ())
        })?;
        Ok(Self { client, host, collector })
    }

    /// Where frames are sent, and where they are seen.
    pub(super) fn bench(&self) -> Result<Bench> {
        let record =
            |host: &Host, ifname: &str| host.attempt(format_args!("capture on {ifname}"), || Recorder::start(ifname));
        let send = |host: &Host| host.attempt("open a packet socket", || Sender::open(TAP));
        Ok(Bench {
            outside: send(&self.client)?,
            inside: send(&self.host)?,
            originals: record(&self.host, TAP)?,
            outer: record(&self.collector, TAP)?,
            decoded: record(&self.collector, DECODER)?,
        })
    }
}

/// Writes a setting of the network, if this kernel has it.
fn set(host: &Host, key: &str, value: &str) -> Result<()> {
    host.attempt(format_args!("set {key}"), || match fs::write(format!("/proc/sys/net/{key}"), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
}
