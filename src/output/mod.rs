//! Data goes to stdout as a table or as JSON, everything else to stderr. Knows nothing about mirrors.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// What a command has to say.
pub trait Report {
    /// The JSON document.
    fn json(&self, style: JsonStyle) -> serde_json::Result<String>;
    /// The same for people; may be empty.
    fn text(&self) -> String;
    /// Things that the user should know, for stderr.
    fn warnings(&self) -> &[String] {
        &[]
    }
    /// The exit code of the process.
    fn exit(&self) -> u8 {
        0
    }
}

/// One line, or indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonStyle {
    /// One line a document.
    Compact,
    /// Indented.
    Pretty,
}

/// A value as it is.
pub fn json<T: Serialize>(value: &T, style: JsonStyle) -> serde_json::Result<String> {
    match style {
        JsonStyle::Compact => serde_json::to_string(value),
        JsonStyle::Pretty => serde_json::to_string_pretty(value),
    }
}

/// A document: its schema, then the body's own keys.
pub fn document<T: Serialize>(schema: &str, body: &T, style: JsonStyle) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: String,
        #[serde(flatten)]
        body: &'a T,
    }
    json(&Document { schema: format!("ebmirror.{schema}.v1"), body }, style)
}

/// Nothing more to say: the reader is gone.
pub struct Silence;

impl Report for Silence {
    fn json(&self, _: JsonStyle) -> serde_json::Result<String> {
        Ok(String::new())
    }

    fn text(&self) -> String {
        String::new()
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Prints reports and messages as the global options say.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// JSON, and how; None: text.
    pub json: Option<JsonStyle>,
    /// Colours on stderr.
    pub color: bool,
    /// No warnings and no progress.
    pub quiet: bool,
}

impl Printer {
    /// A report on stdout; its warnings on stderr, those of a JSON document in the document alone. A reader that is gone
    /// is no error: false.
    pub fn print(&self, report: &dyn Report) -> io::Result<bool> {
        if self.json.is_none() {
            for warning in report.warnings() {
                self.warn(warning);
            }
        }
        let text = self.text_of(report)?;
        if text.is_empty() {
            return Ok(true);
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// What stdout gets of a report, its last newline included: for commands that say so much that they collect it.
    pub fn text_of(&self, report: &dyn Report) -> io::Result<String> {
        let mut text = match self.json {
            Some(style) => report.json(style)?,
            None => report.text(),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    /// Before a report that replaces the one before, on a terminal.
    pub fn clear_screen(&self) {
        let mut stdout = io::stdout();
        if self.json.is_none() && stdout.is_terminal() {
            // The report that follows tells when stdout is closed.
            let _ = stdout.write_all(b"\x1b[H\x1b[2J");
        }
    }

    /// A warning on stderr.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            self.labelled("warning", "33", text);
        }
    }

    /// An error on stderr.
    pub fn error(&self, text: &str) {
        self.labelled("error", "31", text);
    }

    /// The remedy, on stderr.
    pub fn hint(&self, text: &str) {
        self.labelled("hint", "36", text);
    }

    fn labelled(&self, label: &str, color: &str, text: &str) {
        let line =
            if self.color { format!("\x1b[1;{color}m{label}:\x1b[0m {text}\n") } else { format!("{label}: {text}\n") };
        // There is nowhere to report that stderr is closed.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

impl Color {
    /// Whether messages on stderr are coloured.
    pub fn on_stderr(self) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal()
            }
        }
    }
}

/// A table with a header; columns whose name begins with `>` are numbers, to the right.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.trim_start_matches('>').to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
