//! Random lines of files of rules, for tests.

/// Lines made of what lines are made of.
pub(super) fn soup() -> impl proptest::strategy::Strategy<Value = String> {
    const WORDS: [&str; 28] = [
        "tcp",
        "port",
        "80",
        "and",
        "or",
        "not",
        "(",
        ")",
        "host",
        "10.0.0.1",
        "--priority",
        "--priority=5",
        "--action",
        "skip",
        "--to",
        "ids",
        "--snaplen",
        "64",
        "--sample",
        "1/10",
        "--dport",
        "--proto",
        "--iface",
        "'",
        "\"",
        "\\",
        "#",
        "--",
    ];
    use proptest::prelude::*;
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..10).prop_map(|words| words.join(" "))
}
