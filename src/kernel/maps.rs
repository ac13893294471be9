//! Typed access to the pinned maps.

use std::marker::PhantomData;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use nix::sys::mman::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

use super::abi::{Pod, Sum};
use super::programs::{self, bpf_error};
use crate::model::{Code, Error, Result};

/// The map pinned here.
pub(super) fn open(path: &Path) -> Result<MapHandle> {
    // libbpf-rs does not tell the error number; this does.
    if programs::open_pin(path)?.is_none() {
        return Err(damaged(path, "it is missing"));
    }
    MapHandle::from_pinned_path(path).map_err(|error| bpf_error(format!("open the map {}", path.display()), &error))
}

pub(super) fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Code::Damaged, format!("the pinned map {} is damaged: {what}", path.display()))
        .hint("remove this instance with ebmirror unpin --force, and set it up again")
}

fn check<T>(map: &MapHandle, path: &Path) -> Result<()> {
    if map.key_size() == 4 && map.value_size() as usize == size_of::<T>() {
        return Ok(());
    }
    Err(damaged(path, &format!("values of {} bytes instead of {}", map.value_size(), size_of::<T>())))
}

/// A new map whose keys are numbers.
pub(super) fn create(name: &str, kind: MapType, value: usize, elements: usize, flags: u32) -> Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: flags,
        ..Default::default()
    };
    MapHandle::create(kind, Some(name), 4, value as u32, elements as u32, &options)
        .map_err(|error| bpf_error(format!("make the map {name}"), &error))
}

/// An array map of `T`.
pub struct Table<T> {
    map: MapHandle,
    of: PhantomData<T>,
}

impl<T: Pod> Table<T> {
    /// The map pinned here.
    pub fn open(path: &Path) -> Result<Self> {
        let map = open(path)?;
        check::<T>(&map, path)?;
        Ok(Table { map, of: PhantomData })
    }

    /// This map, whose values must be of `T`'s size.
    pub fn of(map: MapHandle) -> Self {
        Table { map, of: PhantomData }
    }

    /// The element, which must be below the map's size.
    pub fn get(&self, index: u32) -> Result<T> {
        let bytes = self
            .map
            .lookup(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| bpf_error(format!("read element {index} of the map {:?}", self.map.name()), &error))?;
        bytes.as_deref().and_then(T::from_bytes).ok_or_else(|| self.short(index))
    }

    /// Writes the element.
    pub fn set(&self, index: u32, value: &T) -> Result<()> {
        self.map
            .update(&index.to_ne_bytes(), value.bytes(), MapFlags::ANY)
            .map_err(|error| bpf_error(format!("write element {index} of the map {:?}", self.map.name()), &error))
    }

    fn short(&self, index: u32) -> Error {
        Error::new(Code::Damaged, format!("the map {:?} has no element {index}", self.map.name()))
            .hint("remove this instance with ebmirror unpin --force, and set it up again")
    }
}

/// A per-CPU array map of `T`.
pub struct CpuTable<T>(Table<T>);

impl<T: Pod> CpuTable<T> {
    /// The map pinned here.
    pub fn open(path: &Path) -> Result<Self> {
        Table::open(path).map(CpuTable)
    }

    /// The element of each CPU.
    pub fn get(&self, index: u32) -> Result<Vec<T>> {
        let map = &self.0.map;
        let values = map
            .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| bpf_error(format!("read element {index} of the map {:?}", map.name()), &error))?
            .ok_or_else(|| self.0.short(index))?;
        values.iter().map(|value| T::from_bytes(value).ok_or_else(|| self.0.short(index))).collect()
    }

    /// The sum over all CPUs.
    pub fn sum(&self, index: u32) -> Result<T>
    where
        T: Sum,
    {
        let mut total = T::zeroed();
        for value in self.get(index)? {
            total.add(&value);
        }
        Ok(total)
    }

    /// Sets the element to zero on all CPUs. Only right for one that no program counts in.
    pub fn clear(&self, index: u32) -> Result<()> {
        let map = &self.0.map;
        let cpus = libbpf_rs::num_possible_cpus().map_err(|error| bpf_error("count the CPUs".to_owned(), &error))?;
        let zeroes = vec![vec![0; size_of::<T>()]; cpus];
        map.update_percpu(&index.to_ne_bytes(), &zeroes, MapFlags::ANY)
            .map_err(|error| bpf_error(format!("clear element {index} of the map {:?}", map.name()), &error))
    }
}

