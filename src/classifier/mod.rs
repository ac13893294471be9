//! Rules -> flat tables. Expressions become entries, boxes in the space of a frame's fields; entries become trees of
//! comparisons, which the datapath walks. Pure: no kernel, no I/O.

pub mod compile;
pub mod entry;
pub mod field;
pub mod key;
pub mod linear;
pub mod lower;
pub mod sieve;
pub mod table;
pub mod tree;
