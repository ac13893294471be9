//! The peers of an instance. Every change is built under the free generation and takes effect by one store; a packet
//! sees the old set or the new one.

use super::abi::{self, Config, Meta, PEERS, Pod, RawPeer};
use super::generation::next;
use super::instance::Instance;
use super::rules::check_in_use;
use crate::model::peer::{Peer, PeerName};
use crate::model::{Code, Error, Result};

/// A set of peers by slot. Slots do not change as long as a peer exists: counters belong to them.
pub type Slots = [Option<Peer>; PEERS];

impl Instance {
    /// The peers in use.
    pub fn peers(&self) -> Result<Slots> {
        let mut slots = [const { None }; PEERS];
        for (slot, peer) in (0..).zip(slots.iter_mut()) {
            let raw = self.peers.get(self.peer_index(self.generation(), slot))?;
            if raw.version != 0 {
                let mut known = abi::peer(&raw)?;
                if let Some(device) = known.dev_mut() {
                    device.name = self.device(device.ifindex)?.map(|link| link.name);
                }
                *peer = Some(known);
            }
        }
        Ok(slots)
    }

    fn peer_index(&self, generation: u32, slot: u32) -> u32 {
        generation * PEERS as u32 + slot
    }

    /// Makes these the peers. The lock must be held for writing.
    pub fn replace_peers(&self, wanted: &Slots) -> Result<()> {
        let rules = self.rules()?;
        check_in_use(&rules.set, wanted)?;
        self.commit(wanted, &rules.kept())
    }

    /// Writes these peers into the free generation. The configuration gets the version of the only one.
    pub(super) fn write_peers(&self, free: u32, wanted: &Slots, config: &mut Config, meta: &mut Meta) -> Result<()> {
        for (slot, peer) in (0u32..).zip(wanted) {
            let old = self.peers.get(self.peer_index(1 - free, slot))?;
            let raw = match peer {
                None => RawPeer::zeroed(),
                // Unchanged: the same version, so that the next-hop cache stays good.
                Some(peer) if old.version != 0 && abi::raw_peer(peer, old.version).bytes() == old.bytes() => old,
                Some(peer) => {
                    let version = meta.next_version;
                    meta.next_version = next(version);
                    if old.version == 0 {
                        self.begin_peer_counters(slot)?;
                    }
                    abi::raw_peer(peer, version)
                }
            };
            self.peers.set(self.peer_index(free, slot), &raw)?;
            if peer.is_some() && config.peer_count == 1 {
                (config.only_slot, config.only_version) = (slot, raw.version);
            }
        }
        Ok(())
    }
}

/// The groups of these peers, in the order of their first members. A peer without a group is a group of its own.
pub(super) fn config_of(slots: &Slots) -> Config {
    let peers = || slots.iter().enumerate().filter_map(|(slot, peer)| Some((slot, peer.as_ref()?)));
    let mut config = Config::zeroed();
    for (slot, peer) in peers() {
        let members: Vec<usize> = match &peer.group {
            None => vec![slot],
            Some(group) => {
                peers().filter(|(_, other)| other.group.as_ref() == Some(group)).map(|(slot, _)| slot).collect()
            }
        };
        if members[0] != slot {
            continue;
        }
        let group = config.group_count as usize;
        config.first[group] = config.peer_count as u8;
        config.count[group] = members.len() as u8;
        config.group_count += 1;
        for member in members {
            config.members[config.peer_count as usize] = member as u8;
            config.peer_count += 1;
        }
    }
    config
}

/// Refuses a peer whose name is a group's, or whose group has the name of a peer: a rule could mean either.
pub fn check_names(slots: &Slots, new: &Peer) -> Result<()> {
    let others = || slots.iter().flatten().filter(|peer| peer.name != new.name);
    let conflict = |name: &PeerName, what: &str| {
        Error::new(
            Code::Conflict,
            format!("{name} is the name of a {what} already: peers and groups share one name space"),
        )
        .hint("choose another name; ebmirror peer list shows those that are taken")
    };
    if others().any(|peer| peer.group.as_ref() == Some(&new.name)) {
        return Err(conflict(&new.name, "group"));
    }
    match &new.group {
        Some(group) if *group == new.name || others().any(|peer| peer.name == *group) => Err(conflict(group, "peer")),
        _ => Ok(()),
    }
}

