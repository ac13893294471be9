//! Traffic control: the clsact qdisc and BPF filters on it.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption};

use super::{Error, Netlink, Result, attributes, text, u32_native};

/// The parent of filters on packets that come in: the clsact (or ingress) qdisc, ingress side.
pub const CLSACT_INGRESS: u32 = 0xffff_fff2;
/// The parent of filters on packets that go out: the clsact qdisc, egress side.
pub const CLSACT_EGRESS: u32 = 0xffff_fff3;

/// `TC_H_CLSACT`: the place of the clsact qdisc, which the ingress qdisc shares.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT: &str = "clsact";

/// The kernel's `struct tcmsg`.
const TC_HEADER_LEN: usize = 20;

/// `TCA_BPF_*` of linux/pkt_cls.h.
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// `TCA_KIND` and the like of linux/rtnetlink.h.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;

/// The longest filter name in bytes: `CLS_BPF_NAME_LEN` without the NUL.
const NAME_MAX: usize = 255;

/// A queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    pub kind: String,
    /// Major number in the upper, minor in the lower 16 bits: `0xfffffff1` for clsact and ingress.
    pub parent: u32,
    /// Major number in the upper 16 bits.
    pub handle: u32,
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub kind: String,
    /// `pref` in the words of `tc`; lower runs first.
    pub priority: u16,
    /// The Ethernet type that it looks at, in network byte order; `ETH_P_ALL` is all.
    pub protocol_be: u16,
    pub handle: u32,
    /// Packets begin in chain 0; the others run only when an action jumps to them.
    pub chain: u32,
    /// What is particular to kind `bpf`.
    pub bpf: Option<BpfFilter>,
}

/// The BPF side of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfFilter {
    /// As given at creation; empty when it was not.
    pub name: String,
    /// The kernel's program number; a filter of classic BPF has none.
    pub id: Option<u32>,
    /// The program's result is the verdict.
    pub direct_action: bool,
}

impl Netlink {
    /// The qdiscs of a device, its invisible default one excepted. An unknown device has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn qdiscs(&self, ifindex: u32) -> Result<Vec<Qdisc>> {
        let message = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let mut qdiscs = Vec::new();
        for payload in self.dump(&message)? {
            let header = TcHeader::parse(&payload)?;
            // The kernel lists those of all devices, whatever the request says.
            if header.index != ifindex.cast_signed() {
                continue;
            }
            let mut qdisc = Qdisc { kind: String::new(), parent: header.parent.into(), handle: header.handle.into() };
            for attribute in attributes(&payload[TC_HEADER_LEN..]) {
                if let (TCA_KIND, value) = attribute? {
                    qdisc.kind = text(value);
                }
            }
            qdiscs.push(qdisc);
        }
        Ok(qdiscs)
    }

    /// The filters under `parent` ([`CLSACT_INGRESS`], [`CLSACT_EGRESS`]) in the order in which they run. Without a
    /// qdisc, and on an unknown device, there are none. An ingress qdisc answers for both parents with the same
    /// filters: look at the kind of the qdisc first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn filters(&self, ifindex: u32, parent: u32) -> Result<Vec<Filter>> {
        let message = message_for(ifindex, parent, 0, 0);
        self.dump(&RouteNetlinkMessage::GetTrafficFilter(message))?
            .iter()
            .filter_map(|payload| Filter::parse(payload).transpose())
            .collect()
    }

    /// Adds a clsact qdisc.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when the device has one, from whomever, and also when it has an ingress qdisc, which
    /// excludes clsact ([`Netlink::qdiscs`] tells the two apart); `ENODEV` without the device.
    pub fn add_clsact(&self, ifindex: u32) -> Result<()> {
        self.change(RouteNetlinkMessage::NewQueueDiscipline(clsact(ifindex)), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Deletes the clsact qdisc **and everybody's filters on it**.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` when there is none, or an ingress qdisc in its place, which stays.
    pub fn delete_clsact(&self, ifindex: u32) -> Result<()> {
        self.change(RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex)), 0)
    }

    /// Adds a filter that runs the program `prog` on all packets, with the program's result as the verdict, and
    /// returns it as the kernel placed it. With `priority` 0 the kernel chooses one: 49152 for the first, then one
    /// below the lowest of those above 32768. With `handle` 0 it chooses the next free one of that priority.
    ///
    /// # Errors
    /// The kernel's: `EEXIST` when there is a filter with this priority and handle, `EINVAL` when the priority
    /// belongs to another kind or protocol, or the device has no clsact qdisc. That is also the answer for
    /// [`CLSACT_EGRESS`] where an ingress qdisc stands in its place: the kernel would take the filter, and run it on
    /// what comes in.
    pub fn add_bpf_filter(
        &self,
        ifindex: u32,
        parent: u32,
        priority: u16,
        handle: u32,
        prog: BorrowedFd<'_>,
        name: &str,
    ) -> Result<Filter> {
        if parent == CLSACT_EGRESS && !self.has_clsact(ifindex)? {
            return Err(Error::errno(libc::EINVAL, Some("the device has no clsact qdisc".into())));
        }
        let message = bpf_message(ifindex, parent, priority, handle, prog, name)?;
        let replies =
            self.request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO)?;
        match replies.first().map(|payload| Filter::parse(payload)) {
            Some(filter) => filter?,
            None => None,
        }
        .ok_or_else(|| Error::invalid_data("the kernel added a filter and did not say where".into()))
    }

    /// Swaps the program and the name of an existing filter of kind `bpf`; no packet passes in between without one
    /// of the two. It never creates a filter.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` when there is no filter with this priority and handle, `EINVAL` when it is of another
    /// kind; invalid input for a priority or handle of 0.
    pub fn replace_bpf_filter(
        &self,
        ifindex: u32,
        parent: u32,
        priority: u16,
        handle: u32,
        prog: BorrowedFd<'_>,
        name: &str,
    ) -> Result<()> {
        check_one(priority, handle)?;
        let message = bpf_message(ifindex, parent, priority, handle, prog, name)?;
        self.change(RouteNetlinkMessage::NewTrafficFilter(message), 0)
    }

    /// Deletes one filter of kind `bpf`.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` when there is no such filter, `EINVAL` when it is of another kind; invalid input for a
    /// priority or handle of 0, with which the kernel would delete all filters of the parent or of the priority.
    pub fn delete_filter(&self, ifindex: u32, parent: u32, priority: u16, handle: u32) -> Result<()> {
        check_one(priority, handle)?;
        let mut message = message_for(ifindex, parent, handle, all_packets(priority));
        message.attributes.push(TcAttribute::Kind("bpf".into()));
        self.change(RouteNetlinkMessage::DelTrafficFilter(message), 0)
    }

    fn has_clsact(&self, ifindex: u32) -> Result<bool> {
        Ok(self.qdiscs(ifindex)?.iter().any(|qdisc| qdisc.kind == CLSACT))
    }
}

