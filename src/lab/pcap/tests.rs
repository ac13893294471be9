//! Captures of every kind, whole, damaged, and of random bytes.

use super::*;

const FRAMES: [&[u8]; 4] = [&[7; 60], b"fourteen bytes", &[9; 61], &[]];

/// Numbers in a byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn word(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn half(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.word(body.len() as u32 + 12);
        [&self.word(kind)[..], &length, &body, &length].concat()
    }

    fn section(self, options: &[u8]) -> Vec<u8> {
        self.block(
            PCAPNG_SECTION,
            &[&self.word(PCAPNG_ORDER)[..], &self.half(1), &self.half(0), &[0xff; 8], options].concat(),
        )
    }

    fn interface(self, link_type: u16, snap_bytes: u32) -> Vec<u8> {
        self.block(PCAPNG_INTERFACE, &[&self.half(link_type)[..], &[0, 0], &self.word(snap_bytes)].concat())
    }

    fn enhanced(self, interface: u32, wire_bytes: usize, bytes: &[u8]) -> Vec<u8> {
        let words = [interface, 0, 0, bytes.len() as u32, wire_bytes as u32].map(|n| self.word(n)).concat();
        let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
        // A comment, and the end of the options.
        let options = [&self.half(1)[..], &self.half(4), b"note", &[0; 4]].concat();
        self.block(PCAPNG_ENHANCED_PACKET, &[&words[..], bytes, &padding, &options].concat())
    }

    fn pcap(self, magic: u32, snap_bytes: u32, network: u32) -> Vec<u8> {
        let zone_and_accuracy = [0; 8];
        [
            &self.word(magic)[..],
            &self.half(2),
            &self.half(4),
            &zone_and_accuracy,
            &self.word(snap_bytes),
            &self.word(network),
        ]
        .concat()
    }

    fn record(self, wire_bytes: usize, bytes: &[u8], more: &[u8]) -> Vec<u8> {
        let words = [1, 2, bytes.len() as u32, wire_bytes as u32].map(|n| self.word(n)).concat();
        [&words[..], more, bytes].concat()
    }
}

fn frame(link_type: u16, wire_bytes: usize, bytes: &[u8]) -> Item {
    Item::Frame(Record { link_type, wire_bytes: wire_bytes as u32, bytes: bytes.to_vec() })
}

/// All items, and how it ended.
fn read(bytes: &[u8]) -> (Vec<Item>, Result<(), String>) {
    let mut items = Vec::new();
    let mut reader = match Reader::open(bytes) {
        Ok(reader) => reader,
        Err(fault) => return (items, Err(fault.to_string())),
    };
    loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, Ok(())),
            Err(fault) => return (items, Err(fault.to_string())),
        }
    }
}

fn pcaps() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for (magic, more) in [(0xa1b2_c3d4, &[][..]), (0xa1b2_3c4d, &[]), (0xa1b2_cd34, &[5; 8])] {
        for order in [Order(false), Order(true)] {
            let mut file = order.pcap(magic, 65_535, 1);
            FRAMES.iter().for_each(|frame| file.extend(order.record(frame.len(), frame, more)));
            files.push(file);
        }
    }
    files
}

#[test]
fn pcap_of_both_byte_orders_and_all_resolutions_is_read() {
    let expected: Vec<Item> = FRAMES.iter().map(|bytes| frame(1, bytes.len(), bytes)).collect();
    let files = pcaps();
    assert_eq!(files.len(), 6);
    for file in files {
        assert_eq!(read(&file), (expected.clone(), Ok(())));
    }
}

