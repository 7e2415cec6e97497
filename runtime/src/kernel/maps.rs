//! The kernel's maps: made, pinned, found again, and read and written by bytes of the right size.

use super::KernelError;
use super::sys::{self, MapInfo, MapSpec, map_type};
use portcullis_abi::maps::{
    Active, AddressKey, AddressValue, DeniedValue, DropKey, EndpointKey, EndpointValue, FlowKey, FlowValue,
    FragmentKey, FragmentValue, Meta, PrefixKey, PrefixValue, SLOTS, counter,
};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How large the maps are. Maps that are pinned keep the size they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of an image slot: a power of two.
    pub slot: u32,
    /// Exact addresses.
    pub addresses: u32,
    /// Prefixes of one generation.
    pub prefixes: u32,
    /// Endpoints of this node.
    pub endpoints: u32,
    /// Flows under way.
    pub conntrack: u32,
    /// Bytes of the ring of events: a power of two.
    pub events: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            slot: 1 << 19,
            addresses: 1 << 16,
            prefixes: 1 << 16,
            endpoints: 4096,
            conntrack: 1 << 18,
            events: 1 << 20,
        }
    }
}

/// Key and value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// One map, by its descriptor and the sizes of its elements.
#[derive(Debug)]
pub(crate) struct Map {
    pub(super) fd: OwnedFd,
    name: &'static str,
    key: usize,
    /// Bytes of a value as a system call gives it: for every processor where the map keeps one for each.
    value: usize,
    info: MapInfo,
}

impl Map {
    fn of(fd: OwnedFd, name: &'static str) -> Result<Self, KernelError> {
        let info = sys::info(&fd).map_err(|e| KernelError::map(name, "asked about", e))?;
        let one = info.value_size as usize;
        let value = match info.map_type {
            map_type::PERCPU_ARRAY | map_type::LRU_PERCPU_HASH => one.next_multiple_of(8) * processors(),
            _ => one,
        };
        Ok(Self { fd, name, key: info.key_size as usize, value, info })
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> Result<(), KernelError> {
        self.check(key, Some(value))?;
        sys::update(&self.fd, key, value, 0).map_err(|e| KernelError::map(self.name, "written", e))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
        self.check(key, None)?;
        let mut value = vec![0; self.value];
        let found =
            sys::lookup(&self.fd, key, &mut value).map_err(|e| KernelError::map(self.name, "read", e))?;
        Ok(found.then_some(value))
    }

    pub(crate) fn remove(&self, key: &[u8]) -> Result<bool, KernelError> {
        self.check(key, None)?;
        sys::delete(&self.fd, key).map_err(|e| KernelError::map(self.name, "changed", e))
    }

    /// Every key there is. A map that changes meanwhile may give some twice, or begin again: the walk
    /// ends after twice as many steps as the map has room for.
    pub(crate) fn keys(&self) -> Result<Vec<Vec<u8>>, KernelError> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for _ in 0..u64::from(self.info.max_entries) * 2 {
            let mut next = vec![0; self.key];
            let more = sys::next_key(&self.fd, out.last().map(Vec::as_slice), &mut next)
                .map_err(|e| KernelError::map(self.name, "read", e))?;
            if !more {
                break;
            }
            out.push(next);
        }
        out.sort();
        out.dedup();
        Ok(out)
    }

    /// Every element, by key.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, KernelError> {
        if [map_type::HASH, map_type::LRU_HASH].contains(&self.info.map_type) {
            return self.hash_entries();
        }
        let mut out = Vec::new();
        for key in self.keys()? {
            if let Some(value) = self.get(&key)? {
                out.push((key, value));
            }
        }
        Ok(out)
    }

    /// Every element of a hash map, by key, many in one call. One that is put in meanwhile may be missing.
    fn hash_entries(&self) -> Result<Vec<Entry>, KernelError> {
        let failed = |e| KernelError::map(self.name, "read", e);
        let mut out: Vec<Entry> = Vec::new();
        let (mut from, mut room) = (None, 1024u32);
        loop {
            let mut keys = vec![0; self.key * room as usize];
            let mut values = vec![0; self.value * room as usize];
            let step = match sys::lookup_batch(&self.fd, from, &mut keys, &mut values, room) {
                Ok(step) => step,
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && room < self.info.max_entries => {
                    room *= 4;
                    continue;
                }
                Err(e) => return Err(failed(e)),
            };
            let read = keys.chunks_exact(self.key).zip(values.chunks_exact(self.value));
            out.extend(read.take(step.count).map(|(k, v)| (k.to_vec(), v.to_vec())));
            from = step.next;
            if from.is_none() {
                break;
            }
        }
        out.sort();
        out.dedup_by(|a, b| a.0 == b.0);
        Ok(out)
    }

    /// Elements there can be.
    pub(crate) fn capacity(&self) -> u32 {
        self.info.max_entries
    }

    fn check(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), KernelError> {
        let fits = key.len() == self.key && value.is_none_or(|v| v.len() == self.value);
        if fits {
            Ok(())
        } else {
            Err(KernelError::map(self.name, "used", io::Error::other("of another size")))
        }
    }
}