impl Filter {
    /// `None` for the entry that the kernel lists ahead of the filters of a priority, which is no filter.
    fn parse(payload: &[u8]) -> Result<Option<Self>> {
        let header = TcHeader::parse(payload)?;
        let mut filter = Self {
            kind: String::new(),
            priority: (header.info >> 16) as u16,
            protocol_be: header.info as u16,
            handle: header.handle.into(),
            chain: 0,
            bpf: None,
        };
        let mut options = None;
        for attribute in attributes(&payload[TC_HEADER_LEN..]) {
            match attribute? {
                (TCA_KIND, value) => filter.kind = text(value),
                (TCA_CHAIN, value) => filter.chain = u32_native(value).unwrap_or(0),
                (TCA_OPTIONS, value) => options = Some(value),
                _ => {}
            }
        }
        if filter.handle == 0 && options.is_none() {
            return Ok(None);
        }
        if filter.kind == "bpf" {
            filter.bpf = Some(BpfFilter::parse(options.unwrap_or_default())?);
        }
        Ok(Some(filter))
    }
}

impl BpfFilter {
    fn parse(options: &[u8]) -> Result<Self> {
        let mut filter = Self::default();
        for option in attributes(options) {
            match option? {
                (TCA_BPF_NAME, value) => filter.name = text(value),
                (TCA_BPF_ID, value) => filter.id = u32_native(value),
                (TCA_BPF_FLAGS, value) => {
                    filter.direct_action = u32_native(value)
                        .is_some_and(|flags| TcBpfFlags::from_bits_retain(flags).contains(TcBpfFlags::DirectAction));
                }
                _ => {}
            }
        }
        Ok(filter)
    }
}

fn message_for(ifindex: u32, parent: u32, handle: u32, info: u32) -> TcMessage {
    let header = TcHeader {
        index: ifindex.cast_signed(),
        handle: TcHandle::from(handle),
        parent: TcHandle::from(parent),
        info,
        ..Default::default()
    };
    TcMessage::from_parts(header, Vec::new())
}

fn clsact(ifindex: u32) -> TcMessage {
    let mut message = message_for(ifindex, CLSACT_PARENT, CLSACT_HANDLE, 0);
    message.attributes.push(TcAttribute::Kind(CLSACT.into()));
    message
}

fn bpf_message(
    ifindex: u32,
    parent: u32,
    priority: u16,
    handle: u32,
    prog: BorrowedFd<'_>,
    name: &str,
) -> Result<TcMessage> {
    if name.len() > NAME_MAX || name.contains('\0') {
        return Err(Error::invalid_input(format!("a filter name has at most {NAME_MAX} bytes and no NUL")));
    }
    let mut message = message_for(ifindex, parent, handle, all_packets(priority));
    message.attributes = vec![
        TcAttribute::Kind("bpf".into()),
        TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(prog.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]),
    ];
    Ok(message)
}

/// `tcm_info` of a filter: the priority above, the Ethernet type in network byte order below.
fn all_packets(priority: u16) -> u32 {
    u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be())
}

fn check_one(priority: u16, handle: u32) -> Result<()> {
    if priority == 0 || handle == 0 {
        return Err(Error::invalid_input("a priority or handle of 0 is not one filter".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
