//! A place among the tokens of an expression, and errors that point at tokens.

use super::MAX_DEPTH;
use super::error::ParseError;
use super::lexer::{Kind, Token, tokens};

/// Reads tokens from left to right.
pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// For each token that is a parenthesis, its partner.
    partners: Vec<Option<usize>>,
    /// The current token.
    pub(super) at: usize,
    depth: usize,
    /// How many `vlan` there were.
    pub(super) vlans: usize,
}

impl<'a> Parser<'a> {
    /// At the first token of the text.
    pub(super) fn new(text: &'a str) -> Result<Parser<'a>, ParseError> {
        let tokens = tokens(text)?;
        if tokens.len() == 1 {
            let hint = "write one: tcp port 80 and not net 10.0.0.0/8";
            return Err(ParseError::new(text, 0, text.len(), "the expression is empty", hint));
        }
        let partners = partners(&tokens);
        Ok(Parser { text, tokens, partners, at: 0, depth: 0, vlans: 0 })
    }

    /// The token.
    pub(super) fn kind(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    /// The token behind it.
    pub(super) fn next_kind(&self) -> &Kind {
        self.kind_at(self.at + 1)
    }

    /// What an earlier or a later token is.
    pub(super) fn kind_at(&self, at: usize) -> &Kind {
        &self.tokens[at.min(self.tokens.len() - 1)].kind
    }

    /// The other parenthesis of the one that is here.
    pub(super) fn partner(&self) -> Option<usize> {
        self.partners[self.at]
    }

    /// Steps over it; the last one stays.
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

    /// Into parentheses, or behind a `not`.
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

    /// Out of them.
    pub(super) fn back(&mut self) {
        self.depth -= 1;
    }
}

/// For each token that is a parenthesis, its partner.
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
