//! The skeleton that libbpf-cargo generates from `bpf/ebmirror.bpf.c`.

#![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks, clippy::unwrap_used, clippy::expect_used)]

include!(concat!(env!("OUT_DIR"), "/ebmirror.skel.rs"));
