//! Requests and responses: how long a round trip through the tap takes, one after the other.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ebmirror::model::Result;
use serde_json::{Value, json};

use super::bars::{Bar, Reading};
use super::lane::{CLIENT, HOST, Lane, TAP};
use super::scenario::Scenario;
use super::schedule::order;
use super::statistics::{Estimate, estimate};
use super::table::{Table, cell};
use super::traffic::{other_cpu, pin};

const BYTES: usize = 64;
const PORT: u16 = 5203;
/// Round trips that are not counted.
const WARM_UP: usize = 200;
/// Longer than any: what is lost ends the run.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 3;

pub const SCENARIOS: [Scenario; 4] = [Scenario::Nothing, Scenario::Clone, Scenario::Ebmirror, Scenario::Mirred];
const NOTHING: usize = 0;

/// What carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Udp,
    Tcp,
}

impl Carrier {
    const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// Microseconds that so many of a hundred round trips do not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Percentile {
    Median,
    Tail,
}

impl Percentile {
    const ALL: [Self; 2] = [Self::Median, Self::Tail];

    fn of(self, sorted: &[Duration]) -> f64 {
        let share = match self {
            Self::Median => 50,
            Self::Tail => 99,
        };
        let place = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// Of a scenario, a number a turn for each percentile.
type Turns = [Vec<f64>; Percentile::ALL.len()];

/// All that is measured here: by carrier and scenario.
pub struct RoundTrips {
    turns: [[Turns; SCENARIOS.len()]; Carrier::ALL.len()],
    discarded: usize,
}

impl RoundTrips {
    pub fn new() -> Self {
        Self { turns: Default::default(), discarded: 0 }
    }

    /// A turn of each scenario with each carrier, over these lanes.
    pub fn round(&mut self, lanes: &[&Lane], cpu: usize, count: usize, round: usize) -> Result<()> {
        for (carrier, turns) in Carrier::ALL.into_iter().zip(&mut self.turns) {
            for place in order(SCENARIOS.len(), round) {
                let mut times = Vec::new();
                for _ in 0..ATTEMPTS {
                    if let Some(found) = turn(carrier, SCENARIOS[place], lanes[place], cpu, count)? {
                        times = found;
                        break;
                    }
                    self.discarded += 1;
                }
                times.sort_unstable();
                for (percentile, turns) in Percentile::ALL.into_iter().zip(&mut turns[place]) {
                    turns.push(percentile.of(&times));
                }
            }
        }
        Ok(())
    }

    fn ratio(turns: &[Turns; SCENARIOS.len()], place: usize, percentile: Percentile) -> Option<Estimate> {
        let [these, base] = [place, NOTHING].map(|place| &turns[place][percentile as usize]);
        estimate(these.iter().zip(base).map(|(this, base)| this / base))
    }

    pub fn table(&self) -> Table {
        let mut table = Table::new(
            format!("Round trips of {BYTES} bytes, microseconds, and against A (median of the turns, 95 % interval)"),
            &["", "p50", "p50 / A", "p99", "p99 / A"],
        );
        for (carrier, turns) in Carrier::ALL.into_iter().zip(&self.turns) {
            for (place, scenario) in SCENARIOS.into_iter().enumerate() {
                let mut row = vec![format!("{}, {}", carrier.name(), scenario.name())];
                for percentile in Percentile::ALL {
                    row.push(cell(estimate(turns[place][percentile as usize].iter().copied()), 1));
                    row.push(cell(Self::ratio(turns, place, percentile), 3));
                }
                table.row(row);
            }
        }
        table
    }

    pub fn readings(&self) -> Vec<Reading> {
        let bars = [(Bar::RoundTripMedian, Percentile::Median), (Bar::RoundTripTail, Percentile::Tail)];
        let mut found = Vec::new();
        let Some(place) = SCENARIOS.iter().position(|scenario| *scenario == Scenario::Ebmirror) else { return found };
        for (bar, percentile) in bars {
            for (carrier, turns) in Carrier::ALL.into_iter().zip(&self.turns) {
                found.push(Reading::new(bar, carrier.name(), Self::ratio(turns, place, percentile)));
            }
        }
        found
    }

    pub fn document(&self) -> Value {
        let carrier = |(carrier, turns): (Carrier, &[Turns; SCENARIOS.len()])| {
            let rows = SCENARIOS
                .into_iter()
                .zip(turns)
                .map(|(scenario, [median, tail])| json!({ "scenario": scenario, "p50_us": median, "p99_us": tail }));
            json!({ "carrier": carrier.name(), "scenarios": rows.collect::<Vec<_>>() })
        };
        let carriers: Vec<Value> = Carrier::ALL.into_iter().zip(&self.turns).map(carrier).collect();
        json!({ "bytes": BYTES, "discarded": self.discarded, "carriers": carriers })
    }
}

/// What one round trip after the other took; `None` when not every packet of them arrived at the collector.
fn turn(carrier: Carrier, scenario: Scenario, lane: &Lane, cpu: usize, count: usize) -> Result<Option<Vec<Duration>>> {
    let (device, arrived) = (lane.host.link(TAP)?, lane.arrived()?.copies());
    let times = match carrier {
        Carrier::Udp => {
            let server = lane.host.attempt("opening the responder", || udp((HOST, PORT), (CLIENT, PORT)))?;
            let client = lane.client.attempt("opening the requester", || udp((CLIENT, PORT), (HOST, PORT)))?;
            ping_pong(client, server, cpu, count)
        }
        Carrier::Tcp => {
            let listener = lane.host.attempt("opening the responder", || TcpListener::bind((HOST, PORT)))?;
            let client = lane.client.attempt("opening the requester", || TcpStream::connect((HOST, PORT)))?;
            listener.accept().and_then(|(server, _)| ping_pong(tcp(client)?, tcp(server)?, cpu, count))
        }
    };
    // What was lost is missing below; there is nothing else that a run on a machine of one's own could fail with.
    let Ok(times) = times else { return Ok(None) };
    let now = lane.host.link(TAP)?;
    let seen = (now.rx_packets + now.tx_packets) - (device.rx_packets + device.tx_packets);
    let expected = seen * scenario.copies(1);
    let copied = lane.arrived_at_least(arrived + expected)?.copies() - arrived;
    Ok((copied == expected && seen >= 2 * count as u64).then_some(times))
}

fn udp(from: (&str, u16), to: (&str, u16)) -> io::Result<Socket> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(Socket::Udp(socket))
}

fn tcp(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Socket::Tcp(stream))
}

