//! Where and what was measured: without it a number means nothing.

use std::fs;
use std::process::Command;

use ebmirror::model::{Code, Error, Result};
use serde::Serialize;

const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Above it the processors have other work.
const QUIET_LOAD: f64 = 0.5;

/// The machine, its kernel, and the source of the harness and, without `--binary`, of what it measures.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub hypervisor: bool,
    pub memory_mib: u64,
    pub kernel: String,
    pub bpf_jit: String,
    pub load: f64,
    pub commit: String,
    /// The version that compiled that source's datapath.
    pub clang: &'static str,
}

impl Machine {
    /// Looks around.
    ///
    /// # Errors
    /// Conflict while the kernel counts the run time of BPF programs.
    pub fn look() -> Result<Self> {
        if read(BPF_STATS) != "0" {
            return Err(Error::new(
                Code::Conflict,
                format!("{BPF_STATS} is not 0: each program run costs a clock more"),
            )
            .hint("sysctl kernel.bpf_stats_enabled=0"));
        }
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
        };
        let memory = read("/proc/meminfo");
        let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(Self {
            processor: field("model name").to_owned(),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            hypervisor: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease"),
            bpf_jit: read("/proc/sys/net/core/bpf_jit_enable"),
            load: read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            commit: commit(),
            clang: env!("EBMIRROR_CLANG"),
        })
    }

    /// What makes the numbers doubtful.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.load > QUIET_LOAD {
            doubts.push(format!(
                "the load was {} at the start: the processors had other work in the last minute, if only the build",
                self.load
            ));
        }
        if self.bpf_jit == "0" {
            doubts.push("the kernel interprets BPF: net.core.bpf_jit_enable is 0".to_owned());
        }
        if cfg!(debug_assertions) {
            doubts.push("the harness was built without optimisation".to_owned());
        }
        doubts
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Of the source, with a mark when it was changed since.
fn commit() -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
