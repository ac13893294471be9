//! Rules -> tables: each rule's expression is read and lowered, and all of them become one set of trees.

use std::num::NonZero;
use std::thread;

use super::entry::Entry;
use super::field::{Field, ViewField};
use super::lower::{self, ENTRIES_MAX, LowerError};
use super::sieve::Sieve;
use super::table::Tables;
use super::tree::{self, BuildError};
use crate::model::expression::{Expression, Test};
use crate::model::interface::InterfaceName;
use crate::model::rule::{Rule, RuleId};
use crate::model::{Code, Error};

/// What the tables look at. The rest of a frame's key need not be filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// MAC addresses.
    pub mac: bool,
    /// The frame's length.
    pub length: bool,
    /// IP and ARP addresses.
    pub addresses: bool,
    /// Ports, ICMP's type and code, and the bytes behind the IPv4 header.
    pub ports: bool,
    /// TCP's flags.
    pub tcp_flags: bool,
    /// Interface and direction.
    pub interface: bool,
}

/// A compiled rule set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The trees; a rank is the place of a rule among those that were compiled.
    pub tables: Tables,
    /// What they look at.
    pub uses: Uses,
    /// The sieve in front of them, where it is of use.
    pub sieve: Option<Sieve>,
    /// The rank of the first rule that no frame can match.
    pub idle: Option<usize>,
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The rule whose fault it is; None: all together.
    pub rule: Option<RuleId>,
    /// What is wrong.
    pub error: Error,
}

impl From<CompileError> for Error {
    fn from(found: CompileError) -> Error {
        match found.rule {
            Some(id) => Error { message: format!("rule {id}: {}", found.error.message), ..found.error },
            None => found.error,
        }
    }
}

/// Tells the number of a device.
pub type Numbers<'a> = &'a (dyn Fn(&InterfaceName) -> Option<u32> + Sync);

/// Rules for which one more thread is worth it.
const A_THREAD: usize = 500;
/// Threads, at most.
const THREADS: usize = 8;

/// Compiles rules that stand in the order in which they are asked.
pub fn compile(rules: &[Rule], interface: Numbers<'_>) -> Result<Compiled, CompileError> {
    let entries = lowered(rules, interface)?;
    if entries.is_empty() {
        return Ok(Compiled::default());
    }
    let mut tables = tree::build(&entries).map_err(|error| CompileError { rule: None, error: too_large(&error) })?;
    // A frame's length may be compared with what only a further view makes of it.
    tables.views = entries.iter().map(|entries| lower::views(entries)).fold(tables.views, u8::max);
    Ok(Compiled {
        uses: uses(&tables),
        tables,
        sieve: Sieve::of(&entries),
        idle: entries.iter().position(Vec::is_empty),
    })
}

