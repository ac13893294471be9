//! The rules of an instance: what the user wrote, kept in the kernel, and how it becomes what the datapath reads.

mod counters;
pub(super) mod tables;
pub(super) mod texts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

pub use counters::RuleCounters;
pub(super) use tables::ClassifierMaps;

use super::abi::rules::{RULES, RawRule, raw_rule};
use super::abi::{Config, PEERS};
use super::instance::Instance;
use super::netlink::Link;
use super::peers::Slots;
use crate::classifier::compile::{CompileError, Compiled, compile};
use crate::model::interface::InterfaceName;
use crate::model::peer::PeerName;
use crate::model::rule::{Rule, RuleSet};
use crate::model::{Code, Error, Result};

/// The rules, and what belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The rules in the order in which they are asked.
    pub set: RuleSet,
    /// The slot of each one's counter, which stays as long as the rule exists.
    counters: Vec<u32>,
    /// The numbers that interfaces had when the tables were made.
    interfaces: BTreeMap<String, u32>,
}

/// The number that no device has; 0 is that of frames that `filter test` has seen on none.
const NO_DEVICE: u32 = i32::MAX as u32;

/// Rules that are ready to take the place of others.
#[derive(Debug)]
pub struct Change {
    pub(super) rules: Rules,
    /// None: the tables in use are right.
    pub(super) compiled: Option<Compiled>,
    /// The slots of the counters of new rules.
    pub(super) begun: Vec<u32>,
    /// Whether anything differs from what is in use.
    pub(super) differs: bool,
}

impl Rules {
    /// Compiles these rules, in the place of the present ones. Devices that are gone keep the numbers they had.
    pub fn change(&self, mut set: RuleSet, devices: &[Link]) -> Result<Change, CompileError> {
        if set.rules.len() > RULES {
            return Err(CompileError { rule: None, error: full(set.rules.len()) });
        }
        set.sort();
        let counters = self.counters_of(&set.rules);
        let same_interfaces = self.interfaces.iter().all(|(name, number)| self.number(name, devices) == Some(*number));
        let expressions =
            |rules: &[Rule]| -> Vec<String> { rules.iter().map(|rule| rule.expression.clone()).collect() };
        if same_interfaces && expressions(&set.rules) == expressions(&self.set.rules) {
            let rules = Rules { set, counters, interfaces: self.interfaces.clone() };
            return Ok(self.changed_to(rules, None));
        }
        self.compiled(set, counters, devices)
    }

    fn compiled(&self, set: RuleSet, counters: Vec<u32>, devices: &[Link]) -> Result<Change, CompileError> {
        let asked = Mutex::new(BTreeMap::new());
        let number = |name: &InterfaceName| {
            let found = self.number(name.as_str(), devices);
            if let (Some(number), Ok(mut asked)) = (found, asked.lock()) {
                asked.insert(name.to_string(), number);
            }
            found
        };
        let compiled = compile(&set.rules, &number)?;
        if let Some(rule) = compiled.idle.and_then(|rank| set.rules.get(rank)) {
            return Err(CompileError { rule: Some(rule.id), error: idle(rule) });
        }
        let rules = Rules { set, counters, interfaces: asked.into_inner().unwrap_or_default() };
        Ok(self.changed_to(rules, Some(compiled)))
    }

    /// No change: the rules go on with other peers.
    pub(super) fn kept(self) -> Change {
        Change { rules: self, compiled: None, begun: Vec::new(), differs: false }
    }

    fn changed_to(&self, rules: Rules, compiled: Option<Compiled>) -> Change {
        let known: HashSet<_> = self.set.rules.iter().map(|rule| rule.id).collect();
        let begun = rules.slots().filter(|(rule, _)| !known.contains(&rule.id)).map(|(_, slot)| slot).collect();
        Change { begun, differs: rules != *self, compiled, rules }
    }

