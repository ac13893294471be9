//! `filter list`: the rules in the order in which they are asked.

use super::report::List;
use crate::cmd::Ctx;
use crate::kernel::instance::Instance;
use crate::kernel::pins::Access;
use crate::model::Result;
use crate::model::rule::RuleSet;
use crate::output::Report;

/// Lists the rules; where nothing is loaded there are none.
pub(super) fn run(ctx: &Ctx) -> Result<Box<dyn Report>> {
    let rules = match Instance::open(&ctx.place, Access::Read)? {
        Some(instance) => instance.rules()?.set,
        None => RuleSet::default(),
    };
    Ok(Box::new(List { default: rules.default, unmatched: rules.unmatched(), rules: rules.rules }))
}
