//! The manual pages, the completion scripts and the README are those of this command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use ebmirror::cli::Cli;
use ebmirror::cmd::generate::generated;

const REMEDY: &str = "run: cargo run -- generate .";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all commands that help shows, as they are typed: `peer add`.
fn commands() -> Vec<String> {
    fn walk(command: &Command, prefix: &str, names: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let name = format!("{prefix}{}", sub.get_name());
            walk(sub, &format!("{name} "), names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    walk(&Cli::command(), "", &mut names);
    assert!(names.iter().any(|name| name == "peer add"), "{names:?}");
    names
}

#[test]
fn committed_pages_and_scripts_are_what_the_binary_writes() {
    let generated = generated().expect("the pages and scripts");
    for (path, text) in &generated {
        let committed =
            fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}; {REMEDY}"));
        assert!(committed == *text, "{path} is not that of this command line; {REMEDY}");
    }
    let wanted: BTreeSet<String> = generated.into_iter().map(|(path, _)| path).collect();
    let mut found = BTreeSet::new();
    for folder in ["man", "completions"] {
        for entry in fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}; {REMEDY}")) {
            found.insert(format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy()));
        }
    }
    assert_eq!(found, wanted, "a file is left of a command that is no more");
}

#[test]
fn tables_of_the_pages_stand_line_by_line() {
    let pages = generated().expect("the pages and scripts");
    let (_, stats) = pages.iter().find(|(path, _)| path == "man/ebmirror-stats.8").expect("the page of stats");
    let (_, extra) = stats.split_once(".SH EXTRA\n").expect("what stands below its help");
    assert!(extra.starts_with("Each counter"), "prose is filled: {extra}");
    let (table, rest) = extra.split_once("\n.fi\n.SH \"EXIT STATUS\"\n").expect("the end of a table");
    assert!(table.contains("\n.nf\nInterfaces:\n  seen      every frame"), "{table}");
    assert!(!rest.contains(".nf"), "{rest}");
}

#[test]
fn what_generate_writes_is_what_the_test_compares() {
    let directory = std::env::temp_dir().join(format!("ebmirror-generated-{}", std::process::id()));
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_ebmirror")).arg("generate").arg(&directory).output();
    let output = run.expect("the binary");
    let mut differs = Vec::new();
    for (path, text) in generated().expect("the pages and scripts") {
        let written = fs::read_to_string(directory.join(&path)).unwrap_or_default();
        if written != text {
            differs.push(path);
        }
    }
    fs::remove_dir_all(&directory).expect("remove what was written");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(differs, Vec::<String>::new());
}

#[test]
fn every_command_has_a_page_that_names_its_options() {
    let pages = generated().expect("the pages and scripts");
    let page = |name: &str| {
        let path = format!("man/{name}.8");
        pages.iter().find(|(known, _)| *known == path).unwrap_or_else(|| panic!("there is no {path}")).1.clone()
    };
    assert!(page("ebmirror").contains(".TH EBMIRROR 8"));
    for name in commands() {
        let text = page(&format!("ebmirror-{}", name.replace(' ', "-")));
        let mut command = Cli::command();
        for word in name.split(' ') {
            command = command.find_subcommand(word).expect("it was listed").clone();
        }
        for option in command.get_arguments().filter_map(|argument| argument.get_long()).filter(|long| *long != "help")
        {
            let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(text.contains(&escaped), "the page of {name} does not name --{option}");
        }
    }
    // One page a command and the main page; hidden commands have none.
    assert_eq!(pages.iter().filter(|(path, _)| path.starts_with("man/")).count(), commands().len() + 1);
}

#[test]
fn every_script_completes_every_command() {
    for (path, text) in generated().expect("the pages and scripts") {
        if !path.starts_with("completions/") {
            continue;
        }
        for name in commands() {
            let last = name.rsplit(' ').next().expect("a word");
            assert!(text.contains(last), "{path} does not complete {name}");
        }
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    for name in commands() {
        let named = readme.contains(&format!("ebmirror {name}")) || readme.contains(&format!("`{name}"));
        assert!(named, "the README does not mention \"{name}\"");
    }
}
