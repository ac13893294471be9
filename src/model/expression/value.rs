//! What a value means, with the words in front of it: an address, a network, a port, a protocol.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cursor::Parser;
use super::error::ParseError;
use super::lexer::Kind;
use super::{Family, Net, Ports, Side, Test, Transport, names, services};

/// The words in front of a value; a value without any takes those of the value before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qualifier {
    pub(super) protocol: Option<&'static str>,
    pub(super) side: Side,
    pub(super) what: What,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Only `src` or `dst` is there, or a protocol: a host.
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Default | What::Host => "host",
            What::Net => "net",
            What::Port => "port",
            What::PortRange => "portrange",
            What::Proto => "proto",
        }
    }
}

const ADDRESS: &str = "write an address: host 10.0.0.1, host 2001:db8::1, net 10.0.0.0/8, net 2001:db8::/32";

impl Parser<'_> {
    /// The test that the value at this place is.
    pub(super) fn value(&mut self, words: Qualifier) -> Result<Test, ParseError> {
        let at = self.at;
        let kind = self.kind().clone();
        self.advance();
        match (kind, words.what) {
            (Kind::Mac(mac), What::Default | What::Host) if words.protocol == Some("ether") => {
                Ok(Test::Mac(words.side, mac))
            }
            (Kind::Mac(_), _) => {
                let hint = "write ether host, ether src or ether dst in front of a MAC address";
                Err(self.value_error(at, "a MAC address has no \"ether host\" in front of it", hint))
            }
            (Kind::Address4 | Kind::Address6(_), What::Port | What::PortRange | What::Proto) => {
                let problem =
                    format!("\"{}\" is an address, which {} does not take", self.spelt(at), words.what.word());
                Err(self.value_error(at, &problem, "write host or net in front of it"))
            }
            (Kind::Address4, _) => self.network4(at, words),
            (Kind::Address6(address), _) => self.network6(at, address, words),
            (Kind::Number(number), What::Default | What::Host | What::Net) => self.number_as_address(at, number, words),
            (Kind::Number(number), What::Port | What::PortRange) => {
                let transport = self.transport(at, words)?;
                let port = self.port_number(at, number)?;
                Ok(Test::Port(transport, words.side, Ports { first: port, last: port }))
            }
            (Kind::Number(number), What::Proto) => self.protocol_number(at, number, words),
            (Kind::Name(name), What::Port) => self.port_name(at, &name, words),
            (Kind::Name(name), What::PortRange) => self.port_range(at, &name, words),
            (Kind::Name(name), What::Proto) => self.protocol_name(at, &name, words),
            (Kind::Name(name), _) => {
                let hint = match (services::port(&name), words.protocol) {
                    (_, Some("ether")) => "write the MAC address: ether host 02:00:00:00:00:01",
                    (Some(_), _) => {
                        "write port in front of the name of a port: port http; hosts and networks by their addresses"
                    }
                    _ => {
                        "write the address: names of hosts and networks are not looked up, as a rule would depend on the hour"
                    }
                };
                let problem = format!("ebmirror does not cover names of hosts and networks: \"{name}\"");
                Err(self.value_error(at, &problem, hint))
            }
            _ => Err(self.value_error(at, "a value is missing", ADDRESS)),
        }
    }

    /// The error of a value that nothing is in front of.
    pub(super) fn value_without_words(&self) -> ParseError {
        let hint = match self.kind() {
            Kind::Mac(_) => "write ether host, ether src or ether dst in front of it",
            Kind::Address4 | Kind::Address6(_) => {
                "write host or net in front of it, or src or dst; it takes no words from before parentheses or another test"
            }
            Kind::Number(_) => {
                "write port, proto or net in front of it; it takes no words from before parentheses or another test"
            }
            Kind::Name(name) if name == "ipv6" => "write ip6",
            Kind::Name(name) if name == "ipv4" => "write ip",
            Kind::Name(name) if name == "icmpv6" => "write icmp6",
            Kind::Name(name) if name == "vxlan" => "write udp port 4789, which is all of VXLAN",
            Kind::Name(name) if names::keyword(name).is_some() => "leave out the backslash",
            Kind::Name(name) if services::port(name).is_some() => "write port in front of it",
            Kind::Name(name) if names::keyword(&name.to_ascii_lowercase()).is_some() => {
                "write the words of the language in lower case"
            }
            Kind::Name(name) if names::protocol(name).is_some() => "write proto in front of it",
            _ => "write tests as in tcp port 80, host 10.0.0.1, vlan 5",
        };
        let problem = match self.kind() {
            Kind::Name(name) => {
                format!("\"{name}\" is no word of the language, and no word in front says what it names")
            }
            _ => format!("no word in front says what \"{}\" is", self.spelt(self.at)),
        };
        self.wrong(problem, hint)
    }

    /// An error at the tokens from this one to the one before the current one.
    fn value_error(&self, at: usize, problem: &str, hint: &str) -> ParseError {
        self.wrong_at(at, self.at.saturating_sub(1).max(at), problem, hint)
    }

    fn family(&self, at: usize, words: Qualifier, v6: bool) -> Result<Family, ParseError> {
        let (kind, others) = match v6 {
            true => ("an IPv6 address", "leave it out, or write ip6"),
            false => ("an IPv4 address", "leave it out, or write ip, arp or rarp"),
        };
        match (words.protocol, v6) {
            (None, _) => Ok(Family::Any),
            (Some("ip"), false) => Ok(Family::Ip),
            (Some("arp"), false) => Ok(Family::Arp),
            (Some("rarp"), false) => Ok(Family::Rarp),
            (Some("ip6"), true) => Ok(Family::Ip6),
            (Some("tcp" | "udp" | "sctp" | "icmp" | "icmp6"), _) => {
                let protocol = words.protocol.unwrap_or_default();
                let hint = format!("join the two with and: {protocol} and host ADDRESS");
                Err(self.value_error(at, &format!("\"{protocol}\" has no hosts and networks"), &hint))
            }
            (Some("ether"), _) => {
                Err(self.value_error(at, &format!("\"ether\" takes a MAC address, not {kind}"), "leave out \"ether\""))
            }
            (Some(protocol), _) => {
                Err(self.value_error(at, &format!("\"{protocol}\" has no hosts that are {kind}"), others))
            }
        }
    }

    fn network(&self, words: Qualifier, family: Family, address: IpAddr, prefix: u32) -> Test {
        Test::Network(family, words.side, Net { address, prefix: prefix as u8 })
    }

    /// A number is an IPv4 address; behind `net`, its first bytes.
    fn number_as_address(&mut self, at: usize, number: u32, words: Qualifier) -> Result<Test, ParseError> {
        if let Kind::Symbol("/") | Kind::Keyword("mask") = self.kind() {
            let hint = "write two or more numbers of the network's address: net 10.0.0.0/8";
            return Err(self.wrong("a number alone has no prefix", hint));
        }
        let family = self.family(at, words, false)?;
        let (mut address, mut prefix) = (number, 32);
        while words.what == What::Net && address != 0 && address & 0xff00_0000 == 0 {
            address <<= 8;
            prefix -= 8;
        }
        Ok(self.network(words, family, Ipv4Addr::from_bits(address).into(), prefix))
    }

    /// The address of a token, its other bytes 0, and the bits that it gives.
    fn address4(&self, at: usize) -> Result<(u32, u32), ParseError> {
        let text = self.spelt(at);
        let bytes: Option<Vec<u8>> = text.split('.').map(decimal).collect();
        let Some(bytes) = bytes else {
            let hint = "write four numbers of 0 to 255, in decimal: 10.0.0.1";
            return Err(self.wrong_at(at, at, format!("\"{text}\" is no IPv4 address"), hint));
        };
        let bits = 8 * bytes.len() as u32;
        let address = bytes.iter().fold(0, |address, byte| address << 8 | u32::from(*byte));
        Ok((address << (32 - bits), bits))
    }

    fn network4(&mut self, at: usize, words: Qualifier) -> Result<Test, ParseError> {
        let (address, given) = self.address4(at)?;
        let prefix = match *self.kind() {
            Kind::Symbol("/") => self.prefix(at, 32)?,
            Kind::Keyword("mask") => {
                self.advance();
                let Kind::Address4 = self.kind() else {
                    return Err(self.unexpected(
                        "a mask is missing in front of",
                        "write net 10.0.0.0 mask 255.0.0.0, or net 10.0.0.0/8",
                    ));
                };
                let (mask, _) = self.address4(self.at)?;
                let ones = mask.leading_ones();
                if mask != mask4(ones) {
                    let hint = "write a mask whose ones are all in front, as 255.255.0.0, or a prefix: net 10.0.0.0/8";
                    return Err(self.uncovered(self.at, self.at, hint));
                }
                self.advance();
                ones
            }
            _ => {
                return Ok(self.network(
                    words,
                    self.family(at, words, false)?,
                    Ipv4Addr::from_bits(address).into(),
                    given,
                ));
            }
        };
        self.only_net(at, words)?;
        let family = self.family(at, words, false)?;
        let first = Ipv4Addr::from_bits(address & mask4(prefix));
        if first.to_bits() != address {
            return Err(self.behind_prefix(at, first.into(), prefix));
        }
        Ok(self.network(words, family, first.into(), prefix))
    }

    fn network6(&mut self, at: usize, address: Ipv6Addr, words: Qualifier) -> Result<Test, ParseError> {
        let prefix = match *self.kind() {
            Kind::Symbol("/") => self.prefix(at, 128)?,
            _ => 128,
        };
        if prefix != 128 {
            self.only_net(at, words)?;
        }
        let family = self.family(at, words, true)?;
        let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
        let first = Ipv6Addr::from_bits(address.to_bits() & mask);
        if first != address {
            return Err(self.behind_prefix(at, first.into(), prefix));
        }
        Ok(self.network(words, family, first.into(), prefix))
    }

    /// `/N`.
    fn prefix(&mut self, at: usize, most: u32) -> Result<u32, ParseError> {
        self.advance();
        let hint = "write as in net 10.0.0.0/8 or net 2001:db8::/32";
        match *self.kind() {
            Kind::Number(prefix) => {
                self.advance();
                match prefix {
                    prefix if prefix <= most => Ok(prefix),
                    _ => Err(self.value_error(at, &format!("the prefix {prefix} is longer than {most}"), hint)),
                }
            }
            _ => Err(self.unexpected("the length of a prefix is missing in front of", hint)),
        }
    }

    fn only_net(&self, at: usize, words: Qualifier) -> Result<(), ParseError> {
        match words.what {
            What::Net => Ok(()),
            _ => Err(self.value_error(
                at,
                "only net takes a prefix or a mask",
                "write net in front of it: src net 10.0.0.0/8",
            )),
        }
    }

    fn behind_prefix(&self, at: usize, first: IpAddr, prefix: u32) -> ParseError {
        let problem = "bits behind the prefix are set (non-network bits set)";
        self.value_error(at, problem, &format!("write net {first}/{prefix}, or host and the address alone"))
    }

    fn transport(&self, at: usize, words: Qualifier) -> Result<Transport, ParseError> {
        match words.protocol {
            None => Ok(Transport::Any),
            Some("tcp") => Ok(Transport::Tcp),
            Some("udp") => Ok(Transport::Udp),
            Some("sctp") => Ok(Transport::Sctp),
            Some(protocol) => {
                let problem = format!("\"{protocol}\" has no ports");
                let hint = format!("write tcp, udp or sctp, or join the two with and: {protocol} and port 80");
                Err(self.value_error(at, &problem, &hint))
            }
        }
    }

    fn port_number(&self, at: usize, number: u32) -> Result<u16, ParseError> {
        u16::try_from(number).map_err(|_| {
            self.value_error(at, &format!("{number} is too large for a port"), "write a port of 0 to 65535")
        })
    }

    /// A port by its name or its number in decimal.
    fn port_of(&self, at: usize, text: &str) -> Result<(u16, Transport), ParseError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().unwrap_or(u32::MAX);
            return Ok((self.port_number(at, number)?, Transport::Any));
        }
        services::port(text).ok_or_else(|| {
            let hint = match text.contains('-') {
                true => "write portrange for a range: portrange 8000-8100; else the number of the port, as this name is not known",
                false => "write its number, or a name as in /etc/services, in lower case: port 80, port http",
            };
            self.value_error(at, &format!("\"{text}\" is no port that is known"), hint)
        })
    }

    /// The protocol of a name's port, which the words in front may narrow, not contradict.
    fn narrow(&self, at: usize, name: &str, known: Transport, words: Qualifier) -> Result<Transport, ParseError> {
        match (self.transport(at, words)?, known) {
            (Transport::Any, known) => Ok(known),
            (wanted, Transport::Any) => Ok(wanted),
            (wanted, known) if wanted == known => Ok(wanted),
            (_, known) => {
                let known = if known == Transport::Tcp { "tcp" } else { "udp" };
                let hint = format!("write {known}, or the number of the port");
                Err(self.value_error(at, &format!("\"{name}\" is a port of {known} only"), &hint))
            }
        }
    }

    fn port_name(&self, at: usize, name: &str, words: Qualifier) -> Result<Test, ParseError> {
        self.transport(at, words)?;
        let (port, known) = self.port_of(at, name)?;
        let transport = self.narrow(at, name, known, words)?;
        Ok(Test::Port(transport, words.side, Ports { first: port, last: port }))
    }

    /// Two ports with `-` between them. A name that has one itself is not found, and libpcap does not find it either.
    fn port_range(&self, at: usize, text: &str, words: Qualifier) -> Result<Test, ParseError> {
        self.transport(at, words)?;
        let Some((first, last)) = text.split_once('-') else {
            return Err(self.value_error(at, &format!("\"{text}\" is no range"), "write it as in portrange 8000-8100"));
        };
        let (first, one) = self.port_of(at, first)?;
        let (last, other) = self.port_of(at, last)?;
        let known = if one == other { one } else { Transport::Any };
        let transport = self.narrow(at, text, known, words)?;
        Ok(Test::Port(transport, words.side, Ports { first: first.min(last), last: first.max(last) }))
    }

    fn protocol_number(&self, at: usize, number: u32, words: Qualifier) -> Result<Test, ParseError> {
        if words.protocol == Some("ether") {
            return self.ether_type(at, number);
        }
        let family = self.protocol_family(at, words)?;
        match u8::try_from(number) {
            Ok(number) => Ok(Test::Protocol(family, number)),
            Err(_) => {
                Err(self.value_error(at, &format!("{number} is too large for a protocol over IP"), "write 0 to 255"))
            }
        }
    }

    fn protocol_family(&self, at: usize, words: Qualifier) -> Result<Family, ParseError> {
        match words.protocol {
            None => Ok(Family::Any),
            Some("ip") => Ok(Family::Ip),
            Some("ip6") => Ok(Family::Ip6),
            Some(protocol) => {
                let problem = format!("\"{protocol} proto\" says nothing");
                Err(self.value_error(at, &problem, "write proto, ip proto, ip6 proto or ether proto"))
            }
        }
    }

    fn ether_type(&self, at: usize, number: u32) -> Result<Test, ParseError> {
        match u16::try_from(number) {
            Ok(number @ (0..=1500 | 0x809b | 0x80f3)) => {
                let hint = "libpcap looks for it behind an LLC header, which cannot be told apart here: write a type from 1501 on, without AppleTalk's";
                Err(self.value_error(at, &format!("ebmirror does not cover \"ether proto {number}\""), hint))
            }
            Ok(number) => Ok(Test::EtherType(number)),
            Err(_) => {
                let hint = "write 1501 to 65535, or a name: ether proto \\ip";
                Err(self.value_error(at, &format!("{number} is too large for an Ethernet type"), hint))
            }
        }
    }

    fn protocol_name(&self, at: usize, name: &str, words: Qualifier) -> Result<Test, ParseError> {
        if words.protocol == Some("ether") {
            return match names::ether_type(name) {
                Some(number) => Ok(Test::EtherType(number)),
                None if names::LLC_NAMES.contains(&name) => Err(self.value_error(
                    at,
                    &format!("ebmirror does not cover \"ether proto {name}\""),
                    names::remedy(name),
                )),
                None => {
                    let hint = "write \\ip, \\ip6, \\arp, \\rarp or a number: ether proto 0x8100";
                    Err(self.value_error(at, &format!("\"{name}\" is no Ethernet type that is known"), hint))
                }
            };
        }
        let family = self.protocol_family(at, words)?;
        match names::protocol(name) {
            Some(number) => Ok(Test::Protocol(family, number)),
            None => {
                let hint =
                    "write its number, or a name as in /etc/protocols: proto \\tcp, proto \\gre, proto \\ipv6-icmp";
                Err(self.value_error(at, &format!("\"{name}\" is no protocol that is known"), hint))
            }
        }
    }
}

fn mask4(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

fn decimal(text: &str) -> Option<u8> {
    // Digits alone: u8's own parser takes a sign as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
