//! The program's own commands, as a user types them.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::lab::network::Host;
use crate::lab::sandbox::die_with_parent;
use crate::model::{Code, Error, Result};

/// This program, whatever it is called and wherever it lies, and even when it has been replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// Runs commands on one host of the network.
pub(in crate::cmd) struct Commands<'a> {
    netns: String,
    root: &'a Path,
    say: &'a dyn Fn(&str),
}

impl<'a> Commands<'a> {
    pub(in crate::cmd) fn new(host: &Host, root: &'a Path, say: &'a dyn Fn(&str)) -> Self {
        Self { netns: host.path(), root, say }
    }

    /// Shows the command, runs it, and returns its JSON document.
    pub(in crate::cmd) fn run(&self, words: &[&str]) -> Result<Value> {
        (self.say)(&format!("$ ebmirror {}", words.join(" ")));
        self.quietly(words)
    }

    /// The same without showing it.
    pub(in crate::cmd) fn quietly(&self, words: &[&str]) -> Result<Value> {
        let name = format!("ebmirror {}", words.join(" "));
        let output = self.spawn(words).map_err(|error| Error::io(format_args!("run {name}"), &error))?;
        let document: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        match document {
            Some(document) if output.status.success() => Ok(document),
            document => Err(failure(&name, document.as_ref(), &output)),
        }
    }

    fn spawn(&self, words: &[&str]) -> io::Result<Output> {
        let mut command = Command::new(SELF);
        command.arg("--json").arg("--netns").arg(&self.netns).arg("--root").arg(self.root).args(words);
        command.stdin(Stdio::null());
        die_with_parent(&mut command);
        command.output()
    }
}

/// The error that the command reported, with the command's name.
fn failure(name: &str, document: Option<&Value>, output: &Output) -> Error {
    let error = document.and_then(|document| document.get("error"));
    let text = |key: &str| error?.get(key)?.as_str();
    let code = match text("code") {
        Some("usage") => Code::Usage,
        Some("not_found") => Code::NotFound,
        Some("permission") => Code::Permission,
        Some("conflict") => Code::Conflict,
        Some("unsupported") => Code::Unsupported,
        Some("damaged") => Code::Damaged,
        _ => Code::Failed,
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = match text("message") {
        Some(message) => message.to_owned(),
        None => format!("{}, {}", output.status, stderr.lines().next().unwrap_or("without a word")),
    };
    let failed = Error::new(code, format!("{name}: {message}"));
    match text("hint") {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
