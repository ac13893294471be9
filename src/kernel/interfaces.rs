//! The table of attached interfaces: which device has which counters, in which directions, until when.

use std::collections::HashMap;
use std::mem::offset_of;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::abi::{self, BUCKETS, INTERFACES, Iface, PROBES, Pod};
use super::instance::Instance;
use super::netlink::Link;
use crate::model::{Code, Error, Result};

/// Knuth's multiplicative hash, as in bpf/state.h: device numbers come in runs, and runs from different times collide.
const HASH_FACTOR: u32 = 0x9e37_79b1;
const HASH_SHIFT: u32 = 32 - BUCKETS.ilog2();

/// Nanoseconds of CLOCK_BOOTTIME, which is what the datapath compares with.
pub fn boot_time_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(|error| Error::io("read the clock", &error.into()))?;
    Ok(Duration::from(now).as_nanos() as u64)
}

impl Instance {
    /// The interfaces of the table with their buckets, in the order of their names: those that they have now, and of
    /// devices that are gone those that they had.
    pub fn interfaces(&self) -> Result<Vec<(usize, Iface)>> {
        let mut found: Vec<_> = (0..BUCKETS)
            .map(|bucket| (bucket, self.ifaces.get(bucket)))
            .filter(|(_, iface)| iface.ifindex != 0)
            .collect();
        if !found.is_empty() {
            let links = self.netlink.links().map_err(|error| error.context("list the devices"))?;
            let names: HashMap<u32, String> = links.into_iter().map(|link| (link.ifindex, link.name)).collect();
            for (_, iface) in &mut found {
                if let Some(name) = names.get(&iface.ifindex) {
                    set_name(iface, name);
                }
            }
        }
        found.sort_by_key(|(_, iface)| (abi::text(&iface.name), iface.ifindex));
        Ok(found)
    }

    /// The devices of the table that are there.
    pub fn devices(&self) -> Result<Vec<Link>> {
        let attached = self.interfaces()?;
        let links = self.netlink.links().map_err(|error| error.context("list the devices"))?;
        let is_attached = |link: &Link| attached.iter().any(|(_, iface)| iface.ifindex == link.ifindex);
        Ok(links.into_iter().filter(is_attached).collect())
    }

    pub(super) fn bucket(&self, ifindex: u32) -> Option<usize> {
        buckets_of(ifindex).find(|bucket| self.ifaces.get(*bucket).ifindex == ifindex)
    }

    /// Whether the interface is in the table.
    pub fn is_attached(&self, ifindex: u32) -> bool {
        self.bucket(ifindex).is_some()
    }

    /// A bucket and a slot for one more interface; not yet visible to the taps.
    pub(super) fn new_entry(&self, link: &Link) -> Result<usize> {
        let full = || {
            Error::new(Code::Conflict, format!("the table of interfaces is full: {INTERFACES} interfaces"))
                .hint("detach one: ebmirror status, ebmirror detach IFACE")
        };
        let mut used = [false; INTERFACES];
        for (_, iface) in self.interfaces()? {
            used[iface.slot as usize % INTERFACES] = true;
        }
        let slot = used.iter().position(|used| !used).ok_or_else(full)?;
        let bucket = buckets_of(link.ifindex).find(|bucket| self.ifaces.get(*bucket).ifindex == 0).ok_or_else(full)?;
        let mut iface = Iface::zeroed();
        iface.slot = slot as u32;
        iface.device_rx = link.rx_packets;
        iface.device_tx = link.tx_packets;
        set_name(&mut iface, &link.name);
        // The slot's last owner may have been detached a moment ago, by this command or by one before.
        if self.slots_in_doubt.replace(false) {
            self.grace.wait()?;
        }
        self.begin_iface_counters(iface.slot)?;
        self.ifaces.set(bucket, &iface);
        Ok(bucket)
    }

    /// Whether this interface is attached by a command that renews its time, and by no other since.
    pub fn is_leased(&self, ifindex: u32) -> bool {
        self.bucket(ifindex).is_some_and(|bucket| self.ifaces.get(bucket).leased == 1)
    }

    /// The taps of a leased interface stop by themselves after this time.
    pub fn renew(&self, ifindex: u32, duration: Duration) -> Result<()> {
        let Some(bucket) = self.bucket(ifindex).filter(|_| self.is_leased(ifindex)) else {
            return Err(Error::new(Code::Conflict, "another command attached or detached the interface meanwhile")
                .hint("its state is what that command made it: ebmirror status"));
        };
        let expires_ns = boot_time_ns()?.saturating_add(duration.as_nanos() as u64);
        self.ifaces.store_u64(bucket, offset_of!(Iface, expires_ns), expires_ns);
        Ok(())
    }

    /// The device's own counters begin where ours do.
    pub(super) fn begin_device_counters(&self, bucket: usize, device: &Link) {
        self.ifaces.store_u64(bucket, offset_of!(Iface, device_rx), device.rx_packets);
        self.ifaces.store_u64(bucket, offset_of!(Iface, device_tx), device.tx_packets);
    }

    /// The device of this number.
    pub fn device(&self, ifindex: u32) -> Result<Option<Link>> {
        self.netlink.link_by_index(ifindex).map_err(|error| error.context("look at a device"))
    }
}

/// Device names have 15 bytes at most.
fn set_name(iface: &mut Iface, name: &str) {
    iface.name.fill(0);
    let length = name.len().min(iface.name.len() - 1);
    iface.name[..length].copy_from_slice(&name.as_bytes()[..length]);
}

fn buckets_of(ifindex: u32) -> impl Iterator<Item = usize> {
    let first = ifindex.wrapping_mul(HASH_FACTOR) >> HASH_SHIFT;
    (0..PROBES).map(move |probe| (first as usize + probe) % BUCKETS)
}
