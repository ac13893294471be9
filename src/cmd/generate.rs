//! `ebmirror generate` (hidden): writes the manual pages and the completion scripts that are committed.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;

use super::completions::Shell;
use crate::cli::Cli;
use crate::model::{Error, Result};
use crate::output::{JsonStyle, Report, document};

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory for man/ and completions/
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

#[derive(Serialize)]
struct Written {
    files: Vec<String>,
}

/// Writes them all.
pub fn run(args: &Args) -> Result<Box<dyn Report>> {
    let mut files = Vec::new();
    for (path, text) in generated()? {
        let file = args.directory.join(&path);
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| Error::io(format!("create {}", folder.display()), &error))?;
        fs::write(&file, text).map_err(|error| Error::io(format!("write {}", file.display()), &error))?;
        files.push(path);
    }
    Ok(Box::new(Written { files }))
}

/// Every file that is made from the command line: its path and its text.
pub fn generated() -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    pages(&root, "ebmirror", &mut files)?;
    for shell in Shell::ALL {
        files.push((format!("completions/{}", shell.file()), shell.script()));
    }
    Ok(files)
}

fn pages(command: &Command, name: &str, files: &mut Vec<(String, String)>) -> Result<()> {
    // A page that names no date and no version is the same on every machine and day.
    let page = command.clone().display_name(name.to_owned()).name(name.to_owned()).version(None::<&str>);
    let man = Man::new(page).title(name.to_uppercase()).section("8").date("").source("ebmirror").manual("ebmirror");
    let mut bytes = Vec::new();
    man.render(&mut bytes).map_err(|error| Error::io(format!("write the manual page of {name}"), &error))?;
    files.push((format!("man/{name}.8"), String::from_utf8_lossy(&bytes).into_owned()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages(sub, &format!("{name}-{}", sub.get_name()), files)?;
    }
    Ok(())
}

impl Report for Written {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("generate", self, style)
    }

    fn text(&self) -> String {
        self.files.join("\n")
    }
}
