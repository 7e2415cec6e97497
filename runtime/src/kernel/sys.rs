//! The `bpf(2)` calls that aya does not offer: maps of maps with an inner size that is known only at run
//! time, and arrays mapped into memory. The only module of this crate with `unsafe`.
#![allow(unsafe_code, reason = "system calls; each block says why it is sound")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// Numbers of `enum bpf_map_type`.
pub(super) mod map_type {
    pub(crate) const HASH: u32 = 1;
    pub(crate) const ARRAY: u32 = 2;
    pub(crate) const PERCPU_ARRAY: u32 = 6;
    pub(crate) const LRU_HASH: u32 = 9;
    pub(crate) const LRU_PERCPU_HASH: u32 = 10;
    pub(crate) const LPM_TRIE: u32 = 11;
    pub(crate) const ARRAY_OF_MAPS: u32 = 12;
    pub(crate) const RINGBUF: u32 = 27;
}

/// `BPF_F_NO_PREALLOC`.
pub(super) const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`.
pub(super) const MMAPABLE: u32 = 1024;

/// Numbers of `enum bpf_cmd`.
mod command {
    pub(super) const MAP_CREATE: i32 = 0;
    pub(super) const MAP_LOOKUP: i32 = 1;
    pub(super) const MAP_UPDATE: i32 = 2;
    pub(super) const MAP_DELETE: i32 = 3;
    pub(super) const MAP_NEXT_KEY: i32 = 4;
    pub(super) const OBJ_PIN: i32 = 6;
    pub(super) const OBJ_GET: i32 = 7;
    pub(super) const MAP_FD_BY_ID: i32 = 14;
    pub(super) const OBJ_INFO: i32 = 15;
    pub(super) const PROG_QUERY: i32 = 16;
    pub(super) const MAP_LOOKUP_BATCH: i32 = 24;
    pub(super) const LINK_UPDATE: i32 = 29;
    pub(super) const LINK_DETACH: i32 = 34;
}

/// `f_type` of a bpf file system.
const BPF_FS_MAGIC: i128 = 0xcafe_4a11;

/// What a new map is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapSpec<'n> {
    pub(super) name: &'n str,
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// What the kernel says of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MapInfo {
    pub(super) map_type: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
struct Element {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct AtHook {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    reserved: u32,
}

#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
struct Query {
    bpf_fd: u32,
    length: u32,
    answer: u64,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// Every pointer in `attr` must be valid for what the command does with it.
unsafe fn bpf<T>(cmd: i32, attr: &mut T) -> io::Result<i64> {
    // SAFETY: `attr` is a structure of the given size; the caller vouches for what it points to.
    let done = unsafe { libc::syscall(libc::SYS_bpf, cmd, ptr::from_mut(attr), size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: &impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).unwrap_or(u32::MAX)
}

/// Makes a map; `inner` is the template of a map of maps.
pub(super) fn create(spec: &MapSpec<'_>, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let mut attr = Create {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.flags,
        inner_map_fd: inner.map_or(0, raw),
        ..Create::default()
    };
    // The last byte stays zero.
    for (slot, byte) in attr.map_name.iter_mut().take(15).zip(spec.name.bytes()) {
        *slot = if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    }
    // SAFETY: the attributes hold no pointer.
    owned(unsafe { bpf(command::MAP_CREATE, &mut attr) }?)
}

fn element(fd: &impl AsFd, key: *const u8, value: *mut u8, flags: u64) -> Element {
    Element { map_fd: raw(fd), reserved: 0, key: key.addr() as u64, value: value.addr() as u64, flags }
}

/// Writes one element. The slices must have the map's sizes, which [`super::maps::Map`] sees to.
pub(super) fn update(fd: &impl AsFd, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = element(fd, key.as_ptr(), value.as_ptr().cast_mut(), flags);
    // SAFETY: the kernel reads key and value, both of the map's size, and writes neither.
    unsafe { bpf(command::MAP_UPDATE, &mut attr) }.map(drop)
}

/// Reads one element into `value`; whether it is there.
pub(super) fn lookup(fd: &impl AsFd, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = element(fd, key.as_ptr(), value.as_mut_ptr(), 0);
    // SAFETY: the kernel reads the key and writes a value, both of the map's size.
    found(unsafe { bpf(command::MAP_LOOKUP, &mut attr) })
}

/// Removes one element; whether it was there.
pub(super) fn delete(fd: &impl AsFd, key: &[u8]) -> io::Result<bool> {
    let mut attr = element(fd, key.as_ptr(), ptr::null_mut(), 0);
    // SAFETY: the kernel reads the key, which is of the map's size.
    found(unsafe { bpf(command::MAP_DELETE, &mut attr) })
}

/// The key after `key`, or the first one, into `next`; whether there is one.
pub(super) fn next_key(fd: &impl AsFd, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let from = key.map_or(ptr::null(), <[u8]>::as_ptr);
    let mut attr = element(fd, from, next.as_mut_ptr(), 0);
    // SAFETY: the kernel reads one key, if there is one, and writes another; both are of the map's size.
    found(unsafe { bpf(command::MAP_NEXT_KEY, &mut attr) })
}

fn found(done: io::Result<i64>) -> io::Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Pins a map or program at a path of a bpf file system.
pub(super) fn pin(fd: &impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Object { pathname: path.as_ptr().addr() as u64, bpf_fd: raw(fd), file_flags: 0 };
    // SAFETY: the path ends with a zero byte and lives until the call returns.
    unsafe { bpf(command::OBJ_PIN, &mut attr) }.map(drop)
}

/// What is pinned at a path.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Object { pathname: path.as_ptr().addr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path ends with a zero byte and lives until the call returns.
    owned(unsafe { bpf(command::OBJ_GET, &mut attr) }?)
}

/// Detaches a link now: one that merely loses its pin detaches a little later.
pub(super) fn detach_link(fd: &OwnedFd) -> io::Result<()> {
    let mut attr = ById { id: raw(fd), next_id: 0, open_flags: 0 };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(command::LINK_DETACH, &mut attr) }.map(drop)
}

/// Puts a program in the place of the one that a link has.
pub(super) fn update_link(link: &OwnedFd, program: &impl AsFd) -> io::Result<()> {
    let mut attr = Update { link_fd: raw(link), new_prog_fd: raw(program), flags: 0, old_prog_fd: 0 };
    // SAFETY: the attributes hold no pointer.
    unsafe { bpf(command::LINK_UPDATE, &mut attr) }.map(drop)
}

/// What a step through a hash map gave.
#[derive(Debug)]
pub(super) struct Step {
    /// Elements that were read.
    pub(super) count: usize,
    /// Where the next step begins; `None` after the last.
    pub(super) next: Option<u32>,
}

/// Reads many elements of a hash map at once, from where an earlier step ended. `ENOSPC`: there is no room for
/// the next bucket's elements.
pub(super) fn lookup_batch(
    fd: &impl AsFd,
    from: Option<u32>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<Step> {
    let (from, mut next) = (from, 0u32);
    let mut attr = Batch {
        from: from.as_ref().map_or(0, |f| ptr::from_ref(f).addr() as u64),
        next: ptr::from_mut(&mut next).addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count,
        map_fd: raw(fd),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads and writes one number of a batch each, and writes at most `count` keys and
    // values, for which the caller, [`super::maps::Map`], has made room.
    let done = unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut attr) };
    let count = attr.count as usize;
    match done {
        Ok(_) => Ok(Step { count, next: Some(next) }),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Step { count, next: None }),
        Err(e) => Err(e),
    }
}

/// The map of that id.
pub(super) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = ById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the attributes hold no pointer.
    owned(unsafe { bpf(command::MAP_FD_BY_ID, &mut attr) }?)
}

/// What the kernel says of a map.
pub(super) fn info(fd: &impl AsFd) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    let mut attr = Query {
        bpf_fd: raw(fd),
        length: u32::try_from(size_of::<MapInfo>()).map_err(io::Error::other)?,
        answer: ptr::from_mut(&mut info).addr() as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`.
    unsafe { bpf(command::OBJ_INFO, &mut attr) }?;
    Ok(info)
}

