//! One line about a frame, in the manner of tcpdump.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::frame::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_LLDP, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN,
    TPID_8021AD,
};
use super::parse::{Ip, Parsed, double_word, word};

/// The line. Bytes that are not there are passed over, never an error.
pub fn summary(bytes: &[u8]) -> String {
    let Some(parsed) = Parsed::new(bytes) else {
        return format!("{} bytes, too short for Ethernet", bytes.len());
    };
    let mut line = String::new();
    for (tpid, tci) in &parsed.tags {
        let kind = if *tpid == TPID_8021AD { "802.1ad vlan" } else { "vlan" };
        // Writing to a string does not fail.
        let _ = write!(line, "{kind} {}, p {}, ", tci & 0xfff, tci >> 13);
    }
    line + &body(&parsed)
}

fn body(parsed: &Parsed<'_>) -> String {
    let rest = parsed.bytes.get(parsed.network..).unwrap_or_default();
    match (&parsed.ip, parsed.ethertype) {
        (Some(ip), _) => ip_line(parsed, ip),
        (None, ETHERTYPE_ARP) => arp(rest),
        (None, ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => "IP, header cut short".into(),
        (None, ETHERTYPE_LLDP) => format!("LLDP, length {}", rest.len()),
        (None, length) if length < 0x600 => llc(rest, length),
        (None, ethertype) => {
            let known = match ethertype {
                0x8847 => " (MPLS)",
                0x8863 => " (PPPoE discovery)",
                0x8864 => " (PPPoE)",
                0x888e => " (802.1X)",
                _ => "",
            };
            format!(
                "{} > {}, ethertype 0x{ethertype:04x}{known}, length {}",
                mac(parsed.src),
                mac(parsed.dst),
                rest.len()
            )
        }
    }
}

fn ip_line(parsed: &Parsed<'_>, ip: &Ip) -> String {
    let family = if ip.dst.is_ipv4() { "IP" } else { "IP6" };
    let payload = parsed.ip_payload().unwrap_or_default();
    let hosts = format!("{family} {} > {}", ip.src, ip.dst);
    if ip.later_fragment {
        return format!("{hosts}: fragment, protocol {}, length {}", ip.protocol, payload.len());
    }
    let ports = |sport: u16, dport: u16| format!("{family} {}.{sport} > {}.{dport}", ip.src, ip.dst);
    let more = if ip.fragment { ", first fragment" } else { "" };
    match ip.protocol {
        1 => format!("{hosts}: ICMP {}, length {}{more}", icmp(payload), payload.len()),
        58 => format!("{hosts}: ICMP6, {}, length {}{more}", icmp6(payload), payload.len()),
        17 => match (word(payload, 0), word(payload, 2), word(payload, 4)) {
            (Some(sport), Some(dport), Some(length)) => {
                format!("{}: UDP, length {}{more}", ports(sport, dport), length.saturating_sub(8))
            }
            _ => format!("{hosts}: UDP, header cut short"),
        },
        6 => match parsed.tcp() {
            Some(tcp) => {
                let flags: String = [(TCP_FIN, 'F'), (TCP_SYN, 'S'), (TCP_RST, 'R'), (TCP_PSH, 'P'), (TCP_ACK, '.')]
                    .iter()
                    .filter(|(flag, _)| tcp.flags & flag != 0)
                    .map(|(_, letter)| letter)
                    .collect();
                let length = tcp.payload.len();
                let mut line = format!("{}: Flags [{flags}], seq {}", ports(tcp.sport, tcp.dport), tcp.seq);
                // Writing to a string does not fail.
                if length > 0 {
                    let _ = write!(line, ":{}", tcp.seq.wrapping_add(length as u32));
                }
                if tcp.flags & TCP_ACK != 0 {
                    let _ = write!(line, ", ack {}", tcp.ack);
                }
                let _ = write!(line, ", win {}, length {length}{more}", tcp.window);
                line
            }
            None => format!("{hosts}: TCP, header cut short"),
        },
        protocol => format!("{hosts}: protocol {protocol}, length {}{more}", payload.len()),
    }
}

fn arp(bytes: &[u8]) -> String {
    let ip = |at| double_word(bytes, at).map(Ipv4Addr::from);
    match (word(bytes, 6), ip(14), ip(24)) {
        (Some(1), Some(sender), Some(target)) => format!("ARP, Request who-has {target} tell {sender}"),
        (Some(2), Some(sender), _) => {
            let at = bytes.get(8..).and_then(|bytes| bytes.first_chunk()).map(|bytes| mac(*bytes)).unwrap_or_default();
            format!("ARP, Reply {sender} is-at {at}")
        }
        (Some(operation), ..) => format!("ARP, operation {operation}"),
        _ => "ARP, cut short".into(),
    }
}

fn icmp(message: &[u8]) -> String {
    let echo = |what| match (word(message, 4), word(message, 6)) {
        (Some(id), Some(sequence)) => format!("echo {what}, id {id}, seq {sequence}"),
        _ => format!("echo {what}, cut short"),
    };
    match message {
        [8, ..] => echo("request"),
        [0, ..] => echo("reply"),
        [3, code, ..] => format!("unreachable, code {code}"),
        [11, ..] => "time exceeded".into(),
        [kind, code, ..] => format!("type {kind}, code {code}"),
        _ => "cut short".into(),
    }
}

fn icmp6(message: &[u8]) -> String {
    match message {
        [kind @ (128 | 129), ..] => {
            let what = if *kind == 128 { "request" } else { "reply" };
            match (word(message, 4), word(message, 6)) {
                (Some(id), Some(sequence)) => format!("echo {what}, id {id}, seq {sequence}"),
                _ => format!("echo {what}, cut short"),
            }
        }
        [133, ..] => "router solicitation".into(),
        [134, ..] => "router advertisement".into(),
        [135, ..] => "neighbor solicitation".into(),
        [136, ..] => "neighbor advertisement".into(),
        [143, ..] => "multicast listener report v2".into(),
        [kind, code, ..] => format!("type {kind}, code {code}"),
        _ => "cut short".into(),
    }
}

fn llc(bytes: &[u8], length: u16) -> String {
    match bytes {
        [0x42, 0x42, ..] => format!("STP 802.1d, length {length}"),
        [dsap, ssap, ..] => format!("802.3, dsap 0x{dsap:02x}, ssap 0x{ssap:02x}, length {length}"),
        _ => format!("802.3, length {length}"),
    }
}

/// An address as people write it.
pub fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::frame::{Ethernet, LLDP_MULTICAST, STP_MULTICAST, TPID_8021Q, Tcp, pattern};
    use super::*;

    #[test]
    fn lines_read_as_tcpdump_writes_them() {
        let between = || Ethernet::new([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
        let v4 = || between().ipv4([192, 0, 2, 1], [192, 0, 2, 2]);
        let v6 = || between().ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let tcp = |flags| Tcp { sport: 1, dport: 2, seq: 10, ack: 20, flags, window: 30 };
        let rows = [
            (between().arp_request([192, 0, 2, 1], [192, 0, 2, 2]), "ARP, Request who-has 192.0.2.2 tell 192.0.2.1"),
            (between().arp_reply([192, 0, 2, 1], [192, 0, 2, 2]), "ARP, Reply 192.0.2.1 is-at 02:00:00:00:00:0a"),
            (
                v4().echo_request(5, 6, &pattern(1, 56)),
                "IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 5, seq 6, length 64",
            ),
            (v4().echo_reply(5, 6, &[]), "IP 192.0.2.1 > 192.0.2.2: ICMP echo reply, id 5, seq 6, length 8"),
            (v6().echo_request(5, 6, &[]), "IP6 ::1 > ::: ICMP6, echo request, id 5, seq 6, length 8"),
            (v4().udp(53, 5353, b"abc"), "IP 192.0.2.1.53 > 192.0.2.2.5353: UDP, length 3"),
            (v6().udp(53, 5353, b"abc"), "IP6 ::1.53 > ::.5353: UDP, length 3"),
            (v4().tcp(tcp(TCP_SYN), &[]), "IP 192.0.2.1.1 > 192.0.2.2.2: Flags [S], seq 10, win 30, length 0"),
            (
                v4().tcp(tcp(TCP_ACK | TCP_PSH | TCP_FIN), b"four"),
                "IP 192.0.2.1.1 > 192.0.2.2.2: Flags [FP.], seq 10:14, ack 20, win 30, length 4",
            ),
            (
                between().tag(TPID_8021AD, 100).tag(TPID_8021Q, 3 << 13 | 7).ipv4([1; 4], [2; 4]).udp(1, 2, &[]),
                "802.1ad vlan 100, p 0, vlan 7, p 3, IP 1.1.1.1.1 > 2.2.2.2.2: UDP, length 0",
            ),
            (v4().fragment(true, 0).udp(1, 2, &[]), "IP 192.0.2.1.1 > 192.0.2.2.2: UDP, length 0, first fragment"),
            (
                v4().fragment(false, 9).protocol(17, &[0; 5]),
                "IP 192.0.2.1 > 192.0.2.2: fragment, protocol 17, length 5",
            ),
            (v4().protocol(47, &[0; 4]), "IP 192.0.2.1 > 192.0.2.2: protocol 47, length 4"),
            (between().to(LLDP_MULTICAST).lldp(1), "LLDP, length 56"),
            (between().to(STP_MULTICAST).stp(1), "STP 802.1d, length 38"),
            (
                between().frame(0x8847, &[0; 4]),
                "02:00:00:00:00:0a > 02:00:00:00:00:0b, ethertype 0x8847 (MPLS), length 4",
            ),
            (between().frame(4, &[0xaa, 0xaa, 3, 0]), "802.3, dsap 0xaa, ssap 0xaa, length 4"),
            (vec![0; 13], "13 bytes, too short for Ethernet"),
        ];
        for (frame, expected) in rows {
            assert_eq!(summary(&frame), expected);
        }
    }

    #[test]
    fn frames_cut_short_anywhere_do_not_panic() {
        let tcp = Tcp { sport: 1, dport: 2, seq: 10, ack: 20, flags: TCP_ACK, window: 30 };
        let between = || Ethernet::new([2; 6], [4; 6]).tag(TPID_8021Q, 1);
        for frame in [
            between().ipv4([1; 4], [2; 4]).tcp(tcp, &[1; 9]),
            between().ipv4([1; 4], [2; 4]).udp(1, 2, &[1; 9]),
            between().ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).protocol(0, &[58, 0, 0, 0, 0, 0, 0, 0, 143, 0]),
            between().ipv6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST).protocol(44, &[6, 0, 0, 9, 0, 0, 0, 0, 1]),
            between().arp_reply([1; 4], [2; 4]),
            between().stp(1),
        ] {
            for length in 0..=frame.len() {
                summary(&frame[..length]);
            }
        }
    }
}
