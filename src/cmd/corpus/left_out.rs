//! Frames that are not replayed, and why.

use crate::lab::pcap::{ETHERNET, Item, Record, link_type_name};

/// Of Ethernet, and of a VLAN tag, which may come on top of the MTU.
const HEADER: usize = 14;
const TAG: usize = 4;
/// The longest frame that VXLAN over IPv4 carries whole: a packet has at most 65,535 bytes, and 36 of them are headers.
const CARRIED_BYTES_MAX: usize = 65_499;
const CUSTOMER_TAG: [u8; 2] = [0x81, 0x00];

/// `None`: it is replayed, on an interface with this MTU.
pub(super) fn reason_to_leave_out(item: &Item, mtu: u32) -> Option<String> {
    let record = match item {
        Item::Bad(what) => return Some((*what).into()),
        Item::Frame(record) => record,
    };
    if record.link_type != ETHERNET {
        return Some(format!("of {}", link_type_name(record.link_type)));
    }
    let Record { bytes, .. } = record;
    let longest = mtu as usize + HEADER + if bytes.get(12..14) == Some(&CUSTOMER_TAG) { TAG } else { 0 };
    match () {
        () if record.is_cut() => Some("cut by the capture".into()),
        () if bytes.len() < HEADER => Some(format!("shorter than {HEADER} bytes")),
        () if bytes.len() > longest => Some(format!("longer than an MTU of {mtu} takes")),
        () if bytes.len() > CARRIED_BYTES_MAX => {
            Some(format!("longer than {CARRIED_BYTES_MAX} bytes, which no tunnel carries whole"))
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_to_leave_a_frame_out_is_named() {
        let frame = |link_type, wire_bytes, bytes: Vec<u8>| Item::Frame(Record { link_type, wire_bytes, bytes });
        let tagged = |length| {
            let mut bytes = vec![0; length];
            bytes[12..14].copy_from_slice(&CUSTOMER_TAG);
            bytes
        };
        for (item, expected) in [
            (frame(1, 60, vec![0; 60]), None),
            (frame(1, 14, vec![0; 14]), None),
            (frame(1, 0, vec![0; 14]), None),
            (frame(1, 1514, vec![0; 1514]), None),
            (frame(1, 1518, tagged(1518)), None),
            (frame(1, 1515, vec![0; 1515]), Some("longer than an MTU of 1500 takes")),
            (frame(1, 1519, tagged(1519)), Some("longer than an MTU of 1500 takes")),
            (frame(1, 13, vec![0; 13]), Some("shorter than 14 bytes")),
            (frame(1, 0, vec![]), Some("shorter than 14 bytes")),
            (frame(1, 61, vec![0; 60]), Some("cut by the capture")),
            (frame(113, 60, vec![0; 60]), Some("of link type 113 (Linux cooked)")),
            (frame(9999, 60, vec![0; 60]), Some("of link type 9999")),
            (Item::Bad("longer than the block that holds it"), Some("longer than the block that holds it")),
        ] {
            assert_eq!(reason_to_leave_out(&item, 1500).as_deref(), expected, "{item:?}");
        }
    }

    #[test]
    fn a_frame_that_no_outer_packet_holds_is_left_out() {
        let reason = |length| {
            let record = Record { link_type: ETHERNET, wire_bytes: 0, bytes: vec![0; length] };
            reason_to_leave_out(&Item::Frame(record), 65_535).is_some()
        };
        assert_eq!([65_499, 65_500, 65_549, 65_550].map(reason), [false, true, true, true]);
    }
}
