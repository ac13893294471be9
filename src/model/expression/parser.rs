//! The grammar, as libpcap has it: `and` and `or` bind alike and from the left, `not` binds to the next test, and a value
//! without a word in front of it takes the words of the value before it.

use std::str::FromStr;

use super::error::ParseError;
use super::lexer::{Kind, Token, tokens};
use super::value::{Qualifier, What};
use super::{Expression, Family, MAX_DEPTH, MAX_LENGTH, MAX_VLANS, Relation, Side, Test, names};

const CONTINUE: &str = "join tests with and, or, not: tcp port 80 and not net 10.0.0.0/8";

const VLANS: &str =
    "each vlan, wherever it stands, moves all that is behind it by four bytes; alternatives go into rules of their own";

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token>,
    /// For each token that is a parenthesis, its partner.
    partners: Vec<Option<usize>>,
    pub(super) at: usize,
    depth: usize,
    vlans: usize,
}

/// What an operand is made of: the rules for lists of values ask for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A test with words of its own, or an expression in parentheses.
    Term,
    /// A number, perhaps in parentheses.
    Number,
    /// Another value, or `not` and values.
    Value,
    /// A list of values in parentheses.
    List,
}

/// An expression, and the words that a value behind it takes.
struct Operand {
    expression: Expression,
    words: Option<Qualifier>,
    form: Form,
}

/// Where an operand stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At a place for a test. A value may be there if there are words for it.
    Free,
    /// Behind words, where only values may be: `port (80 or 443)`.
    Behind,
}

impl FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tokens = tokens(text)?;
        if tokens.len() == 1 {
            return Err(ParseError::new(
                text,
                0,
                text.len(),
                "the expression is empty",
                "write one: tcp port 80 and not net 10.0.0.0/8",
            ));
        }
        let partners = partners(&tokens);
        let mut parser = Parser { text, tokens, partners, at: 0, depth: 0, vlans: 0 };
        let operand = parser.operand(None, Place::Free)?;
        let expression = parser.rest(operand)?.expression;
        match parser.kind() {
            Kind::End => expression.checked(),
            Kind::Symbol(")") => Err(parser.wrong("\")\" has no partner", "leave it out, or write ( in front")),
            _ => Err(parser.unexpected("\"and\" or \"or\" is missing in front of", CONTINUE)),
        }
    }
}

impl Expression {
    /// The expression, if what is printed of it can be read: `FromStr` has asked that of what it returns; what is put together of
    /// several expressions may be too large.
    pub fn checked(self) -> Result<Expression, ParseError> {
        if vlans(&self) > MAX_VLANS {
            return Err(ParseError::whole(
                format!("\"vlan\" stands in the expression more than {MAX_VLANS} times"),
                VLANS,
            ));
        }
        if depth(&self) > MAX_DEPTH {
            let problem =
                format!("with all its parentheses written, the expression is nested more than {MAX_DEPTH} deep");
            return Err(ParseError::whole(problem, "group its alternatives, or split it into several rules"));
        }
        match self.to_string().len() {
            length if length > MAX_LENGTH => {
                let problem =
                    format!("with all its words written, the expression has {length} bytes, more than {MAX_LENGTH}");
                Err(ParseError::whole(problem, "split it into several rules"))
            }
            _ => Ok(self),
        }
    }
}

fn vlans(expression: &Expression) -> usize {
    match expression {
        Expression::Test(test) => usize::from(matches!(test, Test::Vlan(_))),
        Expression::Not(of) => vlans(of),
        Expression::And(a, b) | Expression::Or(a, b) => vlans(a) + vlans(b),
    }
}

/// How deep it is nested as it is printed.
fn depth(expression: &Expression) -> usize {
    let inner = |inner: &Expression, parentheses: bool| depth(inner) + usize::from(parentheses);
    match expression {
        Expression::Test(_) => 0,
        Expression::Not(of) => 1 + inner(of, of.joins()),
        Expression::And(a, b) | Expression::Or(a, b) => inner(a, expression.parts_from(a)).max(inner(b, b.joins())),
    }
}

