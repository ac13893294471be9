//! What becomes of a frame, by the loaded rules or by one expression.

use super::trial;
use crate::cmd::{Ctx, devices};
use crate::kernel::instance::{Instance, Watch};
use crate::kernel::peers::Slots;
use crate::kernel::pins::Access;
use crate::kernel::probe::{Frame, Probe, Trial, Verdict};
use crate::model::interface::{Direction, InterfaceName};
use crate::model::peer::PeerName;
use crate::model::rule::{Action, RuleId};
use crate::model::{Code, Error, Result};

/// What becomes of a frame.
pub(super) struct Fate {
    /// A rule matches, or the expression.
    pub(super) matched: bool,
    /// The rule.
    pub(super) rule: Option<RuleId>,
    pub(super) action: Action,
    /// The peers that get a copy, by name, and the bytes of it.
    pub(super) copies: Vec<(PeerName, u32)>,
    /// The bytes that the rule keeps.
    pub(super) kept: u32,
    pub(super) sampled_out: bool,
}

/// Knows what becomes of frames.
pub(super) struct Judge {
    rules: Rules,
    direction: Direction,
    ifindex: u32,
}

enum Rules {
    Loaded {
        probe: Probe,
        /// By rank.
        ids: Vec<RuleId>,
        peers: Box<Slots>,
        /// Ranks and slots mean the same as long as nothing changes.
        watch: Watch,
    },
    Expression {
        probe: Box<Trial>,
    },
}

impl Judge {
    /// By the rules that are loaded.
    pub(super) fn of_loaded(iface: Option<&InterfaceName>, direction: Direction, ctx: &Ctx) -> Result<Self> {
        let instance = Instance::open(&ctx.place, Access::Read)?.ok_or_else(|| {
            Error::new(Code::NotFound, "nothing is loaded in this network namespace: there are no rules to test")
                .hint("ebmirror filter add loads rules; --expression EXPR tries an expression without any")
        })?;
        let ifindex = match iface {
            Some(name) => devices(std::slice::from_ref(name))?.first().map_or(0, |device| device.ifindex),
            None => 0,
        };
        let rules = Rules::Loaded {
            probe: Probe::pinned(&ctx.place)?,
            ids: instance.rules()?.set.rules.iter().map(|rule| rule.id).collect(),
            peers: Box::new(instance.peers()?),
            // Others may change the rules: who reads from a pipe may take long.
            watch: instance.watch()?,
        };
        Ok(Judge { rules, direction, ifindex })
    }

    /// By one expression, whatever is loaded.
    pub(super) fn of_expression(expression: &str, iface: Option<&InterfaceName>, direction: Direction) -> Result<Self> {
        let compiled = trial::compile(expression, iface)?;
        let mut probe = Trial::load()?;
        probe.set(&compiled)?;
        let ifindex = if iface.is_some() { trial::SEEN_ON } else { 0 };
        Ok(Judge { rules: Rules::Expression { probe: Box::new(probe) }, direction, ifindex })
    }

    pub(super) fn judge(&self, bytes: &[u8], wire_bytes: u32) -> Result<Fate> {
        let frame = Frame { bytes, wire_bytes, direction: self.direction, ifindex: self.ifindex };
        let of = |verdict: &Verdict| Fate {
            matched: verdict.rank.is_some(),
            rule: None,
            action: if verdict.mirror { Action::Mirror } else { Action::Skip },
            copies: Vec::new(),
            kept: verdict.snaplen.map_or(wire_bytes, |snaplen| snaplen.min(wire_bytes)),
            sampled_out: verdict.sampled_out,
        };
        match &self.rules {
            Rules::Expression { probe } => probe.probe().ask(&frame).map(|verdict| of(&verdict)),
            Rules::Loaded { probe, ids, peers, watch } => {
                let verdict = probe.ask(&frame)?;
                if !watch.is_unchanged()? {
                    return Err(Error::new(
                        Code::Conflict,
                        "the rules or the peers were changed while they were tested",
                    )
                    .hint("test again: the frames that are told so far were tested with those before"));
                }
                let fate = of(&verdict);
                let id = |rank: u32| {
                    ids.get(rank as usize).copied().ok_or_else(|| {
                        Error::new(
                            Code::Damaged,
                            format!("the classifier names a rule of rank {rank}, which is not there"),
                        )
                        .hint("ebmirror filter flush, or unpin, and load the rules again")
                    })
                };
                let rule = verdict.rank.map(id).transpose()?;
                Ok(Fate { rule, copies: copies(peers, verdict.peers, fate.kept), ..fate })
            }
        }
    }
}

/// The peers of a set, by name, and what each gets of a frame of which so many bytes are kept.
fn copies(peers: &Slots, set: u64, kept: u32) -> Vec<(PeerName, u32)> {
    let chosen = (0..).zip(peers).filter(|(slot, _)| set >> slot & 1 == 1).filter_map(|(_, peer)| peer.as_ref());
    let copy = |snaplen: Option<u32>| snaplen.map_or(kept, |snaplen| snaplen.min(kept));
    let mut copies: Vec<_> =
        chosen.map(|peer| (peer.name.clone(), copy(peer.snaplen.map(|snaplen| snaplen.get())))).collect();
    copies.sort();
    copies
}
