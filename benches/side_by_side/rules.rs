//! Sets of rules, with packets that they select and packets that they do not.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ebmirror::lab::classbench::{self, Mix, Packet5, Rule5};
use ebmirror::lab::random::Random;
use ebmirror::model::{Code, Error, Result};

use super::flow::UDP;
use super::lane::{CLIENT, HOST};
use super::traffic::{UDP_PORT, UDP_SOURCE};

/// Seeds that are tried until a set is fit for use.
const SEEDS: u64 = 200;
/// Packets that are drawn for each flow that is wanted: a set of few narrow rules has fewer flows than that.
const DRAWS: usize = 20;
/// Rules of one priority of `tc`: a hash table of u32 has room for 4,095.
const U32_TABLE: usize = 4000;

/// A set.
pub struct Set {
    pub mix: Mix,
    pub seed: u64,
    pub rules: Vec<Rule5>,
    /// Different packets, each selected by some rule.
    pub hits: Vec<Packet5>,
    /// Different packets of addresses and ports that the rules know, none of them selected.
    pub misses: Vec<Packet5>,
}

impl Set {
    /// The first of the seeds that gives a set of this size which selects so many flows, leaves as many alone, and does not
    /// select what the UDP sender of the lanes sends: every size is asked for the same number of flows, else a set of one
    /// narrow rule would be compared with one flow.
    pub fn new(mix: Mix, size: usize, flows: usize) -> Result<Self> {
        for seed in 1..=SEEDS {
            let rules = classbench::rules(mix, size, seed);
            let datagram = datagram();
            if rules.iter().any(|rule| rule.matches(&datagram)) {
                continue;
            }
            let mut random = Random::new(seed);
            let hits = distinct(flows, || Some(rules[random.below(rules.len())].packet(&mut random)));
            if hits.len() < flows {
                continue;
            }
            let misses = distinct(flows, || classbench::miss(&rules, true, &mut random));
            if misses.len() == flows {
                return Ok(Self { mix, seed, rules, hits, misses });
            }
        }
        let what = format!("no seed up to {SEEDS} gives {size} {} rules with {flows} flows", mix.name());
        Err(Error::new(Code::Usage, what).hint("--flows with a smaller number"))
    }

    /// For `filter add --file`.
    pub fn file(&self) -> String {
        self.rules.iter().map(|rule| format!("'{}'\n", rule.expression())).collect()
    }

    /// For `tc -batch`: the same as u32 filters that mirror into a device. A range of ports, which u32 cannot express,
    /// is left out: it would take several filters.
    pub fn batch(&self, device: &str, target: &str) -> String {
        let line = |(number, rule): (usize, &Rule5)| {
            let mut matches = String::new();
            if let Some(protocol) = rule.protocol {
                matches += &format!(" match ip protocol {protocol} 0xff");
            }
            for (side, (address, length)) in [("src", rule.src), ("dst", rule.dst)] {
                if length > 0 {
                    matches += &format!(" match ip {side} {}/{length}", Ipv4Addr::from(address));
                }
            }
            for (side, (from, to)) in [("sport", rule.sport), ("dport", rule.dport)] {
                if from == to {
                    matches += &format!(" match ip {side} {from} 0xffff");
                }
            }
            if matches.is_empty() {
                matches += " match u32 0 0";
            }
            format!(
                "filter add dev {device} ingress protocol ip prio {} u32{matches} action mirred egress mirror dev {target}\n",
                1 + number / U32_TABLE
            )
        };
        self.rules.iter().enumerate().map(line).collect()
    }
}

/// What the UDP sender sends.
fn datagram() -> Packet5 {
    let address = |text: &str| text.parse::<Ipv4Addr>().map_or(0, u32::from);
    Packet5 { src: address(CLIENT), dst: address(HOST), sport: UDP_SOURCE, dport: UDP_PORT, protocol: UDP }
}

fn distinct(count: usize, mut draw: impl FnMut() -> Option<Packet5>) -> Vec<Packet5> {
    let (mut seen, mut found) = (HashSet::new(), Vec::with_capacity(count));
    for _ in 0..count * DRAWS {
        let Some(packet) = draw() else { break };
        if seen.insert(packet) {
            found.push(packet);
            if found.len() == count {
                break;
            }
        }
    }
    found
}
