//! The counters: read as a whole, checked against each other, reset. User space never writes a counter that a program
//! counts in: a slot's new owner starts from a base, and a reset turns to the other bank.

use super::abi::{
    self, INTERFACES, IfaceStats, PEERS, Pod, RawPeerStats, Sum, direction_bit, iface_index, reason_number,
};
use super::instance::Instance;
use super::interfaces::boot_time_ns;
use crate::model::interface::Direction;
use crate::model::rule::Rule;
use crate::model::stats::{
    Counter, InterfaceStats, LastLoss, PeerCounters, PeerStats, Reason, RuleStats, Stats, TapCounters,
};
use crate::model::{Code, Error, Result};

impl From<IfaceStats> for TapCounters {
    fn from(raw: IfaceStats) -> Self {
        TapCounters {
            seen: raw.seen.into(),
            own: raw.own.into(),
            skipped: raw.skipped.into(),
            selected: raw.selected.into(),
            cloned: raw.cloned.into(),
            lost: raw.lost.into(),
            copies: raw.copies.into(),
        }
    }
}

impl From<RawPeerStats> for PeerCounters {
    fn from(raw: RawPeerStats) -> Self {
        let mut lost = Counter::default();
        for counter in raw.lost {
            lost += counter.into();
        }
        PeerCounters {
            selected: raw.selected.into(),
            sent: raw.sent.into(),
            truncated: raw.truncated.into(),
            lost,
            reasons: Reason::ALL.into_iter().map(|reason| (reason, raw.lost[reason_number(reason)].into())).collect(),
        }
    }
}

/// Readings, at most. Frames between two counters' readings are no error, but a script that adds up will not know.
const ATTEMPTS: usize = 4;

/// What a slot's present owner counted, and what the ones before had.
fn split<T: Sum>(total: T, base: T, owned: bool) -> (T, T) {
    if !owned {
        return (T::zeroed(), total);
    }
    let mut own = total;
    own.sub(&base);
    (own, base)
}

impl Instance {
    fn peer_slot(&self, slot: u32) -> u32 {
        self.bank() * PEERS as u32 + slot
    }

    /// What the slot has counted so far belongs to its last owner.
    pub(super) fn begin_peer_counters(&self, slot: u32) -> Result<()> {
        let index = self.peer_slot(slot);
        self.peer_base.set(index, &self.peer_stats.sum(index)?)?;
        self.losses.clear(slot)
    }

    /// The same for an interface's slot.
    pub(super) fn begin_iface_counters(&self, slot: u32) -> Result<()> {
        for direction in Direction::ALL {
            let index = iface_index(self.bank(), slot, direction);
            self.if_base.set(index, &self.if_stats.sum(index)?)?;
        }
        Ok(())
    }

    fn peer_totals(&self) -> Result<Vec<RawPeerStats>> {
        (0..PEERS as u32).map(|slot| self.peer_stats.sum(self.peer_slot(slot))).collect()
    }

    /// All counters, and what they do not account for. Read until they agree, or a few times under traffic that does not
    /// pause.
    pub fn stats(&self) -> Result<Stats> {
        let mut attempts = 1;
        let mut stats = loop {
            match self.read()? {
                (_, false) if attempts < ATTEMPTS => attempts += 1,
                (stats, _) => break stats,
            }
        };
        self.read_rules(&mut stats)?;
        Ok(stats)
    }

    /// One reading, and whether the peers were asked for just the copies that the taps had asked for.
    fn read(&self) -> Result<(Stats, bool)> {
        // The taps' counters lie between these two readings of the peers'.
        let before = self.peer_totals()?;
        let mut stats = Stats::default();
        let copies = self.read_interfaces(&mut stats)?;
        let after = self.peer_totals()?;
        self.read_peers(&mut stats, &after)?;

        let selected = |totals: &[RawPeerStats]| totals.iter().map(|total| total.selected.packets).sum::<u64>();
        let (least, most) = (selected(&before), selected(&after));
        stats.unaccounted += least.saturating_sub(copies) + copies.saturating_sub(most);
        Ok((stats, copies == most))
    }

