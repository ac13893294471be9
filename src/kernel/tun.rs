//! Tun devices, which no netlink request makes: /dev/net/tun does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Where the kernel makes them.
pub const CONTROL: &str = "/dev/net/tun";

/// The kernel's `struct ifreq`: a name, and of its union the flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    unused: [u8; 22],
}

/// A tun device without packet information in front of the packets. It goes when this is dropped, unless it was made
/// to stay.
pub struct Tun(File);

impl Tun {
    /// Makes one in the calling thread's network namespace: down, MTU 1500.
    ///
    /// # Errors
    /// `EBUSY` or `EINVAL` when the name is taken; `ENOENT` or `ENODEV` without the kernel's module.
    pub fn new(ifname: &str) -> io::Result<Self> {
        let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, unused: [0; 22] };
        if ifname.is_empty() || ifname.len() >= libc::IFNAMSIZ {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        request.name[..ifname.len()].copy_from_slice(ifname.as_bytes());
        // Without EXCL it would be another one's, of the same name, if nobody holds it.
        request.flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as u16;
        let file = OpenOptions::new().read(true).write(true).open(Path::new(CONTROL))?;
        // SAFETY: the request is a whole `struct ifreq`, which the kernel reads and writes, and outlives the call.
        match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
            0 => Ok(Self(file)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// It stays from now on, without a process.
    ///
    /// # Errors
    /// The kernel's.
    pub fn persist(self) -> io::Result<()> {
        // SAFETY: the argument is a number, not a pointer.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNSETPERSIST as _, 1 as libc::c_ulong) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::Netlink;
    use crate::kernel::netns::NetNs;

    fn in_namespace(test: impl FnOnce(Netlink) + Send) {
        NetNs::new_anonymous().unwrap().run(|| test(Netlink::open().unwrap())).unwrap();
    }

    #[test]
    fn a_device_goes_with_its_owner_unless_it_is_made_to_stay() {
        in_namespace(|netlink| {
            let tun = Tun::new("t0").unwrap();
            let link = netlink.link_by_name("t0").unwrap().unwrap();
            assert_eq!((link.kind.as_deref(), link.hw_type, link.mac), (Some("tun"), libc::ARPHRD_NONE, None));
            drop(tun);
            assert_eq!(netlink.link_by_name("t0").unwrap(), None);
            Tun::new("t0").unwrap().persist().unwrap();
            assert!(netlink.link_by_name("t0").unwrap().is_some());
        });
    }

    #[test]
    fn a_device_that_is_there_is_never_taken_over() {
        in_namespace(|netlink| {
            Tun::new("t0").unwrap().persist().unwrap();
            assert_eq!(Tun::new("t0").err().and_then(|error| error.raw_os_error()), Some(libc::EBUSY));
            netlink.add_veth("va", "vb", 1500, None).unwrap();
            assert!(Tun::new("va").is_err());
            for name in ["", "sixteen-bytes-xx"] {
                assert_eq!(Tun::new(name).err().and_then(|error| error.raw_os_error()), Some(libc::EINVAL));
            }
        });
    }
}
