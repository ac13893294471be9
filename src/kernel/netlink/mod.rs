//! A synchronous client of the kernel's routing netlink: links, routes, neighbours, traffic control.
//!
//! Requests are built with the types of `netlink-packet-route`. Replies about links and traffic control are read
//! attribute by attribute instead: the library decodes all of a message or nothing, so one interface whose name is
//! not UTF-8, or one foreign filter of a kind that it knows less well than the kernel, would hide all the others.

mod device;
mod link;
mod neigh;
mod route;
mod tc;
#[cfg(test)]
mod testing;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::model;
use netlink_packet_core::{
    DecodeError, NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use link::{Framing, Link};
pub use neigh::{Neighbour, NeighbourState};
pub use route::{Route, RouteKind};
pub use tc::{BpfFilter, CLSACT_EGRESS, CLSACT_INGRESS, Filter, Qdisc};

const NETLINK_HEADER_LEN: usize = 16;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the kernel's own words about a refused request.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// How often a listing is asked for anew because the kernel changed it while it was being read. Each attempt is a
/// full one; a table that changes faster than this many readings is not going to hold still.
const DUMP_ATTEMPTS: usize = 32;

/// A request that failed: the kernel's error number, and its explanation where it gave one.
#[derive(Debug)]
pub struct Error {
    source: io::Error,
    detail: Option<String>,
}

/// The result of a netlink request.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error number (`EEXIST`, `ENODEV` …), positive; `None` when the error is not the kernel's.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// The kind, as the standard library sorts error numbers.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// What the kernel (or the check that refused the request) had to say.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The same as the program's error: what was tried, and the kernel's reason.
    pub fn context(&self, what: &str) -> model::Error {
        let error = model::Error::io(what, &self.source);
        match &self.detail {
            Some(_) => model::Error { message: format!("{what}: {self}"), ..error },
            None => error,
        }
    }

    fn invalid_input(text: String) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, text).into()
    }

    fn invalid_data(text: String) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, text).into()
    }

    fn errno(errno: i32, detail: Option<String>) -> Self {
        Self { source: io::Error::from_raw_os_error(errno), detail }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{detail}: {}", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self { source, detail: None }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::invalid_data(format!("unreadable netlink reply: {error}"))
    }
}

/// Keeps the error number and loses the explanation: an `io::Error` has room for one of them.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.source
    }
}

/// A socket of `NETLINK_ROUTE`. It stays in the network namespace in which it was opened, whatever the thread does
/// afterwards.
pub struct Netlink {
    socket: Socket,
    sequence: Cell<u32>,
}

/// What the kernel sent in answer to one request.
#[derive(Default)]
struct Replies {
    /// The payload of each message, behind the netlink header.
    payloads: Vec<Vec<u8>>,
    /// The table changed while it was read: entries may be missing or double.
    interrupted: bool,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What `socket`, `bind` and `connect` return.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: Cell::new(0) })
    }

    /// Sends a request and waits for its acknowledgement; returns what came before it.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<Vec<Vec<u8>>> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        Ok(self.receive(sequence)?.payloads)
    }

    /// Sends a request whose answer is of no interest beyond success.
    fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.request(message, flags).map(drop)
    }

    /// Lists a table, again from the start when it changed meanwhile. `EAGAIN`: it never held still.
    fn dump(&self, message: &RouteNetlinkMessage) -> Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let replies = self.receive(sequence)?;
            if !replies.interrupted {
                return Ok(replies.payloads);
            }
        }
        Err(Error::errno(libc::EAGAIN, Some("the kernel's table changes faster than it can be read".into())))
    }

    fn send(&self, message: RouteNetlinkMessage, flags: u16) -> Result<u32> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        retry(|| self.socket.send(&buffer, 0))?;
        Ok(sequence)
    }

    /// Collects the answer to the request `sequence`. What a request that was given up left behind is skipped.
    fn receive(&self, sequence: u32) -> Result<Replies> {
        let mut replies = Replies::default();
        loop {
            let (datagram, sender) = retry(|| self.socket.recv_from_full())?;
            if sender.port_number() != 0 {
                continue;
            }
            if replies.take(&datagram, sequence)? {
                return Ok(replies);
            }
        }
    }
}

