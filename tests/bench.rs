//! The parts of `make bench` that compute: orders, medians, frames and bars. What it measures is asserted nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(dead_code, reason = "the harness uses the rest")]

#[path = "../benches/side_by_side/bars.rs"]
mod bars;
#[path = "../benches/side_by_side/flow.rs"]
mod flow;
#[path = "../benches/side_by_side/schedule.rs"]
mod schedule;
#[path = "../benches/side_by_side/statistics.rs"]
mod statistics;
#[path = "../benches/side_by_side/table.rs"]
mod table;

use std::collections::{HashMap, HashSet};

use ebmirror::lab::checksum::checksum;
use ebmirror::lab::random::Random;

use self::bars::{Bar, Reading, Side};
use self::flow::{Mix, ROW_BYTES, ROW_START, ROWS, frame, row, strangers};
use self::schedule::order;
use self::statistics::{CONFIDENCE, estimate};

#[test]
fn a_frame_is_what_a_table_makes_of_another_one() {
    let [a, b] = [strangers(2)[0], strangers(2)[1]];
    let mut made = frame(&a, 60);
    made[ROW_START..ROW_START + ROW_BYTES].copy_from_slice(&row(&b, 60));
    assert_eq!(made, frame(&b, 60));
    assert_eq!(checksum(&made[14..34]), 0, "the header's checksum is right");
}

#[test]
fn zipf_prefers_the_first_and_uniform_nobody() {
    let flows = strangers(1000);
    let first = row(&flows[0], 60);
    let count = |mix: Mix| mix.rows(&flows, 60, &mut Random::new(1)).iter().filter(|other| **other == first).count();
    // The harmonic number of 1000 is 7.485.
    let expected = ROWS as f64 / 7.485;
    assert!((count(Mix::Zipf) as f64 - expected).abs() < expected / 10.0, "{}", count(Mix::Zipf));
    assert!((20..120).contains(&count(Mix::Uniform)), "{}", count(Mix::Uniform));
}

#[test]
fn every_place_and_every_neighbour_comes_equally_often() {
    for count in 1..9usize {
        let rounds = if count.is_multiple_of(2) { count } else { 2 * count };
        let (mut places, mut pairs) = (HashMap::new(), HashMap::new());
        for round in 0..rounds {
            let order = order(count, round);
            assert_eq!(order.len(), count);
            for (place, item) in order.iter().enumerate() {
                *places.entry((place, *item)).or_insert(0) += 1;
            }
            for pair in order.windows(2) {
                *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
            }
        }
        assert_eq!(places.len(), count * count, "{count}");
        assert!(places.values().all(|times| *times == rounds / count), "{count}: {places:?}");
        assert_eq!(pairs.len(), count * (count - 1), "{count}");
        assert!(pairs.values().all(|times| *times == rounds / count), "{count}: {pairs:?}");
    }
}

#[test]
fn the_interval_is_that_of_the_tables() {
    // The ranks of the 95 % interval of a median, as tables of the sign test give them.
    for (samples, lower, upper) in [(6, 1, 6), (9, 2, 8), (10, 2, 9), (20, 6, 15), (30, 10, 21), (40, 14, 27)] {
        let found = estimate((1..=samples).map(f64::from)).unwrap();
        assert_eq!((found.low, found.high), (f64::from(lower), f64::from(upper)), "{samples}");
        assert!(found.confidence >= CONFIDENCE, "{samples}: {}", found.confidence);
    }
}

#[test]
fn few_numbers_say_how_unsure_they_are() {
    assert_eq!(estimate([]), None);
    let one = estimate([3.0]).unwrap();
    assert_eq!((one.median, one.low, one.high, one.confidence), (3.0, 3.0, 3.0, 0.0));
    let five = estimate([5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
    assert_eq!((five.median, five.low, five.high, five.confidence), (3.0, 1.0, 5.0, 0.9375));
}

#[test]
fn what_is_no_number_does_not_count() {
    assert_eq!(estimate([f64::NAN, 2.0, 4.0, f64::INFINITY]).unwrap().median, 3.0);
}

#[test]
fn every_bar_is_there_and_every_aim_is_beyond_its_bar() {
    let numbers: HashSet<u32> = Bar::ALL.iter().map(|bar| bar.definition().number).collect();
    assert_eq!(numbers, (1..=16).collect());
    for bar in Bar::ALL {
        let definition = bar.definition();
        let beyond = match definition.side {
            Side::AtMost => definition.aim < definition.bar,
            Side::AtLeast => definition.aim > definition.bar,
        };
        assert!(beyond, "{bar:?}: {definition:?}");
    }
}

#[test]
fn the_median_meets_a_bar_on_its_side() {
    let met = |bar, value| Reading::new(bar, "", estimate([value])).met();
    // At most 0.75, better 0.60.
    assert_eq!(met(Bar::LiveMirred, 0.76), [false, false]);
    assert_eq!(met(Bar::LiveMirred, 0.75), [true, false]);
    assert_eq!(met(Bar::LiveMirred, 0.60), [true, true]);
    // At least 3, better 3.5.
    assert_eq!(met(Bar::StreamMirred, 2.9), [false, false]);
    assert_eq!(met(Bar::StreamMirred, 3.0), [true, false]);
    assert_eq!(met(Bar::StreamMirred, 3.6), [true, true]);
    assert_eq!(Reading::new(Bar::StreamMirred, "", None).met(), [false, false], "no run counted");
}

#[test]
fn the_table_of_bars_says_what_was_not_measured() {
    let readings = [
        Reading::new(Bar::FramesMirred, "one", estimate([0.5])),
        Reading::new(Bar::FramesMirred, "other", estimate([0.7])),
        Reading::new(Bar::Fragments, "", None),
    ];
    let text = bars::table(&readings).to_string();
    let row = |what: &str| text.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
    assert_eq!(row("not in this run").len(), Bar::ALL.len() - 2, "{text}");
    assert_eq!(row("sender: one").len(), 1, "{text}");
    assert!(row("sender: one")[0].contains("| 0.50 (0.50 to 0.50) |     yes |     yes |"), "{text}");
    assert!(row("sender: other")[0].contains("| 0.70 (0.70 to 0.70) |     yes |      no |"), "{text}");
    assert!(row("two fragments")[0].contains(" lost copies |      no |      no |"), "{text}");
    let document = bars::document(&readings);
    assert_eq!(document.len(), Bar::ALL.len());
    assert_eq!(document[2]["readings"][1]["met"], true);
    assert_eq!(document[2]["readings"][1]["aim_met"], false);
    assert_eq!(document[7]["readings"][0]["measured"], serde_json::Value::Null);
    assert_eq!(document[0]["readings"], serde_json::json!([]));
}
