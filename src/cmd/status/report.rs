//! What `status` says.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::interface::{Direction, Mode};
use crate::model::rule::Action;
use crate::model::stats::Counter;
use crate::output::{JsonStyle, Report, document, table};

#[derive(Default, Serialize)]
pub(super) struct Status {
    pub(super) healthy: bool,
    pub(super) directory: String,
    pub(super) interfaces: Vec<Interface>,
    pub(super) peers: Vec<PeerStatus>,
    /// How many there are.
    pub(super) rules: usize,
    /// What becomes of frames that no rule matches.
    pub(super) unmatched: Action,
    pub(super) unaccounted: u64,
    pub(super) problems: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Interface {
    pub(super) interface: String,
    pub(super) direction: Direction,
    pub(super) mode: Option<Mode>,
    pub(super) seen: Counter,
    /// Seconds until the tap stops by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stops_in_seconds: Option<u64>,
    /// Programs of others that frames meet before the tap.
    pub(super) ahead: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct PeerStatus {
    pub(super) peer: String,
    /// null for span, which has none.
    pub(super) remote: Option<String>,
    pub(super) device: Option<String>,
    pub(super) neighbour: Option<Neighbour>,
    pub(super) sent: Counter,
    pub(super) lost: Counter,
}

/// Whose MAC address is needed, and what the kernel knows of it.
#[derive(Serialize)]
pub(super) struct Neighbour {
    pub(super) address: IpAddr,
    pub(super) state: String,
}

impl Report for Status {
    fn json(&self, style: JsonStyle) -> serde_json::Result<String> {
        document("status", self, style)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", if self.healthy { "healthy" } else { "NOT HEALTHY" });
        for problem in &self.problems {
            text += &format!("  - {problem}\n");
        }
        if !self.interfaces.is_empty() {
            let rows = self.interfaces.iter().map(|row| {
                vec![
                    row.interface.clone(),
                    row.direction.to_string(),
                    row.mode.map_or_else(|| "-".to_owned(), |mode| mode.to_string()),
                    row.seen.packets.to_string(),
                    row.stops_in_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
                    if row.ahead.is_empty() { "-".to_owned() } else { row.ahead.join(", ") },
                ]
            });
            text += "\n";
            text += &table(&["interface", "direction", "mode", ">seen", ">stops in", "ahead of the tap"], rows);
        }
        if !self.peers.is_empty() {
            let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            let rows = self.peers.iter().map(|row| {
                vec![
                    row.peer.clone(),
                    row.remote.clone().unwrap_or_else(|| "-".to_owned()),
                    or_none(&row.device),
                    row.neighbour
                        .as_ref()
                        .map_or_else(|| "none".to_owned(), |known| format!("{} {}", known.address, known.state)),
                    row.sent.packets.to_string(),
                    row.lost.packets.to_string(),
                ]
            });
            text += "\n";
            text += &table(&["peer", "remote", "device", "neighbour", ">sent", ">lost"], rows);
        }
        let unmatched = match self.unmatched {
            Action::Mirror => "mirrored",
            Action::Skip => "skipped",
        };
        let rules = format!("rules {}, frames that no rule matches are {unmatched}", self.rules);
        text + &format!("\n{rules}; unaccounted {}\n", self.unaccounted)
    }

    fn exit(&self) -> u8 {
        u8::from(!self.healthy)
    }
}
