//! The classifier asked about one frame: what the rules say of it, by the program that runs for real, without an interface.

use std::mem::{MaybeUninit, size_of_val};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::{io, ptr};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::abi::rules::{RawRule, TableSize};
use super::abi::{Config, Pod, direction_bit};
use super::load;
use super::maps::Table;
use super::pins::Place;
use super::programs::bpf_error;
use super::rules::tables::{describe, empty_table, fill_table};
use super::skel::EbmirrorSkelBuilder;
use super::skel::types::ebm_rule_flag;
use crate::classifier::compile::Compiled;
use crate::classifier::table::Node;
use crate::model::interface::Direction;
use crate::model::{Code, Error, Result};

/// The program, by its name in the kernel.
pub const PROGRAM: &str = "ebm_probe";
/// Bytes of a frame that the program gets: the kernel takes no more than about 3,700, and no rule looks so far.
const BYTES_MAX: usize = 1024;
/// Kernels refuse less than an Ethernet header, and from 6.18 on less than one of IPv4 or IPv6 behind it. The program cuts the
/// packet to what was captured, but for the Ethernet header.
const BYTES_MIN: usize = 54;
/// Where the fields of an Ethernet header begin, as a key has them. What follows could be read only whole.
const FIELDS: [usize; 6] = [0, 2, 6, 8, 12, 14];
/// Where `cb` is in struct __sk_buff of <linux/bpf.h>, in words.
const CB: usize = 12;
const CB_WORDS: usize = 5;
/// Words of struct __sk_buff, with room for what later kernels add: they refuse less than they have.
const CONTEXT_WORDS: usize = 128;

/// A frame as an interface would see it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What there is of it.
    pub bytes: &'a [u8],
    /// How long it is on the wire.
    pub wire_bytes: u32,
    /// Which way it goes.
    pub direction: Direction,
    /// The interface's number.
    pub ifindex: u32,
}

/// What the rules say of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rank of the rule that it matches; None: of no rule.
    pub rank: Option<u32>,
    /// It is mirrored.
    pub mirror: bool,
    /// It would be, and is left out by the rule's sampling.
    pub sampled_out: bool,
    /// The peers that get a copy, by slot.
    pub peers: u64,
    /// The rule's snap length; None: it has none.
    pub snaplen: Option<u32>,
}

/// The program, ready to be asked.
pub struct Probe {
    program: OwnedFd,
}

impl Probe {
    /// The pinned one: it asks the loaded rules.
    pub fn pinned(place: &Place) -> Result<Self> {
        load::program(place, PROGRAM).map(|program| Probe { program })
    }

    /// Asks about a frame. Nothing is sent, and nothing is counted.
    pub fn ask(&self, frame: &Frame<'_>) -> Result<Verdict> {
        let cb = self.run(frame).map_err(|error| Error::io(format!("run the program {PROGRAM}"), &error))?;
        Ok(Verdict {
            rank: cb[0].checked_sub(1),
            mirror: cb[1] & 1 != 0,
            sampled_out: cb[1] & 2 != 0,
            peers: u64::from(cb[2]) | u64::from(cb[3]) << 32,
            snaplen: (cb[4] != 0).then_some(cb[4]),
        })
    }

    fn run(&self, frame: &Frame<'_>) -> io::Result<[u32; CB_WORDS]> {
        let captured = &frame.bytes[..frame.bytes.len().min(BYTES_MAX)];
        let mut data = [0; BYTES_MAX];
        data[..captured.len()].copy_from_slice(captured);
        blank_half_fields(&mut data, captured.len());
        let direction = u32::from(direction_bit(frame.direction));
        let mut given = [0u32; CB + CB_WORDS];
        given[CB..].copy_from_slice(&[frame.wire_bytes, captured.len() as u32, direction, frame.ifindex, 0]);
        let mut got = [0u32; CONTEXT_WORDS];
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            data_in: data.as_ptr().cast(),
            data_size_in: captured.len().max(BYTES_MIN) as u32,
            data_out: ptr::null_mut(),
            ctx_in: given.as_ptr().cast(),
            ctx_size_in: size_of_val(&given) as u32,
            ctx_out: got.as_mut_ptr().cast(),
            ctx_size_out: size_of_val(&got) as u32,
            repeat: 1,
            ..Default::default()
        };
        // SAFETY: the descriptor is live; each pointer belongs to an array of this function that is at least as long as the
        // size beside it, and the one that the kernel writes to is exclusively ours.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(self.program.as_raw_fd(), &mut options) };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let mut cb = [0; CB_WORDS];
        cb.copy_from_slice(&got[CB..CB + CB_WORDS]);
        Ok(cb)
    }
}

