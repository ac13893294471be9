//! What the user talks about: names, addresses, peers, counters. Pure: no kernel, no I/O. Each type that is typed on a
//! command line has `FromStr` and a `Display` that round-trips.

pub mod address;
pub mod duration;
pub mod error;
pub mod expression;
pub mod interface;
pub mod number;
pub mod peer;
pub mod rate;
pub mod rule;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod tunnel;

pub use error::{Code, Error, Result};
