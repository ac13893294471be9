//! Files of rules: the arguments of one `filter add` a line, quoted as in a shell; `#` begins a comment.

use std::io::Read;
use std::path::Path;

use clap::Parser;

use super::options::{Parts, RuleArgs};
use crate::cmd::usage;
use crate::model::{Code, Error, Result};

/// Bytes of a file, at most: 10,000 rules of a thousand bytes fit several times.
const LONGEST: u64 = 64 << 20;

/// A line, for clap.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    rule: RuleArgs,
}

/// The error of a line.
pub(super) fn at(name: &str, line: usize, error: Error) -> Error {
    Error { message: format!("{name}:{line}: {}", error.message), ..error }
}

/// The file's name for messages, and its text.
pub(super) fn read(path: &Path) -> Result<(String, String)> {
    let stdin = path == Path::new("-");
    let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if stdin {
        std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        let failed = Error::io(format!("read {name}"), &error);
        match failed.code {
            Code::NotFound => failed.hint("--file takes the name of a file, or - for stdin"),
            _ => failed,
        }
    })?;
    if bytes.len() as u64 > LONGEST {
        return Err(Error::usage(format!("{name} is longer than {LONGEST} bytes"))
            .hint("is it a file of rules? Each line has the arguments of one filter add"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(at(&name, line, Error::usage("this is no text in UTF-8").hint("is it a file of rules?")))
        }
    }
}

/// The rules of a text, each with its line.
pub(super) fn rules(name: &str, text: &str) -> Result<Vec<(usize, Parts)>> {
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let parts = words(line).and_then(|words| match &words[..] {
            [] => Ok(None),
            words => args(words)?.parts().map(Some),
        });
        rules.extend(parts.map_err(|error| at(name, number, error))?.map(|parts| (number, parts)));
    }
    Ok(rules)
}

fn words(line: &str) -> Result<Vec<String>> {
    shlex::split(line).ok_or_else(|| {
        Error::usage("a quotation mark is not closed, or the line ends with a backslash")
            .hint("each line has the arguments of one filter add, quoted as in a shell")
    })
}

/// The arguments of a line.
fn args(words: &[String]) -> Result<RuleArgs> {
    if let Some(args) = quickly(words) {
        return Ok(args);
    }
    // What the short way does not know, clap does; and it says what is wrong.
    let line = Line::try_parse_from(words).map_err(|error| {
        let error = usage::error(&error);
        let tip = error.hint.clone().filter(|hint| !hint.starts_with("Usage:"));
        error.hint(tip.unwrap_or_else(|| HINT.to_owned()))
    })?;
    Ok(line.rule)
}

const HINT: &str = "each line has the arguments of one filter add: ebmirror filter add --help";

/// The same as clap's, for what is plain: options that are given once, with a value that is right. clap takes 20 µs a line.
fn quickly(words: &[String]) -> Option<RuleArgs> {
    fn once<T: std::str::FromStr>(place: &mut Option<T>, value: &str) -> Option<()> {
        match place.replace(value.parse().ok()?) {
            None => Some(()),
            Some(_) => None,
        }
    }
    let mut args = RuleArgs::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            args.expression.push(word.clone());
            continue;
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, value),
            None => (word.as_str(), words.next().filter(|value| !value.starts_with('-'))?.as_str()),
        };
        match option {
            "--priority" => once(&mut args.priority, value)?,
            "--to" => args.to.push(value.parse().ok()?),
            "--snaplen" => once(&mut args.snaplen, value)?,
            "--sample" => once(&mut args.sample, value)?,
            _ => args.flags.quickly(option, value)?,
        }
    }
    Some(args)
}
