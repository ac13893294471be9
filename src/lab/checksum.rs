//! The Internet checksum (RFC 1071).

/// The sum of the words of `bytes`, an odd last byte padded with zero, added to `seed`, folded to 16 bits and not
/// complemented. Parts may be summed one after the other as long as all but the last have an even length.
pub fn sum(seed: u16, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(seed);
    for word in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded until nothing carries, so it fits.
    sum as u16
}

/// The checksum of `bytes`, in which the place of the checksum itself is zero. Over bytes that contain their right
/// checksum it is 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(0, bytes)
}

/// Does what the kernel leaves to the device when it says that a checksum is not ready: sums from `start` to the end of
/// the frame, the seed (the pseudo header) that stands in the field included, and writes the complement to
/// `start + offset`. A result of 0 is written as 0xffff, as the kernel does. `false`: the field is not inside the frame.
pub fn finish(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(field) = start.checked_add(offset) else { return false };
    if field.checked_add(2).is_none_or(|end| end > frame.len()) {
        return false;
    }
    let value = match checksum(&frame[start..]) {
        0 => 0xffff,
        value => value,
    };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        let rows: [(&[u8], u16); 6] = [
            (&[], 0xffff),
            (&[0, 0], 0xffff),
            (&[0xff, 0xff], 0),
            // RFC 1071, section 3.
            (&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], !0xddf2),
            (&[0x01], !0x0100),
            // Folding once is not enough here.
            (&[0xff, 0xff, 0x00, 0x01, 0xff, 0xff, 0xff, 0xff], !0x0001),
        ];
        for (bytes, expected) in rows {
            assert_eq!(checksum(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn finishing_completes_a_seeded_checksum() {
        // A pseudo header that sums to 0x1234 in front of four bytes of header and data.
        let mut frame = vec![0xaa, 0xbb, 0x12, 0x34, 0x00, 0x07];
        assert!(finish(&mut frame, 2, 0));
        assert_eq!(sum(0x1234, &frame[2..]), 0xffff);
        assert_eq!(&frame[..2], [0xaa, 0xbb]);
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_ones() {
        let mut frame = vec![0xff, 0xff];
        assert!(finish(&mut frame, 0, 0));
        assert_eq!(frame, [0xff, 0xff]);
    }

    #[test]
    fn a_field_outside_of_the_frame_is_refused() {
        for (start, offset) in [(3, 0), (0, 3), (5, 0), (usize::MAX, 1)] {
            assert!(!finish(&mut [0; 4], start, offset), "{start} {offset}");
        }
    }
}