/// Processors that a map with a value for each has values for.
fn processors() -> usize {
    let last = fs::read_to_string("/sys/devices/system/cpu/possible").ok().and_then(|text| {
        let end = text.trim().rsplit([',', '-']).next()?;
        end.parse::<usize>().ok()
    });
    last.map_or(1, |n| n + 1)
}

/// Sums a counter over processors.
pub(crate) fn sum(value: &[u8]) -> u64 {
    value.chunks_exact(8).filter_map(|c| c.first_chunk()).map(|c| u64::from_ne_bytes(*c)).sum()
}

/// Every map of the agent.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) meta: Map,
    pub(crate) active: Map,
    pub(crate) images: Map,
    pub(crate) prefixes: Map,
    pub(crate) addresses: Map,
    pub(crate) endpoints: Map,
    pub(crate) identities: Map,
    pub(crate) conntrack: Map,
    pub(crate) drops: Map,
    pub(crate) counters: Map,
}

/// Names under which the programs know them.
pub(crate) const OF_PROGRAMS: [&str; 11] = [
    "active",
    "images",
    "prefixes",
    "addresses",
    "endpoints",
    "conntrack",
    "fragments",
    "denied",
    "drops",
    "counters",
    "events",
];

/// Bytes of an identity's digest, in `identities`.
pub(crate) const DIGEST: usize = 16;

/// The folder of the maps that every image size shares.
fn shared(folder: &Path) -> PathBuf {
    folder.join("maps")
}

/// The folder of the maps whose layout depends on the size of an image slot.
fn sized(folder: &Path, slot: u32) -> PathBuf {
    folder.join(format!("slots-{slot}"))
}

/// Where a map of the programs is pinned.
pub(crate) fn path_of(folder: &Path, slot: u32, name: &str) -> PathBuf {
    match name {
        "services" => folder.join(format!("services-{slot}")).join(name),
        "active" | "images" | "prefixes" => sized(folder, slot).join(name),
        _ => shared(folder).join(name),
    }
}

pub(super) fn size<const N: usize>() -> u32 {
    u32::try_from(N).unwrap_or(u32::MAX)
}

