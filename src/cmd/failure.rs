//! Errors, as a command reports them.

use serde::Serialize;

use crate::model::Error;
use crate::output::{JsonStyle, Printer, Report, document};

/// Reports an error, on stderr or as a document. Returns its exit code.
pub fn failed(printer: &Printer, error: &Error) -> u8 {
    if printer.json.is_some() {
        // Where stdout is closed there is nobody to tell.
        let _ = printer.print(&Failure { error });
    } else {
        printer.error(&error.message);
        if let Some(hint) = &error.hint {
            printer.hint(hint);
        }
    }
    error.code.exit()
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a Error,
}

impl Report for Failure<'_> {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("error", self, style)
    }

    fn text(&self) -> String {
        self.error.to_string()
    }
}
