//! Medians with confidence intervals, of few numbers and without a belief in any distribution.

use serde::Serialize;

/// How sure an interval shall be.
pub const CONFIDENCE: f64 = 0.95;

/// A median, and where the true one lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Of the sample.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How sure the interval is; less than 0.95 when there are fewer than six numbers.
    pub confidence: f64,
    /// How many numbers there were.
    pub samples: usize,
}

/// The median, with the order statistics around it that hold the true one with the confidence asked for: the number of
/// values below a median is binomial, whatever the values are. `None` of nothing.
pub fn estimate(values: impl IntoIterator<Item = f64>) -> Option<Estimate> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let samples = sorted.len();
    let (&first, &last) = (sorted.first()?, sorted.last()?);
    let middle = samples / 2;
    let median =
        if samples.is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] };
    // From the whole range inwards, as long as it stays sure enough.
    let (mut low, mut high, mut confidence) = (first, last, covered(samples, 0));
    for outside in 1..samples.div_ceil(2) {
        let sure = covered(samples, outside);
        if sure < CONFIDENCE {
            break;
        }
        (low, high, confidence) = (sorted[outside], sorted[samples - 1 - outside], sure);
    }
    Some(Estimate { median, low, high, confidence, samples })
}

/// The probability that the median lies between the value with `outside` smaller ones and that with as many larger ones.
fn covered(samples: usize, outside: usize) -> f64 {
    let mut tail = 0.0;
    // Of `samples` tosses of a coin exactly `heads` are heads: in logarithms, because the powers are tiny.
    let mut log = -(samples as f64) * std::f64::consts::LN_2;
    for heads in 0..=outside {
        if heads > 0 {
            log += ((samples - heads + 1) as f64 / heads as f64).ln();
        }
        tail += log.exp();
    }
    (1.0 - 2.0 * tail).max(0.0)
}