impl Maps {
    /// Opens the pinned maps, and makes and pins those that are not there.
    pub(crate) fn open(folder: &Path, sizes: &Sizes) -> Result<Self, KernelError> {
        for path in [shared(folder), sized(folder, sizes.slot)] {
            fs::create_dir_all(&path).map_err(|e| KernelError::Folder { path, source: e })?;
        }
        let spec = |name, map_type, key_size, value_size, max_entries, flags| MapSpec {
            name,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
        };
        let one = |spec: MapSpec<'static>| open(folder, sizes.slot, &spec, None);
        let lru = map_type::LRU_HASH;
        // Only the programs use these; the pins keep them.
        one(spec(
            "fragments",
            lru,
            size::<{ FragmentKey::SIZE }>(),
            size::<{ FragmentValue::SIZE }>(),
            8192,
            0,
        ))?;
        one(spec("denied", lru, size::<{ FlowKey::SIZE }>(), size::<{ DeniedValue::SIZE }>(), 16384, 0))?;
        one(spec("events", map_type::RINGBUF, 0, 0, sizes.events, 0))?;
        Ok(Self {
            meta: one(spec("meta", map_type::ARRAY, 4, size::<{ Meta::SIZE }>(), 1, 0))?,
            active: one(spec("active", map_type::ARRAY, 4, size::<{ Active::SIZE }>(), 1, sys::MMAPABLE))?,
            images: open(
                folder,
                sizes.slot,
                &spec("images", map_type::ARRAY_OF_MAPS, 4, 4, SLOTS, 0),
                Some(&image_spec(sizes.slot)),
            )?,
            prefixes: open(
                folder,
                sizes.slot,
                &spec("prefixes", map_type::ARRAY_OF_MAPS, 4, 4, SLOTS, 0),
                Some(&prefixes_spec(sizes.prefixes)),
            )?,
            addresses: one(spec(
                "addresses",
                map_type::HASH,
                size::<{ AddressKey::SIZE }>(),
                size::<{ AddressValue::SIZE }>(),
                sizes.addresses,
                sys::NO_PREALLOC,
            ))?,
            endpoints: one(spec(
                "endpoints",
                map_type::HASH,
                size::<{ EndpointKey::SIZE }>(),
                size::<{ EndpointValue::SIZE }>(),
                sizes.endpoints,
                0,
            ))?,
            identities: one(spec(
                "identities",
                map_type::HASH,
                4,
                size::<DIGEST>(),
                sizes.addresses,
                sys::NO_PREALLOC,
            ))?,
            conntrack: one(spec(
                "conntrack",
                lru,
                size::<{ FlowKey::SIZE }>(),
                size::<{ FlowValue::SIZE }>(),
                sizes.conntrack,
                0,
            ))?,
            drops: one(spec("drops", map_type::LRU_PERCPU_HASH, size::<{ DropKey::SIZE }>(), 8, 16384, 0))?,
            counters: one(spec("counters", map_type::PERCPU_ARRAY, 4, 8, counter::COUNT, 0))?,
        })
    }
}

/// An image slot's map.
pub(super) fn image_spec(slot: u32) -> MapSpec<'static> {
    MapSpec {
        name: "image",
        map_type: map_type::ARRAY,
        key_size: 4,
        value_size: slot,
        max_entries: 1,
        flags: sys::MMAPABLE,
    }
}

/// A generation's prefixes.
pub(super) fn prefixes_spec(entries: u32) -> MapSpec<'static> {
    MapSpec {
        name: "prefix_trie",
        map_type: map_type::LPM_TRIE,
        key_size: size::<{ PrefixKey::SIZE }>(),
        value_size: size::<{ PrefixValue::SIZE }>(),
        max_entries: entries,
        flags: sys::NO_PREALLOC,
    }
}

pub(super) fn open(
    folder: &Path,
    slot: u32,
    spec: &MapSpec<'static>,
    inner: Option<&MapSpec<'static>>,
) -> Result<Map, KernelError> {
    let path = path_of(folder, slot, spec.name);
    match sys::pinned(&path) {
        Ok(fd) => {
            let map = Map::of(fd, spec.name)?;
            let found = map.info;
            if (found.map_type, found.key_size, found.value_size)
                != (spec.map_type, spec.key_size, spec.value_size)
            {
                return Err(KernelError::OtherLayout { path });
            }
            Ok(map)
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            let template = inner
                .map(|i| sys::create(i, None))
                .transpose()
                .map_err(|e| KernelError::map(spec.name, "made", e))?;
            let fd =
                sys::create(spec, template.as_ref()).map_err(|e| KernelError::map(spec.name, "made", e))?;
            sys::pin(&fd, &path).map_err(|e| KernelError::map(spec.name, "pinned", e))?;
            Map::of(fd, spec.name)
        }
        Err(e) => Err(KernelError::map(spec.name, "opened", e)),
    }
}

impl Map {
    /// A map inside a map of maps.
    pub(super) fn open_inner(fd: OwnedFd, name: &'static str) -> Result<Self, KernelError> {
        Self::of(fd, name)
    }
}

/// Interfaces in a pinned map that has them as keys.
pub(super) fn interfaces(path: &Path) -> Result<Vec<u32>, KernelError> {
    let fd = sys::pinned(path).map_err(|e| KernelError::map("interfaces", "opened", e))?;
    let map = Map::of(fd, "interfaces")?;
    Ok(map.keys()?.iter().filter_map(|k| k.first_chunk().map(|b| u32::from_ne_bytes(*b))).collect())
}
