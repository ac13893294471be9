//! A reader of capture files: pcap in all its byte orders and resolutions, and pcapng; and what writes plain ones.
//!
//! The reader is made for files that nobody has looked after: any bytes give records, or an error that says where and what is
//! wrong, and never more memory than the file has bytes. What a file holds in front of the damage is delivered. It is our
//! own because the crate to take, pcap-parser 0.17, knows neither the obsolete packet block nor the modified pcap of old
//! patches in big-endian order, and takes a block that is wrong in itself for a file that ends too early.

use std::fmt;
use std::io::{self, Read, Write};

/// libpcap reads no longer records, unless the file's snap length is larger.
pub const RECORD_BYTES_MAX: u32 = 256 * 1024;
/// Whatever a snap length says.
const SNAP_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// A block of pcapng that is longer is damage: a frame with its options, or a table of names, fits easily.
const BLOCK_BYTES_MAX: u32 = 2 * SNAP_BYTES_MAX;

const PCAPNG_SECTION: u32 = 0x0a0d_0d0a;
const PCAPNG_INTERFACE: u32 = 1;
const PCAPNG_PACKET: u32 = 2;
const PCAPNG_SIMPLE_PACKET: u32 = 3;
const PCAPNG_ENHANCED_PACKET: u32 = 6;
const PCAPNG_ORDER: u32 = 0x1a2b_3c4d;

/// The rest of a pcap header behind the magic number, and what stands in front of each frame.
const PCAP_HEADER_BYTES: usize = 20;
const PCAP_RECORD_BYTES: usize = 16;
/// Alexey Kuznetzov's patch adds the interface, the protocol and the packet type.
const PCAP_MODIFIED_RECORD_BYTES: usize = 24;

/// LINKTYPE_ETHERNET of the registry of link types.
pub const ETHERNET: u16 = 1;

/// What else begins like a capture to the people who have it in their directory.
const FOREIGN: [(&[u8], &str); 8] = [
    (&[0x1f, 0x8b], "compressed with gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "compressed with zstd"),
    (&[0xfd, b'7', b'z', b'X'], "compressed with xz"),
    (&[0x04, 0x22, 0x4d, 0x18], "compressed with lz4"),
    (b"snoo", "a capture of snoop"),
    (&[0x1c, 0x00, 0x01, 0xab], "an IXIA variant of pcap (magic number 1c0001ab)"),
    (&[0x1c, 0x00, 0x01, 0xac], "an IXIA variant of pcap (magic number 1c0001ac)"),
    (b"RTSS", "a capture of Network Monitor"),
];

/// Writes what a capture file of Ethernet begins with: pcap 2.4, in the byte order of this machine.
///
/// # Errors
/// The output's.
pub fn write_header(output: &mut impl Write) -> io::Result<()> {
    let version = 2 | 4 << 16;
    write_words(output, &[0xa1b2_c3d4, version, 0, 0, RECORD_BYTES_MAX, ETHERNET.into()])
}

/// Writes a frame behind it, captured in this second.
///
/// # Errors
/// The output's.
pub fn write_frame(output: &mut impl Write, second: u32, wire_bytes: u32, bytes: &[u8]) -> io::Result<()> {
    write_words(output, &[second, 0, bytes.len() as u32, wire_bytes])?;
    output.write_all(bytes)
}

fn write_words(output: &mut impl Write, words: &[u32]) -> io::Result<()> {
    words.iter().try_for_each(|word| output.write_all(&word.to_ne_bytes()))
}

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the bytes begin with, as the registry of link types numbers it.
    pub link_type: u16,
    /// How long it was on the wire, in bytes. Longer than [`Record::bytes`]: the capture has cut it.
    pub wire_bytes: u32,
    /// What was captured.
    pub bytes: Vec<u8>,
}

impl Record {
    /// The capture kept less than there was.
    pub fn is_cut(&self) -> bool {
        u32::try_from(self.bytes.len()).is_ok_and(|length| length < self.wire_bytes)
    }
}

