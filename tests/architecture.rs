//! Who may use whom, how large a file may be, and what no committed file may contain.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file below the root, by its path from there.
struct Source {
    path: String,
    text: String,
}

/// The text files of the repository; of those below `folder` that end with `suffix`.
fn sources(folder: &str, suffix: &str) -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"])
        .arg(if folder.is_empty() { "." } else { folder })
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).expect("paths in UTF-8");
    let found: Vec<Source> = paths
        .split_terminator('\0')
        .filter(|path| path.ends_with(suffix))
        .filter_map(|path| Some(Source { path: path.to_owned(), text: fs::read_to_string(root().join(path)).ok()? }))
        .collect();
    assert!(!found.is_empty(), "no {suffix} below {folder}");
    found
}

/// The lines that are no comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every place below `folder` where one of the words stands.
fn uses(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources(folder, ".rs") {
        for (number, line) in code(&source.text) {
            if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    found
}

/// Whether the word stands there and is not the end or the beginning of another one.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let ends_open = word.ends_with(|c: char| !c.is_alphanumeric());
    line.match_indices(word).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && (ends_open || !inside(line[at + word.len()..].chars().next()))
    })
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).lines().count()
}

#[test]
fn a_folder_uses_only_those_below_it() {
    for (folder, not) in [
        ("src/model", &["crate::cli", "crate::cmd", "crate::kernel", "crate::lab", "crate::output"][..]),
        ("src/output", &["crate::cli", "crate::cmd", "crate::kernel", "crate::lab", "crate::model"]),
        ("src/kernel", &["crate::cli", "crate::cmd", "crate::output"]),
        ("src/lab", &["crate::cli", "crate::cmd", "crate::output"]),
        ("src/cli.rs", &["crate::kernel", "crate::lab"]),
        ("src/main.rs", &["ebmirror::kernel", "ebmirror::lab"]),
    ] {
        let found = uses(folder, not);
        assert!(found.is_empty(), "{folder} uses what it must not:\n{}", found.join("\n"));
    }
}

#[test]
fn only_kernel_and_lab_are_unsafe_and_speak_to_the_kernel() {
    let words =
        ["unsafe", "libbpf_rs", "libbpf_sys", "nix::", "netlink_sys", "netlink_packet_core", "netlink_packet_route"];
    let mut found = uses("src", &words);
    found.retain(|place| !place.starts_with("src/kernel/") && !place.starts_with("src/lab/"));
    assert!(found.is_empty(), "this belongs into src/kernel/:\n{}", found.join("\n"));

    let bpf = uses("src/lab", &["libbpf_rs", "libbpf_sys"]);
    assert!(bpf.is_empty(), "the laboratory shares nothing with the datapath:\n{}", bpf.join("\n"));
}

#[test]
fn files_stay_small() {
    let at_most = |folder: &str, suffix: &str, limit: usize| -> Vec<String> {
        sources(folder, suffix)
            .into_iter()
            .map(|source| (source.text.lines().count(), source.path))
            .filter(|(count, _)| *count >= limit)
            .map(|(count, path)| format!("{path}: {count} lines, at most {} are allowed", limit - 1))
            .collect()
    };
    let mut large = at_most("src/cmd", ".rs", 200);
    large.extend(at_most("bpf", ".h", 250));
    large.extend(at_most("bpf", ".bpf.c", 150));
    assert!(large.is_empty(), "{}", large.join("\n"));
    assert!(lines(&root().join("src/main.rs")) < 60, "main.rs is parse, run, print, exit code; nothing else");
}

#[test]
fn every_file_says_in_its_first_sentence_what_it_is() {
    for source in sources("src", ".rs").into_iter().chain(sources("tests", ".rs")) {
        let doc: String = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
        assert!(is_sentence(&doc), "{}: does not begin with a sentence as its doc comment", source.path);
    }
    for source in sources("bpf", "") {
        let mut lines = source.text.lines();
        let license = lines.next().unwrap_or_default();
        assert!(license.contains("SPDX-License-Identifier: MIT OR Apache-2.0"), "{}: {license}", source.path);
        let rest = lines.collect::<Vec<_>>().join("\n");
        let comment = rest.strip_prefix("/*").and_then(|rest| rest.split("*/").next()).unwrap_or_default();
        let comment: Vec<&str> = comment.lines().map(|line| line.trim().trim_start_matches('*')).collect();
        assert!(is_sentence(&comment.join("\n")), "{}: does not begin with a sentence as its comment", source.path);
    }
}

/// The first paragraph has an end: a full stop or a colon.
fn is_sentence(comment: &str) -> bool {
    let paragraph = comment.trim_start().split("\n\n").next().unwrap_or_default().replace('\n', " ");
    paragraph.split_whitespace().count() >= 3 && paragraph.contains(['.', ':'])
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file does not contain them.
    let folders = [["/wo", "rk"], ["/tm", "p/"], ["/home", "/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let registries = [
        ["sparse+", "http"],
        ["registry+", "http"],
        ["[source", "."],
        ["[registries", "."],
        ["index-", "url"],
        ["GOPR", "OXY"],
    ]
    .map(|parts| parts.concat());
    for source in sources("", "").into_iter().filter(|source| source.path != "Cargo.lock") {
        for (number, line) in (1..).zip(source.text.lines()) {
            for pattern in &folders {
                let path = |at: usize| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '}' | ')' | '*'))
                };
                let ends = |at: usize| {
                    let next = line[at + pattern.len()..].chars().next();
                    pattern.ends_with('/') || !next.is_some_and(|c| c.is_alphanumeric() || c == '-')
                };
                let found = line.match_indices(pattern.as_str()).any(|(at, _)| path(at) && ends(at));
                assert!(!found, "{}:{number}: {pattern} is a path of one machine", source.path);
            }
            for pattern in &registries {
                assert!(!line.contains(pattern.as_str()), "{}:{number}: {pattern} names a registry", source.path);
            }
        }
    }
}
