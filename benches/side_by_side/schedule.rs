//! The order in which things take turns: each comes at each place, and after each other one, about equally often.

/// The order of a round, as numbers below `count`: a Williams square. It is balanced over `count` rounds when that is even,
/// over twice as many when it is odd, and over their multiples, so that neither a drift of the machine nor what the one before
/// left in the caches favours anybody. Over other numbers of rounds some come once or twice more than others.
pub fn order(count: usize, round: usize) -> Vec<usize> {
    // 0, 1, n-1, 2, n-2, …: all steps between neighbours differ.
    let zigzag = (0..count).map(|place| if place % 2 == 1 { place / 2 + 1 } else { (count - place / 2) % count });
    let shift = round % count.max(1);
    let mut order: Vec<usize> = zigzag.map(|item| (item + shift) % count).collect();
    if count % 2 == 1 && (round / count) % 2 == 1 {
        order.reverse();
    }
    order
}
