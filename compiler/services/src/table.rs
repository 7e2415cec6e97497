//! Frontends to bytes.

use crate::maglev;
use crate::model::{bytes, range_bytes};
use crate::numbers::Numbers;
use crate::place::place;
use crate::resolve::{Address, Backend, Frontend, Kind, Owner, Resolved};
use ipnet::IpNet;
use portcullis_abi::services::{self as abi, ServiceKey, backend, frontend, header};
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What the tables are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Choose by Maglev where a service does not say how.
    pub maglev: bool,
    /// Places of a Maglev table: one of [`maglev::SIZES`].
    pub maglev_size: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { maglev: false, maglev_size: 16_381 }
    }
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not one of the sizes.
    #[error("a Maglev table of {0} places is none of the sizes there are: {sizes:?}", sizes = maglev::SIZES)]
    MaglevSize(u32),
    /// More than a slot holds.
    #[error("the service image takes {0} bytes and may take {most}", most = abi::LARGEST_SLOT)]
    TooLarge(usize),
    /// No seeds were found.
    #[error("no collision-free table of these frontends was found")]
    NoSeeds,
}

/// An image, and the numbers to make the next one with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The image, generation 0.
    pub image: Vec<u8>,
    /// Numbers that it uses.
    pub numbers: Numbers,
    /// Backends that the numbers given had and this image has not, with the numbers they had.
    pub gone: Vec<(Address, u32)>,
}

/// A service's port as the numbers have it.
pub fn service_name(owner: &Owner) -> String {
    let what = if owner.pod { "pod" } else { "svc" };
    format!("{what}/{}/{}/{}/{}", owner.namespace, owner.name, owner.port, owner.protocol)
}

/// Writes what a node answers as an image.
pub fn compile(resolved: &Resolved, numbers: &Numbers, settings: &Settings) -> Result<Compiled, TableError> {
    if !maglev::SIZES.contains(&settings.maglev_size) {
        return Err(TableError::MaglevSize(settings.maglev_size));
    }
    let frontends = &resolved.frontends;
    let backends = backends(frontends);
    let mut numbers = numbers.clone();
    let names: BTreeSet<String> = frontends.iter().map(|f| service_name(&f.owner)).collect();
    let gone = numbers.assign(&names, &backends.iter().map(|(address, _)| *address).collect());
    let index: FxHashMap<Address, u32> = backends.iter().map(|(address, _)| *address).zip(0..).collect();

    let mut lists = Lists {
        index: &index,
        size: settings.maglev_size,
        entries: Vec::new(),
        known: FxHashMap::default(),
        tables: FxHashMap::default(),
    };
    let mut ranges = Ranges::default();
    let records: Vec<abi::Frontend> =
        frontends.iter().map(|f| record(f, &numbers, *settings, &mut lists, &mut ranges)).collect();
    let keys: Vec<ServiceKey> = frontends.iter().map(|f| key(f.address)).collect();
    let placed = place(&keys).ok_or(TableError::NoSeeds)?;

    let mut by_id: Vec<u32> = vec![0];
    let mut backend_bytes = Vec::with_capacity(backends.len() * abi::Backend::SIZE);
    for ((address, about), at) in backends.iter().zip(1..) {
        let id = numbers.backend(*address).unwrap_or_default();
        if by_id.len() <= id as usize {
            by_id.resize(id as usize + 1, 0);
        }
        if let Some(place) = by_id.get_mut(id as usize) {
            *place = at;
        }
        backend_bytes.extend(backend_record(*address, *about, id).to_bytes());
    }
    let empty = abi::Frontend::default();
    let slots = placed.slots.iter().map(|s| s.and_then(|n| records.get(n)).unwrap_or(&empty));
    let mut writer = Writer::new();
    writer.put(header::BUCKETS, to_u32(placed.seeds.len()));
    writer.put(header::SLOTS, to_u32(placed.slots.len()));
    writer.put(header::BACKENDS, to_u32(backends.len()));
    writer.put(header::IDS, to_u32(by_id.len()));
    writer.section(header::SEEDS_AT, &words(&placed.seeds));
    writer.section(header::FRONTENDS_AT, &slots.flat_map(abi::Frontend::to_bytes).collect::<Vec<u8>>());
    writer.section(header::LIST_AT, &words(&lists.entries));
    writer.section(header::BACKENDS_AT, &backend_bytes);
    writer.section(header::BY_ID_AT, &words(&by_id));
    writer.section(header::RANGES_AT, &ranges.bytes);
    let image = writer.finish();
    if image.len() > abi::LARGEST_SLOT as usize {
        return Err(TableError::TooLarge(image.len()));
    }
    Ok(Compiled { image, numbers, gone })
}

/// The key under which a frontend is found.
pub fn key((ip, port, protocol): Address) -> ServiceKey {
    ServiceKey { address: bytes(ip), port, protocol, reserved: 0 }
}

/// Every backend once, in order. Where services disagree about one, it is terminating only if all say so.
fn backends(frontends: &[Frontend]) -> Vec<(Address, Backend)> {
    let lists = frontends.iter().flat_map(|f| {
        let outside = if f.outside == f.inside { &[][..] } else { &f.outside };
        f.inside.iter().chain(outside)
    });
    let mut known: FxHashMap<Address, usize> = FxHashMap::default();
    let mut out: Vec<(Address, Backend)> = Vec::new();
    for b in lists {
        let at = *known.entry(b.address).or_insert(out.len());
        match out.get_mut(at) {
            Some((_, there)) => {
                there.terminating &= b.terminating;
                there.local |= b.local;
                there.node |= b.node;
            }
            None => out.push((b.address, *b)),
        }
    }
    out.sort_unstable_by_key(|(address, _)| *address);
    out
}

