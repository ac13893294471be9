//! What `attach` says.

use serde::Serialize;

use crate::model::interface::{Direction, Mode};
use crate::output::{JsonStyle, Report, document, table};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) interface: String,
    pub(super) direction: Direction,
    pub(super) mode: Mode,
}

#[derive(Serialize)]
pub(super) struct Attached {
    pub(super) attached: Vec<Row>,
    pub(super) changed: bool,
    pub(super) dry_run: bool,
    pub(super) warnings: Vec<String>,
}

impl Report for Attached {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("attach", self, style)
    }

    fn text(&self) -> String {
        let head = match (self.dry_run, self.changed) {
            (true, true) => "would attach:\n",
            (true, false) | (false, false) => "no change:\n",
            (false, true) => "attached:\n",
        };
        let rows = self
            .attached
            .iter()
            .map(|row| vec![row.interface.clone(), row.direction.to_string(), row.mode.to_string()]);
        head.to_owned() + &table(&["interface", "direction", "mode"], rows)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