/// Two sections, the second in the other byte order and with interfaces of its own.
fn pcapng(first: bool) -> Vec<u8> {
    let (a, b) = (Order(first), Order(!first));
    [
        a.section(&[]),
        a.interface(1, 0),
        a.interface(113, 96),
        a.block(5, &[1; 12]),
        a.enhanced(0, 60, FRAMES[0]),
        a.enhanced(1, 300, FRAMES[2]),
        b.section(&[]),
        b.interface(1, 61),
        b.block(PCAPNG_SIMPLE_PACKET, &[&b.word(61)[..], FRAMES[2]].concat()),
        b.block(PCAPNG_SIMPLE_PACKET, &[&b.word(900)[..], FRAMES[2]].concat()),
        b.interface(276, 0),
        b.block(PCAPNG_PACKET, &[&b.half(1)[..], &[0; 10], &b.word(14), &b.word(14), FRAMES[1]].concat()),
        b.block(0x8000_0001, &[1; 40]),
    ]
    .concat()
}

#[test]
fn pcapng_of_many_sections_interfaces_and_kinds_of_blocks_is_read() {
    for first in [false, true] {
        let expected = vec![
            frame(1, 60, FRAMES[0]),
            frame(113, 300, FRAMES[2]),
            frame(1, 61, FRAMES[2]),
            frame(1, 900, FRAMES[2]),
            frame(276, 14, FRAMES[1]),
        ];
        assert_eq!(read(&pcapng(first)), (expected, Ok(())));
    }
}

#[test]
fn a_frame_that_the_capture_cut_says_so() {
    let record = |wire_bytes| Record { link_type: 1, wire_bytes, bytes: vec![0; 60] };
    assert_eq!([59, 60, 61].map(|length| record(length).is_cut()), [false, false, true]);
}

#[test]
fn the_check_sequence_in_the_header_is_no_part_of_the_link_type() {
    let order = Order(false);
    let file = [order.pcap(0xa1b2_c3d4, 0, 0x2400_0001), order.record(60, FRAMES[0], &[])].concat();
    assert_eq!(read(&file), (vec![frame(1, 60, FRAMES[0])], Ok(())));
}

#[test]
fn what_is_no_capture_is_told_from_what_is() {
    for (bytes, expected) in [
        (&b""[..], "not a capture: it is empty"),
        (b"ab", "not a capture: it is shorter than a magic number"),
        (b"# Captures of odd protocols", "not a capture: magic number 23204361"),
        (&[0x1f, 0x8b, 8, 0], "not a capture: compressed with gzip"),
        (b"snoop\0\0\0", "not a capture: a capture of snoop"),
        (&[0xac, 1, 0, 0x1c], "not a capture: an IXIA variant of pcap (magic number 1c0001ac)"),
        (&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 1, 2, 3, 4], "not a capture: pcapng without its byte order"),
        (&[0xd4, 0xc3, 0xb2, 0xa1, 2], "damaged at byte 0: the file ends inside the header of the file"),
        (&[0x0a, 0x0d, 0x0d, 0x0a, 28], "damaged at byte 0: the file ends inside the header of a section"),
    ] {
        assert_eq!(read(bytes), (Vec::new(), Err(expected.to_owned())));
    }
}

#[test]
fn what_stands_in_front_of_damage_is_read_and_the_damage_is_named() {
    let order = Order(false);
    let good = [order.pcap(0xa1b2_c3d4, 100, 1), order.record(60, FRAMES[0], &[])].concat();
    let section = [order.section(&[]), order.interface(1, 0), order.enhanced(0, 60, FRAMES[0])].concat();
    let (place, behind) = (good.len(), section.len());
    let mut lengths_differ = order.enhanced(0, 60, FRAMES[0]);
    *lengths_differ.last_mut().unwrap() ^= 1;
    let mut version = order.section(&[]);
    version[12] = 2;
    for (start, end, expected) in [
        (&good, vec![0; 7], format!("byte {place}: the file ends inside the header of a record")),
        (
            &good,
            order.record(60, FRAMES[0], &[])[..50].to_vec(),
            format!("byte {place}: the file ends inside a record"),
        ),
        (&good, vec![0xff; 300], format!("byte {place}: a record of 4294967295 bytes")),
        (&section, vec![6, 0], format!("byte {behind}: the file ends inside the header of a block")),
        (&section, vec![6, 0, 0, 0, 32, 0], format!("byte {behind}: the file ends inside the header of a block")),
        (
            &section,
            order.enhanced(0, 60, FRAMES[0])[..40].to_vec(),
            format!("byte {behind}: the file ends inside a block"),
        ),
        (&section, vec![6, 0, 0, 0, 8, 0, 0, 0], format!("byte {behind}: a block of 8 bytes")),
        (&section, vec![6, 0, 0, 0, 33, 0, 0, 0], format!("byte {behind}: a block of 33 bytes")),
        (&section, lengths_differ, format!("byte {behind}: the two lengths of a block differ")),
        (&section, version, format!("byte {behind}: a section of version 2, which nobody knows")),
        (
            &section,
            order.block(1, &[1, 0, 0, 0]),
            format!("byte {behind}: the description of an interface is too short"),
        ),
    ] {
        assert_eq!(
            read(&[&start[..], &end].concat()),
            (vec![frame(1, 60, FRAMES[0])], Err(format!("damaged at {expected}")))
        );
    }
}

