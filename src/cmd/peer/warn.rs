//! What is allowed, and probably not meant.

use crate::kernel::collector;
use crate::kernel::netlink::{Link, Netlink};
use crate::kernel::peers::Slots;
use crate::model::Result;
use crate::model::peer::{Peer, Way};

/// The collector of this peer must be told, if it is a Linux.
pub(super) const ZERO_CHECKSUMS: &str =
    "UDP over IPv6 has no checksum here: a Linux collector drops it unless its device has udp6zerocsumrx";

/// Warnings about this peer, one of those in the slots.
pub(super) fn about(netlink: &Netlink, attached: &[Link], slots: &Slots, new: &Peer) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    // Inside a group a frame goes to one of them.
    let twice = |peer: &&Peer| {
        peer.name != new.name && peer.same_collector(new) && (peer.group.is_none() || peer.group != new.group)
    };
    if let Some(other) = slots.iter().flatten().find(twice) {
        warnings.push(format!(
            "{} gets every frame twice: the peer {} has the same destination",
            new.destination(),
            other.name
        ));
    }
    if new.needs_zero_checksums() {
        warnings.push(ZERO_CHECKSUMS.to_owned());
    }
    let path = collector::path_to(netlink, new)?;
    match (&path, &new.way) {
        (None, Way::Tunnel(outer)) => {
            warnings.push(format!("there is no route to {} now: copies are lost as no_route", outer.remote));
        }
        (None, Way::Span(device)) => warnings.push(format!("the device {device} is gone: every copy is lost")),
        (Some(path), Way::Span(device)) => {
            if attached.iter().any(|link| link.ifindex == device.ifindex) {
                warnings.push(format!("{device} is mirrored itself: the copies that leave there are not copied again"));
            }
            if !path.up {
                warnings.push(format!("{device} is down, or has no carrier: copies are lost there"));
            }
        }
        (Some(path), Way::Tunnel(outer)) => {
            if outer.on_host {
                warnings.push(format!("{} is an address of this host: the collector must run here", outer.remote));
            }
            if let Some((neighbour, question)) = path.failed() {
                let device = &path.device;
                warnings.push(format!(
                    "{neighbour} does not answer {question} on {device}: copies are lost as no_neighbour"
                ));
            }
        }
    }
    if let Some(path) = &path {
        warnings.extend(attached.iter().filter_map(|device| path.too_small_for(new, device)));
    }
    Ok(warnings)
}
