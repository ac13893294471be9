//! Attaching the taps to interfaces and detaching them. Idempotent: what is attached is looked at first, ours is kept or
//! replaced, a second copy is never added, and what others attached is not touched.

use std::mem::offset_of;
use std::os::fd::AsFd;
use std::time::Duration;

use super::abi::{self, Iface};
use super::hooks::{self, Attached, tc, tcx};
use super::instance::{Instance, detach_link};
use super::interfaces::boot_time_ns;
use super::load;
use super::netlink::{Framing, Link};
use super::programs;
use crate::model::interface::{Direction, Directions, Mode, ModeChoice, Order};
use crate::model::{Code, Error, Result};

/// `Iface::clsact_ours`, as bpf/abi.h says.
const CLSACT_OURS: u8 = 1;
const CLSACT_IN_USE: u8 = 2;

/// How to attach.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The directions; others that are attached are detached.
    pub directions: Directions,
    /// The hook.
    pub mode: ModeChoice,
    /// The place among other programs; None: the wire's.
    pub order: Option<Order>,
    /// How long; None: until it is detached.
    pub duration: Option<Duration>,
    /// By a command that renews the time as long as it runs.
    pub lease: bool,
}

/// A tap that is attached.
#[derive(Clone, Debug)]
pub struct Tap {
    /// The direction.
    pub direction: Direction,
    /// The hook.
    pub mode: Mode,
    /// What a packet meets before it.
    pub ahead: Vec<Attached>,
    /// Whether it is the first of its hook.
    pub is_first: bool,
    /// Whether it is the last.
    pub is_last: bool,
}

impl Tap {
    fn fits(&self, request: &Request) -> bool {
        mode_fits(request.mode, self.mode)
            && match request.order {
                None => true,
                Some(Order::First) => self.is_first,
                Some(Order::Last) => self.is_last,
            }
    }
}

impl Instance {
    /// The taps of an interface that are really attached, as the kernel tells.
    pub fn taps(&self, ifindex: u32) -> Result<Vec<Tap>> {
        let mut taps = Vec::new();
        for direction in Direction::ALL {
            let ours = hooks::id(load::program(&self.place, load::tap(direction))?.as_fd())?;
            let all = hooks::programs(&self.netlink, ifindex, direction)?;
            if let Some(position) = all.iter().position(|program| program.id == ours) {
                let mode = all[position].mode;
                let alone = |programs: &[Attached]| programs.iter().all(|program| program.mode != mode);
                let (is_first, is_last) = (alone(&all[..position]), alone(&all[position + 1..]));
                taps.push(Tap { direction, mode, ahead: all[..position].to_vec(), is_first, is_last });
            }
        }
        Ok(taps)
    }

    /// Whether attaching would change anything.
    pub fn would_change(&self, link: &Link, request: &Request) -> Result<bool> {
        let Some(bucket) = self.bucket(link.ifindex) else {
            return Ok(true);
        };
        let iface = self.ifaces.get(bucket);
        let taps = self.taps(link.ifindex)?;
        let right = request
            .directions
            .iter()
            .all(|direction| taps.iter().any(|tap| tap.direction == direction && tap.fits(request)));
        Ok(!right
            || taps.len() != request.directions.iter().count()
            || iface.directions != abi::direction_bits(request.directions)
            || request.duration.is_some()
            || iface.expires_ns != 0)
    }

    /// The request with the hook that an interface has already, where the user leaves it open.
    pub fn complete(&self, link: &Link, request: &Request) -> Result<Request> {
        let mode = match request.mode {
            ModeChoice::Auto if self.is_attached(link.ifindex) => {
                self.taps(link.ifindex)?.first().map_or(ModeChoice::Auto, |tap| tap.mode.into())
            }
            choice => choice,
        };
        Ok(Request { mode, ..*request })
    }

    /// Attaches the taps to an interface. True when something changed. On an error the interface is as it was, or has
    /// no tap of ours at all.
    pub fn attach(&self, link: &Link, request: &Request) -> Result<bool> {
        let request = &self.complete(link, request)?;
        if !self.would_change(link, request)? {
            return Ok(false);
        }
        let expires_ns = match request.duration {
            Some(duration) => boot_time_ns()?.saturating_add(duration.as_nanos() as u64),
            None => 0,
        };
        let layer3 = link.framing() == Framing::Ip;
        if layer3 {
            self.ensure_layer3()?;
        }
        let known = self.bucket(link.ifindex);
        let (bucket, fresh) = match known {
            Some(bucket) => (bucket, false),
            None => (self.new_entry(link)?, true),
        };
        self.ifaces.store_u8(bucket, offset_of!(Iface, layer3), u8::from(layer3));
        let was = self.ifaces.get(bucket).expires_ns;
        match self.attach_directions(bucket, link, request) {
            Ok(changed) => {
                self.ifaces.store_u64(bucket, offset_of!(Iface, expires_ns), expires_ns);
                self.ifaces.store_u8(bucket, offset_of!(Iface, leased), u8::from(request.lease));
                Ok(changed || fresh || expires_ns != was)
            }
            Err(error) => {
                if fresh {
                    // The first error is the one to tell.
                    let _ = self.detach(link.ifindex);
                }
                Err(error)
            }
        }
    }

