//! Rates as people write them: `10mbit`, `1gbit`, `500kpps`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bits of frames, from their first MAC byte on, each second.
    Bits,
    /// Frames each second.
    Packets,
}

/// A limit: so many bits or frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    amount: u64,
    unit: Unit,
}

/// Decimal multiples, as for every rate of a network; the largest first.
const BITS: [(&str, u64); 5] =
    [("tbit", 1_000_000_000_000), ("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
const PACKETS: [(&str, u64); 4] = [("gpps", 1_000_000_000), ("mpps", 1_000_000), ("kpps", 1_000), ("pps", 1)];

impl Unit {
    fn multiples(self) -> &'static [(&'static str, u64)] {
        match self {
            Unit::Bits => &BITS,
            Unit::Packets => &PACKETS,
        }
    }

    /// The lowest: a byte a millisecond; a frame a second. The highest: more than any interface has.
    fn limits(self) -> (u64, u64) {
        match self {
            Unit::Bits => (8_000, 1_000_000_000_000),
            Unit::Packets => (1, 1_000_000_000),
        }
    }
}

impl Rate {
    /// A rate within the limits.
    pub fn new(amount: u64, unit: Unit) -> Result<Self, String> {
        let (min, max) = unit.limits();
        let rate = Rate { amount, unit };
        if amount < min {
            return Err(format!("the rate {rate} is too low: at least {}", Rate { amount: min, unit }));
        }
        if amount > max {
            return Err(format!("the rate {rate} is too high: at most {}", Rate { amount: max, unit }));
        }
        Ok(rate)
    }

    /// Bits or frames a second.
    pub fn amount(self) -> u64 {
        self.amount
    }

    /// Which of the two.
    pub fn unit(self) -> Unit {
        self.unit
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "\"{text}\" is no rate: a whole number with a unit, such as 64kbit, 10mbit, 1gbit, 100pps or 500kpps"
            )
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0).ok_or_else(wrong)?;
        let (number, suffix) = text.split_at(digits);
        let (unit, factor) = [Unit::Bits, Unit::Packets]
            .into_iter()
            .find_map(|unit| Some((unit, unit.multiples().iter().find(|(name, _)| *name == suffix)?.1)))
            .ok_or_else(wrong)?;
        let amount = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match amount {
            Some(amount) => Rate::new(amount, unit),
            None => {
                let most = Rate { amount: unit.limits().1, unit };
                Err(format!("the rate {text} is too high: at most {most}"))
            }
        }
    }
}

impl fmt::Display for Rate {
    /// With the largest multiple that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.amount >= *factor && self.amount.is_multiple_of(*factor);
        match self.unit.multiples().iter().find(fits) {
            Some((name, factor)) => write!(f, "{}{name}", self.amount / factor),
            None => write!(f, "{}{}", self.amount, if self.unit == Unit::Bits { "bit" } else { "pps" }),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trip;
    use super::*;

    #[test]
    fn rates_read_as_they_print() {
        round_trip::<Rate>(
            &["8kbit", "64kbit", "10mbit", "1gbit", "1tbit", "1pps", "100pps", "500kpps", "1mpps", "1gpps", "8001bit"],
            &[
                ("", "\"\" is no rate"),
                ("10", "is no rate"),
                ("mbit", "is no rate"),
                ("10Mbit", "is no rate"),
                ("10mbps", "is no rate"),
                ("10 mbit", "is no rate"),
                ("1.5gbit", "a whole number with a unit"),
                ("-1pps", "is no rate"),
                ("+1pps", "is no rate"),
                ("0pps", "the rate 0pps is too low: at least 1pps"),
                ("0kbit", "too low: at least 8kbit"),
                ("7999bit", "too low: at least 8kbit"),
                ("2tbit", "too high: at most 1tbit"),
                ("1001mpps", "too high"),
                ("2gpps", "the rate 2gpps is too high: at most 1gpps"),
                ("99999999999999999999mbit", "too high"),
                ("18446744073709551615tbit", "too high"),
            ],
        );
    }

    #[test]
    fn the_same_rate_has_one_text() {
        for (text, other, amount) in
            [("1000kbit", "1mbit", 1_000_000), ("1500kpps", "1500kpps", 1_500_000), ("8000bit", "8kbit", 8_000)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.amount()), (other, amount));
            assert_eq!(other.parse::<Rate>().unwrap(), rate);
        }
        assert_eq!(serde_json::to_string(&"10mbit".parse::<Rate>().unwrap()).unwrap(), "\"10mbit\"");
    }
}
