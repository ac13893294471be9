//! WireGuard as the mirrored interface: its packets have no Ethernet header, their copies get one.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Instant;

use ebmirror::lab::capture::Frame;
use ebmirror::lab::compare::Packet;
use ebmirror::lab::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, pattern};
use ebmirror::lab::network::Host;

use super::common::traffic::{Application, packets, record, sysctl, transfer};
use super::common::{CLIENT, HOST, Rig};
use super::decoders::{Order, Tunnel, wait_until_same};
use super::network::{
    DECODER, Family, PATIENCE, add_decoder, add_peer, attach, leave_nothing, nothing_is_lost, objects, rig,
};

const CLIENT_INSIDE: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
const HOST_INSIDE: [&str; 2] = ["10.9.0.2", "fd00:9::2"];
const PORT: u16 = 51_820;
const ETHERNET: usize = 14;
const TCP_BYTES: usize = 200_000;

/// IPv4 and IPv6, super-packets of TCP and datagrams, in both directions: what comes out of the decoder is a header of zero
/// addresses and the right type, and the packet behind it.
pub fn packets_get_an_ethernet_header() -> String {
    let objects_before = objects();
    let rig = rig();
    let (at_client, at_host) = (Keys::new("client"), Keys::new("host"));
    add_wireguard(&rig, &rig.client, &at_client, &at_host, CLIENT_INSIDE, HOST);
    add_wireguard(&rig, &rig.host, &at_host, &at_client, HOST_INSIDE, CLIENT);
    attach(&rig, "wg0");
    add_decoder(&rig, &Tunnel::Vxlan.decoder(Family::V4, Order::Any));
    add_peer(&rig, Family::V4, Tunnel::Vxlan.peer());

    let (originals, recorder) = (record(&rig.host, "wg0"), record(&rig.collector, DECODER));
    let client = Application::bind(&rig.client, CLIENT_INSIDE[0], 7000);
    let host = Application::bind(&rig.host, HOST_INSIDE[0], 7001);
    for (from, to) in [(&client, &host), (&host, &client)] {
        let datagrams: Vec<Vec<u8>> = (0..20).map(|n| pattern(n, 1 + n as usize * 71)).collect();
        from.send(to, &datagrams);
        assert_eq!(to.receive(datagrams.len()), datagrams);
    }
    for (at_client, at_host) in CLIENT_INSIDE.iter().zip(HOST_INSIDE) {
        transfer(&rig.client, &rig.host, at_host, TCP_BYTES);
        transfer(&rig.host, &rig.client, at_client, TCP_BYTES);
    }

    let (before, after) = wait_until_same(&rig, &originals, &recorder, with_ethernet);
    assert!(before.iter().any(|frame| frame.gso.is_some()), "no super-packet among {}", before.len());
    let crossed = |outgoing| {
        let sum = |frames: &[Frame]| {
            let packets = frames.iter().filter(|frame| frame.outgoing == outgoing).map(with_ethernet);
            packets.map(|packet| packet.wire_size().packets).sum::<u64>()
        };
        originals.with(sum).unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = nothing_is_lost(&rig);
        let faults: Vec<String> = [("ingress", crossed(false)), ("egress", crossed(true))]
            .into_iter()
            .flat_map(|(direction, expected)| {
                let rows = stats["interfaces"].as_array().unwrap();
                let row = rows.iter().find(|row| row["interface"] == "wg0" && row["direction"] == direction).unwrap();
                let counts = ["seen", "selected", "cloned", "copies"].map(|key| (key, packets(&row[key])));
                counts
                    .into_iter()
                    .filter(move |(_, count)| *count != expected)
                    .map(move |(key, count)| format!("{direction} {key}: {count} of {expected}"))
            })
            .collect();
        if faults.is_empty() {
            break;
        }
        // An acknowledgement may have come between the two.
        assert!(Instant::now() < deadline, "{faults:?}");
    }
    leave_nothing(&rig, &objects_before);
    format!("{} packets without Ethernet, {} decoded, the same behind a header", before.len(), after.len())
}

/// What a packet without an Ethernet header is to look like.
fn with_ethernet(frame: &Frame) -> Packet<'_> {
    let packet = Packet::captured(frame);
    let ethertype = if packet.bytes[0] >> 4 == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let bytes = [&[0; 12][..], &ethertype.to_be_bytes(), &packet.bytes].concat();
    Packet { bytes: bytes.into(), gso: packet.gso, transport: packet.transport.map(|start| start + ETHERNET) }
}

/// A key pair: the file of the private key, and the public one.
struct Keys {
    file: String,
    public: String,
}

impl Keys {
    fn new(name: &str) -> Self {
        let run = |verb: &str, input: Stdio| {
            let output = Command::new("wg").arg(verb).stdin(input).output().expect("wg");
            assert!(output.status.success(), "wg {verb}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let file = format!("/key-of-the-{name}");
        fs::write(&file, run("genkey", Stdio::null())).unwrap();
        let public = run("pubkey", File::open(&file).unwrap().into());
        Self { file, public }
    }
}

/// Makes one end of the tunnel.
fn add_wireguard(rig: &Rig, host: &Host, keys: &Keys, peer: &Keys, inside: [&str; 2], endpoint: &str) {
    let Keys { file, .. } = keys;
    let Keys { public, .. } = peer;
    for line in [
        "ip link add wg0 type wireguard",
        &format!(
            "wg set wg0 listen-port {PORT} private-key {file} peer {public} allowed-ips 0.0.0.0/0,::/0 endpoint {endpoint}:{PORT}"
        ),
    ] {
        rig.tool(host, line);
    }
    sysctl(host, "net/ipv6/conf/wg0/disable_ipv6", "0");
    sysctl(host, "net/ipv6/conf/wg0/addr_gen_mode", "1");
    rig.tool(host, &format!("ip addr add {}/24 dev wg0", inside[0]));
    rig.tool(host, &format!("ip addr add {}/64 dev wg0", inside[1]));
    host.set_up("wg0").unwrap();
}
