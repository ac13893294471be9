//! A lane: three hosts of its own in which one thing is measured, so that several can take turns without a change of any.

use std::io::{Seek, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ebmirror::lab::network::{Host, Port, connect};
use ebmirror::lab::sandbox::die_with_parent;
use ebmirror::model::interface::Direction;
use ebmirror::model::{Code, Error, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::Value;

use super::program::{Arrived, Attached, Sink};
use super::userspace::{Sending, Userspace};

/// The mirrored interface, on both ends of its cable, and the underlay's end at the collector.
pub const TAP: &str = "eth0";
/// The host's end of the way to the collector.
pub const UNDERLAY: &str = "eth1";
pub const CLIENT: &str = "10.1.0.1";
pub const HOST: &str = "10.1.0.2";
const UNDERLAY_IP: &str = "10.2.0.1";
pub const COLLECTOR: &str = "10.2.0.2";
/// What most people have: there is no room for a tunnel's headers beside a full frame.
pub const UNDERLAY_MTU: u32 = 1500;
/// Of the first peer.
pub const VNI: u32 = 42;
pub const VXLAN_PORT: u16 = 4789;
/// With it begin the names of all programs and maps of the datapath.
pub const DATAPATH_PREFIX: &str = "ebm_";
/// The collector's own VXLAN receiver.
const RECEIVER: &str = "vx0";

/// How long the next copy may take to arrive once the traffic has ended.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(200);

/// What is the same for all lanes.
pub struct Tools {
    /// The binary under test, by a path that outlasts changes of the file tree.
    binary: PathBuf,
    _open: std::fs::File,
    /// The bpffs of this run.
    bpffs: PathBuf,
}

impl Tools {
    /// The binary, opened before the mounts change.
    pub fn open(binary: &str) -> Result<Self> {
        let open = std::fs::File::open(binary)
            .map_err(|error| Error::usage(format!("--binary {binary}: {error}")).hint("it takes a file of ebmirror"))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
        Ok(Self { binary: path.into(), _open: open, bpffs: PathBuf::new() })
    }

    /// With this bpffs for the instances.
    pub fn with_bpffs(mut self, bpffs: PathBuf) -> Self {
        self.bpffs = bpffs;
        self
    }

    /// `ebmirror --json ARGS` on a host, with this on its stdin; its document, and how long the process took.
    pub fn ebmirror(&self, host: &Host, args: &[&str], input: &str) -> Result<(Value, Duration)> {
        let mut command = Command::new(&self.binary);
        command.args(["--json", "--netns", &host.path(), "--root"]).arg(self.bpffs.join("ebmirror")).args(args);
        let (output, took) = run(command, &format!("ebmirror {}", args.join(" ")), input)?;
        let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((document, took))
    }
}

/// Runs another program on a host; what it wrote to stdout, and how long it took.
pub fn tool(host: &Host, line: &str, input: &str) -> Result<(String, Duration)> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", host.path())).args(line.split_whitespace());
    let (output, took) = run(command, line, input)?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), took))
}

fn run(mut command: Command, what: &str, input: &str) -> Result<(Output, Duration)> {
    let failed = |error: &std::io::Error| Error::io(format_args!("run {what}"), error);
    if input.is_empty() {
        command.stdin(Stdio::null());
    } else {
        // A file in memory: a pipe would let the command wait for us.
        let memory = memfd_create(c"input", MFdFlags::MFD_CLOEXEC).map_err(|error| failed(&error.into()))?;
        let mut file = std::fs::File::from(memory);
        file.write_all(input.as_bytes()).and_then(|()| file.rewind()).map_err(|error| failed(&error))?;
        command.stdin(file);
    }
    die_with_parent(&mut command);
    let start = Instant::now();
    let output = command.output().map_err(|error| failed(&error))?;
    let took = start.elapsed();
    if output.status.success() {
        return Ok((output, took));
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::new(Code::Failed, format!("{what}: {}: {}", output.status, String::from_utf8_lossy(said).trim())))
}

/// client eth0 -- eth0 host eth1 -- eth0 collector.
pub struct Lane {
    pub client: Host,
    pub host: Host,
    pub collector: Host,
    sink: Option<Sink>,
    attached: Vec<Attached>,
    userspace: Option<Userspace>,
}

