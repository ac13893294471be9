//! The rig of the root tests: three hosts (client, mirrored host, collector) in network namespaces without names, a
//! private mount namespace with a bpffs of its own, and the real binary. All of it vanishes with the process, however
//! that ends.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

pub mod traffic;

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ebmirror::lab::network::{Host, Port, connect};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::Value;

/// The binary under test.
pub const EBMIRROR: &str = env!("CARGO_BIN_EXE_ebmirror");
/// Of the collector's VXLAN.
pub const VNI: u32 = 42;
/// Addresses of the rig: client and host share 10.1.0.0/24, host and collector 10.2.0.0/24.
pub const CLIENT: &str = "10.1.0.1";
/// The host's address on the mirrored interface eth0.
pub const HOST: &str = "10.1.0.2";
/// The host's address on the underlay eth1.
pub const UNDERLAY: &str = "10.2.0.1";
/// The collector's address.
pub const COLLECTOR: &str = "10.2.0.2";

/// A mount namespace with a bpffs at /sys/fs/bpf, held by a process that sleeps.
pub struct Mounts {
    keeper: Child,
    namespace: std::fs::File,
}

impl Mounts {
    /// With a bpffs mounted with these options ("" for none).
    pub fn with_bpffs(options: &str) -> Self {
        let script = format!("mount -t bpf {options} bpf /sys/fs/bpf && echo ready && exec sleep infinity");
        Self::new(&script)
    }

    /// Without any bpffs.
    pub fn without_bpffs() -> Self {
        Self::new("while umount /sys/fs/bpf 2>/dev/null; do :; done; echo ready && exec sleep infinity")
    }

    fn new(script: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).stdout(Stdio::piped());
        die_with_parent(&mut command);
        let mut keeper = command.spawn().expect("unshare (util-linux) and root are needed");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the keeper's first line");
        assert_eq!(line.trim(), "ready", "the mount namespace could not be made: run the tests as root");
        let namespace = std::fs::File::open(format!("/proc/{}/ns/mnt", keeper.id())).expect("its mount namespace");
        Mounts { keeper, namespace }
    }

    /// A command that sees these mounts.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let namespace = self.namespace.try_clone().expect("a descriptor");
        // SAFETY: between fork and exec it makes two system calls, both async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS)?)
            });
        }
        command
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec it makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
}

/// Three hosts and the binary.
pub struct Rig {
    pub client: Host,
    pub host: Host,
    pub collector: Host,
    pub mounts: Mounts,
}

impl Rig {
    /// client eth0 -- eth0 host eth1 -- eth0 collector, MTU 1500; the collector's kernel decodes VXLAN at vx0.
    pub fn new() -> Self {
        Self::with_underlay_mtu(1500)
    }

    pub fn with_underlay_mtu(mtu: u32) -> Self {
        let [client, host, collector] = ["client", "host", "collector"].map(|name| Host::new(name).expect(name));
        let cable = |a: (&Host, &str, &str), b: (&Host, &str, &str), mtu| {
            let address = |text: &str| [(text.parse().expect("an address"), 24)];
            let (at_a, at_b) = (address(a.2), address(b.2));
            connect(
                Port { host: a.0, ifname: a.1, addresses: &at_a },
                Port { host: b.0, ifname: b.1, addresses: &at_b },
                mtu,
            )
            .expect("a cable");
        };
        cable((&client, "eth0", CLIENT), (&host, "eth0", HOST), 1500);
        cable((&host, "eth1", UNDERLAY), (&collector, "eth0", COLLECTOR), mtu);
        assert!(
            collector.add_vxlan("vx0", VNI, format!("{COLLECTOR}:4789").parse().expect("an address")).expect("vx0"),
            "this kernel has no vxlan device"
        );
        Rig { client, host, collector, mounts: Mounts::with_bpffs("") }
    }

    /// Runs `ebmirror ARGS` in the host's network namespace.
    pub fn ebmirror(&self, args: &[&str]) -> Outcome {
        self.ebmirror_in(&self.host, args)
    }

    pub fn ebmirror_in(&self, host: &Host, args: &[&str]) -> Outcome {
        let mut command = self.mounts.command(EBMIRROR);
        command.args(["--netns", &host.path()]).args(args);
        Outcome::of(command, &format!("ebmirror {}", args.join(" ")))
    }

    /// Runs another program in a host's network namespace; it must succeed. Its stdout.
    pub fn tool(&self, host: &Host, line: &str) -> String {
        let outcome = self.try_tool(host, line);
        assert!(outcome.code == 0, "{line}: exit {}\n{}", outcome.code, outcome.stderr);
        outcome.stdout
    }

