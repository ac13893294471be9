//! `filter set`: parts of a rule in the place of others.

use super::change::{edit, of_rule};
use super::help;
use super::options::{Parts, RuleArgs};
use super::report::Changed;
use crate::cmd::Ctx;
use crate::model::rule::RuleId;
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// Arguments of `filter set`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::SET, allow_negative_numbers = true)]
pub struct Args {
    /// ID of the rule
    pub(super) id: RuleId,
    #[command(flatten)]
    pub(super) rule: RuleArgs,
}

/// Changes a rule; what is not given stays, also its ID and its counter.
pub(super) fn run(id: RuleId, parts: &Parts, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let edited = edit(
        ctx,
        false,
        |set, host| {
            let place = set.find(id).ok_or_else(|| no_rule(id))?;
            if *parts == Parts::default() {
                return Err(Error::usage(format!("nothing to change of rule {id}"))
                    .hint(format!("ebmirror filter set {id} --priority 10; ebmirror filter set --help has more")));
            }
            host.check(parts)?;
            let new = parts.apply(&set.rules[place])?;
            set.rules[place] = new.clone();
            Ok(new)
        },
        |guilty, error| if guilty == id { error } else { of_rule(guilty, error) },
    )?;
    Ok(Box::new(Changed {
        schema: "filter-set",
        id: Some(id),
        ids: None,
        rules: vec![edited.value],
        default: None,
        changed: edited.changed,
        dry_run: ctx.dry_run,
    }))
}

/// The error for an ID that no rule has.
pub(super) fn no_rule(id: RuleId) -> Error {
    Error::new(Code::NotFound, format!("there is no rule {id}")).hint("ebmirror filter list shows them")
}
