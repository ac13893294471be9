//! The options that `filter add` and `filter set` share, and what they say together.

use super::flags::Flags;
use crate::model::expression::Expression;
use crate::model::peer::PeerName;
use crate::model::rule::{Action, Priority, Rule, Sample, SnapLen};
use crate::model::{Error, Result};

/// What both have.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub(super) struct RuleArgs {
    /// Lower ones are asked first; of equal ones, the one with the lower ID [default: 100]
    #[arg(long, value_name = "N")]
    pub(super) priority: Option<Priority>,
    /// What becomes of frames that match [default: mirror]
    #[arg(long, value_enum)]
    pub(super) action: Option<Action>,
    /// Copy to this peer, or to this group; may be given several times; all: to every group [default: all]
    #[arg(long, value_name = "PEER|GROUP")]
    pub(super) to: Vec<To>,
    /// Copy the first bytes of each frame, 64 to 65535, or all [default: all]
    #[arg(long, value_name = "BYTES")]
    pub(super) snaplen: Option<Cut>,
    /// Copy one flow of N, both directions of it, the same one on every host: 1/N [default: 1/1]
    #[arg(long, value_name = "1/N")]
    pub(super) sample: Option<Sample>,
    /// Expression in tcpdump's language; several words are joined by spaces
    #[arg(value_name = "EXPR")]
    pub(super) expression: Vec<String>,
    // Last: what comes behind it would stand below its heading.
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Where copies go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cmd) enum To {
    All,
    Name(PeerName),
}

impl To {
    /// The word for every group, which is no name.
    pub(in crate::cmd) const ALL: &str = "all";
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == To::ALL { Ok(To::All) } else { text.parse().map(To::Name) }
    }
}

/// How much is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut(pub(super) Option<SnapLen>);

impl std::str::FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Cut(None)),
            _ => text.parse().map(|snaplen| Cut(Some(snaplen))).map_err(|error| format!("{error}, or all")),
        }
    }
}

/// Parts of a rule; None: not given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) priority: Option<Priority>,
    pub(super) action: Option<Action>,
    pub(super) to: Option<Vec<PeerName>>,
    pub(super) snaplen: Option<Cut>,
    pub(super) sample: Option<Sample>,
    pub(super) expression: Option<Expression>,
}

impl RuleArgs {
    /// What was given. An error when that is nothing.
    pub(super) fn some_parts(&self) -> Result<Parts> {
        let parts = self.parts()?;
        if parts == Parts::default() {
            return Err(Error::usage("nothing says what to mirror")
                .hint("ebmirror filter add 'tcp port 443'; every frame: ebmirror filter add --action mirror"));
        }
        Ok(parts)
    }

    /// What was given.
    pub(super) fn parts(&self) -> Result<Parts> {
        let mut names = Vec::new();
        for to in &self.to {
            match to {
                To::Name(name) if !names.contains(name) => names.push(name.clone()),
                To::All if self.to.len() > 1 => {
                    return Err(Error::usage("--to all leaves nothing for another --to")
                        .hint("--to all alone, or the names of the peers and groups"));
                }
                _ => {}
            }
        }
        Ok(Parts {
            priority: self.priority,
            action: self.action,
            to: (!self.to.is_empty()).then_some(names),
            snaplen: self.snaplen,
            sample: self.sample,
            expression: self.flags.and(&self.expression.join(" "))?,
        })
    }
}

impl Parts {
    /// The rule with these parts in the place of its own.
    pub(super) fn apply(&self, old: &Rule) -> Result<Rule> {
        let new = Rule {
            id: old.id,
            priority: self.priority.unwrap_or(old.priority),
            action: self.action.unwrap_or(old.action),
            expression: self.expression.as_ref().map_or_else(|| old.expression.clone(), Expression::to_string),
            to: self.to.clone().unwrap_or_else(|| old.to.clone()),
            snaplen: self.snaplen.map_or(old.snaplen, |cut| cut.0),
            sample: self.sample.or(old.sample).filter(|sample| *sample != Sample::ALL),
        };
        let names: Vec<&str> = old.to.iter().map(PeerName::as_str).collect();
        let sample = old.sample.map(|sample| sample.to_string());
        let snaplen = old.snaplen.map(|snaplen| snaplen.to_string());
        // What is in the way, what the rule had of it if that stays, and what takes it away.
        let given = [
            (!new.to.is_empty(), "--to", self.to.is_none().then(|| names.join(" --to ")), "--to all"),
            (new.snaplen.is_some(), "--snaplen", snaplen.filter(|_| self.snaplen.is_none()), "--snaplen all"),
            (new.sample.is_some(), "--sample", sample.filter(|_| self.sample.is_none()), "--sample 1/1"),
        ];
        match given.into_iter().find(|(given, ..)| *given && new.action == Action::Skip) {
            None => Ok(new),
            Some((_, option, Some(had), without)) => {
                Err(Error::usage(format!("rule {} has {option} {had}, which is not for rules that skip", old.id))
                    .hint(format!("add {without}: what is skipped is not copied at all")))
            }
            Some((_, option, None, without)) => Err(Error::usage(format!("{option} is not for rules that skip"))
                .hint(format!("--action mirror, or {without}: what is skipped is not copied at all"))),
        }
    }
}
