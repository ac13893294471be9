//! Expressions -> table entries, with libpcap's semantics: the entries match just the frames that the program accepts which
//! libpcap 1.10 makes of the expression, unoptimised, for a capture file of Ethernet.
//!
//! A load behind the end of what was captured makes the whole program false. So each part of an expression parts the
//! frames into three: those where it is true, where it is false, and where it never gets to an answer. `program` writes
//! a test as the comparisons that libpcap makes, in its order; `sets` finds where a tree of them is true; `boxes` is
//! the arithmetic of boxes.

mod boxes;
mod program;
mod sets;
#[cfg(test)]
mod tests;

use std::fmt;

use super::entry::Entry;
use super::field::{CAPTURED_MAX, Field};
use crate::model::expression::Expression;
use crate::model::interface::InterfaceName;

/// The entries that one expression may become, where nobody has a reason for another limit.
pub const ENTRIES_MAX: usize = 4096;

/// Why an expression has no entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LowerError {
    /// It would have more than this many entries.
    TooMany(usize),
    /// There is no interface of this name.
    UnknownInterface(InterfaceName),
    /// It looks behind more `vlan` than there are views.
    TooManyVlans,
    /// libpcap does not ask for the Ethernet type alone where this one is given.
    EtherType(u16),
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerError::TooMany(most) => write!(
                f,
                "it becomes more than {most} table entries: join addresses to networks, ports to ranges, or make several \
                 rules of it"
            ),
            LowerError::UnknownInterface(name) => write!(f, "no interface {name}"),
            LowerError::TooManyVlans => f.write_str("more than three vlan with something behind them"),
            LowerError::EtherType(number) => {
                write!(f, "ether proto {number:#06x} looks into LLC headers, which is not covered")
            }
        }
    }
}

impl std::error::Error for LowerError {}

/// The entries of an expression: a frame matches it when it matches one of them. None: no frame does. `interface` gives an
/// interface's number.
///
/// # Errors
/// When there would be more than `most` entries, or on the way to them much more than that; for a name that `interface`
/// does not know; and for more `vlan` than there are views.
pub fn lower(
    expression: &Expression,
    interface: &dyn Fn(&InterfaceName) -> Option<u32>,
    most: usize,
) -> Result<Vec<Entry>, LowerError> {
    let tree = program::Writer::new(interface).tree(expression)?;
    sets::entries(&tree, most)
}

/// The views beyond the first that these entries look at.
pub fn views(entries: &[Entry]) -> u8 {
    let of_range = |(field, range): &(Field, super::entry::Range)| match field.of_view() {
        Some(view) => view,
        None if *field == Field::CAPTURED => (range.low.saturating_sub(CAPTURED_MAX)).div_ceil(4) as u8,
        None => 0,
    };
    entries.iter().flat_map(Entry::ranges).map(of_range).max().unwrap_or_default()
}
