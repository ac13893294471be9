//! The tokens of the language, as libpcap's scanner cuts them: at each place the longest that fits, and of two of one length
//! the one that comes first here: keyword, MAC address, number, IPv4 address, IPv6 address, name.

use std::net::Ipv6Addr;

use super::error::ParseError;
use super::names;
use super::{MAX_LENGTH, Mac};

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word of the language, by the first of its spellings (`len` for `length`).
    Keyword(&'static str),
    /// An operator, by the first of its spellings (`and` for `&&`).
    Symbol(&'static str),
    /// A number, or a name that stands for one (`tcp-syn`).
    Number(u32),
    /// Two to four numbers with dots between them.
    Address4,
    /// An IPv6 address.
    Address6(Ipv6Addr),
    /// A MAC address.
    Mac(Mac),
    /// A name, without the backslash in front of it.
    Name(String),
    /// The name of an interface between quotation marks: not in libpcap's language.
    Quoted(String),
    /// Behind the last.
    End,
}

/// A token and the bytes of the text that it is.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The longest ones first, where one begins another.
const SYMBOLS: &[(&str, &str)] = &[
    ("&&", "and"),
    ("||", "or"),
    (">=", ">="),
    ("<=", "<="),
    ("!=", "!="),
    ("==", "="),
    ("<<", "<<"),
    (">>", ">>"),
    ("!", "not"),
    ("(", "("),
    (")", ")"),
    ("[", "["),
    ("]", "]"),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("&", "&"),
    ("|", "|"),
    ("^", "^"),
    ("+", "+"),
    ("-", "-"),
    ("*", "*"),
    ("/", "/"),
    ("%", "%"),
    (":", ":"),
];

/// The tokens of a text, the last of them End.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    if text.len() > MAX_LENGTH {
        let problem = format!("the expression has {} bytes, more than {MAX_LENGTH}", text.len());
        let end = text.len();
        return Err(ParseError::new(text, end, end, problem, "split it into several rules"));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with([' ', '\t', '\r', '\n']) {
            at += 1;
            continue;
        }
        let (kind, length) = token(text, at)?;
        tokens.push(Token { kind, from: at, to: at + length });
        at += length;
    }
    tokens.push(Token { kind: Kind::End, from: at, to: at });
    Ok(tokens)
}

fn token(text: &str, at: usize) -> Result<(Kind, usize), ParseError> {
    let rest = &text[at..];
    match rest.as_bytes()[0] {
        b'\\' => return escaped(text, at),
        b'"' => return quoted(text, at),
        b'$' => {
            return Err(ParseError::new(
                text,
                at,
                at + 1,
                "\"$\" stands for an ARCnet address, and these are not covered",
                "mirrored interfaces are Ethernet: write ether host MAC",
            ));
        }
        _ => {}
    }
    let (word, mac, number, dotted) = (name(rest), mac(rest), digits(rest), dotted(rest));
    let (v6, colons) = (address6(rest), colons(rest));
    let longest = [word, mac, number, dotted, v6, colons].into_iter().max().unwrap_or(0);
    if longest == 0 {
        return symbol(text, at);
    }
    let wrong = |problem: String, hint: &str| ParseError::new(text, at, at + longest, problem, hint);
    let found = &rest[..longest];
    if word == longest
        && let Some(keyword) = names::keyword(found)
    {
        let kind = match keyword {
            "and" | "or" | "not" => Kind::Symbol(keyword),
            _ => Kind::Keyword(keyword),
        };
        return Ok((kind, longest));
    }
    let kind = if mac == longest {
        Kind::Mac(read_mac(found))
    } else if number == longest {
        Kind::Number(read_number(found).map_err(|problem| {
            wrong(
                format!("\"{found}\" {problem}"),
                "write a number of at most 32 bits: 80, 0x50 (hexadecimal), 0120 (octal)",
            )
        })?)
    } else if dotted == longest {
        Kind::Address4
    } else if v6 == longest {
        Kind::Address6(found.parse().unwrap_or(Ipv6Addr::UNSPECIFIED))
    } else if colons == longest {
        let hint =
            "write a MAC address with six numbers, 02:00:00:00:00:01, an IPv6 address with eight, or with :: for zeros";
        return Err(wrong(format!("\"{found}\" is no MAC address and no IPv6 address"), hint));
    } else {
        match names::number(found) {
            Some(value) => Kind::Number(value),
            None => Kind::Name(found.to_owned()),
        }
    };
    Ok((kind, longest))
}

fn symbol(text: &str, at: usize) -> Result<(Kind, usize), ParseError> {
    match SYMBOLS.iter().find(|(spelt, _)| text[at..].starts_with(spelt)) {
        Some((spelt, symbol)) => Ok((Kind::Symbol(symbol), spelt.len())),
        None => {
            let c = text[at..].chars().next().unwrap_or(' ');
            let hint = match c {
                ',' => "write \"or\" between alternatives: port 80 or 443",
                ';' | '#' => "an expression is one line without comments: tcp port 80 and host 10.0.0.1",
                '\'' => "leave the quotation marks out of the expression",
                _ => "write words, numbers, addresses and operators: tcp port 80 and not net 10.0.0.0/8",
            };
            let problem = format!("{c:?} is no part of the language");
            Err(ParseError::new(text, at, at + c.len_utf8(), problem, hint))
        }
    }
}

