//! `ebmirror peer`: the collectors.

mod edit;
mod help;
mod options;
mod report;
mod show;
mod wanted;
mod warn;

use options::Options;

use super::Ctx;
use crate::model::Result;
use crate::model::peer::{PeerName, Tunnel};
use crate::output::Report;

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
    #[command(after_help = help::LIST)]
    List,
    /// Show a peer, what the kernel does with it now, and its counters; without a name, list them all
    Show(Show),
}

/// Arguments of `peer add`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::ADD, allow_negative_numbers = true)]
pub struct Add {
    /// Name of the new peer
    name: PeerName,
    /// What carries the copies
    #[arg(long, value_enum)]
    tunnel: Tunnel,
    #[command(flatten)]
    options: Options,
}

/// Arguments of `peer set`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::SET, allow_negative_numbers = true)]
pub struct Set {
    /// Name of the peer
    name: PeerName,
    #[command(flatten)]
    options: Options,
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

/// What can be told from the arguments alone, before anything else is looked at.
pub fn check(command: &Command) -> Result<()> {
    match command {
        Command::Add(Add { name, tunnel, options }) => {
            options::check_name(name)?;
            options.check_group()?;
            options.check(*tunnel)?;
            options.check_complete(*tunnel)
        }
        Command::Set(Set { options, .. }) => options.check_group(),
        _ => Ok(()),
    }
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
