//! `ebmirror completions`: completion scripts for shells.

use clap::{CommandFactory, ValueEnum};
use serde::Serialize;

use crate::cli::Cli;
use crate::model::Result;
use crate::output::{JsonStyle, Report, document};

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that shall complete
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Serialize)]
struct Script {
    shell: Shell,
    script: String,
}

impl Shell {
    /// All of them.
    pub const ALL: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    /// The name under which the shell looks for the script.
    pub fn file(self) -> &'static str {
        match self {
            Shell::Bash => "ebmirror.bash",
            Shell::Zsh => "_ebmirror",
            Shell::Fish => "ebmirror.fish",
        }
    }

    /// The script.
    pub fn script(self) -> String {
        let mut bytes = Vec::new();
        let generator = match self {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        clap_complete::generate(generator, &mut Cli::command(), "ebmirror", &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Makes the script.
pub fn run(args: &Args) -> Result<Box<dyn Report>> {
    Ok(Box::new(Script { shell: args.shell, script: args.shell.script() }))
}

impl Report for Script {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("completions", self, style)
    }

    fn text(&self) -> String {
        self.script.clone()
    }
}
