//! Which clangs there are, and how they are told to compile the datapath: the build takes the newest, a test tries them all.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Older ones do not know `bpf_loop`'s callbacks in their BTF well enough, and nobody ships them any more.
pub const OLDEST: u32 = 13;

/// `clang` and `clang-NN` on the path, by their versions.
pub fn on_the_path() -> BTreeMap<u32, PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("clang").is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('-').is_some_and(|version| version.parse::<u32>().is_ok())
            })
        })
        .filter_map(|file| Some((version(&file)?, file)))
        .collect()
}

/// The first of the numbers that it calls itself by.
pub fn version(clang: &Path) -> Option<u32> {
    let output = Command::new(clang).arg("-dumpversion").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split('.').next()?.trim().parse().ok()
}

/// What every one gets, beside what libbpf-cargo gives; `arch` as Rust calls it.
pub fn arguments(arch: &str) -> [String; 4] {
    ["-mcpu=v3".into(), "-Wall".into(), "-Wextra".into(), format!("-isystem/usr/include/{arch}-linux-gnu")]
}
