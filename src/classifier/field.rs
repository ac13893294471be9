//! The fields of a frame's key, the words of `bpf/abi_rules.h`: what entries and tables compare.

use std::fmt;

/// A field: a word of the key, or one bit of the word of TCP's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    word: u8,
    /// The bit, counted from the lowest, of a field that is one bit; else WHOLE.
    bit: u8,
}

const WHOLE: u8 = 32;
/// Views of a frame: as it is, and behind up to three `vlan`.
pub const VIEWS: u8 = 4;
/// Words of the whole frame.
pub const COMMON: u8 = 8;
/// Words of a view.
pub const VIEW_WORDS: u8 = 16;
/// Words of a key.
pub const WORDS: usize = COMMON as usize + VIEWS as usize * VIEW_WORDS as usize;
/// The largest value of `Field::CAPTURED` in the first view; each further one has 4 more.
pub const CAPTURED_MAX: u32 = 58;
/// The largest value of `ViewField::Transport`.
pub const TRANSPORT_MAX: u32 = 14;

/// A key: values of all words.
pub type Key = [u32; WORDS];

/// A word of a view. Views begin 4 bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ViewField {
    /// The two bytes where the type of an Ethernet frame stands; a tag's TPID.
    EtherType = 0,
    /// The VID (12 bits), where EtherType is that of a tag: 0x8100, 0x88a8 or 0x9100.
    Vlan = 1,
    /// IPv4's protocol; IPv6's next header, of the fixed header alone.
    Protocol = 2,
    /// IPv4: 1 when the fragment offset is not 0, else 0. IPv6: the next header behind a fragment header, where Protocol is
    /// 44.
    Fragment = 3,
    /// The source address's first four bytes; all of it of IPv4, ARP and RARP.
    Src0 = 4,
    /// The next four, of IPv6.
    Src1 = 5,
    /// And so on.
    Src2 = 6,
    /// And so on.
    Src3 = 7,
    /// The destination address.
    Dst0 = 8,
    /// The next four, of IPv6.
    Dst1 = 9,
    /// And so on.
    Dst2 = 10,
    /// And so on.
    Dst3 = 11,
    /// The source port of TCP, UDP and SCTP; the type of ICMP and ICMPv6. Of IPv4 where Fragment is 0.
    SrcPort = 12,
    /// The destination port; the code of ICMP and ICMPv6.
    DstPort = 13,
    /// Byte 13 of TCP's header, over IPv4 where Fragment is 0.
    TcpFlags = 14,
    /// Bytes that can be read behind IPv4's header, at most TRANSPORT_MAX.
    Transport = 15,
}

impl ViewField {
    /// All of them, by their number.
    pub const ALL: [ViewField; VIEW_WORDS as usize] = {
        use ViewField::*;
        [
            EtherType, Vlan, Protocol, Fragment, Src0, Src1, Src2, Src3, Dst0, Dst1, Dst2, Dst3, SrcPort, DstPort,
            TcpFlags, Transport,
        ]
    };
    /// The words of the source address.
    pub const SRC: [ViewField; 4] = [ViewField::Src0, ViewField::Src1, ViewField::Src2, ViewField::Src3];
    /// The words of the destination address.
    pub const DST: [ViewField; 4] = [ViewField::Dst0, ViewField::Dst1, ViewField::Dst2, ViewField::Dst3];
}

impl Field {
    /// 1 = ingress, 2 = egress.
    pub const DIRECTION: Field = Field::common(0);
    /// The number of the mirrored interface.
    pub const INTERFACE: Field = Field::common(1);
    /// Bytes of the frame, tags included; of a super-packet, of all of it.
    pub const LENGTH: Field = Field::common(2);
    /// Bytes of the frame that can be read, at most CAPTURED_MAX and 4 for each view beyond the first that the rules use.
    pub const CAPTURED: Field = Field::common(3);
    /// The first two bytes of the destination MAC address; 0x10000 is added when it is a group's (the lowest bit of its first byte).
    pub const DST_MAC_HIGH: Field = Field::common(4);
    /// Its last four.
    pub const DST_MAC_LOW: Field = Field::common(5);
    /// The first two bytes of the source MAC address.
    pub const SRC_MAC_HIGH: Field = Field::common(6);
    /// Its last four.
    pub const SRC_MAC_LOW: Field = Field::common(7);

