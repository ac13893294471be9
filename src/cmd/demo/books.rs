//! Do the counters agree with what was captured, and with each other?

use serde_json::Value;

use super::network::{PEER, TAP};
use super::report::Row;
use crate::lab::compare::WireSize;
use crate::model::interface::Direction;

/// The counters against what was captured, and against each other.
pub(super) fn check_books(stats: &Value, rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: String, found: WireSize, expected: WireSize| {
        if found != expected {
            wrong.push(format!(
                "{what} is {} packets and {} bytes, and should be {} and {}",
                found.packets, found.bytes, expected.packets, expected.bytes
            ));
        }
    };
    let nothing = WireSize::default();
    let mut all = nothing;
    for direction in Direction::ALL {
        let mut seen = nothing;
        rows.iter().filter(|row| row.direction == direction).for_each(|row| seen += row.seen);
        all += seen;
        let name = format!("{TAP} {direction}");
        let counters = list(stats, "interfaces").find(|row| {
            row.get("interface").and_then(Value::as_str) == Some(TAP)
                && row.get("direction").and_then(Value::as_str) == Some(&direction.to_string())
        });
        let counter = |key: &str| counters.map(|row| size(row, key)).unwrap_or_default();
        for (key, expected) in [("seen", seen), ("selected", seen), ("cloned", seen), ("copies", seen)] {
            expect(format!("{key} of {name}"), counter(key), expected);
        }
        for key in ["own", "skipped", "lost"] {
            expect(format!("{key} of {name}"), counter(key), nothing);
        }
    }
    let peer = peer(stats);
    let counter = |key: &str| peer.map(|row| size(row, key)).unwrap_or_default();
    expect(format!("selected of peer {PEER}"), counter("selected"), all);
    expect(format!("sent of peer {PEER}"), counter("sent"), all);
    expect(format!("lost of peer {PEER} ({})", reasons(peer)), counter("lost"), nothing);
    if stats.get("unaccounted").and_then(Value::as_i64) != Some(0) {
        let unaccounted = stats.get("unaccounted").unwrap_or(&Value::Null);
        wrong.push(format!("the books do not balance: unaccounted is {unaccounted}"));
    }
    wrong
}

/// The counters of the peer.
pub(super) fn peer(stats: &Value) -> Option<&Value> {
    list(stats, "peers").find(|row| row.get("peer").and_then(Value::as_str) == Some(PEER))
}

fn list<'a>(stats: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    stats.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn size(row: &Value, key: &str) -> WireSize {
    let number = |unit: &str| row.get(key).and_then(|counter| counter.get(unit)).and_then(Value::as_u64).unwrap_or(0);
    WireSize { packets: number("packets"), bytes: number("bytes") }
}

/// Why the peer lost copies.
fn reasons(peer: Option<&Value>) -> String {
    let reasons = peer.and_then(|row| row.get("reasons")).and_then(Value::as_object).into_iter().flatten();
    let named: Vec<String> = reasons
        .filter_map(|(name, counter)| Some((name, counter.get("packets")?.as_u64()?)))
        .filter(|(_, packets)| *packets > 0)
        .map(|(name, packets)| format!("{name}: {packets}"))
        .collect();
    if named.is_empty() { "no reason".into() } else { named.join(", ") }
}
