//! The list of expressions: a line each, comments behind `#`.

use std::fs;
use std::path::Path;

use crate::classifier::compile::Compiled;
use crate::cmd::filter::test::trial::compile;
use crate::model::{Code, Error, Result};

/// A line of the list.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    pub(super) text: String,
    /// What the classifier makes of it, or why it does not.
    pub(super) compiled: Result<Compiled>,
}

/// Reads the list.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::io(path.display(), &error).hint("give a file with an expression a line: make oracle EXPRESSIONS=file")
    })?;
    let lines: Vec<Line> = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, without_comment(line)))
        .filter(|(_, text)| !text.is_empty())
        .map(|(number, text)| Line { number, text: text.to_owned(), compiled: compile(text, None) })
        .collect();
    if lines.is_empty() {
        return Err(Error::new(Code::NotFound, format!("{} has no expression", path.display()))
            .hint("an expression a line; # begins a comment"));
    }
    Ok(lines)
}

/// `#` has no meaning in the language.
fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_empty_lines_are_no_expressions() {
        for (line, expected) in [("", ""), (" # none", ""), ("tcp  # all", "tcp"), ("  udp ", "udp")] {
            assert_eq!(without_comment(line), expected);
        }
    }
}
