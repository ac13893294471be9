//! What tcpdump chooses of a capture.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use crate::lab::sandbox::die_with_parent;
use crate::model::{Code, Error, Result};

/// Of pcap: the file's header, and what stands in front of each frame.
const HEADER_BYTES: usize = 24;
const RECORD_BYTES: usize = 16;

/// The places of the frames that tcpdump chooses, rising; or its words about the expression.
pub(super) type Answer = Result<Vec<u32>, String>;

/// How it makes the program of an expression.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// As everybody runs it.
    Optimised,
    /// As libpcap writes it: `-O`.
    Written,
}

/// Asks it about a capture whose timestamps are the frames' places. An empty expression would choose everything.
pub(super) fn choose(capture: &File, expression: &str, program: Program) -> Result<Answer> {
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::NotFound, "tcpdump is not installed")
            .hint("it is what this command compares with: apt-get install tcpdump"),
        _ => Error::io("run tcpdump", error),
    };
    // Opened anew, so that it is read from its beginning.
    let input = File::open(format!("/proc/self/fd/{}", capture.as_raw_fd())).map_err(|error| failed(&error))?;
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-r", "-", "-w", "-"]);
    if program == Program::Written {
        command.arg("-O");
    }
    command.args(["--", expression]);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut command);
    let output = command.output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return places(&output.stdout).map(Ok).ok_or_else(|| Error::new(Code::Failed, "tcpdump wrote no capture"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.is_empty() && !line.starts_with("reading from file"));
    // Its optimiser has found out.
    if last.is_some_and(|last| last.ends_with("expression rejects all packets")) {
        return Ok(Ok(Vec::new()));
    }
    Ok(Err(last.unwrap_or("without a word").trim_start_matches("tcpdump: ").to_owned()))
}

fn places(capture: &[u8]) -> Option<Vec<u32>> {
    let word = |at: usize| Some(u32::from_ne_bytes(*capture.get(at..)?.first_chunk()?));
    let (mut at, mut found) = (HEADER_BYTES, Vec::new());
    while at < capture.len() {
        found.push(word(at)?);
        at += RECORD_BYTES + word(at + 8)? as usize;
    }
    Some(found)
}