/// The next thing in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A frame.
    Frame(Record),
    /// A frame that makes no sense, in words; the ones behind it can be read.
    Bad(&'static str),
}

/// Why there is nothing more to be read.
#[derive(Debug)]
pub enum Fault {
    /// It is no capture; in words.
    Foreign(String),
    /// The file is damaged at this byte; in words.
    Damaged {
        /// Where the record or block begins that cannot be read.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It cannot be read.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(what) => write!(f, "not a capture: {what}"),
            Self::Damaged { offset, what } => write!(f, "damaged at byte {offset}: {what}"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Reads a capture from its beginning to its end.
pub struct Reader<R> {
    source: Source<R>,
    format: Format,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Section),
}

/// The header of a pcap file.
struct Pcap {
    big_endian: bool,
    header_bytes: usize,
    snap_bytes: u32,
    link_type: u16,
}

/// What a section of pcapng has said so far.
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: u16,
    /// 0: no limit.
    snap_bytes: u32,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header. Many small reads follow: `input` should be buffered.
    ///
    /// # Errors
    /// When it is no capture, or cannot be read.
    pub fn open(input: R) -> Result<Self, Fault> {
        let mut source = Source { input, offset: 0 };
        let magic = source.up_to(4)?;
        let Some(&magic) = magic.first_chunk::<4>() else {
            let what = if magic.is_empty() { "it is empty" } else { "it is shorter than a magic number" };
            return Err(Fault::Foreign(what.into()));
        };
        let format = match u32::from_be_bytes(magic) {
            PCAPNG_SECTION => Format::Pcapng(source.section(0)?),
            0xa1b2_c3d4 | 0xa1b2_3c4d => Format::Pcap(source.pcap(true, PCAP_RECORD_BYTES)?),
            0xd4c3_b2a1 | 0x4d3c_b2a1 => Format::Pcap(source.pcap(false, PCAP_RECORD_BYTES)?),
            0xa1b2_cd34 => Format::Pcap(source.pcap(true, PCAP_MODIFIED_RECORD_BYTES)?),
            0x34cd_b2a1 => Format::Pcap(source.pcap(false, PCAP_MODIFIED_RECORD_BYTES)?),
            number => {
                let reversed = number.swap_bytes().to_be_bytes();
                let known = FOREIGN.iter().find(|(start, _)| magic.starts_with(start) || reversed.starts_with(start));
                let text = known.map_or_else(|| format!("magic number {number:08x}"), |(_, what)| (*what).into());
                return Err(Fault::Foreign(text));
            }
        };
        Ok(Self { source, format })
    }

    /// The next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// Damage, after which nothing more is to be had from this reader, and those of reading.
    pub fn next_item(&mut self) -> Result<Option<Item>, Fault> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source),
            Format::Pcapng(section) => section.next(&mut self.source),
        }
    }
}

impl Pcap {
    fn next(&self, source: &mut Source<impl Read>) -> Result<Option<Item>, Fault> {
        let start = source.offset;
        let header = source.up_to(self.header_bytes)?;
        if header.is_empty() {
            return Ok(None);
        }
        if header.len() < self.header_bytes {
            return Err(ends_inside(start, "the header of a record"));
        }
        let (Some(captured), Some(wire_bytes)) =
            (word(&header, 8, self.big_endian), word(&header, 12, self.big_endian))
        else {
            return Err(ends_inside(start, "the header of a record"));
        };
        if captured > self.snap_bytes.clamp(RECORD_BYTES_MAX, SNAP_BYTES_MAX) {
            return Err(Fault::Damaged { offset: start, what: format!("a record of {captured} bytes") });
        }
        let bytes = source.up_to(captured as usize)?;
        if bytes.len() < captured as usize {
            return Err(ends_inside(start, "a record"));
        }
        Ok(Some(Item::Frame(Record { link_type: self.link_type, wire_bytes, bytes })))
    }
}

