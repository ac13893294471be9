//! Offloads of a device, by the names that people know them by, in every combination.

use std::fmt;

use super::network::Host;
use crate::kernel::ethtool;
use crate::model::Result;

/// The kernel's names of what each of them is. Those that a device does not have are left out.
const NAMES: [(&str, &[&str]); 5] = [
    ("tx", &["tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-ip-generic", "tx-checksum-sctp"]),
    (
        "tso",
        &[
            "tx-tcp-segmentation",
            "tx-tcp-ecn-segmentation",
            "tx-tcp-mangleid-segmentation",
            "tx-tcp6-segmentation",
            "tx-udp-segmentation",
        ],
    ),
    ("gso", &["tx-generic-segmentation"]),
    ("gro", &["rx-gro"]),
    ("tunnel", &["tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"]),
];

/// Which of them are on: transmit checksums, TCP and UDP segmentation by the device, segmentation in front of it,
/// merging of what it receives, segmentation of what is in a UDP tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads([bool; 5]);

impl Offloads {
    /// All on.
    pub const ON: Self = Self([true; 5]);
    /// A network card that does nothing by itself.
    pub const OFF: Self = Self([false; 5]);

    /// The same, with the one of this name on or off; a name that is none of them changes nothing.
    #[must_use]
    pub fn with(mut self, name: &str, on: bool) -> Self {
        for ((known, _), value) in NAMES.iter().zip(&mut self.0) {
            if *known == name {
                *value = on;
            }
        }
        self
    }

    /// Every combination of these, the others on.
    pub fn every(names: &[&str]) -> Vec<Self> {
        let one = |bits: usize| {
            names.iter().enumerate().fold(Self::ON, |offloads, (n, name)| offloads.with(name, bits >> n & 1 == 0))
        };
        (0..1usize << names.len()).map(one).collect()
    }

    /// Gives a device these.
    ///
    /// # Errors
    /// The kernel's. One that needs another one which is off is not on afterwards, and no error.
    pub fn apply(&self, host: &Host, ifname: &str) -> Result<()> {
        host.attempt(format_args!("setting the offloads of {ifname}"), || {
            let there: Vec<String> = ethtool::features(ifname)?.into_iter().map(|feature| feature.name).collect();
            let wanted: Vec<(&str, bool)> = NAMES
                .iter()
                .zip(self.0)
                .flat_map(|((_, names), on)| names.iter().map(move |name| (*name, on)))
                .filter(|(name, _)| there.iter().any(|have| have == name))
                .collect();
            ethtool::set_features(ifname, &wanted).map(|_| ())
        })
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, ((name, _), on)) in NAMES.iter().zip(self.0).enumerate() {
            write!(f, "{}{name} {}", if place > 0 { ", " } else { "" }, if on { "on" } else { "off" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let all = Offloads::every(&["tx", "gro"]);
        assert_eq!(all.len(), 4);
        assert_eq!(all[0], Offloads::ON);
        assert_eq!(all[3], Offloads::ON.with("tx", false).with("gro", false));
        assert_eq!(all[3].to_string(), "tx off, tso on, gso on, gro off, tunnel on");
        assert_eq!(Offloads::ON.with("unknown", false), Offloads::ON);
    }
}
