//! `filter add`: one rule, or all rules of a file.

use std::path::PathBuf;

use super::change::{edit, of_rule};
use super::options::{Parts, RuleArgs};
use super::report::Changed;
use super::{file, help};
use crate::cmd::Ctx;
use crate::model::rule::{Rule, RuleId, RuleSet};
use crate::model::{Code, Error, Result};
use crate::output::Report;

/// Arguments of `filter add`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::ADD, allow_negative_numbers = true)]
pub struct Args {
    /// Add the rules of this file, all of them or none: each line has the arguments of one filter add; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["priority", "action", "to", "snaplen", "sample", "expression", "Flags"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
}

/// Rules to be added.
pub(super) enum Wanted {
    One(Parts),
    /// The name of the file, and its rules with their lines.
    File(String, Vec<(usize, Parts)>),
}

impl Args {
    /// What the arguments say.
    pub(super) fn wanted(&self) -> Result<Wanted> {
        match &self.file {
            None => self.rule.some_parts().map(Wanted::One),
            Some(path) => {
                let (name, text) = file::read(path)?;
                let rules = file::rules(&name, &text)?;
                Ok(Wanted::File(name, rules))
            }
        }
    }
}

/// A new rule.
fn new(set: &mut RuleSet, parts: &Parts) -> Result<Rule> {
    let id = set.take_id().ok_or_else(|| {
        Error::new(Code::Conflict, "there are no more rule IDs")
            .hint("ebmirror unpin, and set it up again: a new instance counts from 1")
    })?;
    parts.apply(&Rule::new(id))
}

/// Adds them all, or none. The first one makes the instance.
pub(super) fn run(wanted: &Wanted, ctx: &Ctx) -> Result<Box<dyn Report>> {
    let one;
    let (name, rules) = match wanted {
        Wanted::One(parts) => {
            one = [(0, parts.clone())];
            (None, &one[..])
        }
        Wanted::File(name, rules) => (Some(name.as_str()), &rules[..]),
    };
    let at = |line: usize, error: Error| name.map_or(error.clone(), |name| file::at(name, line, error));
    // Nothing to add makes no instance.
    let create = !rules.is_empty();
    let first = std::cell::Cell::new(None);
    let edited = edit(
        ctx,
        create,
        |set, host| {
            first.set(Some(set.next_id));
            let mut added = Vec::with_capacity(rules.len());
            for (line, parts) in rules {
                let rule = host.check(parts).and_then(|()| new(set, parts)).map_err(|error| at(*line, error))?;
                added.push(rule);
            }
            let ids: Vec<RuleId> = added.iter().map(|rule| rule.id).collect();
            set.rules.append(&mut added);
            Ok(ids)
        },
        |id, error| {
            let index = first.get().and_then(|first| (id.get() as usize).checked_sub(first.get() as usize));
            match index.and_then(|index| rules.get(index)) {
                Some((line, _)) => at(*line, error),
                None => of_rule(id, error),
            }
        },
    )?;
    let ids = edited.value;
    let rules = match (name, ids.first()) {
        (None, Some(id)) => edited.rules.rules.into_iter().filter(|rule| rule.id == *id).collect(),
        _ => Vec::new(),
    };
    Ok(Box::new(Changed {
        schema: "filter-add",
        id: ids.first().copied().filter(|_| name.is_none()),
        ids: Some(ids),
        rules,
        default: None,
        changed: edited.changed,
        dry_run: ctx.dry_run,
    }))
}