impl Replies {
    /// Takes the messages of a datagram; `true` when the answer is complete.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            let length = message.length() as usize;
            if length < NETLINK_HEADER_LEN {
                return Err(Error::invalid_data(format!("netlink message of {length} bytes")));
            }
            if message.sequence_number() == sequence {
                self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                let payload = &rest[NETLINK_HEADER_LEN..length];
                match message.message_type() {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(Error::errno(libc::ENOBUFS, None)),
                    NLMSG_ERROR => {
                        return status(payload, error_attributes(payload, message.flags())).map(|()| true);
                    }
                    // An empty one is a success; otherwise it carries the status as an error does.
                    NLMSG_DONE if payload.is_empty() => return Ok(true),
                    NLMSG_DONE => {
                        let attributes = match message.flags() & NLM_F_ACK_TLVS {
                            0 => None,
                            _ => payload.get(4..),
                        };
                        return status(payload, attributes).map(|()| true);
                    }
                    _ => self.payloads.push(payload.to_vec()),
                }
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// Where the attributes of an error message begin: behind the error number and the request's header, and behind the
/// rest of the request unless the kernel left it out.
fn error_attributes(payload: &[u8], flags: u16) -> Option<&[u8]> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = payload.get(4..)?;
    if flags & NLM_F_CAPPED != 0 {
        return request.get(NETLINK_HEADER_LEN..);
    }
    let length = u32_native(request)? as usize;
    request.get(length.next_multiple_of(4)..)
}

/// Reads the status at the start of an error or done message: 0, or an error number below it.
fn status(payload: &[u8], attributes: Option<&[u8]>) -> Result<()> {
    let code =
        u32_native(payload).ok_or_else(|| Error::invalid_data("netlink status is cut short".into()))?.cast_signed();
    if code >= 0 {
        return Ok(());
    }
    let detail = attributes
        .into_iter()
        .flat_map(NlasIterator::new)
        .map_while(std::result::Result::ok)
        .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
        .map(|attribute| text(attribute.value()));
    Err(Error::errno(code.wrapping_neg(), detail))
}

/// Goes through attributes without decoding them: type (flags removed) and value.
fn attributes(buffer: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8])>> {
    NlasIterator::new(buffer).map(|attribute| {
        let attribute = attribute?;
        let end = usize::from(attribute.length());
        Ok((attribute.kind(), &attribute.into_inner()[NLA_HEADER_SIZE..end]))
    })
}

/// The text of an attribute up to its first NUL. Bytes that are not UTF-8 become U+FFFD.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn u32_native(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

fn u64_native(value: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(*value.first_chunk()?))
}

/// Repeats a system call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn family_of(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::testing::in_namespace;
    use super::*;

    /// A netlink message with the given type, flags and sequence number.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = NETLINK_HEADER_LEN + payload.len();
        let mut bytes = (length as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(length.next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_of_another_request_are_skipped() {
        let mut replies = Replies::default();
        let datagram = [
            message(16, 0, 6, b"old"),
            message(NLMSG_ERROR, 0, 6, &(-libc::EPERM).to_ne_bytes()),
            message(16, 0, 7, b"new"),
        ]
        .concat();
        assert!(!replies.take(&datagram, 7).unwrap());
        assert_eq!(replies.payloads, [b"new"]);
        assert!(replies.take(&message(NLMSG_DONE, 0, 7, &[]), 7).unwrap());
    }

    #[test]
    fn an_interrupted_listing_is_noticed_wherever_the_kernel_says_so() {
        for (entry_flags, done_flags) in [(NLM_F_DUMP_INTR, 0), (0, NLM_F_DUMP_INTR)] {
            let mut replies = Replies::default();
            let datagram =
                [message(16, entry_flags, 1, b"x"), message(NLMSG_DONE, done_flags, 1, &0i32.to_ne_bytes())].concat();
            assert!(replies.take(&datagram, 1).unwrap());
            assert!(replies.interrupted);
        }
    }

    #[test]
    fn a_listing_that_fails_at_its_end_is_an_error() {
        let done = message(NLMSG_DONE, 0, 1, &(-libc::ENOMEM).to_ne_bytes());
        let error = Replies::default().take(&done, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }

    #[test]
    fn a_datagram_that_is_cut_short_is_an_error_and_no_panic() {
        let whole = message(NLMSG_ERROR, 0, 1, &(-libc::EPERM).to_ne_bytes());
        for length in 1..whole.len() {
            let error = Replies::default().take(&whole[..length], 1).unwrap_err();
            assert_eq!(error.raw_os_error(), None, "{length}");
        }
        let empty = message(NLMSG_ERROR, 0, 1, &[]);
        let error = Replies::default().take(&empty, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_kernels_explanation_comes_with_the_error_number() {
        in_namespace(|netlink| {
            let error = netlink.add_bridge("ebm0", [1; 6], 1500, None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
            let error = netlink.add_vxlan("vx", 1, 4789, "ff02::1".parse().unwrap()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            assert!(!error.detail().unwrap().is_empty());
            assert!(error.to_string().starts_with(error.detail().unwrap()));
            assert_eq!(io::Error::from(error).raw_os_error(), Some(libc::EINVAL));
        });
    }

    #[test]
    fn a_socket_stays_in_the_namespace_where_it_was_opened() {
        let netlink = in_namespace(|netlink| {
            netlink.add_veth("only-here", "x", 1500, None).unwrap();
            netlink
        });
        assert!(netlink.link_by_name("only-here").unwrap().is_some());
    }
}