    /// The slots of the counters of these rules: those that they have, and free ones.
    fn counters_of(&self, rules: &[Rule]) -> Vec<u32> {
        let old: HashMap<_, _> = self.set.rules.iter().map(|rule| rule.id).zip(self.counters.iter().copied()).collect();
        let mut taken = vec![false; RULES];
        for slot in rules.iter().filter_map(|rule| old.get(&rule.id)) {
            if let Some(taken) = taken.get_mut(*slot as usize) {
                *taken = true;
            }
        }
        let mut free = (0u32..).zip(&taken).filter_map(|(slot, taken)| (!taken).then_some(slot));
        // There are as many slots as there may be rules.
        rules.iter().map(|rule| old.get(&rule.id).copied().or_else(|| free.next()).unwrap_or(0)).collect()
    }

    /// Each rule with the slot of its counter.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&Rule, u32)> {
        self.set.rules.iter().zip(self.counters.iter().copied())
    }

    fn number(&self, name: &str, devices: &[Link]) -> Option<u32> {
        let device = devices.iter().find(|link| link.name == name);
        device.map(|link| link.ifindex).or_else(|| self.number_of_gone(name, devices))
    }

    /// The number of a device that is gone: the one it had, unless another device has it now.
    fn number_of_gone(&self, name: &str, devices: &[Link]) -> Option<u32> {
        let had = *self.interfaces.get(name)?;
        Some(if devices.iter().any(|link| link.ifindex == had) { NO_DEVICE } else { had })
    }

    /// Whether a rule names an interface that has another number now than its table knows, or one that is gone and whose
    /// number another device has.
    pub fn are_stale(&self, devices: &[Link]) -> bool {
        devices.iter().any(|link| match self.interfaces.get(&link.name) {
            Some(number) => *number != link.ifindex,
            None => self.interfaces.values().any(|number| *number == link.ifindex),
        })
    }

    /// The rules as the datapath wants them, for these peers.
    pub(super) fn raw(&self, peers: &Slots, config: &Config) -> Result<Vec<RawRule>> {
        let targets = targets(peers, config);
        self.slots()
            .map(|(rule, counter)| {
                let mut masks = (0, 0);
                for name in &rule.to {
                    let (peer, group) = targets.get(name).ok_or_else(|| no_target(name))?;
                    masks = (masks.0 | peer, masks.1 | group);
                }
                Ok(raw_rule(rule, masks.0, masks.1, counter))
            })
            .collect()
    }
}

/// The bit of each peer, and of each group by its number in the configuration.
fn targets<'a>(peers: &'a Slots, config: &Config) -> HashMap<&'a PeerName, (u64, u64)> {
    let mut targets = HashMap::new();
    for group in 0..(config.group_count as usize).min(PEERS) {
        let first = config.members[usize::from(config.first[group]) % PEERS];
        let leader = peers.get(usize::from(first)).and_then(Option::as_ref);
        if let Some(name) = leader.and_then(|peer| peer.group.as_ref()) {
            targets.insert(name, (0, 1 << group));
        }
    }
    for (slot, peer) in peers.iter().enumerate() {
        if let Some(peer) = peer {
            targets.insert(&peer.name, (1 << slot, 0));
        }
    }
    targets
}

/// The error for a `--to` that names nothing.
pub fn no_target(name: &PeerName) -> Error {
    Error::new(Code::NotFound, format!("there is no peer and no group {name}")).hint("ebmirror peer list shows them")
}

/// Whether there is a peer or a group of this name.
pub fn is_target(peers: &Slots, name: &PeerName) -> bool {
    peers.iter().flatten().any(|peer| peer.name == *name || peer.group.as_ref() == Some(name))
}

/// Refuses peers without one that a rule names.
pub fn check_in_use(set: &RuleSet, peers: &Slots) -> Result<()> {
    let missing = |rule: &Rule| rule.to.iter().find(|name| !is_target(peers, name)).cloned();
    match set.rules.iter().find_map(|rule| Some((rule, missing(rule)?))) {
        None => Ok(()),
        Some((rule, name)) => Err(Error::new(Code::Conflict, format!("rule {} sends copies to {name}", rule.id)).hint(
            format!("change the rule first: ebmirror filter set {} --to NAME, or filter del {}", rule.id, rule.id),
        )),
    }
}

/// What tcpdump refuses as well. A mirror rule of this kind would turn mirroring off.
fn idle(rule: &Rule) -> Error {
    Error::usage(format!("no frame can match \"{}\"", rule.expression)).hint(
        "its parts exclude each other (a packet of TCP is none of UDP; TCP's flags and ICMP's types are those of IPv4 alone)",
    )
}

