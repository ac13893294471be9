//! The options that `peer add` and `peer set` share, and which of them a tunnel takes.

use crate::cmd::filter::To;
use crate::model::interface::InterfaceName;
use crate::model::peer::{Dscp, GreKey, PeerName, Port, Rate, Session, SnapLen, Ttl, UnicastAddr, Vni};
use crate::model::tunnel::{Gso, Oversize, Tunnel};
use crate::model::{Error, Result};

/// What both have.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// IPv4 or IPv6 address of the collector
    #[arg(long, value_name = "ADDR")]
    pub(super) remote: Option<UnicastAddr>,
    /// Source address of the outer header, or auto [default: auto, the route chooses]
    #[arg(long, value_name = "ADDR")]
    pub(super) local: Option<Local>,
    /// vxlan, geneve: network identifier, 0 to 16777215
    #[arg(long, value_name = "N")]
    pub(super) vni: Option<Vni>,
    /// gre: key, 0 to 4294967295, or none [default: none, a header without one]
    #[arg(long, value_name = "N")]
    pub(super) key: Option<Setting<GreKey>>,
    /// erspan2, erspan3: session, 0 to 1023
    #[arg(long, value_name = "N")]
    pub(super) session: Option<Session>,
    /// vxlan, geneve: UDP destination port [default: 4789, 6081]
    #[arg(long, value_name = "N")]
    pub(super) port: Option<Port>,
    /// span: the device that sends the copies; else the output device, or none [default: none, the route's]
    #[arg(long, value_name = "IFACE")]
    pub(super) dev: Option<Setting<InterfaceName>>,
    /// TTL (hop limit) of the outer header, 1 to 255 [default: 64]
    #[arg(long, value_name = "N")]
    pub(super) ttl: Option<Ttl>,
    /// DSCP of the outer header, 0 to 63 [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) dscp: Option<Dscp>,
    /// What becomes of a copy that does not fit the path [default: fragment; span: drop]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(super) oversize: Option<Oversize>,
    /// What becomes of a TCP super-packet [default: fast]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(super) gso: Option<Gso>,
    /// Keep the first bytes of each frame, 64 to 65535, or all [default: all]
    #[arg(long, value_name = "BYTES")]
    pub(super) snaplen: Option<Setting<SnapLen>>,
    /// Bits or frames a second at most, over all CPUs: 10mbit, 1gbit, 500kpps, or none; what 100 ms take, and a super-packet
    /// at least, may go at once [default: none]
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<Setting<Rate>>,
    /// Share the flows with the other peers of this group, or none [default: none, every frame]
    #[arg(long, value_name = "NAME")]
    pub(super) group: Option<Setting<PeerName>>,
    /// Send copies where they may come back: through a VPN whose packets a mirrored interface may carry, or (span) onto the
    /// mirrored network
    #[arg(long)]
    pub(super) force: bool,
}

/// Where the source address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    Auto,
    Address(UnicastAddr),
}

impl std::str::FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Local::Auto) } else { text.parse().map(Local::Address) }
    }
}

/// A value, or the word that takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting<T>(pub(super) Option<T>);

/// What has such a word.
pub(super) trait Unset {
    const WORD: &'static str = "none";
}

impl Unset for GreKey {}
impl Unset for InterfaceName {}
impl Unset for PeerName {}
impl Unset for Rate {}
impl Unset for SnapLen {
    const WORD: &'static str = "all";
}

impl<T: Unset + std::str::FromStr<Err = String>> std::str::FromStr for Setting<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == T::WORD {
            return Ok(Setting(None));
        }
        text.parse().map(|value| Setting(Some(value))).map_err(|error| format!("{error}, or {}", T::WORD))
    }
}

/// Options that not every tunnel takes, with those that do.
const OWNERS: [(&str, &[Tunnel]); 7] = {
    use Tunnel::{Erspan2, Erspan3, Geneve, Gre, Vxlan};
    const OUTER: &[Tunnel] = &[Vxlan, Geneve, Gre, Erspan2, Erspan3];
    const UDP: &[Tunnel] = &[Vxlan, Geneve];
    [
        ("--remote", OUTER),
        ("--local", OUTER),
        ("--vni", UDP),
        ("--port", UDP),
        ("--key", &[Gre]),
        ("--session", &[Erspan2, Erspan3]),
        ("--ttl, --dscp", OUTER),
    ]
};

/// Refuses what means something else where a rule names peers and groups.
pub(super) fn check_name(name: &PeerName) -> Result<()> {
    if name.as_str() != To::ALL {
        return Ok(());
    }
    Err(Error::usage(format!(
        "\"{name}\" cannot be the name of a peer or group: filter add --to {name} is every group"
    ))
    .hint("give it another name"))
}

impl Options {
    /// The same of the group.
    pub(super) fn check_group(&self) -> Result<()> {
        self.group.as_ref().and_then(|group| group.0.as_ref()).map_or(Ok(()), check_name)
    }

    /// Refuses options that this tunnel does not take.
    pub(super) fn check(&self, tunnel: Tunnel) -> Result<()> {
        let given = [
            self.remote.is_some(),
            self.local.is_some(),
            self.vni.is_some(),
            self.port.is_some(),
            self.key.is_some(),
            self.session.is_some(),
            self.ttl.is_some() || self.dscp.is_some(),
        ];
        let foreign = OWNERS.iter().zip(given).find(|((_, owners), given)| *given && !owners.contains(&tunnel));
        if let Some(((option, owners), _)) = foreign {
            let owners: Vec<String> = owners.iter().map(Tunnel::to_string).collect();
            let takes: Vec<&str> =
                OWNERS.iter().filter(|(_, owners)| owners.contains(&tunnel)).map(|(option, _)| *option).collect();
            return Err(Error::usage(format!("{option} is for {}, not for {tunnel}", owners.join(", "))).hint(
                format!(
                    "{tunnel} takes {}, beside what every peer has",
                    if takes.is_empty() { "--dev alone".to_owned() } else { format!("{}, --dev", takes.join(", ")) }
                ),
            ));
        }
        if tunnel == Tunnel::Span && self.oversize == Some(Oversize::Fragment) {
            return Err(Error::usage(
                "--oversize fragment is not for span: a plain frame has no outer packet to cut up",
            )
            .hint("--oversize truncate cuts a frame that is too long for the device; drop, the default, loses it"));
        }
        if tunnel == Tunnel::Span && self.dev == Some(Setting(None)) {
            return Err(missing(tunnel, "--dev", "IFACE"));
        }
        Ok(())
    }

    /// Refuses a new peer without what its tunnel needs.
    pub(super) fn check_complete(&self, tunnel: Tunnel) -> Result<()> {
        let (option, value, given) = match tunnel {
            Tunnel::Vxlan | Tunnel::Geneve => ("--vni", "N", self.vni.is_some()),
            Tunnel::Erspan2 | Tunnel::Erspan3 => ("--session", "N", self.session.is_some()),
            Tunnel::Gre => ("", "", true),
            Tunnel::Span => ("--dev", "IFACE", self.dev.is_some()),
        };
        if tunnel != Tunnel::Span && self.remote.is_none() {
            return Err(missing(tunnel, "--remote", "ADDR"));
        }
        if given { Ok(()) } else { Err(missing(tunnel, option, value)) }
    }
}

pub(super) fn missing(tunnel: Tunnel, option: &str, value: &str) -> Error {
    Error::usage(format!("{tunnel} needs {option} {value}"))
        .hint("ebmirror peer add --help has an example for each tunnel")
}