    /// New taps first, then those that are not wanted any more are taken away. On an error the old ones are as they were.
    fn attach_directions(&self, bucket: usize, link: &Link, request: &Request) -> Result<bool> {
        let taps = self.taps(link.ifindex)?;
        let before = self.ifaces.get(bucket).directions;
        let wanted = abi::direction_bits(request.directions);
        self.ifaces.store_u8(bucket, offset_of!(Iface, directions), before | wanted);
        self.ifaces.store_u32(bucket, offset_of!(Iface, ifindex), link.ifindex);
        let mut changed = false;
        self.claim_clsact(bucket)?;
        for direction in request.directions.iter() {
            let old = taps.iter().find(|tap| tap.direction == direction);
            if old.is_some_and(|old| old.fits(request)) {
                continue;
            }
            changed = true;
            if let Err(error) = self.exchange_tap(bucket, link, direction, request, old) {
                // What was new here goes; the first error is the one to tell.
                let _ = self.claim_clsact(bucket);
                for fresh in request.directions.iter().filter(|new| !taps.iter().any(|tap| tap.direction == *new)) {
                    let _ = self.detach_tap(link.ifindex, fresh);
                }
                let _ = self.return_clsact(bucket);
                self.ifaces.store_u8(bucket, offset_of!(Iface, directions), before);
                return Err(error);
            }
        }
        for tap in taps.iter().filter(|tap| !request.directions.has(tap.direction)) {
            self.detach_tap(link.ifindex, tap.direction)?;
            changed = true;
        }
        self.ifaces.store_u8(bucket, offset_of!(Iface, directions), wanted);
        self.return_clsact(bucket)?;
        Ok(changed)
    }

    /// Attaches a tap in the place of an old one, which is put back when that fails.
    fn exchange_tap(
        &self,
        bucket: usize,
        link: &Link,
        direction: Direction,
        request: &Request,
        old: Option<&Tap>,
    ) -> Result<()> {
        let Some(old) = old else {
            return self.attach_tap(bucket, link, direction, request);
        };
        if !mode_fits(request.mode, old.mode) {
            // A frame is seen by no tap for a moment, never by two.
            self.ifaces.store_u8(bucket, offset_of!(Iface, quiet), abi::direction_bit(direction));
            let exchanged = self.attach_tap(bucket, link, direction, request).and_then(|()| {
                self.detach_tap_from(link.ifindex, direction, old.mode).inspect_err(|_| {
                    // Two would mirror each frame twice. The first error is the one to tell.
                    let _ = self.detach_tap_from(link.ifindex, direction, old.mode.other());
                })
            });
            self.ifaces.store_u8(bucket, offset_of!(Iface, quiet), 0);
            return exchanged.map(drop);
        }
        // A hook takes a program once: to move, it must leave.
        self.detach_tap_from(link.ifindex, direction, old.mode)?;
        self.attach_tap(bucket, link, direction, request).inspect_err(|_| {
            let same = Request { mode: ModeChoice::from(old.mode), order: None, ..*request };
            let _ = self.attach_tap(bucket, link, direction, &same);
        })
    }

    fn attach_tap(&self, bucket: usize, link: &Link, direction: Direction, request: &Request) -> Result<()> {
        let program = load::program(&self.place, load::tap(direction))?;
        let order = request.order.unwrap_or_else(|| Order::of_the_wire(direction));
        let what = || format!("attach to {} {direction}", link.name);
        match hooks::choose(request.mode, link.ifindex, direction) {
            Mode::Tcx => {
                let chain = tcx::query(link.ifindex, direction).map_err(|error| match error.raw_os_error() {
                    Some(libc::EINVAL) => load::no_tcx(),
                    _ => Error::io(what(), &error),
                })?;
                let fd = tcx::link(program.as_fd(), link.ifindex, direction, Some((order, chain.revision))).map_err(
                    |error| match error.raw_os_error() {
                        Some(libc::ESTALE) => Error::new(
                            Code::Conflict,
                            format!("{}: somebody else is changing the programs there", what()),
                        )
                        .hint("try again"),
                        Some(libc::ERANGE) => Error::new(
                            Code::Conflict,
                            format!("{}: 64 programs are attached there, and no more fit", what()),
                        )
                        .hint("list them: bpftool net show"),
                        _ => Error::io(what(), &error),
                    },
                )?;
                let path = self.place.link(link.ifindex, direction);
                // A pin of this name is of a device that had this number before.
                programs::unpin(&path)?;
                programs::pin(fd.as_fd(), &path)
            }
            Mode::Tc => {
                if tc::ensure_clsact(&self.netlink, link.ifindex, &link.name)? {
                    self.ifaces.store_u8(bucket, offset_of!(Iface, clsact_ours), CLSACT_OURS);
                }
                let name = load::tap(direction);
                tc::attach(&self.netlink, link.ifindex, direction, order, program.as_fd(), name)?;
                if self.ifaces.get(bucket).clsact_ours == CLSACT_OURS {
                    self.ifaces.store_u8(bucket, offset_of!(Iface, clsact_ours), CLSACT_IN_USE);
                }
                Ok(())
            }
        }
    }

