//! The kernel's half: the programs, their maps, and what is attached where. Only this module, and `preflight`
//! where it asks what a kernel offers, knows aya and the bpf system call.
//!
//! Everything is pinned in one folder of a bpf file system, so that traffic keeps its policy while the
//! agent is down, restarts, or gives way to another version.

mod devices;
mod maps;
mod programs;
mod ring;
mod slots;
mod sockets;
pub(crate) mod sys;

pub use devices::{DeviceHook, DevicePrograms, Services, services_slot_size};
pub use maps::Sizes;
pub use programs::{Attachment, Hook, Program, Programs, Settings, detach_all};
pub use ring::Events;
pub use slots::{Filled, Generation, address_bytes, address_of};
pub use sockets::{SocketPrograms, cgroup2};

use maps::Maps;
use portcullis_abi::maps::{
    AddressKey, AddressValue, EndpointKey, EndpointValue, FlowKey, FlowValue, MAPS_VERSION, Meta, counter,
};
use portcullis_tables::ImageError;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use sys::Mapped;

/// What the kernel would not do, and why.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A map.
    #[error("the map {name} could not be {what}: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The folder of the pins.
    #[error("the folder {path} could not be made: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Pinned maps of another layout.
    #[error(
        "{path} is of another version of the agent: `portcullis-agent detach` removes it, with all policy \
         it enforces",
        path = path.display()
    )]
    OtherLayout {
        /// The pin.
        path: PathBuf,
    },
    /// The object, its programs or links.
    #[error("the programs could not be {what}: {why}")]
    Programs {
        /// What was tried.
        what: &'static str,
        /// What aya or the kernel said.
        why: String,
    },
    /// An image that no slot takes.
    #[error("the image has {need} bytes, and a slot holds {slot}")]
    TooLarge {
        /// Bytes of the image.
        need: usize,
        /// Bytes of a slot.
        slot: u32,
    },
    /// More prefixes than the trie takes.
    #[error("the policies name {need} prefixes, and there is room for {room}")]
    TooManyPrefixes {
        /// How many.
        need: usize,
        /// How many there can be.
        room: u32,
    },
    /// Bytes that are no image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl KernelError {
    pub(crate) fn map(name: &'static str, what: &'static str, source: io::Error) -> Self {
        Self::Map { name, what, source }
    }

    /// Whether a map has no room left.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Map { source, .. }
            if matches!(source.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM)))
    }
}

/// The pinned maps of one node.
#[derive(Debug)]
pub struct Kernel {
    folder: PathBuf,
    sizes: Sizes,
    maps: Maps,
    flag: Mapped,
}

impl Kernel {
    /// Opens what is pinned in a folder, and makes what is not. The folder must be in a bpf file system.
    pub fn open(folder: &Path, sizes: Sizes) -> Result<Self, KernelError> {
        let maps = Maps::open(folder, &sizes)?;
        let flag = maps.flag()?;
        let out = Self { folder: folder.to_owned(), sizes, maps, flag };
        let key = 0u32.to_ne_bytes();
        let found = out.maps.meta.get(&key)?.and_then(|v| Meta::from_bytes(&v)).unwrap_or_default();
        if found.version != 0 && found.version != MAPS_VERSION {
            return Err(KernelError::OtherLayout { path: folder.to_owned() });
        }
        let meta = Meta {
            version: MAPS_VERSION,
            slot_size: sizes.slot,
            addresses: out.maps.addresses.capacity(),
            conntrack: out.maps.conntrack.capacity(),
        };
        out.maps.meta.set(&key, &meta.to_bytes())?;
        Ok(out)
    }

    /// The folder of the pins.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Binds an address.
    pub fn set_address(&self, ip: IpAddr, value: AddressValue) -> Result<(), KernelError> {
        self.maps.addresses.set(&AddressKey { address: address_bytes(ip) }.to_bytes(), &value.to_bytes())
    }

    /// Frees an address; whether it was bound.
    pub fn remove_address(&self, ip: IpAddr) -> Result<bool, KernelError> {
        self.maps.addresses.remove(&AddressKey { address: address_bytes(ip) }.to_bytes())
    }

    /// Who has an address.
    pub fn address(&self, ip: IpAddr) -> Result<Option<AddressValue>, KernelError> {
        let value = self.maps.addresses.get(&AddressKey { address: address_bytes(ip) }.to_bytes())?;
        Ok(value.and_then(|v| AddressValue::from_bytes(&v)))
    }

