//! Network namespaces: finding one, entering it, making one.
//!
//! A namespace belongs to a thread, not to a process. Nothing here moves the calling thread except
//! [`NetNs::enter`], and nothing moves it back: work that must not change the caller goes through [`NetNs::run`].

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Where `ip netns add` puts its names. `/var/run` is a link to `/run` nearly everywhere, but not in every container.
const NAME_DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// `_IO(0xb7, 3)` of linux/nsfs.h: which `CLONE_NEW*` flag a namespace descriptor answers to.
const NS_GET_NSTYPE: u32 = 0xb703;

/// `SO_NETNS_COOKIE` of asm-generic/socket.h, kernel 5.14 and later.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Why a namespace could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is empty, or what follows `pid:` is not a process number.
    BadSpec { spec: String },
    /// There is no namespace of this name; `existing` are those that there are, sorted.
    NoSuchName { name: String, existing: Vec<String> },
    /// There is nothing at this path.
    NoSuchPath { path: PathBuf },
    /// There is no such process, or it has ended and waits for its parent.
    NoSuchProcess { pid: u32 },
    /// It opens, but it is no network namespace: a plain file, a directory, a namespace of another kind.
    NotNetworkNamespace { path: PathBuf },
    /// The kernel refused access.
    Permission { path: PathBuf },
    /// Anything else.
    Io { path: PathBuf, source: io::Error },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSpec { spec } => {
                write!(f, "'{spec}' is not a network namespace: write a name, a path or pid:NUMBER")
            }
            Self::NoSuchName { name, existing } if existing.is_empty() => {
                write!(f, "no network namespace is called '{name}': there are no named ones")
            }
            Self::NoSuchName { name, existing } => {
                write!(f, "no network namespace is called '{name}': there are {}", existing.join(", "))
            }
            Self::NoSuchPath { path } => write!(f, "{} does not exist", path.display()),
            Self::NoSuchProcess { pid } => write!(f, "there is no process {pid}"),
            Self::NotNetworkNamespace { path } => {
                write!(f, "{} is not a network namespace", path.display())
            }
            Self::Permission { path } => {
                write!(f, "no permission to open {}", path.display())
            }
            Self::Io { path, source } => write!(f, "cannot open {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// A handle on a network namespace. The namespace lives at least as long as the handle.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl NetNs {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// What opening `/proc/thread-self/ns/net` returned; no `/proc` is `ENOENT`.
    pub fn current() -> io::Result<Self> {
        Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
    }

    /// Opens the namespace that `spec` names: `pid:N` is that of a process, what contains a `/` is a path, and
    /// everything else is a name as `ip netns` knows it. A name that begins with `pid:` needs its full path.
    ///
    /// # Errors
    /// See [`OpenError`]. What was opened is checked to be a network namespace before it is returned.
    pub fn open(spec: &str) -> Result<Self, OpenError> {
        if let Some(number) = spec.strip_prefix("pid:") {
            let pid: u32 = number
                .parse()
                .ok()
                .filter(|pid| *pid > 0 && number.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| OpenError::BadSpec { spec: spec.into() })?;
            return open_path(Path::new(&format!("/proc/{pid}/ns/net"))).map_err(|error| match error {
                OpenError::NoSuchPath { .. } => OpenError::NoSuchProcess { pid },
                other => other,
            });
        }
        if spec.contains('/') {
            return open_path(Path::new(spec));
        }
        if matches!(spec, "" | "." | "..") || spec.contains('\0') {
            return Err(OpenError::BadSpec { spec: spec.into() });
        }
        for directory in NAME_DIRECTORIES {
            match open_path(&Path::new(directory).join(spec)) {
                Err(OpenError::NoSuchPath { .. }) => {}
                found_or_refused => return found_or_refused,
            }
        }
        Err(OpenError::NoSuchName { name: spec.into(), existing: names() })
    }

    /// Makes a fresh namespace, with nothing but a `lo` that is down. The caller stays where it is. The namespace
    /// ends with its last handle, thread, or device that points into it.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces, and what starting a thread returns.
    pub fn new_anonymous() -> io::Result<Self> {
        thread::scope(|scope| {
            join(thread::Builder::new().spawn_scoped(scope, || {
                unshare(CloneFlags::CLONE_NEWNET)?;
                Self::current()
            })?)
        })
    }

    /// Moves the calling thread into this namespace, for good. Threads it starts afterwards begin there.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` in the user namespace that owns this one, and in the caller's own.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `f` in this namespace, on a thread of its own that ends with it, and returns what `f` returned. A panic
    /// in `f` continues in the caller.
    ///
    /// # Errors
    /// Those of [`NetNs::enter`] and of starting a thread; `f` did not run then.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            join(thread::Builder::new().spawn_scoped(scope, || {
                self.enter()?;
                Ok(f())
            })?)
        })
    }
}

