//! How large an expression may be: what is printed of it must be one that can be read.

use super::error::ParseError;
use super::{Expression, MAX_DEPTH, MAX_LENGTH, MAX_VLANS, Test};

/// What to do about too many `vlan`.
pub(super) const VLANS: &str =
    "each vlan, wherever it stands, moves all that is behind it by four bytes; alternatives go into rules of their own";

impl Expression {
    /// The expression, if what is printed of it can be read: `FromStr` has asked that of what it returns; what is put together of
    /// several expressions may be too large.
    pub fn checked(self) -> Result<Expression, ParseError> {
        if vlans(&self) > MAX_VLANS {
            return Err(ParseError::whole(
                format!("\"vlan\" stands in the expression more than {MAX_VLANS} times"),
                VLANS,
            ));
        }
        if depth(&self) > MAX_DEPTH {
            let problem =
                format!("with all its parentheses written, the expression is nested more than {MAX_DEPTH} deep");
            return Err(ParseError::whole(problem, "group its alternatives, or split it into several rules"));
        }
        match self.to_string().len() {
            length if length > MAX_LENGTH => {
                let problem =
                    format!("with all its words written, the expression has {length} bytes, more than {MAX_LENGTH}");
                Err(ParseError::whole(problem, "split it into several rules"))
            }
            _ => Ok(self),
        }
    }
}

fn vlans(expression: &Expression) -> usize {
    match expression {
        Expression::Test(test) => usize::from(matches!(test, Test::Vlan(_))),
        Expression::Not(of) => vlans(of),
        Expression::And(a, b) | Expression::Or(a, b) => vlans(a) + vlans(b),
    }
}

/// How deep it is nested as it is printed.
fn depth(expression: &Expression) -> usize {
    let inner = |inner: &Expression, parentheses: bool| depth(inner) + usize::from(parentheses);
    match expression {
        Expression::Test(_) => 0,
        Expression::Not(of) => 1 + inner(of, of.joins()),
        Expression::And(a, b) | Expression::Or(a, b) => inner(a, expression.parts_from(a)).max(inner(b, b.joins())),
    }
}
