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
    let mut root = Cli::command();
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
    bytes.extend_from_slice(closing(name).as_bytes());
    files.push((format!("man/{name}.8"), with_tables(&String::from_utf8_lossy(&bytes))));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages(sub, &format!("{name}-{}", sub.get_name()), files)?;
    }
    Ok(())
}

/// The page with the tables and examples of its EXTRA section line by line, as they stand below `--help`.
fn with_tables(page: &str) -> String {
    const EXTRA: &str = "\n.SH EXTRA\n";
    let Some((before, rest)) = page.split_once(EXTRA) else { return page.to_owned() };
    let (extra, after) = rest.find("\n.SH ").map_or((rest, ""), |end| rest.split_at(end));
    let paragraphs: Vec<String> = extra
        .split("\n\n")
        .map(|paragraph| match paragraph.contains("  ") {
            true => format!(".nf\n{}\n.fi", paragraph.trim_end()),
            false => paragraph.to_owned(),
        })
        .collect();
    format!("{before}{EXTRA}{}{after}", paragraphs.join("\n\n"))
}

/// The sections that every page has, behind those that clap knows of.
fn closing(name: &str) -> String {
    let mut text = ".SH \"EXIT STATUS\"\n".to_owned();
    for (code, meaning) in EXIT_STATUS {
        text += &format!(".TP\n.B {code}\n{meaning}\n");
    }
    text += ".SH FILES\n.TP\n.I /sys/fs/bpf/ebmirror/COOKIE/\nThe pins of an instance, one for each network namespace, named by its \
             cookie.\n.TP\n.I ebm0, ebm1, ebm1p\nThe devices of the stage, on which the copies are made.\n.TP\n.I ebm2\nMade for \
             interfaces without an Ethernet header.\n";
    let root = if name == "ebmirror" { "ip-link(8), bpftool(8), tcpdump(8)" } else { "ebmirror(8)" };
    text + &format!(".SH \"SEE ALSO\"\n{root}\n")
}

const EXIT_STATUS: [(u8, &str); 9] = [
    (0, "Done, or nothing to do."),
    (1, "status or demo finds something wrong."),
    (2, "Wrong usage."),
    (3, "The kernel or the host refused."),
    (4, "What was named does not exist."),
    (5, "Root or a capability is missing."),
    (6, "Conflict, busy, or full."),
    (7, "This kernel cannot."),
    (8, "The pinned state is damaged, or of another version."),
];

impl Report for Written {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("generate", self, style)
    }

    fn text(&self) -> String {
        self.files.join("\n")
    }
}
