//! Comparisons: of the frame's length, of TCP's flags, of the type and the code of ICMP. Of arithmetic, `&` and `|` of numbers
//! and the mask of TCP's flags are covered.

use super::cursor::Parser;
use super::error::ParseError;
use super::lexer::Kind;
use super::{IcmpField, IcmpVersion, Relation, Test};

/// What is compared.
#[derive(Clone, Copy)]
enum Value {
    Number(u32),
    Length,
    TcpFlags(u8),
    Icmp(IcmpVersion, IcmpField),
}

const COVERED: &str = "what can be compared: len, tcp[tcpflags] and tcp[tcpflags] & (tcp-syn|tcp-ack), icmp[icmptype], icmp[icmpcode], icmp6[icmp6type], icmp6[icmp6code], each with a number";

impl Parser<'_> {
    /// A comparison.
    pub(super) fn relation(&mut self) -> Result<Test, ParseError> {
        let begin = self.at;
        let left = self.any_of()?;
        let relation = match *self.kind() {
            Kind::Symbol("=") => Relation::Equal,
            Kind::Symbol("!=") => Relation::NotEqual,
            Kind::Symbol("<") => Relation::Less,
            Kind::Symbol("<=") => Relation::LessEqual,
            Kind::Symbol(">") => Relation::Greater,
            Kind::Symbol(">=") => Relation::GreaterEqual,
            _ => {
                let hint = "compare it with =, !=, <, <=, > or >=: len > 100, tcp[tcpflags] & tcp-syn != 0";
                return Err(self.unexpected("a comparison is missing in front of", hint));
            }
        };
        self.advance();
        let right = self.any_of()?;
        let (of, relation, number) = match (left, right) {
            (Value::Number(_), Value::Number(_)) => {
                return Err(self.uncovered(begin, self.at - 1, "it compares two numbers: leave it out"));
            }
            (of, Value::Number(number)) => (of, relation, number),
            (Value::Number(number), of) => (of, turned(relation), number),
            _ => return Err(self.uncovered(begin, self.at - 1, COVERED)),
        };
        Ok(match of {
            Value::TcpFlags(mask) => Test::TcpFlags(mask, relation, number),
            Value::Icmp(version, field) => Test::Icmp(version, field, relation, number),
            _ => Test::Length(relation, number),
        })
    }

    /// Values with `|` between them, which binds less than `&`.
    fn any_of(&mut self) -> Result<Value, ParseError> {
        let mut left = self.all_of()?;
        while let Kind::Symbol("|") = self.kind() {
            let at = self.at;
            self.advance();
            left = match (left, self.all_of()?) {
                (Value::Number(a), Value::Number(b)) => Value::Number(a | b),
                _ => {
                    let hint = "& binds more than |: write parentheses, as in tcp[tcpflags] & (tcp-syn|tcp-ack) != 0";
                    return Err(self.wrong_at(at, at, "ebmirror does not cover \"|\" of anything but numbers", hint));
                }
            };
        }
        Ok(left)
    }

    /// Values with `&` between them.
    fn all_of(&mut self) -> Result<Value, ParseError> {
        let mut left = self.one()?;
        while let Kind::Symbol("&") = self.kind() {
            let at = self.at;
            self.advance();
            left = match (left, self.one()?) {
                (Value::Number(a), Value::Number(b)) => Value::Number(a & b),
                // Of a byte, no more than eight bits count.
                (Value::TcpFlags(mask), Value::Number(number)) => Value::TcpFlags(mask & number as u8),
                (Value::Number(_), Value::TcpFlags(_)) => {
                    // libpcap 1.10 then forgets to ask whether the packet is TCP: nobody can mean that.
                    let hint = "write the field first, as in tcp[tcpflags] & tcp-syn != 0: behind a number libpcap reads it of any packet";
                    return Err(self.wrong_at(at, at, "ebmirror does not cover a number in front of \"&\"", hint));
                }
                _ => {
                    let hint = "write a mask for TCP's flags alone, and compare the other fields as they are";
                    return Err(self.wrong_at(at, at, "ebmirror does not cover \"&\" here", hint));
                }
            };
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Value, ParseError> {
        let begin = self.at;
        let value = match *self.kind() {
            Kind::Number(number) => {
                self.advance();
                Value::Number(number)
            }
            Kind::Keyword("len") => {
                self.advance();
                Value::Length
            }
            Kind::Symbol("(") => {
                self.deeper()?;
                self.advance();
                let value = self.any_of()?;
                if !self.takes(")") {
                    return Err(self.unexpected("\")\" is missing in front of", "write ) behind what belongs together"));
                }
                self.back();
                value
            }
            Kind::Keyword(header) if matches!(self.next_kind(), Kind::Symbol("[")) => self.field(begin, header)?,
            Kind::Symbol("-") => return Err(self.uncovered(begin, begin, "write numbers without a sign")),
            _ => return Err(self.unexpected("a number is missing in front of", "write one, as in len > 100")),
        };
        match *self.kind() {
            Kind::Symbol("/") => Err(self.uncovered(
                self.at,
                self.at,
                "write a network with two or more numbers, behind net: net 10.0.0.0/8",
            )),
            Kind::Symbol("+" | "-" | "*" | "%" | "^" | "<<" | ">>") => {
                Err(self.uncovered(self.at, self.at, "write the result: of arithmetic, & and | of numbers are covered"))
            }
            _ => Ok(value),
        }
    }

    /// A byte of a header.
    fn field(&mut self, begin: usize, header: &str) -> Result<Value, ParseError> {
        self.advance();
        self.advance();
        let field = match self.any_of()? {
            Value::Number(number) => number,
            _ => return Err(self.uncovered(begin, self.at - 1, COVERED)),
        };
        let mut size = 1;
        if self.takes(":") {
            size = match *self.kind() {
                Kind::Number(size @ (1 | 2 | 4)) => size,
                _ => return Err(self.wrong("the size of a field is 1, 2 or 4 bytes", "write as in tcp[13:1]")),
            };
            self.advance();
        }
        if !self.takes("]") {
            return Err(self.unexpected("\"]\" is missing in front of", "write as in tcp[tcpflags]"));
        }
        match (header, field, size) {
            ("tcp", 13, 1) => Ok(Value::TcpFlags(0xff)),
            ("icmp", 0, 1) => Ok(Value::Icmp(IcmpVersion::V4, IcmpField::Type)),
            ("icmp", 1, 1) => Ok(Value::Icmp(IcmpVersion::V4, IcmpField::Code)),
            ("icmp6", 0, 1) => Ok(Value::Icmp(IcmpVersion::V6, IcmpField::Type)),
            ("icmp6", 1, 1) => Ok(Value::Icmp(IcmpVersion::V6, IcmpField::Code)),
            _ => Err(self.uncovered(begin, self.at - 1, COVERED)),
        }
    }
}

/// The same comparison with its sides exchanged.
fn turned(relation: Relation) -> Relation {
    match relation {
        Relation::Less => Relation::Greater,
        Relation::LessEqual => Relation::GreaterEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterEqual => Relation::LessEqual,
        same => same,
    }
}
