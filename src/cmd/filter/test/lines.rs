//! The lines of the output, written together: a system call each would take longer than all the rest.

use std::io::{self, Write};

use crate::model::{Error, Result};
use crate::output::{Printer, Report};

/// What is written at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// Lines on their way to stdout.
pub(super) struct Lines {
    printer: Printer,
    waiting: String,
    /// What writing came to: nothing more is written after a failure.
    failed: Option<io::Error>,
}

impl Lines {
    pub(super) fn new(printer: Printer) -> Self {
        Lines { printer, waiting: String::new(), failed: None }
    }

    /// One more. False: nobody reads them any more.
    pub(super) fn add(&mut self, report: &dyn Report) -> Result<bool> {
        let failed = |error: &io::Error| Error::io("write to stdout", error);
        let text = self.printer.text_of(report).map_err(|error| failed(&error))?;
        self.waiting += &text;
        if self.waiting.len() >= BLOCK_BYTES {
            self.flush();
        }
        self.is_read()
    }

    /// Writes what is waiting; how that went the next line tells.
    pub(super) fn flush(&mut self) {
        if self.failed.is_none() && !self.waiting.is_empty() {
            let mut stdout = io::stdout().lock();
            self.failed = stdout.write_all(self.waiting.as_bytes()).and_then(|()| stdout.flush()).err();
        }
        self.waiting.clear();
    }

    /// False: the reader is gone, which is no error.
    pub(super) fn is_read(&self) -> Result<bool> {
        match &self.failed {
            None => Ok(true),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Some(error) => Err(Error::io("write to stdout", error)),
        }
    }
}
