//! Service images made by hand, for tests of the programs: no compiler, one frontend after the other.
#![allow(dead_code, reason = "each test uses a part")]

use portcullis_abi::services::{
    ALIGN, Backend, Frontend, HEADER_SIZE, MAGIC, Range, ServiceKey, VERSION, frontend, hash, header, kind,
};
use portcullis_agent::kernel::address_bytes;
use std::net::{IpAddr, SocketAddr};

/// A frontend of a test: node port unless it says otherwise, random choice.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) at: SocketAddr,
    pub(crate) protocol: u8,
    pub(crate) kind: u8,
    pub(crate) flags: u32,
    pub(crate) affinity: u32,
    /// Backends, with their flags; the same one has the same number everywhere.
    pub(crate) backends: Vec<(SocketAddr, u8)>,
    pub(crate) maglev: Vec<usize>,
    pub(crate) ranges: Vec<(IpAddr, u32)>,
}

impl Front {
    pub(crate) fn new(at: SocketAddr, protocol: u8, backends: &[(SocketAddr, u8)]) -> Self {
        Self {
            at,
            protocol,
            kind: kind::NODE_PORT,
            flags: 0,
            affinity: 0,
            backends: backends.to_vec(),
            maglev: Vec::new(),
            ranges: Vec::new(),
        }
    }

    pub(crate) fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    fn key(&self) -> ServiceKey {
        let address = address_bytes(self.at.ip());
        ServiceKey { address, port: self.at.port(), protocol: self.protocol, reserved: 0 }
    }
}

/// The bytes.
pub(crate) fn image(fronts: &[Front], generation: u64) -> Vec<u8> {
    // Numbers by address, port and protocol, the same in every image of a test.
    let number = |a: &SocketAddr, protocol: u8| match a.ip() {
        IpAddr::V4(ip) => u32::from(ip.octets()[3]) * 8 + u32::from(protocol % 8),
        IpAddr::V6(ip) => 2048 + u32::from(ip.octets()[15]) * 8 + u32::from(protocol % 8),
    } % 4096;
    let slots = (fronts.len() * 2).next_power_of_two();
    let buckets = slots;
    let mut taken: Vec<Option<usize>> = vec![None; slots];
    let mut seeds = vec![1u32; buckets];
    let of = |i: usize, seed: u32, n: usize| hash(&fronts[i].key(), seed) as usize & (n - 1);
    let mut order: Vec<usize> = (0..buckets).collect();
    let members = |b: usize| (0..fronts.len()).filter(move |i| of(*i, 0, buckets) == b).collect::<Vec<_>>();
    order.sort_by_key(|b| std::cmp::Reverse(members(*b).len()));
    for b in order {
        let members = members(b);
        'seed: for seed in 1.. {
            let mut places: Vec<usize> = members.iter().map(|i| of(*i, seed, slots)).collect();
            if places.iter().any(|p| taken[*p].is_some()) {
                continue;
            }
            for (i, p) in members.iter().zip(&places) {
                taken[*p] = Some(*i);
            }
            places.sort_unstable();
            let all = places.len();
            places.dedup();
            if places.len() < all {
                for p in &mut taken {
                    if p.is_some_and(|i| members.contains(&i)) {
                        *p = None;
                    }
                }
                continue 'seed;
            }
            seeds[b] = seed;
            break;
        }
    }
    let (mut list, mut backends, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_id = vec![0u32; 4096];
    let mut records = Vec::new();
    for (n, f) in fronts.iter().enumerate() {
        let first = u32::try_from(list.len()).unwrap();
        let mut indexes = Vec::new();
        for (at, flags) in &f.backends {
            let id = number(at, f.protocol).max(1);
            let index = u32::try_from(backends.len()).unwrap();
            backends.push(Backend {
                address: address_bytes(at.ip()),
                port: at.port(),
                protocol: f.protocol,
                flags: *flags,
                id,
                reserved: 0,
            });
            by_id[id as usize] = index + 1;
            indexes.push(index);
        }
        let count = u32::try_from(indexes.len()).unwrap();
        list.extend(&indexes);
        let maglev_first = u32::try_from(list.len()).unwrap();
        list.extend(f.maglev.iter().map(|i| indexes[*i]));
        let ranges_first = u32::try_from(ranges.len()).unwrap();
        for (ip, bits) in &f.ranges {
            let bits = bits + if ip.is_ipv4() { 96 } else { 0 };
            ranges.push(Range { address: address_bytes(*ip), bits, reserved: 0, reserved2: 0 });
        }
        let maglev = if f.maglev.is_empty() { 0 } else { frontend::MAGLEV_OUTSIDE };
        let of_ranges = if f.ranges.is_empty() { 0 } else { frontend::SOURCE_RANGES };
        let of_affinity = if f.affinity == 0 { 0 } else { frontend::AFFINITY };
        records.push(Frontend {
            address: address_bytes(f.at.ip()),
            port: f.at.port(),
            protocol: f.protocol,
            kind: f.kind,
            flags: f.flags | maglev | of_ranges | of_affinity,
            service: u32::try_from(n).unwrap() + 1,
            affinity_seconds: f.affinity,
            inside_first: first,
            inside_count: count,
            outside_first: first,
            outside_count: count,
            maglev_first,
            maglev_size: u32::try_from(f.maglev.len()).unwrap(),
            ranges_first,
            ranges_count: u32::try_from(f.ranges.len()).unwrap(),
        });
    }
    let mut out = vec![0u8; HEADER_SIZE];
    let field = |out: &mut Vec<u8>, at: usize, value: usize| {
        out[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
    };
    let pad = |out: &mut Vec<u8>| {
        let len = out.len().next_multiple_of(ALIGN);
        out.resize(len, 0);
        len
    };
    let at = pad(&mut out);
    field(&mut out, header::SEEDS_AT, at);
    out.extend(seeds.iter().flat_map(|s| s.to_le_bytes()));
    let at = pad(&mut out);
    field(&mut out, header::FRONTENDS_AT, at);
    for slot in &taken {
        out.extend(slot.map_or_else(|| vec![0; Frontend::SIZE], |i| records[i].to_bytes().to_vec()));
    }
    let at = pad(&mut out);
    field(&mut out, header::LIST_AT, at);
    out.extend(list.iter().flat_map(|i: &u32| i.to_le_bytes()));
    let at = pad(&mut out);
    field(&mut out, header::BACKENDS_AT, at);
    out.extend(backends.iter().flat_map(|b| b.to_bytes().to_vec()));
    let at = pad(&mut out);
    field(&mut out, header::BY_ID_AT, at);
    out.extend(by_id.iter().flat_map(|i| i.to_le_bytes()));
    let at = pad(&mut out);
    field(&mut out, header::RANGES_AT, at);
    out.extend(ranges.iter().flat_map(|r| r.to_bytes().to_vec()));
    let size = out.len();
    out[..8].copy_from_slice(&MAGIC);
    field(&mut out, header::VERSION, VERSION as usize);
    field(&mut out, header::SIZE, size);
    out[header::GENERATION..header::GENERATION + 8].copy_from_slice(&generation.to_le_bytes());
    field(&mut out, header::BUCKETS, if fronts.is_empty() { 1 } else { buckets });
    field(&mut out, header::SLOTS, if fronts.is_empty() { 0 } else { slots });
    field(&mut out, header::BACKENDS, backends.len());
    field(&mut out, header::IDS, 4096);
    out
}