impl Section {
    fn next(&mut self, source: &mut Source<impl Read>) -> Result<Option<Item>, Fault> {
        loop {
            let start = source.offset;
            let head = source.up_to(4)?;
            if head.is_empty() {
                return Ok(None);
            }
            let Some(kind) = word(&head, 0, self.big_endian) else {
                return Err(ends_inside(start, "the header of a block"));
            };
            // Its number reads the same in both byte orders.
            if kind == PCAPNG_SECTION {
                *self = source.section(start)?;
                continue;
            }
            let body = source.block(start, self.big_endian)?;
            match kind {
                PCAPNG_INTERFACE => self.interfaces.push(self.interface(&body, start)?),
                PCAPNG_ENHANCED_PACKET => return Ok(Some(self.packet(&body, word(&body, 0, self.big_endian)))),
                PCAPNG_PACKET => {
                    return Ok(Some(self.packet(&body, half(&body, 0, self.big_endian).map(u32::from))));
                }
                PCAPNG_SIMPLE_PACKET => return Ok(Some(self.simple_packet(&body))),
                // Statistics, names, secrets, what others have added: no frames.
                _ => {}
            }
        }
    }

    /// One that is not understood ends the reading: the numbers of the later ones depend on it.
    fn interface(&self, body: &[u8], start: u64) -> Result<Interface, Fault> {
        match (half(body, 0, self.big_endian), word(body, 4, self.big_endian)) {
            (Some(link_type), Some(snap_bytes)) => Ok(Interface { link_type, snap_bytes }),
            _ => Err(Fault::Damaged { offset: start, what: "the description of an interface is too short".into() }),
        }
    }

    /// An enhanced packet block, or the obsolete one, whose other fields are at the same places.
    fn packet(&self, body: &[u8], interface: Option<u32>) -> Item {
        const FIXED_BYTES: usize = 20;
        let (Some(number), Some(captured), Some(wire_bytes)) =
            (interface, word(body, 12, self.big_endian), word(body, 16, self.big_endian))
        else {
            return Item::Bad("of a block that is too short");
        };
        let Some(interface) = usize::try_from(number).ok().and_then(|number| self.interfaces.get(number)) else {
            return Item::Bad("of an interface that the capture does not describe");
        };
        let bytes = usize::try_from(captured).ok().and_then(|captured| body.get(FIXED_BYTES..)?.get(..captured));
        match bytes {
            Some(bytes) => Item::Frame(Record { link_type: interface.link_type, wire_bytes, bytes: bytes.to_vec() }),
            None => Item::Bad("longer than the block that holds it"),
        }
    }

    /// It is of the first interface and says how long the frame was; how much of it is there, the snap length tells.
    fn simple_packet(&self, body: &[u8]) -> Item {
        let (Some(wire_bytes), Some(data)) = (word(body, 0, self.big_endian), body.get(4..)) else {
            return Item::Bad("of a block that is too short");
        };
        let Some(interface) = self.interfaces.first() else {
            return Item::Bad("of an interface that the capture does not describe");
        };
        let limit = if interface.snap_bytes == 0 { u32::MAX } else { interface.snap_bytes };
        match usize::try_from(wire_bytes.min(limit)).ok().and_then(|captured| data.get(..captured)) {
            Some(bytes) => Item::Frame(Record { link_type: interface.link_type, wire_bytes, bytes: bytes.to_vec() }),
            None => Item::Bad("longer than the block that holds it"),
        }
    }
}

