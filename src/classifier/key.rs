//! The key of a frame, made from its bytes: what the datapath does, said once more, in plain words. `bpf/abi_rules.h` says
//! what the words are.

use super::field::{CAPTURED_MAX, Field, Key, TRANSPORT_MAX, VIEWS, ViewField, WORDS};

const IP: u32 = 0x0800;
const ARP: u32 = 0x0806;
const RARP: u32 = 0x8035;
const IP6: u32 = 0x86dd;
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const ICMP: u32 = 1;
const TCP: u32 = 6;
const FRAGMENT: u32 = 44;
const ICMP6: u32 = 58;
/// TCP, UDP and SCTP.
const PORTS: [u32; 3] = [TCP, 17, 132];

/// The key of a frame of which these bytes were captured. `length` is that of all of it, `direction` 1 (ingress) or 2 (egress),
/// `interface` an ifindex; `views`, those beyond the first that rules look at.
pub fn key(frame: &[u8], length: u32, direction: u32, interface: u32, views: u8) -> Key {
    let frame = Frame(frame);
    let views = views.min(VIEWS - 1);
    let mut key: Key = [0; WORDS];
    let mut set = |field: Field, value: Option<u32>| key[field.word()] = value.unwrap_or(0);
    set(Field::DIRECTION, Some(direction));
    set(Field::INTERFACE, Some(interface));
    set(Field::LENGTH, Some(length));
    set(Field::CAPTURED, Some(frame.readable().min(CAPTURED_MAX + 4 * u32::from(views))));
    // A frame of one byte has nothing but the bit of groups.
    let group = frame.byte(0).map(|byte| (byte & 1) << 16);
    set(Field::DST_MAC_HIGH, group.map(|group| group | frame.half(0).unwrap_or(0)));
    set(Field::DST_MAC_LOW, frame.word(2));
    set(Field::SRC_MAC_HIGH, frame.half(6));
    set(Field::SRC_MAC_LOW, frame.word(8));
    for view in 0..=views {
        let base = 4 * usize::from(view);
        let mut set = |field: ViewField, value: Option<u32>| set(Field::view(view, field), value);
        let Some(ether_type) = frame.half(base + 12) else { continue };
        set(ViewField::EtherType, Some(ether_type));
        match ether_type {
            IP => frame.ip(base + 14, &mut set),
            IP6 => frame.ip6(base + 14, &mut set),
            ARP | RARP => {
                set(ViewField::Src0, frame.word(base + 28));
                set(ViewField::Dst0, frame.word(base + 38));
            }
            tag if TAGS.contains(&tag) => set(ViewField::Vlan, frame.half(base + 14).map(|tci| tci & 0xfff)),
            _ => {}
        }
    }
    key
}

/// What can be read of a frame.
struct Frame<'a>(&'a [u8]);

impl Frame<'_> {
    fn readable(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn byte(&self, at: usize) -> Option<u32> {
        self.0.get(at).map(|byte| u32::from(*byte))
    }

    fn half(&self, at: usize) -> Option<u32> {
        Some(u32::from(u16::from_be_bytes(*self.0.get(at..)?.first_chunk()?)))
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_be_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    /// IPv4, whose header begins at this byte. Its length is taken as it stands there, even where it is too small.
    fn ip(&self, start: usize, set: &mut impl FnMut(ViewField, Option<u32>)) {
        let protocol = self.byte(start + 9);
        let later = self.half(start + 6).map(|word| u32::from(word & 0x1fff != 0));
        set(ViewField::Protocol, protocol);
        set(ViewField::Fragment, later);
        set(ViewField::Src0, self.word(start + 12));
        set(ViewField::Dst0, self.word(start + 16));
        let Some(first) = self.byte(start) else { return };
        let transport = start + 4 * (first & 0xf) as usize;
        let readable = self.readable().saturating_sub(u32::try_from(transport).unwrap_or(u32::MAX));
        set(ViewField::Transport, Some(readable.min(TRANSPORT_MAX)));
        if let (Some(protocol), Some(0)) = (protocol, later) {
            self.ports(transport, protocol, ICMP, set);
            if protocol == TCP {
                set(ViewField::TcpFlags, self.byte(transport + 13));
            }
        }
    }

    /// IPv6, whose header begins at this byte.
    fn ip6(&self, start: usize, set: &mut impl FnMut(ViewField, Option<u32>)) {
        for (index, (src, dst)) in ViewField::SRC.into_iter().zip(ViewField::DST).enumerate() {
            set(src, self.word(start + 8 + 4 * index));
            set(dst, self.word(start + 24 + 4 * index));
        }
        let Some(protocol) = self.byte(start + 6) else { return };
        set(ViewField::Protocol, Some(protocol));
        if protocol == FRAGMENT {
            set(ViewField::Fragment, self.byte(start + 40));
        }
        self.ports(start + 40, protocol, ICMP6, set);
    }

    /// What stands first behind IP's header.
    fn ports(&self, at: usize, protocol: u32, icmp: u32, set: &mut impl FnMut(ViewField, Option<u32>)) {
        if PORTS.contains(&protocol) {
            set(ViewField::SrcPort, self.half(at));
            set(ViewField::DstPort, self.half(at + 2));
        } else if protocol == icmp {
            set(ViewField::SrcPort, self.byte(at));
            set(ViewField::DstPort, self.byte(at + 1));
        }
    }
}
