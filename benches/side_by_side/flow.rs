//! Flows, the frames that belong to them, and how often each of them comes.

use ebmirror::lab::checksum::checksum;
use ebmirror::lab::classbench::{Packet5, Zipf};
use ebmirror::lab::random::Random;

/// Nobody's: whoever gets a frame for it drops it at the first look.
pub const NOBODY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xbe, 0xef];
const SENDER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xbe, 0xee];

/// Frames of a table, a power of two.
pub const ROWS: usize = 1 << 16;
/// What differs between them: from the TTL to the destination port.
pub const ROW_BYTES: usize = 16;

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
/// Where what a table gives to a frame begins: at the TTL.
pub const ROW_START: usize = ETHERNET_BYTES + 8;
const TTL: u8 = 64;

pub const UDP: u8 = 17;

/// A frame of this length, at least 60, from a stranger to nobody, readable as UDP and as TCP.
pub fn frame(packet: &Packet5, length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[0..6].copy_from_slice(&NOBODY_MAC);
    frame[6..12].copy_from_slice(&SENDER_MAC);
    let total = length - ETHERNET_BYTES;
    let transport = total - IPV4_BYTES;
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&(total as u16).to_be_bytes());
    frame[ROW_START..ROW_START + ROW_BYTES].copy_from_slice(&row(packet, length));
    // UDP has its length where TCP has the first half of its sequence number; no checksum.
    frame[38..40].copy_from_slice(&(transport as u16).to_be_bytes());
    // TCP: a header of 20 bytes, ACK. In UDP this is payload.
    frame[46..48].copy_from_slice(&[0x50, 0x10]);
    frame
}

/// What differs between the frames of one length: the bytes from the TTL to the destination port.
pub fn row(packet: &Packet5, length: usize) -> [u8; ROW_BYTES] {
    let mut header = [0; IPV4_BYTES];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((length - ETHERNET_BYTES) as u16).to_be_bytes());
    header[8..10].copy_from_slice(&[TTL, packet.protocol]);
    header[12..16].copy_from_slice(&packet.src.to_be_bytes());
    header[16..20].copy_from_slice(&packet.dst.to_be_bytes());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut row = [0; ROW_BYTES];
    row[..12].copy_from_slice(&header[8..]);
    row[12..14].copy_from_slice(&packet.sport.to_be_bytes());
    row[14..16].copy_from_slice(&packet.dport.to_be_bytes());
    row
}

/// How often each flow comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// The k-th of them 1/k times as often as the first.
    Zipf,
    /// All of them equally often, in no order.
    Uniform,
}

impl Mix {
    pub fn name(self) -> &'static str {
        match self {
            Self::Zipf => "Zipf",
            Self::Uniform => "uniform",
        }
    }

    /// A table of frames of one length, drawn from these flows.
    pub fn rows(self, flows: &[Packet5], length: usize, random: &mut Random) -> Vec<[u8; ROW_BYTES]> {
        let zipf = Zipf::new(flows.len());
        let pick = |random: &mut Random| match self {
            Self::Zipf => zipf.pick(random),
            Self::Uniform => random.below(flows.len()),
        };
        (0..ROWS).map(|_| row(&flows[pick(random)], length)).collect()
    }
}

/// Flows between strangers, all different, for a mirror without rules.
pub fn strangers(count: u32) -> Vec<Packet5> {
    let flow = |n: u32| Packet5 {
        src: 0xc000_0200 | n & 0xff,
        dst: 0xc633_6400 | n >> 8 & 0xff,
        protocol: UDP,
        sport: 1024 + (n % 60_000) as u16,
        dport: 5000,
    };
    (0..count).map(flow).collect()
}
