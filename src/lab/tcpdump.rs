//! What tcpdump chooses: the oracle of filter expressions.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use super::pcap;
use super::random::Captured;
use super::sandbox::die_with_parent;

/// How tcpdump makes the program of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// As libpcap writes it: `-O`.
    Written,
    /// As its optimiser leaves it, which is how everybody runs it.
    Optimised,
}

/// The places of the frames that tcpdump chooses, rising; or its words about an expression that it does not understand.
pub type Answer = Result<Vec<u32>, String>;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;

/// A capture file of these frames, whose timestamps, in seconds, are their places.
pub fn capture(frames: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    // A Vec takes all that is written to it.
    let _ = pcap::write_header(&mut file);
    for (place, frame) in (0..).zip(frames) {
        let _ = pcap::write_frame(&mut file, place, frame.wire_bytes, &frame.bytes);
    }
    file
}

/// A file without a name: it vanishes with this process.
///
/// # Errors
/// The kernel's.
pub fn temporary() -> io::Result<File> {
    let folder = std::env::temp_dir();
    for attempt in 0.. {
        let path = folder.join(format!("ebmirror-oracle-{}-{attempt}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => return fs::remove_file(&path).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Asks tcpdump about a capture whose timestamps are the frames' places. An empty expression would choose everything; of one that
/// no frame can match, which the optimiser refuses, the answer is none.
///
/// # Errors
/// When it cannot be run, or writes no capture.
pub fn ask(capture: &File, expression: &str, program: Program) -> io::Result<Answer> {
    // Opened anew, so that it is read from its beginning.
    let input = File::open(format!("/proc/self/fd/{}", capture.as_raw_fd()))?;
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-r", "-", "-w", "-"]);
    if program == Program::Written {
        command.arg("-O");
    }
    command.args(["--", expression]);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut command);
    let output = command.output()?;
    if output.status.success() {
        let none = || io::Error::new(io::ErrorKind::InvalidData, "it wrote no capture");
        return places(&output.stdout).map(Ok).ok_or_else(none);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.is_empty() && !line.starts_with("reading from file"));
    if last.is_some_and(|last| last.ends_with("expression rejects all packets")) {
        return Ok(Ok(Vec::new()));
    }
    Ok(Err(last.unwrap_or("without a word").trim_start_matches("tcpdump: ").to_owned()))
}

/// Whether tcpdump chooses each of the frames.
///
/// # Errors
/// Those of `ask`.
pub fn choose(expression: &str, frames: &[Captured], program: Program) -> io::Result<Result<Vec<bool>, String>> {
    let mut file = temporary()?;
    io::Write::write_all(&mut file, &capture(frames))?;
    let answer = ask(&file, expression, program)?;
    Ok(answer.map(|places| {
        let mut chosen = vec![false; frames.len()];
        for place in places {
            if let Some(chosen) = chosen.get_mut(place as usize) {
                *chosen = true;
            }
        }
        chosen
    }))
}

fn places(capture: &[u8]) -> Option<Vec<u32>> {
    let word = |at: usize| Some(u32::from_ne_bytes(*capture.get(at..)?.first_chunk()?));
    let (mut at, mut found) = (FILE_HEADER_BYTES, Vec::new());
    while at < capture.len() {
        found.push(word(at)?);
        at += RECORD_HEADER_BYTES + word(at + 8)? as usize;
    }
    Some(found)
}
