//! The traffic of the demo, in both directions through the mirrored interface.

use std::io;
use std::net::IpAddr;

use super::network::{CLIENT_IP, CLIENT_IP6, CLIENT_PORT, HOST_IP, HOST_IP6, Network, TAP};
use crate::lab::capture::Sender;
use crate::lab::frame::{BROADCAST, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TPID_8021AD, TPID_8021Q, padded, pattern};
use crate::lab::traffic::{End, datagrams, ping, stream};
use crate::model::{Error, Result};

/// Echo requests, and datagrams of each IP version, in each direction.
const ROUNDS: usize = 100;
/// Frames of each kind made by hand, in each direction.
const RAW_ROUNDS: u32 = 10;
/// TCP data in each direction, of each IP version.
const STREAM_BYTES: usize = 3 * 1024 * 1024;
/// IPv4 and ICMP headers; UDP's is as long as ICMP's.
const HEADERS: usize = 28;
const HEADERS6: usize = 48;
/// In bytes: an IP packet at the mirrored interface's MTU.
const FULL: usize = 1500;

/// Sends all of it and returns what did not arrive, in words. That the network works is not the mirror's merit, but the
/// mirror must not break it.
pub(super) fn drive(network: &Network) -> Result<Vec<String>> {
    let (client, host) = (&network.client, &network.host);
    let ends = |host_ip, client_ip| (End { host: client, ip: client_ip }, End { host, ip: host_ip });
    let v4 = ends(IpAddr::from(HOST_IP), IpAddr::from(CLIENT_IP));
    let v6 = ends(HOST_IP6.into(), CLIENT_IP6.into());
    let mut problems = Vec::new();
    let mut note = |outcome: Result<()>| problems.extend(outcome.err().map(|error| format!("traffic: {error}")));

    // First one of each, so that the first lines of the output show them all. The client asks for the host's address by
    // itself; the host knows the client's by then, so its request is made by hand.
    note(ping(client, HOST_IP, 1, short(1)));
    let sender = host.attempt("open a packet socket", || Sender::open(TAP))?;
    note(sender.send(&network.host_frames().arp_request(HOST_IP, CLIENT_IP)).map_err(by_hand_failed));
    note(ping(host, CLIENT_IP, 2, short(2)));
    note(datagrams(v4.0, v4.1, short(3).zip(short(4)).map(<[_; 2]>::from)));
    let families = [(v4, HEADERS), (v6, HEADERS6)];
    let families = || families.into_iter().take(if network.has_ipv6 { 2 } else { 1 });
    for ((_, server), _) in families() {
        for to_server in [true, false] {
            note(stream(client, server, to_server, &pattern(5 + u64::from(to_server), STREAM_BYTES)));
        }
    }
    note(ping(client, HOST_IP, 7, growing(7, HEADERS)));
    note(ping(host, CLIENT_IP, 8, growing(8, HEADERS)));
    for ((a, b), headers) in families() {
        note(datagrams(a, b, growing(9, headers).zip(growing(10, headers)).map(<[_; 2]>::from)));
    }
    note(by_hand(&sender, &network.host_frames()).map_err(by_hand_failed));
    let sender = client.attempt("open a packet socket", || Sender::open(CLIENT_PORT))?;
    note(by_hand(&sender, &network.client_frames()).map_err(by_hand_failed));
    Ok(problems)
}

/// One payload as `ping` has it by default.
fn short(stream: u64) -> impl Iterator<Item = Vec<u8>> + Send {
    std::iter::once(pattern(stream, 56))
}

/// Payloads from nearly nothing to a full packet, all different.
fn growing(stream: u64, headers: usize) -> impl Iterator<Item = Vec<u8>> + Send {
    (1..=ROUNDS).map(move |round| pattern(stream << 32 | round as u64, (FULL - headers) * round / ROUNDS))
}

fn by_hand_failed(error: io::Error) -> Error {
    Error::io("send a frame made by hand", &error)
}

impl Network {
    fn host_frames(&self) -> Ethernet {
        Ethernet::new(self.tap_mac, self.client_mac)
    }

    fn client_frames(&self) -> Ethernet {
        Ethernet::new(self.client_mac, self.tap_mac)
    }
}

/// What no socket of the kernel sends, and what it seldom does.
fn by_hand(sender: &Sender, between: &Ethernet) -> io::Result<()> {
    for round in 0..RAW_ROUNDS {
        let sequence = u64::from(round);
        let data = pattern(sequence, 10 + round as usize * 140);
        let tag = 100 + round as u16;
        let v4 = |ethernet: Ethernet| ethernet.ipv4([203, 0, 113, 1], [203, 0, 113, 2]);
        let v6 = |ethernet: Ethernet| ethernet.ipv6(CLIENT_IP6, HOST_IP6);
        for frame in [
            between.clone().to(LLDP_MULTICAST).lldp(sequence),
            between.clone().to(STP_MULTICAST).stp(round),
            padded(v4(between.clone().tag(TPID_8021Q, tag)).udp(1000, 2000, &data)),
            padded(v6(between.clone().tag(TPID_8021Q, tag)).udp(1000, 2000, &data)),
            padded(v4(between.clone().tag(TPID_8021AD, tag).tag(TPID_8021Q, 7)).udp(1000, 2000, &data)),
            padded(between.clone().tag(TPID_8021Q, tag).arp_request([203, 0, 113, 1], [203, 0, 113, 2])),
            // MPLS label 16, bottom of the stack.
            padded(between.frame(0x8847, &[&[0, 1, 1, 64][..], &data].concat())),
            // IEEE 802, local experimental.
            padded(between.frame(0x88b5, &data)),
            padded(v4(between.clone().to(BROADCAST)).fragment(true, 3).protocol(17, &data)),
        ] {
            sender.send(&frame)?;
        }
    }
    Ok(())
}
