//! Entries and their words.

use super::*;

fn text(ranges: &[(Field, u32, u32)]) -> String {
    let entry = ranges
        .iter()
        .try_fold(Entry::default(), |entry, (field, low, high)| entry.with(*field, Range::new(*low, *high)))
        .unwrap();
    words(&entry, &[&"eth0".parse().unwrap()])
        .iter()
        .map(|(field, range)| format!("{field} {range}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn at(field: ViewField) -> Field {
    Field::view(0, field)
}

#[test]
fn numbers_become_addresses_and_names_and_what_must_be_captured_comes_last() {
    use ViewField::*;
    let ip = (at(EtherType), 0x800, 0x800);
    let ip6 = (at(EtherType), 0x86dd, 0x86dd);
    for (ranges, expected) in [
        (vec![], ""),
        (vec![(Field::INTERFACE, 0, 0)], "interface eth0"),
        (
            vec![(Field::CAPTURED, 38, u32::MAX), ip, (at(Src0), 0x0a00_0000, 0x0aff_ffff)],
            "ether-type ip, src 10.0.0.0/8, captured >= 38",
        ),
        (vec![ip, (at(Dst0), 0x0a00_0001, 0x0a00_0001)], "ether-type ip, dst 10.0.0.1"),
        (vec![ip, (at(Dst0), 0x0a00_0001, 0x0a00_0002)], "ether-type ip, dst 10.0.0.1-10.0.0.2"),
        (vec![ip, (at(Dst0), 0, 0x7fff_ffff)], "ether-type ip, dst 0.0.0.0/1"),
        (
            vec![ip6, (at(Src0), 0x2001_0db8, 0x2001_0db8), (at(Src1), 0x0001_0000, 0x0001_ffff)],
            "ether-type ip6, src 2001:db8:1::/48",
        ),
        (vec![ip6, (at(Dst0), 0, 0), (at(Dst1), 0, 0), (at(Dst2), 0, 0), (at(Dst3), 1, 1)], "ether-type ip6, dst ::1"),
        (vec![ip6, (at(Dst1), 5, 5)], "ether-type ip6, dst-1 0x00000005"),
        (
            vec![ip, (at(Protocol), 6, 6), (at(Fragment), 0, 0), (at(DstPort), 80, 90), (at(SrcPort), 1024, 65535)],
            "ether-type ip, protocol tcp, fragment first, sport >= 1024, dport 80-90",
        ),
        (
            vec![ip, (at(Protocol), 1, 1), (at(SrcPort), 8, 8), (at(Transport), 1, 14)],
            "ether-type ip, protocol icmp, icmp-type 8, transport >= 1",
        ),
        (vec![ip6, (at(Protocol), 44, 44), (at(Fragment), 6, 6)], "ether-type ip6, protocol ip6-frag, fragment tcp"),
        (
            vec![(at(EtherType), 0x8100, 0x8100), (at(Vlan), 7, 7), (Field::view(1, EtherType), 0x88cc, 0x88cc)],
            "ether-type 802.1q, vlan 7, ether-type@1 0x88cc",
        ),
        (vec![(Field::tcp_flag(0, 1), 1, 1), (Field::tcp_flag(1, 4), 0, 0)], "tcp-syn 1, tcp-ack@1 0"),
        (
            vec![(Field::DST_MAC_HIGH, 0x1_ffff, 0x1_ffff), (Field::DST_MAC_LOW, u32::MAX, u32::MAX)],
            "dst-mac ff:ff:ff:ff:ff:ff",
        ),
        (vec![(Field::DST_MAC_HIGH, 0x1_0000, 0x1_ffff)], "dst-mac multicast"),
        (vec![(Field::DIRECTION, 1, 1), (Field::LENGTH, 0, 64)], "direction ingress, length <= 64"),
    ] {
        assert_eq!(text(&ranges), expected);
    }
}
