//! A change of what the datapath goes by, peers and rules: all of it is built under the free generation and takes effect by
//! one store. A packet sees the old set or the new one.

use std::os::fd::AsFd;

use super::abi::rules::TableSize;
use super::instance::Instance;
use super::peers::{Slots, config_of};
use super::rules::{Change, ClassifierMaps, tables, texts};
use crate::model::rule::Action;
use crate::model::{Code, Error, Result};

impl Instance {
    /// Makes these the peers and the rules. On an error those in use stay. The lock must be held for writing.
    pub(super) fn commit(&self, peers: &Slots, change: &Change) -> Result<()> {
        let now = self.generation();
        let free = 1 - now;
        let rules = &change.rules;
        let mut config = config_of(peers);
        let raw = rules.raw(peers, &config)?;
        let mut meta = self.meta()?;

        // All that takes memory or may be refused, while nothing has changed yet.
        let maps = ClassifierMaps::pinned(&self.place)?;
        let old = self.config.get(now)?;
        let text = texts::write(&self.place, free, rules)?;
        let fresh = change.compiled.as_ref().map(tables::new_table).transpose()?;
        let kept = match fresh {
            None => tables::pinned_table(&self.place, now)?,
            Some(_) => None,
        };
        match (&change.compiled, &fresh) {
            (Some(compiled), Some(table)) => {
                tables::describe(&mut config, raw.len(), table.as_ref().map(|table| table.size), compiled)
            }
            _ => {
                config.rule_count = old.rule_count;
                config.uses = old.uses;
                config.table = old.table;
                config.views = old.views;
                config.root_count = old.root_count;
                config.roots = old.roots;
                config.sieve = old.sieve;
            }
        }
        config.stamp = old.stamp;
        if change.differs {
            config.stamp = meta.next_version;
            meta.next_version = next(meta.next_version);
        }
        config.skip = u8::from(rules.set.unmatched() == Action::Skip);
        let table = match (&fresh, &kept) {
            (Some(table), _) => table.as_ref().map(|table| (table.size, table.map.as_fd())),
            (None, Some(map)) => {
                let size = TableSize::ALL.into_iter().find(|size| size.number() == config.table);
                size.map(|size| (size, map.as_fd()))
            }
            (None, None) => None,
        };
        if config.table != 0 && table.is_none() {
            return Err(Error::new(Code::Damaged, "the table of the rules is not pinned any more")
                .hint("remove this instance with ebmirror unpin --force, and set it up again"));
        }

        // Whoever changed the set last may have died right after it: programs that read the free generation may still run.
        self.grace.wait()?;
        self.write_peers(free, peers, &mut config, &mut meta)?;
        maps.put_rules(free, &raw);
        match &change.compiled {
            None => maps.keep_sieve(free)?,
            Some(compiled) => compiled.sieve.iter().try_for_each(|sieve| maps.put_sieve(free, sieve))?,
        }
        maps.put_table(free, table)?;
        tables::pin_table(&self.place, free, table.map(|(_, map)| map))?;
        texts::put(&self.place, free, text.as_ref())?;
        self.rule_counters.begin(self.bank(), &change.begun)?;
        self.set_meta(&meta)?;
        self.config.set(free, &config)?;
        self.activate(free, self.bank());
        Ok(())
    }
}

/// The number behind this one; never 0.
pub(super) fn next(version: u32) -> u32 {
    version.wrapping_add(1).max(1)
}
