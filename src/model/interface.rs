//! Interface names, directions, hooks.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;

/// The name of a network interface: 1 to 15 bytes, no `/`, no white space, not `.` or `..` (kernel: dev_valid_name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." || text.contains(bad) {
            return Err(format!(
                "\"{text}\" is no interface name: 1 to 15 bytes without white space, / and : (ip link lists them)"
            ));
        }
        Ok(InterfaceName(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The way of a frame through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received by the interface
    Ingress,
    /// Sent by the interface
    Egress,
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Direction as ValueEnum>::from_str(text, false)
            .map_err(|_| format!("\"{text}\" is no direction: ingress or egress"))
    }
}

impl Direction {
    /// Both, in the order of output.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// The directions that a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Directions {
    /// Received and sent frames
    Both,
    /// Received frames
    Ingress,
    /// Sent frames
    Egress,
}

impl Directions {
    /// Whether it includes this one.
    pub fn has(self, direction: Direction) -> bool {
        match self {
            Directions::Both => true,
            Directions::Ingress => direction == Direction::Ingress,
            Directions::Egress => direction == Direction::Egress,
        }
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Direction> {
        Direction::ALL.into_iter().filter(move |direction| self.has(*direction))
    }
}

/// The kernel's hook that a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeChoice {
    /// TCX where the kernel has it (6.6 and later), else tc
    Auto,
    /// TCX links
    Tcx,
    /// clsact and cls_bpf
    Tc,
}

impl From<Mode> for ModeChoice {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Tcx => ModeChoice::Tcx,
            Mode::Tc => ModeChoice::Tc,
        }
    }
}

/// The kernel's hook in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// TCX links, kernel 6.6 and later.
    Tcx,
    /// A clsact qdisc with cls_bpf filters in direct-action mode.
    Tc,
}

impl Mode {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Mode::Tcx => Mode::Tc,
            Mode::Tc => Mode::Tcx,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Tcx => "tcx",
            Mode::Tc => "tc",
        })
    }
}

/// The place among the programs of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Before all others
    First,
    /// Behind all others
    Last,
}

impl Order {
    /// The one that lets the tap see what the wire sees: first of the received, last of the sent.
    pub fn of_the_wire(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Order::First,
            Direction::Egress => Order::Last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_allows_round_trip() {
        for name in ["eth0", "eth0.100", "a", "wlp0s20f3", "br-1234567890ab", "é"] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_the_kernel_refuses_are_errors() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "abcdefghijklmnop", "a\n"] {
            assert!(name.parse::<InterfaceName>().unwrap_err().contains(name), "{name:?}");
        }
    }
}
