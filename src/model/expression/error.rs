//! What is wrong with an expression, where, and what to write instead.

use std::fmt;

use super::super::error::Error;

/// Characters of the expression that a message shows on either side of the token.
const AROUND: usize = 30;

/// Why a text is no expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    hint: String,
    column: usize,
}

impl ParseError {
    /// What is wrong with these bytes of the text, and the remedy.
    pub(super) fn new(text: &str, from: usize, to: usize, problem: impl fmt::Display, hint: impl Into<String>) -> Self {
        let column = text[..from].chars().count() + 1;
        let token = match from == to {
            true => "end".to_owned(),
            false => shown(text[from..to].chars(), AROUND, "…"),
        };
        let before: Vec<char> = text[..from].chars().collect();
        let skip = before.len().saturating_sub(AROUND);
        let before = shown(before[skip..].iter().copied(), AROUND, "");
        let after = shown(text[to..].chars(), AROUND, "…");
        let dots = if skip > 0 { "…" } else { "" };
        let message = format!("{problem}, column {column} of the expression: {dots}{before}>>>{token}<<<{after}");
        ParseError { message, hint: hint.into(), column }
    }

    /// What is wrong with all of it, and the remedy.
    pub(super) fn whole(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        ParseError { message: problem.into(), hint: hint.into(), column: 1 }
    }

    /// One line that names the token and points at it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The remedy.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Where the token begins, in characters, from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

/// At most so many characters, fit for one line of a terminal.
fn shown(text: impl Iterator<Item = char>, most: usize, more: &str) -> String {
    let mut shown = String::new();
    for (at, c) in text.enumerate() {
        if at == most {
            return shown + more;
        }
        match c {
            c if c.is_whitespace() => shown.push(' '),
            c if c.is_control() => shown.push('?'),
            c => shown.push(c),
        }
    }
    shown
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Error {
        Error::usage(error.message).hint(error.hint)
    }
}