fn full(rules: usize) -> Error {
    Error::new(Code::Conflict, format!("{rules} rules are too many: {RULES} fit"))
        .hint("one rule may name several networks or ports: 'net 10.0.0.0/8 or net 192.168.0.0/16'")
}

impl Instance {
    /// The rules in use.
    pub fn rules(&self) -> Result<Rules> {
        let rules = texts::read(&self.place, self.generation())?;
        let (known, in_use) = (rules.set.rules.len(), self.config.get(self.generation())?.rule_count);
        if known == in_use as usize {
            return Ok(rules);
        }
        let message = format!("the datapath goes by {in_use} rules, and {known} are written down");
        Err(Error::new(Code::Damaged, message)
            .hint("remove this instance with ebmirror unpin --force, and set it up again"))
    }

    /// Makes these the rules. The lock must be held for writing.
    pub fn replace_rules(&self, change: &Change) -> Result<()> {
        self.commit(&self.peers()?, change)
    }

    /// Compiles the rules again, whatever they were compiled to before.
    pub(super) fn compile_rules_again(&self) -> Result<()> {
        let rules = self.rules()?;
        if rules.set.rules.is_empty() {
            return Ok(());
        }
        let devices = self.netlink.links().map_err(|error| error.context("list the devices"))?;
        let compiled = rules.compiled(rules.set.clone(), rules.counters.clone(), &devices)?;
        self.replace_rules(&Change { differs: true, ..compiled })
    }

    /// Compiles the rules again when they name an interface that was made anew. True when they did.
    pub fn renew_rules(&self) -> Result<bool> {
        let rules = self.rules()?;
        let devices = self.netlink.links().map_err(|error| error.context("list the devices"))?;
        if !rules.are_stale(&devices) {
            return Ok(false);
        }
        let change = rules.change(rules.set.clone(), &devices)?;
        self.replace_rules(&change)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rule::{Action, RuleId};

    fn set(ids: &[u32]) -> RuleSet {
        let rule = |id: &u32| Rule::new(RuleId::try_from(*id).unwrap());
        RuleSet { rules: ids.iter().map(rule).collect(), ..RuleSet::default() }
    }

    fn slots(rules: &Rules) -> Vec<(u32, u32)> {
        rules.slots().map(|(rule, slot)| (rule.id.get(), slot)).collect()
    }

    #[test]
    fn a_counter_stays_with_its_rule() {
        let mut rules = Rules::default();
        for (ids, expected) in [
            (&[1, 2, 3][..], &[(1, 0), (2, 1), (3, 2)][..]),
            (&[1, 3], &[(1, 0), (3, 2)]),
            (&[1, 3, 4, 5], &[(1, 0), (3, 2), (4, 1), (5, 3)]),
            (&[9, 5], &[(5, 3), (9, 0)]),
            (&[], &[]),
        ] {
            rules = rules.change(set(ids), &[]).unwrap().rules;
            assert_eq!(slots(&rules), expected);
        }
    }

    #[test]
    fn every_rule_that_may_be_has_a_counter() {
        let all: Vec<u32> = (1..=RULES as u32).collect();
        let rules = Rules::default().change(set(&all), &[]).unwrap().rules;
        let mut taken: Vec<u32> = rules.counters.clone();
        taken.dedup();
        assert_eq!(taken, (0..RULES as u32).collect::<Vec<_>>());
        let more: Vec<u32> = (1..=RULES as u32 + 1).collect();
        let error = rules.change(set(&more), &[]).unwrap_err().error;
        assert_eq!((error.code, error.message.as_str()), (Code::Conflict, "10241 rules are too many: 10240 fit"));
    }

    #[test]
    fn equal_expressions_need_no_new_tables() {
        let rules = Rules::default().change(set(&[1, 2]), &[]).unwrap();
        assert!(rules.compiled.is_some());
        let mut other = rules.rules.set.clone();
        other.rules[0].action = Action::Skip;
        assert!(rules.rules.change(other.clone(), &[]).unwrap().compiled.is_none());
        other.rules[0].expression = "tcp".to_owned();
        assert!(rules.rules.change(other, &[]).unwrap().compiled.is_some());
    }
}