#[test]
fn a_frame_that_makes_no_sense_does_not_hide_those_behind_it() {
    let order = Order(true);
    let mut too_long = order.enhanced(0, 60, FRAMES[0]);
    too_long[20..24].copy_from_slice(&order.word(1000));
    for (bad, expected) in [
        (order.enhanced(1, 60, FRAMES[0]), "of an interface that the capture does not describe"),
        (order.block(PCAPNG_ENHANCED_PACKET, &[0; 16]), "of a block that is too short"),
        (order.block(PCAPNG_SIMPLE_PACKET, &[0; 0]), "of a block that is too short"),
        (order.block(PCAPNG_SIMPLE_PACKET, &order.word(9)), "longer than the block that holds it"),
        (too_long, "longer than the block that holds it"),
    ] {
        let file = [order.section(&[]), order.interface(1, 0), bad, order.enhanced(0, 60, FRAMES[0])].concat();
        assert_eq!(read(&file), (vec![Item::Bad(expected), frame(1, 60, FRAMES[0])], Ok(())));
    }
    let file = [order.section(&[]), order.block(PCAPNG_SIMPLE_PACKET, &[0; 20])].concat();
    assert_eq!(read(&file).0, [Item::Bad("of an interface that the capture does not describe")]);
}

#[test]
fn an_input_that_fails_is_an_error_and_not_an_end() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }
    let file = &pcaps()[0][..30];
    assert!(matches!(Reader::open(Broken), Err(Fault::Io(_))));
    assert!(matches!(Reader::open(file.chain(Broken)).unwrap().next_item(), Err(Fault::Io(_))));
}

/// Any bytes end, without a panic, and with no more than what the file holds.
#[test]
fn mutated_captures_are_read_to_an_end() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % below
    };
    let mut originals = pcaps();
    originals.extend([pcapng(false), pcapng(true)]);
    let (mut whole, mut broken) = (0, 0);
    for round in 0..60_000 {
        let mut file = originals[round % originals.len()].clone();
        for _ in 0..=random(6) {
            let at = random(file.len());
            match random(4) {
                0 => file[at] = random(256) as u8,
                1 => file[at] ^= 1 << random(8),
                2 => file.truncate(at.max(4)),
                _ => {
                    // A length at the edge of what its type can hold.
                    let number = [0, 1, 3, 4, 11, 12, u32::MAX, u32::MAX - 3, 0x8000_0000, 1 << 24][random(10)];
                    let end = file.len().min(at / 4 * 4 + 4);
                    let bytes = if random(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                    file[at / 4 * 4..end].copy_from_slice(&bytes[..end - at / 4 * 4]);
                }
            }
        }
        let (items, end) = read(&file);
        let bytes: usize =
            items.iter().map(|item| if let Item::Frame(record) = item { record.bytes.len() } else { 0 }).sum();
        assert!(items.len() <= file.len() / 12 && bytes <= file.len(), "{} items, {bytes} bytes", items.len());
        *if end.is_ok() { &mut whole } else { &mut broken } += 1;
    }
    assert!(whole > 1000 && broken > 1000, "{whole} {broken}");
}
