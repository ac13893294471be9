//! The words of the language, and names that stand for numbers.

/// All keywords of libpcap's scanner, in the first of their spellings, with the others behind it. Also what is not covered is
/// a keyword, so that it is never taken for a name.
#[rustfmt::skip]
const KEYWORDS: &[&[&str]] = &[
    &["and"], &["or"], &["not"],
    &["dst"], &["src"], &["host"], &["net"], &["mask"], &["port"], &["portrange"], &["proto"], &["protochain"], &["gateway"],
    &["ether", "link"], &["ppp"], &["slip"], &["fddi"], &["tr"], &["wlan"],
    &["arp"], &["rarp"], &["ip"], &["sctp"], &["tcp"], &["udp"], &["icmp"], &["igmp"], &["igrp"], &["pim"], &["vrrp"],
    &["carp"], &["radio"], &["ip6"], &["icmp6"], &["ah"], &["esp"],
    &["atalk"], &["aarp"], &["decnet"], &["lat"], &["sca"], &["moprc"], &["mopdl"],
    &["iso"], &["esis", "es-is"], &["isis", "is-is"], &["l1"], &["l2"], &["iih"], &["lsp"], &["snp"], &["csnp"], &["psnp"],
    &["clnp"], &["stp"], &["ipx"], &["netbeui"],
    &["type"], &["subtype"], &["dir", "direction"], &["addr1", "address1"], &["addr2", "address2"], &["addr3", "address3"],
    &["addr4", "address4"], &["ra"], &["ta"],
    &["less"], &["greater"], &["byte"], &["broadcast"], &["multicast"], &["len", "length"], &["inbound"], &["outbound"],
    &["ifindex"], &["vlan"], &["mpls"], &["pppoed"], &["pppoes"], &["geneve"],
    &["lane"], &["llc"], &["metac"], &["bcc"], &["oam"], &["oamf4"], &["oamf4ec"], &["oamf4sc"], &["sc"], &["ilmic"],
    &["vpi"], &["vci"], &["connectmsg"], &["metaconnect"],
    &["ifname", "on"], &["rset", "ruleset"], &["rnr", "rulenum"], &["srnr", "subrulenum"], &["reason"], &["action"],
    &["fisu"], &["lssu", "lsu"], &["msu"], &["hfisu"], &["hlssu"], &["hmsu"],
    &["sio"], &["opc"], &["dpc"], &["sls"], &["hsio"], &["hopc"], &["hdpc"], &["hsls"],
];

/// The keyword that a word is, in the first of its spellings.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.iter().find(|spellings| spellings.contains(&word)).map(|spellings| spellings[0])
}

/// Names that are numbers to libpcap, wherever they stand.
#[rustfmt::skip]
const NUMBERS: &[(&str, u32)] = &[
    ("icmptype", 0), ("icmpcode", 1), ("icmp6type", 0), ("icmp6code", 1), ("tcpflags", 13),
];

/// TCP's flags, from the lowest bit on.
pub(super) const TCP_FLAGS: [&str; 8] =
    ["tcp-fin", "tcp-syn", "tcp-rst", "tcp-push", "tcp-ack", "tcp-urg", "tcp-ece", "tcp-cwr"];

/// Types of ICMP.
#[rustfmt::skip]
pub(super) const ICMP_TYPES: &[(&str, u32)] = &[
    ("icmp-echoreply", 0), ("icmp-unreach", 3), ("icmp-sourcequench", 4), ("icmp-redirect", 5), ("icmp-echo", 8),
    ("icmp-routeradvert", 9), ("icmp-routersolicit", 10), ("icmp-timxceed", 11), ("icmp-paramprob", 12),
    ("icmp-tstamp", 13), ("icmp-tstampreply", 14), ("icmp-ireq", 15), ("icmp-ireqreply", 16), ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
];

/// Types of ICMPv6.
#[rustfmt::skip]
pub(super) const ICMP6_TYPES: &[(&str, u32)] = &[
    ("icmp6-destinationunreach", 1), ("icmp6-packettoobig", 2), ("icmp6-timeexceeded", 3), ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128), ("icmp6-echoreply", 129), ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131), ("icmp6-multicastlistenerdone", 132), ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134), ("icmp6-neighborsolicit", 135), ("icmp6-neighboradvert", 136), ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138), ("icmp6-nodeinformationquery", 139), ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141), ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143), ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145), ("icmp6-mobileprefixsolicit", 146), ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148), ("icmp6-certpathadvert", 149), ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152), ("icmp6-multicastrouterterm", 153),
];

/// The number that a name stands for, wherever it is written.
pub(super) fn number(name: &str) -> Option<u32> {
    if let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) {
        return Some(1 << bit);
    }
    [NUMBERS, ICMP_TYPES, ICMP6_TYPES].iter().find_map(|names| in_table(names, name))
}