/// `\name`: no keyword.
fn escaped(text: &str, at: usize) -> Result<(Kind, usize), ParseError> {
    let rest = &text[at + 1..];
    let length = rest.find([' ', '!', '(', ')', '\n', '\t']).unwrap_or(rest.len());
    match length {
        0 => Err(ParseError::new(
            text,
            at,
            at + 1,
            "a name is missing behind the backslash",
            "write it as in proto \\tcp",
        )),
        _ => Ok((Kind::Name(rest[..length].to_owned()), length + 1)),
    }
}

/// `"name"`; a quotation mark in the name is written twice.
fn quoted(text: &str, at: usize) -> Result<(Kind, usize), ParseError> {
    let mut name = String::new();
    let mut rest = text[at + 1..].char_indices().peekable();
    while let Some((offset, c)) = rest.next() {
        match c {
            '"' if rest.next_if(|(_, next)| *next == '"').is_none() => return Ok((Kind::Quoted(name), offset + 2)),
            c => name.push(c),
        }
    }
    let hint = "the names of interfaces may stand between quotation marks: ifname \"eth0\"; nothing else may";
    Err(ParseError::new(text, at, at + 1, "a quotation mark has no partner", hint))
}

fn run(text: &str, of: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| of(*byte)).count()
}

/// Bytes of the number that begins here.
fn digits(text: &str) -> usize {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let length = run(hex, |byte| byte.is_ascii_hexdigit());
        if length > 0 {
            return length + 2;
        }
    }
    run(text, |byte| byte.is_ascii_digit())
}

/// Bytes of two to four numbers with dots between them.
fn dotted(text: &str) -> usize {
    let mut length = digits(text);
    let mut numbers = usize::from(length > 0);
    while (1..4).contains(&numbers) && text[length..].starts_with('.') {
        match digits(&text[length + 1..]) {
            0 => break,
            more => length += more + 1,
        }
        numbers += 1;
    }
    if numbers >= 2 { length } else { 0 }
}

/// Bytes of the MAC address that begins here.
fn mac(text: &str) -> usize {
    let hex = |text: &str| run(text, |byte| byte.is_ascii_hexdigit());
    let parts = |separator: char, count: usize, widths: std::ops::RangeInclusive<usize>| {
        let mut length = 0;
        for part in 0..count {
            if part > 0 {
                if !text[length..].starts_with(separator) {
                    return 0;
                }
                length += 1;
            }
            match hex(&text[length..]) {
                found if found < *widths.start() => return 0,
                // The last part may be the beginning of something longer, which is then another token.
                found if part + 1 < count && found > *widths.end() => return 0,
                found => length += found.min(*widths.end()),
            }
        }
        length
    };
    let plain = if hex(text) >= 12 { 12 } else { 0 };
    let spelt = [parts(':', 6, 1..=2), parts('-', 6, 1..=2), parts('.', 6, 1..=2), parts('.', 3, 4..=4), plain];
    spelt.into_iter().max().unwrap_or(0)
}

fn read_mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    let parts: Vec<&str> = text.split([':', '-', '.']).collect();
    let digits: String = match parts.len() {
        6 => parts.iter().map(|part| format!("{part:0>2}")).collect(),
        _ => parts.concat(),
    };
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = digits.get(at * 2..at * 2 + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()).unwrap_or(0);
    }
    Mac(bytes)
}

/// Bytes of the IPv6 address that begins here: without a colon it is none.
fn address6(text: &str) -> usize {
    let most = run(text, |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.').min(45);
    if !text[..most].contains(':') {
        return 0;
    }
    (2..=most).rev().find(|length| text[..*length].parse::<Ipv6Addr>().is_ok()).unwrap_or(0)
}

/// Bytes of what has the colons of a MAC address and is none.
fn colons(text: &str) -> usize {
    let (mut length, mut parts) = (0, 0);
    loop {
        let hex = run(&text[length..], |byte| byte.is_ascii_hexdigit());
        let colons = run(text.get(length + hex..).unwrap_or(""), |byte| byte == b':');
        if !(1..=2).contains(&hex) || colons == 0 {
            return if parts >= 2 { length } else { 0 };
        }
        length += hex + colons;
        parts += 1;
    }
}

/// Bytes of the name that begins here: the last is a letter, a digit or a dot.
fn name(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return 0;
    }
    let most = run(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    text[..most].trim_end_matches(['-', '_']).len()
}

/// A number as libpcap reads it: hexadecimal behind 0x, octal behind 0.
pub(super) fn read_number(text: &str) -> Result<u32, &'static str> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if radix == 8 && digits.contains(['8', '9']) {
        return Err("begins with 0 and is octal, where no 8 and no 9 can be");
    }
    u32::from_str_radix(digits, radix).map_err(|_| "has more than 32 bits")
}
