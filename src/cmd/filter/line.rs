//! A line of a file of rules: its words, and what they say.

use clap::{Parser, ValueEnum};

use super::options::RuleArgs;
use crate::cmd::usage;
use crate::model::rule::Action;
use crate::model::{Error, Result};

/// A line, for clap.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    rule: RuleArgs,
}

/// The words of a line, without its comment.
pub(super) fn words(line: &str) -> Result<Vec<String>> {
    shlex::split(line).ok_or_else(|| {
        Error::usage("a quotation mark is not closed, or the line ends with a backslash")
            .hint("each line has the arguments of one filter add, quoted as in a shell")
    })
}

/// The arguments that these words are.
pub(super) fn args(words: &[String]) -> Result<RuleArgs> {
    if let Some(args) = quickly(words) {
        return Ok(args);
    }
    // What the short way does not know, clap does; and it says what is wrong.
    let line = Line::try_parse_from(words).map_err(|error| {
        let error = usage::error(&error);
        let tip = error.hint.clone().filter(|hint| hint != usage::HELP && !hint.starts_with("Usage:"));
        error.hint(tip.unwrap_or_else(|| HINT.to_owned()))
    })?;
    Ok(line.rule)
}

const HINT: &str = "each line has the arguments of one filter add: ebmirror filter add --help";

/// The same as clap's, for what is plain: options that are given once, with a value that is right. clap takes 20 µs a line.
fn quickly(words: &[String]) -> Option<RuleArgs> {
    fn once<T: std::str::FromStr>(place: &mut Option<T>, value: &str) -> Option<()> {
        match place.replace(value.parse().ok()?) {
            None => Some(()),
            Some(_) => None,
        }
    }
    let mut args = RuleArgs::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            args.expression.push(word.clone());
            continue;
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, value),
            None => (word.as_str(), words.next().filter(|value| !value.starts_with('-'))?.as_str()),
        };
        match option {
            "--priority" => once(&mut args.priority, value)?,
            "--action" => match args.action.replace(Action::from_str(value, false).ok()?) {
                None => {}
                Some(_) => return None,
            },
            "--to" => args.to.push(value.parse().ok()?),
            "--snaplen" => once(&mut args.snaplen, value)?,
            "--sample" => once(&mut args.sample, value)?,
            _ => args.flags.quickly(option, value)?,
        }
    }
    Some(args)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::super::soup::soup;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn the_short_way_never_reads_what_clap_reads_otherwise(line in soup()) {
            if let Ok(words) = words(&line) {
                let slow = Line::try_parse_from(&words).ok().map(|line| line.rule);
                let quick = quickly(&words);
                prop_assert!(quick.is_none() || quick == slow, "{line}: {quick:?}, and clap: {slow:?}");
            }
        }
    }

    fn split(line: &str) -> Vec<String> {
        words(line).unwrap()
    }

    /// A value that each option takes.
    fn value(option: &str) -> &'static str {
        match option {
            "priority" | "vlan" | "proto" | "icmp-type" => "7",
            "action" => "skip",
            "to" | "iface" => "ids",
            "snaplen" => "100",
            "sample" => "1/10",
            "direction" => "egress",
            "ether-type" => "0x88cc",
            "src-mac" | "dst-mac" => "02:00:00:00:00:01",
            "src" | "dst" | "host" => "10.0.0.0/8",
            "sport" | "dport" | "port" => "80-90",
            "tcp-flags" => "syn,!ack",
            other => panic!("--{other} is new: does the short way know it?"),
        }
    }

    #[test]
    fn the_short_way_reads_every_option_as_clap_does() {
        let command = Line::command();
        let options: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert!(options.len() > 15, "{options:?}");
        let mut all = "tcp".to_owned();
        for option in options {
            for line in [
                format!("--{option} {} udp or tcp", value(option)),
                format!("udp --{option}={} 'port 80'", value(option)),
            ] {
                let words = split(&line);
                let read = quickly(&words).unwrap_or_else(|| panic!("{line}: not read"));
                assert_eq!(read, Line::try_parse_from(&words).unwrap().rule, "{line}");
            }
            // Given twice, without a value, with a wrong one: clap says so.
            for line in [
                format!("--{option} {0} --{option} {0} tcp", value(option)),
                format!("tcp --{option}"),
                format!("--{option} --sample 1/2"),
                format!("--{option} ? tcp"),
                format!("--{option}s {} tcp", value(option)),
            ] {
                let words = split(&line);
                let slow = Line::try_parse_from(&words).ok().map(|line| line.rule);
                let quick = quickly(&words);
                assert!(quick.is_none() || quick == slow, "{line}: {quick:?}, and clap: {slow:?}");
            }
            all += &format!(" --{option} {}", value(option));
        }
        let words = split(&all);
        assert_eq!(quickly(&words), Line::try_parse_from(&words).ok().map(|line| line.rule));
    }

    #[test]
    fn what_looks_like_an_option_is_one() {
        for line in
            ["-p tcp", "--", "-- --to", "tcp -- udp", "--to=", "--to -x", "- tcp", "--=5", "--priority=-1", "-1"]
        {
            let words = split(line);
            let slow = Line::try_parse_from(&words).ok().map(|line| line.rule);
            let quick = quickly(&words);
            assert!(quick.is_none() || quick == slow, "{line}: {quick:?}, and clap: {slow:?}");
        }
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        for (line, expected) in [
            ("", &[][..]),
            ("   # tcp", &[]),
            ("tcp port 80 # web", &["tcp", "port", "80"]),
            ("'tcp port 80' --to \"a b\"", &["tcp port 80", "--to", "a b"]),
            ("tcp[tcpflags] & (tcp-syn) != 0 && !udp", &["tcp[tcpflags]", "&", "(tcp-syn)", "!=", "0", "&&", "!udp"]),
            ("a#b", &["a#b"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
        for line in ["'tcp", "tcp \\", "\"a"] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