/// In a frame that ends inside of its Ethernet header no field is half there: its other half would be what fills it up.
fn blank_half_fields(data: &mut [u8], captured: usize) {
    if let Some(field) = FIELDS.windows(2).find(|field| field[0] < captured && captured < field[1]) {
        // But for the bit of groups, which is read alone.
        let kept = if field[0] == 0 { data[0] & 1 } else { 0 };
        data[field[0]..captured].fill(0);
        data[field[0]] = kept;
    }
}

/// The program with tables of its own: nothing is pinned, and what is pinned is not looked at. It vanishes with this.
pub struct Trial {
    probe: Probe,
    config: Table<Config>,
    /// The maps of tables, by size.
    tables: [Tables; TableSize::ALL.len()],
}

/// The tables of a size: the kernel's map of maps, and what has been put into it.
struct Tables {
    size: TableSize,
    outer: MapHandle,
    inner: Option<MapHandle>,
}

impl Trial {
    /// Loads it, without an expression.
    pub fn load() -> Result<Self> {
        let failed = |error| load::load_failed(&error);
        load::check_may_load()?;
        let mut storage = MaybeUninit::uninit();
        let mut open = EbmirrorSkelBuilder::default().open(&mut storage).map_err(failed)?;
        for mut program in open.open_object_mut().progs_mut() {
            let wanted = program.name() == PROGRAM;
            program.set_autoload(wanted);
        }
        let loaded = open.load().map_err(failed)?;
        let program = loaded.progs.ebm_probe.as_fd().try_clone_to_owned();
        let program = program.map_err(|error| Error::io("duplicate a descriptor", &error))?;
        let map = |name: &str| {
            let found = loaded.object().maps().find(|map| map.name() == name);
            let found = found.ok_or_else(|| {
                Error::new(Code::Failed, format!("the datapath has no map {name}"))
                    .hint("this build is broken: build it again")
            })?;
            MapHandle::try_from(&found).map_err(failed)
        };
        // The one rule, of rank 0: it mirrors all of what matches.
        let mut rule = RawRule::zeroed();
        rule.flags = ebm_rule_flag::EBM_RULE_FLAG_MIRROR.0;
        rule.sample = u32::MAX;
        Table::of(map("ebm_rules")?).set(0, &rule)?;
        let tables = |size: TableSize| Ok::<_, Error>(Tables { size, outer: map(size.map())?, inner: None });
        let [small, medium, large] = TableSize::ALL;
        Ok(Trial {
            probe: Probe { program },
            config: Table::of(map("ebm_config")?),
            tables: [tables(small)?, tables(medium)?, tables(large)?],
        })
    }

    /// To be asked about the expression that was set last.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Makes this the only rule: what matches is mirrored, what does not match is skipped.
    pub fn set(&mut self, compiled: &Compiled) -> Result<()> {
        let nodes = &compiled.tables.nodes;
        let tables = self.tables.iter_mut().find(|tables| nodes.len() <= tables.size.nodes());
        let tables = tables.ok_or_else(|| {
            Error::new(
                Code::Conflict,
                format!("an expression of {} comparisons does not fit into a table", nodes.len()),
            )
        })?;
        tables.write(nodes)?;
        let mut config = Config::zeroed();
        describe(&mut config, 1, Some(tables.size), compiled);
        config.stamp = 1;
        config.skip = 1;
        self.config.set(0, &config)
    }
}

impl Tables {
    /// In place: the program runs for nobody else.
    fn write(&mut self, nodes: &[Node]) -> Result<()> {
        let inner = match &mut self.inner {
            Some(inner) => inner,
            empty => {
                let inner = empty_table(self.size)?;
                self.outer
                    .update(&0u32.to_ne_bytes(), &inner.as_fd().as_raw_fd().to_ne_bytes(), MapFlags::ANY)
                    .map_err(|error| bpf_error(format!("write the map {}", self.size.map()), &error))?;
                empty.insert(inner)
            }
        };
        fill_table(inner, nodes, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_frame_has_whole_fields_and_the_bit_of_groups() {
        for (captured, expected) in [
            (0, ""),
            (1, "\u{1}"),
            (2, "AA"),
            (3, "AA\0"),
            (5, "AA\0\0\0"),
            (6, "AAAAAA"),
            (7, "AAAAAA\0"),
            (9, "AAAAAAAA\0"),
            (12, "AAAAAAAAAAAA"),
            (13, "AAAAAAAAAAAA\0"),
            (14, "AAAAAAAAAAAAAA"),
            (15, "AAAAAAAAAAAAAAA"),
        ] {
            let mut data = vec![b'A'; captured];
            blank_half_fields(&mut data, captured);
            assert_eq!(String::from_utf8(data).unwrap(), expected, "{captured}");
        }
    }
}
