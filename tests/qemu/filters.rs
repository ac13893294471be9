//! Rules on kernel 6.1: the tables in each of their sizes, the memory of flows, and the sieve in front of it.

use ebmirror::lab::random::Random;

use super::decoders::{Order, Tunnel};
use super::network::{Family, Mirror};
use super::rules;

const FRAMES: usize = 150;

/// Random rules, with more and more others behind them, so that the table is a small, a medium and a large one.
pub fn the_tap_finds_what_a_test_finds() -> String {
    let (tunnel, family) = (Tunnel::Vxlan, Family::V4);
    Mirror::with(family, tunnel.peer(), &tunnel.decoder(family, Order::Any), |mirror| {
        let mut random = Random::new(6);
        let mut matched = Vec::new();
        for more in [0, 300, 6_000] {
            let mut texts = rules::random(&mut random, 10, 1, |_| true);
            texts.extend(
                (0..more).map(|n| format!("udp and src net 10.{}.{}.0/24 and dst port {}", n / 250, n % 250, n + 1)),
            );
            matched.push(rules::tap_and_test_agree(&mirror.rig, &texts, &rules::frames(&mut random, FRAMES)));
        }
        let few = rules::random(&mut random, 3, 2, |text| rules::have_sieve(&[text]));
        assert!(rules::have_sieve(&few), "{few:?}");
        matched.push(rules::tap_and_test_agree(&mirror.rig, &few, &rules::frames(&mut random, FRAMES)));
        // What comes next counts from here.
        mirror.counted(|counted| counted.tap("ingress", "seen").packets >= 4 * 2 * FRAMES as u64);
        assert!(matched.iter().sum::<usize>() > 6, "{matched:?} rules match, which is no test");
        format!("{matched:?} rules of each set matched frames")
    })
}
