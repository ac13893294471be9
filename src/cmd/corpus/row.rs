//! A line of the report: a file, or all of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::Reading;
use crate::lab::replay::Tally;

/// A file, or all of them. Frames count once in the file, and once for each direction where they are replayed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) file: String,
    /// In the file.
    frames: u64,
    /// Those that are not replayed, by the reason.
    left_out: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) tally: Tally,
    /// Why frames have no copy, as the mirror counts it.
    #[serde(rename = "lost")]
    pub(super) reasons: BTreeMap<String, u64>,
    /// What neither arrived nor has a reason; what is not read of a file is not among it.
    pub(super) unaccounted: i64,
    /// Why the file was not read, or not to its end.
    pub(super) fault: Option<String>,
    /// This machine could not read it.
    unreadable: bool,
}

impl Row {
    /// Without a frame so far.
    pub(super) fn new(file: String) -> Self {
        Self { file, ..Self::default() }
    }

    /// Closes the books of a file.
    pub(super) fn finish(&mut self, reading: Reading) {
        let Reading { frames, left_out, fault, unreadable } = reading;
        let Tally { crossed, copies, vanished, .. } = self.tally;
        let missing = crossed as i64 - copies as i64 - self.lost() as i64;
        // Not a sum that could hide one behind the other.
        self.unaccounted = if missing < 0 { missing } else { missing + vanished as i64 };
        (self.frames, self.left_out, self.fault, self.unreadable) = (frames, left_out, fault, unreadable);
    }

    fn lost(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// For a total.
    pub(super) fn add(&mut self, other: &Row) {
        self.frames += other.frames;
        self.tally += &other.tally;
        // A total of 0 means 0 in each file.
        self.unaccounted += other.unaccounted.abs();
        for (mine, others) in [(&mut self.left_out, &other.left_out), (&mut self.reasons, &other.reasons)] {
            others.iter().for_each(|(reason, count)| *mine.entry(reason.clone()).or_default() += count);
        }
    }

    /// All is explained, and all that came is right.
    pub(super) fn is_perfect(&self) -> bool {
        self.unaccounted == 0 && self.tally.arrived == self.tally.identical && !self.unreadable
    }

    /// For the table.
    pub(super) fn cells(&self) -> Vec<String> {
        let Tally { replayed, arrived, identical, .. } = self.tally;
        let left_out = self.left_out.values().sum();
        let numbers = [self.frames, left_out, replayed, arrived, identical, self.lost()];
        let mut cells = vec![self.file.clone()];
        cells.extend(numbers.iter().map(u64::to_string));
        cells.push(self.notes());
        cells
    }

    /// What there is to say about it.
    pub(super) fn notes(&self) -> String {
        let listed = |title: &str, counts: &BTreeMap<String, u64>| {
            let counts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            (!counts.is_empty()).then(|| format!("{title}: {}", counts.join(", ")))
        };
        let number = |count: u64, text: &str| (count > 0).then(|| format!("{count} {text}"));
        let Tally { arrived, identical, from_outer, bystanders_lost, .. } = self.tally;
        let notes = [
            (!self.is_perfect()).then(|| "WRONG".to_owned()),
            (self.unaccounted != 0).then(|| format!("{} unaccounted", self.unaccounted)),
            number(arrived - identical, "copies differ"),
            self.fault.clone(),
            listed("left out", &self.left_out),
            listed("not sent", &self.tally.not_sent),
            listed("lost", &self.reasons),
            number(bystanders_lost, "frames of the tool itself are among these"),
            number(from_outer, "that a vxlan device refuses, compared in the outer packet"),
        ];
        notes.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Ten frames, both ways, all there.
    pub(in crate::cmd::corpus) fn row(change: impl FnOnce(&mut Row, &mut Reading)) -> Row {
        let tally = Tally { replayed: 20, arrived: 20, identical: 20, crossed: 22, copies: 22, ..Tally::default() };
        let mut row = Row { file: "a.pcap".into(), tally, ..Row::default() };
        let mut reading = Reading { frames: 10, ..Reading::default() };
        change(&mut row, &mut reading);
        row.finish(reading);
        row
    }

    #[test]
    fn a_total_adds_everything_and_hides_no_fault_behind_another() {
        let mut total = Row::default();
        for change in [1, -1] {
            total.add(&row(|row, reading| {
                row.tally.copies = row.tally.copies.saturating_add_signed(change);
                row.reasons.insert("rate".into(), 0);
                reading.left_out.insert("cut by the capture".into(), 3);
            }));
        }
        assert_eq!((total.frames, total.tally.replayed, total.unaccounted), (20, 40, 2));
        assert_eq!(total.left_out["cut by the capture"], 6);
    }
}
