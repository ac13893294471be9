//! Where an instance's pins live, and the lock on them.
//!
//! `ROOT/NETNS_COOKIE/`: one instance a network namespace. Cookies are never reused, inode numbers are. bpffs does not
//! allow dots in names, so that links are pinned by interface number.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{FsType, statfs};

use super::netns;
use crate::model::interface::Direction;
use crate::model::{Code, Error, Result};

/// BPF_FS_MAGIC of <linux/magic.h>.
const BPFFS: FsType = FsType(0xcafe_4a11);

/// Why the lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look: several at a time.
    Read,
    /// To change: alone.
    Write,
}

/// The directory of an instance, which may not exist yet.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    dir: PathBuf,
    cookie: u64,
}

/// Held as long as a command looks at an instance or changes it.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "dropping it unlocks")] Flock<File>);

impl Place {
    /// The place of the calling thread's network namespace below `root`, which must be in a bpffs.
    pub fn of_current_namespace(root: &Path) -> Result<Self> {
        check_bpffs(root)?;
        let cookie = netns::cookie()
            .map_err(|error| Error::io("tell the network namespace (SO_NETNS_COOKIE, kernel 5.14)", &error))?;
        Ok(Place { root: root.to_owned(), dir: root.join(cookie.to_string()), cookie })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cookie of the network namespace.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The pin of a map or a program, by its name in the kernel.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The pin of a tap's link.
    pub fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.dir.join(format!("link_{ifindex}_{direction}"))
    }

    /// Makes the directory, readable by its owner alone, and takes the lock for writing.
    pub fn create_and_lock(&self) -> Result<Lock> {
        loop {
            let mut builder = DirBuilder::new();
            builder.mode(0o700);
            match builder.create(&self.root) {
                // It may be gone again by now; what it is, and whose, is looked at next.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let new = Error::io(format!("create {}", self.root.display()), &error);
                    return Err(match (error.kind(), self.root.parent()) {
                        (io::ErrorKind::NotFound, Some(parent)) => new.hint(format!("mkdir -p {}", parent.display())),
                        _ => new,
                    });
                }
                _ => {}
            }
            let Some(_) = open_trusted(&self.root)? else { continue };
            match builder.create(&self.dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // A command that removed the last instance removed the root as well.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.root.exists() => continue,
                Err(error) => {
                    // Not empty: others have their instances there.
                    let _ = fs::remove_dir(&self.root);
                    return Err(Error::io(format!("create {}", self.dir.display()), &error));
                }
            }
            if let Some(lock) = self.lock(Access::Write)? {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock. None when there is no such directory.
    pub fn lock(&self, access: Access) -> Result<Option<Lock>> {
        let argument = match access {
            Access::Read => FlockArg::LockShared,
            Access::Write => FlockArg::LockExclusive,
        };
        loop {
            // Whoever may write to the root may put another directory in this one's place.
            let Some(_) = open_trusted(&self.root)? else { return Ok(None) };
            let Some(file) = open_trusted(&self.dir)? else { return Ok(None) };
            let ours = file.metadata().map_err(|error| Error::io(format!("look at {}", self.dir.display()), &error))?;
            let lock = Flock::lock(file, argument)
                .map_err(|(_, error)| Error::io(format!("lock {}", self.dir.display()), &error.into()))?;
            // Whoever held the lock before may have removed the directory, and somebody else made a new one.
            match fs::symlink_metadata(&self.dir) {
                Ok(now) if now.ino() == ours.ino() && now.dev() == ours.dev() => return Ok(Some(Lock(lock))),
                _ => continue,
            }
        }
    }

    /// Names of the pins.
    pub fn names(&self) -> Result<Vec<String>> {
        let what = || format!("list {}", self.dir.display());
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(what(), &error)),
        };
        entries
            .map(|entry| {
                let entry = entry.map_err(|error| Error::io(what(), &error))?;
                Ok(entry.file_name().to_string_lossy().into_owned())
            })
            .collect()
    }

    /// Another directory of this namespace's in the same bpffs, below another root. None when this is the only one.
    pub fn other(&self) -> Result<Option<PathBuf>> {
        let is_bpffs = |dir: &Path| statfs(dir).is_ok_and(|found| found.filesystem_type() == BPFFS);
        let mut top = self.root.as_path();
        while let Some(parent) = top.parent().filter(|parent| is_bpffs(parent) || !top.exists()) {
            top = parent;
        }
        let mut open = vec![top.to_owned()];
        while let Some(dir) = open.pop() {
            // Directories that come and go meanwhile are nobody's instance.
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || entry.path() == self.dir {
                    continue;
                }
                if entry.file_name().to_str() == Some(&self.cookie.to_string())
                    && entry.path().join("ebm_meta").exists()
                {
                    return Ok(Some(entry.path()));
                }
                open.push(entry.path());
            }
        }
        Ok(None)
    }

    /// Removes every pin and the directory; and the root, when no other instance is in it.
    pub fn remove(&self) -> Result<()> {
        for name in self.names()? {
            super::programs::unpin(&self.pin(&name))?;
        }
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", self.dir.display()), &error));
            }
            _ => {}
        }
        // Not empty: another namespace's instance is there.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

/// Opens a directory that nobody else can change. None when there is none.
fn open_trusted(dir: &Path) -> Result<Option<File>> {
    let what = |error: &io::Error| Error::io(format!("open {}", dir.display()), error);
    let opened =
        OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(dir);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
            return Err(Error::new(Code::Permission, format!("{} is no directory", dir.display()))
                .hint("it may be somebody's trap, so it is not followed: remove it and look who made it"));
        }
        Err(error) => return Err(what(&error)),
    };
    let found = file.metadata().map_err(|error| what(&error))?;
    let user = found.uid();
    // In a sticky directory (the mount of bpffs is one) others cannot move what is not theirs.
    let writable = found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
    if writable || (user != 0 && user != nix::unistd::geteuid().as_raw()) {
        let message = format!("{} belongs to user {user} with mode {:o}", dir.display(), found.mode() & 0o777);
        return Err(Error::new(Code::Permission, message)
            .hint("others could change it, so it is not trusted: remove it and look who made it"));
    }
    Ok(Some(file))
}

fn check_bpffs(root: &Path) -> Result<()> {
    let mut existing = root;
    let found = loop {
        match statfs(existing) {
            Ok(found) => break found.filesystem_type(),
            Err(nix::Error::ENOENT) => existing = existing.parent().unwrap_or(Path::new("/")),
            Err(error) => return Err(Error::io(format!("look at {}", existing.display()), &error.into())),
        }
        if existing.as_os_str().is_empty() {
            existing = Path::new(".");
        }
    };
    if found == BPFFS {
        return Ok(());
    }
    let error = Error::new(Code::Failed, format!("{} is in no BPF file system (bpffs)", root.display()));
    let default = Path::new("/sys/fs/bpf");
    Err(if !root.starts_with(default) && statfs(default).is_ok_and(|found| found.filesystem_type() == BPFFS) {
        error.hint("--root takes a directory in a bpffs: /sys/fs/bpf/NAME")
    } else if own_mount_namespace() {
        error.hint(
            "mount one: mount -t bpf bpf /sys/fs/bpf; but below ip netns exec, which hides the host's, stay outside and \
             choose the namespace with --netns NAME",
        )
    } else {
        error.hint("mount it: mount -t bpf bpf /sys/fs/bpf")
    })
}

/// Whether this process is in another mount namespace than the host's first process, as below ip netns exec.
fn own_mount_namespace() -> bool {
    let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    link("self").is_some() && link("self") != link("1")
}