    pub fn try_tool(&self, host: &Host, line: &str) -> Outcome {
        let mut words = line.split_whitespace();
        let mut command = self.mounts.command("nsenter");
        command.arg(format!("--net={}", host.path())).args(words.by_ref());
        Outcome::of(command, line)
    }

    /// attach eth0 and a peer at the collector.
    pub fn mirror(&self) {
        self.mirror_with(&[]);
    }

    /// The same, with more options of the peer.
    pub fn mirror_with(&self, options: &[&str]) {
        self.ebmirror(&["attach", "eth0"]).ok();
        let peer = ["peer", "add", "ids", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "42"];
        self.ebmirror(&[&peer, options].concat()).ok();
    }

    pub fn stats(&self) -> Value {
        self.ebmirror(&["--json", "stats"]).ok().json()
    }

    /// Waits until the books balance: every copy asked for is sent or lost, and no frame came between two counters.
    pub fn balanced(&self) -> Value {
        let mut last = Value::Null;
        let mut fault = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            last = self.stats();
            fault = books_fault(&last);
            if fault.is_none() {
                return last;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the books do not balance: {fault:?}: {last}");
    }
}

/// The books must balance in this document.
pub fn check_books(stats: &Value) {
    assert_eq!(books_fault(stats), None, "{stats}");
}

/// What does not add up, from the JSON document alone, as a script would see it.
pub fn books_fault(stats: &Value) -> Option<String> {
    let packets = |value: &Value| value["packets"].as_u64().unwrap_or_else(|| panic!("no counter: {value}"));
    let sum = |row: &Value, names: &[&str]| names.iter().map(|name| packets(&row[*name])).sum::<u64>();
    let rows = |key: &str| stats[key].as_array().cloned().unwrap_or_default();
    let mut copies = packets(&stats["detached"]["copies"]);
    for row in rows("interfaces") {
        if packets(&row["seen"]) != sum(&row, &["own", "skipped", "selected"]) {
            return Some(format!("seen of {row}"));
        }
        if packets(&row["selected"]) != sum(&row, &["cloned", "lost"]) {
            return Some(format!("selected of {row}"));
        }
        copies += packets(&row["copies"]);
    }
    let mut asked = packets(&stats["retired"]);
    for row in rows("peers") {
        let reasons: u64 = row["reasons"].as_object().expect("reasons").values().map(packets).sum();
        if packets(&row["lost"]) != reasons || packets(&row["selected"]) != sum(&row, &["sent", "lost"]) {
            return Some(format!("selected of {row}"));
        }
        asked += packets(&row["selected"]);
    }
    if copies != asked || stats["unaccounted"] != 0 {
        return Some(format!("{copies} copies, {asked} asked of peers, {} unaccounted", stats["unaccounted"]));
    }
    None
}

/// A command that has ended.
#[derive(Debug)]
pub struct Outcome {
    what: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(mut command: Command, what: &str) -> Self {
        let Output { status, stdout, stderr } =
            command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{what}: {error}"));
        Outcome {
            what: what.to_owned(),
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// It must have succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}{}", self.what, self.stdout, self.stderr);
        self
    }

    /// It must have failed with this exit code, an error that says `message`, and a hint that says `hint`.
    pub fn fails(self, code: i32, message: &str, hint: &str) -> Self {
        assert_eq!(self.code, code, "{}\n{}{}", self.what, self.stdout, self.stderr);
        assert!(self.stderr.contains(message), "{}: no \"{message}\" in: {}", self.what, self.stderr);
        assert!(self.stderr.contains(hint), "{}: no \"{hint}\" in: {}", self.what, self.stderr);
        assert!(self.stdout.is_empty(), "{}: {}", self.what, self.stdout);
        self
    }

    /// It must have failed with this exit code, and the last line of stdout is the error as a document, with a hint.
    #[track_caller]
    pub fn json_fails(&self, code: i32, message: &str) {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("{}: it says nothing", self.what));
        let document: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{}: {error}: {last}", self.what));
        assert_eq!((self.code, document["schema"].as_str()), (code, Some("ebmirror.error.v1")), "{document}");
        assert!(document["error"]["message"].as_str().unwrap().contains(message), "{document}");
        assert!(document["error"]["hint"].is_string(), "{document}");
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}: {}", self.what, self.stdout))
    }
}

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a condition.
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, condition);
}

/// Waits for a condition that may take longer than others.
pub fn wait_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "{patience:?} were not enough for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file that goes when its owner does.
pub struct Scratch(std::path::PathBuf);

impl Scratch {
    pub fn of(bytes: &[u8]) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("scratch-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(format!("ebmirror-{name}"));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
