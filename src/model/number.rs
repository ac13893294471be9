//! Numbers with a smallest and a largest value: what the fields of the outer headers hold, and how much of a frame is kept.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A number with a range, such as a VNI.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The number, in host order.
            pub fn get(self) -> $inner {
                self.0
            }

            fn checked(number: i128, text: &str) -> Result<Self, String> {
                if number < $min {
                    return Err(format!("{} {text} is too small: {} to {}", $what, $min, $max));
                }
                if number > $max {
                    return Err(format!("{} {text} is too large: {} to {}", $what, $min, $max));
                }
                Ok($name(number as $inner))
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let number: i128 = text.parse().map_err(|_| {
                    format!("\"{text}\" is no {}: a whole number from {} to {}", $what, $min, $max)
                })?;
                Self::checked(number, text)
            }
        }

        impl TryFrom<u32> for $name {
            type Error = String;

            fn try_from(number: u32) -> Result<Self, Self::Error> {
                Self::checked(number.into(), &number.to_string())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u32::deserialize(deserializer).and_then(|number| Self::try_from(number).map_err(D::Error::custom))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded!(
    /// A VXLAN or GENEVE network identifier: 24 bits (RFC 7348, section 5; RFC 8926, section 3.4).
    Vni(u32), "VNI", 0..=16_777_215
);
bounded!(
    /// A GRE key: 32 bits (RFC 2890, section 2.1).
    GreKey(u32), "key", 0..=4_294_967_295_i128
);
bounded!(
    /// An ERSPAN session: 10 bits (draft-foschiano-erspan, section 4.1).
    Session(u16), "session", 0..=1_023
);
bounded!(
    /// A UDP port, 1 to 65535.
    Port(u16), "port", 1..=65_535
);
bounded!(
    /// The TTL of the outer header, 1 to 255.
    Ttl(u8), "TTL", 1..=255
);
bounded!(
    /// A differentiated services code point: 6 bits (RFC 2474).
    Dscp(u8), "DSCP", 0..=63
);
bounded!(
    /// How much of a frame is kept: from its first MAC byte on, VLAN tags included. 64 bytes hold the headers down to TCP.
    SnapLen(u32), "snap length", 64..=65_535
);
bounded!(
    /// The place of a rule among the others: lower ones come first.
    Priority(u16), "priority", 0..=65_535
);
bounded!(
    /// The number of a rule, which no other rule ever gets.
    RuleId(u32), "rule ID", 1..=4_294_967_295_i128
);

impl Default for Priority {
    fn default() -> Self {
        Priority(100)
    }
}

impl RuleId {
    /// The first.
    pub const FIRST: RuleId = RuleId(1);
}

impl Port {
    /// The port that IANA gave to VXLAN.
    pub const VXLAN: Port = Port(4789);
    /// The port that IANA gave to GENEVE.
    pub const GENEVE: Port = Port(6081);
}

impl Default for Ttl {
    fn default() -> Self {
        Ttl(64)
    }
}

impl Dscp {
    /// The class of traffic that asks for nothing.
    pub const BEST_EFFORT: Dscp = Dscp(0);
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trip;
    use super::*;

    #[test]
    fn vni_is_24_bits() {
        round_trip::<Vni>(
            &["0", "42", "16777215"],
            &[
                ("16777216", "VNI 16777216 is too large: 0 to 16777215"),
                ("-1", "too small"),
                ("x", "\"x\" is no VNI"),
                ("", "is no VNI"),
                ("0x10", "is no VNI"),
            ],
        );
    }

    #[test]
    fn keys_are_32_bits_and_sessions_10() {
        round_trip::<GreKey>(
            &["0", "4294967295"],
            &[("4294967296", "key 4294967296 is too large"), ("-1", "too small"), ("1.2.3.4", "is no key")],
        );
        round_trip::<Session>(
            &["0", "1", "1023"],
            &[("1024", "session 1024 is too large: 0 to 1023"), ("a", "is no session")],
        );
    }

    #[test]
    fn ports_ttl_and_dscp_have_their_ranges() {
        round_trip::<Port>(&["1", "65535"], &[("0", "too small"), ("65536", "too large")]);
        round_trip::<Ttl>(&["1", "255"], &[("0", "too small"), ("256", "too large")]);
        round_trip::<Dscp>(&["0", "63"], &[("64", "too large"), ("ef", "is no DSCP")]);
    }

    #[test]
    fn a_snap_length_keeps_the_headers_at_least() {
        round_trip::<SnapLen>(
            &["64", "128", "65535"],
            &[
                ("63", "too small: 64 to 65535"),
                ("0", "too small"),
                ("65536", "too large"),
                ("64k", "is no snap length"),
            ],
        );
    }

    #[test]
    fn rules_are_counted_from_one() {
        round_trip::<RuleId>(
            &["1", "4294967295"],
            &[("0", "rule ID 0 is too small"), ("4294967296", "too large"), ("a", "\"a\" is no rule ID")],
        );
        round_trip::<Priority>(&["0", "65535"], &[("65536", "too large: 0 to 65535"), ("-1", "too small")]);
    }

    #[test]
    fn numbers_have_the_same_range_as_texts() {
        assert_eq!(Vni::try_from(42).map(Vni::get), Ok(42));
        assert!(Vni::try_from(1 << 24).unwrap_err().contains("VNI 16777216 is too large"));
        assert!(Session::try_from(1024).is_err());
        assert!(Port::try_from(0).is_err());
    }
}
