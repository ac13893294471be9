//! For the tests of the model's types: what they read they print, and what they refuse they name.

use std::fmt;
use std::str::FromStr;

/// Reads and prints each good text, and finds in the error of each bad one what stands beside it.
pub fn round_trip<T: FromStr<Err = String> + fmt::Display>(good: &[&str], bad: &[(&str, &str)]) {
    for text in good {
        assert_eq!(text.parse::<T>().unwrap_or_else(|e| panic!("{e}")).to_string(), *text);
    }
    for (text, error) in bad {
        let got = text.parse::<T>().err().unwrap_or_else(|| panic!("{text} was accepted"));
        assert!(got.contains(error), "{text}: {got}");
    }
}
