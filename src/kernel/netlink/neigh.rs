//! Neighbours: what the kernel knows of the MAC address behind an IP address, and making it find out.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{self, NeighbourAttribute, NeighbourFlags, NeighbourMessage};

use super::{Error, Netlink, Result, family_of};

/// How often a resolution starts over because the entry appeared or vanished under its hands.
const RESOLVE_ATTEMPTS: usize = 3;

/// The state of an entry (`NUD_*`). It is written as iproute2 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NeighbourState {
    None,
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Noarp,
    Permanent,
    /// Another number of `NUD_*`.
    Other(u16),
}

impl fmt::Display for NeighbourState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "NONE",
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Failed => "FAILED",
            Self::Noarp => "NOARP",
            Self::Permanent => "PERMANENT",
            Self::Other(number) => return write!(f, "{number:#x}"),
        })
    }
}

impl From<neighbour::NeighbourState> for NeighbourState {
    fn from(state: neighbour::NeighbourState) -> Self {
        match state {
            neighbour::NeighbourState::None => Self::None,
            neighbour::NeighbourState::Incomplete => Self::Incomplete,
            neighbour::NeighbourState::Reachable => Self::Reachable,
            neighbour::NeighbourState::Stale => Self::Stale,
            neighbour::NeighbourState::Delay => Self::Delay,
            neighbour::NeighbourState::Probe => Self::Probe,
            neighbour::NeighbourState::Failed => Self::Failed,
            neighbour::NeighbourState::Noarp => Self::Noarp,
            neighbour::NeighbourState::Permanent => Self::Permanent,
            other => Self::Other(other.into()),
        }
    }
}

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub state: NeighbourState,
    /// First byte on the wire first. `None` while it is unknown, or when it is not six bytes long.
    pub mac: Option<[u8; 6]>,
}

impl Netlink {
    /// What the kernel knows about `ip` on a device; `None`: it has no entry.
    ///
    /// # Errors
    /// The kernel's, except that `ENOENT` is `None`; `ENODEV` for an unknown device.
    pub fn neighbour(&self, ifindex: u32, ip: IpAddr) -> Result<Option<Neighbour>> {
        let message = RouteNetlinkMessage::GetNeighbour(message_for(ifindex, ip));
        let replies = match self.request(message, 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        replies.first().map(|payload| Ok(NeighbourMessage::parse(payload.as_slice())?.into())).transpose()
    }

    /// Has the kernel ask for the MAC address behind `ip` now, without sending anything else. It returns at once;
    /// [`Netlink::neighbour`] tells how it went. What is known for certain (`PERMANENT`, `NOARP`, `REACHABLE`) and
    /// what is being asked for already stays as it is; a `STALE` entry keeps its address and is checked in a few
    /// seconds. For IPv6 the device needs a link-local address: the kernel asks from it, and without one it asks
    /// nothing and the entry ends as `FAILED`.
    ///
    /// An entry that somebody makes permanent between the look at it and the request loses that state, if it was
    /// `STALE` or `FAILED` before; the kernel has no request that excludes this.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` for an unknown device.
    pub fn neighbour_resolve(&self, ifindex: u32, ip: IpAddr) -> Result<()> {
        for _ in 0..RESOLVE_ATTEMPTS {
            // NTF_USE takes the PERMANENT state away from an entry that has it, together with the administrator's
            // address: hence the look before, and NLM_F_EXCL for the case that one appears in between.
            let flags = match self.neighbour(ifindex, ip)?.map(|entry| entry.state) {
                None => NLM_F_CREATE | NLM_F_EXCL,
                Some(NeighbourState::None | NeighbourState::Failed | NeighbourState::Stale) => 0,
                Some(_) => return Ok(()),
            };
            let mut message = message_for(ifindex, ip);
            message.header.flags = NeighbourFlags::Use;
            match self.change(RouteNetlinkMessage::NewNeighbour(message), flags) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOENT)) => {}
                done => return done,
            }
        }
        Err(Error::errno(libc::EAGAIN, Some(format!("the neighbour entry of {ip} comes and goes"))))
    }
}

impl From<NeighbourMessage> for Neighbour {
    fn from(message: NeighbourMessage) -> Self {
        Self {
            state: message.header.state.into(),
            mac: message.attributes.into_iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(mac) => mac.try_into().ok(),
                _ => None,
            }),
        }
    }
}