/// The cookie of the calling thread's network namespace: a number that no other one has until the machine restarts,
/// unlike the inode number, which is used again.
///
/// # Errors
/// `ENOPROTOOPT` on kernels before 5.14.
pub fn cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open until the end of the function, `cookie` is writable for the `length` bytes that
    // the kernel is told, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// Waits for a scoped thread and hands its panic on.
fn join<T>(handle: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The names under the directories of `ip netns`, sorted, each once. A directory that cannot be read has none.
fn names() -> Vec<String> {
    let mut names: Vec<String> = NAME_DIRECTORIES
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn open_path(path: &Path) -> Result<NetNs, OpenError> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH) => OpenError::NoSuchPath { path: path.to_path_buf() },
        Some(libc::EACCES | libc::EPERM) => OpenError::Permission { path: path.to_path_buf() },
        _ => OpenError::Io { path: path.to_path_buf(), source: error },
    };
    // O_NONBLOCK: a path may lead to a FIFO, and opening one waits for a writer.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(failed)?;
    if !is_network_namespace(&file).map_err(failed)? {
        return Err(OpenError::NotNetworkNamespace { path: path.to_path_buf() });
    }
    Ok(NetNs(file.into()))
}

/// Asks the file system first: the same ioctl number may mean anything to a device.
fn is_network_namespace(file: &File) -> io::Result<bool> {
    if fstatfs(file)?.filesystem_type() != NSFS_MAGIC {
        return Ok(false);
    }
    // SAFETY: the descriptor is open, and this request takes no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE as _) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(kind == libc::CLONE_NEWNET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_works_in_the_namespace_and_leaves_the_caller_where_it_was() {
        let before = cookie().unwrap();
        let first = NetNs::new_anonymous().unwrap();
        let second = NetNs::new_anonymous().unwrap();
        let inside = first.run(|| cookie().unwrap()).unwrap();
        assert_eq!(cookie().unwrap(), before);
        assert_ne!(inside, before);
        assert_ne!(second.run(|| cookie().unwrap()).unwrap(), inside);
        assert_eq!(first.run(|| cookie().unwrap()).unwrap(), inside);
    }

    #[test]
    fn current_inside_a_namespace_is_that_namespace() {
        let namespace = NetNs::new_anonymous().unwrap();
        let (again, expected) = namespace.run(|| (NetNs::current().unwrap(), cookie().unwrap())).unwrap();
        assert_eq!(again.run(|| cookie().unwrap()).unwrap(), expected);
    }

    #[test]
    fn enter_moves_the_thread() {
        let namespace = NetNs::new_anonymous().unwrap();
        let expected = namespace.run(|| cookie().unwrap()).unwrap();
        let entered = thread::spawn(move || {
            namespace.enter().unwrap();
            cookie().unwrap()
        });
        assert_eq!(entered.join().unwrap(), expected);
    }

    #[test]
    fn a_process_number_opens_the_namespace_of_that_process() {
        let own = NetNs::open(&format!("pid:{}", std::process::id())).unwrap();
        assert_eq!(own.run(|| cookie().unwrap()).unwrap(), cookie().unwrap());
    }

    #[test]
    fn a_path_opens_a_namespace() {
        let own = NetNs::open("/proc/self/ns/net").unwrap();
        assert_eq!(own.run(|| cookie().unwrap()).unwrap(), cookie().unwrap());
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        type Row = (&'static str, fn(&OpenError) -> bool);
        let rows: [Row; 12] = [
            ("", |e| matches!(e, OpenError::BadSpec { .. })),
            ("..", |e| matches!(e, OpenError::BadSpec { .. })),
            ("pid:", |e| matches!(e, OpenError::BadSpec { .. })),
            ("pid:0", |e| matches!(e, OpenError::BadSpec { .. })),
            ("pid:+1", |e| matches!(e, OpenError::BadSpec { .. })),
            ("pid:x", |e| matches!(e, OpenError::BadSpec { .. })),
            ("pid:4194305", |e| matches!(e, OpenError::NoSuchProcess { pid: 4194305 })),
            ("there-is-none", |e| matches!(e, OpenError::NoSuchName { name, .. } if name == "there-is-none")),
            ("/nowhere/at/all", |e| matches!(e, OpenError::NoSuchPath { .. })),
            ("/proc/self/ns/mnt", |e| matches!(e, OpenError::NotNetworkNamespace { .. })),
            ("/proc/self/status", |e| matches!(e, OpenError::NotNetworkNamespace { .. })),
            ("./", |e| matches!(e, OpenError::NotNetworkNamespace { .. })),
        ];
        for (spec, expected) in rows {
            let error = NetNs::open(spec).unwrap_err();
            assert!(expected(&error), "{spec:?}: {error:?}");
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_ones() {
        let error = OpenError::NoSuchName { name: "blu".into(), existing: vec!["blue".into(), "red".into()] };
        assert_eq!(error.to_string(), "no network namespace is called 'blu': there are blue, red");
    }

    #[test]
    #[should_panic(expected = "from inside")]
    fn a_panic_inside_continues_outside() {
        let _ = NetNs::new_anonymous().unwrap().run(|| panic!("from inside"));
    }
}
