//! Parse, run, print, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use ebmirror::cli::Cli;
use ebmirror::cmd;
use ebmirror::model::Code;
use ebmirror::output::{Color, Printer};

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
    let json = cmd::usage::wanted_json(arguments);
    if json.is_none() {
        let _ = error.print();
    } else {
        let printer = Printer { json, color: Color::Never.on_stderr(), quiet: false };
        cmd::failed(&printer, &cmd::usage::error(error));
    }
    ExitCode::from(2)
}
