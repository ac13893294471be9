//! What the comparison found.

use serde::Serialize;

use super::expressions::Line;
use super::frames::{FileRow, Portion};
use crate::lab::tcpdump::Answer;
use crate::model::Result;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Ebmirror,
    Tcpdump,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Side::Ebmirror => "ebmirror",
            Side::Tcpdump => "tcpdump",
        }
    }
}

/// An expression and its frames.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) expression: String,
    pub(super) frames: u64,
    /// By both.
    pub(super) chosen: u64,
    /// By one of them alone.
    pub(super) differences: u64,
    /// By one of them alone, where tcpdump without its optimiser is of our opinion.
    pub(super) optimiser: u64,
    /// Why the expression was not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rejected: Vec<Rejection>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rejection {
    pub(super) by: Side,
    pub(super) reason: String,
}

/// A frame that only one of them chooses.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Difference {
    pub(super) line: u64,
    pub(super) expression: String,
    pub(super) file: usize,
    pub(super) frame: u64,
    pub(super) chosen_by: Side,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// No difference.
    pub(super) passed: bool,
    pub(super) expressions: Vec<Row>,
    /// Their `file` counts the files from 0.
    pub(super) differences: Vec<Difference>,
    /// Those where tcpdump differs from itself: its optimiser leaves out what a program reads in vain. A frame that ends before
    /// that matches nothing without the optimiser, as with us.
    pub(super) optimiser: Vec<Difference>,
    pub(super) files: Vec<FileRow>,
    /// Expressions that were compared.
    pub(super) compared: u64,
    pub(super) rejected: u64,
    /// Frames times expressions.
    pub(super) verdicts: u64,
    pub(super) chosen: u64,
}

impl Findings {
    pub(super) fn new(lines: &[Line]) -> Self {
        let row = |line: &Line| {
            let rejected = line
                .compiled
                .as_ref()
                .err()
                .map(|error| Rejection { by: Side::Ebmirror, reason: error.message.clone() });
            let (expression, rejected) = (line.text.clone(), rejected.into_iter().collect());
            Row { line: line.number, expression, frames: 0, chosen: 0, differences: 0, optimiser: 0, rejected }
        };
        Findings {
            passed: false,
            expressions: lines.iter().map(row).collect(),
            differences: Vec::new(),
            optimiser: Vec::new(),
            files: Vec::new(),
            compared: 0,
            rejected: 0,
            verdicts: 0,
            chosen: 0,
        }
    }

    /// The choices of one expression, ours in rising order; None: it is rejected. `second` is tcpdump's opinion without its
    /// optimiser.
    pub(super) fn compare(
        &mut self,
        place: usize,
        portion: &Portion,
        ours: Option<&[u32]>,
        theirs: Answer,
        second: impl FnOnce() -> Result<Answer>,
    ) -> Result<()> {
        let row = &mut self.expressions[place];
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(reason) => {
                if row.rejected.iter().all(|rejection| rejection.by != Side::Tcpdump) {
                    row.rejected.push(Rejection { by: Side::Tcpdump, reason });
                }
                return Ok(());
            }
        };
        let Some(ours) = ours else { return Ok(()) };
        row.frames += portion.frames.len() as u64;
        if ours == theirs {
            row.chosen += ours.len() as u64;
            return Ok(());
        }
        let second = second()?.unwrap_or_default();
        let has = |places: &[u32], place| places.binary_search(&place).is_ok();
        for (place, frame) in (0..).zip(&portion.frames) {
            let (mine, other) = (has(ours, place), has(&theirs, place));
            if mine == other {
                row.chosen += u64::from(mine);
                continue;
            }
            let chosen_by = if mine { Side::Ebmirror } else { Side::Tcpdump };
            let (line, expression) = (row.line, row.expression.clone());
            let difference = Difference { line, expression, file: frame.file, frame: frame.number, chosen_by };
            if has(&second, place) == mine {
                row.optimiser += 1;
                self.optimiser.push(difference);
            } else {
                row.differences += 1;
                self.differences.push(difference);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, files: Vec<FileRow>) -> Self {
        let compared = || self.expressions.iter().filter(|row| row.rejected.is_empty());
        self.compared = compared().count() as u64;
        self.verdicts = compared().map(|row| row.frames).sum();
        self.chosen = compared().map(|row| row.chosen).sum();
        self.rejected = self.expressions.len() as u64 - self.compared;
        self.differences.sort_by_key(|difference| (difference.line, difference.file, difference.frame));
        // Nothing compared is nothing proved.
        self.passed = self.differences.is_empty() && self.verdicts > 0;
        self.files = files;
        self
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