/// One end.
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    fn send(&mut self, message: &[u8; BYTES]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(|_| ()),
            Self::Tcp(stream) => stream.write_all(message),
        }
    }

    fn receive(&mut self, message: &mut [u8; BYTES]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.recv(message).map(|_| ()),
            Self::Tcp(stream) => stream.read_exact(message),
        }
    }
}

/// Lets the calling thread run whenever it can: it waits most of the time, and a round trip that somebody else's time slice
/// made longer would stand in the last percentile.
fn go_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure is readable and outlives the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The client on this processor, the server on another one.
fn ping_pong(mut client: Socket, mut server: Socket, cpu: usize, count: usize) -> io::Result<Vec<Duration>> {
    std::thread::scope(|scope| {
        let responder = scope.spawn(move || -> io::Result<()> {
            pin(other_cpu(cpu))?;
            go_first()?;
            let mut message = [0; BYTES];
            for _ in 0..WARM_UP + count {
                server.receive(&mut message)?;
                server.send(&message)?;
            }
            Ok(())
        });
        let requester = scope.spawn(move || -> io::Result<Vec<Duration>> {
            pin(cpu)?;
            go_first()?;
            let (mut message, mut times) = ([0x5a; BYTES], Vec::with_capacity(WARM_UP + count));
            for _ in 0..WARM_UP + count {
                let start = Instant::now();
                client.send(&message)?;
                client.receive(&mut message)?;
                times.push(start.elapsed());
            }
            Ok(times.split_off(WARM_UP))
        });
        let times = requester.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        responder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(times)
    })
}
