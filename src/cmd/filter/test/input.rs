//! The capture that is tried: a file, or what comes in.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::lines::Lines;
use crate::lab::pcap::{ETHERNET, Fault, Item, Reader, link_type_name};
use crate::model::{Code, Error, Result};

/// Means stdin.
const STDIN: &str = "-";
/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// A capture, read from its beginning to its end.
pub(super) struct Capture<'a> {
    reader: Reader<BufReader<Polite<'a>>>,
    name: String,
}

/// The next thing in it.
pub(super) enum Next {
    /// A frame: what was captured, and its length on the wire.
    Frame(Vec<u8>, u32),
    /// A frame that nothing can be said about, and why.
    LeftOut(String),
}

impl<'a> Capture<'a> {
    /// Opens it. What has been said is written out before more is waited for.
    pub(super) fn open(path: &Path, lines: &'a RefCell<Lines>) -> Result<Self> {
        let (name, input): (String, Box<dyn Read>) = if path.as_os_str() == STDIN {
            ("stdin".to_owned(), Box::new(io::stdin()))
        } else {
            let file = File::open(path).map_err(|error| {
                let error = Error::io(path.display(), &error);
                match error.code {
                    Code::NotFound => error.hint("give a pcap or pcapng file, or - for stdin"),
                    _ => error,
                }
            })?;
            (path.display().to_string(), Box::new(file))
        };
        let input = BufReader::with_capacity(BUFFER_BYTES, Polite { input, lines });
        let reader = Reader::open(input).map_err(|fault| fault_error(&name, &fault))?;
        Ok(Capture { reader, name })
    }

    /// None at its end.
    pub(super) fn next(&mut self) -> Result<Option<Next>> {
        Ok(match self.reader.next_item().map_err(|fault| fault_error(&self.name, &fault))? {
            None => None,
            Some(Item::Bad(why)) => Some(Next::LeftOut(why.to_owned())),
            Some(Item::Frame(record)) if record.link_type != ETHERNET => {
                Some(Next::LeftOut(format!("of {}", link_type_name(record.link_type))))
            }
            Some(Item::Frame(record)) => Some(Next::Frame(record.bytes, record.wire_bytes)),
        })
    }

    /// As messages name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn fault_error(name: &str, fault: &Fault) -> Error {
    let message = match fault {
        Fault::Foreign(_) => format!("{name} is {fault}"),
        Fault::Damaged { .. } => format!("{name} is {fault}"),
        Fault::Io(error) => return Error::io(format!("read {name}"), error),
    };
    Error::new(Code::Failed, message).hint(match fault {
        Fault::Foreign(_) => "pcap and pcapng are read: editcap converts others, zcat and the like unpack",
        _ => "what stands in front of it has been tried; tcpdump -r FILE -w NEW saves that",
    })
}

/// Lets the reader of the output have all of it before it waits for input.
struct Polite<'a> {
    input: Box<dyn Read>,
    lines: &'a RefCell<Lines>,
}

impl Read for Polite<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lines.borrow_mut().flush();
        self.input.read(buffer)
    }
}
