//! Tests of a word, or of a word and a number: protocols, `vlan 5`, `less 100`, `ifname eth0`, `ip multicast`.

use super::cursor::Parser;
use super::error::ParseError;
use super::lexer::Kind;
use super::limits::VLANS;
use super::{Family, MAX_VLANS, Relation, Test, names};

impl Parser<'_> {
    /// A test of a word, or a word and a number.
    pub(super) fn single(&mut self, keyword: &'static str) -> Result<Test, ParseError> {
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
        let all = matches!(self.kind_at(self.at - 1), Kind::Keyword("broadcast"));
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
pub(super) fn is_protocol(keyword: &str) -> bool {
    const PROTOCOLS: &[&str] =
        &["ether", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp"];
    PROTOCOLS.contains(&keyword) || names::ether_type(keyword).is_some()
}
