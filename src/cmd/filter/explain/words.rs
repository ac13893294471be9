//! The conditions of a table entry in words: addresses, networks, names of protocols and flags instead of numbers.

use super::address::{address, mac};
use crate::classifier::entry::{Entry, Range};
use crate::classifier::field::{Field, VIEWS, ViewField};
use crate::model::interface::InterfaceName;

const ETHER_TYPES: [(u32, &str); 7] = [
    (0x0800, "ip"),
    (0x0806, "arp"),
    (0x8035, "rarp"),
    (0x86dd, "ip6"),
    (0x8100, "802.1q"),
    (0x88a8, "802.1ad"),
    (0x9100, "802.1q-9100"),
];
const PROTOCOLS: [(u32, &str); 17] = [
    (0, "ip6-hop"),
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (6, "tcp"),
    (17, "udp"),
    (41, "ipv6"),
    (43, "ip6-route"),
    (44, "ip6-frag"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmp6"),
    (60, "ip6-opts"),
    (89, "ospf"),
    (103, "pim"),
    (132, "sctp"),
];
const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr"];
const IP6: u32 = 0x86dd;

/// The conditions of an entry, each with its field; those on what can be read at the end. Interfaces are numbered by these names.
pub fn words(entry: &Entry, interfaces: &[&InterfaceName]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut late = Vec::new();
    for field in [Field::DIRECTION, Field::INTERFACE, Field::LENGTH] {
        found.extend(condition(entry, field, |value| match (field, value) {
            (Field::DIRECTION, 1) => "ingress".to_owned(),
            (Field::DIRECTION, 2) => "egress".to_owned(),
            (Field::INTERFACE, number) => {
                interfaces.get(number as usize).map_or(number.to_string(), |name| name.to_string())
            }
            _ => value.to_string(),
        }));
    }
    mac(entry, "dst-mac", Field::DST_MAC_HIGH, Field::DST_MAC_LOW, &mut found);
    mac(entry, "src-mac", Field::SRC_MAC_HIGH, Field::SRC_MAC_LOW, &mut found);
    late.extend(condition(entry, Field::CAPTURED, |value| value.to_string()));
    for view in 0..VIEWS {
        of_view(entry, view, &mut found);
        late.extend(condition(entry, Field::view(view, ViewField::Transport), |value| value.to_string()));
    }
    found.append(&mut late);
    found
}

fn of_view(entry: &Entry, view: u8, found: &mut Vec<(String, String)>) {
    let at = |field| Field::view(view, field);
    let ether_type = single(entry, at(ViewField::EtherType));
    let protocol = single(entry, at(ViewField::Protocol));
    let is_ip6 = ether_type == Some(IP6);
    found.extend(condition(entry, at(ViewField::EtherType), |value| {
        named(&ETHER_TYPES, value, |n| format!("{n:#06x}"))
    }));
    found.extend(condition(entry, at(ViewField::Vlan), |value| value.to_string()));
    found.extend(condition(entry, at(ViewField::Protocol), protocol_name));
    found.extend(condition(entry, at(ViewField::Fragment), |value| match (is_ip6, value) {
        (true, value) => protocol_name(value),
        (false, 0) => "first".to_owned(),
        (false, _) => "later".to_owned(),
    }));
    for words in [ViewField::SRC, ViewField::DST] {
        address(entry, words.map(at), is_ip6, found);
    }
    let is_icmp = matches!(protocol, Some(1 | 58));
    for (field, icmp) in [(ViewField::SrcPort, "icmp-type"), (ViewField::DstPort, "icmp-code")] {
        found.extend(condition(entry, at(field), |value| value.to_string()).map(|(name, range)| match is_icmp {
            true => (name.replace(at(field).to_string().split('@').next().unwrap_or_default(), icmp), range),
            false => (name, range),
        }));
    }
    found.extend(condition(entry, at(ViewField::TcpFlags), |value| format!("{value:#04x}")));
    for (bit, name) in (0..).zip(TCP_FLAGS) {
        if let Some(value) = single(entry, Field::tcp_flag(view, bit)) {
            let whole = at(ViewField::TcpFlags).to_string();
            found.push((whole.replace("tcp-flags", &format!("tcp-{name}")), value.to_string()));
        }
    }
}

/// The range that the entry has of a field; None: the field may be anything.
pub(super) fn given(entry: &Entry, field: Field) -> Option<Range> {
    Some(entry.range(field)).filter(|range| *range != Range::new(0, field.max()))
}

/// The one value that the field must have.
pub(super) fn single(entry: &Entry, field: Field) -> Option<u32> {
    given(entry, field).filter(|range| range.low == range.high).map(|range| range.low)
}

pub(super) fn condition(entry: &Entry, field: Field, word: impl Fn(u32) -> String) -> Option<(String, String)> {
    let Range { low, high } = given(entry, field)?;
    let text = match (low, high) {
        (low, high) if low == high => word(low),
        (low, high) if high == field.max() => format!(">= {}", word(low)),
        (0, high) => format!("<= {}", word(high)),
        (low, high) => format!("{}-{}", word(low), word(high)),
    };
    Some((field.to_string(), text))
}

fn named(names: &[(u32, &str)], value: u32, number: impl Fn(u32) -> String) -> String {
    names.iter().find(|(known, _)| *known == value).map_or_else(|| number(value), |(_, name)| (*name).to_owned())
}

fn protocol_name(value: u32) -> String {
    named(&PROTOCOLS, value, |number| number.to_string())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
