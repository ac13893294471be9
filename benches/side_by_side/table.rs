//! Tables as documents have them, in Markdown.

use std::fmt::Write as _;

use super::statistics::Estimate;

/// A table with its title.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
    /// So many of the columns, the first ones, are text: to the left, numbers to the right.
    text: usize,
}

impl Table {
    pub fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()], text: 1 }
    }

    /// The same with so many columns of text.
    pub fn with_text(self, columns: usize) -> Self {
        Self { text: columns, ..self }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::from("|");
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                if column < self.text { write!(line, " {cell:<width$} |")? } else { write!(line, " {cell:>width$} |")? }
            }
            writeln!(f, "{line}")?;
            if number == 0 {
                let rule = |column: usize, width: &usize| {
                    if column < self.text { "-".repeat(width + 2) } else { "-".repeat(width + 1) + ":" }
                };
                let rules: Vec<String> = widths.iter().enumerate().map(|(column, width)| rule(column, width)).collect();
                writeln!(f, "|{}|", rules.join("|"))?;
            }
        }
        Ok(())
    }
}

/// A median and its interval, with so many decimals: `312 (308 to 317)`.
pub fn cell(estimate: Option<Estimate>, decimals: usize) -> String {
    cell_or(estimate, decimals, "lost copies")
}

/// The same, and why there is none.
pub fn cell_or(estimate: Option<Estimate>, decimals: usize, otherwise: &str) -> String {
    match estimate {
        Some(Estimate { median, low, high, .. }) => {
            format!("{median:.decimals$} ({low:.decimals$} to {high:.decimals$})")
        }
        None => otherwise.to_owned(),
    }
}
