//! The peers of an instance. Every change is built under the free generation and takes effect by one store; a packet
//! sees the old set or the new one.

use super::abi::{self, Config, PEERS, Pod, RawPeer};
use super::instance::Instance;
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
                *peer = Some(abi::peer(&raw)?);
            }
        }
        Ok(slots)
    }

    fn peer_index(&self, generation: u32, slot: u32) -> u32 {
        generation * PEERS as u32 + slot
    }

    /// Makes these the peers. The lock must be held for writing.
    pub fn replace_peers(&self, wanted: &Slots) -> Result<()> {
        let now = self.generation();
        let free = 1 - now;
        // Whoever changed the set last may have died right after it: programs that read the free generation may still run.
        self.grace.wait()?;

        let mut meta = self.meta()?;
        let mut config = Config::zeroed();
        for (slot, peer) in (0u32..).zip(wanted) {
            let old = self.peers.get(self.peer_index(now, slot))?;
            let raw = match peer {
                None => RawPeer::zeroed(),
                // Unchanged: the same version, so that the next-hop cache stays good.
                Some(peer) if old.version != 0 && abi::peer(&old).is_ok_and(|old| old == *peer) => old,
                Some(peer) => {
                    let version = meta.next_version;
                    meta.next_version = version.wrapping_add(1).max(1);
                    if old.version == 0 {
                        self.begin_peer_counters(slot)?;
                    }
                    abi::raw_peer(peer, version)
                }
            };
            self.peers.set(self.peer_index(free, slot), &raw)?;
            if raw.version != 0 {
                let next = config.peer_count as usize;
                config.members[next] = slot as u8;
                config.first[next] = next as u8;
                config.count[next] = 1;
                config.peer_count += 1;
                config.group_count += 1;
            }
        }
        self.set_meta(&meta)?;
        self.config.set(free, &config)?;
        self.activate(free, self.bank());
        Ok(())
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