/// An array map's memory, shared with the kernel.
#[derive(Debug)]
pub(super) struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory stays mapped for as long as `self` lives, and is only touched through atomics or
// before the kernel knows of it.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the first `len` bytes of an array's values.
    pub(super) fn new(fd: &OwnedFd, len: usize) -> io::Result<Self> {
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, shared, fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("a mapping at address 0"))?;
        Ok(Self { start, len })
    }

    /// Copies bytes in, before any program can see them; what does not fit is an error.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.len {
            return Err(io::Error::other("an image that is larger than its slot"));
        }
        // SAFETY: the target is `len` bytes of mapped memory, at least as many as are copied, and the
        // source is another object.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// A copy of the first bytes.
    pub(super) fn copy(&self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len.min(self.len)];
        // SAFETY: both are at least `out.len()` bytes and do not overlap; plain memory of another
        // process's making may change meanwhile, and bytes have no invalid values.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr(), out.as_mut_ptr(), out.len()) };
        out
    }

    /// Writes a u16 at a multiple of 2, at once for every reader.
    pub(super) fn set_u16(&self, at: usize, value: u16) -> io::Result<()> {
        if !at.is_multiple_of(2) || at.checked_add(2).is_none_or(|end| end > self.len) {
            return Err(io::Error::other("a place outside the image"));
        }
        // SAFETY: inside the mapping and aligned, by the check above; mappings begin at a page.
        let cell = unsafe { AtomicU16::from_ptr(self.start.as_ptr().add(at).cast()) };
        cell.store(value, Ordering::Release);
        Ok(())
    }

    /// Writes a u32 at a multiple of 4, at once for every reader.
    pub(super) fn set_u32(&self, at: usize, value: u32) -> io::Result<()> {
        if !at.is_multiple_of(4) || at.checked_add(4).is_none_or(|end| end > self.len) {
            return Err(io::Error::other("a place outside the map"));
        }
        // SAFETY: inside the mapping and aligned, by the check above; mappings begin at a page.
        let cell = unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(at).cast()) };
        cell.store(value, Ordering::Release);
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nobody holds a reference into it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Reads an option of a socket. What the kernel reads as the question stands in `value`, too.
pub(crate) fn socket_option(fd: &impl AsFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads and writes at most `length` bytes of `value`, and writes `length`.
    let done = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Numbers of the programs at a hook of a cgroup.
pub(crate) fn programs_at(fd: &impl AsFd, hook: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; 64];
    let mut attr = AtHook {
        target_fd: raw(fd),
        attach_type: hook,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr().addr() as u64,
        count: 64,
        reserved: 0,
    };
    // SAFETY: the kernel writes at most `count` numbers to `ids`, which has room for them.
    unsafe { bpf(command::PROG_QUERY, &mut attr) }?;
    ids.truncate(attr.count as usize);
    Ok(ids)
}

/// Mounts a bpf file system.
pub(super) fn mount_bpffs(at: &Path) -> io::Result<()> {
    let (target, kind) = (c_path(at)?, c"bpf");
    // SAFETY: three strings that end with a zero byte, and no data.
    let done = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a path lies in a bpf file system.
pub(crate) fn is_bpffs(at: &Path) -> io::Result<bool> {
    let file = File::open(at)?;
    // SAFETY: a plain structure of numbers, all of which may be zero.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the kernel writes one structure.
    let done = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut stat) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // Its type is another one with each libc.
    Ok(i128::from(stat.f_type) == BPF_FS_MAGIC)
}