    /// Every bound address.
    pub fn addresses(&self) -> Result<BTreeMap<IpAddr, AddressValue>, KernelError> {
        let read = |(k, v): (Vec<u8>, Vec<u8>)| {
            Some((address_of(AddressKey::from_bytes(&k)?.address), AddressValue::from_bytes(&v)?))
        };
        Ok(self.maps.addresses.entries()?.into_iter().filter_map(read).collect())
    }

    /// Binds an interface.
    pub fn set_endpoint(&self, ifindex: u32, value: EndpointValue) -> Result<(), KernelError> {
        self.maps.endpoints.set(&EndpointKey { ifindex }.to_bytes(), &value.to_bytes())
    }

    /// Frees an interface; whether it was bound.
    pub fn remove_endpoint(&self, ifindex: u32) -> Result<bool, KernelError> {
        self.maps.endpoints.remove(&EndpointKey { ifindex }.to_bytes())
    }

    /// Every bound interface.
    pub fn endpoints(&self) -> Result<BTreeMap<u32, EndpointValue>, KernelError> {
        let read = |(k, v): (Vec<u8>, Vec<u8>)| {
            Some((EndpointKey::from_bytes(&k)?.ifindex, EndpointValue::from_bytes(&v)?))
        };
        Ok(self.maps.endpoints.entries()?.into_iter().filter_map(read).collect())
    }

    /// Remembers what an identity's number stands for, so that a restarted agent gives it again.
    pub fn set_identity(&self, number: u32, digest: [u8; 16]) -> Result<(), KernelError> {
        self.maps.identities.set(&number.to_ne_bytes(), &digest)
    }

    /// Forgets an identity's number.
    pub fn remove_identity(&self, number: u32) -> Result<bool, KernelError> {
        self.maps.identities.remove(&number.to_ne_bytes())
    }

    /// Every identity's number and digest.
    pub fn identities(&self) -> Result<BTreeMap<u32, [u8; 16]>, KernelError> {
        let read = |(k, v): (Vec<u8>, Vec<u8>)| {
            Some((u32::from_ne_bytes(*k.first_chunk()?), v.first_chunk::<16>().copied()?))
        };
        Ok(self.maps.identities.entries()?.into_iter().filter_map(read).collect())
    }

    /// Every tracked flow.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, KernelError> {
        let read = |(k, v): (Vec<u8>, Vec<u8>)| Some((FlowKey::from_bytes(&k)?, FlowValue::from_bytes(&v)?));
        Ok(self.maps.conntrack.entries()?.into_iter().filter_map(read).collect())
    }

    /// Forgets a tracked flow; whether it was there.
    pub fn remove_flow(&self, key: &FlowKey) -> Result<bool, KernelError> {
        self.maps.conntrack.remove(&key.to_bytes())
    }

    /// Dropped packets by cause, over all processors.
    pub fn drops(&self) -> Result<Vec<(portcullis_abi::maps::DropKey, u64)>, KernelError> {
        let read = |(k, v): (Vec<u8>, Vec<u8>)| {
            Some((portcullis_abi::maps::DropKey::from_bytes(&k)?, maps::sum(&v)))
        };
        Ok(self.maps.drops.entries()?.into_iter().filter_map(read).collect())
    }

    /// The counters of [`portcullis_abi::maps::counter`], over all processors.
    pub fn counters(&self) -> Result<Vec<u64>, KernelError> {
        (0..counter::COUNT)
            .map(|n| Ok(self.maps.counters.get(&n.to_ne_bytes())?.map_or(0, |v| maps::sum(&v))))
            .collect()
    }

    /// Elements that a map has and can have: addresses, tracked flows.
    pub fn room(&self) -> [(&'static str, u32); 2] {
        [("addresses", self.maps.addresses.capacity()), ("conntrack", self.maps.conntrack.capacity())]
    }
}

/// Bytes of an image slot of the maps that are pinned in a folder; `None` if there are none. Where several
/// sizes are there (an agent died while it made room), the largest counts.
pub fn slot_size(folder: &Path) -> Result<Option<u32>, KernelError> {
    if !folder.exists() {
        return Ok(None);
    }
    let failed = |e: io::Error| KernelError::Folder { path: folder.to_owned(), source: e };
    let mut found = None;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let size = name.to_str().and_then(|n| n.strip_prefix("slots-")).and_then(|n| n.parse::<u32>().ok());
        found = found.max(size);
    }
    Ok(found)
}

/// Makes a folder in a bpf file system, mounting one at `root` if there is none.
pub fn prepare(root: &Path, folder: &Path) -> Result<(), KernelError> {
    let failed = |e: io::Error| KernelError::Folder { path: folder.to_owned(), source: e };
    std::fs::create_dir_all(root).map_err(failed)?;
    if !sys::is_bpffs(root).map_err(failed)? {
        sys::mount_bpffs(root).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)
}
