//! The frames of the captures, in portions that memory holds, each as a capture file whose timestamps are the frames' numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use serde::Serialize;

use crate::cmd::corpus::files::Capture;
use crate::lab::pcap::{
    ETHERNET, Fault, Item, RECORD_BYTES_MAX, Reader, Record, link_type_name, write_frame, write_header,
};
use crate::lab::tcpdump::temporary;
use crate::model::{Error, Result};

/// Frames of a portion.
const PORTION: usize = 1 << 16;
/// What the classifier gets of a frame.
const HEAD_BYTES: usize = 1024;

/// A frame to be compared.
pub(super) struct Frame {
    /// Which of the files it is from.
    pub(super) file: usize,
    /// Its number in the file, from 1.
    pub(super) number: u64,
    pub(super) wire_bytes: u32,
    pub(super) head: Vec<u8>,
}

/// Some of the frames.
pub(super) struct Portion {
    pub(super) frames: Vec<Frame>,
    /// The same as a capture; their timestamps, in seconds, are their places in `frames`.
    pub(super) capture: File,
}

/// What is in a file.
#[derive(Debug, Default, Serialize)]
pub(super) struct FileRow {
    pub(super) file: String,
    pub(super) frames: u64,
    /// Frames that are not compared, by the reason.
    pub(super) left_out: BTreeMap<String, u64>,
    /// Why it was not read, or not to its end.
    pub(super) fault: Option<String>,
}

/// Hands over all frames, portion by portion. Returns the files.
pub(super) fn read_all(
    captures: Vec<Capture>,
    mut hand_over: impl FnMut(Portion) -> Result<()>,
) -> Result<Vec<FileRow>> {
    let mut rows: Vec<FileRow> = Vec::new();
    let mut writer = Writer::new()?;
    for Capture { name, path } in captures {
        let mut row = FileRow { file: name, ..FileRow::default() };
        let file = rows.len();
        let mut take = |record: Record, number| {
            writer.add(file, number, record)?;
            if writer.frames.len() == PORTION {
                hand_over(std::mem::replace(&mut writer, Writer::new()?).finish()?)?;
            }
            Ok(())
        };
        match read(&path, &mut row, &mut take) {
            Err(Stop::Fault(fault)) => row.fault = Some(fault.to_string()),
            Err(Stop::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        rows.push(row);
    }
    if !writer.frames.is_empty() {
        hand_over(writer.finish()?)?;
    }
    Ok(rows)
}

enum Stop {
    Fault(Fault),
    Error(Error),
}

fn read(path: &Path, row: &mut FileRow, take: &mut impl FnMut(Record, u64) -> Result<()>) -> Result<(), Stop> {
    let file = File::open(path).map_err(|error| Stop::Fault(Fault::Io(error)))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(Stop::Fault(Fault::Foreign("not a regular file".into())));
    }
    let mut reader = Reader::open(BufReader::new(file)).map_err(Stop::Fault)?;
    while let Some(item) = reader.next_item().map_err(Stop::Fault)? {
        row.frames += 1;
        let why = match item {
            Item::Bad(why) => why.to_owned(),
            Item::Frame(record) if record.link_type != ETHERNET => format!("of {}", link_type_name(record.link_type)),
            Item::Frame(record) if record.bytes.len() > RECORD_BYTES_MAX as usize => {
                "longer than libpcap reads".to_owned()
            }
            Item::Frame(record) => {
                take(record, row.frames).map_err(Stop::Error)?;
                continue;
            }
        };
        *row.left_out.entry(why).or_default() += 1;
    }
    Ok(())
}

struct Writer {
    frames: Vec<Frame>,
    output: BufWriter<File>,
}

fn failed(error: &io::Error) -> Error {
    Error::io("write a temporary capture", error)
}

impl Writer {
    fn new() -> Result<Self> {
        let mut output = BufWriter::new(temporary().map_err(|error| failed(&error))?);
        write_header(&mut output).map_err(|error| failed(&error))?;
        Ok(Writer { frames: Vec::new(), output })
    }

    fn add(&mut self, file: usize, number: u64, mut record: Record) -> Result<()> {
        let place = self.frames.len() as u32;
        write_frame(&mut self.output, place, record.wire_bytes, &record.bytes).map_err(|error| failed(&error))?;
        record.bytes.truncate(HEAD_BYTES);
        record.bytes.shrink_to_fit();
        self.frames.push(Frame { file, number, wire_bytes: record.wire_bytes, head: record.bytes });
        Ok(())
    }

    fn finish(self) -> Result<Portion> {
        let capture = self.output.into_inner().map_err(|error| failed(error.error()))?;
        Ok(Portion { frames: self.frames, capture })
    }
}
