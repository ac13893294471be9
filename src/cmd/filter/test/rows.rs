//! What `filter test` says: a line a frame, and totals.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::judge::Fate;
use crate::model::peer::PeerName;
use crate::model::rule::{Action, RuleId};
use crate::output::{JsonStyle, Report, document, json, table};

/// The line of a frame.
#[derive(Serialize)]
pub(super) struct Row {
    /// Its number in the capture, from 1.
    pub(super) frame: u64,
    /// The rule that it matches; null: none, or an expression was tried.
    rule: Option<RuleId>,
    /// null: it was left out.
    action: Option<Action>,
    to: Vec<PeerName>,
    /// The bytes of its shortest copy; null: all copies are whole.
    cut: Option<u32>,
    /// The bytes of each copy, where they differ.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    cuts: Vec<(PeerName, u32)>,
    /// The rule would mirror it, but takes only some flows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sampled_out: bool,
    /// Why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
}

fn as_map<S: Serializer>(cuts: &[(PeerName, u32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(cuts.iter().map(|(peer, bytes)| (peer, bytes)))
}

impl Row {
    pub(super) fn of(frame: u64, wire_bytes: u32, fate: &Fate) -> Self {
        let shortest = fate.copies.iter().map(|(_, bytes)| *bytes).min().unwrap_or(fate.kept);
        let differ = fate.copies.iter().any(|(_, bytes)| *bytes != shortest);
        Row {
            frame,
            rule: fate.rule,
            action: Some(fate.action),
            to: fate.copies.iter().map(|(peer, _)| peer.clone()).collect(),
            cut: (fate.action == Action::Mirror && shortest < wire_bytes).then_some(shortest),
            cuts: if differ { fate.copies.clone() } else { Vec::new() },
            sampled_out: fate.sampled_out,
            left_out: None,
        }
    }

    pub(super) fn left_out(frame: u64, why: String) -> Self {
        let (to, cuts) = (Vec::new(), Vec::new());
        Row { frame, rule: None, action: None, to, cut: None, cuts, sampled_out: false, left_out: Some(why) }
    }
}

impl Report for Row {
    /// Without a schema: that of the totals is the one of the whole output.
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        json(self, style)
    }

    fn text(&self) -> String {
        let mut words = vec![self.frame.to_string()];
        if let Some(why) = &self.left_out {
            words.push(format!("left out: {why}"));
            return words.join("  ");
        }
        words.extend(self.rule.map(|rule| format!("rule {rule}")));
        words.extend(self.action.map(|action| action.to_string()));
        if !self.to.is_empty() {
            words.push(format!("to {}", self.to.iter().map(PeerName::as_str).collect::<Vec<_>>().join(" ")));
        }
        let cut = self.cut.map(|bytes| format!("cut {bytes}"));
        let cuts: Vec<String> = self.cuts.iter().map(|(peer, bytes)| format!("{bytes} for {peer}")).collect();
        words.extend(cut.map(|cut| if cuts.is_empty() { cut } else { format!("cut {}", cuts.join(", ")) }));
        if self.sampled_out {
            words.push("sampled out".to_owned());
        }
        words.join("  ")
    }
}

/// All frames together.
#[derive(Default, Serialize)]
pub(super) struct Totals {
    /// In the capture.
    pub(super) frames: u64,
    /// Those that match a rule, or the expression.
    pub(super) matched: u64,
    mirror: u64,
    skip: u64,
    /// Those among the skipped that a rule's sampling leaves out.
    sampled_out: u64,
    /// Of the rules that matched, by rule.
    rules: Vec<RuleTotal>,
    /// Frames that were not tried, by the reason.
    pub(super) left_out: BTreeMap<String, u64>,
    /// Where in `rules` a rule is.
    #[serde(skip)]
    places: BTreeMap<RuleId, usize>,
}

#[derive(Serialize)]
struct RuleTotal {
    rule: RuleId,
    matched: u64,
    mirror: u64,
    skip: u64,
}

impl Totals {
    pub(super) fn add(&mut self, fate: &Fate) {
        let (mirror, skip) = if fate.action == Action::Mirror { (1, 0) } else { (0, 1) };
        self.frames += 1;
        self.matched += u64::from(fate.matched);
        self.mirror += mirror;
        self.skip += skip;
        self.sampled_out += u64::from(fate.sampled_out);
        if let Some(rule) = fate.rule {
            let place = *self.places.entry(rule).or_insert(self.rules.len());
            if place == self.rules.len() {
                self.rules.push(RuleTotal { rule, matched: 0, mirror: 0, skip: 0 });
            }
            let total = &mut self.rules[place];
            total.matched += 1;
            total.mirror += mirror;
            total.skip += skip;
        }
    }

    pub(super) fn leave_out(&mut self, why: &str) {
        self.frames += 1;
        *self.left_out.entry(why.to_owned()).or_default() += 1;
    }

    /// By number, for a stable order.
    pub(super) fn finish(mut self) -> Self {
        self.rules.sort_by_key(|total| total.rule);
        self
    }
}

impl Report for Totals {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("filter-test", self, style)
    }

    fn text(&self) -> String {
        let Totals { frames, matched, mirror, skip, sampled_out, .. } = self;
        let left_out: u64 = self.left_out.values().sum();
        let mut text = format!("{frames} frames: {matched} match, {mirror} mirror, {skip} skip");
        for (count, what) in [(*sampled_out, "of these sampled out"), (left_out, "left out")] {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text.push('\n');
        if !self.rules.is_empty() {
            let row = |total: &RuleTotal| {
                [total.rule.get().into(), total.matched, total.mirror, total.skip]
                    .map(|number| number.to_string())
                    .to_vec()
            };
            text += &table(&[">rule", ">matched", ">mirror", ">skip"], self.rules.iter().map(row));
        }
        text
    }
}
