//! The kernel: the only unsafe code, the only users of libbpf, netlink and ioctl. Speaks the model's types outward.

pub mod abi;
pub mod attach;
pub mod books;
pub mod collector;
pub mod ethtool;
pub mod features;
pub mod generation;
pub mod hooks;
pub mod instance;
pub mod interfaces;
pub mod interrupt;
pub mod load;
pub mod maps;
pub mod netlink;
pub mod netns;
pub mod peers;
pub mod pins;
pub mod probe;
pub mod programs;
pub mod rules;
mod sk_buff;
mod skel;
pub mod stage;
pub mod tun;
