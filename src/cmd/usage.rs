//! Command lines that clap refuses: how to say so, and in which form.

use std::ffi::OsString;

use crate::model::Error;
use crate::output::JsonStyle;

/// The form that a command line asks for which clap cannot read.
pub fn wanted_json(arguments: &[OsString]) -> Option<JsonStyle> {
    let mut flags = String::new();
    let mut words = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).take_while(|text| *text != "--");
    while let Some(word) = words.next() {
        match word {
            "--json" => flags.push('j'),
            "--pretty" => flags.push('p'),
            // These take the next word.
            "-n" | "--netns" | "--root" | "--color" => drop(words.next()),
            _ if word.starts_with("--") => {}
            // A letter that takes a value (-nNS) ends the flags of its word. Of a word with other letters (-tp) none counts.
            _ => {
                let letters = word.strip_prefix('-').and_then(|rest| rest.split('n').next());
                flags.extend(letters.filter(|letters| letters.chars().all(|letter| "jpvqhV".contains(letter))));
            }
        }
    }
    match (flags.contains('j'), flags.contains('p')) {
        (_, true) => Some(JsonStyle::Pretty),
        (true, false) => Some(JsonStyle::Compact),
        _ => None,
    }
}

/// The remedy where clap suggests none.
pub const HELP: &str = "see ebmirror --help";

/// What clap found wrong, in one line, with its suggestion as the remedy.
pub fn error(error: &clap::Error) -> Error {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut message = lines.next().unwrap_or("wrong usage").trim_start_matches("error: ").to_owned();
    let mut hint = HELP.to_owned();
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hint = tip.to_owned();
        } else if line.starts_with("Usage:") {
            hint = line.to_owned();
        } else if !line.starts_with("For more information") {
            message = format!("{message} {line}");
        }
    }
    Error::usage(message).hint(hint)
}
