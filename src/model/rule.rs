//! Rules: which frames are mirrored, where to, and how much of them.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::number::{Priority, RuleId, SnapLen};
use super::peer::PeerName;

/// What becomes of a frame that matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is copied
    #[default]
    Mirror,
    /// It is not
    Skip,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Mirror => "mirror",
            Action::Skip => "skip",
        })
    }
}

/// What becomes of a frame that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// It is copied while there is no rule that mirrors
    #[default]
    Auto,
    /// It is copied
    Mirror,
    /// It is not
    Skip,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fallback::Auto => "auto",
            Fallback::Mirror => "mirror",
            Fallback::Skip => "skip",
        })
    }
}

/// One flow of so many, chosen by a hash of its addresses and ports: `1/100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample(u32);

impl Sample {
    /// The largest number of flows of which one is chosen.
    pub const MAX: u32 = 1_000_000;
    /// Every flow.
    pub const ALL: Sample = Sample(1);

    /// Of how many flows one is chosen.
    pub fn of(self) -> u32 {
        self.0
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("\"{text}\" is no sampling rate: 1/N, with N from 1 to {}", Sample::MAX);
        let number = text.strip_prefix("1/").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number @ 1..=Sample::MAX) => Ok(Sample(number)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1/{}", self.0)
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A rule. Of those that a frame matches, the one with the lowest priority counts; of these, the one with the lowest ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// Its place among the others.
    pub priority: Priority,
    /// What becomes of a frame that matches.
    pub action: Action,
    /// What matches: an expression as `Display` writes it; empty: every frame.
    pub expression: String,
    /// The peers and groups that get a copy; empty: every group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<PeerName>,
    /// How much of a frame is copied; None: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<SnapLen>,
    /// Which flows are copied; None: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

impl Rule {
    /// With nothing said: every frame is copied to every group.
    pub fn new(id: RuleId) -> Self {
        Rule {
            id,
            priority: Priority::default(),
            action: Action::default(),
            expression: String::new(),
            to: Vec::new(),
            snaplen: None,
            sample: None,
        }
    }
}

/// The rules of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSet {
    /// What becomes of a frame that no rule matches.
    pub default: Fallback,
    /// The number of the next rule.
    pub next_id: RuleId,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<Rule>,
}

impl Default for RuleSet {
    fn default() -> Self {
        RuleSet { default: Fallback::default(), next_id: RuleId::FIRST, rules: Vec::new() }
    }
}

impl RuleSet {
    /// What becomes of a frame that no rule matches now.
    pub fn unmatched(&self) -> Action {
        match self.default {
            Fallback::Mirror => Action::Mirror,
            Fallback::Skip => Action::Skip,
            Fallback::Auto if self.rules.iter().any(|rule| rule.action == Action::Mirror) => Action::Skip,
            Fallback::Auto => Action::Mirror,
        }
    }

    /// The number of a new rule. None when there are no more.
    pub fn take_id(&mut self) -> Option<RuleId> {
        let id = self.next_id;
        self.next_id = RuleId::try_from(id.get().checked_add(1)?).ok()?;
        Some(id)
    }

    /// Puts the rules into the order in which they are asked.
    pub fn sort(&mut self) {
        self.rules.sort_by_key(|rule| (rule.priority, rule.id));
    }

    /// The place of a rule.
    pub fn find(&self, id: RuleId) -> Option<usize> {
        self.rules.iter().position(|rule| rule.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trip;
    use super::*;

    fn rule(id: u32, priority: u32, action: Action) -> Rule {
        Rule {
            priority: Priority::try_from(priority).unwrap(),
            action,
            expression: "tcp".to_owned(),
            ..Rule::new(RuleId::try_from(id).unwrap())
        }
    }

    #[test]
    fn a_sample_is_one_of_so_many() {
        round_trip::<Sample>(
            &["1/1", "1/2", "1/1000000"],
            &[
                ("1/0", "\"1/0\" is no sampling rate: 1/N"),
                ("1/1000001", "N from 1 to 1000000"),
                ("2/3", "1/N"),
                ("10", "1/N"),
                ("1/", "1/N"),
                ("1/+5", "1/N"),
                ("1/-5", "1/N"),
                ("", "1/N"),
            ],
        );
    }

    #[test]
    fn a_rule_reads_what_it_writes() {
        let plain = rule(1, 100, Action::Mirror);
        let json = serde_json::to_string(&plain).unwrap();
        assert_eq!(json, r#"{"id":1,"priority":100,"action":"mirror","expression":"tcp"}"#);
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), plain);
        let full = Rule {
            to: vec!["ids".parse().unwrap(), "g".parse().unwrap()],
            snaplen: Some("128".parse().unwrap()),
            sample: Some("1/10".parse().unwrap()),
            ..rule(7, 0, Action::Mirror)
        };
        let json = serde_json::to_string(&full).unwrap();
        assert!(json.ends_with(r#""to":["ids","g"],"snaplen":128,"sample":"1/10"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), full);
        for bad in [
            r#"{"id":0,"priority":100,"action":"mirror","expression":""}"#,
            r#"{"id":1,"priority":65536,"action":"mirror","expression":""}"#,
            r#"{"id":1,"priority":1,"action":"drop","expression":""}"#,
            r#"{"id":1,"priority":1,"action":"skip","expression":"","to":["-"]}"#,
            r#"{"id":1,"priority":1,"action":"skip","expression":"","snaplen":1}"#,
            r#"{"id":1,"priority":1,"action":"skip","expression":"","sample":"1/0"}"#,
        ] {
            assert!(serde_json::from_str::<Rule>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_are_asked_by_priority_then_by_number() {
        let mut set = RuleSet {
            rules: vec![
                rule(3, 5, Action::Skip),
                rule(1, 100, Action::Skip),
                rule(2, 5, Action::Skip),
                rule(4, 0, Action::Skip),
            ],
            ..RuleSet::default()
        };
        set.sort();
        assert_eq!(set.rules.iter().map(|rule| rule.id.get()).collect::<Vec<_>>(), [4, 2, 3, 1]);
        assert_eq!(set.find(RuleId::FIRST), Some(3));
        assert_eq!(set.find(RuleId::try_from(9).unwrap()), None);
    }

    #[test]
    fn by_default_a_rule_that_mirrors_excludes_the_rest() {
        let set = |default, rules: &[Action]| RuleSet {
            default,
            rules: rules.iter().map(|action| rule(1, 1, *action)).collect(),
            ..RuleSet::default()
        };
        use Action::{Mirror, Skip};
        for (default, rules, unmatched) in [
            (Fallback::Auto, &[][..], Mirror),
            (Fallback::Auto, &[Skip], Mirror),
            (Fallback::Auto, &[Skip, Mirror], Skip),
            (Fallback::Mirror, &[Mirror], Mirror),
            (Fallback::Mirror, &[], Mirror),
            (Fallback::Skip, &[], Skip),
            (Fallback::Skip, &[Skip], Skip),
        ] {
            assert_eq!(set(default, rules).unmatched(), unmatched, "{default} {rules:?}");
        }
    }

    #[test]
    fn numbers_are_taken_once() {
        let mut set = RuleSet::default();
        assert_eq!([set.take_id(), set.take_id()].map(|id| id.map(RuleId::get)), [Some(1), Some(2)]);
        set.next_id = RuleId::try_from(u32::MAX).unwrap();
        assert_eq!(set.take_id(), None);
    }
}
