//! The traffic of the demo, in both directions through the mirrored interface. All of it is lock-step or has a small
//! window: veth feeds a backlog of a thousand packets that all virtual interfaces of the machine share, and the demo must
//! neither overflow it nor fail because of it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::network::{CLIENT_IP, CLIENT_IP6, CLIENT_PORT, HOST_IP, HOST_IP6, Network, TAP};
use crate::lab::capture::Sender;
use crate::lab::frame::{
    BROADCAST, Ethernet, LLDP_MULTICAST, STP_MULTICAST, TPID_8021AD, TPID_8021Q, echo_message, padded, pattern,
};
use crate::lab::network::Host;
use crate::model::{Error, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Echo requests, and datagrams of each IP version, in each direction.
const ROUNDS: u16 = 100;
/// Frames of each kind made by hand, in each direction.
const RAW_ROUNDS: u32 = 10;
/// TCP data in each direction, of each IP version.
const STREAM_BYTES: usize = 3 * 1024 * 1024;
/// What TCP may have in flight, by its send buffer.
const WINDOW_BYTES: usize = 256 * 1024;
/// IPv4 and ICMP headers of a full packet of 1500 bytes; UDP's is as long as ICMP's.
const HEADERS: usize = 28;
const HEADERS6: usize = 48;
const FULL: usize = 1500;

/// Sends all of it and returns what did not arrive, in words. That the network works is not the mirror's merit, but the
/// mirror must not break it.
pub(super) fn drive(network: &Network) -> Result<Vec<String>> {
    let (client, host) = (&network.client, &network.host);
    let mut problems = Vec::new();
    let mut note = |what: &str, outcome: io::Result<()>| {
        if let Err(error) = outcome {
            problems.push(format!("traffic: {what}: {error}"));
        }
    };
    // First one of each, so that the first lines of the output show them all. The client asks for the host's address by
    // itself; the host knows the client's by then, so its request is made by hand.
    note("echo from client to host", client.run(|| ping(HOST_IP, 1, 1))?);
    let sender = host.attempt("open a packet socket", || Sender::open(TAP))?;
    note("ARP from the host", sender.send(&network.host_frames().arp_request(HOST_IP, CLIENT_IP)));
    note("echo from host to client", host.run(|| ping(CLIENT_IP, 2, 1))?);
    note("UDP", datagrams(network, HOST_IP.into(), CLIENT_IP.into(), 1)?);
    for ip in [IpAddr::from(HOST_IP), HOST_IP6.into()].into_iter().filter(|ip| ip.is_ipv4() || network.has_ipv6) {
        note(&format!("TCP from client to host {ip}"), transfer(network, ip, true)?);
        note(&format!("TCP from host {ip} to client"), transfer(network, ip, false)?);
    }
    note("echo from client to host", client.run(|| ping(HOST_IP, 3, ROUNDS))?);
    note("echo from host to client", host.run(|| ping(CLIENT_IP, 4, ROUNDS))?);
    note("UDP over IPv4", datagrams(network, HOST_IP.into(), CLIENT_IP.into(), ROUNDS)?);
    if network.has_ipv6 {
        note("UDP over IPv6", datagrams(network, HOST_IP6.into(), CLIENT_IP6.into(), ROUNDS)?);
    }
    note("frames made by hand on the host", by_hand(&sender, &network.host_frames()));
    let sender = client.attempt("open a packet socket", || Sender::open(CLIENT_PORT))?;
    note("frames made by hand on the client", by_hand(&sender, &network.client_frames()));
    Ok(problems)
}

impl Network {
    fn host_frames(&self) -> Ethernet {
        Ethernet::new(self.tap_mac, self.client_mac)
    }

    fn client_frames(&self) -> Ethernet {
        Ethernet::new(self.client_mac, self.tap_mac)
    }
}

/// Sends echo requests of all sizes from the calling thread's namespace; the kernel on the other side answers.
fn ping(to: Ipv4Addr, id: u16, rounds: u16) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(1, 0))?;
    for sequence in 1..=rounds {
        let data = pattern(tell_apart(id, sequence), size(sequence, rounds, FULL - HEADERS));
        let request = echo_message(8, id, sequence, &data);
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
        sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty())?;
        await_reply(&socket, &echo_message(0, id, sequence, &data))?;
    }
    Ok(())
}

