//! The grammar, as libpcap has it: `and` and `or` bind alike and from the left, `not` binds to the next test, and a value
//! without a word in front of it takes the words of the value before it.

use std::str::FromStr;

use super::cursor::Parser;
use super::error::ParseError;
use super::lexer::Kind;
use super::single::is_protocol;
use super::value::{Qualifier, What};
use super::{Expression, Family, Side, Test, names};

const CONTINUE: &str = "join tests with and, or, not: tcp port 80 and not net 10.0.0.0/8";

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
        let mut parser = Parser::new(text)?;
        let operand = parser.operand(None, Place::Free)?;
        let expression = parser.rest(operand)?.expression;
        match parser.kind() {
            Kind::End => expression.checked(),
            Kind::Symbol(")") => Err(parser.wrong("\")\" has no partner", "leave it out, or write ( in front")),
            _ => Err(parser.unexpected("\"and\" or \"or\" is missing in front of", CONTINUE)),
        }
    }
}

impl Parser<'_> {
    /// Goes past an `and` (true) or an `or` (false). None where neither is.
    fn takes_and_or(&mut self) -> Option<bool> {
        let and = match self.kind() {
            Kind::Symbol("and") => true,
            Kind::Symbol("or") => false,
            _ => return None,
        };
        self.advance();
        Some(and)
    }

    /// The rest of an expression: operands with `and` and `or` between them.
    fn rest(&mut self, mut left: Operand) -> Result<Operand, ParseError> {
        loop {
            let Some(and) = self.takes_and_or() else { return Ok(left) };
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
        if self.partner().is_none() {
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
            let Some(and) = self.takes_and_or() else { return Ok(left) };
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
        let Kind::Symbol(symbol) = *self.kind_at(at) else { return false };
        !matches!(symbol, "and" | "or" | "not" | "(" | ")" | "[" | "]" | ":")
    }

    /// Whether the parentheses that begin here hold a number.
    fn group_is_arithmetic(&self) -> bool {
        self.partner().is_some_and(|close| self.is_arithmetic(close + 1))
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
}

fn join(and: bool, left: Expression, right: Expression) -> Expression {
    match and {
        true => Expression::And(Box::new(left), Box::new(right)),
        false => Expression::Or(Box::new(left), Box::new(right)),
    }
}