/// The name of a number in one of these tables.
pub(super) fn named(names: &[(&'static str, u32)], number: u32) -> Option<&'static str> {
    names.iter().find(|(_, value)| *value == number).map(|(name, _)| *name)
}

fn in_table<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// The number of a protocol over IP, by its name in Debian's `/etc/protocols`: what libpcap asks for.
pub(super) fn protocol(name: &str) -> Option<u8> {
    in_table(PROTOCOLS, name)
}

/// Sorted by name.
#[rustfmt::skip]
const PROTOCOLS: &[(&str, u8)] = &[
    ("AX.25", 93), ("CPHB", 73), ("DCCP", 33), ("DDP", 37), ("EGP", 8), ("EIGRP", 88), ("ENCAP", 98), ("ETHERIP", 97),
    ("Ethernet", 143), ("FC", 133), ("GGP", 3), ("GRE", 47), ("HIP", 139), ("HMP", 20), ("HOPOPT", 0), ("ICMP", 1),
    ("IDPR-CMTP", 38), ("IDRP", 45), ("IGMP", 2), ("IGP", 9), ("IP", 0), ("IP-ENCAP", 4), ("IPCOMP", 108),
    ("IPIP", 94), ("IPSEC-AH", 51), ("IPSEC-ESP", 50), ("IPv6", 41), ("IPv6-Frag", 44), ("IPv6-ICMP", 58),
    ("IPv6-NoNxt", 59), ("IPv6-Opts", 60), ("IPv6-Route", 43), ("ISIS", 124), ("ISO-TP4", 29), ("L2TP", 115),
    ("MPLS-in-IP", 137), ("Mobility-Header", 135), ("OSPFIGP", 89), ("PIM", 103), ("PUP", 12), ("RDP", 27),
    ("ROHC", 142), ("RSPF", 73), ("RSVP", 46), ("SCTP", 132), ("SKIP", 57), ("ST", 5), ("Shim6", 140), ("TCP", 6),
    ("UDP", 17), ("UDPLite", 136), ("VMTP", 81), ("VRRP", 112), ("WESP", 141), ("XNS-IDP", 22), ("XTP", 36),
    ("ah", 51), ("ax.25", 93), ("dccp", 33), ("ddp", 37), ("egp", 8), ("eigrp", 88), ("encap", 98), ("esp", 50),
    ("etherip", 97), ("ethernet", 143), ("fc", 133), ("ggp", 3), ("gre", 47), ("hip", 139), ("hmp", 20),
    ("hopopt", 0), ("icmp", 1), ("idpr-cmtp", 38), ("idrp", 45), ("igmp", 2), ("igp", 9), ("ip", 0), ("ipcomp", 108),
    ("ipencap", 4), ("ipip", 94), ("ipv6", 41), ("ipv6-frag", 44), ("ipv6-icmp", 58), ("ipv6-nonxt", 59),
    ("ipv6-opts", 60), ("ipv6-route", 43), ("isis", 124), ("iso-tp4", 29), ("l2tp", 115), ("manet", 138),
    ("mobility-header", 135), ("mpls-in-ip", 137), ("ospf", 89), ("pim", 103), ("pup", 12), ("rdp", 27),
    ("rohc", 142), ("rspf", 73), ("rsvp", 46), ("sctp", 132), ("shim6", 140), ("skip", 57), ("st", 5), ("tcp", 6),
    ("udp", 17), ("udplite", 136), ("vmtp", 81), ("vrrp", 112), ("wesp", 141), ("xns-idp", 22), ("xtp", 36),
];

/// The Ethernet type of a name, as libpcap knows it; those of LLC and SNAP are not covered.
pub(super) fn ether_type(name: &str) -> Option<u16> {
    in_table(ETHER_TYPES, name)
}

/// The name of an Ethernet type.
pub(super) fn ether_type_name(number: u16) -> Option<&'static str> {
    ETHER_TYPES.iter().find(|(_, value)| *value == number).map(|(name, _)| *name)
}

#[rustfmt::skip]
const ETHER_TYPES: &[(&str, u16)] = &[
    ("ip", 0x0800), ("arp", 0x0806), ("rarp", 0x8035), ("ip6", 0x86dd), ("loopback", 0x9000),
    ("mopdl", 0x6001), ("moprc", 0x6002), ("decnet", 0x6003), ("lat", 0x6004), ("sca", 0x6007),
];

/// Names of `ether proto` that libpcap finds in LLC or SNAP headers as well.
pub(super) const LLC_NAMES: &[&str] = &["iso", "stp", "ipx", "netbeui", "atalk", "aarp"];

/// What to do about a keyword that is not covered.
pub(super) fn remedy(keyword: &str) -> &'static str {
    match keyword {
        "ppp" | "slip" | "fddi" | "tr" | "wlan" => "mirrored interfaces are Ethernet: write ether",
        "gateway" => {
            "write the gateway's MAC address and leave out its IP address: ether host MAC and not host ADDRESS"
        }
        "protochain" => {
            "write proto, which looks at the header behind IPv4's, or behind IPv6's and its fragment header"
        }
        "ifindex" => "write the interface's name: ifname NAME",
        "mpls" => "write ether proto 0x8847, which is all of MPLS",
        "pppoed" => "write ether proto 0x8863",
        "pppoes" => "write ether proto 0x8864, which is all of PPPoE's sessions",
        "geneve" => "write udp port 6081, which is all of Geneve",
        "byte" => "write ip proto, port or tcp[tcpflags] for the bytes that can be tested",
        "iso" | "esis" | "isis" | "clnp" | "stp" | "ipx" | "netbeui" | "llc" | "atalk" | "aarp" => {
            "frames with LLC headers cannot be told apart here: select them by their address, as in ether dst MAC"
        }
        "type" | "subtype" | "dir" | "addr1" | "addr2" | "addr3" | "addr4" | "ra" | "ta" | "radio" => {
            "mirrored interfaces are Ethernet, without 802.11 headers: write ether host MAC"
        }
        "rset" | "rnr" | "srnr" | "reason" | "action" => "that is of pf's log; here frames have no such property",
        _ => "that is of another kind of link than Ethernet: leave it out",
    }
}