impl Lane {
    /// A quiet one: no IPv6, and neighbours that know each other.
    pub fn new(underlay_mtu: u32) -> Result<Self> {
        let (client, host, collector) = (Host::new("client")?, Host::new("host")?, Host::new("collector")?);
        for end in [&client, &host, &collector] {
            end.attempt("turning IPv6 off", || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"))?;
        }
        cable((&client, TAP, CLIENT), (&host, TAP, HOST), 1500)?;
        cable((&host, UNDERLAY, UNDERLAY_IP), (&collector, TAP, COLLECTOR), underlay_mtu)?;
        let pairs = [
            (&client, TAP, HOST, host.mac(TAP)?),
            (&host, TAP, CLIENT, client.mac(TAP)?),
            (&host, UNDERLAY, COLLECTOR, collector.mac(TAP)?),
            (&collector, TAP, UNDERLAY_IP, host.mac(UNDERLAY)?),
        ];
        for (from, device, to, mac) in pairs {
            tool(from, &format!("ip neigh replace {to} lladdr {} nud permanent dev {device}", mac_text(mac)), "")?;
        }
        Ok(Self { client, host, collector, sink: None, attached: Vec::new(), userspace: None })
    }

    /// ebmirror at the tap, with so many peers at the collector, all with these options.
    pub fn mirror(&self, tools: &Tools, peers: u32, options: &[&str]) -> Result<()> {
        tools.ebmirror(&self.host, &["attach", TAP], "")?;
        (0..peers).try_for_each(|number| self.add_peer(tools, number, COLLECTOR, options))
    }

    /// One more peer.
    pub fn add_peer(&self, tools: &Tools, number: u32, remote: &str, options: &[&str]) -> Result<()> {
        let (name, vni) = (format!("ids{number}"), (VNI + number).to_string());
        let peer = ["peer", "add", &name, "--tunnel", "vxlan", "--remote", remote, "--vni", &vni];
        tools.ebmirror(&self.host, &[&peer[..], options].concat(), "").map(|_| ())
    }

    /// Keeps a program attached as long as the lane lives.
    pub fn keep(&mut self, attached: Attached) {
        self.attached.push(attached);
    }

    /// Mirrors from user space, on this processor.
    pub fn mirror_from_userspace(&mut self, cpu: usize, sending: Sending) -> Result<()> {
        self.userspace = Some(Userspace::start(&self.host, cpu, sending)?);
        Ok(())
    }

    /// What a mirror in user space has used of its processor, with the interrupt work that it caused there.
    pub fn userspace_time(&self) -> Duration {
        self.userspace.as_ref().map_or(Duration::ZERO, Userspace::time)
    }

    /// Puts the kernel's own VXLAN receiver at the end.
    pub fn receive(&self) -> Result<()> {
        let local = format!("{COLLECTOR}:{VXLAN_PORT}");
        let local = local.parse().map_err(|error| Error::new(Code::Failed, format!("{local}: {error}")))?;
        if self.collector.add_vxlan(RECEIVER, VNI, local)? {
            return Ok(());
        }
        Err(Error::new(Code::Unsupported, "this kernel has no vxlan device").hint("it needs CONFIG_VXLAN"))
    }

    /// Packets that the kernel's own VXLAN receiver has decoded.
    pub fn received(&self) -> Result<u64> {
        Ok(self.collector.link(RECEIVER)?.rx_packets)
    }

    /// From now on copies end in front of the collector's stack, where they are counted.
    pub fn sink(&mut self) -> Result<()> {
        self.sink = Some(Sink::attach(&self.collector, TAP)?);
        Ok(())
    }

    /// From now on they end where the kernel's own VXLAN receiver has decoded them.
    pub fn sink_decoded(&mut self) -> Result<()> {
        self.sink = Some(Sink::attach(&self.collector, RECEIVER)?);
        Ok(())
    }

    /// What has arrived at the sink; nothing as long as there is none.
    pub fn arrived(&self) -> Result<Arrived> {
        self.sink.as_ref().map_or_else(|| Ok(Arrived::default()), Sink::arrived)
    }

    /// The same, once there are so many copies, or none has come for a while.
    pub fn arrived_at_least(&self, copies: u64) -> Result<Arrived> {
        let mut last = self.arrived()?;
        let mut deadline = Instant::now() + SETTLE_TIMEOUT;
        while last.copies() < copies && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            let arrived = self.arrived()?;
            if arrived != last {
                (last, deadline) = (arrived, Instant::now() + SETTLE_TIMEOUT);
            }
        }
        Ok(last)
    }

    /// Who sends what the tap sees in this direction, and to whom.
    pub fn ends(&self, direction: Direction) -> (&Host, &Host, &'static str) {
        match direction {
            Direction::Ingress => (&self.client, &self.host, HOST),
            Direction::Egress => (&self.host, &self.client, CLIENT),
        }
    }

    /// Takes the mirror out, if there is one; the hosts go with the lane.
    pub fn close(&self, tools: &Tools) -> Result<()> {
        tools.ebmirror(&self.host, &["unpin", "--force"], "").map(|_| ())
    }
}

fn cable(a: (&Host, &str, &str), b: (&Host, &str, &str), mtu: u32) -> Result<()> {
    let address = |text: &str| -> Result<[(IpAddr, u8); 1]> {
        Ok([(text.parse().map_err(|error| Error::new(Code::Failed, format!("{text}: {error}")))?, 24)])
    };
    let (at_a, at_b) = (address(a.2)?, address(b.2)?);
    connect(Port { host: a.0, ifname: a.1, addresses: &at_a }, Port { host: b.0, ifname: b.1, addresses: &at_b }, mtu)
}

/// A vxlan device on the host that sends to the collector, and its name: one a number.
pub fn add_vxlan_sender(host: &Host, number: u32) -> Result<String> {
    let (name, vni) = (format!("vxm{number}"), VNI + number);
    let add = format!(
        "ip link add {name} type vxlan id {vni} remote {COLLECTOR} dstport {VXLAN_PORT} dev {UNDERLAY} nolearning"
    );
    tool(host, &add, "")?;
    host.set_up(&name)?;
    Ok(name)
}

/// As tools write it.
fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