fn message_for(ifindex: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(ip);
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ip, on_a_wire, output, wait_for};
    use super::*;

    const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 9];

    #[test]
    fn resolving_finds_the_mac_of_the_other_end() {
        on_a_wire(|netlink, va, there| {
            let expected = there.run(|| Netlink::open().unwrap().link_by_name("vb").unwrap()).unwrap().unwrap().mac;
            for target in ["192.0.2.2", "2001:db8::2"] {
                assert_eq!(netlink.neighbour(va, ip(target)).unwrap(), None);
                netlink.neighbour_resolve(va, ip(target)).unwrap();
                wait_for("resolved neighbour", || {
                    netlink.neighbour(va, ip(target)).unwrap()
                        == Some(Neighbour { state: NeighbourState::Reachable, mac: expected })
                });
            }
        });
    }

    #[test]
    fn resolving_an_address_that_nobody_has_is_underway_and_can_be_repeated() {
        on_a_wire(|netlink, va, _| {
            for _ in 0..3 {
                netlink.neighbour_resolve(va, ip("192.0.2.77")).unwrap();
            }
            let entry = netlink.neighbour(va, ip("192.0.2.77")).unwrap().unwrap();
            assert_eq!(entry, Neighbour { state: NeighbourState::Incomplete, mac: None });
        });
    }

    #[test]
    fn resolving_leaves_certain_entries_as_they_are() {
        on_a_wire(|netlink, va, _| {
            for (target, word, state) in [
                ("192.0.2.50", "permanent", NeighbourState::Permanent),
                ("192.0.2.51", "noarp", NeighbourState::Noarp),
                ("192.0.2.52", "reachable", NeighbourState::Reachable),
                ("2001:db8::50", "permanent", NeighbourState::Permanent),
                ("2001:db8::52", "reachable", NeighbourState::Reachable),
            ] {
                output(&format!("ip neigh add {target} lladdr 02:00:00:00:00:09 dev va nud {word}"));
                let before = output(&format!("ip neigh show {target}"));
                netlink.neighbour_resolve(va, ip(target)).unwrap();
                assert_eq!(output(&format!("ip neigh show {target}")), before);
                let entry = netlink.neighbour(va, ip(target)).unwrap().unwrap();
                let expected = Neighbour { state, mac: Some(MAC) };
                assert_eq!(entry, expected);
            }
        });
    }

    #[test]
    fn resolving_a_stale_entry_keeps_its_mac_and_has_it_checked() {
        on_a_wire(|netlink, va, _| {
            output("ip neigh add 192.0.2.53 lladdr 02:00:00:00:00:09 dev va nud stale");
            netlink.neighbour_resolve(va, ip("192.0.2.53")).unwrap();
            let entry = netlink.neighbour(va, ip("192.0.2.53")).unwrap().unwrap();
            assert_eq!(entry, Neighbour { state: NeighbourState::Delay, mac: Some(MAC) });
        });
    }

    #[test]
    fn resolving_a_failed_entry_starts_over() {
        on_a_wire(|netlink, va, _| {
            output("ip neigh add 192.0.2.54 dev va nud failed");
            netlink.neighbour_resolve(va, ip("192.0.2.54")).unwrap();
            let entry = netlink.neighbour(va, ip("192.0.2.54")).unwrap().unwrap();
            assert_eq!(entry.state, NeighbourState::Incomplete);
        });
    }

    #[test]
    fn without_a_link_local_address_ipv6_resolution_fails() {
        on_a_wire(|netlink, va, _| {
            output("ip address del fe80::1/64 dev va");
            netlink.neighbour_resolve(va, ip("2001:db8::2")).unwrap();
            wait_for("failed neighbour", || {
                netlink
                    .neighbour(va, ip("2001:db8::2"))
                    .unwrap()
                    .is_some_and(|entry| entry.state == NeighbourState::Failed)
            });
        });
    }

    #[test]
    fn an_unknown_device_is_enodev() {
        on_a_wire(|netlink, _, _| {
            let error = netlink.neighbour(4711, ip("192.0.2.2")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
            let error = netlink.neighbour_resolve(4711, ip("192.0.2.2")).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        });
    }

    #[test]
    fn states_are_written_as_iproute2_writes_them() {
        on_a_wire(|netlink, va, _| {
            for word in ["permanent", "reachable", "stale", "noarp"] {
                output(&format!("ip neigh replace 192.0.2.60 lladdr 02:00:00:00:00:09 dev va nud {word}"));
                let entry = netlink.neighbour(va, ip("192.0.2.60")).unwrap().unwrap();
                let shown = output("ip neigh show 192.0.2.60 nud all");
                assert_eq!(shown.split_whitespace().last(), Some(entry.state.to_string().as_str()));
            }
        });
    }
}
