//! What the replay found, for people and for scripts.

use serde::Serialize;

use super::row::Row;
use crate::lab::replay::Tally;
use crate::output::{JsonStyle, Report, document, table};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// Every frame is accounted for, and every copy is the same as its original.
    passed: bool,
    files: Vec<Row>,
    total: Row,
    problems: Vec<String>,
}

impl Findings {
    /// Those of all files, and what crossed the interface altogether beside what the mirror has counted there.
    pub(super) fn new(files: Vec<Row>, crossed: u64, seen: u64, unaccounted: i64) -> Self {
        let mut total = Row::new("total".into());
        files.iter().for_each(|row| total.add(row));
        let mut problems = Vec::new();
        let mut expect = |good: bool, problem: String| problems.extend((!good).then_some(problem));
        let wrong: Vec<&str> = files.iter().filter(|row| !row.is_perfect()).map(|row| row.file.as_str()).collect();
        expect(wrong.is_empty(), format!("not as it should be: {}", wrong.join(", ")));
        expect(seen == crossed, format!("{crossed} frames crossed the interface, and the tap has seen {seen}"));
        expect(unaccounted == 0, format!("the books do not balance: unaccounted is {unaccounted}"));
        expect(total.tally.replayed > 0, "there is no frame that can be replayed: nothing was compared".into());
        Self { passed: problems.is_empty(), files, total, problems }
    }

    fn verdict(&self) -> String {
        if !self.passed {
            let problems: String = self.problems.iter().map(|problem| format!("  {problem}\n")).collect();
            return format!("FAIL:\n{problems}");
        }
        let Tally { replayed, arrived, .. } = self.total.tally;
        let damaged = self.files.iter().filter(|row| row.fault.is_some()).count();
        let read =
            if damaged == 0 { String::new() } else { format!("; {damaged} files were not read, or not to their end") };
        format!(
            "PASS: of {replayed} frames replayed {arrived} arrived, identical to the last byte, and each other one has a \
             reason; the books balance{read}\n"
        )
    }
}

impl Report for Findings {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("corpus", self, style)
    }

    fn text(&self) -> String {
        let header = ["file", ">frames", ">left out", ">replayed", ">arrived", ">identical", ">lost", "notes"];
        table(&header, self.files.iter().chain([&self.total]).map(Row::cells)) + "\n" + &self.verdict()
    }

    fn exit(&self) -> u8 {
        u8::from(!self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    fn findings(row: Row) -> Findings {
        let crossed = row.tally.crossed;
        Findings::new(vec![row], crossed, crossed, 0)
    }

    #[test]
    fn what_is_explained_passes_and_stands_in_the_line() {
        for (row, expected) in [
            (row(|_, _| ()), ""),
            (
                row(|row, _| {
                    (row.tally.arrived, row.tally.identical, row.tally.copies) = (18, 18, 20);
                    row.reasons.insert("too_big".into(), 2);
                }),
                "lost: 2 too_big",
            ),
            (
                row(|_, reading| {
                    reading.left_out.extend([("cut by the capture".into(), 3), ("of link type 9 (PPP)".into(), 1)]);
                }),
                "left out: 3 cut by the capture, 1 of link type 9 (PPP)",
            ),
            (row(|_, reading| reading.fault = Some("damaged at byte 9".into())), "damaged at byte 9"),
        ] {
            let findings = findings(row);
            assert_eq!((findings.exit(), findings.files[0].notes().as_str()), (0, expected));
            assert!(findings.text().contains("PASS: of 20 frames replayed"), "{}", findings.text());
        }
    }

    #[test]
    fn what_is_not_explained_fails_and_names_the_file() {
        for (row, expected) in [
            (row(|row, _| row.tally.identical = 19), "WRONG; 1 copies differ"),
            (row(|row, _| row.tally.copies = 21), "WRONG; 1 unaccounted"),
            (row(|row, _| row.tally.copies = 23), "WRONG; -1 unaccounted"),
            (row(|row, _| row.tally.vanished = 1), "WRONG; 1 unaccounted"),
            (row(|row, _| (row.tally.vanished, row.tally.copies) = (1, 23)), "WRONG; -1 unaccounted"),
            (row(|_, reading| reading.unreadable = true), "WRONG"),
        ] {
            let findings = findings(row);
            assert_eq!((findings.exit(), findings.files[0].notes().as_str()), (1, expected));
            assert!(findings.text().contains("not as it should be: a.pcap"), "{}", findings.text());
        }
    }

    #[test]
    fn the_mirrors_own_counters_must_agree() {
        let row = || row(|_, _| ());
        for (findings, expected) in [
            (Findings::new(vec![row()], 22, 21, 0), "22 frames crossed the interface, and the tap has seen 21"),
            (Findings::new(vec![row()], 22, 22, 4), "unaccounted is 4"),
            (Findings::new(vec![Row::default()], 0, 0, 0), "nothing was compared"),
        ] {
            assert_eq!(findings.exit(), 1);
            assert!(findings.text().contains(expected), "{}", findings.text());
        }
    }
}
