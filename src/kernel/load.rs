//! Loads the datapath, and pins it.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{MapCore, PrintLevel};

use super::abi::{Meta, Pod, SCHEMA};
use super::features;
use super::instance::{LAST_PIN, UNFINISHED_PIN};
use super::pins::Place;
use super::programs::{self, bpf_error};
use super::sk_buff;
use super::skel::EbmirrorSkelBuilder;
use crate::model::interface::{Direction, Mode, ModeChoice};
use crate::model::{Code, Error, Result};

/// Which datapath this binary holds: a fingerprint of the object.
pub const BUILD: &str = env!("EBMIRROR_DATAPATH");

/// Programs that are pinned, by their names in the kernel.
pub const PROGRAMS: [&str; 6] = ["ebm_tap_in", "ebm_tap_out", "ebm_stage", "ebm_exact", "ebm_layer3", "ebm_probe"];

/// The maps with one element for each CPU, which are no per-CPU maps because those cap a value at 32 KiB.
const CPU_MAPS: [&str; 3] = [FRAMES, CACHE, CACHE_WIDE];
const FRAMES: &str = "ebm_frames";
const CACHE: &str = "ebm_cache";
const CACHE_WIDE: &str = "ebm_cache_wide";
/// What the flows of all CPUs may take, and what belongs to one slot: two lines, and a wide one (struct cache_line, struct
/// cache_slot).
const CACHE_BYTES: u32 = 32 << 20;
const CACHE_LINES_BYTES: u32 = 2 * 64;
const CACHE_SLOT_BYTES: u32 = 72;
const CACHE_SLOTS: u32 = 16_384;

/// The tap of a direction.
pub fn tap(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ebm_tap_in",
        Direction::Egress => "ebm_tap_out",
    }
}

/// Slots of each kind in a CPU's cache of flows: a power of two, so that the caches of all fit into CACHE_BYTES.
fn cache_slots(cpus: u32) -> u32 {
    let fit = CACHE_BYTES / (CACHE_LINES_BYTES + CACHE_SLOT_BYTES) / cpus.max(1);
    CACHE_SLOTS.min((fit + 1).next_power_of_two() / 2).max(1)
}

/// BUILD as a number.
pub fn build() -> u64 {
    BUILD.parse().unwrap_or(0)
}

/// Random bytes of the kernel.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    // SAFETY: the buffer and its length belong together.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got) == Ok(bytes.len()) {
        return Ok(());
    }
    Err(Error::io("get random bytes", &std::io::Error::last_os_error()))
}

static LOG: Mutex<String> = Mutex::new(String::new());

/// Sends libbpf's and the verifier's messages to stderr; without it they are kept for an error's hint.
pub fn verbose_log() {
    libbpf_rs::set_print(Some((PrintLevel::Debug, |_, text| {
        use std::io::Write;
        // A log that cannot be written is no reason to fail.
        let _ = std::io::stderr().write_all(text.as_bytes());
        keep(&text);
    })));
}

/// Keeps libbpf's warnings until an error asks for them.
pub fn quiet_log() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, |_, text| {
        keep(&text);
    })));
}

fn keep(text: &str) {
    if let Ok(mut log) = LOG.lock() {
        log.push_str(text);
    }
}

pub(super) fn load_failed(error: &libbpf_rs::Error) -> Error {
    let new = bpf_error("load the datapath into the kernel".to_owned(), error);
    let log = LOG.lock().map(|log| log.clone()).unwrap_or_default();
    if log.contains("BEGIN PROG LOAD LOG") {
        // The verifier's refusals are EACCES, EINVAL, E2BIG …: none of them says what it is.
        let last = log.lines().rev().find(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.contains("libbpf: ")
                && !line.contains("END PROG LOAD LOG")
        });
        return Error::new(Code::Unsupported, "this kernel's verifier refuses the datapath")
            .hint(format!("it says: {}; -v shows all of it", last.unwrap_or("nothing").trim()));
    }
    match new.code {
        Code::Permission => new.hint("kernel lockdown or a security module may forbid BPF: look at dmesg"),
        _ => new.hint("-v shows libbpf's log"),
    }
}