fn await_reply(socket: &OwnedFd, expected: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut packet = [0; FULL];
    while Instant::now() < deadline {
        match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            // A raw socket gets the IPv4 header too, and everybody's ICMP.
            Ok(length) if packet[..length].get(20..) == Some(expected) => return Ok(()),
            Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// Datagrams of all sizes, each answered by another one of the same size.
fn datagrams(network: &Network, host_ip: IpAddr, client_ip: IpAddr, rounds: u16) -> Result<io::Result<()>> {
    let open = |on: &Host, ip| {
        on.attempt("open a UDP socket", || {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok(socket)
        })
    };
    let (host, client) = (open(&network.host, host_ip)?, open(&network.client, client_ip)?);
    let full = FULL - if host_ip.is_ipv4() { HEADERS } else { HEADERS6 };
    Ok((|| {
        host.connect(client.local_addr()?)?;
        client.connect(host.local_addr()?)?;
        let mut buffer = [0; FULL];
        for sequence in 1..=rounds {
            for (from, to, id) in [(&client, &host, 5), (&host, &client, 6)] {
                let data = pattern(tell_apart(id, sequence), size(sequence, rounds, full));
                from.send(&data)?;
                let length = to.recv(&mut buffer)?;
                if buffer[..length] != data {
                    return Err(io::Error::other(format!("datagram {sequence} came with other bytes")));
                }
            }
        }
        Ok(())
    })())
}

/// A TCP connection from the client to this address of the host that carries data in one direction.
fn transfer(network: &Network, ip: IpAddr, to_host: bool) -> Result<io::Result<()>> {
    let listener = network.host.attempt("listen for TCP", || TcpListener::bind(SocketAddr::new(ip, 0)))?;
    let address = listener.local_addr().map_err(|error| Error::io("listen for TCP", &error))?;
    Ok((|| {
        let client = network
            .client
            .run(|| TcpStream::connect_timeout(&address, TIMEOUT))
            .map_err(|error| io::Error::other(error.message))??;
        let (host, _) = listener.accept()?;
        let (from, to) = if to_host { (client, host) } else { (host, client) };
        setsockopt(&from, sockopt::SndBuf, &WINDOW_BYTES)?;
        from.set_write_timeout(Some(TIMEOUT))?;
        to.set_read_timeout(Some(TIMEOUT))?;
        let data = pattern(if to_host { 7 } else { 8 }, STREAM_BYTES);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                (&from).write_all(&data)?;
                from.shutdown(Shutdown::Write)
            });
            let mut received = Vec::with_capacity(STREAM_BYTES);
            let receiving = (&to).read_to_end(&mut received);
            sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            receiving?;
            if received == data { Ok(()) } else { Err(io::Error::other("the stream came with other bytes")) }
        })
    })())
}

/// What no socket of the kernel sends, and what it seldom does.
fn by_hand(sender: &Sender, between: &Ethernet) -> io::Result<()> {
    for round in 0..RAW_ROUNDS {
        let sequence = u64::from(round);
        let data = pattern(sequence, 10 + round as usize * 140);
        let tag = 100 + round as u16;
        let v4 = |ethernet: Ethernet| ethernet.ipv4([203, 0, 113, 1], [203, 0, 113, 2]);
        let v6 = |ethernet: Ethernet| ethernet.ipv6(CLIENT_IP6, HOST_IP6);
        for frame in [
            between.clone().to(LLDP_MULTICAST).lldp(sequence),
            between.clone().to(STP_MULTICAST).stp(round),
            padded(v4(between.clone().tag(TPID_8021Q, tag)).udp(1000, 2000, &data)),
            padded(v6(between.clone().tag(TPID_8021Q, tag)).udp(1000, 2000, &data)),
            padded(v4(between.clone().tag(TPID_8021AD, tag).tag(TPID_8021Q, 7)).udp(1000, 2000, &data)),
            padded(between.clone().tag(TPID_8021Q, tag).arp_request([203, 0, 113, 1], [203, 0, 113, 2])),
            // MPLS label 16, bottom of the stack.
            padded(between.frame(0x8847, &[&[0, 1, 1, 64][..], &data].concat())),
            // IEEE 802, local experimental.
            padded(between.frame(0x88b5, &data)),
            padded(v4(between.clone().to(BROADCAST)).fragment(true, 3).protocol(17, &data)),
        ] {
            sender.send(&frame)?;
        }
    }
    Ok(())
}

fn tell_apart(id: u16, sequence: u16) -> u64 {
    u64::from(id) << 32 | u64::from(sequence)
}

/// From nearly nothing to a full packet.
fn size(sequence: u16, rounds: u16, full: usize) -> usize {
    if rounds == 1 { 56 } else { full * usize::from(sequence) / usize::from(rounds) }
}
