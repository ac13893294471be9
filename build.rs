//! Compiles `bpf/ebmirror.bpf.c` into a skeleton, and chooses how libelf and zlib are linked.

#[path = "tools/clang.rs"]
mod clang;

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::exit;

use libbpf_cargo::SkeletonBuilder;
use libbpf_cargo::util::CargoWarningFormatter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

const SOURCE: &str = "bpf/ebmirror.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(message) = build() {
        println!("cargo::error={}", message.replace('\n', "\ncargo::error="));
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: build with cargo")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let multiarch = format!("/usr/include/{arch}-linux-gnu");

    for (header, package) in [("linux/bpf.h", "linux-libc-dev"), ("asm/types.h", "linux-libc-dev")] {
        let found = ["/usr/include", &multiarch].iter().any(|dir| Path::new(dir).join(header).exists());
        if !found {
            return Err(format!("<{header}> is missing: install the package {package} (apt-get install {package})"));
        }
    }
    link_statically(&out_dir, &arch)?;

    // clang's warnings become cargo's; what else libbpf-cargo logs does not.
    let warnings = tracing_subscriber::fmt::layer()
        .event_format(CargoWarningFormatter)
        .with_filter(filter_fn(|metadata| metadata.target() == "compiler-stderr"));
    tracing_subscriber::registry().with(warnings).init();
    let object = out_dir.join("ebmirror.bpf.o");
    let clang = newest_clang()?;
    let mut builder = SkeletonBuilder::new();
    builder
        .source(SOURCE)
        .obj(&object)
        .clang(&clang)
        .clang_args(clang::arguments(&arch))
        .build_and_generate(out_dir.join("ebmirror.skel.rs"))
        .map_err(|error| format!("{error:#}"))?;
    // Tells one datapath from another in a pinned instance.
    let bytes = fs::read(&object).map_err(|error| format!("{}: {error}", object.display()))?;
    println!("cargo::rustc-env=EBMIRROR_DATAPATH={}", fnv1a(&bytes));
    let version = clang::version(&clang).map_or("unknown".into(), |version| version.to_string());
    println!("cargo::rustc-env=EBMIRROR_CLANG={version}");
    Ok(())
}

/// The newest of `$CLANG`, `clang` and `clang-NN` on the path.
fn newest_clang() -> Result<PathBuf, String> {
    if let Some(clang) = env::var_os("CLANG") {
        return Ok(clang.into());
    }
    match clang::on_the_path().pop_last() {
        Some((version, file)) if version >= clang::OLDEST => Ok(file),
        Some((version, file)) => Err(format!(
            "{} is version {version}, and {} or newer is needed: apt-get install clang",
            file.display(),
            clang::OLDEST
        )),
        None => Err("clang is missing: install the package clang (apt-get install clang)".into()),
    }
}

/// libbpf-sys asks for `-lelf -lz` and leaves the kind to the linker, which takes the first file it finds, the shared
/// library before the archive. A folder that comes first and holds the archives alone decides it: where the distribution
/// ships them the binary needs neither library at run time.
fn link_statically(out_dir: &Path, arch: &str) -> Result<(), String> {
    let folder = out_dir.join("archives");
    let _ = fs::remove_dir_all(&folder);
    let libs = [format!("/usr/lib/{arch}-linux-gnu"), "/usr/lib64".into(), "/usr/lib".into()];
    let archive = |name: &str| libs.iter().map(|dir| Path::new(dir).join(name)).find(|file| file.exists());
    let (Some(elf), Some(z)) = (archive("libelf.a"), archive("libz.a")) else {
        return Ok(());
    };
    // Some distributions compile libelf with zstd; its archive is then needed as well.
    let zstd = archive("libzstd.a");
    let needs_zstd = fs::read(&elf).is_ok_and(|bytes| bytes.windows(13).any(|window| window == b"ZSTD_compress"));
    if needs_zstd && zstd.is_none() {
        return Ok(());
    }
    let link = |from: &Path, name: &str| {
        symlink(from, folder.join(name)).map_err(|error| format!("{}: {error}", folder.join(name).display()))
    };
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    link(&elf, "libelf.a")?;
    link(&z, "libz.a")?;
    println!("cargo::rustc-link-search=native={}", folder.display());
    if let (true, Some(zstd)) = (needs_zstd, zstd) {
        link(&zstd, "libzstd.a")?;
        println!("cargo::rustc-link-arg-bins=-lzstd");
    }
    Ok(())
}

/// FNV-1a: a fingerprint, not a signature.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