    /// Fills in the interfaces. Returns the packets of all copies asked for, also on interfaces that are detached.
    fn read_interfaces(&self, stats: &mut Stats) -> Result<u64> {
        let mut owners = vec![None; INTERFACES];
        for (_, iface) in self.interfaces()? {
            if let Some(owner) = owners.get_mut(iface.slot as usize) {
                *owner = Some(iface);
            }
        }
        let mut copies = 0;
        for (slot, owner) in (0u32..).zip(&owners) {
            for direction in Direction::ALL {
                let index = iface_index(self.bank(), slot, direction);
                let total = self.if_stats.sum(index)?;
                let (own, before) = split(total, self.if_base.get(index)?, owner.is_some());
                let total = TapCounters::from(total);
                stats.unaccounted += total.remainder();
                copies += total.copies.packets;
                stats.detached += before.into();
                let Some(iface) = owner else { continue };
                let counters = TapCounters::from(own);
                if iface.directions & direction_bit(direction) == 0 {
                    // Attached in the other direction alone, now; what it counted before is told with the detached.
                    stats.detached += counters;
                    continue;
                }
                let interface = abi::text(&iface.name).parse().map_err(|error: String| {
                    Error::new(Code::Damaged, format!("the pinned interface table is damaged: {error}"))
                        .hint("remove this instance with ebmirror unpin --force, and set it up again")
                })?;
                stats.interfaces.push(InterfaceStats { interface, ifindex: iface.ifindex, direction, counters });
            }
        }
        stats
            .interfaces
            .sort_by(|a, b| (&a.interface, a.ifindex, a.direction).cmp(&(&b.interface, b.ifindex, b.direction)));
        Ok(copies)
    }

    fn read_peers(&self, stats: &mut Stats, totals: &[RawPeerStats]) -> Result<()> {
        for ((slot, peer), total) in (0u32..).zip(&self.peers()?).zip(totals) {
            let base = self.peer_base.get(self.peer_slot(slot))?;
            let (own, before) = split(*total, base, peer.is_some());
            stats.unaccounted += PeerCounters::from(*total).remainder();
            stats.retired += before.selected.into();
            if let Some(peer) = peer {
                stats.peers.push(PeerStats { peer: peer.name.clone(), counters: own.into() });
            }
        }
        stats.peers.sort_by(|a, b| a.peer.cmp(&b.peer));
        Ok(())
    }

    fn read_rules(&self, stats: &mut Stats) -> Result<()> {
        let rules = self.rules()?;
        let slots: Vec<u32> = rules.slots().map(|(_, slot)| slot).collect();
        let counters = self.rule_counters.read(self.bank(), &slots)?;
        let row = |(rule, matched): (&Rule, Counter)| RuleStats {
            id: rule.id,
            priority: rule.priority,
            action: rule.action,
            matched,
        };
        stats.rules = rules.set.rules.iter().zip(counters).map(row).collect();
        Ok(())
    }

    /// The latest loss of a peer's slot since it was given to the peer.
    pub fn last_loss(&self, slot: u32) -> Result<Option<LastLoss>> {
        let now = boot_time_ns()?;
        let latest = self.losses.get(slot)?.into_iter().max_by_key(|loss| loss.boot_ns);
        Ok(latest.filter(|loss| loss.boot_ns != 0).and_then(|loss| {
            let seconds_ago = now.saturating_sub(loss.boot_ns) as f64 / 1e9;
            abi::reason_of(loss.reason).map(|reason| LastLoss { reason, seconds_ago })
        }))
    }

    /// Sets all counters to zero: turns to the other bank, in which nobody counts.
    pub fn reset(&self) -> Result<()> {
        let bank = 1 - self.bank();
        // Programs that count in the other bank since an earlier reset end before it is cleared.
        self.grace.wait()?;
        for slot in 0..PEERS as u32 {
            let index = bank * PEERS as u32 + slot;
            self.peer_stats.clear(index)?;
            self.peer_base.set(index, &RawPeerStats::zeroed())?;
        }
        for slot in 0..INTERFACES as u32 {
            for direction in Direction::ALL {
                let index = iface_index(bank, slot, direction);
                self.if_stats.clear(index)?;
                self.if_base.set(index, &IfaceStats::zeroed())?;
            }
        }
        self.rule_counters.clear(bank)?;
        for (bucket, iface) in self.interfaces()? {
            if let Some(device) = self.device(iface.ifindex)? {
                self.begin_device_counters(bucket, &device);
            }
        }
        self.activate(self.generation(), bank);
        Ok(())
    }
}
