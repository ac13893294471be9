//! `ebmirror demo`: a throw-away network of three hosts, real traffic across it, mirrored by the real commands, and each
//! copy compared with its original. It is a self-test of the kernel it runs on.
//!
//! All that it makes lives in anonymous network namespaces and in a mount namespace of its own, which the kernel takes
//! away with the process. That is why no signal is caught here: Ctrl-C and even SIGKILL leave nothing behind.

mod books;
mod network;
mod outer;
mod report;
mod traffic;
mod verdict;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use self::network::{COLLECTOR_PORT, Network, PEER, TAP, VNI};
use self::report::Findings;
use self::verdict::{Evidence, judge};
use super::commands::Commands;
use crate::lab::capture::Frame;
use crate::lab::network::Host;
use crate::lab::recorder::Recorder;
use crate::lab::sandbox::private_bpffs;
use crate::model::{Code, Error, Result};
use crate::output::{Printer, Report};

/// How long the last copies and counters may take after the traffic has ended.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the counters are read while waiting for them; arriving frames end a wait earlier.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show so many of the copies, a line each
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub frames: usize,
    /// Turn the offloads of the way to the collector off, as on a plain network card
    #[arg(long)]
    pub no_offload: bool,
}

/// Builds, mirrors, compares. What it takes to run at all is an error; what the mirror does wrong stands in the report.
pub fn run(args: &Args, printer: &Printer) -> Result<Box<dyn Report>> {
    // On a thread of its own: the mount namespace is that of the thread, and of what it starts.
    let findings = thread::scope(|scope| {
        let demo = thread::Builder::new().name("demo".into()).spawn_scoped(scope, || perform(args, printer));
        let demo = demo.map_err(|error| Error::io("start a thread", &error))?;
        demo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(Box::new(findings))
}

fn perform(args: &Args, printer: &Printer) -> Result<Findings> {
    let say = |line: &str| {
        if !printer.quiet && printer.json.is_none() {
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    };
    say("a network of its own: client eth0 --- eth0 host eth1 --- eth0 collector");
    let root = private_bpffs().map_err(needs_root)?.join("ebmirror");
    let network = Network::build(args.no_offload).map_err(needs_root)?;
    let devices = network.devices()?;
    let commands = Commands::new(&network.host, &root, &say);
    let recording = Recording::start(&network)?;

    let (remote, vni) = (network::COLLECTOR_IP.to_string(), VNI.to_string());
    commands.run(&["peer", "add", PEER, "--tunnel", "vxlan", "--remote", &remote, "--vni", &vni])?;
    commands.run(&["attach", TAP])?;
    let attached = recording.originals.count().map_err(lost_frames)?;

    say("traffic in both directions: ARP, ICMP, UDP, TCP, LLDP, STP, VLAN, QinQ, MPLS");
    let broken = traffic::drive(&network)?;

    say("$ ebmirror stats");
    let mut findings = settle(&network, &commands, &recording, attached, args.frames)?;
    findings.problems.extend(broken);

    commands.run(&["detach", TAP])?;
    commands.run(&["unpin"])?;
    findings.problems.extend(left_over(&network, &devices, &root)?);
    findings.passed = findings.problems.is_empty();
    Ok(findings)
}

/// The captures of a run.
struct Recording {
    /// The mirrored interface.
    originals: Recorder,
    /// The collector's interface.
    copies: Recorder,
    /// The collector's own VXLAN device.
    decoded: Option<Recorder>,
}

impl Recording {
    fn start(network: &Network) -> Result<Self> {
        let record =
            |host: &Host, ifname: &str| host.attempt(format_args!("capture on {ifname}"), || Recorder::start(ifname));
        Ok(Self {
            originals: record(&network.host, TAP)?,
            copies: record(&network.collector, COLLECTOR_PORT)?,
            decoded: network.kernel_decoder.map(|ifname| record(&network.collector, ifname)).transpose()?,
        })
    }

    /// Calls `look` with what has been captured until now: originals, copies, what the kernel decoded.
    fn with<T>(&self, look: impl FnOnce(&[Frame], &[Frame], Option<&[Frame]>) -> T) -> io::Result<T> {
        self.originals.with(|originals| {
            self.copies.with(|copies| match &self.decoded {
                Some(decoded) => decoded.with(|decoded| look(originals, copies, Some(decoded))),
                None => Ok(look(originals, copies, None)),
            })
        })??
    }
}

/// Judges until nothing is wrong, or until the time for the last copies and counters is over.
fn settle(
    network: &Network,
    commands: &Commands<'_>,
    recording: &Recording,
    attached: usize,
    shown: usize,
) -> Result<Findings> {
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let arrived = recording.copies.count().map_err(lost_frames)?;
        let stats = commands.quietly(&["stats"])?;
        let findings = recording
            .with(|originals, copies, decoded| {
                judge(&Evidence { network, originals, attached, copies, decoded, stats: &stats }, shown)
            })
            .map_err(lost_frames)?;
        if findings.problems.is_empty() || Instant::now() > deadline {
            return Ok(findings);
        }
        recording.copies.wait(SETTLE_INTERVAL, |frames| frames.len() > arrived).map_err(lost_frames)?;
    }
}

/// What the commands should have taken away.
fn left_over(network: &Network, devices: &[String], root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let left: Vec<String> = network.devices()?.into_iter().filter(|name| !devices.contains(name)).collect();
    if !left.is_empty() {
        problems.push(format!("after unpin these devices are left on the host: {}", left.join(", ")));
    }
    let pins = network::entries(root).map_err(|error| Error::io(root.display(), &error))?;
    if !pins.is_empty() {
        problems.push(format!("after unpin these pins are left: {}", pins.join(", ")));
    }
    Ok(problems)
}

/// More than what the other commands need.
pub(super) fn needs_root(error: Error) -> Error {
    match error.code {
        Code::Permission => error.hint("run it as root: it makes namespaces and mounts of its own"),
        _ => error,
    }
}

fn lost_frames(error: io::Error) -> Error {
    Error::io("capture", &error)
}
