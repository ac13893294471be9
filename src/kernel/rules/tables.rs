//! The maps that the classifier reads, the instance's or those of any other load of the datapath.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, Object};

use crate::classifier::compile::Compiled;
use crate::kernel::abi::Config;
use crate::kernel::abi::rules::{RULES, RawRule, TableSize, raw_table, raw_uses, set_roots};
use crate::kernel::maps::{self, MappedTable, Table};
use crate::kernel::pins::Place;
use crate::kernel::programs::{self, bpf_error};
use crate::model::{Code, Error, Result};

/// The names of the maps; the tables are as `TableSize::ALL`.
const CONFIG: &str = "ebm_config";
const RULES_MAP: &str = "ebm_rules";

/// The maps that the classifier reads.
pub struct ClassifierMaps {
    config: Table<Config>,
    rules: MappedTable<RawRule>,
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
            config: Table::open(&place.pin(CONFIG))?,
            rules: MappedTable::open(&place.pin(RULES_MAP))?,
            tables: [open(small)?, open(medium)?, open(large)?],
        })
    }

    /// Those of a loaded object.
    pub fn of(object: &Object) -> Result<Self> {
        let find = |name: &str| -> Result<MapHandle> {
            let map = object.maps().find(|map| map.name() == name).ok_or_else(|| {
                Error::new(Code::Failed, format!("the datapath has no map {name}"))
                    .hint("this build is broken: build it again")
            })?;
            MapHandle::try_from(&map).map_err(|error| bpf_error(format!("use the map {name}"), &error))
        };
        let [small, medium, large] = TableSize::ALL;
        Ok(ClassifierMaps {
            config: Table::of(find(CONFIG)?),
            rules: MappedTable::of(&find(RULES_MAP)?, Path::new(RULES_MAP))?,
            tables: [find(small.map())?, find(medium.map())?, find(large.map())?],
        })
    }

    /// Makes these the rules of a generation. `skip`: a frame that matches none is skipped. `stamp` must not have been used
    /// with other tables, and not be 0.
    pub fn write(&self, generation: u32, compiled: &Compiled, rules: &[RawRule], skip: bool, stamp: u32) -> Result<()> {
        let table = new_table(compiled)?;
        self.put_table(generation, table.as_ref().map(|table| (table.size, table.map.as_fd())))?;
        self.put_rules(generation, rules);
        let mut config = self.config.get(generation)?;
        describe(&mut config, rules.len(), table.as_ref(), compiled);
        config.skip = skip.into();
        config.stamp = stamp;
        self.config.set(generation, &config)
    }

    /// Writes the rules of a generation that nobody reads, by rank.
    pub(in crate::kernel) fn put_rules(&self, generation: u32, rules: &[RawRule]) {
        for (rank, rule) in rules.iter().enumerate().take(RULES) {
            self.rules.set(generation as usize * RULES + rank, rule);
        }
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
    table: Option<&NewTable>,
    compiled: &Compiled,
) {
    config.rule_count = rule_count as u32;
    config.uses = raw_uses(compiled.uses);
    config.table = table.map_or(0, |table| table.size.number());
    config.views = compiled.tables.views;
    set_roots(config, &compiled.tables.roots);
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
    let map = maps::create("ebm_nodes", MapType::Array, size.bytes(), 1, 0)?;
    map.update(&0u32.to_ne_bytes(), &raw_table(nodes, size), MapFlags::ANY)
        .map_err(|error| bpf_error("write the table of the rules".to_owned(), &error))?;
    Ok(Some(NewTable { size, map }))
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
