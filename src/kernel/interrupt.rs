//! Ctrl-C, as something to wait for.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::model::{Error, Result};

/// SIGINT and SIGTERM, caught: they end a wait instead of the process.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From here on the two signals are told by `wait` alone.
    pub fn catch() -> Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        let caught = signals
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
        caught.map(Interrupt).map_err(|error| Error::io("catch Ctrl-C", &error.into()))
    }

    /// Waits this long; true when a signal came.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).map(|ready| ready > 0).map_err(|error| Error::io("wait for Ctrl-C", &error.into()))
    }
}
