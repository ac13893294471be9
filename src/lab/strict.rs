//! What is wrong with an outer packet, and reading its headers field by field. What an RFC allows and ebmirror does not
//! send is an error: options, a set reserved bit, a checksum that is wrong or need not be there.

use std::fmt;

/// What is wrong with an outer packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before this header does.
    Short(&'static str),
    /// A field has a value that it must not have.
    Field {
        /// Which one.
        name: &'static str,
        /// What it is.
        found: u64,
        /// What it should be, in words.
        expected: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(header) => write!(f, "it ends inside the {header} header"),
            Self::Field { name, found, expected } => write!(f, "{name} is {found:#x}, not {expected}"),
        }
    }
}

impl std::error::Error for DecodeError {}

pub(super) type Result<T> = std::result::Result<T, DecodeError>;

/// The first bytes, and those behind them.
pub(super) fn split<'a, const N: usize>(bytes: &'a [u8], header: &'static str) -> Result<(&'a [u8; N], &'a [u8])> {
    bytes.split_first_chunk::<N>().ok_or(DecodeError::Short(header))
}

pub(super) fn field(name: &'static str, found: impl Into<u64>, expected: impl Into<String>) -> DecodeError {
    DecodeError::Field { name, found: found.into(), expected: expected.into() }
}

pub(super) fn expect<T: Copy + PartialEq + Into<u64> + fmt::LowerHex>(
    name: &'static str,
    found: T,
    expected: T,
) -> Result<()> {
    if found == expected { Ok(()) } else { Err(field(name, found, format!("{expected:#x}"))) }
}

/// A length must be right. In a super-packet it may be 0 where it does not fit: what cuts it writes new ones.
pub(super) fn expect_length(name: &'static str, found: u16, length: usize, super_packet: bool) -> Result<()> {
    let fits = u16::try_from(length).ok();
    if fits == Some(found) || (super_packet && fits.is_none() && found == 0) {
        return Ok(());
    }
    Err(field(name, found, format!("{length:#x}{}", if fits.is_none() { " or 0" } else { "" })))
}

/// The word at a place of a header that has it.
pub(super) fn word(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// The double word at a place of a header that has it.
pub(super) fn double_word(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
