//! Frames of many kinds and sizes, none like another.

use std::net::Ipv6Addr;

use ebmirror::lab::frame::{
    BROADCAST, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TCP_ACK, TPID_8021AD, TPID_8021Q, Tcp, pattern,
};

use super::common::traffic::{NOBODY, unanswered};

/// The longest payload of Ethernet that the mirrored interface takes.
const JUMBO: usize = super::network::JUMBO_MTU as usize;

/// From nobody to nobody.
const NOBODY6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)];

/// Of every kind some, of 60 to 1400 bytes: they fit any tunnel on an underlay of 1500, from one sender to one receiver; `first` numbers them, so that those of two calls differ.
pub fn every_kind(ethernet: &Ethernet, first: u64) -> Vec<Vec<u8>> {
    let [a, b] = NOBODY;
    let [a6, b6] = NOBODY6;
    let v4 = || unanswered(ethernet.clone());
    let v6 = || ethernet.clone().ipv6(a6, b6);
    let tagged = || ethernet.clone().tag(TPID_8021Q, 0x6007);
    let twice = || ethernet.clone().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 0xa00b);
    let ack = |seq| Tcp { sport: 4000, dport: 80, seq, ack: 1, flags: TCP_ACK, window: 64_000 };
    let mut numbers = first..;
    let mut data = |length| pattern(numbers.next().expect("they do not end"), length);
    let multicast = ethernet.clone().to([0x01, 0x00, 0x5e, 1, 2, 3]);

    let mut frames = vec![
        ethernet.clone().to(BROADCAST).arp_request(a, b),
        ethernet.arp_reply(a, b),
        v4().echo_request(1, 2, &data(56)),
        v4().tcp(ack(first as u32), &data(1200)),
        v4().protocol(50, &data(90)),
        v4().id(77).fragment(true, 0).protocol(17, &data(1400)),
        v4().id(77).fragment(false, 175).protocol(17, &data(200)),
        v6().udp(4000, 53, &data(18)),
        v6().udp(4000, 53, &data(1300)),
        v6().tcp(ack(first as u32), &data(700)),
        v6().echo_request(1, 2, &data(56)),
        ethernet.clone().to(LLDP_MULTICAST).lldp(first),
        ethernet.clone().to(STP_MULTICAST).stp(first as u32),
        ethernet.frame(0x8847, &[&[0, 1, 0x41, 64][..], &v4().udp(1, 2, &data(100))[14..]].concat()),
        ethernet.frame(0x8864, &[&[0x11, 0, 0, 5, 0, 200, 0, 0x21][..], &data(198)].concat()),
        ethernet.frame(0x1234, &data(77)),
        ethernet.clone().to(BROADCAST).ipv4(a, [255; 4]).udp(68, 67, &data(300)),
        multicast.ipv4(a, [239, 1, 2, 3]).udp(1, 2, &data(30)),
        tagged().ipv4(a, b).udp(4000, 53, &data(300)),
        tagged().ipv6(a6, b6).udp(4000, 53, &data(300)),
        tagged().to(BROADCAST).arp_request(a, b),
        twice().ipv4(a, b).udp(4000, 53, &data(300)),
        twice().frame(0x1234, &data(60)),
    ];
    // As the wire has them: none is below the least length.
    frames.iter_mut().filter(|frame| frame.len() < 60).for_each(|frame| frame.resize(60, 0));
    // Sizes, in steps.
    frames.extend((60..=1400).step_by(67).map(|length| v4().udp(4000, 5000, &data(length - 42))));
    frames
}

/// Frames around what fits an underlay of 1500 bytes in one tunnel or another, and such that need two fragments or more.
pub fn oversized(ethernet: &Ethernet, first: u64) -> Vec<Vec<u8>> {
    let [a, b] = NOBODY;
    let [a6, b6] = NOBODY6;
    let v4 = || unanswered(ethernet.clone());
    let v6 = || ethernet.clone().ipv6(a6, b6);
    let mut numbers = first..;
    let mut data = |length| pattern(numbers.next().expect("they do not end"), length);
    let mut frames = Vec::new();
    // Of the IP packet: the headers of the tunnels are 38 to 70 bytes long.
    for length in (1424..=1466).step_by(2).chain([1470, 1480, 1486, 1499, 1500]) {
        frames.push(v4().udp(4000, 5000, &data(length - 28)));
        frames.push(v6().udp(4000, 5000, &data(length - 48)));
        frames.push(ethernet.frame(0x1234, &data(length)));
    }
    for length in [1501, 2000, 2914, 2960, 4000, 8900, JUMBO] {
        frames.push(v4().udp(4000, 5000, &data(length - 28)));
    }
    let ack = Tcp { sport: 4000, dport: 80, seq: first as u32, ack: 1, flags: TCP_ACK, window: 64_000 };
    frames.push(v6().tcp(ack, &data(JUMBO - 60)));
    frames.push(ethernet.frame(0x1234, &data(JUMBO)));
    let tagged = ethernet.clone().tag(TPID_8021Q, 0x6007);
    frames.push(tagged.clone().ipv4(a, b).udp(4000, 53, &data(JUMBO - 28)));
    frames.push(tagged.ipv6(a6, b6).udp(4000, 53, &data(1400)));
    let twice = ethernet.clone().tag(TPID_8021AD, 0x2064).tag(TPID_8021Q, 0xa00b);
    frames.push(twice.frame(0x1234, &data(1452)));
    frames.push(twice.ipv4(a, b).udp(4000, 53, &data(1472)));
    frames
}
