//! How long a set of rules takes to apply, beside `tc -batch`, and what memory its tables take.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use ebmirror::model::{Error, Result};
use serde_json::{Value, json};

use super::bars::{Bar, Reading};
use super::lane::{DATAPATH_PREFIX, Lane, TAP, Tools, UNDERLAY_MTU, add_vxlan_sender, tool};
use super::rules::Set;
use super::statistics::estimate;
use super::table::{Table, cell};

/// What was found, a row for each set.
#[derive(Default)]
pub struct Apply {
    rows: Vec<Row>,
}

struct Row {
    set: &'static str,
    rules: usize,
    /// Milliseconds of the command, by turn.
    ebmirror: Vec<f64>,
    tc: Vec<f64>,
    /// MiB of the maps before there were rules, and with them; by map, with them.
    empty: f64,
    full: f64,
    maps: BTreeMap<String, u64>,
}

impl Apply {
    /// Adds a set to an instance without rules, and the same as u32 filters to a device without filters, by turns.
    pub fn measure(&mut self, tools: &Tools, set: &Set, quick: bool) -> Result<()> {
        let turns = if quick { 3 } else { 11 };
        let others = maps()?;
        let lane = Lane::new(UNDERLAY_MTU)?;
        lane.mirror(tools, 1, &[])?;
        let ours = || -> Result<BTreeMap<u32, (String, u64)>> {
            let mut all = maps()?;
            all.retain(|id, (name, _)| !others.contains_key(id) && name.starts_with(DATAPATH_PREFIX));
            Ok(all)
        };
        let empty = mebibytes(ours()?.values().map(|(_, bytes)| bytes));
        // A host of its own for the other: filters of both on one device would be no fair turn.
        let other = Lane::new(UNDERLAY_MTU)?;
        let device = add_vxlan_sender(&other.host, 0)?;
        let (file, batch) = (set.file(), set.batch(TAP, &device));
        let (mut ebmirror, mut tc, mut full, mut by_name) = (Vec::new(), Vec::new(), 0.0, BTreeMap::new());
        for _ in 0..turns {
            let (_, took) = tools.ebmirror(&lane.host, &["filter", "add", "--file", "-"], &file)?;
            ebmirror.push(took.as_secs_f64() * 1e3);
            let found = ours()?;
            full = mebibytes(found.values().map(|(_, bytes)| bytes));
            by_name = BTreeMap::new();
            for (name, bytes) in found.into_values() {
                *by_name.entry(name).or_insert(0) += bytes;
            }
            tools.ebmirror(&lane.host, &["filter", "flush"], "")?;
            tool(&other.host, &format!("tc qdisc add dev {TAP} clsact"), "")?;
            let (_, took) = tool(&other.host, "tc -batch -", &batch)?;
            tc.push(took.as_secs_f64() * 1e3);
            tool(&other.host, &format!("tc qdisc del dev {TAP} clsact"), "")?;
        }
        lane.close(tools)?;
        let rules = set.rules.len();
        self.rows.push(Row { set: set.mix.name(), rules, ebmirror, tc, empty, full, maps: by_name });
        Ok(())
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(
            "Applying a set: milliseconds of the whole command, and memory of the instance's maps",
            &["set", "rules", "filter add --file", "tc -batch", "ratio", "MiB without rules", "MiB with them"],
        );
        for row in &self.rows {
            table.row(vec![
                row.set.to_owned(),
                row.rules.to_string(),
                cell(estimate(row.ebmirror.iter().copied()), 0),
                cell(estimate(row.tc.iter().copied()), 0),
                cell(estimate(row.ebmirror.iter().zip(&row.tc).map(|(ours, theirs)| ours / theirs)), 2),
                format!("{:.1}", row.empty),
                format!("{:.1}", row.full),
            ]);
        }
        table
    }

    pub fn readings(&self) -> Vec<Reading> {
        let bars = |row: &Row| {
            let ratio = row.ebmirror.iter().zip(&row.tc).map(|(ours, theirs)| ours / theirs);
            let time = estimate(row.ebmirror.iter().copied());
            [Reading::new(Bar::ApplyTime, row.set, time), Reading::new(Bar::ApplyRatio, row.set, estimate(ratio))]
        };
        self.rows.iter().flat_map(bars).collect()
    }

    pub fn document(&self) -> Vec<Value> {
        let row = |row: &Row| {
            json!({ "set": row.set, "rules": row.rules, "ebmirror_ms": row.ebmirror, "tc_ms": row.tc,
                "mib_without_rules": row.empty, "mib_with_rules": row.full, "bytes_by_map": row.maps })
        };
        self.rows.iter().map(row).collect()
    }
}

fn mebibytes<'a>(bytes: impl Iterator<Item = &'a u64>) -> f64 {
    bytes.sum::<u64>() as f64 / f64::from(1 << 20)
}

/// The name and the memory of all maps of the machine, by number.
fn maps() -> Result<BTreeMap<u32, (String, u64)>> {
    let failed = |error: &io::Error| Error::io("list the BPF maps", error);
    let mut found = BTreeMap::new();
    let mut id = 0;
    // SAFETY: the number is writable and outlives the call.
    while unsafe { libbpf_sys::bpf_map_get_next_id(id, &raw mut id) } == 0 {
        // SAFETY: the call takes a number.
        let fd = unsafe { libbpf_sys::bpf_map_get_fd_by_id(id) };
        if fd < 0 {
            // It has gone meanwhile.
            continue;
        }
        // SAFETY: the kernel has just made it for us.
        let map = unsafe { OwnedFd::from_raw_fd(fd) };
        found.insert(id, (name(&map).map_err(|error| failed(&error))?, memory(&map).map_err(|error| failed(&error))?));
    }
    Ok(found)
}

fn name(map: &OwnedFd) -> io::Result<String> {
    let mut info = libbpf_sys::bpf_map_info::default();
    let mut length = size_of::<libbpf_sys::bpf_map_info>() as u32;
    // SAFETY: the structure is writable for the length told, and outlives the call.
    let result = unsafe { libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &raw mut info, &raw mut length) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    let bytes: Vec<u8> = info.name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the kernel accounts to it.
fn memory(map: &OwnedFd) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}
