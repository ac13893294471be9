//! The language of filter expressions: what is read, what is printed, what is refused, each beside tcpdump.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod accepted;
mod refused;

use std::process::Command;

use ebmirror::lab::expressions;
use ebmirror::lab::random::{self, Captured, Random};
use ebmirror::lab::tcpdump::{self, Program};
use ebmirror::model::expression::{Expression, MAX_DEPTH, MAX_LENGTH, ParseError};
use proptest::prelude::*;

fn read(text: &str) -> Result<Expression, ParseError> {
    text.parse()
}

/// What tcpdump makes of an expression; None when it refuses it.
fn program(text: &str) -> Option<String> {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-O", "-d", "--", text]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn frames() -> Vec<Captured> {
    let mut random = Random::new(4);
    (0..300).map(|_| random::frame(&mut random)).collect()
}

fn chosen(text: &str, frames: &[Captured]) -> Vec<bool> {
    tcpdump::choose(text, frames, Program::Written).unwrap().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_is_printed_is_what_was_read() {
    for (text, printed) in accepted::SAME.iter().chain(accepted::ALIKE) {
        let expression = read(text).unwrap_or_else(|error| panic!("{text}: {error}; {}", error.hint()));
        assert_eq!(expression.to_string(), *printed, "{text}");
        assert_eq!(read(printed), Ok(expression), "{text}");
    }
}

#[test]
fn libpcap_makes_the_same_program_of_what_is_printed() {
    assert!(accepted::SAME.len() >= 150, "only {} expressions", accepted::SAME.len());
    for (text, printed) in accepted::SAME {
        let theirs = program(text).unwrap_or_else(|| panic!("tcpdump refuses {text}"));
        assert_eq!(program(printed).as_ref(), Some(&theirs), "{text}, {printed}");
    }
}

#[test]
fn libpcap_chooses_the_same_frames_by_what_is_printed() {
    let frames = frames();
    for (text, printed) in accepted::ALIKE {
        assert_eq!(chosen(text, &frames), chosen(printed, &frames), "{text}, {printed}");
    }
}

#[test]
fn what_is_refused_is_named_and_pointed_at() {
    for (text, column, message, hint) in refused::BY_BOTH.iter().chain(refused::NOT_COVERED) {
        let Err(error) = read(text) else { panic!("{text} is read as {}", read(text).unwrap()) };
        let got = (error.column(), error.message(), error.hint());
        assert_eq!(error.column(), *column, "{text}: {got:?}");
        assert!(
            error.message().starts_with(&format!("{message}, column {column} of the expression: ")),
            "{text}: {got:?}"
        );
        assert!(error.hint().starts_with(hint) && !hint.is_empty(), "{text}: {got:?}");
        assert!(!error.message().contains('\n'), "{text}: {got:?}");
    }
}

#[test]
fn libpcap_refuses_what_is_not_only_not_covered() {
    for (text, ..) in refused::BY_BOTH.iter().filter(|row| !row.0.trim().is_empty()) {
        assert_eq!(program(text), None, "{text}");
    }
    for (text, ..) in refused::NOT_COVERED {
        assert!(program(text).is_some(), "{text}");
    }
}

#[test]
fn the_message_shows_where() {
    let error = read("tcp port htpt and host 10.0.0.1 and not net 192.168.0.0/16").unwrap_err();
    let start = "\"htpt\" is no port that is known, column 10 of the expression: ";
    assert_eq!(error.to_string(), format!("{start}tcp port >>>htpt<<< and host 10.0.0.1 and not net…"));
    let error = read("tcp and").unwrap_err();
    assert!(error.message().ends_with("column 8 of the expression: tcp and>>>end<<<"), "{error}");
    let error = read("tcp and π").unwrap_err();
    assert!(error.message().contains("column 9 of the expression: tcp and >>>π<<<"), "{error}");
}

#[test]
fn and_and_or_bind_alike_from_the_left() {
    for (text, grouped) in [
        ("tcp or udp and icmp", "(tcp or udp) and icmp"),
        ("icmp or tcp and udp or sctp", "((icmp or tcp) and udp) or sctp"),
        ("tcp and udp or icmp", "(tcp and udp) or icmp"),
        ("not tcp and udp", "(not tcp) and udp"),
        ("not port 80 or 90", "(not port 80) or port 90"),
        ("!tcp||udp&&icmp", "((not tcp) or udp) and icmp"),
        ("tcp or udp or icmp", "(tcp or udp) or icmp"),
    ] {
        assert_eq!(read(text), read(grouped), "{text}");
        assert_eq!(program(text), program(grouped), "{text}");
    }
    for (text, other) in [
        ("tcp or udp and icmp", "tcp or (udp and icmp)"),
        ("tcp or udp or icmp", "tcp or (udp or icmp)"),
        ("not tcp and udp", "not (tcp and udp)"),
    ] {
        assert_ne!(read(text), read(other), "{text}");
    }
}

#[test]
fn deep_and_long_expressions_are_refused() {
    let nested = |begin: &str, count: usize, end: &str| begin.repeat(count) + "tcp" + &end.repeat(count);
    for (begin, end) in [("(", ")"), ("not ", ""), ("!", ""), ("not (", ")")] {
        let most = if begin == "not (" { MAX_DEPTH / 2 } else { MAX_DEPTH };
        let good = read(&nested(begin, most, end)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(&good.to_string()), Ok(good));
        let error = read(&nested(begin, most + 1, end)).unwrap_err();
        assert!(error.message().contains("nested more than 200 deep"), "{error}");
        let error = read(&nested(begin, 10_000, end)).unwrap_err();
        assert!(error.message().contains("bytes, more than 4096"), "{error}");
        let error = read(&(begin.repeat(MAX_LENGTH / begin.len() - 3) + "tcp")).unwrap_err();
        assert!(error.message().contains("partner") || error.message().contains("nested more"), "{error}");
    }
    for text in [
        "vlan ".to_owned() + &nested("(", 300, ")").replace("tcp", "5"),
        nested("(", 300, ")").replace("tcp", "len") + " > 5",
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.message().contains("nested more than 200 deep"), "{error}");
    }

    let ports = |count: usize| (0..count).map(|port| port.to_string()).collect::<Vec<_>>().join(" or ");
    let good = read(&format!("port {}", ports(300))).unwrap();
    assert_eq!(read(&good.to_string()), Ok(good));
    let error = read(&format!("src and dst port {}", ports(300))).unwrap_err();
    assert!(error.message().contains("with all its words written"), "{error}");
    let error = read(&vec!["ip"; 1000].join(" or ")).unwrap_err();
    assert!(error.message().contains("the expression has 5996 bytes, more than 4096"), "{error}");

    let alternating =
        (0..=MAX_DEPTH + 1).map(|at| if at % 2 == 0 { "ip or " } else { "ip and " }).collect::<String>() + "ip";
    let error = read(&alternating).unwrap_err();
    assert!(error.message().contains("with all its parentheses written"), "{error}");
}