/// The entries of each rule: most of the work, and each rule for itself.
fn lowered(rules: &[Rule], interface: Numbers<'_>) -> Result<Vec<Vec<Entry>>, CompileError> {
    let lower = |rules: &[Rule]| -> Result<Vec<Vec<Entry>>, CompileError> {
        let one =
            |rule: &Rule| entries_of(rule, interface).map_err(|error| CompileError { rule: Some(rule.id), error });
        rules.iter().map(one).collect()
    };
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cpus.min(THREADS).min(rules.len() / A_THREAD);
    if threads < 2 {
        return lower(rules);
    }
    thread::scope(|scope| {
        let parts = rules.chunks(rules.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || lower(part))).collect();
        let mut all = Vec::with_capacity(rules.len());
        for thread in running {
            all.append(&mut thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The entries of a rule. Without an expression every frame matches.
fn entries_of(rule: &Rule, interface: Numbers<'_>) -> Result<Vec<Entry>, Error> {
    if rule.expression.is_empty() {
        return Ok(vec![Entry::default()]);
    }
    entries(&rule.expression.parse().map_err(Error::from)?, interface)
}

/// The entries of an expression.
pub fn entries(
    expression: &Expression,
    interface: &dyn Fn(&InterfaceName) -> Option<u32>,
) -> Result<Vec<Entry>, Error> {
    lower::lower(expression, interface, ENTRIES_MAX).map_err(|error| not_lowered(expression, &error))
}

/// What to do about an expression that becomes too many table entries.
const TOO_MANY: &str = "several rules in place of one, each with a part of what or joins; and in place of and not, rules that \
skip (--action skip, a lower --priority) in front of one that mirrors";

fn not_lowered(expression: &Expression, error: &LowerError) -> Error {
    let named = |code: Code| Error::new(code, format!("{expression}: {error}"));
    match error {
        LowerError::UnknownInterface(name) => no_interface(name),
        LowerError::TooMany(_) => named(Code::Conflict).hint(TOO_MANY),
        LowerError::TooManyVlans | LowerError::EtherType(_) => {
            named(Code::Usage).hint("man ebmirror-filter-add lists what is covered")
        }
    }
}

/// The error for a device that is not there.
pub fn no_interface(name: &InterfaceName) -> Error {
    Error::new(Code::NotFound, format!("there is no interface {name} in this network namespace"))
        .hint("ip link lists them; -n NS looks in another namespace")
}

fn too_large(error: &BuildError) -> Error {
    Error::new(Code::Conflict, error.to_string())
        .hint("fewer rules, or simpler ones: ebmirror filter explain EXPR counts the entries of each")
}

/// The interfaces that an expression names.
pub fn interfaces(expression: &Expression) -> Vec<&InterfaceName> {
    match expression {
        Expression::Test(Test::Interface(name)) => vec![name],
        Expression::Test(_) => Vec::new(),
        Expression::Not(inner) => interfaces(inner),
        Expression::And(left, right) | Expression::Or(left, right) => [interfaces(left), interfaces(right)].concat(),
    }
}

fn uses(tables: &Tables) -> Uses {
    use ViewField::*;
    let mut uses = Uses::default();
    for node in &tables.nodes {
        match node.field {
            Field::DIRECTION | Field::INTERFACE => uses.interface = true,
            Field::LENGTH => uses.length = true,
            Field::DST_MAC_HIGH | Field::DST_MAC_LOW | Field::SRC_MAC_HIGH | Field::SRC_MAC_LOW => uses.mac = true,
            field => match field.view_field() {
                Some(Src0 | Src1 | Src2 | Src3 | Dst0 | Dst1 | Dst2 | Dst3) => uses.addresses = true,
                Some(SrcPort | DstPort | Transport) => uses.ports = true,
                Some(TcpFlags) => uses.tcp_flags = true,
                None | Some(EtherType | Vlan | Protocol | Fragment) => {}
            },
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::super::table::{Node, Target};
    use super::*;

    #[test]
    fn what_no_node_looks_at_is_not_used() {
        let uses_of = |fields: &[Field]| {
            let node = |field: &Field| Node {
                field: *field,
                low: 0,
                high: 1,
                yes: Target::End(Some(0)),
                no: Target::End(None),
            };
            uses(&Tables { nodes: fields.iter().map(node).collect(), ..Tables::default() })
        };
        let view = |field| [Field::view(2, field)];
        let none = Uses::default();
        for (fields, expected) in [
            (&[][..], none),
            (&[Field::CAPTURED], none),
            (&view(ViewField::EtherType), none),
            (&view(ViewField::Vlan), none),
            (&view(ViewField::Protocol), none),
            (&view(ViewField::Fragment), none),
            (&view(ViewField::Src0), Uses { addresses: true, ..none }),
            (&view(ViewField::Dst3), Uses { addresses: true, ..none }),
            (&view(ViewField::SrcPort), Uses { ports: true, ..none }),
            (&view(ViewField::Transport), Uses { ports: true, ..none }),
            (&[Field::tcp_flag(1, 7)], Uses { tcp_flags: true, ..none }),
            (&[Field::DIRECTION], Uses { interface: true, ..none }),
            (&[Field::LENGTH, Field::SRC_MAC_LOW], Uses { length: true, mac: true, ..none }),
        ] {
            assert_eq!(uses_of(fields), expected, "{fields:?}");
        }
    }
}
