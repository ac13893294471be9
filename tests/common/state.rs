//! What a namespace and its bpffs hold, for tests that compare before and after; and frames whose copies are counted.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use ebmirror::kernel::hooks::tcx;
use ebmirror::lab::capture::{Frame, Sender};
use ebmirror::lab::frame::{Ethernet, pattern};
use ebmirror::lab::network::Host;
use ebmirror::lab::recorder::Recorder;
use ebmirror::model::interface::Direction;
use serde_json::Value;

use super::common::{CLIENT, COLLECTOR, EBMIRROR, HOST, Mounts, Outcome, Rig, wait_for};

/// The arguments that add a peer at the collector.
pub const ADD_IDS: [&str; 9] = ["peer", "add", "ids", "--tunnel", "vxlan", "--remote", COLLECTOR, "--vni", "42"];

/// One host with eth0 and eth1, the ends of one cable, and a bpffs: all that most commands need.
pub struct Solo {
    pub host: Host,
    pub mounts: Mounts,
}

impl Solo {
    pub fn new() -> Self {
        Self::with(Mounts::with_bpffs(""))
    }

    pub fn with(mounts: Mounts) -> Self {
        let solo = Solo { host: Host::new("host").expect("a namespace; run the tests as root"), mounts };
        solo.script(
            "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
             ip link add eth0 type veth peer name eth1
             ip address add 10.9.0.1/24 dev eth0
             ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0
             ip link set eth0 up; ip link set eth1 up",
        );
        wait_until_up(&solo.mounts, &solo.host);
        solo
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.mounts.command(EBMIRROR);
        command.args(["--netns", &self.host.path()]).args(args);
        command
    }

    pub fn ebmirror(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(args), &format!("ebmirror {}", args.join(" ")))
    }

    /// `--json`, successful.
    pub fn json(&self, args: &[&str]) -> Value {
        self.ebmirror(&[&["--json"], args].concat()).ok().json()
    }

    pub fn script(&self, text: &str) -> String {
        script(&self.mounts, &self.host, text)
    }

    pub fn snapshot(&self) -> String {
        snapshot(&self.mounts, &self.host)
    }
}

/// Runs a shell script in the host's namespace, with these mounts; every line of it must succeed. Its stdout.
pub fn script(mounts: &Mounts, host: &Host, text: &str) -> String {
    let mut command = mounts.command("nsenter");
    command.arg(format!("--net={}", host.path())).args(["sh", "-ec", text]).env("EBMIRROR", EBMIRROR);
    Outcome::of(command, text).ok().stdout
}

/// Waits until the host's two interfaces are called up: the kernel says so a moment after they have carrier.
pub fn wait_until_up(mounts: &Mounts, host: &Host) {
    wait_for("both interfaces to be up", || script(mounts, host, "ip -o link").matches("state UP").count() == 2);
}