/// The slot of a peer.
pub fn find(slots: &Slots, name: &PeerName) -> Option<usize> {
    slots.iter().position(|peer| peer.as_ref().is_some_and(|peer| peer.name == *name))
}

/// A slot for one more peer.
pub fn free_slot(slots: &Slots) -> Result<usize> {
    slots.iter().position(Option::is_none).ok_or_else(|| {
        Error::new(Code::Conflict, format!("the table of peers is full: {PEERS} peers"))
            .hint("delete one: ebmirror peer list, ebmirror peer del NAME")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::peer::{Device, Gso, Oversize, Way};

    fn peer(name: &str, group: Option<&str>) -> Peer {
        Peer {
            name: name.parse().unwrap(),
            group: group.map(|group| group.parse().unwrap()),
            way: Way::Span(Device { ifindex: 7, name: None }),
            oversize: Oversize::Drop,
            gso: Gso::Fast,
            snaplen: None,
            rate: None,
        }
    }

    /// Each slot with its name and group.
    fn slots(peers: &[(usize, &str, Option<&str>)]) -> Slots {
        let mut slots = [const { None }; PEERS];
        for (slot, name, group) in peers {
            slots[*slot] = Some(peer(name, *group));
        }
        slots
    }

    /// Its groups, each with its members.
    fn groups(config: &Config) -> Vec<&[u8]> {
        let group = |group: usize| {
            let first = usize::from(config.first[group]);
            &config.members[first..first + usize::from(config.count[group])]
        };
        (0..config.group_count as usize).map(group).collect()
    }

    #[test]
    fn groups_stand_in_the_order_of_their_first_members() {
        let config = config_of(&slots(&[
            (1, "a", Some("g")),
            (2, "b", None),
            (5, "c", Some("h")),
            (6, "d", Some("g")),
            (63, "e", Some("h")),
        ]));
        assert_eq!(groups(&config), [&[1, 6][..], &[2], &[5, 63]]);
        assert_eq!(config.peer_count, 5);
        assert_eq!(config.members[..5], [1, 6, 2, 5, 63]);
        assert_eq!((config.members[5..].iter().max(), config.count[3..].iter().max()), (Some(&0), Some(&0)));
    }

    #[test]
    fn sixty_four_peers_fit_alone_and_in_one_group() {
        let names: Vec<String> = (0..PEERS).map(|n| format!("p{n}")).collect();
        for group in [None, Some("g")] {
            let all: Vec<_> = names.iter().enumerate().map(|(slot, name)| (slot, name.as_str(), group)).collect();
            let config = config_of(&slots(&all));
            let expected = if group.is_some() { 1 } else { PEERS };
            assert_eq!((config.group_count as usize, config.peer_count as usize), (expected, PEERS));
            assert_eq!(groups(&config).concat(), (0..PEERS as u8).collect::<Vec<u8>>());
        }
        assert_eq!(config_of(&slots(&[])).bytes(), Config::zeroed().bytes());
    }

    #[test]
    fn peers_and_groups_share_one_name_space() {
        let slots = slots(&[(0, "a", Some("g")), (1, "b", None)]);
        for (name, group, refused) in [
            ("c", Some("g"), None),
            ("c", Some("h"), None),
            ("b", Some("g"), None),
            ("a", Some("h"), None),
            ("g", None, Some("g is the name of a group")),
            ("c", Some("b"), Some("b is the name of a peer")),
            ("c", Some("c"), Some("c is the name of a peer")),
        ] {
            let result = check_names(&slots, &peer(name, group)).map_err(|error| (error.code, error.message));
            match (refused, result) {
                (None, result) => assert_eq!(result, Ok(()), "{name} {group:?}"),
                (Some(text), result) => {
                    let (code, message) = result.unwrap_err();
                    assert_eq!(code, Code::Conflict);
                    assert!(message.contains(text), "{message}");
                }
            }
        }
    }
}
