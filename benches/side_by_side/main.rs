//! `make bench`: ebmirror beside what else could do its work, in networks of its own, in one run.
//!
//! What is compared takes turns in balanced order, in lanes that all exist at the same time; every copy is counted at the
//! collector, and a run that lost one does not count. Everything is in anonymous namespaces and vanishes with the process.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a harness talks to whoever started it")]

mod apply;
mod bars;
mod dead;
mod filters;
mod flow;
mod lane;
mod latency;
mod machine;
mod measure;
mod mirror;
mod plot;
mod program;
mod rules;
mod scenario;
mod schedule;
mod statistics;
mod table;
mod tcp;
mod traffic;
mod userspace;
mod verifier;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use ebmirror::lab::sandbox::private_bpffs;
use ebmirror::model::{Code, Error, Result};
use serde_json::{Value, json};

use self::bars::Reading;
use self::lane::Tools;
use self::machine::Machine;
use self::measure::Plan;
use self::plot::Plot;
use self::table::Table;
use self::verifier::Verified;

/// Measures ebmirror beside what else could do its work. Needs root.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure [default: everything]
    #[arg(long, value_enum)]
    suite: Vec<Suite>,
    /// Less of everything, the workloads of some bars among it: under two minutes
    #[arg(long)]
    quick: bool,
    /// Write the document here
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Draw plots into this directory
    #[arg(long, value_name = "DIR")]
    plots: Option<std::path::PathBuf>,
    /// Turns that each contender gets in a rig [default: 15, or 6]
    #[arg(long, value_name = "N", value_parser = number::<1>, allow_negative_numbers = true)]
    rounds: Option<usize>,
    /// How often everything is built anew, so that no layout of memory decides [default: 3, or 1]
    #[arg(long, value_name = "N", value_parser = number::<1>, allow_negative_numbers = true)]
    rigs: Option<usize>,
    /// Frames in a run [default: 100000, or 20000]
    #[arg(long, value_name = "N", value_parser = number::<FEWEST>, allow_negative_numbers = true)]
    frames: Option<usize>,
    /// Different flows in the traffic of the filters
    #[arg(long, value_name = "N", value_parser = number::<1>, allow_negative_numbers = true, default_value_t = 30_000)]
    flows: usize,
    /// The processor on which the traffic runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpu: usize,
    /// Another build of ebmirror than that of this source
    #[arg(long, value_name = "FILE")]
    binary: Option<String>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// What rules cost
    Filters,
    /// ebmirror beside other ways to mirror
    Mirror,
}

/// Above it a run would take days.
const MOST: usize = 10_000_000;
/// Frames of a run: of fewer the clock is measured, and the warm-up of a batch.
const FEWEST: usize = 1_000;

fn number<const LEAST: usize>(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("not a whole number from {LEAST} to {MOST}"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.message);
            if let Some(hint) = &error.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(error.code.exit())
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let machine = Machine::look()?;
    if machine.processors < 2 || args.cpu >= machine.processors {
        let what = format!(
            "this machine has {} processors, and the traffic is to run on number {}",
            machine.processors, args.cpu
        );
        return Err(Error::new(Code::Usage, what).hint("--cpu takes a number from 0 on, and two processors are needed"));
    }
    check_outputs(args)?;
    let doubts = machine.doubts();
    doubts.iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let start = Instant::now();
    // On a thread of its own: the mount namespace is that of the thread, and of what it starts.
    let findings = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || perform(args));
        let thread = thread.map_err(|error| Error::io("start a thread", &error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let measured = args.binary.as_ref().map_or_else(
        || format!("Commit {}, clang {}", machine.commit, machine.clang),
        |file| format!("{file}, measured by commit {}", machine.commit),
    );
    println!(
        "{measured}, Linux {}, {} × {}{}, bpf_stats off.\n",
        machine.kernel,
        machine.processors,
        machine.processor,
        if machine.hypervisor { " (virtual)" } else { "" }
    );
    findings.tables.iter().for_each(|table| println!("{table}"));
    println!("{}", bars::table(&findings.bars));
    if let Some(directory) = &args.plots {
        for plot in &findings.plots {
            write(&directory.join(plot.name).with_extension("svg"), &plot.svg)?;
        }
    }
    if let Some(path) = &args.json {
        let document = json!({
            "schema": "ebmirror.bench.v1", "machine": machine, "binary": args.binary, "doubts": doubts, "quick": args.quick, "bpf_stats": false,
            "seconds": start.elapsed().as_secs_f64(), "suites": findings.document,
            "bars": bars::document(&findings.bars),
        });
        let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        write(path, &text)?;
    }
    Ok(())
}

/// What is to be written must have a place before anything is measured.
fn check_outputs(args: &Args) -> Result<()> {
    let refuse = |option: &str, path: &Path, error: &std::io::Error| {
        Error::usage(format!("{option} {}: {error}", path.display())).hint("it takes a place that can be written to")
    };
    if let Some(directory) = &args.plots {
        std::fs::create_dir_all(directory)
            .and_then(|()| try_file(&directory.join(".plot")))
            .map_err(|error| refuse("--plots", directory, &error))?;
    }
    args.json.as_deref().map_or(Ok(()), |file| try_file(file).map_err(|error| refuse("--json", file, &error)))
}

/// Opens a file for writing. What is there already stays; what is not there is not there afterwards.
fn try_file(file: &Path) -> std::io::Result<()> {
    let is_new = file.symlink_metadata().is_err();
    std::fs::File::options().append(true).create(true).open(file)?;
    if is_new { std::fs::remove_file(file) } else { Ok(()) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| Error::io(format_args!("write {}", path.display()), &error))
}

/// What a suite has found.
#[derive(Default)]
struct Findings {
    tables: Vec<Table>,
    plots: Vec<Plot>,
    document: Value,
    bars: Vec<Reading>,
}

fn perform(args: &Args) -> Result<Findings> {
    let binary = args.binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_ebmirror"));
    let tools = Tools::open(binary)?.with_bpffs(private_bpffs()?);
    let plan = Plan {
        frames: args.frames.unwrap_or(if args.quick { 20_000 } else { 100_000 }),
        rounds: args.rounds.unwrap_or(if args.quick { 6 } else { 15 }),
        cpu: args.cpu,
    };
    let rigs = args.rigs.unwrap_or(if args.quick { 1 } else { 3 });
    let say = |line: &str| eprintln!("{line}");
    let mut all = Findings::default();
    let mut documents = serde_json::Map::new();
    documents.insert("plan".into(), json!({ "measure": plan, "rigs": rigs }));
    let verified = Verified::look(&tools)?;
    documents.insert("verifier".into(), verified.document());
    all.tables.push(verified.table());
    for suite in [Suite::Filters, Suite::Mirror] {
        if !args.suite.is_empty() && !args.suite.contains(&suite) {
            continue;
        }
        let (name, found) = match suite {
            Suite::Filters => {
                let options = filters::Options { plan, rigs, flows: args.flows, quick: args.quick };
                ("filters", filters::run(&tools, options, &say)?)
            }
            Suite::Mirror => ("mirror", mirror::run(&tools, plan, rigs, args.quick, &say)?),
        };
        all.tables.extend(found.tables);
        all.plots.extend(found.plots);
        all.bars.extend(found.bars);
        documents.insert(name.into(), found.document);
    }
    Ok(Findings { document: Value::Object(documents), ..all })
}
