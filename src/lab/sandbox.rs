//! What keeps an experiment from leaving traces: mounts that only it sees, and processes that end with it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

use crate::model::{Code, Error, Result};

/// Moves the calling thread into a mount namespace of its own, with a bpffs that nobody else sees, and returns the bpffs.
/// What is started from this thread, threads and processes, finds it there too; it vanishes with the last of them.
///
/// # Errors
/// Permission without `CAP_SYS_ADMIN`; unsupported when the kernel has no bpffs.
pub fn private_bpffs() -> Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| Error::io("create a mount namespace", &error.into()))?;
    // Before anything is mounted: a mount must not spread to where it would stay.
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|error| Error::io("make the mount namespace private", &error.into()))?;
    // Any directory will do; every system has this one.
    let place = Path::new("/tmp");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("mode=0700,size=64k"))
        .map_err(|error| Error::io("mount a tmpfs", &error.into()))?;
    let bpffs = place.join("bpf");
    fs::create_dir(&bpffs).map_err(|error| Error::io("create a directory in a fresh tmpfs", &error))?;
    mount(Some("bpf"), &bpffs, Some("bpf"), flags, Some("mode=0700")).map_err(|error| match error {
        Errno::ENODEV => {
            Error::new(Code::Unsupported, "this kernel has no bpf file system").hint("it needs CONFIG_BPF_SYSCALL")
        }
        error => Error::io("mount a bpf file system", &error.into()),
    })?;
    Ok(bpffs)
}

/// Lets the kernel kill the command's process when the thread that starts it ends, however that happens.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // It may have ended before it was asked for.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls and touches no memory but its own; both functions
    // are async-signal-safe.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_bpffs_is_there_for_the_thread_and_what_it_starts_alone() {
        let (bpffs, inside) = thread::spawn(|| {
            let bpffs = private_bpffs().unwrap();
            let list = Command::new("stat").args(["-f", "-c", "%T"]).arg(&bpffs).output().unwrap();
            (bpffs, String::from_utf8(list.stdout).unwrap())
        })
        .join()
        .unwrap();
        assert_eq!(inside.trim(), "bpf_fs");
        assert!(!bpffs.exists());
    }

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let mut child = thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("60");
            die_with_parent(&mut command);
            command.spawn().unwrap()
        })
        .join()
        .unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
