//! ebmirror: mirrors every packet of a network interface, in and out, into a tunnel to remote collectors. The mirror lives
//! in the kernel; this crate loads it, changes it and reads its counters.

pub mod classifier;
pub mod cli;
pub mod cmd;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod output;
