//! `filter explain`: the table entries that an expression becomes.

mod address;
mod words;

use serde::{Serialize, Serializer};

use self::words::words;
use crate::classifier::compile::{entries, interfaces};
use crate::model::expression::Expression;
use crate::model::interface::InterfaceName;
use crate::model::{Error, Result};
use crate::output::{JsonStyle, Report, document};

/// Arguments of `filter explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Expression in tcpdump's language; several words are joined by spaces
    #[arg(value_name = "EXPR", required = true)]
    expression: Vec<String>,
}

const HELP: &str = "A frame matches the expression when it matches one of the entries, and an entry when it matches each of its \
conditions. Conditions of FIELD@1 are of what stands behind one `vlan` of the expression. `captured` and `transport` say how many \
bytes must be there to be read: of the frame, and behind its IPv4 header; a shorter frame matches nothing.";

/// What an expression becomes.
#[derive(Serialize)]
struct Explained {
    /// With every shorthand spelt out.
    expression: String,
    count: usize,
    /// The conditions of each by field.
    entries: Vec<Conditions>,
}

/// The conditions of an entry, in their order.
struct Conditions(Vec<(String, String)>);

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, range)| (field, range)))
    }
}

/// Needs no kernel and no privilege. Interfaces need not exist.
pub fn run(args: &Args) -> Result<Box<dyn Report>> {
    let expression: Expression = args.expression.join(" ").parse().map_err(Error::from)?;
    let names = interfaces(&expression);
    let number = |name: &InterfaceName| names.iter().position(|other| *other == name).map(|place| place as u32);
    let entries = entries(&expression, &number)?;
    let entries: Vec<_> = entries.iter().map(|entry| Conditions(words(entry, &names))).collect();
    Ok(Box::new(Explained { expression: expression.to_string(), count: entries.len(), entries }))
}

impl Report for Explained {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("filter-explain", self, style)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.expression);
        for (number, entry) in (1..).zip(&self.entries) {
            let conditions: Vec<String> = entry.0.iter().map(|(field, range)| format!("{field} {range}")).collect();
            let conditions = if conditions.is_empty() { "every frame".to_owned() } else { conditions.join(", ") };
            text += &format!("{number:>4}  {conditions}\n");
        }
        text + &match self.count {
            0 => "no entry: no frame can match it\n".to_owned(),
            1 => "1 entry\n".to_owned(),
            count => format!("{count} entries\n"),
        }
    }
}