    /// Those of the whole frame, by their number.
    pub const OF_FRAME: [Field; COMMON as usize] = [
        Field::DIRECTION,
        Field::INTERFACE,
        Field::LENGTH,
        Field::CAPTURED,
        Field::DST_MAC_HIGH,
        Field::DST_MAC_LOW,
        Field::SRC_MAC_HIGH,
        Field::SRC_MAC_LOW,
    ];

    const fn common(word: u8) -> Field {
        Field { word, bit: WHOLE }
    }

    /// A field of a view, 0 to VIEWS - 1.
    pub const fn view(view: u8, field: ViewField) -> Field {
        Field { word: COMMON + view * VIEW_WORDS + field as u8, bit: WHOLE }
    }

    /// One of TCP's flags: a bit of ViewField::TcpFlags, 0 (FIN) to 7 (CWR). Its value is 0 or 1.
    pub const fn tcp_flag(view: u8, bit: u8) -> Field {
        Field { word: Field::view(view, ViewField::TcpFlags).word, bit }
    }

    /// The word of the key.
    pub const fn word(self) -> usize {
        self.word as usize
    }

    /// The bit of a field that is one.
    pub const fn bit(self) -> Option<u8> {
        if self.bit == WHOLE { None } else { Some(self.bit) }
    }

    /// The view of a field of one, from 0; None for fields of the whole frame.
    pub const fn of_view(self) -> Option<u8> {
        if self.word < COMMON { None } else { Some((self.word - COMMON) / VIEW_WORDS) }
    }

    /// What it is in its view; None for fields of the whole frame.
    pub const fn view_field(self) -> Option<ViewField> {
        if self.word < COMMON { None } else { Some(ViewField::ALL[((self.word - COMMON) % VIEW_WORDS) as usize]) }
    }

    /// The largest value that a frame can have.
    pub fn max(self) -> u32 {
        use ViewField::*;
        match (self, self.view_field()) {
            _ if self.bit != WHOLE => 1,
            (Field::DIRECTION, _) => 2,
            (Field::CAPTURED, _) => CAPTURED_MAX + 4 * u32::from(VIEWS - 1),
            (Field::DST_MAC_HIGH, _) => 0x1_ffff,
            (Field::SRC_MAC_HIGH, _) | (_, Some(EtherType | SrcPort | DstPort)) => 0xffff,
            (_, Some(Vlan)) => 0xfff,
            (_, Some(Protocol | Fragment | TcpFlags)) => 0xff,
            (_, Some(Transport)) => TRANSPORT_MAX,
            _ => u32::MAX,
        }
    }

    /// The field's value in a key.
    pub fn value(self, key: &Key) -> u32 {
        let word = key[self.word()];
        match self.bit() {
            None => word,
            Some(bit) => word >> bit & 1,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COMMON_NAMES: [&str; COMMON as usize] = [
            "direction",
            "interface",
            "length",
            "captured",
            "dst-mac-high",
            "dst-mac-low",
            "src-mac-high",
            "src-mac-low",
        ];
        const VIEW_NAMES: [&str; VIEW_WORDS as usize] = [
            "ether-type",
            "vlan",
            "protocol",
            "fragment",
            "src",
            "src-1",
            "src-2",
            "src-3",
            "dst",
            "dst-1",
            "dst-2",
            "dst-3",
            "sport",
            "dport",
            "tcp-flags",
            "transport",
        ];
        let name = match self.view_field() {
            None => COMMON_NAMES[self.word()],
            Some(field) => VIEW_NAMES[field as usize],
        };
        f.write_str(name)?;
        if let Some(view) = self.of_view().filter(|view| *view > 0) {
            write!(f, "@{view}")?;
        }
        match self.bit() {
            None => Ok(()),
            Some(bit) => write!(f, ".{bit}"),
        }
    }
}
