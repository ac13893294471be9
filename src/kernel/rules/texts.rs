//! The rules' texts: one JSON document, in an array map of its own for each generation, pinned beside the others. A map
//! inside another one could be opened by its number alone, which takes CAP_SYS_ADMIN.

use std::mem::size_of;

use libbpf_rs::{MapHandle, MapType};

use super::Rules;
use crate::kernel::abi::rules::{Block, TEXT};
use crate::kernel::maps::{self, MappedTable};
use crate::kernel::pins::Place;
use crate::kernel::programs;
use crate::model::{Code, Error, Result};

/// The document's length stands before it.
const HEAD: usize = size_of::<u64>();

fn pin(generation: u32) -> String {
    format!("texts_{generation}")
}

fn bytes_of(rules: &Rules) -> Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, rules)
        .map_err(|error| Error::new(Code::Failed, format!("write the rules as JSON: {error}")))?;
    let length = (bytes.len() - HEAD) as u64;
    bytes[..HEAD].copy_from_slice(&length.to_ne_bytes());
    Ok(bytes)
}

/// A map with these rules. None when there is nothing to keep.
pub(in crate::kernel) fn write(place: &Place, generation: u32, rules: &Rules) -> Result<Option<MapHandle>> {
    if *rules == Rules::default() {
        return Ok(None);
    }
    let bytes = bytes_of(rules)?;
    let path = place.pin(&pin(generation));
    let map = maps::create("ebm_texts", MapType::Array, TEXT, bytes.len().div_ceil(TEXT), libbpf_sys::BPF_F_MMAPABLE)?;
    let table: MappedTable<Block> = MappedTable::of(&map, &path)?;
    for (index, chunk) in bytes.chunks(TEXT).enumerate() {
        let mut block = Block([0; TEXT]);
        block.0[..chunk.len()].copy_from_slice(chunk);
        table.set(index, &block);
    }
    Ok(Some(map))
}

/// Makes the map the text of a generation.
pub(in crate::kernel) fn put(place: &Place, generation: u32, map: Option<&MapHandle>) -> Result<()> {
    programs::replace_pin(map.map(std::os::fd::AsFd::as_fd), &place.pin(&pin(generation)))
}

/// The rules of a generation.
pub(super) fn read(place: &Place, generation: u32) -> Result<Rules> {
    let path = place.pin(&pin(generation));
    if programs::open_pin(&path)?.is_none() {
        return Ok(Rules::default());
    }
    let table: MappedTable<Block> = MappedTable::open(&path)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(table.len() * TEXT);
    for index in 0..table.len() {
        bytes.extend_from_slice(&table.get(index).0);
    }
    parse(&bytes).map_err(|what| maps::damaged(&path, &what))
}

fn parse(bytes: &[u8]) -> Result<Rules, String> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or("it is empty")?;
    let length = usize::try_from(u64::from_ne_bytes(*head)).unwrap_or(usize::MAX);
    let document = rest.get(..length).ok_or("its length is wrong")?;
    let rules: Rules = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    if rules.counters.len() != rules.set.rules.len() {
        return Err("rules without counters".to_owned());
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rule::{Action, Rule, RuleId, RuleSet};

    #[test]
    fn rules_are_read_as_they_were_written() {
        let rule = |id: u32| Rule {
            action: Action::Skip,
            expression: "host 10.0.0.1 and port 80".repeat(id as usize % 7),
            ..Rule::new(RuleId::try_from(id).unwrap())
        };
        let set = RuleSet { rules: (1..=5000).map(rule).collect(), ..RuleSet::default() };
        let rules = Rules { set, counters: (0..5000).collect(), interfaces: [("eth0".to_owned(), 3)].into() };
        let mut bytes = bytes_of(&rules).unwrap();
        let length = bytes.len();
        bytes.resize(length.next_multiple_of(TEXT), 0);
        assert_eq!(parse(&bytes).unwrap(), rules);
        assert_eq!(parse(&bytes[..length]).unwrap(), rules);
        for (bad, error) in [(&bytes[..length - 1], "length"), (&bytes[..4], "empty"), (&[0; 64], "EOF")] {
            assert!(parse(bad).unwrap_err().contains(error));
        }
        let mut short = rules;
        short.counters.pop();
        assert!(parse(&bytes_of(&short).unwrap()).unwrap_err().contains("without counters"));
    }
}
