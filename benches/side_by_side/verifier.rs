//! What the kernel's verifier walks through to take the programs of ebmirror.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ebmirror::model::Result;
use libbpf_rs::query::ProgInfoIter;
use serde_json::{Value, json};

use super::lane::{DATAPATH_PREFIX, Lane, TAP, Tools, UNDERLAY_MTU};
use super::table::Table;

/// The kernel's (`BPF_COMPLEXITY_LIMIT_INSNS`, since Linux 5.2).
const LIMIT: u32 = 1_000_000;

/// Instructions by program, and what `attach` took, the first time.
pub struct Verified {
    programs: BTreeMap<String, u32>,
    attach: Duration,
}

impl Verified {
    /// Attaches in a lane of its own, and looks at what is loaded then and was not before.
    pub fn look(tools: &Tools) -> Result<Self> {
        let lane = Lane::new(UNDERLAY_MTU)?;
        let before: HashSet<u32> = ProgInfoIter::default().map(|program| program.id).collect();
        let (_, attach) = tools.ebmirror(&lane.host, &["attach", TAP], "")?;
        let programs = ProgInfoIter::default()
            .filter(|program| !before.contains(&program.id))
            .map(|program| (program.name.to_string_lossy().into_owned(), program.verified_insns))
            .filter(|(name, _)| name.starts_with(DATAPATH_PREFIX))
            .collect();
        lane.close(tools)?;
        Ok(Self { programs, attach })
    }

    pub fn table(&self) -> Table {
        let title = format!(
            "Instructions that the verifier walks through, of {LIMIT}; attach took {} ms",
            self.attach.as_millis()
        );
        let mut table = Table::new(title, &["program", "instructions"]);
        for (name, instructions) in &self.programs {
            table.row(vec![name.clone(), instructions.to_string()]);
        }
        table
    }

    pub fn document(&self) -> Value {
        json!({ "limit": LIMIT, "instructions": self.programs, "attach_seconds": self.attach.as_secs_f64() })
    }
}