/// The input, and how much of it has been read.
struct Source<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Source<R> {
    /// The next bytes; fewer at the end of the file. Memory is taken as they come, not as a header promises them.
    fn up_to(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(count as u64).read_to_end(&mut bytes).map_err(Fault::Io)?;
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// The file header of pcap, behind the magic number.
    fn pcap(&mut self, big_endian: bool, header_bytes: usize) -> Result<Pcap, Fault> {
        let header = self.up_to(PCAP_HEADER_BYTES)?;
        let (Some(snap_bytes), Some(network)) = (word(&header, 12, big_endian), word(&header, 16, big_endian)) else {
            return Err(ends_inside(0, "the header of the file"));
        };
        // The upper half tells whether frames end with a check sequence, which is then a part of them.
        Ok(Pcap { big_endian, header_bytes, snap_bytes, link_type: network as u16 })
    }

    /// The header of a section, behind the type of its block.
    fn section(&mut self, start: u64) -> Result<Section, Fault> {
        let head = self.up_to(8)?;
        let big_endian = match [false, true].into_iter().find(|big| word(&head, 4, *big) == Some(PCAPNG_ORDER)) {
            Some(big_endian) => big_endian,
            None if head.len() < 8 => return Err(ends_inside(start, "the header of a section")),
            None if start == 0 => return Err(Fault::Foreign("pcapng without its byte order".into())),
            None => return Err(Fault::Damaged { offset: start, what: "a section without its byte order".into() }),
        };
        let length = word(&head, 0, big_endian).unwrap_or_default();
        let body = self.rest_of_block(start, length, 12, big_endian)?;
        match half(&body, 0, big_endian) {
            Some(1) => Ok(Section { big_endian, interfaces: Vec::new() }),
            Some(version) => Err(Fault::Damaged {
                offset: start,
                what: format!("a section of version {version}, which nobody knows"),
            }),
            None => Err(Fault::Damaged { offset: start, what: "the header of a section is too short".into() }),
        }
    }

    /// A block behind its type: what is between the two lengths.
    fn block(&mut self, start: u64, big_endian: bool) -> Result<Vec<u8>, Fault> {
        let head = self.up_to(4)?;
        let length = word(&head, 0, big_endian).ok_or_else(|| ends_inside(start, "the header of a block"))?;
        self.rest_of_block(start, length, 8, big_endian)
    }

    fn rest_of_block(&mut self, start: u64, length: u32, read: u32, big_endian: bool) -> Result<Vec<u8>, Fault> {
        let rest = match length.checked_sub(read) {
            Some(rest) if rest >= 4 && length.is_multiple_of(4) && length <= BLOCK_BYTES_MAX => rest as usize,
            _ => return Err(Fault::Damaged { offset: start, what: format!("a block of {length} bytes") }),
        };
        let mut body = self.up_to(rest)?;
        if body.len() < rest {
            return Err(ends_inside(start, "a block"));
        }
        let end = rest - 4;
        if word(&body, end, big_endian) != Some(length) {
            return Err(Fault::Damaged { offset: start, what: "the two lengths of a block differ".into() });
        }
        body.truncate(end);
        Ok(body)
    }
}

fn ends_inside(offset: u64, what: &str) -> Fault {
    Fault::Damaged { offset, what: format!("the file ends inside {what}") }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

fn half(bytes: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

/// The name of a link type, for those that are met; else its number.
pub fn link_type_name(link_type: u16) -> String {
    let name = match link_type {
        0 => "BSD loopback",
        1 => "Ethernet",
        9 => "PPP",
        12 | 14 | 101 => "raw IP",
        50 => "PPP in HDLC",
        104 => "Cisco HDLC",
        105 => "802.11",
        108 => "OpenBSD loopback",
        113 => "Linux cooked",
        117 => "OpenBSD pflog",
        119 => "802.11 with Prism header",
        127 => "802.11 with radiotap header",
        147..=162 => "private use",
        187 | 201 => "Bluetooth",
        189 | 220 => "USB of Linux",
        195 | 215 | 230 => "802.15.4",
        228 => "raw IPv4",
        229 => "raw IPv6",
        239 => "Linux netfilter log",
        249 => "USB of Windows",
        276 => "Linux cooked, version 2",
        _ => return format!("link type {link_type}"),
    };
    format!("link type {link_type} ({name})")
}

#[cfg(test)]
mod tests;
