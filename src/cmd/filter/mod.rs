//! `ebmirror filter`: the rules.

mod add;
mod change;
mod del;
mod explain;
mod file;
mod flags;
mod help;
mod line;
mod list;
mod options;
mod report;
mod set;
#[cfg(test)]
mod soup;
pub(in crate::cmd) mod test;

pub(super) use options::To;

use super::Ctx;
use crate::cli::Global;
use crate::model::Result;
use crate::output::Report;

/// The subcommands of `filter`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a rule, or all rules of a file; prints the ID
    Add(add::Args),
    /// Change a rule; takes effect at once
    Set(set::Args),
    /// Delete rules
    #[command(visible_alias = "rm")]
    Del(del::Args),
    /// List the rules in the order in which they are asked
    #[command(visible_alias = "show", after_help = help::LIST)]
    List,
    /// Delete all rules; the default stays
    Flush,
    /// Say what becomes of frames that no rule matches
    #[command(after_help = help::DEFAULT)]
    Default(del::DefaultArgs),
    /// Try the loaded rules, or one expression, on a capture, in the kernel: which rule each frame hits
    Test(test::Args),
    /// Show the table entries that an expression becomes
    Explain(explain::Args),
}

/// Runs a subcommand of `filter`. What can be told from the arguments alone comes first.
pub fn run(command: &Command, global: &Global, ctx: impl FnOnce() -> Result<Ctx>) -> Result<Box<dyn Report>> {
    match command {
        Command::Add(args) => add::run(&args.wanted()?, &ctx()?),
        Command::Set(args) => set::run(args.id, &args.rule.parts()?, &ctx()?),
        Command::Del(args) => del::run(args, &ctx()?),
        Command::List => list::run(&ctx()?),
        Command::Flush => del::flush(&ctx()?),
        Command::Default(args) => del::default(args, &ctx()?),
        Command::Test(args) => test::run(args, global, ctx),
        Command::Explain(args) => explain::run(args),
    }
}
