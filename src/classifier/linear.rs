//! The reference of the tables: one rule after the other.

use super::entry::Entry;
use super::field::Key;

/// The rank of the first rule one of whose entries matches.
pub fn first(rules: &[Vec<Entry>], key: &Key) -> Option<u32> {
    let rank = rules.iter().position(|entries| entries.iter().any(|entry| entry.matches(key)))?;
    u32::try_from(rank).ok()
}
