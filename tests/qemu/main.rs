//! Kernel 6.1: what arrives there in decoders that are not ours, the kernel's own tunnel devices, is what crossed the
//! mirrored interface. It has no TCX, so that all of this runs in tc mode.
//!
//! Debian's kernel runs in QEMU (`machine.rs`), because it has what the host's may lack: geneve, gretap, erspan and their
//! IPv6 twins, SCTP and WireGuard. A test here is run in that machine; all share one.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a result for whoever asks for it")]

#[path = "../common/mod.rs"]
mod common;
mod compilers;
mod decoders;
mod filters;
mod frames;
mod image;
mod machine;
mod network;
#[path = "../common/rules.rs"]
mod rules;
mod sctp;
mod wireguard;

use decoders::Tunnel::{self, Erspan2, Erspan3, Geneve, Gre, GreKey, Vxlan};
use network::Family::{V4, V6};
use sctp::Card;

/// Each is a test that runs in the machine, and says what it saw.
macro_rules! scenarios {
    ($($name:ident: $body:expr;)*) => {
        $(#[test]
        fn $name() {
            machine::scenario(stringify!($name), || $body);
        })*
    };
}

scenarios! {
    vxlan_over_ipv4: decoders::decoded_as_sent(Vxlan, V4);
    vxlan_over_ipv4_oversized: decoders::oversized_as_sent(Vxlan, V4);
    vxlan_over_ipv4_tcp: decoders::tcp_as_sent(Vxlan, V4);
    vxlan_over_ipv6: decoders::decoded_as_sent(Vxlan, V6);
    vxlan_over_ipv6_oversized: decoders::oversized_as_sent(Vxlan, V6);
    vxlan_over_ipv6_tcp: decoders::tcp_as_sent(Vxlan, V6);
    geneve_over_ipv4: decoders::decoded_as_sent(Geneve, V4);
    geneve_over_ipv4_oversized: decoders::oversized_as_sent(Geneve, V4);
    geneve_over_ipv4_tcp: decoders::tcp_as_sent(Geneve, V4);
    geneve_over_ipv6: decoders::decoded_as_sent(Geneve, V6);
    geneve_over_ipv6_oversized: decoders::oversized_as_sent(Geneve, V6);
    geneve_over_ipv6_tcp: decoders::tcp_as_sent(Geneve, V6);
    gre_over_ipv4: decoders::decoded_as_sent(Gre, V4);
    gre_over_ipv4_oversized: decoders::oversized_as_sent(Gre, V4);
    gre_over_ipv4_tcp: decoders::tcp_as_sent(Gre, V4);
    gre_over_ipv6: decoders::decoded_as_sent(Gre, V6);
    gre_over_ipv6_oversized: decoders::oversized_as_sent(Gre, V6);
    gre_over_ipv6_tcp: decoders::tcp_as_sent(Gre, V6);
    gre_with_key_over_ipv4: decoders::decoded_as_sent(GreKey, V4);
    gre_with_key_over_ipv4_oversized: decoders::oversized_as_sent(GreKey, V4);
    gre_with_key_over_ipv4_tcp: decoders::tcp_as_sent(GreKey, V4);
    gre_with_key_over_ipv6: decoders::decoded_as_sent(GreKey, V6);
    gre_with_key_over_ipv6_oversized: decoders::oversized_as_sent(GreKey, V6);
    gre_with_key_over_ipv6_tcp: decoders::tcp_as_sent(GreKey, V6);
    erspan2_over_ipv4: decoders::decoded_as_sent(Erspan2, V4);
    erspan2_over_ipv4_oversized: decoders::oversized_as_sent(Erspan2, V4);
    erspan2_over_ipv4_tcp: decoders::tcp_as_sent(Erspan2, V4);
    erspan2_over_ipv6: decoders::decoded_as_sent(Erspan2, V6);
    erspan2_over_ipv6_oversized: decoders::oversized_as_sent(Erspan2, V6);
    erspan2_over_ipv6_tcp: decoders::tcp_as_sent(Erspan2, V6);
    erspan3_over_ipv4: decoders::decoded_as_sent(Erspan3, V4);
    erspan3_over_ipv4_oversized: decoders::oversized_as_sent(Erspan3, V4);
    erspan3_over_ipv4_tcp: decoders::tcp_as_sent(Erspan3, V4);
    erspan3_over_ipv6: decoders::decoded_as_sent(Erspan3, V6);
    erspan3_over_ipv6_oversized: decoders::oversized_as_sent(Erspan3, V6);
    erspan3_over_ipv6_tcp: decoders::tcp_as_sent(Erspan3, V6);

    vxlan_over_ipv4_jumbo_tcp: decoders::jumbo_tcp_as_sent(Vxlan, V4);
    vxlan_over_ipv6_jumbo_tcp: decoders::jumbo_tcp_as_sent(Vxlan, V6);
    erspan3_over_ipv6_jumbo_tcp: decoders::jumbo_tcp_as_sent(Erspan3, V6);
    vxlan_over_ipv4_udp: decoders::udp_super_packets_as_sent(Vxlan, V4);
    vxlan_over_ipv4_unfinished: decoders::unfinished_as_sent(Vxlan, V4);
    gre_over_ipv4_unfinished: decoders::unfinished_as_sent(Gre, V4);
    gre_over_ipv6_udp: decoders::udp_super_packets_as_sent(Gre, V6);

    every_compiler: compilers::the_verifier_takes_what_each_makes();
    unpin_leaves_nothing: decoders::unpin_leaves_nothing();
    filters: filters::the_tap_finds_what_a_test_finds();
    sctp: sctp::every_byte_arrives(Card::Veth);
    sctp_without_offloads: sctp::every_byte_arrives(Card::Plain);
    wireguard: wireguard::packets_get_an_ethernet_header();
}

/// The rows above are all that there are.
#[test]
fn every_tunnel_has_its_rows() {
    let this = include_str!("main.rs");
    for tunnel in Tunnel::ALL {
        for family in [V4, V6] {
            for check in ["decoded_as_sent", "oversized_as_sent", "tcp_as_sent"] {
                let row = format!("decoders::{check}({tunnel:?}, {family:?});");
                assert!(this.contains(&row), "no {row}");
            }
        }
    }
}
