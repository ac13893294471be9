//! The network of the demo: a client, the host whose interface is mirrored, and a collector.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use crate::lab::decode::VXLAN_PORT;
use crate::lab::network::{Host, Port, connect};
use crate::model::Result;

/// The mirrored interface.
pub(super) const TAP: &str = "eth0";
/// The client's interface.
pub(super) const CLIENT_PORT: &str = "eth0";
/// The host's interface on the way to the collector.
pub(super) const UNDERLAY: &str = "eth1";
/// The collector's interface.
pub(super) const COLLECTOR_PORT: &str = "eth0";
/// The name of the peer.
pub(super) const PEER: &str = "collector";
/// The number of its virtual network.
pub(super) const VNI: u32 = 42;

pub(super) const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(super) const HOST_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(super) const CLIENT_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
pub(super) const HOST_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
pub(super) const UNDERLAY_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const COLLECTOR_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// In bytes: that of nearly every network.
const ACCESS_MTU: u32 = 1500;
/// In bytes: with room for the outer headers, so that each copy fits as it is.
const UNDERLAY_MTU: u32 = 1600;

const DECODER: &str = "vxlan42";

/// The three hosts.
pub(super) struct Network {
    pub(super) client: Host,
    pub(super) host: Host,
    pub(super) collector: Host,
    /// Whether this kernel has IPv6, and nobody switched it off.
    pub(super) has_ipv6: bool,
    /// The collector's own VXLAN device: a decoder that nobody here has written. Not every kernel has one.
    pub(super) kernel_decoder: Option<&'static str>,
    /// MAC addresses of the mirrored interface, of both ends of the underlay, and of the client.
    pub(super) tap_mac: [u8; 6],
    pub(super) underlay_mac: [u8; 6],
    pub(super) collector_mac: [u8; 6],
    pub(super) client_mac: [u8; 6],
    /// Takes the place of the decoder: without a listener the collector would answer with ICMP errors.
    _listener: Option<UdpSocket>,
}

impl Network {
    pub(super) fn build(no_offload: bool) -> Result<Self> {
        let (client, host, collector) = (Host::new("client")?, Host::new("host")?, Host::new("collector")?);
        let has_ipv6 = host.run(|| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok())?;
        let v4 = |ip: Ipv4Addr| (IpAddr::V4(ip), 24);
        let both = |ip: Ipv4Addr, ip6: Ipv6Addr| {
            let addresses = [v4(ip), (IpAddr::V6(ip6), 64)];
            addresses.into_iter().filter(|(ip, _)| has_ipv6 || ip.is_ipv4()).collect::<Vec<_>>()
        };
        connect(
            Port { host: &client, ifname: CLIENT_PORT, addresses: &both(CLIENT_IP, CLIENT_IP6) },
            Port { host: &host, ifname: TAP, addresses: &both(HOST_IP, HOST_IP6) },
            ACCESS_MTU,
        )?;
        connect(
            Port { host: &host, ifname: UNDERLAY, addresses: &[v4(UNDERLAY_IP)] },
            Port { host: &collector, ifname: COLLECTOR_PORT, addresses: &[v4(COLLECTOR_IP)] },
            UNDERLAY_MTU,
        )?;
        if no_offload {
            host.offloads_off(UNDERLAY)?;
        }
        let tunnel_end = SocketAddr::from((COLLECTOR_IP, VXLAN_PORT));
        let kernel_decoder = collector.add_vxlan(DECODER, VNI, tunnel_end)?.then_some(DECODER);
        let listener = match kernel_decoder {
            Some(_) => None,
            None => Some(collector.attempt("listen for VXLAN", || UdpSocket::bind(tunnel_end))?),
        };
        Ok(Self {
            tap_mac: host.mac(TAP)?,
            underlay_mac: host.mac(UNDERLAY)?,
            collector_mac: collector.mac(COLLECTOR_PORT)?,
            client_mac: client.mac(CLIENT_PORT)?,
            client,
            host,
            collector,
            has_ipv6,
            kernel_decoder,
            _listener: listener,
        })
    }

    /// The names of the host's devices.
    pub(super) fn devices(&self) -> Result<Vec<String>> {
        let links = self.host.netlink()?.links().map_err(|error| error.context("list the devices of the host"))?;
        Ok(links.into_iter().map(|link| link.name).collect())
    }
}

/// The names in a directory; none when it is not there.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
