//! What crosses the mirrored interface arrives at the collector, byte for byte.

mod common;

use std::time::Duration;

use common::{CLIENT, HOST, Rig};
use ebmirror::lab::capture::Sender;
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::lab::recorder::Recorder;

#[test]
fn frames_of_every_size_arrive_as_they_were() {
    let rig = Rig::new();
    rig.mirror();
    let ethernet = Ethernet::new(rig.client.mac("eth0").unwrap(), rig.host.mac("eth0").unwrap());
    let (client, host): (std::net::Ipv4Addr, std::net::Ipv4Addr) = (CLIENT.parse().unwrap(), HOST.parse().unwrap());
    let frames: Vec<Vec<u8>> = (0..500)
        .map(|n| ethernet.clone().ipv4(client, host).udp(1000, 9, &pattern(n, 18 + (n as usize * 7) % 1340)))
        .collect();

    let recorder = rig.collector.run(|| Recorder::start("vx0")).unwrap().unwrap();
    rig.client
        .attempt("sending", || {
            let sender = Sender::open("eth0")?;
            frames.iter().try_for_each(|frame| sender.send(frame))
        })
        .unwrap();
    let arrived =
        |got: &[ebmirror::lab::capture::Frame]| frames.iter().all(|frame| got.iter().any(|copy| copy.bytes == *frame));
    assert!(recorder.wait(Duration::from_secs(5), arrived).unwrap());
    let stats = rig.balanced();
    assert_eq!(stats["peers"][0]["lost"]["packets"], 0, "{stats}");
}
