//! `ebmirror peer`: the collectors.

mod edit;
mod show;

use serde::Serialize;

use super::Ctx;
use crate::model::Result;
use crate::model::peer::{Dscp, Peer, PeerName, Port, Ttl, Tunnel, UnicastAddr, Vni};
use crate::output::{JsonStyle, Report, document, table};

/// The subcommands of `peer`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Send copies to one more collector
    Add(Add),
    /// Change a peer; takes effect at once
    Set(Set),
    /// Delete peers
    #[command(visible_alias = "rm")]
    Del(Del),
    /// List the peers
    List,
    /// Show a peer, what the kernel does with it now, and its counters; without a name, list them all
    Show(Show),
}

const EXAMPLES: &str = "Example:
  ebmirror peer add ids --tunnel vxlan --remote 192.0.2.10 --vni 42

The collector receives with any VXLAN device, for instance:
  ip link add vx0 type vxlan id 42 dstport 4789 local 192.0.2.10; ip link set vx0 up

The outer headers add 50 bytes: a frame that does not fit the path with them is lost as too_big.";

/// Arguments of `peer add`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Add {
    /// Name of the new peer
    name: PeerName,
    /// Tunnel that carries the copies
    #[arg(long, value_enum)]
    tunnel: Tunnel,
    /// IPv4 address of the collector
    #[arg(long, value_name = "ADDR")]
    remote: UnicastAddr,
    /// VXLAN network identifier, 0 to 16777215
    #[arg(long, value_name = "N")]
    vni: Vni,
    #[command(flatten)]
    options: Options,
}

/// Arguments of `peer set`.
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Name of the peer
    name: PeerName,
    /// IPv4 address of the collector
    #[arg(long, value_name = "ADDR")]
    remote: Option<UnicastAddr>,
    /// VXLAN network identifier, 0 to 16777215
    #[arg(long, value_name = "N")]
    vni: Option<Vni>,
    #[command(flatten)]
    options: Options,
}

/// What both have.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Source address of the outer header, or auto [default: auto, the route chooses]
    #[arg(long, value_name = "ADDR")]
    local: Option<Local>,
    /// UDP destination port [default: 4789]
    #[arg(long, value_name = "N")]
    port: Option<Port>,
    /// TTL of the outer header, 1 to 255 [default: 64]
    #[arg(long, value_name = "N")]
    ttl: Option<Ttl>,
    /// DSCP of the outer header, 0 to 63 [default: 0]
    #[arg(long, value_name = "N")]
    dscp: Option<Dscp>,
}

/// Where the source address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    Auto,
    Address(UnicastAddr),
}

impl std::str::FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Local::Auto) } else { text.parse().map(Local::Address) }
    }
}

/// Arguments of `peer del`.
#[derive(Debug, clap::Args)]
pub struct Del {
    /// Names of the peers
    #[arg(required = true)]
    names: Vec<PeerName>,
}

/// Arguments of `peer show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Name of the peer
    name: Option<PeerName>,
}

/// Runs a subcommand of `peer`.
pub fn run(command: &Command, ctx: &Ctx) -> Result<Box<dyn Report>> {
    match command {
        Command::Add(args) => edit::add(args, ctx),
        Command::Set(args) => edit::set(args, ctx),
        Command::Del(args) => edit::del(args, ctx),
        Command::List => show::list(ctx),
        Command::Show(Show { name: Some(name) }) => show::show(name, ctx),
        Command::Show(Show { name: None }) => show::list(ctx),
    }
}

/// A list of peers, or what became of them.
#[derive(Serialize)]
struct Peers {
    #[serde(skip)]
    schema: &'static str,
    peers: Vec<Peer>,
    #[serde(flatten)]
    change: Option<Change>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    changed: bool,
    dry_run: bool,
    #[serde(skip)]
    verb: &'static str,
}

impl Report for Peers {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document(self.schema, self, style)
    }

    fn text(&self) -> String {
        let head = match &self.change {
            None if self.peers.is_empty() => return "no peers: ebmirror peer add NAME …\n".to_owned(),
            None => String::new(),
            Some(Change { changed: false, .. }) => "no change\n".to_owned(),
            Some(Change { dry_run: true, verb, .. }) => format!("would be {verb}:\n"),
            Some(Change { verb, .. }) => format!("{verb}:\n"),
        };
        let rows = self.peers.iter().map(|peer| {
            vec![
                peer.name.to_string(),
                peer.tunnel.to_string(),
                peer.remote.to_string(),
                format!("{}{}", peer.local, if peer.local_auto { " (auto)" } else { "" }),
                peer.vni.to_string(),
                peer.port.to_string(),
                peer.ttl.to_string(),
                peer.dscp.to_string(),
            ]
        });
        head + &table(&["peer", "tunnel", "remote", "local", ">vni", ">port", ">ttl", ">dscp"], rows)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