fn partners(tokens: &[Token]) -> Vec<Option<usize>> {
    let mut partners = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Symbol("(") => open.push(at),
            Kind::Symbol(")") => {
                if let Some(begin) = open.pop() {
                    partners[begin] = Some(at);
                    partners[at] = Some(begin);
                }
            }
            _ => {}
        }
    }
    partners
}

impl Parser<'_> {
    pub(super) fn kind(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    pub(super) fn next_kind(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Steps over this operator, if it is here.
    pub(super) fn takes(&mut self, symbol: &str) -> bool {
        let here = matches!(self.kind(), Kind::Symbol(found) if *found == symbol);
        if here {
            self.advance();
        }
        here
    }

    /// Steps over this word, if it is here.
    pub(super) fn takes_word(&mut self, keyword: &str) -> bool {
        let here = matches!(self.kind(), Kind::Keyword(found) if *found == keyword);
        if here {
            self.advance();
        }
        here
    }

    /// The text of a token.
    pub(super) fn spelt(&self, at: usize) -> &str {
        &self.text[self.tokens[at].from..self.tokens[at].to]
    }

    /// An error at the tokens from this one to this one.
    pub(super) fn wrong_at(&self, from: usize, to: usize, problem: impl std::fmt::Display, hint: &str) -> ParseError {
        ParseError::new(self.text, self.tokens[from].from, self.tokens[to].to, problem, hint)
    }

    /// An error at this token.
    pub(super) fn wrong(&self, problem: impl std::fmt::Display, hint: &str) -> ParseError {
        self.wrong_at(self.at, self.at, problem, hint)
    }

    /// An error that names this token behind its text.
    pub(super) fn unexpected(&self, problem: &str, hint: &str) -> ParseError {
        match self.kind() {
            Kind::End => self.wrong(format!("{problem} the end"), hint),
            _ => self.wrong(format!("{problem} \"{}\"", self.spelt(self.at)), hint),
        }
    }

    /// An error for what libpcap has and ebmirror has not.
    pub(super) fn uncovered(&self, from: usize, to: usize, hint: &str) -> ParseError {
        let text = &self.text[self.tokens[from].from..self.tokens[to].to];
        self.wrong_at(from, to, format!("ebmirror does not cover \"{text}\""), hint)
    }

    pub(super) fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.wrong(
                format!("the expression is nested more than {MAX_DEPTH} deep"),
                "leave out parentheses and \"not\" that change nothing",
            )),
            false => Ok(()),
        }
    }

    pub(super) fn back(&mut self) {
        self.depth -= 1;
    }

    /// The rest of an expression: operands with `and` and `or` between them.
    fn rest(&mut self, mut left: Operand) -> Result<Operand, ParseError> {
        loop {
            let and = match self.kind() {
                Kind::Symbol("and") => true,
                Kind::Symbol("or") => false,
                _ => return Ok(left),
            };
            self.advance();
            let right = self.operand(left.words, Place::Free)?;
            left = Operand { expression: join(and, left.expression, right.expression), ..right };
        }
    }

    fn operand(&mut self, words: Option<Qualifier>, place: Place) -> Result<Operand, ParseError> {
        let term = |expression| Operand { expression, words: None, form: Form::Term };
        match self.kind() {
            Kind::Symbol("not") => {
                self.advance();
                self.deeper()?;
                let of = self.operand(words, place)?;
                self.back();
                let form = if of.form == Form::Term { Form::Term } else { Form::Value };
                Ok(Operand { expression: Expression::Not(Box::new(of.expression)), words: of.words, form })
            }
            Kind::Symbol("(") if place == Place::Free && self.group_is_arithmetic() => {
                Ok(term(Expression::Test(self.relation()?)))
            }
            Kind::Symbol("(") => self.group(words, place),
            Kind::Number(_) if place == Place::Free && self.is_arithmetic(self.at + 1) => {
                Ok(term(Expression::Test(self.relation()?)))
            }
            // libpcap has no word for GRE. A name at a place for a test can be nothing else here.
            Kind::Name(name)
                if name == "gre" && place == Place::Free && !words.is_some_and(|of| of.what == What::Proto) =>
            {
                self.advance();
                Ok(term(Expression::Test(Test::Protocol(Family::Any, 47))))
            }
            Kind::Number(_) | Kind::Name(_) | Kind::Address4 | Kind::Address6(_) | Kind::Mac(_) => {
                let form = if let Kind::Number(_) = self.kind() { Form::Number } else { Form::Value };
                let test = match words {
                    Some(words) => self.value(words)?,
                    None => return Err(self.value_without_words()),
                };
                Ok(Operand { expression: Expression::Test(test), words, form })
            }
            Kind::Symbol("-") => Err(self.uncovered(self.at, self.at, "write numbers without a sign")),
            Kind::Keyword(keyword)
                if words.is_some_and(|words| words.what == What::Proto) && place == Place::Behind =>
            {
                let hint = format!("write a backslash in front of a name that is one: \\{keyword}");
                Err(self.wrong(format!("\"{keyword}\" is a word of the language, not a name"), &hint))
            }
            _ if place == Place::Behind => Err(self.unexpected(
                "a value is missing in front of",
                "write it behind its word: host 10.0.0.1, port 80, proto 6",
            )),
            _ => self.term(),
        }
    }

    /// What stands in parentheses: an expression, or values for the words in front.
    fn group(&mut self, words: Option<Qualifier>, place: Place) -> Result<Operand, ParseError> {
        let open = self.at;
        if self.partners[open].is_none() {
            return Err(self.wrong("\"(\" has no partner", "write ) behind what belongs together"));
        }
        self.advance();
        self.deeper()?;
        let begin = self.at;
        if let Kind::Symbol(")") = self.kind() {
            return Err(self.wrong_at(
                open,
                begin,
                "nothing stands in the parentheses",
                "write a test between them, or leave them out",
            ));
        }
        let first = self.operand(words, place)?;
        let inner = match first.form {
            Form::Term => self.rest(first)?,
            Form::List => {
                let hint = "libpcap takes a list of values in one pair of parentheses: port (80 or 443)";
                return Err(self.wrong_at(open, begin, "a list of values stands in two pairs of parentheses", hint));
            }
            Form::Value | Form::Number => self.values(first, place)?,
        };
        if !self.takes(")") {
            return Err(self.unexpected("\"and\" or \"or\" is missing in front of", CONTINUE));
        }
        self.back();
        // What is behind takes the words from in front of the parentheses, never those in them.
        Ok(Operand { expression: inner.expression, words, form: inner.form })
    }

    /// The rest of a list of values.
    fn values(&mut self, mut left: Operand, place: Place) -> Result<Operand, ParseError> {
        // A number alone in parentheses is still one.
        if left.form != Form::Number || !matches!(self.kind(), Kind::Symbol(")")) {
            left.form = Form::List;
        }
        loop {
            let and = match self.kind() {
                Kind::Symbol("and") => true,
                Kind::Symbol("or") => false,
                _ => return Ok(left),
            };
            self.advance();
            let begin = self.at;
            let right = self.operand(left.words, place)?;
            if right.form == Form::Term {
                let hint = "in a list of values only values may be: close the parentheses before the next test";
                return Err(self.wrong_at(begin, begin, format!("\"{}\" is no value", self.spelt(begin)), hint));
            }
            left = Operand {
                expression: join(and, left.expression, right.expression),
                words: left.words,
                form: Form::List,
            };
        }
    }

    /// Whether an operator of arithmetic or of comparison is there.
    fn is_arithmetic(&self, at: usize) -> bool {
        let Kind::Symbol(symbol) = self.tokens[at.min(self.tokens.len() - 1)].kind else { return false };
        !matches!(symbol, "and" | "or" | "not" | "(" | ")" | "[" | "]" | ":")
    }

    /// Whether the parentheses that begin here hold a number.
    fn group_is_arithmetic(&self) -> bool {
        self.partners[self.at].is_some_and(|close| self.is_arithmetic(close + 1))
    }

    /// A test with words of its own.
    fn term(&mut self) -> Result<Operand, ParseError> {
        let begin = self.at;
        let Kind::Keyword(keyword) = *self.kind() else {
            return Err(
                self.unexpected("a test is missing in front of", "write one, as in tcp port 80, host 10.0.0.1, vlan 5")
            );
        };
        let words = match keyword {
            "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" => Some(self.words(None)?),
            "less" | "greater" | "vlan" | "inbound" | "outbound" | "ifname" | "broadcast" | "multicast" => None,
            "len" => None,
            _ if is_protocol(keyword) => match self.next_kind() {
                Kind::Symbol("[") => None,
                Kind::Keyword(
                    "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" | "protochain" | "gateway",
                ) => {
                    self.advance();
                    Some(self.words(Some(keyword))?)
                }
                _ => None,
            },
            "mask" => return Err(self.wrong("\"mask\" has no network in front of it", "write net 10.0.0.0/8")),
            _ => return Err(self.uncovered(begin, begin, names::remedy(keyword))),
        };
        let Some(words) = words else {
            let test = self.single(keyword)?;
            return Ok(Operand { expression: Expression::Test(test), words: None, form: Form::Term });
        };
        let value = self.operand(Some(words), Place::Behind)?;
        Ok(Operand { form: Form::Term, words: Some(words), ..value })
    }

    /// The words in front of a value.
    fn words(&mut self, protocol: Option<&'static str>) -> Result<Qualifier, ParseError> {
        let side = self.side();
        let what = match *self.kind() {
            Kind::Keyword("host") => What::Host,
            Kind::Keyword("net") => What::Net,
            Kind::Keyword("port") => What::Port,
            Kind::Keyword("portrange") => What::PortRange,
            Kind::Keyword("proto") if side.is_none() => What::Proto,
            Kind::Keyword(keyword @ ("protochain" | "gateway")) => {
                return Err(self.uncovered(self.at, self.at, names::remedy(keyword)));
            }
            _ => return Ok(Qualifier { protocol, side: side.unwrap_or(Side::Either), what: What::Default }),
        };
        self.advance();
        Ok(Qualifier { protocol, side: side.unwrap_or(Side::Either), what })
    }

    fn side(&mut self) -> Option<Side> {
        let (side, other) = match self.kind() {
            Kind::Keyword("src") => (Side::Src, "dst"),
            Kind::Keyword("dst") => (Side::Dst, "src"),
            _ => return None,
        };
        self.advance();
        let both = match self.kind() {
            Kind::Symbol("and") => Side::Both,
            Kind::Symbol("or") => Side::Either,
            _ => return Some(side),
        };
        if !matches!(self.next_kind(), Kind::Keyword(keyword) if *keyword == other) {
            return Some(side);
        }
        self.advance();
        self.advance();
        Some(both)
    }

    /// A test of a word, or a word and a number.
    fn single(&mut self, keyword: &'static str) -> Result<Test, ParseError> {
        let begin = self.at;
        if keyword == "len" || matches!(self.next_kind(), Kind::Symbol("[")) && is_protocol(keyword) {
            return self.relation();
        }
        self.advance();
        if is_protocol(keyword) && (self.takes_word("broadcast") || self.takes_word("multicast")) {
            return self.to_many(begin, keyword);
        }
        Ok(match keyword {
            "broadcast" => Test::Broadcast,
            "multicast" => Test::Multicast,
            "inbound" => Test::Inbound(true),
            "outbound" => Test::Inbound(false),
            "less" => Test::Length(Relation::LessEqual, self.number("less 100")?),
            "greater" => Test::Length(Relation::GreaterEqual, self.number("greater 100")?),
            "vlan" => self.vlan(begin)?,
            "ifname" => self.interface()?,
            _ => return self.protocol(begin, keyword),
        })
    }

    fn number(&mut self, example: &str) -> Result<u32, ParseError> {
        match *self.kind() {
            Kind::Number(number) => {
                self.advance();
                Ok(number)
            }
            _ => Err(self.unexpected("a number is missing in front of", &format!("write it as in {example}"))),
        }
    }

    fn vlan(&mut self, begin: usize) -> Result<Test, ParseError> {
        self.vlans += 1;
        if self.vlans > MAX_VLANS {
            let problem = format!("\"vlan\" stands in the expression more than {MAX_VLANS} times");
            return Err(self.wrong_at(begin, begin, problem, VLANS));
        }
        let mut open = 0;
        while matches!(self.kind(), Kind::Symbol("(")) {
            self.deeper()?;
            self.advance();
            open += 1;
        }
        let number = match *self.kind() {
            Kind::Number(number) if number > 0xfff => {
                return Err(self.wrong(format!("{number} is too large for the number of a VLAN"), "write 0 to 4095"));
            }
            Kind::Number(number) => {
                self.advance();
                Some(number as u16)
            }
            _ if open > 0 => {
                return Err(self
                    .unexpected("a number is missing in front of", "write vlan 5; for several, each as its own rule"));
            }
            _ => None,
        };
        for _ in 0..open {
            if !self.takes(")") {
                return Err(
                    self.unexpected("\")\" is missing in front of", "write vlan 5; for several, each as its own rule")
                );
            }
            self.back();
        }
        Ok(Test::Vlan(number))
    }

    fn interface(&mut self) -> Result<Test, ParseError> {
        let hint =
            "write its name, or \\NAME or \"NAME\" where the name is a number or a word of the language: ifname eth0";
        let name = match self.kind() {
            Kind::Name(name) | Kind::Quoted(name) => {
                name.parse().map_err(|problem: String| self.wrong(problem, hint))?
            }
            _ => return Err(self.unexpected("the name of an interface is missing in front of", hint)),
        };
        self.advance();
        Ok(Test::Interface(name))
    }

    /// `broadcast` and `multicast` behind a protocol.
    fn to_many(&self, begin: usize, protocol: &str) -> Result<Test, ParseError> {
        let all = matches!(self.tokens[self.at - 1].kind, Kind::Keyword("broadcast"));
        match (protocol, all) {
            ("ether", true) => Ok(Test::Broadcast),
            ("ether", false) => Ok(Test::Multicast),
            ("ip", false) => Ok(Test::IpMulticast),
            ("ip6", false) => Ok(Test::Ip6Multicast),
            ("ip", true) => Err(self.uncovered(
                begin,
                self.at - 1,
                "write ether broadcast, or the broadcast address of the network: dst host 192.168.1.255",
            )),
            _ => Err(self.wrong_at(
                begin,
                self.at - 1,
                format!("\"{protocol}\" has no {}", self.spelt(self.at - 1)),
                "write ether broadcast, ether multicast, ip multicast or ip6 multicast",
            )),
        }
    }

    /// A protocol alone.
    fn protocol(&self, at: usize, keyword: &str) -> Result<Test, ParseError> {
        let (family, number) = match keyword {
            "tcp" => (Family::Any, 6),
            "udp" => (Family::Any, 17),
            "esp" => (Family::Any, 50),
            "ah" => (Family::Any, 51),
            "pim" => (Family::Any, 103),
            "sctp" => (Family::Any, 132),
            "icmp" => (Family::Ip, 1),
            "igmp" => (Family::Ip, 2),
            "igrp" => (Family::Ip, 9),
            "vrrp" | "carp" => (Family::Ip, 112),
            "icmp6" => (Family::Ip6, 58),
            _ => {
                return match names::ether_type(keyword) {
                    Some(number) => Ok(Test::EtherType(number)),
                    None => {
                        let hint = "write what of the frame: ether host MAC, ether src MAC, ether proto 0x0800, ether multicast";
                        Err(self.wrong_at(at, at, format!("\"{keyword}\" alone says nothing"), hint))
                    }
                };
            }
        };
        Ok(Test::Protocol(family, number))
    }
}

/// Protocols that may stand in front of other words.
fn is_protocol(keyword: &str) -> bool {
    const PROTOCOLS: &[&str] =
        &["ether", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp"];
    PROTOCOLS.contains(&keyword) || names::ether_type(keyword).is_some()
}

fn join(and: bool, left: Expression, right: Expression) -> Expression {
    match and {
        true => Expression::And(Box::new(left), Box::new(right)),
        false => Expression::Or(Box::new(left), Box::new(right)),
    }
}
