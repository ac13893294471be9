//! The command line: declares, never does. Each subcommand's arguments stand beside the code that uses them.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cmd;
use crate::output::Color;

/// Mirror every packet of a network interface, in and out, through a tunnel to remote collectors
///
/// The mirror lives in the kernel, as eBPF programs: it goes on when the command has ended, and it never changes or
/// drops a packet of production, nor keeps one waiting for a collector. Start with: ebmirror attach eth0; ebmirror
/// peer add ids --tunnel vxlan --remote 192.0.2.10 --vni 42; ebmirror status.
#[derive(Debug, Parser)]
#[command(name = "ebmirror", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, or nothing to do; 1 status finds something wrong; 2 usage; 3 failed; \
4 not found; 5 permission or capability missing; 6 conflict, busy or full; 7 this kernel cannot; \
8 pinned state damaged or of another version.";

/// Where the pins are when nobody says otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/ebmirror";

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print exactly one JSON document on stdout, errors included (JSON lines when watching, and for filter test)
    #[arg(short, long, global = true)]
    pub json: bool,
    /// The same, indented
    #[arg(short, long, global = true)]
    pub pretty: bool,
    /// Act in this network namespace: a name under /run/netns, a path, or pid:N; bpffs stays the caller's
    #[arg(short, long, global = true, value_name = "NS")]
    pub netns: Option<String>,
    /// Directory in bpffs; one instance a network namespace below it
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_ROOT)]
    pub root: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// When to use colours; NO_COLOR is obeyed
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Say more: libbpf's and the verifier's log
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Say less: no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mirror interfaces
    Attach(cmd::attach::Args),
    /// Stop mirroring interfaces
    Detach(cmd::detach::Args),
    /// Load and pin the datapath with nothing attached, so that peers can be prepared
    Pin(cmd::pin::Args),
    /// Remove everything of this instance
    Unpin(cmd::unpin::Args),
    /// Edit and list the collectors
    #[command(subcommand)]
    Peer(cmd::peer::Command),
    /// Edit, list and try the rules: which frames are mirrored
    #[command(subcommand)]
    Filter(cmd::filter::Command),
    /// Mirror interfaces as long as this command runs, and show the counters
    Run(cmd::run::Args),
    /// Show the counters
    Stats(cmd::stats::Args),
    /// Is it working? One screen; exit code 1 when it is not
    Status(cmd::status::Args),
    /// Self-test: mirror real traffic across a throw-away network, and compare each copy with its original
    Demo(cmd::demo::Args),
    /// Replay captures through a mirrored interface, and compare each copy with its original
    #[command(hide = true)]
    Corpus(cmd::corpus::Args),
    /// Compare what expressions choose of captures with what tcpdump chooses
    #[command(hide = true)]
    Oracle(cmd::oracle::Args),
    /// Print a completion script for a shell
    Completions(cmd::completions::Args),
    /// Write the manual pages and the completion scripts
    #[command(hide = true)]
    Generate(cmd::generate::Args),
}
