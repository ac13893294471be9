//! Offload features of a device, by the ethtool ioctl.
//!
//! The ioctl rather than the netlink family of the same name: it takes one step, no capability to read, and it is
//! there in every kernel.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// Of linux/ethtool.h.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const ETH_GSTRING_LEN: usize = 32;

/// `struct ethtool_gstrings` in words: command, string set, number of strings; then the strings.
const GSTRINGS_HEADER_WORDS: usize = 3;
/// `struct ethtool_gfeatures` in words: command, number of blocks; then the blocks of 32 features each.
const FEATURES_HEADER_WORDS: usize = 2;
/// A block that is read: available, requested, active, never changed.
const GET_BLOCK_WORDS: usize = 4;
/// A block that is set: valid, requested.
const SET_BLOCK_WORDS: usize = 2;

/// `struct ethtool_sset_info` with room for one count.
#[repr(C)]
struct StringSetInfo {
    command: u32,
    reserved: u32,
    mask: u64,
    count: u32,
}

/// An offload feature under the name that `ethtool -k` gives it (its detailed ones, as `tx-checksum-ipv4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: String,
    /// In effect now.
    pub active: bool,
    /// Asked for. A feature can be asked for and not be active, because another one that it needs is off; it comes
    /// back with that one.
    pub requested: bool,
    /// It cannot be changed on this device.
    pub fixed: bool,
}

/// All features of a device, in the kernel's order.
///
/// # Errors
/// `ENODEV` for an unknown device; invalid input for a name that cannot be one.
pub fn features(ifname: &str) -> io::Result<Vec<Feature>> {
    Ok(Device::open(ifname)?.features()?.into_iter().flatten().collect())
}

/// Turns features on and off in one request and returns the names of those that are not as asked for afterwards:
/// fixed ones, and those that depend on another.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`, `ENODEV` for an unknown device; invalid input for an unknown feature, and then
/// nothing has been changed.
pub fn set_features(ifname: &str, wanted: &[(&str, bool)]) -> io::Result<Vec<String>> {
    let device = Device::open(ifname)?;
    let features = device.features()?;
    let mut changes = Vec::new();
    for (name, on) in wanted {
        let bit = features
            .iter()
            .position(|feature| feature.as_ref().is_some_and(|known| known.name == *name))
            .ok_or_else(|| invalid_input(format!("there is no feature '{name}'")))?;
        changes.push((bit, *on));
    }
    device.set(features.len(), &changes)?;
    let after = device.features()?;
    Ok(changes
        .into_iter()
        .filter_map(|(bit, on)| after[bit].as_ref().filter(|feature| feature.active != on))
        .map(|feature| feature.name.clone())
        .collect())
}

/// Makes a device finish checksums and segment by itself, and not merge: turns off its transmit checksums, its
/// transmit segmentation, scatter-gather and its receive merging (GRO), also what is asked for and not active. Returns the names of
/// such features that are active nevertheless; empty is success.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`, `ENODEV` for an unknown device.
pub fn stage_offloads_off(ifname: &str) -> io::Result<Vec<String>> {
    let device = Device::open(ifname)?;
    let features = device.features()?;
    let changes: Vec<(usize, bool)> = features
        .iter()
        .enumerate()
        .filter_map(|(bit, feature)| Some((bit, feature.as_ref()?)))
        .filter(|(_, feature)| is_stage_offload(&feature.name) && !feature.fixed)
        .map(|(bit, _)| (bit, false))
        .collect();
    device.set(features.len(), &changes)?;
    Ok(device
        .features()?
        .into_iter()
        .flatten()
        .filter(|feature| is_stage_offload(&feature.name) && feature.active)
        .map(|feature| feature.name)
        .collect())
}

fn is_stage_offload(name: &str) -> bool {
    match name {
        // Without scatter-gather the kernel finishes a segment's checksum while it copies it into one piece, which whoever
        // cuts it into fragments wants anyway.
        "tx-scatter-gather" | "rx-gro" | "rx-gro-list" | "rx-udp-gro-forwarding" => true,
        _ => name.starts_with("tx-") && (name.contains("checksum") || name.contains("segmentation")),
    }
}

