//! Checks that the counters agree with what was captured, and with each other.

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::parse::Protocol;

    fn rows() -> Vec<Row> {
        let row = |direction, packets| Row {
            seen: WireSize { packets, bytes: packets * 100 },
            ..Row::new(direction, Protocol::Udp)
        };
        vec![row(Direction::Ingress, 3), row(Direction::Egress, 4), row(Direction::Egress, 1)]
    }

    fn stats() -> Value {
        let counter = |packets: u64| json!({ "packets": packets, "bytes": packets * 100 });
        let tap = |direction: &str, packets| {
            json!({ "interface": TAP, "direction": direction, "seen": counter(packets), "own": counter(0),
                "skipped": counter(0), "selected": counter(packets), "cloned": counter(packets), "lost": counter(0),
                "copies": counter(packets) })
        };
        json!({ "interfaces": [tap("ingress", 3), tap("egress", 5)], "unaccounted": 0,
            "peers": [{ "peer": PEER, "selected": counter(8), "sent": counter(8), "lost": counter(0),
                "reasons": { "too_big": counter(0), "rate": counter(0) } }] })
    }

    #[test]
    fn books_that_agree_have_no_fault() {
        assert_eq!(check_books(&stats(), &rows()), Vec::<String>::new());
    }

    #[test]
    fn each_counter_that_is_wrong_is_named() {
        let rows_of_faults = [
            ("/interfaces/0/seen/packets", "seen of eth0 ingress is 4 packets and 300 bytes, and should be 3 and 300"),
            ("/interfaces/1/own/packets", "own of eth0 egress is 1 packets"),
            ("/interfaces/1/copies/bytes", "copies of eth0 egress is 5 packets and 501 bytes"),
            ("/peers/0/sent/packets", "sent of peer collector is 9 packets"),
            ("/peers/0/lost/packets", "lost of peer collector (no reason) is 1 packets"),
            ("/unaccounted", "unaccounted is 1"),
        ];
        for (pointer, expected) in rows_of_faults {
            let mut stats = stats();
            let value = stats.pointer_mut(pointer).unwrap();
            *value = json!(value.as_u64().unwrap() + 1);
            let faults = check_books(&stats, &rows());
            assert!(faults.len() == 1 && faults[0].contains(expected), "{pointer}: {faults:?}");
        }
    }

    #[test]
    fn a_document_without_counters_is_wrong_in_all_of_them() {
        assert!(check_books(&json!({}), &rows()).len() >= 8);
    }

    #[test]
    fn losses_are_told_with_their_reasons() {
        let mut stats = stats();
        *stats.pointer_mut("/peers/0/lost/packets").unwrap() = json!(2);
        *stats.pointer_mut("/peers/0/reasons/too_big/packets").unwrap() = json!(2);
        assert!(check_books(&stats, &rows())[0].contains("(too_big: 2)"));
    }
}