/// Everything that a command could change: devices, qdiscs, filters, TCX chains, pins, the pinned configuration.
/// Counters are left out, so that stray frames do no harm; and IPv6, which changes by itself.
pub fn snapshot(mounts: &Mounts, host: &Host) -> String {
    let links = host.netlink().unwrap().links().unwrap();
    let chains = host.run(|| {
        let chain = |ifindex, direction| tcx::query(ifindex, direction).map(|chain| chain.programs);
        links
            .iter()
            .flat_map(|link| Direction::ALL.map(|direction| (link, direction)))
            .map(|(link, direction)| format!("{} {direction} {:?}\n", link.name, chain(link.ifindex, direction).ok()))
            .collect::<String>()
    });
    let rest = script(
        mounts,
        host,
        "ip -o link
         ip -o -4 address
         tc qdisc show
         for dev in $(tc qdisc show | sed -n 's/^qdisc \\(clsact\\|ingress\\) .* dev \\([^ ]*\\) .*/\\2/p'); do
             for parent in ingress egress; do
                 tc filter show dev $dev $parent | sed \"s/^/$dev $parent /\"
             done
         done
         if test -d /sys/fs/bpf; then
             find /sys/fs/bpf -mindepth 1 ! -name '*.debug' -printf '%p %i %M %u\n' | sort
             for map in $(find /sys/fs/bpf -name ebm_meta -o -name ebm_control); do
                 echo $map $(bpftool map dump pinned $map 2>/dev/null | grep -v next_version)
             done
             $EBMIRROR -j peer list || true
         fi
         grep . /proc/sys/net/ipv4/conf/*/forwarding",
    );
    let mut status = mounts.command(EBMIRROR);
    status.args(["-j", "--netns", &host.path(), "status"]);
    let status = Outcome::of(status, "ebmirror status").json();
    let taps = status["interfaces"].as_array().into_iter().flatten().map(|row| {
        let limited = row["stops_in_seconds"].is_u64();
        format!("{} {} {} limited: {limited}\n", row["interface"], row["direction"], row["mode"])
    });
    chains.unwrap() + &rest + &taps.collect::<String>()
}

/// Fails with the lines that differ.
#[track_caller]
pub fn assert_same(before: &str, after: &str, what: &str) {
    let missing = |from: &str, of: &str| -> Vec<String> {
        from.lines().filter(|line| !of.lines().any(|other| other == *line)).map(str::to_owned).collect()
    };
    assert!(before == after, "{what}\ngone: {:#?}\nnew: {:#?}", missing(before, after), missing(after, before));
}

/// The kernel's numbers of everything that is pinned.
pub struct Objects(Vec<(&'static str, String)>);

impl Objects {
    pub fn pinned(mounts: &Mounts, host: &Host) -> Self {
        let mut ids = Vec::new();
        for pin in script(mounts, host, "find /sys/fs/bpf -type f ! -name '*.debug'").lines() {
            let kind = match pin.rsplit('/').next().unwrap() {
                name if name.starts_with("link_") => "link",
                "ebm_tap_in" | "ebm_tap_out" | "ebm_stage" | "ebm_exact" | "ebm_layer3" | "ebm_probe" => "prog",
                _ => "map",
            };
            let shown: Value =
                serde_json::from_str(&script(mounts, host, &format!("bpftool -j {kind} show pinned {pin}"))).unwrap();
            let shown = shown.get(0).unwrap_or(&shown);
            ids.push((kind, shown["id"].to_string()));
        }
        assert!(!ids.is_empty(), "nothing is pinned");
        Objects(ids)
    }

    /// How many of a kind: `prog`, `map`, `link`.
    pub fn count(&self, kind: &str) -> usize {
        self.0.iter().filter(|(known, _)| *known == kind).count()
    }

    /// Waits until the kernel has none of them any more. It frees them a moment after their last user is gone.
    pub fn wait_gone(&self) {
        for (kind, id) in &self.0 {
            wait_for(&format!("{kind} {id} to be freed"), || {
                let shown = Command::new("bpftool").args([kind, "show", "id", id]).output().expect("bpftool");
                !shown.status.success()
            });
        }
    }
}

/// Numbered frames through the mirrored host's eth0, and what became of them at the collector.
pub struct Traffic<'a> {
    rig: &'a Rig,
    recorder: Recorder,
    next: u64,
}

impl<'a> Traffic<'a> {
    pub fn new(rig: &'a Rig) -> Self {
        let recorder = rig.collector.run(|| Recorder::start("vx0")).unwrap().unwrap();
        Traffic { rig, recorder, next: 0 }
    }

    fn frame(&self, number: u64, egress: bool) -> Vec<u8> {
        let mac = |host: &Host| host.mac("eth0").unwrap();
        let (client, host) = (mac(&self.rig.client), mac(&self.rig.host));
        let (from, to) = (CLIENT.parse::<std::net::Ipv4Addr>().unwrap(), HOST.parse::<std::net::Ipv4Addr>().unwrap());
        if egress {
            Ethernet::new(host, client).ipv4(to, from).udp(2000, 9, &pattern(number, 64))
        } else {
            Ethernet::new(client, host).ipv4(from, to).udp(1000, 9, &pattern(number, 64))
        }
    }

    /// Sends frames; those with an odd number leave the host, the others arrive at it. Their bytes.
    pub fn send(&mut self, count: u64) -> Vec<Vec<u8>> {
        let numbers: Vec<u64> = (self.next..self.next + count).collect();
        self.next += count;
        let frames: Vec<Vec<u8>> = numbers.iter().map(|number| self.frame(*number, number % 2 == 1)).collect();
        let open = |host: &Host| host.attempt("open a sender", || Sender::open("eth0")).unwrap();
        let (client, host) = (open(&self.rig.client), open(&self.rig.host));
        for (number, frame) in numbers.iter().zip(&frames) {
            let sender = if number % 2 == 1 { &host } else { &client };
            sender.send(frame).unwrap();
        }
        frames
    }

    /// Sends frames in both directions, and waits until each has arrived at the collector, once and not twice.
    pub fn mirrored_once(&mut self) {
        let mut frames = self.send(20);
        // Two more behind them, so that a second copy of those before would be here when these are.
        frames.extend(self.send(2));
        let all = |got: &[Frame]| frames.iter().all(|frame| got.iter().any(|copy| copy.bytes == *frame));
        let arrived = self.recorder.wait(Duration::from_secs(5), all).unwrap();
        let copies = self.copies(&frames);
        assert!(arrived, "copies of each frame: {copies:?}");
        assert!(copies.iter().all(|count| *count == 1), "copies of each frame: {copies:?}");
    }

    /// Sends frames in both directions; only those of one direction arrive at the collector.
    pub fn mirrored_only(&mut self, egress: bool) {
        let frames = self.send(20);
        let wanted = |number: usize| (number % 2 == 1) == egress;
        let all = |got: &[Frame]| {
            frames.iter().enumerate().all(|(n, frame)| !wanted(n) || got.iter().any(|copy| copy.bytes == *frame))
        };
        let arrived = self.recorder.wait(Duration::from_secs(5), all).unwrap();
        let copies = self.copies(&frames);
        assert!(arrived, "copies of each frame: {copies:?}");
        for (number, count) in copies.iter().enumerate() {
            assert_eq!(*count, usize::from(wanted(number)), "copies of each frame: {copies:?}");
        }
    }

    /// How often each of these frames has arrived at the collector so far.
    pub fn copies(&self, frames: &[Vec<u8>]) -> Vec<usize> {
        let count = |got: &[Frame], frame: &Vec<u8>| got.iter().filter(|copy| copy.bytes == *frame).count();
        self.recorder.with(|got| frames.iter().map(|frame| count(got, frame)).collect()).unwrap()
    }

    /// Production: a datagram of the client reaches a socket of the host, and the answer comes back.
    pub fn production_works(&self) {
        let server = self.rig.host.attempt("bind", || std::net::UdpSocket::bind((HOST, 0))).unwrap();
        let client = self.rig.client.attempt("bind", || std::net::UdpSocket::bind((CLIENT, 0))).unwrap();
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let mut buffer = [0; 16];
        client.send_to(b"question", server.local_addr().unwrap()).unwrap();
        let (length, from) = server.recv_from(&mut buffer).expect("the client's datagram");
        assert_eq!(&buffer[..length], b"question");
        server.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).expect("the host's answer");
        assert_eq!(&buffer[..length], b"answer");
    }
}

/// strace, in the host's namespace itself: from another one it does not know a netlink socket.
pub fn strace_in(mounts: &Mounts, host: &Host) -> Command {
    let mut command = mounts.command("nsenter");
    command.arg(format!("--net={}", host.path())).args(["strace", "-f", "-qq"]);
    command
}

/// `ebmirror ARGS` of the rig under strace with these options, its own output aside.
pub fn strace(mounts: &Mounts, host: &Host, options: &[&str], args: &[&str]) -> Outcome {
    let mut command = strace_in(mounts, host);
    command.args(["-o", "/dev/null"]).args(options);
    command.args([EBMIRROR, "--netns", &host.path()]).args(args);
    Outcome::of(command, &format!("strace {} ebmirror {}", options.join(" "), args.join(" ")))
}

/// The system calls of `ebmirror ARGS` that change something beyond its process, each as its name and the how-many-th of
/// that name it is: where a crash makes a difference. Of several alike in a row the first and the last.
pub fn changing_calls(mounts: &Mounts, host: &Host, args: &[&str]) -> Vec<(String, usize)> {
    const TRACED: &str = "bpf,sendto,unlink,rename,mkdir,rmdir";
    const READING: [&str; 13] = [
        "BPF_MAP_LOOKUP_ELEM",
        "BPF_MAP_CREATE",
        "BPF_MAP_FREEZE",
        "BPF_OBJ_GET",
        "BPF_PROG_LOAD",
        "BPF_PROG_GET_FD_BY_ID",
        "BPF_PROG_QUERY",
        "BPF_PROG_BIND_MAP",
        "BPF_BTF_LOAD",
        "BPF_???",
        "RTM_GET",
        ") = -1 ",
        ") = ?",
    ];
    let mut command = strace_in(mounts, host);
    command.args(["-e", &format!("trace={TRACED}"), "-e", "signal=none", "-o", "|cat >&2"]);
    command.args([EBMIRROR, "--netns", &host.path()]).args(args);
    let outcome = Outcome::of(command, &format!("strace ebmirror {}", args.join(" "))).ok();
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut calls: Vec<(String, usize, &str)> = Vec::new();
    for line in outcome.stderr.lines() {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let Some((name, rest)) = line.split_once('(').filter(|(name, _)| TRACED.split(',').any(|known| known == *name))
        else {
            continue;
        };
        let count = seen.entry(name).or_default();
        *count += 1;
        let kind = match name {
            "bpf" => rest.split(',').next().unwrap_or_default(),
            "sendto" => rest.split("nlmsg_type=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default(),
            _ => name,
        };
        let attach = kind.starts_with("BPF_LINK") || rest.contains("attach_type");
        if attach || !READING.iter().any(|word| rest.contains(word)) {
            calls.push((name.to_owned(), *count, kind));
        }
    }
    assert!(calls.len() > 1, "no calls in {}", outcome.stderr);
    let alike = |a: usize, b: usize| calls.get(a).map(|call| call.2) == calls.get(b).map(|call| call.2);
    (0..calls.len())
        .filter(|at| *at == 0 || !alike(at - 1, *at) || !alike(*at, at + 1))
        .map(|at| (calls[at].0.clone(), calls[at].1))
        .collect()
}
