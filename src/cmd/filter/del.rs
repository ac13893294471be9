//! `filter del`, `filter flush`, `filter default`.

use std::collections::HashSet;

use super::change::{edit, of_rule};
use super::report::Changed;
use super::set::no_rule;
use crate::cmd::Ctx;
use crate::model::Result;
use crate::model::rule::{Fallback, Rule, RuleId};
use crate::output::Report;

/// Arguments of `filter del`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// IDs of the rules
    #[arg(required = true, value_name = "ID")]
    ids: Vec<RuleId>,
}

/// Arguments of `filter default`.
#[derive(Debug, clap::Args)]
pub struct DefaultArgs {
    /// What becomes of them
    #[arg(value_enum, value_name = "WHAT")]
    default: Fallback,
}

/// Deletes rules, all of them or none.
pub(super) fn run(args: &Args, ctx: &Ctx) -> Result<Box<dyn Report>> {
    delete(ctx, "filter-del", |rules| {
        let known: HashSet<RuleId> = rules.iter().map(|rule| rule.id).collect();
        if let Some(id) = args.ids.iter().find(|id| !known.contains(*id)) {
            return Err(no_rule(*id));
        }
        Ok(args.ids.iter().copied().collect())
    })
}

/// Deletes all rules.
pub(super) fn flush(ctx: &Ctx) -> Result<Box<dyn Report>> {
    delete(ctx, "filter-flush", |rules| Ok(rules.iter().map(|rule| rule.id).collect()))
}

fn delete(
    ctx: &Ctx,
    schema: &'static str,
    choose: impl FnOnce(&[Rule]) -> Result<HashSet<RuleId>>,
) -> Result<Box<dyn Report>> {
    let edited = edit(
        ctx,
        false,
        |set, _| {
            let gone = choose(&set.rules)?;
            set.rules.retain(|rule| !gone.contains(&rule.id));
            let mut ids: Vec<RuleId> = gone.into_iter().collect();
            ids.sort();
            Ok(ids)
        },
        of_rule,
    )?;
    Ok(Box::new(Changed {
        schema,
        id: None,
        ids: Some(edited.value),
        rules: Vec::new(),
        default: None,
        changed: edited.changed,
        dry_run: ctx.dry_run,
    }))
}

/// Sets the default. What is the default anyway makes no instance.
pub(super) fn default(args: &DefaultArgs, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let wanted = args.default;
    let edited = edit(
        ctx,
        wanted != Fallback::default(),
        |set, _| {
            set.default = wanted;
            Ok(())
        },
        of_rule,
    )?;
    Ok(Box::new(Changed {
        schema: "filter-default",
        id: None,
        ids: None,
        rules: Vec::new(),
        default: Some(wanted),
        changed: edited.changed,
        dry_run: ctx.dry_run,
    }))
}
