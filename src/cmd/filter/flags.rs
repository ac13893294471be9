//! Typed flags: shorthand for an expression.

use crate::model::expression::flags::{self, EtherType, IcmpType, Protocol, TcpFlags, VlanId};
use crate::model::expression::{Expression, Mac, Net, Ports};
use crate::model::interface::{Direction, InterfaceName};
use crate::model::{Error, Result};

macro_rules! flags {
    ($($(#[$meta:meta])* $option:literal $value:literal $field:ident: $type:ty,)*) => {
        /// The flags as clap reads them.
        #[derive(Clone, Debug, Default, PartialEq, clap::Args)]
        #[command(next_help_heading = "What to match, joined by and, also with the expression")]
        pub(super) struct Flags {$(
            $(#[$meta])*
            #[arg(long = $option, value_name = $value)]
            $field: Option<$type>,
        )*}

        impl Flags {
            /// Takes one of these flags, given once with a value that is right; else None.
            pub(super) fn quickly(&mut self, option: &str, value: &str) -> Option<()> {
                match option.strip_prefix("--")? {
                    $($option if self.$field.is_none() => self.$field = Some(value.parse().ok()?),)*
                    _ => return None,
                }
                Some(())
            }

            fn model(&self) -> flags::Flags {
                flags::Flags { $($field: self.$field.clone(),)* }
            }
        }
    };
}
flags! {
    /// Interface: ifname IFACE
    "iface" "IFACE" iface: InterfaceName,
    /// Way through the interface: inbound, outbound
    "direction" "WAY" direction: Direction,
    /// Ethernet type, by name or number: ether proto T
    "ether-type" "T" ether_type: EtherType,
    /// VLAN: vlan N
    "vlan" "N" vlan: VlanId,
    /// Source MAC address: ether src MAC
    "src-mac" "MAC" src_mac: Mac,
    /// Destination MAC address: ether dst MAC
    "dst-mac" "MAC" dst_mac: Mac,
    /// Protocol over IP, by name or number: tcp, proto P
    "proto" "P" proto: Protocol,
    /// Source address or network: src net CIDR
    "src" "CIDR" src: Net,
    /// Destination address or network: dst net CIDR
    "dst" "CIDR" dst: Net,
    /// Address or network of either side: net CIDR
    "host" "CIDR" host: Net,
    /// Source port, or range of them (8000-8100): src portrange PORTS
    #[arg(value_parser = |text: &str| Ports::of_side("src port", text))]
    "sport" "PORTS" sport: Ports,
    /// Destination port, or range of them: dst portrange PORTS
    #[arg(value_parser = |text: &str| Ports::of_side("dst port", text))]
    "dport" "PORTS" dport: Ports,
    /// Port of either side, or range of them: portrange PORTS
    "port" "PORTS" port: Ports,
    /// TCP flags that are set, and with ! those that are not: syn,!ack
    "tcp-flags" "F" tcp_flags: TcpFlags,
    /// ICMP type, by name or number: icmp[icmptype] = N
    "icmp-type" "N" icmp_type: IcmpType,
}

impl Flags {
    /// These and the expression, joined by `and`. None when there is neither.
    pub(super) fn and(&self, text: &str) -> Result<Option<Expression>> {
        let written = if text.is_empty() { None } else { Some(text.parse().map_err(Error::from)?) };
        let joined = flags::join(self.model().expression(), written);
        Ok(joined.map(Expression::checked).transpose()?)
    }
}
