//! Parse, run, print, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use ebmirror::cli::Cli;
use ebmirror::cmd;
use ebmirror::model::Code;
use ebmirror::output::{Color, JsonStyle, Printer};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // A reader that is gone is no error.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return report_usage(&arguments, &error),
    };
    let printer = cmd::printer(&cli.global);
    let code = match cmd::run(&cli) {
        Err(error) => cmd::failed(&printer, &error),
        Ok(report) => match printer.print(report.as_ref()) {
            Ok(_) => report.exit(),
            Err(error) => {
                // Where stdout cannot be written, stderr is what is left, for JSON as well.
                printer.error(&format!("write to stdout: {error}"));
                Code::Failed.exit()
            }
        },
    };
    ExitCode::from(code)
}

/// What clap says; as a document when the command line asked for one, which clap cannot tell any more.
fn report_usage(arguments: &[std::ffi::OsString], error: &clap::Error) -> ExitCode {
    let mut flags = String::new();
    let mut words = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).take_while(|text| *text != "--");
    while let Some(word) = words.next() {
        match word {
            "--json" => flags.push('j'),
            "--pretty" => flags.push('p'),
            // These take the next word.
            "-n" | "--netns" | "--root" | "--color" => drop(words.next()),
            _ if word.starts_with("--") => {}
            // A letter that takes a value (-nNS) ends the flags of its word.
            _ => flags.extend(word.strip_prefix('-').and_then(|rest| rest.split('n').next())),
        }
    }
    let json = match (flags.contains('j'), flags.contains('p')) {
        (_, true) => Some(JsonStyle::Pretty),
        (true, false) => Some(JsonStyle::Compact),
        _ => None,
    };
    if json.is_none() {
        let _ = error.print();
    } else {
        let printer = Printer { json, color: Color::Never.on_stderr(), quiet: false };
        cmd::failed(&printer, &cmd::usage_error(error));
    }
    ExitCode::from(2)
}
