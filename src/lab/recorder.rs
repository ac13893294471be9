//! A capture that runs on a thread of its own, and conditions on what it has captured.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::{Capture, Frame};

/// A running capture. Dropping it ends the thread.
pub struct Recorder {
    shared: Arc<Shared>,
    /// The thread ends when this end of its pipe is closed.
    running: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    tape: Mutex<Tape>,
    changed: Condvar,
}

struct Tape {
    capture: Capture,
    frames: Vec<Frame>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Opens a capture on an interface of the calling thread's namespace and records from it.
    ///
    /// # Errors
    /// Those of [`Capture::open`] and of starting a thread.
    pub fn start(ifname: &str) -> io::Result<Self> {
        let tape = Tape { capture: Capture::open(ifname)?, frames: Vec::new(), failure: None };
        let shared = Arc::new(Shared { tape: Mutex::new(tape), changed: Condvar::new() });
        let (until_closed, running) = io::pipe()?;
        let thread = Builder::new().name(format!("capture {ifname}")).spawn({
            let shared = Arc::clone(&shared);
            move || shared.record(&until_closed)
        })?;
        Ok(Self { shared, running: Some(running), thread: Some(thread) })
    }

    /// Calls `look` with all frames that the kernel has captured until now and that were not taken, in its order.
    ///
    /// # Errors
    /// The first error of the capture, once; lost frames are one.
    pub fn with<T>(&self, look: impl FnOnce(&[Frame]) -> T) -> io::Result<T> {
        let mut tape = self.shared.lock();
        tape.drain();
        tape.check()?;
        Ok(look(&tape.frames))
    }

    /// The number of frames that the kernel has captured until now.
    ///
    /// # Errors
    /// Those of [`Recorder::with`].
    pub fn count(&self) -> io::Result<usize> {
        self.with(<[Frame]>::len)
    }

    /// The frames that the kernel has captured since the recording began, or since they were last taken.
    ///
    /// # Errors
    /// Those of [`Recorder::with`].
    pub fn take(&self) -> io::Result<Vec<Frame>> {
        let mut tape = self.shared.lock();
        tape.drain();
        tape.check()?;
        Ok(std::mem::take(&mut tape.frames))
    }

    /// Waits until `condition` holds for the frames captured so far. It is asked whenever there are more of them. `false`:
    /// it does not, at the end of the time.
    ///
    /// # Errors
    /// Those of [`Recorder::with`].
    pub fn wait(&self, timeout: Duration, mut condition: impl FnMut(&[Frame]) -> bool) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut tape = self.shared.lock();
        loop {
            tape.drain();
            tape.check()?;
            if condition(&tape.frames) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            tape = self.shared.changed.wait_timeout(tape, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the recording and returns its frames.
    ///
    /// # Errors
    /// Those of [`Recorder::with`].
    pub fn finish(mut self) -> io::Result<Vec<Frame>> {
        self.end();
        self.take()
    }

    fn end(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // The thread does not panic: it runs `Shared::record` alone.
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tape> {
        // Nobody leaves the tape half-written: a frame is appended or not.
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, until_closed: &PipeReader) {
        let socket = match self.lock().capture.as_fd().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => return self.lock().failure = Some(error),
        };
        loop {
            let mut ready =
                [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(until_closed.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return self.lock().failure = Some(error.into()),
            }
            if ready[1].any() == Some(true) {
                return;
            }
            self.lock().drain();
            self.changed.notify_all();
        }
    }
}

impl Tape {
    fn drain(&mut self) {
        loop {
            match self.capture.receive() {
                Ok(Some(frame)) => self.frames.push(frame),
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The socket goes on after an error; the first one is what the caller is told.
                    self.failure.get_or_insert(error);
                }
            }
        }
    }

    fn check(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.capture.drops()? {
            0 => Ok(()),
            drops => Err(io::Error::other(format!("{drops} captured frames were lost: the socket's buffer was full"))),
        }
    }
}