#[test]
fn what_is_put_together_is_checked() {
    let and = |a: &str, b: &str| Expression::And(Box::new(read(a).unwrap()), Box::new(read(b).unwrap()));
    assert!(and("vlan 5", "vlan and vlan").checked().is_ok());
    let error = and("vlan 5", "vlan and vlan and vlan").checked().unwrap_err();
    assert!(error.message().contains("more than 3 times"), "{error}");
    let long = vec!["port 443"; 300].join(" or ");
    assert!(read(&long).is_ok());
    let error = and("net 2001:db8:1111:2222:3333:4444:5555:0/112", &long).checked();
    assert!(error.is_ok());
    let error = and(&long, &long).checked().unwrap_err();
    assert!(error.message().contains("more than 4096"), "{error}");
}

#[test]
fn names_of_interfaces_are_kept() {
    for (name, text) in [
        ("eth0", "ifname eth0"),
        ("eth0.100", "ifname eth0.100"),
        ("br-lan", "ifname br-lan"),
        ("ip", "ifname \\ip"),
        ("1234", "ifname \\1234"),
        ("veth-", "ifname \\veth-"),
        ("a!b", "ifname \"a!b\""),
        ("(x)", "ifname \"(x)\""),
        ("!\"", "ifname \"!\"\"\""),
        ("gre", "ifname gre"),
        ("größe", "ifname \\größe"),
    ] {
        let expression = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let test = ebmirror::model::expression::Test::Interface(name.parse().unwrap());
        assert_eq!(expression, Expression::Test(test), "{text}");
        assert_eq!(expression.to_string(), text);
    }
}

#[test]
fn gre_is_a_protocol_of_both_families() {
    for text in ["gre", "tcp or gre", "port 80 or gre", "port 80 or (gre)", "not gre"] {
        let spelt = text.replace("gre", "proto \\gre");
        assert_eq!(read(text), read(&spelt), "{text}");
        assert_eq!(program(text), None, "libpcap has the word now: {text}");
    }
    assert_eq!(read("proto gre").unwrap().to_string(), "proto 47");
    assert!(read("port gre").unwrap_err().message().contains("is no port"));
}

