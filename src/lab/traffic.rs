//! Traffic of the kernel's own protocols between two hosts. Echo requests and datagrams are lock-step, streams have a small
//! window: veth feeds a backlog of a thousand packets that all virtual interfaces of the machine share, and a test must
//! neither overflow it nor fail because of it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::frame::echo_message;
use super::network::Host;
use crate::model::{Error, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What TCP may have in flight, by its send buffer.
const WINDOW_BYTES: usize = 256 * 1024;
/// No packet is longer.
const PACKET_BYTES: usize = 65_536;

/// One end: a host and its address.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The host.
    pub host: &'a Host,
    /// One of its addresses.
    pub ip: IpAddr,
}

/// Sends an echo request with each of these payloads; the kernel on the other side answers, with the same payload.
///
/// # Errors
/// The socket's own; timed out when an answer does not come.
pub fn ping(from: &Host, to: Ipv4Addr, id: u16, payloads: impl Iterator<Item = Vec<u8>> + Send) -> Result<()> {
    from.attempt(format_args!("echo to {to}"), || {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(1, 0))?;
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        for (sequence, payload) in (1..).zip(payloads) {
            sendto(socket.as_raw_fd(), &echo_message(8, id, sequence, &payload), &to, MsgFlags::empty())?;
            await_reply(&socket, &echo_message(0, id, sequence, &payload))?;
        }
        Ok(())
    })
}

fn await_reply(socket: &OwnedFd, expected: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut packet = vec![0; PACKET_BYTES];
    while Instant::now() < deadline {
        match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            // A raw socket gets the IPv4 header too, and everybody's ICMP.
            Ok(length) if packet[..length].get(20..) == Some(expected) => return Ok(()),
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// Sends each pair of payloads as datagrams: the first from `a` to `b`, the second back.
///
/// # Errors
/// The sockets' own; would block when a datagram does not come; one that comes with other bytes.
pub fn datagrams(a: End<'_>, b: End<'_>, payloads: impl Iterator<Item = [Vec<u8>; 2]>) -> Result<()> {
    let open = |end: End<'_>| {
        end.host.attempt(format_args!("UDP at {}", end.ip), || {
            let socket = UdpSocket::bind(SocketAddr::new(end.ip, 0))?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok(socket)
        })
    };
    let (at_a, at_b) = (open(a)?, open(b)?);
    let exchange = || -> io::Result<()> {
        at_a.connect(at_b.local_addr()?)?;
        at_b.connect(at_a.local_addr()?)?;
        let mut buffer = vec![0; PACKET_BYTES];
        for [there, back] in payloads {
            for (from, to, data) in [(&at_a, &at_b, there), (&at_b, &at_a, back)] {
                from.send(&data)?;
                let length = to.recv(&mut buffer)?;
                if buffer[..length] != data {
                    return Err(io::Error::other("a datagram came with other bytes"));
                }
            }
        }
        Ok(())
    };
    exchange().map_err(|error| Error::io(format_args!("UDP between {} and {}", a.ip, b.ip), &error))
}

/// A TCP connection from `client` to `server` that carries `data`, towards the server or from it, and ends.
///
/// # Errors
/// The sockets' own; data that comes with other bytes.
pub fn stream(client: &Host, server: End<'_>, to_server: bool, data: &[u8]) -> Result<()> {
    let what = format!("TCP {} {}", if to_server { "to" } else { "from" }, server.ip);
    let failed = |error: io::Error| Error::io(&what, &error);
    let listener = server.host.attempt(&what, || TcpListener::bind(SocketAddr::new(server.ip, 0)))?;
    let address = listener.local_addr().map_err(failed)?;
    let connected = client.attempt(&what, || TcpStream::connect_timeout(&address, TIMEOUT))?;
    let (accepted, _) = listener.accept().map_err(failed)?;
    let (from, to) = if to_server { (connected, accepted) } else { (accepted, connected) };
    carry(&from, &to, data).map_err(failed)
}

fn carry(from: &TcpStream, to: &TcpStream, data: &[u8]) -> io::Result<()> {
    setsockopt(from, sockopt::SndBuf, &WINDOW_BYTES)?;
    from.set_write_timeout(Some(TIMEOUT))?;
    to.set_read_timeout(Some(TIMEOUT))?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            (&*from).write_all(data)?;
            from.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(data.len());
        let receiving = (&*to).read_to_end(&mut received);
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        receiving?;
        if received == data { Ok(()) } else { Err(io::Error::other("the stream came with other bytes")) }
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::frame::pattern;
    use super::super::network::{Port, connect};
    use super::*;

    #[test]
    fn everything_gets_through_a_cable_in_both_directions() {
        let (left, right) = (Host::new("left").unwrap(), Host::new("right").unwrap());
        let addresses = |last: u8| {
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into());
            [(IpAddr::from([192, 0, 2, last]), 24), (v6.into(), 64)]
        };
        let (of_left, of_right) = (addresses(1), addresses(2));
        let port = |host, addresses| Port { host, ifname: "eth0", addresses };
        connect(port(&left, &of_left), port(&right, &of_right), 1500).unwrap();
        ping(&left, [192, 0, 2, 2].into(), 1, (0..3).map(|size| pattern(1, size * 700))).unwrap();
        for ((a, _), (b, _)) in of_left.into_iter().zip(of_right) {
            let (a, b) = (End { host: &left, ip: a }, End { host: &right, ip: b });
            datagrams(a, b, (0..3).map(|size| [pattern(2, size * 700), pattern(3, size)])).unwrap();
            for to_server in [true, false] {
                stream(&left, b, to_server, &pattern(4, 300_000)).unwrap();
            }
        }
    }

    #[test]
    fn a_host_that_is_not_there_is_an_error() {
        let alone = Host::new("alone").unwrap();
        let error = ping(&alone, [192, 0, 2, 2].into(), 1, std::iter::once(Vec::new())).unwrap_err();
        assert!(error.message.starts_with("echo to 192.0.2.2 on the alone: "), "{error}");
    }
}