    fn detach_tap(&self, ifindex: u32, direction: Direction) -> Result<bool> {
        let by_link = self.detach_tap_from(ifindex, direction, Mode::Tcx)?;
        let by_filter = self.detach_tap_from(ifindex, direction, Mode::Tc)?;
        Ok(by_link || by_filter)
    }

    fn detach_tap_from(&self, ifindex: u32, direction: Direction, mode: Mode) -> Result<bool> {
        match mode {
            Mode::Tcx => detach_link(&self.place.link(ifindex, direction)),
            Mode::Tc => tc::detach(&self.netlink, ifindex, direction, load::tap(direction)),
        }
    }

    /// Before our filters go: the qdisc that they are in is the one that we made, and may go as well.
    fn claim_clsact(&self, bucket: usize) -> Result<()> {
        let iface = self.ifaces.get(bucket);
        if iface.clsact_ours == CLSACT_IN_USE && self.has_filter(iface.ifindex)? {
            self.ifaces.store_u8(bucket, offset_of!(Iface, clsact_ours), CLSACT_OURS);
        }
        Ok(())
    }

    /// Takes a clsact qdisc away that we made, once nobody uses it. One that our filter vanished from may be another one.
    fn return_clsact(&self, bucket: usize) -> Result<()> {
        let iface = self.ifaces.get(bucket);
        if iface.clsact_ours == CLSACT_OURS {
            let gone = tc::remove_clsact_if_unused(&self.netlink, iface.ifindex)?;
            let state = if gone { 0 } else { CLSACT_IN_USE };
            self.ifaces.store_u8(bucket, offset_of!(Iface, clsact_ours), state);
        }
        Ok(())
    }

    fn has_filter(&self, ifindex: u32) -> Result<bool> {
        for direction in Direction::ALL {
            if tc::is_attached(&self.netlink, ifindex, direction, load::tap(direction))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Detaches our taps from an interface, which may be gone. True when something changed.
    pub fn detach(&self, ifindex: u32) -> Result<bool> {
        self.slots_in_doubt.set(true);
        let mut changed = false;
        let mut first_error = None;
        if let Some(bucket) = self.bucket(ifindex) {
            self.claim_clsact(bucket)?;
        }
        for direction in Direction::ALL {
            match self.detach_tap(ifindex, direction) {
                Ok(removed) => changed |= removed,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        // A tap that may still be there keeps its entry: so the next attempt finds it.
        if let (Some(bucket), None) = (self.bucket(ifindex), &first_error) {
            changed = true;
            self.return_clsact(bucket)?;
            self.ifaces.store_u32(bucket, offset_of!(Iface, ifindex), 0);
        }
        first_error.map_or(Ok(changed), Err)
    }

    /// Detaches interfaces whose time is over or whose device is gone. Their names.
    pub fn reap(&self) -> Result<Vec<String>> {
        let now = boot_time_ns()?;
        let mut reaped = Vec::new();
        for (_, iface) in self.interfaces()? {
            let expired = iface.expires_ns != 0 && now >= iface.expires_ns;
            if expired || self.device(iface.ifindex)?.is_none() {
                self.detach(iface.ifindex)?;
                reaped.push(abi::text(&iface.name));
            }
        }
        Ok(reaped)
    }

    /// Lets taps go on that found no stage, now that there is one again, and ends exchanges of taps that were cut short.
    /// Taps of devices that left the namespace stay stopped. True when there was one.
    pub(super) fn restart_taps(&self) -> Result<bool> {
        let mut restarted = false;
        for (bucket, iface) in self.interfaces()? {
            if (iface.stopped == 0 && iface.quiet == 0) || self.taps(iface.ifindex)?.is_empty() {
                continue;
            }
            for direction in Direction::ALL.into_iter().filter(|d| iface.quiet & abi::direction_bit(*d) != 0) {
                // Where both the old and the new tap are attached one has to go.
                if programs::open_pin(&self.place.link(iface.ifindex, direction))?.is_some() {
                    self.claim_clsact(bucket)?;
                    self.detach_tap_from(iface.ifindex, direction, Mode::Tc)?;
                    self.return_clsact(bucket)?;
                }
            }
            self.ifaces.store_u8(bucket, offset_of!(Iface, quiet), 0);
            self.ifaces.store_u32(bucket, offset_of!(Iface, stopped), 0);
            restarted = true;
        }
        Ok(restarted)
    }
}

fn mode_fits(choice: ModeChoice, mode: Mode) -> bool {
    match choice {
        ModeChoice::Auto => true,
        ModeChoice::Tcx => mode == Mode::Tcx,
        ModeChoice::Tc => mode == Mode::Tc,
    }
}
