//! The one error type: what went wrong, which input it was, and what to do about it.

use std::fmt;

use serde::Serialize;

/// The class of an error: the `code` of the JSON document and the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The command line or a value on it is wrong; exit code 2.
    Usage,
    /// The kernel or the host refused; exit code 3.
    Failed,
    /// What was named does not exist; exit code 4.
    NotFound,
    /// Root, a capability or write access is missing; exit code 5.
    Permission,
    /// It exists already, is in use, belongs to somebody else, or is full; exit code 6.
    Conflict,
    /// This kernel cannot; exit code 7.
    Unsupported,
    /// The pinned state is damaged or of another version; exit code 8.
    Damaged,
}

impl Code {
    /// The exit code of the process.
    pub fn exit(self) -> u8 {
        match self {
            Code::Usage => 2,
            Code::Failed => 3,
            Code::NotFound => 4,
            Code::Permission => 5,
            Code::Conflict => 6,
            Code::Unsupported => 7,
            Code::Damaged => 8,
        }
    }
}

/// An error with its remedy. Printed as `error: MESSAGE` and `hint: HINT`, or as a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// The class.
    pub code: Code,
    /// One line that names the input.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this class.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), hint: None }
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// What failed, and the kernel's reason. The reason decides the class.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let code = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::EROFS) => Code::Permission,
            Some(libc::ENOENT | libc::ENODEV) => Code::NotFound,
            Some(libc::EBUSY | libc::EEXIST) => Code::Conflict,
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => Code::Unsupported,
            _ => Code::Failed,
        };
        Self::new(code, format!("{what}: {error}")).hint(match error.raw_os_error() {
            Some(libc::EROFS) => "the file system is read-only: mount -o remount,rw /sys/fs/bpf (or where the path above is) makes it writable",
            Some(libc::EPERM | libc::EACCES) => "run it as root, or with CAP_BPF and CAP_NET_ADMIN",
            Some(libc::ENOMEM | libc::ENOBUFS) => "the kernel has no memory left for it: free some, and try again",
            Some(libc::ENOSPC | libc::EMFILE | libc::ENFILE | libc::E2BIG) => {
                "a limit of the kernel or of this process is reached: dmesg and ulimit -a may tell which"
            }
            Some(libc::EISDIR) => "it is a directory: give a file",
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => "it may have been removed meanwhile: try again",
            Some(libc::EBUSY | libc::EEXIST | libc::ESTALE | libc::EAGAIN) => "somebody else is using it: try again",
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => "this kernel lacks it: a newer one, or its module, may be needed",
            _ => "the kernel's log (dmesg), or this command with -v, may tell more",
        })
    }

    /// The same error with a remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
