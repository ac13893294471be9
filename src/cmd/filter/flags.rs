//! Typed flags: shorthand for an expression.

use crate::model::expression::Expression;
use crate::model::interface::InterfaceName;
use crate::model::{Error, Result};

/// STANDIN
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(super) struct Flags {
    /// Frames of this interface
    #[arg(long, value_name = "IFACE")]
    pub(super) iface: Option<InterfaceName>,
}

impl Flags {
    /// Takes one of these flags, given once with a value that is right; else None.
    pub(super) fn quickly(&mut self, option: &str, value: &str) -> Option<()> {
        match option {
            "--iface" if self.iface.is_none() => self.iface = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }

    /// These and the expression, joined by `and`. None when there is neither.
    pub(super) fn and(&self, text: &str) -> Result<Option<Expression>> {
        let written = if text.is_empty() { None } else { Some(text.parse().map_err(Error::from)?) };
        let flags =
            self.iface.as_ref().map(|name| Expression::Test(crate::model::expression::Test::Interface(name.clone())));
        Ok(match (flags, written) {
            (Some(a), Some(b)) => Some(Expression::And(Box::new(a), Box::new(b))),
            (a, b) => a.or(b),
        })
    }
}
