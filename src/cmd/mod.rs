//! A file a subcommand: its arguments, what it does, what it reports.

pub mod attach;
mod commands;
pub mod completions;
pub mod corpus;
pub mod demo;
pub mod detach;
mod failure;
pub mod filter;
pub mod generate;
pub mod oracle;
pub mod peer;
pub mod pin;
pub mod run;
pub mod stats;
pub mod status;
pub mod unpin;
pub mod usage;

pub use failure::failed;

use crate::cli::{self, Cli, Command, Global};
use crate::kernel::netlink::Link;
use crate::kernel::netns::NetNs;
use crate::kernel::pins::Place;
use crate::kernel::{features, instance, load};
use crate::model::interface::InterfaceName;
use crate::model::{Code, Error, Result};
use crate::output::{JsonStyle, Printer, Report};

/// What every command needs: where the pins are, and how to print.
pub struct Ctx {
    /// The instance of the namespace.
    pub place: Place,
    /// Change nothing.
    pub dry_run: bool,
    /// For commands that print more than once.
    pub printer: Printer,
    /// The global options that say which instance, as they were typed.
    instance: String,
}

impl Ctx {
    /// A command in a message as it must be typed to act in the same namespace and below the same root.
    pub fn as_typed(&self, text: &str) -> String {
        as_typed(&self.instance, text)
    }
}

/// How the global options want it printed.
pub fn printer(global: &Global) -> Printer {
    let json = match (global.pretty, global.json) {
        (true, _) => Some(JsonStyle::Pretty),
        (false, true) => Some(JsonStyle::Compact),
        (false, false) => None,
    };
    Printer { json, color: global.color.on_stderr(), quiet: global.quiet }
}

/// Runs the command.
pub fn run(cli: &Cli) -> Result<Box<dyn Report>> {
    let result = dispatch(cli);
    let instance = instance_options(&cli.global);
    result.map_err(|error| Error { hint: error.hint.map(|hint| as_typed(&instance, &hint)), ..error })
}

fn as_typed(instance: &str, text: &str) -> String {
    text.replace("ebmirror ", &format!("ebmirror {instance}"))
}

fn instance_options(global: &Global) -> String {
    let mut options = String::new();
    if let Some(name) = &global.netns {
        options += &format!("-n {name} ");
    }
    if global.root.as_os_str() != cli::DEFAULT_ROOT {
        options += &format!("--root {} ", global.root.display());
    }
    options
}

fn dispatch(cli: &Cli) -> Result<Box<dyn Report>> {
    let ctx = || context(&cli.global);
    match &cli.command {
        Command::Attach(args) => attach::run(args, &ctx()?),
        Command::Detach(args) => detach::run(args, &ctx()?),
        Command::Pin(args) => pin::run(args, &ctx()?),
        Command::Unpin(args) => unpin::run(args, &ctx()?),
        Command::Peer(command) => {
            peer::check(command)?;
            peer::run(command, &ctx()?)
        }
        Command::Filter(command) => filter::run(command, &cli.global, ctx),
        Command::Run(args) => run::run(args, &ctx()?),
        Command::Stats(args) => {
            let plan = stats::watched(args)?;
            stats::run(args, plan, &ctx()?)
        }
        Command::Status(args) => status::run(args, &ctx()?),
        Command::Demo(_) if cli.global.dry_run => Err(no_dry_run("demo")),
        Command::Demo(args) => {
            check_capable()?;
            demo::run(args, &printer(&cli.global))
        }
        Command::Corpus(_) if cli.global.dry_run => Err(no_dry_run("corpus")),
        Command::Corpus(args) => {
            check_capable()?;
            corpus::run(args)
        }
        Command::Oracle(args) => {
            prepare(&cli.global)?;
            oracle::run(args)
        }
        Command::Completions(args) => completions::run(args),
        Command::Generate(args) => generate::run(args),
    }
}

fn no_dry_run(name: &str) -> Error {
    Error::usage(format!("{name} has no dry run"))
        .hint("it changes nothing outside of namespaces of its own, which vanish with it")
}

/// What a command that speaks to the kernel needs before anything else.
fn prepare(global: &Global) -> Result<()> {
    if global.verbose {
        load::verbose_log();
    } else {
        load::quiet_log();
    }
    check_capable()
}

fn context(global: &Global) -> Result<Ctx> {
    prepare(global)?;
    if let Some(name) = &global.netns {
        enter(name)?;
    }
    Ok(Ctx {
        place: Place::of_current_namespace(&global.root)?,
        dry_run: global.dry_run,
        printer: printer(global),
        instance: instance_options(global),
    })
}

fn check_capable() -> Result<()> {
    if features::may_use().map_err(|error| Error::io("read the capabilities of this process", &error))? {
        return Ok(());
    }
    Err(Error::new(Code::Permission, "this needs root (or CAP_BPF and CAP_NET_ADMIN)").hint("run it with sudo"))
}

fn enter(name: &str) -> Result<()> {
    use crate::kernel::netns::OpenError;
    let namespace = NetNs::open(name).map_err(|error| {
        let code = match &error {
            OpenError::BadSpec { .. } | OpenError::NotNetworkNamespace { .. } => Code::Usage,
            OpenError::NoSuchName { .. } | OpenError::NoSuchPath { .. } | OpenError::NoSuchProcess { .. } => {
                Code::NotFound
            }
            OpenError::Permission { .. } => Code::Permission,
            _ => Code::Failed,
        };
        Error::new(code, error.to_string())
            .hint("--netns takes a name that ip netns list shows, a path, or pid:N of a process in the namespace")
    })?;
    namespace.enter().map_err(|error| {
        let new = Error::io(format!("enter the network namespace {name}"), &error);
        match new.code {
            Code::Permission => new.hint("--netns needs CAP_SYS_ADMIN: run it with sudo"),
            _ => new,
        }
    })
}

/// The devices of these names, all of them or an error that names the first that is missing.
fn devices(names: &[InterfaceName]) -> Result<Vec<Link>> {
    let netlink = instance::open_netlink()?;
    let mut found: Vec<Link> = Vec::new();
    for name in names {
        let link = netlink.link_by_name(name.as_str()).map_err(|error| error.context(&format!("look for {name}")))?;
        let link = link.ok_or_else(|| no_interface(name))?;
        if !found.iter().any(|known| known.ifindex == link.ifindex) {
            found.push(link);
        }
    }
    Ok(found)
}

fn no_interface(name: &InterfaceName) -> Error {
    Error::new(Code::NotFound, format!("there is no interface {name} in this network namespace"))
        .hint("ip link lists them; -n NS looks in another namespace")
}
