//! Durations as people write them: `90s`, `10m`, `2h`, `1h30m`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time above zero, to the millisecond, of at most 365 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];
const MAX_MS: u64 = 365 * 86_400_000;

impl Span {
    /// The span.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("\"{text}\" is no duration: write it as 90s, 10m, 2h, 1h30m or 250ms");
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let after = &rest[digits..];
            let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (_, ms) = UNITS.iter().find(|(unit, _)| *unit == &after[..length]).ok_or_else(wrong)?;
            total = number.checked_mul(*ms).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
            rest = &after[length..];
        }
        match total {
            0 => Err(wrong()),
            1..=MAX_MS => Ok(Span(Duration::from_millis(total))),
            _ => Err(format!("\"{text}\" is too long: at most 365d")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis() as u64;
        for unit in ["d", "h", "m", "s", "ms"] {
            let ms = UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, ms)| *ms);
            if rest / ms > 0 {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_print() {
        for (text, ms) in [("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("250ms", 250), ("2d", 172_800_000)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.duration().as_millis(), ms, "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named_in_the_error() {
        for text in ["", "0s", "5", "s", "1x", "-1s", "1.5h", "99999999999999999999s", "400d", "1h30", "5 s", "1µs"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains(&format!("\"{text}\"")), "{text}: {error}");
        }
    }
}
