//! Rules as a table and as a document.

use serde::Serialize;

use crate::model::rule::{Action, Fallback, Rule, RuleId};
use crate::output::{JsonStyle, Report, document, table};

/// The rules, in the order in which they are asked.
#[derive(Serialize)]
pub(super) struct List {
    pub(super) default: Fallback,
    /// What the default is now, `auto` resolved.
    pub(super) unmatched: Action,
    pub(super) rules: Vec<Rule>,
}

/// What became of rules.
#[derive(Serialize)]
pub(super) struct Changed {
    #[serde(skip)]
    pub(super) schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<RuleId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ids: Option<Vec<RuleId>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<Fallback>,
    pub(super) changed: bool,
    pub(super) dry_run: bool,
}

fn row(rule: &Rule) -> Vec<String> {
    let or = |text: String, none: &str| if text.is_empty() { none.to_owned() } else { text };
    let names: Vec<&str> = rule.to.iter().map(|name| name.as_str()).collect();
    let copies = rule.action == Action::Mirror;
    vec![
        rule.id.to_string(),
        rule.priority.to_string(),
        rule.action.to_string(),
        or(names.join(", "), if copies { "all" } else { "-" }),
        rule.snaplen.map_or_else(|| "-".to_owned(), |snaplen| snaplen.to_string()),
        rule.sample.map_or_else(|| "-".to_owned(), |sample| sample.to_string()),
        or(rule.expression.clone(), "(every frame)"),
    ]
}

fn rows(rules: &[Rule]) -> String {
    table(&[">id", ">priority", "action", "to", ">snaplen", "sample", "expression"], rules.iter().map(row))
}

impl Report for List {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("filter-list", self, style)
    }

    fn text(&self) -> String {
        let default = match self.default {
            Fallback::Auto => format!("auto, now {}", self.unmatched),
            fixed => fixed.to_string(),
        };
        let rules = if self.rules.is_empty() { "no rules\n".to_owned() } else { rows(&self.rules) };
        format!("{rules}default: {default}\n")
    }
}

impl Report for Changed {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document(self.schema, self, style)
    }

    fn text(&self) -> String {
        if !self.changed {
            return "no change\n".to_owned();
        }
        let would = if self.dry_run { "would be " } else { "" };
        let ids = self.ids.as_deref().unwrap_or_default();
        let many = |verb: &str| match ids {
            [id] => format!("{would}{verb}: rule {id}\n"),
            _ => format!("{would}{verb}: {} rules\n", ids.len()),
        };
        match (self.schema, self.id, ids) {
            // Alone, for scripts.
            ("filter-add", Some(id), _) if !self.dry_run => format!("{id}\n"),
            ("filter-add", None, [first, .., last]) => {
                format!("{would}added: {} rules, {first} to {last}\n", ids.len())
            }
            ("filter-add", ..) => many("added"),
            ("filter-set", ..) => format!("{would}set:\n{}", rows(&self.rules)),
            ("filter-default", ..) => {
                self.default.map(|default| format!("default {would}{default}\n")).unwrap_or_default()
            }
            _ => many("deleted"),
        }
    }
}