/// Refuses where this process may not load programs.
pub(super) fn check_may_load() -> Result<()> {
    if features::may_load().map_err(|error| Error::io("read the capabilities of this process", &error))? {
        return Ok(());
    }
    Err(Error::new(Code::Permission, "loading the datapath needs root (or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)")
        .hint("run it with sudo; commands that find it loaded do without CAP_PERFMON"))
}

/// Loads programs and maps and pins them at `place`, which is locked; where maps are pinned already, the programs use
/// those. Returns the hook that is to be used.
pub fn load(place: &Place, choice: ModeChoice) -> Result<Mode> {
    check_may_load()?;
    let mut storage = MaybeUninit::uninit();
    let mut open = EbmirrorSkelBuilder::default().open(&mut storage).map_err(|error| load_failed(&error))?;
    let cpus = libbpf_rs::num_possible_cpus().map_err(|error| load_failed(&error))?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.ebm_fib_tells_source = features::fib_tells_source();
        if let Some(layout) = sk_buff::layout() {
            rodata.ebm_skb_checksum = layout.checksum;
            rodata.ebm_skb_head = layout.head;
        }
        rodata.ebm_cache_mask = cache_slots(cpus) - 1;
    }
    for mut map in open.open_object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if CPU_MAPS.contains(&name.as_str()) {
            map.set_max_entries(cpus).map_err(|error| load_failed(&error))?;
        }
        let slot_bytes = match name.as_str() {
            CACHE => Some(CACHE_LINES_BYTES),
            CACHE_WIDE => Some(CACHE_SLOT_BYTES),
            _ => None,
        };
        if let Some(bytes) = slot_bytes {
            map.set_value_size(cache_slots(cpus) * bytes).map_err(|error| load_failed(&error))?;
        }
        let path = place.pin(&name);
        if path.exists() {
            map.reuse_pinned_map(&path).map_err(|error| load_failed(&error))?;
        }
    }
    let mut loaded = open.load().map_err(|error| load_failed(&error))?;
    let mode = choose(choice, loaded.progs.ebm_tap_in.as_fd())?;
    for mut map in loaded.object_mut().maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        let path = match name.as_str() {
            LAST_PIN if !place.pin(LAST_PIN).exists() => place.pin(UNFINISHED_PIN),
            _ => place.pin(&name),
        };
        // The skeleton's own constants belong to its programs, not to the instance.
        if name.starts_with("ebm_") && !path.exists() {
            map.pin(&path).map_err(|error| bpf_error(format!("pin {}", path.display()), &error))?;
        }
    }
    for program in loaded.object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let (new, path) = (place.pin(&format!("new_{name}")), place.pin(&name));
        // An earlier version's stays until this one takes its place, in one step.
        programs::unpin(&new)?;
        programs::pin(program.as_fd(), &new)?;
        fs::rename(&new, &path).map_err(|error| Error::io(format!("pin {}", path.display()), &error))?;
    }
    Ok(mode)
}

fn choose(choice: ModeChoice, tap: std::os::fd::BorrowedFd<'_>) -> Result<Mode> {
    match (choice, choice == ModeChoice::Tc || features::has_tcx(tap)) {
        (ModeChoice::Tc, _) | (ModeChoice::Auto, false) => Ok(Mode::Tc),
        (ModeChoice::Auto | ModeChoice::Tcx, true) => Ok(Mode::Tcx),
        (ModeChoice::Tcx, false) => Err(no_tcx()),
    }
}

/// The error for a kernel without TCX.
pub fn no_tcx() -> Error {
    Error::new(Code::Unsupported, "this kernel has no TCX (it came with 6.6)").hint("use --mode tc or --mode auto")
}

