//! A laboratory for packets: throw-away networks, frames made by hand, captures, decoding and comparison.
//!
//! It is what `ebmirror demo`, `corpus` and `oracle`, the benches and the tests stand on. Nothing here shares code with the
//! datapath: a copy is checked against what the RFCs and the kernel say, not against what the datapath believes.

pub mod capture;
pub mod checksum;
pub mod classbench;
pub mod compare;
pub mod decode;
pub mod delivery;
pub mod expressions;
pub mod frame;
pub mod network;
pub mod offload;
pub mod parse;
pub mod pcap;
pub mod random;
pub mod reassemble;
pub mod recorder;
pub mod replay;
pub mod sandbox;
pub mod segment;
pub mod strict;
pub mod summary;
pub mod tcpdump;
pub mod traffic;
pub mod tunnel;