/// An array map in this process's memory: fields change by one aligned store, which no program sees half of.
pub struct MappedTable<T> {
    memory: NonNull<libc::c_void>,
    length: NonZeroUsize,
    elements: usize,
    of: PhantomData<T>,
}

impl<T: Pod> MappedTable<T> {
    /// The map pinned here.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(&open(path)?, path)
    }

    /// This map; `path` is for messages.
    pub fn of(map: &MapHandle, path: &Path) -> Result<Self> {
        check::<T>(map, path)?;
        let elements = map.max_entries() as usize;
        let length = NonZeroUsize::new(elements * size_of::<T>()).ok_or_else(|| damaged(path, "it is empty"))?;
        // SAFETY: a new shared mapping of the map's own memory; the kernel rounds its length up to pages.
        let memory = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MmapFlags::MAP_SHARED, map.as_fd(), 0)
        }
        .map_err(|error| Error::io(format!("map {} into memory", path.display()), &error.into()))?;
        Ok(MappedTable { memory, length, elements, of: PhantomData })
    }

    /// Elements of the map.
    pub fn len(&self) -> usize {
        self.elements
    }

    /// Whether the map has no element, which no map has.
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    fn at(&self, index: usize) -> *mut T {
        assert!(index < self.elements, "element {index} of {}", self.elements);
        // SAFETY: in bounds, asserted above. Elements lie size_of::<T> apart: all types' sizes are multiples of 8.
        unsafe { self.memory.as_ptr().cast::<T>().add(index) }
    }

    /// A copy of the element.
    pub fn get(&self, index: usize) -> T {
        // SAFETY: `at` is in bounds and aligned; every bit pattern is a T.
        unsafe { self.at(index).read_volatile() }
    }

    /// Writes the whole element, not atomically: right while no program uses it.
    pub fn set(&self, index: usize, value: &T) {
        // SAFETY: `at` is in bounds and aligned.
        unsafe { self.at(index).write_volatile(*value) }
    }

    /// Stores a 32-bit field, `offset` bytes into the element, at once; everything stored before is visible with it.
    pub fn store_u32(&self, index: usize, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        // SAFETY: in bounds and aligned, both asserted; only atomics and volatile accesses touch this memory.
        let field = unsafe { AtomicU32::from_ptr(self.at(index).cast::<u8>().add(offset).cast()) };
        field.store(value, Ordering::Release);
    }

    /// The same for a 64-bit field.
    pub fn store_u64(&self, index: usize, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<T>());
        // SAFETY: in bounds and aligned, both asserted; only atomics and volatile accesses touch this memory.
        let field = unsafe { AtomicU64::from_ptr(self.at(index).cast::<u8>().add(offset).cast()) };
        field.store(value, Ordering::Release);
    }

    /// The same for a byte.
    pub fn store_u8(&self, index: usize, offset: usize, value: u8) {
        assert!(offset < size_of::<T>());
        // SAFETY: in bounds, asserted.
        unsafe { self.at(index).cast::<u8>().add(offset).write_volatile(value) }
    }
}

impl<T> Drop for MappedTable<T> {
    fn drop(&mut self) {
        // SAFETY: this mapping is ours, and nothing borrows from it.
        let _ = unsafe { munmap(self.memory, self.length.get()) };
    }
}

/// The map whose update waits until every program that is running has ended.
pub struct Grace {
    outer: MapHandle,
    inner: MapHandle,
}

impl Grace {
    /// The maps pinned here.
    pub fn open(outer: &Path, inner: &Path) -> Result<Self> {
        Ok(Grace { outer: open(outer)?, inner: open(inner)? })
    }

    /// Returns when every program that ran at the moment of the call has ended (kernel 4.20, commit 1ae80cf31938). Takes
    /// some 16 ms.
    pub fn wait(&self) -> Result<()> {
        let fd: BorrowedFd<'_> = self.inner.as_fd();
        let value = std::os::fd::AsRawFd::as_raw_fd(&fd).to_ne_bytes();
        self.outer
            .update(&0u32.to_ne_bytes(), &value, MapFlags::ANY)
            .map_err(|error| bpf_error("wait for running programs".to_owned(), &error))
    }
}
