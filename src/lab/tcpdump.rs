//! What tcpdump chooses: the oracle of filter expressions.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;

use super::random::Captured;

/// How tcpdump makes the program of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// As libpcap writes it: `-O`.
    Written,
    /// As its optimiser leaves it.
    Optimised,
}

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const ETHERNET: u32 = 1;

/// A capture file of Ethernet, pcap 2.4 in the byte order of this machine; the second of each frame is its number, from 0.
pub fn capture(frames: &[Captured]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4u32.to_ne_bytes().to_vec();
    file.extend([2u16, 4].map(u16::to_ne_bytes).concat());
    file.extend([0u32, 0, 262_144, ETHERNET].map(u32::to_ne_bytes).concat());
    for (second, frame) in (0u32..).zip(frames) {
        file.extend([second, 0, frame.bytes.len() as u32, frame.wire_bytes].map(u32::to_ne_bytes).concat());
        file.extend(&frame.bytes);
    }
    file
}

/// Whether tcpdump chooses each of the frames.
///
/// # Errors
/// When it cannot be run; what it says of an expression that it does not understand. One that no frame can match is none:
/// the optimiser refuses those.
pub fn choose(expression: &str, frames: &[Captured], program: Program) -> io::Result<Result<Vec<bool>, String>> {
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-r", "-", "-w", "-"]);
    if program == Program::Written {
        command.arg("-O");
    }
    command.args(["--", expression]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let input = child.stdin.take();
    let file = capture(frames);
    let output = thread::scope(|scope| {
        // It may end before it has read all, when it does not understand.
        scope.spawn(move || input.map(|mut input| input.write_all(&file)));
        child.wait_with_output()
    })?;
    let mut chosen = vec![false; frames.len()];
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.lines().last().unwrap_or_default().to_owned();
        let empty = message.contains("expression rejects all packets");
        return Ok(if empty { Ok(chosen) } else { Err(message) });
    }
    let mut rest = output.stdout.get(FILE_HEADER_BYTES..).unwrap_or_default();
    while let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>() {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
        if let Some(chosen) = chosen.get_mut(word(0)) {
            *chosen = true;
        }
        rest = rest.get(RECORD_HEADER_BYTES + word(8)..).unwrap_or_default();
    }
    Ok(Ok(chosen))
}
