//! The counters of the rules: one slot each, in blocks, read a block at a time.

use crate::kernel::abi::rules::{BLOCK, BLOCKS};
use crate::kernel::abi::{Pod, RawRuleStats, Sum};
use crate::kernel::maps::{CpuTable, Table};
use crate::kernel::pins::Place;
use crate::model::Result;
use crate::model::stats::Counter;

/// The maps of the counters.
pub struct RuleCounters {
    stats: CpuTable<RawRuleStats>,
    base: Table<RawRuleStats>,
}

fn index(bank: u32, block: usize) -> u32 {
    bank * BLOCKS as u32 + block as u32
}

impl RuleCounters {
    /// Those pinned here.
    pub(in crate::kernel) fn open(place: &Place) -> Result<Self> {
        Ok(RuleCounters {
            stats: CpuTable::open(&place.pin("ebm_rule_stats"))?,
            base: Table::open(&place.pin("ebm_rule_base"))?,
        })
    }

    /// What these slots have counted so far belongs to their last owners.
    pub(in crate::kernel) fn begin(&self, bank: u32, slots: &[u32]) -> Result<()> {
        for block in 0..BLOCKS {
            let mut here = slots.iter().map(|slot| *slot as usize).filter(|slot| slot / BLOCK == block).peekable();
            if here.peek().is_none() {
                continue;
            }
            let total = self.stats.sum(index(bank, block))?;
            let mut base = self.base.get(index(bank, block))?;
            for slot in here {
                base.matched[slot % BLOCK] = total.matched[slot % BLOCK];
            }
            self.base.set(index(bank, block), &base)?;
        }
        Ok(())
    }

    /// What each of these slots has counted for its present owner.
    pub(in crate::kernel) fn read(&self, bank: u32, slots: &[u32]) -> Result<Vec<Counter>> {
        let mut blocks: Vec<Option<RawRuleStats>> = vec![None; BLOCKS];
        let mut counters = Vec::with_capacity(slots.len());
        for slot in slots.iter().map(|slot| *slot as usize) {
            let Some(block) = blocks.get_mut(slot / BLOCK) else { continue };
            let own = match block {
                Some(own) => own,
                None => {
                    let mut total = self.stats.sum(index(bank, slot / BLOCK))?;
                    total.sub(&self.base.get(index(bank, slot / BLOCK))?);
                    block.insert(total)
                }
            };
            counters.push(own.matched[slot % BLOCK].into());
        }
        Ok(counters)
    }

    /// Sets a bank to zero in which nobody counts.
    pub(in crate::kernel) fn clear(&self, bank: u32) -> Result<()> {
        for block in 0..BLOCKS {
            self.stats.clear(index(bank, block))?;
            self.base.set(index(bank, block), &RawRuleStats::zeroed())?;
        }
        Ok(())
    }
}
