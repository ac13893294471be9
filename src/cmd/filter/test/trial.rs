//! One expression, tried without being loaded.

use crate::classifier::compile::{Compiled, compile as compile_rules};
use crate::model::Result;
use crate::model::interface::InterfaceName;
use crate::model::rule::{Rule, RuleId};

/// Numbers of interfaces in a trial: of the one on which the frames are seen, and of every other one.
pub(in crate::cmd) const SEEN_ON: u32 = 1;
const ELSEWHERE: u32 = 2;

/// An expression as the tables want it. Interfaces need not exist: frames are seen on this one, or on none.
pub(in crate::cmd) fn compile(expression: &str, iface: Option<&InterfaceName>) -> Result<Compiled> {
    let rule = Rule { expression: expression.to_owned(), ..Rule::new(RuleId::FIRST) };
    let number = |name: &InterfaceName| Some(if iface == Some(name) { SEEN_ON } else { ELSEWHERE });
    // The rule is not the user's.
    compile_rules(&[rule], &number).map_err(|found| found.error)
}
