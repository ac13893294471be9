//! The captures of a directory, and the frames in them that can be replayed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::left_out::reason_to_leave_out;
use crate::lab::pcap::{Fault, Item, Reader};
use crate::lab::replay::BURST;
use crate::model::{Code, Error, Result};

/// What is read of a directory, piece by piece.
pub(super) enum Input {
    /// A file begins.
    File(String),
    /// Frames of it, to be replayed.
    Frames(Vec<Vec<u8>>),
    /// It ends.
    End(Reading),
}

/// What reading a file came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) frames: u64,
    /// Frames that are not replayed, by the reason.
    pub(super) left_out: BTreeMap<String, u64>,
    /// Why it was not read, or not to its end.
    pub(super) fault: Option<String>,
    /// That is the fault of this machine and not of the file.
    pub(super) unreadable: bool,
}

/// A file, and how it is called in the report.
pub(in crate::cmd) struct Capture {
    pub(in crate::cmd) name: String,
    pub(in crate::cmd) path: PathBuf,
}

/// All files below a directory, in the order of their names; or this one file.
pub(in crate::cmd) fn captures(place: &Path) -> Result<Vec<Capture>> {
    let failed = |error: io::Error| {
        let error = Error::io(place.display(), &error);
        match error.code {
            Code::NotFound => error.hint("give a directory of pcap and pcapng files: make corpus PCAPS=dir"),
            _ => error,
        }
    };
    let mut found = Vec::new();
    if fs::metadata(place).map_err(failed)?.is_dir() {
        collect(place, "", &mut found).map_err(failed)?;
    } else {
        found.push(Capture { name: printable(&place.to_string_lossy()), path: place.to_owned() });
    }
    if found.is_empty() {
        return Err(Error::new(Code::NotFound, format!("{} has no files", place.display()))
            .hint("give a directory of pcap and pcapng files: make corpus PCAPS=dir"));
    }
    Ok(found)
}

/// Links to directories are not followed: they may lead in a circle.
fn collect(directory: &Path, prefix: &str, found: &mut Vec<Capture>) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", printable(&entry.file_name().to_string_lossy()));
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.push(Capture { name, path: entry.path() });
        }
    }
    Ok(())
}

/// A name on one line.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Hands over all of them, one after the other, until `hand_over` says that it is enough.
pub(super) fn read_all(captures: Vec<Capture>, mtu: u32, mut hand_over: impl FnMut(Input) -> bool) {
    for Capture { name, path } in captures {
        if !hand_over(Input::File(name)) {
            return;
        }
        let mut reading = Reading::default();
        if let Err(fault) = read(&path, mtu, &mut reading, &mut hand_over) {
            reading.unreadable = matches!(fault, Fault::Io(_));
            reading.fault = Some(fault.to_string());
        }
        if !hand_over(Input::End(reading)) {
            return;
        }
    }
}

fn read(
    path: &Path,
    mtu: u32,
    reading: &mut Reading,
    hand_over: &mut impl FnMut(Input) -> bool,
) -> std::result::Result<(), Fault> {
    if !fs::metadata(path).map_err(Fault::Io)?.is_file() {
        return Err(Fault::Foreign("not a regular file".into()));
    }
    let mut reader = Reader::open(BufReader::new(File::open(path).map_err(Fault::Io)?))?;
    let mut batch = Vec::new();
    let end = loop {
        let item = match reader.next_item() {
            Ok(Some(item)) => item,
            Ok(None) => break Ok(()),
            Err(fault) => break Err(fault),
        };
        reading.frames += 1;
        match reason_to_leave_out(&item, mtu) {
            Some(reason) => *reading.left_out.entry(reason).or_default() += 1,
            None => {
                if let Item::Frame(record) = item {
                    batch.push(record.bytes);
                }
            }
        }
        if batch.len() == BURST && !hand_over(Input::Frames(std::mem::take(&mut batch))) {
            return Ok(());
        }
    };
    // What stands in front of the damage, too.
    if !batch.is_empty() {
        hand_over(Input::Frames(batch));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(printable("a\nb\u{1b}c ä"), "a?b?c ä");
    }
}
