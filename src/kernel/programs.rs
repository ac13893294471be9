//! Programs and links of the kernel by descriptor and number.

use std::ffi::{CStr, CString};
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use crate::model::{Code, Error, Result};

/// What libbpf-rs says, as this program's error.
pub fn bpf_error(what: String, error: &libbpf_rs::Error) -> Error {
    // libbpf-rs 0.27 keeps the number to itself, and prints it as the standard library does.
    let text = format!("{error:#}");
    let raw = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    match (raw, error.kind()) {
        (Some(raw), _) => Error::io(what, &io::Error::from_raw_os_error(raw)),
        (None, libbpf_rs::ErrorKind::PermissionDenied) => Error::io(what, &io::Error::from_raw_os_error(libc::EPERM)),
        (None, libbpf_rs::ErrorKind::NotFound) => Error::new(Code::NotFound, format!("{what}: {text}")),
        _ => Error::new(Code::Failed, format!("{what}: {text}")).hint("-v shows libbpf's log"),
    }
}

fn path_text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::usage(format!("the path {path:?} has a zero byte in it")))
}

/// A non-negative result is a descriptor or 0, a negative one an errno.
fn result(value: i32) -> io::Result<i32> {
    if value < 0 { Err(io::Error::from_raw_os_error(-value)) } else { Ok(value) }
}

fn owned(value: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call that gave it made it for us, and nobody else closes it.
    result(value).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The object that is pinned here. None when there is none.
pub fn open_pin(path: &Path) -> Result<Option<OwnedFd>> {
    let text = path_text(path)?;
    // SAFETY: a zero-terminated path.
    match owned(unsafe { libbpf_sys::bpf_obj_get(text.as_ptr()) }) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(Error::io(format!("open {}", path.display()), &error)),
    }
}

/// Pins the object here.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let text = path_text(path)?;
    // SAFETY: a zero-terminated path and a live descriptor.
    result(unsafe { libbpf_sys::bpf_obj_pin(fd.as_raw_fd(), text.as_ptr()) })
        .map(drop)
        .map_err(|error| Error::io(format!("pin {}", path.display()), &error))
}

/// Removes a pin; one that is gone is removed already.
pub fn unpin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove the pin {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Puts the object in the place of what is pinned here; None: nothing.
pub fn replace_pin(fd: Option<BorrowedFd<'_>>, path: &Path) -> Result<()> {
    unpin(path)?;
    fd.map_or(Ok(()), |fd| pin(fd, path))
}

/// The kernel's number of a map.
pub fn map_id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: an all-zero bpf_map_info is what the call asks for.
    let mut info: libbpf_sys::bpf_map_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libbpf_sys::bpf_map_info>() as u32;
    // SAFETY: info is `length` bytes.
    result(unsafe { libbpf_sys::bpf_map_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut length) })?;
    Ok(info.id)
}

/// A program as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The kernel's number.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// Describes the program behind a descriptor.
pub fn describe(fd: BorrowedFd<'_>) -> io::Result<Program> {
    // SAFETY: an all-zero bpf_prog_info is what the call asks for.
    let mut info: libbpf_sys::bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: info is `length` bytes and asks for no further arrays.
    result(unsafe { libbpf_sys::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut length) })?;
    // SAFETY: the kernel terminates the name, whose array is 16 bytes.
    let name = unsafe { CStr::from_ptr(info.name.as_ptr()) };
    Ok(Program { id: info.id, name: name.to_string_lossy().into_owned() })
}

/// Describes a program by number. None when it is gone, or when this process may not look (CAP_SYS_ADMIN).
pub fn describe_id(id: u32) -> Option<Program> {
    // SAFETY: takes a number, gives a descriptor.
    let fd = owned(unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) }).ok()?;
    describe(std::os::fd::AsFd::as_fd(&fd)).ok()
}