/// A device of the calling thread's network namespace, by name.
struct Device {
    /// Any socket will do; it is there for its namespace.
    socket: UnixDatagram,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Device {
    fn open(ifname: &str) -> io::Result<Self> {
        if ifname.is_empty() || ifname.len() >= libc::IFNAMSIZ || ifname.contains('\0') {
            return Err(invalid_input(format!(
                "'{ifname}' cannot be a device name: 1 to {} bytes",
                libc::IFNAMSIZ - 1
            )));
        }
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(ifname.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Self { socket: UnixDatagram::unbound()?, name })
    }

    /// The features by bit number; bits without a name are `None`.
    fn features(&self) -> io::Result<Vec<Option<Feature>>> {
        let names = self.feature_names()?;
        let blocks = names.len().div_ceil(32);
        let mut words = vec![0u32; FEATURES_HEADER_WORDS + blocks * GET_BLOCK_WORDS];
        words[0] = ETHTOOL_GFEATURES;
        words[1] = blocks as u32;
        // SAFETY: the kernel writes the header and at most as many blocks as the second word says, for which `words`
        // has room.
        unsafe { self.ioctl(words.as_mut_ptr().cast())? };
        Ok(names
            .into_iter()
            .enumerate()
            .map(|(bit, name)| {
                let block = &words[FEATURES_HEADER_WORDS + bit / 32 * GET_BLOCK_WORDS..];
                let is_set = |word: u32| word & (1 << (bit % 32)) != 0;
                (!name.is_empty()).then(|| Feature {
                    name,
                    active: is_set(block[2]),
                    requested: is_set(block[1]),
                    fixed: !is_set(block[0]) || is_set(block[3]),
                })
            })
            .collect())
    }

    /// The names by bit number; a bit that this kernel does not use has an empty one.
    fn feature_names(&self) -> io::Result<Vec<String>> {
        let mut info = StringSetInfo { command: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << ETH_SS_FEATURES, count: 0 };
        // SAFETY: the kernel writes the header and one count for each bit of the mask; one is set.
        unsafe { self.ioctl((&raw mut info).cast())? };
        if info.mask == 0 {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let count = info.count as usize;
        let mut words = vec![0u32; GSTRINGS_HEADER_WORDS + count * ETH_GSTRING_LEN / 4];
        words[0] = ETHTOOL_GSTRINGS;
        words[1] = ETH_SS_FEATURES;
        words[2] = info.count;
        // SAFETY: the kernel writes the header and as many strings as it has, whatever the third word says: the
        // count from above, which is a constant of the running kernel.
        unsafe { self.ioctl(words.as_mut_ptr().cast())? };
        let bytes: Vec<u8> = words[GSTRINGS_HEADER_WORDS..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(bytes
            .chunks_exact(ETH_GSTRING_LEN)
            .map(|string| {
                let end = string.iter().position(|byte| *byte == 0);
                String::from_utf8_lossy(&string[..end.unwrap_or(ETH_GSTRING_LEN)]).into_owned()
            })
            .collect())
    }

    /// Sets the features of these bit numbers, of `count` that there are, in one request.
    fn set(&self, count: usize, changes: &[(usize, bool)]) -> io::Result<()> {
        let blocks = count.div_ceil(32);
        let mut words = vec![0u32; FEATURES_HEADER_WORDS + blocks * SET_BLOCK_WORDS];
        words[0] = ETHTOOL_SFEATURES;
        words[1] = blocks as u32;
        for (bit, on) in changes {
            let block = FEATURES_HEADER_WORDS + bit / 32 * SET_BLOCK_WORDS;
            let flag = 1 << (bit % 32);
            words[block] |= flag;
            if *on {
                words[block + 1] |= flag;
            } else {
                words[block + 1] &= !flag;
            }
        }
        // SAFETY: the kernel reads the header and as many blocks as the second word says, all of them in `words`.
        unsafe { self.ioctl(words.as_mut_ptr().cast()) }
    }

    /// # Safety
    /// `data` points to a request of the ethtool ioctl with room for all that the kernel writes in answer.
    unsafe fn ioctl(&self, data: *mut c_void) -> io::Result<()> {
        let mut request =
            libc::ifreq { ifr_name: self.name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data.cast() } };
        // SAFETY: `request` outlives the call and its name ends with a NUL; the caller vouches for `data`.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn invalid_input(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::kernel::netlink::Netlink;
    use crate::kernel::netns::NetNs;

    /// Runs `test` in a fresh namespace with the veth `va`.
    fn on_a_veth(test: impl FnOnce() + Send) {
        NetNs::new_anonymous()
            .unwrap()
            .run(|| {
                let netlink = Netlink::open().unwrap();
                netlink.add_veth("va", "vb", 1500, None).unwrap();
                test();
            })
            .unwrap();
    }

    fn feature(name: &str) -> Feature {
        features("va").unwrap().into_iter().find(|feature| feature.name == name).unwrap()
    }

    #[test]
    fn features_agree_with_ethtool() {
        on_a_veth(|| {
            set_features("va", &[("tx-checksum-ip-generic", false)]).unwrap();
            let shown = Command::new("ethtool").args(["-k", "va"]).output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            let features = features("va").unwrap();
            assert!(features.len() > 40, "{}", features.len());
            let mut compared = 0;
            for feature in features {
                let Some(rest) =
                    shown.lines().find_map(|line| line.trim().strip_prefix(&format!("{}: ", feature.name)))
                else {
                    continue;
                };
                let mut expected = String::from(if feature.active { "on" } else { "off" });
                if feature.fixed {
                    expected += " [fixed]";
                } else if feature.requested != feature.active {
                    expected += if feature.requested { " [requested on]" } else { " [requested off]" };
                }
                assert_eq!(rest, expected, "{}", feature.name);
                compared += 1;
            }
            assert!(compared > 30, "{compared}");
        });
    }

    #[test]
    fn features_are_set_together_and_what_depends_on_them_is_named() {
        on_a_veth(|| {
            assert!(feature("tx-tcp-segmentation").active);
            let failed = set_features(
                "va",
                &[("tx-checksum-ip-generic", false), ("tx-tcp-segmentation", true), ("rx-gro", true)],
            )
            .unwrap();
            assert_eq!(failed, ["tx-tcp-segmentation"]);
            assert!(feature("rx-gro").active);
            let dependent = feature("tx-tcp-segmentation");
            assert!(dependent.requested && !dependent.active);
        });
    }

    #[test]
    fn stage_offloads_go_off_also_those_that_wait_for_another() {
        on_a_veth(|| {
            set_features("va", &[("tx-checksum-ip-generic", false)]).unwrap();
            assert_eq!(stage_offloads_off("va").unwrap(), Vec::<String>::new());
            set_features("va", &[("tx-checksum-ip-generic", true)]).unwrap();
            for name in ["tx-tcp-segmentation", "tx-udp-segmentation", "rx-gro"] {
                let feature = feature(name);
                assert!(!feature.active && !feature.requested, "{feature:?}");
            }
        });
    }

    #[test]
    fn a_fixed_feature_and_an_unknown_one_are_told_apart() {
        on_a_veth(|| {
            let fixed = features("va").unwrap().into_iter().find(|feature| feature.fixed).unwrap();
            let failed = set_features("va", &[(&fixed.name, !fixed.active)]).unwrap();
            assert_eq!(failed, [fixed.name]);
            let error = set_features("va", &[("tx-tcp-segmentation", false), ("no-such-thing", true)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(feature("tx-tcp-segmentation").active);
        });
    }

    #[test]
    fn an_unknown_device_is_enodev_and_an_impossible_name_invalid() {
        on_a_veth(|| {
            for name in ["nothing", "fifteen-bytes-x"] {
                let error = features(name).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
            }
            for name in ["", "sixteen-bytes-xx", "a\0b"] {
                let error = features(name).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            }
        });
    }
}
