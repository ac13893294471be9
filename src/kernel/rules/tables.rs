//! The maps that the classifier reads.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::classifier::compile::Compiled;
use crate::classifier::sieve::Sieve;
use crate::classifier::table::Node;
use crate::kernel::abi::Config;
use crate::kernel::abi::rules::{RULES, RawRule, RawSieve, TableSize, raw_sieve, raw_table, raw_uses, set_roots};
use crate::kernel::maps::{self, MappedTable, Table};
use crate::kernel::pins::Place;
use crate::kernel::programs::{self, bpf_error};
use crate::model::{Code, Error, Result};

/// An instance's rules and tables.
pub(in crate::kernel) struct ClassifierMaps {
    rules: MappedTable<RawRule>,
    sieves: Table<RawSieve>,
    /// As `TableSize::ALL`.
    tables: [MapHandle; 3],
}

/// A table that no generation has yet.
pub(in crate::kernel) struct NewTable {
    pub(in crate::kernel) size: TableSize,
    pub(in crate::kernel) map: MapHandle,
}

fn pin(generation: u32) -> String {
    format!("nodes_{generation}")
}

impl ClassifierMaps {
    /// The instance's.
    pub(in crate::kernel) fn pinned(place: &Place) -> Result<Self> {
        let open = |size: TableSize| maps::open(&place.pin(size.map()));
        let [small, medium, large] = TableSize::ALL;
        Ok(ClassifierMaps {
            rules: MappedTable::open(&place.pin("ebm_rules"))?,
            sieves: Table::open(&place.pin("ebm_sieves"))?,
            tables: [open(small)?, open(medium)?, open(large)?],
        })
    }

    /// Writes the rules of a generation that nobody reads, by rank.
    pub(in crate::kernel) fn put_rules(&self, generation: u32, rules: &[RawRule]) {
        for (rank, rule) in rules.iter().enumerate().take(RULES) {
            self.rules.set(generation as usize * RULES + rank, rule);
        }
    }

    /// Writes the sieve of a generation that nobody reads.
    pub(in crate::kernel) fn put_sieve(&self, generation: u32, sieve: &Sieve) -> Result<()> {
        self.sieves.set(generation, &raw_sieve(sieve))
    }

    /// Gives it the other generation's.
    pub(in crate::kernel) fn keep_sieve(&self, generation: u32) -> Result<()> {
        self.sieves.set(generation, &self.sieves.get(1 - generation)?)
    }

    /// Makes this the table of a generation, and its only one.
    pub(in crate::kernel) fn put_table(
        &self,
        generation: u32,
        table: Option<(TableSize, BorrowedFd<'_>)>,
    ) -> Result<()> {
        let key = generation.to_ne_bytes();
        for (size, outer) in TableSize::ALL.into_iter().zip(&self.tables) {
            let what = || format!("write the map {}", size.map());
            // Each of these calls waits for all running programs: none of them is made in vain.
            let old = outer.lookup(&key, MapFlags::ANY).map_err(|error| bpf_error(what(), &error))?;
            match table.filter(|(wanted, _)| *wanted == size) {
                Some((_, map)) => {
                    let id = map_id(map)?;
                    if old.as_deref() != Some(&id.to_ne_bytes()[..]) {
                        outer
                            .update(&key, &map.as_raw_fd().to_ne_bytes(), MapFlags::ANY)
                            .map_err(|error| bpf_error(what(), &error))?;
                    }
                }
                None if old.is_some() => outer.delete(&key).map_err(|error| bpf_error(what(), &error))?,
                None => {}
            }
        }
        Ok(())
    }
}

/// What a generation's configuration says about its table.
pub(in crate::kernel) fn describe(
    config: &mut Config,
    rule_count: usize,
    table: Option<TableSize>,
    compiled: &Compiled,
) {
    config.rule_count = rule_count as u32;
    config.uses = raw_uses(compiled.uses);
    config.table = table.map_or(0, TableSize::number);
    config.views = compiled.tables.views;
    set_roots(config, &compiled.tables.roots);
    config.sieve = u32::from(compiled.sieve.is_some());
}

/// A map with the nodes. None when there is no tree; one without a node must be in a table as well to be asked.
pub(in crate::kernel) fn new_table(compiled: &Compiled) -> Result<Option<NewTable>> {
    let nodes = &compiled.tables.nodes;
    if compiled.tables.roots.is_empty() {
        return Ok(None);
    }
    let size = TableSize::of(nodes.len()).ok_or_else(|| {
        Error::new(Code::Conflict, format!("the rules do not fit into the table: {} comparisons", nodes.len()))
            .hint("fewer rules, or simpler ones: ebmirror filter explain EXPR counts the entries of each")
    })?;
    let map = empty_table(size)?;
    fill_table(&map, nodes, size)?;
    Ok(Some(NewTable { size, map }))
}

/// A map for the nodes of a table of this size.
pub(in crate::kernel) fn empty_table(size: TableSize) -> Result<MapHandle> {
    maps::create("ebm_nodes", MapType::Array, size.bytes(), 1, 0)
}

/// Writes the nodes into such a map.
pub(in crate::kernel) fn fill_table(map: &MapHandle, nodes: &[Node], size: TableSize) -> Result<()> {
    map.update(&0u32.to_ne_bytes(), &raw_table(nodes, size), MapFlags::ANY)
        .map_err(|error| bpf_error("write the table of the rules".to_owned(), &error))
}

/// Pins the table of a generation, so that the next one can have the same.
pub(in crate::kernel) fn pin_table(place: &Place, generation: u32, map: Option<BorrowedFd<'_>>) -> Result<()> {
    programs::replace_pin(map, &place.pin(&pin(generation)))
}

/// The table of a generation, where it has one.
pub(in crate::kernel) fn pinned_table(place: &Place, generation: u32) -> Result<Option<OwnedFd>> {
    programs::open_pin(&place.pin(&pin(generation)))
}

fn map_id(map: BorrowedFd<'_>) -> Result<u32> {
    programs::map_id(map).map_err(|error| Error::io("look at the table of the rules", &error))
}