#[test]
fn random_expressions_are_read_as_they_are_printed() {
    let mut random = Random::new(Random::seed(1));
    for _ in 0..20_000 {
        let expression = expressions::expression(&mut random, 12);
        let text = expression.to_string();
        assert_eq!(read(&text), Ok(expression), "{text}");
    }
}

/// Words that make an expression about as often as they do not.
const WORDS: &[&str] = &[
    "port 80",
    "port http",
    "tcp",
    "udp port 53",
    "host 10.0.0.1",
    "10.0.0.2",
    "net 10",
    "443",
    "domain",
    "src",
    "dst",
    "src or dst",
    "port",
    "portrange 1-5",
    "6-9",
    "vlan",
    "vlan 5",
    "(",
    "(",
    ")",
    ")",
    "not",
    "!",
    "and",
    "and",
    "or",
    "or",
    "&&",
    "||",
    "len > 5",
    "5 < len",
    "tcp[13] = 2",
    "2",
    "& 3",
    "= 5",
    "proto 6",
    "\\tcp",
    "icmp",
    "ether host 1:2:3:4:5:6",
    "2:2:3:4:5:6",
    "ip6",
    "::1",
    "net ::/0",
    "less 5",
    "greater",
    "ip proto",
    "17",
    "arp",
    "ip",
    "ether proto 2048",
    "multicast",
    "ether",
    "[",
    "]",
    "tcp[tcpflags]",
    "/8",
    "10.0",
    "icmp[icmptype]",
    "icmp-echo",
    "tcp-syn",
    "|",
    "mask 255.0",
    "host",
    "net",
    "proto",
    "0x10",
    "010",
    "byte",
    "gateway",
    "iso",
    "é",
    "\"",
    "\\",
    "$",
    "-",
    "_",
];

/// One of the words, or an operand that is one by itself, with what libpcap's grammar allows between them.
fn sentence() -> impl Strategy<Value = String> {
    let word = || prop::sample::select(&WORDS[..23]);
    let leaf = (prop::bool::weighted(0.2), word())
        .prop_map(|(not, word)| if not { format!("not {word}") } else { word.to_owned() });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let head = prop::sample::select(&["", "", "", "port ", "src host ", "proto ", "tcp port ", "not "][..]);
        (head, prop::collection::vec((inner, prop::bool::ANY), 1..4)).prop_map(|(head, parts)| {
            let mut text = head.to_owned() + "(";
            for (at, (part, and)) in parts.iter().enumerate() {
                text += match (at, and) {
                    (0, _) => "",
                    (_, true) => " and ",
                    (_, false) => " or ",
                };
                text += part;
            }
            text + ")"
        })
    })
}

/// Reads it; what can be read is printed so that the same is read again.
fn read_twice(text: &str) -> Result<Option<Expression>, TestCaseError> {
    match read(text) {
        Ok(expression) => {
            let printed = expression.to_string();
            let again = read(&printed);
            prop_assert_eq!(again.as_ref(), Ok(&expression), "{}", printed);
            Ok(Some(expression))
        }
        Err(error) => {
            prop_assert!(error.column() <= text.chars().count() + 1);
            prop_assert!(!error.message().chars().any(char::is_control), "{}", error);
            Ok(None)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_read_or_refused(words in prop::collection::vec(prop::sample::select(WORDS), 0..14)) {
        read_twice(&words.join(" "))?;
        read_twice(&words.concat())?;
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), ascii in "[ -~]{0,60}", few in "[0-9a-fx:./()!&|<>= -]{0,30}") {
        read_twice(&text)?;
        read_twice(&ascii)?;
        read_twice(&few)?;
        read_twice(&format!("host {few} or 1"))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// What is read, tcpdump reads as well, and as the same.
    #[test]
    fn any_words_that_are_read_mean_the_same_to_libpcap(
        text in prop_oneof![sentence(), prop::collection::vec(prop::sample::select(WORDS), 1..6).prop_map(|words| words.join(" "))]
    ) {
        if let Some(expression) = read_twice(&text)? {
            let (theirs, printed) = (program(&text), expression.to_string());
            prop_assert!(theirs.is_some(), "tcpdump refuses {}", text);
            if theirs != program(&printed) {
                let frames = frames();
                prop_assert_eq!(chosen(&text, &frames), chosen(&printed, &frames), "{}, {}", text, printed);
            }
        }
    }
}
