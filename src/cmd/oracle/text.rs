//! What the comparison found, for people and for scripts.

use super::frames::FileRow;
use super::report::{Difference, Findings, Rejection, Row};
use crate::output::{JsonStyle, Report, document, table};

impl Findings {
    fn file(&self, number: usize) -> &str {
        self.files.get(number).map_or("", |row| row.file.as_str())
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        for row in &self.expressions {
            for Rejection { by, reason } in &row.rejected {
                let by = by.name();
                text += &format!("line {}: {}: rejected by {by}: {reason}\n", row.line, row.expression);
            }
        }
        for (differences, end) in [(&self.differences, ""), (&self.optimiser, ", but not by tcpdump -O")] {
            for Difference { line, expression, file, frame, chosen_by } in differences {
                let by = chosen_by.name();
                text += &format!(
                    "line {line}: {expression}: {} frame {frame}: chosen by {by} alone{end}\n",
                    self.file(*file)
                );
            }
        }
        for FileRow { file, left_out, fault, .. } in &self.files {
            for (reason, count) in left_out {
                text += &format!("{file}: left out: {count} {reason}\n");
            }
            text += &fault.iter().map(|fault| format!("{file}: {fault}\n")).collect::<String>();
        }
        text
    }
}

impl Report for Findings {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("oracle", self, style)
    }

    fn text(&self) -> String {
        let compared = self.expressions.iter().filter(|row| row.rejected.is_empty());
        let cells = |row: &Row| {
            let numbers = [row.line, row.frames, row.chosen, row.differences];
            numbers.iter().map(u64::to_string).chain([row.expression.clone()]).collect()
        };
        let text = table(&[">line", ">frames", ">chosen", ">differences", "expression"], compared.map(cells));
        let Findings { compared, rejected, verdicts, chosen, .. } = self;
        let verdict = match (self.passed, self.differences.len()) {
            (true, _) => "PASS".to_owned(),
            (false, 0) => "FAIL: nothing was compared".to_owned(),
            (false, count) => format!("FAIL: {count} differences"),
        };
        text + "\n"
            + &self.notes()
            + &format!(
                "{verdict}: {compared} expressions compared, {rejected} rejected; {} files; {verdicts} verdicts, {chosen} of \
                 them chosen by both, {} differences, {} that only tcpdump's optimiser makes\n",
                self.files.len(),
                self.differences.len(),
                self.optimiser.len()
            )
    }

    fn exit(&self) -> u8 {
        u8::from(!self.passed)
    }
}
