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
    /// By itself, without a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stops_after: Option<String>,
    pub(super) warnings: Vec<String>,
}

impl Report for Attached {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("attach", self, style)
    }

    fn text(&self) -> String {
        let span = self.stops_after.as_ref().map_or_else(String::new, |span| format!(" for {span}"));
        let head = match (self.dry_run, self.changed) {
            (true, true) => format!("would attach{span}:\n"),
            (_, false) => "no change:\n".to_owned(),
            (false, true) => format!("attached{span}:\n"),
        };
        let rows = self
            .attached
            .iter()
            .map(|row| vec![row.interface.clone(), row.direction.to_string(), row.mode.to_string()]);
        head + &table(&["interface", "direction", "mode"], rows)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
