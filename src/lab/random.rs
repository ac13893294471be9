//! Random numbers, the same again from the same seed; and random frames: those that filters tell apart, and those that are
//! damaged.

/// A generator of random numbers: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The seed that the environment variable SEED gives, else this one.
    pub fn seed(default: u64) -> u64 {
        std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The result is below a usize.
        (self.number() % end as u64) as usize
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// From 0 up to, but not, 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of these, which are not none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of these, which are not none, each with a weight.
    pub fn weighted<T: Copy>(&mut self, of: &[(usize, T)]) -> T {
        let mut at = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in of {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        of[0].1
    }

    /// 32 bits.
    pub fn word(&mut self) -> u32 {
        self.number() as u32
    }

    /// A port.
    pub fn port(&mut self) -> u16 {
        self.number() as u16
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// Some bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// What is drawn from: few, so that frames and expressions meet. Each list begins with what is drawn most.
pub mod pool {
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// MAC addresses.
    pub const MACS: [[u8; 6]; 8] = [
        [2, 0, 0, 0, 0, 1],
        [2, 0, 0, 0, 0, 2],
        [2, 1, 0, 0, 0, 1],
        [0xff; 6],
        [0; 6],
        [0x01, 0, 0x5e, 0, 0, 1],
        [0x33, 0x33, 0, 0, 0, 1],
        [0x03, 0, 0, 0, 0, 0],
    ];
    /// IPv4 addresses.
    pub const IPV4: [Ipv4Addr; 9] = [
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::new(10, 0, 0, 2),
        Ipv4Addr::new(10, 1, 0, 1),
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv4Addr::new(192, 0, 2, 129),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(0, 0, 0, 0),
        Ipv4Addr::new(255, 255, 255, 255),
        Ipv4Addr::new(10, 255, 255, 255),
    ];
    /// IPv6 addresses.
    pub const IPV6: [Ipv6Addr; 8] = [
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0x2000, 0, 0, 0, 0, 0),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
    ];
    /// Ports.
    pub const PORTS: [u16; 8] = [80, 443, 53, 22, 0, 1024, 8080, 65535];
    /// Protocols of IP.
    pub const PROTOCOLS: [u8; 14] = [6, 17, 132, 1, 58, 44, 47, 50, 51, 0, 2, 4, 43, 255];
    /// VLANs.
    pub const VLANS: [u16; 5] = [5, 1, 100, 0, 4095];
    /// Ethernet types that are no tag's.
    pub const ETHER_TYPES: [u16; 9] = [0x0800, 0x86dd, 0x0806, 0x8035, 0x88cc, 0x8847, 0x0600, 0x05dd, 0xffff];
    /// Tags.
    pub const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
}

/// A frame as a capture has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The bytes that were captured.
    pub bytes: Vec<u8>,
    /// How long it was, at least as long.
    pub wire_bytes: u32,
}

/// A random frame: tags, options, fragments, extension headers, nonsense; whole, too short, or cut by the capture.
pub fn frame(random: &mut Random) -> Captured {
    let mut frame = random.pick(&pool::MACS).to_vec();
    frame.extend(random.pick(&pool::MACS));
    let tags = if random.chance(55) { 0 } else { random.below(5) };
    for _ in 0..tags {
        frame.extend(random.pick(&pool::TAGS).to_be_bytes());
        let priority = (random.below(16) as u16) << 12;
        frame.extend((priority | random.pick(&pool::VLANS)).to_be_bytes());
    }
    match random.below(100) {
        0..45 => ipv4(random, &mut frame),
        45..82 => ipv6(random, &mut frame),
        82..92 => arp(random, &mut frame),
        92..95 => {
            let length = random.below(1501) as u16;
            frame.extend(length.to_be_bytes());
            frame.extend([0x42, 0x42, 3]);
            frame.extend(random.bytes(20));
        }
        95..98 => {
            frame.extend(random.pick(&pool::ETHER_TYPES).to_be_bytes());
            let count = random.below(50);
            frame.extend(random.bytes(count));
        }
        // Zeros, which look like what is missing.
        _ => {
            frame.extend(random.pick(&[0x0800u16, 0x86dd, 0x0806, 0]).to_be_bytes());
            frame.extend(vec![0; random.below(60)]);
        }
    }
    let whole = frame.len();
    let mut wire_bytes = whole as u32;
    match random.below(100) {
        0..20 => {
            frame.truncate(random.below(whole + 1));
            wire_bytes = frame.len() as u32;
        }
        20..35 => frame.truncate(random.below(whole + 1)),
        35..45 => frame.truncate(random.below(80)),
        45..60 => {
            frame.resize(whole.max(60), 0);
            wire_bytes = frame.len() as u32;
        }
        60..65 => wire_bytes += random.below(2000) as u32,
        _ => {}
    }
    Captured { wire_bytes: wire_bytes.max(frame.len() as u32), bytes: frame }
}

fn ipv4(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend([0x08, 0x00]);
    let words = if random.chance(70) { 5 } else { random.below(16) as u8 };
    let options = random.bytes(4 * usize::from(words.max(5) - 5));
    let common = if random.chance(80) { 4 } else { pool::PROTOCOLS.len() };
    let protocol = random.pick(&pool::PROTOCOLS[..common]);
    let fragment =
        if random.chance(75) { random.pick(&[0u16, 0x4000, 0x2000]) } else { random.pick(&[1, 0x2001, 0x1fff, 0x100]) };
    frame.extend([0x40 | words, random.byte(), 0, random.byte()]);
    frame.extend(random.bytes(2));
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol]);
    frame.extend(random.bytes(2));
    frame.extend(random.pick(&pool::IPV4).octets());
    frame.extend(random.pick(&pool::IPV4).octets());
    frame.extend(options);
    transport(random, protocol, frame);
}

fn ipv6(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend([0x86, 0xdd]);
    let common = if random.chance(75) { 6 } else { pool::PROTOCOLS.len() };
    let next = random.pick(&pool::PROTOCOLS[..common]);
    frame.extend([0x60, 0, 0, 0, 0, random.byte(), next, 64]);
    frame.extend(random.pick(&pool::IPV6).octets());
    frame.extend(random.pick(&pool::IPV6).octets());
    let mut header = next;
    while matches!(header, 0 | 43 | 44 | 60) && frame.len() < 120 {
        header = random.pick(&pool::PROTOCOLS);
        let length = if next == 44 { 0 } else { random.below(3) as u8 };
        frame.extend([header, length]);
        frame.extend(random.bytes(6 + 8 * usize::from(length)));
    }
    transport(random, header, frame);
}

fn transport(random: &mut Random, protocol: u8, frame: &mut Vec<u8>) {
    if matches!(protocol, 1 | 58) {
        frame.extend([random.pick(&[0, 8, 3, 128, 129, 135]), random.pick(&[0, 1, 3, 255])]);
    } else {
        frame.extend(random.pick(&pool::PORTS).to_be_bytes());
        frame.extend(random.pick(&pool::PORTS).to_be_bytes());
    }
    let mut rest = random.bytes(24);
    rest[9] = random.pick(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0, 0xff, 0xc2, 0x29]);
    frame.extend(rest);
}

fn arp(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend(random.pick(&[0x0806u16, 0x0806, 0x8035]).to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(random.pick(&pool::MACS));
    frame.extend(random.pick(&pool::IPV4).octets());
    frame.extend(random.pick(&pool::MACS));
    frame.extend(random.pick(&pool::IPV4).octets());
    let padding = random.below(20);
    frame.extend(random.bytes(padding));
}