fn backend_record((ip, port, protocol): Address, about: Backend, id: u32) -> abi::Backend {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(about.local, backend::LOCAL)
        | flag(about.terminating, backend::TERMINATING)
        | flag(about.node, backend::NODE);
    abi::Backend { address: bytes(ip), port, protocol, flags, id, reserved: 0 }
}

fn record(
    f: &Frontend,
    numbers: &Numbers,
    settings: Settings,
    lists: &mut Lists<'_>,
    ranges: &mut Ranges,
) -> abi::Frontend {
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let (inside_first, inside_count) = lists.list(&f.inside);
    let (outside_first, outside_count) =
        if f.outside == f.inside { (inside_first, inside_count) } else { lists.list(&f.outside) };
    let denied = f.kind == Kind::ClusterIp;
    // One table is enough: who is elsewhere needs it most, since several nodes have to agree.
    let spread = if denied { &f.inside } else { &f.outside };
    let (maglev_first, maglev_size) =
        if f.maglev.unwrap_or(settings.maglev) && !spread.is_empty() { lists.maglev(spread) } else { (0, 0) };
    let has = maglev_size != 0;
    let (ranges_first, ranges_count) = f.ranges.as_ref().map_or((0, 0), |r| ranges.add(r));
    let (ip, port, protocol) = f.address;
    abi::Frontend {
        address: bytes(ip),
        port,
        protocol,
        kind: f.kind.number(),
        flags: flag(f.affinity_seconds.is_some(), frontend::AFFINITY)
            | flag(f.external_local, frontend::EXTERNAL_LOCAL)
            | flag(f.internal_local, frontend::INTERNAL_LOCAL)
            | flag(f.ranges.is_some(), frontend::SOURCE_RANGES)
            | flag(has && f.inside == *spread, frontend::MAGLEV_INSIDE)
            | flag(has && f.outside == *spread, frontend::MAGLEV_OUTSIDE)
            | flag(denied, frontend::OUTSIDE_DENIED)
            | flag(f.inside_drop, frontend::INSIDE_DROP)
            | flag(f.outside_drop, frontend::OUTSIDE_DROP),
        service: numbers.service(&service_name(&f.owner)).unwrap_or_default(),
        affinity_seconds: f.affinity_seconds.unwrap_or_default(),
        inside_first,
        inside_count,
        outside_first,
        outside_count,
        maglev_first,
        maglev_size,
        ranges_first,
        ranges_count,
    }
}

/// Lists of backends, each stored once.
struct Lists<'i> {
    index: &'i FxHashMap<Address, u32>,
    size: u32,
    entries: Vec<u32>,
    known: FxHashMap<Vec<u32>, u32>,
    tables: FxHashMap<Vec<u32>, u32>,
}

impl Lists<'_> {
    fn numbers(&self, backends: &[Backend]) -> Vec<u32> {
        backends.iter().filter_map(|b| self.index.get(&b.address).copied()).collect()
    }

    fn list(&mut self, backends: &[Backend]) -> (u32, u32) {
        let numbers = self.numbers(backends);
        if numbers.is_empty() {
            return (0, 0);
        }
        let count = to_u32(numbers.len());
        if let Some(first) = self.known.get(&numbers) {
            return (*first, count);
        }
        let first = to_u32(self.entries.len());
        self.entries.extend(&numbers);
        self.known.insert(numbers, first);
        (first, count)
    }

    fn maglev(&mut self, backends: &[Backend]) -> (u32, u32) {
        let numbers = self.numbers(backends);
        if let Some(first) = self.tables.get(&numbers) {
            return (*first, self.size);
        }
        let keys: Vec<Vec<u8>> = backends.iter().map(|b| key(b.address).to_bytes().to_vec()).collect();
        let first = to_u32(self.entries.len());
        let table = maglev::table(&keys, self.size);
        self.entries.extend(table.iter().filter_map(|place| numbers.get(*place as usize)));
        self.tables.insert(numbers, first);
        (first, self.size)
    }
}

#[derive(Default)]
struct Ranges {
    bytes: Vec<u8>,
    known: BTreeMap<Vec<IpNet>, u32>,
}

impl Ranges {
    fn add(&mut self, nets: &[IpNet]) -> (u32, u32) {
        let first = to_u32(self.bytes.len() / abi::Range::SIZE);
        let first = *self.known.entry(nets.to_vec()).or_insert_with(|| {
            for net in nets {
                let (address, bits) = range_bytes(net);
                self.bytes.extend(abi::Range { address, bits, reserved: 0, reserved2: 0 }.to_bytes());
            }
            first
        });
        (first, to_u32(nets.len()))
    }
}

/// Sections behind a header.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        Self { bytes: vec![0; abi::HEADER_SIZE.next_multiple_of(abi::ALIGN)] }
    }

    fn section(&mut self, field: usize, data: &[u8]) {
        let at = to_u32(self.bytes.len());
        self.put(field, at);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(abi::ALIGN), 0);
    }

    fn put(&mut self, at: usize, value: u32) {
        self.write(at, &value.to_le_bytes());
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.write(header::MAGIC, &abi::MAGIC);
        self.put(header::VERSION, abi::VERSION);
        self.put(header::SIZE, to_u32(self.bytes.len()));
        let digest = Sha256::digest(self.bytes.get(abi::HEADER_SIZE..).unwrap_or_default());
        self.write(header::DIGEST, &digest);
        self.bytes
    }
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