/// The notes of a new instance.
pub fn new_meta(place: &Place, mode: Mode) -> Meta {
    let mut meta = Meta::zeroed();
    meta.schema = SCHEMA;
    meta.next_version = 1;
    meta.netns_cookie = place.cookie();
    meta.build = build();
    meta.tc_mode = u8::from(mode == Mode::Tc);
    meta
}

/// The pinned program.
pub fn program(place: &Place, name: &str) -> Result<OwnedFd> {
    let path = place.pin(name);
    programs::open_pin(&path)?.ok_or_else(|| {
        Error::new(Code::Damaged, format!("the pinned program {} is missing", path.display()))
            .hint("ebmirror pin loads it again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_all_processors_fit_into_their_memory() {
        for (cpus, slots) in
            [(1, 16_384), (2, 16_384), (10, 16_384), (11, 8_192), (64, 2_048), (512, 256), (u32::MAX, 1)]
        {
            assert_eq!(cache_slots(cpus), slots, "{cpus} CPUs");
            assert!(cpus > 1_000 || cpus * slots * (CACHE_LINES_BYTES + CACHE_SLOT_BYTES) <= CACHE_BYTES);
        }
    }

    /// Of each pinned map its name, and the bytes of a key and of a value.
    const PINNED: [(&str, u32, u32); 33] = [
        ("ebm_cache", 4, 2_097_152),
        ("ebm_cache_key", 4, 64),
        ("ebm_cache_wide", 4, 1_179_648),
        ("ebm_config", 4, 292),
        ("ebm_control", 4, 16),
        ("ebm_fib", 4, 64),
        ("ebm_fragment_id", 4, 4),
        ("ebm_fragments", 40, 8),
        ("ebm_frames", 4, 81_984),
        ("ebm_grace", 4, 4),
        ("ebm_grace_inner", 4, 4),
        ("ebm_if_base", 4, 112),
        ("ebm_if_stats", 4, 112),
        ("ebm_ifaces", 4, 64),
        ("ebm_key", 4, 512),
        ("ebm_losses", 4, 16),
        ("ebm_meta", 4, 32),
        ("ebm_nexthops", 4, 168),
        ("ebm_paces", 4, 48),
        ("ebm_peer_base", 4, 304),
        ("ebm_peer_stats", 4, 304),
        ("ebm_peers", 4, 152),
        ("ebm_rates", 4, 8),
        ("ebm_rule_base", 4, 16_384),
        ("ebm_rule_stats", 4, 16_384),
        ("ebm_rules", 4, 32),
        ("ebm_scratch", 4, 88),
        ("ebm_search", 4, 152),
        ("ebm_sieves", 4, 26_624),
        ("ebm_slices", 4, 40),
        ("ebm_table_large", 4, 4),
        ("ebm_table_medium", 4, 4),
        ("ebm_table_small", 4, 4),
    ];
    const PINNED_SCHEMA: u32 = 6;

    /// Where this fails a map's layout has changed, and an instance of the version before could not be taken over: raise
    /// EBM_SCHEMA_CURRENT, and change the table.
    #[test]
    fn maps_of_one_schema_have_one_layout() -> std::result::Result<(), String> {
        let mut storage = MaybeUninit::uninit();
        let open = EbmirrorSkelBuilder::default().open(&mut storage).map_err(|error| error.to_string())?;
        let mut maps: Vec<_> = open
            .open_object()
            .maps()
            .map(|map| (map.name().to_string_lossy().into_owned(), map.key_size(), map.value_size()))
            .filter(|(name, ..)| name.starts_with("ebm_"))
            .collect();
        maps.sort();
        let maps: Vec<_> = maps.iter().map(|(name, key, value)| (name.as_str(), *key, *value)).collect();
        assert_eq!((SCHEMA, maps.as_slice()), (PINNED_SCHEMA, PINNED.as_slice()));
        Ok(())
    }
}
