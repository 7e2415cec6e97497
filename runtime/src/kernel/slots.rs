//! Generations in the kernel: an image and its prefixes go into an idle slot, one number makes them count.
//!
//! A slot gets *new* inner maps each time. Writing a slot of a map of maps waits until no program can still
//! hold the maps that were there (a grace period of RCU), so nothing is ever overwritten that a packet
//! under way may read; the wait falls into staging, never into the flip.

use super::maps::{self, Map, Maps};
use super::sys::{self, Mapped};
use super::{Kernel, KernelError};
use ipnet::IpNet;
use portcullis_abi::maps::{Active, PrefixKey, PrefixValue, SLOTS};
use portcullis_abi::{Section, header};
use portcullis_tables::Image;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// What goes into a slot.
#[derive(Clone, Copy, Debug)]
pub struct Generation<'g> {
    /// The image in the kernel's form, as [`portcullis_tables::staged::stage`] makes it.
    pub image: &'g [u8],
    /// Prefixes and their identities.
    pub prefixes: &'g [(IpNet, u32)],
}

/// A generation's maps, before a slot has them.
#[derive(Debug)]
pub struct Filled {
    image: OwnedFd,
    prefixes: OwnedFd,
}

/// An address as maps hold it.
pub fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that a map holds.
pub fn address_of(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// A prefix as the trie holds it.
fn prefix_key(net: &IpNet) -> PrefixKey {
    let more = if net.addr().is_ipv4() { 96 } else { 0 };
    PrefixKey { bits: u32::from(net.prefix_len()) + more, address: address_bytes(net.network()) }
}

fn io(name: &'static str, what: &'static str) -> impl Fn(std::io::Error) -> KernelError {
    move |e| KernelError::map(name, what, e)
}

impl Kernel {
    /// Bytes that an image may have.
    pub fn slot_size(&self) -> u32 {
        self.sizes.slot
    }

    /// The slot that decides; `None` before there is one.
    pub fn active(&self) -> Result<Option<u32>, KernelError> {
        let value = self.maps.active.get(&0u32.to_ne_bytes())?.and_then(|v| Active::from_bytes(&v));
        let slot = value.map_or(SLOTS, |v| v.slot);
        // A map that was just made is zero: its slot 0 is empty.
        Ok((slot < SLOTS && inner(&self.maps.images, slot)?.is_some()).then_some(slot))
    }

    /// Puts a generation into a slot that does not decide. Takes a grace period: some 15 ms.
    pub fn stage(&self, generation: Generation<'_>) -> Result<u32, KernelError> {
        let filled = self.fill(generation)?;
        self.put(&filled)
    }

    /// The part of staging that is work: makes the maps of a generation and fills them. No slot has them yet.
    pub fn fill(&self, generation: Generation<'_>) -> Result<Filled, KernelError> {
        let need = generation.image.len();
        if need > self.sizes.slot as usize {
            return Err(KernelError::TooLarge { need, slot: self.sizes.slot });
        }
        // What cannot be read must not decide.
        Image::parse(generation.image)?;
        let image = sys::create(&maps::image_spec(self.sizes.slot), None).map_err(io("image", "made"))?;
        Mapped::new(&image, self.sizes.slot as usize)
            .and_then(|mut m| m.fill(generation.image))
            .map_err(io("image", "filled"))?;
        let entries = self.sizes.prefixes;
        if generation.prefixes.len() > entries as usize {
            return Err(KernelError::TooManyPrefixes { need: generation.prefixes.len(), room: entries });
        }
        let prefixes = sys::create(&maps::prefixes_spec(entries), None).map_err(io("prefixes", "made"))?;
        for (net, identity) in generation.prefixes {
            let value = PrefixValue { identity: *identity };
            sys::update(&prefixes, &prefix_key(net).to_bytes(), &value.to_bytes(), 0)
                .map_err(io("prefixes", "filled"))?;
        }
        Ok(Filled { image, prefixes })
    }

    /// The part of staging that is waiting: puts filled maps into a slot that does not decide.
    pub fn put(&self, filled: &Filled) -> Result<u32, KernelError> {
        use std::os::fd::AsRawFd as _;
        let slot = self.active()?.map_or(0, |s| (s + 1) % SLOTS);
        let key = slot.to_ne_bytes();
        let all = [(&self.maps.prefixes, &filled.prefixes), (&self.maps.images, &filled.image)];
        // Each waits for a grace period; side by side they wait for the same one.
        std::thread::scope(|scope| {
            let waits = all
                .map(|(outer, inner)| scope.spawn(move || outer.set(&key, &inner.as_raw_fd().to_ne_bytes())));
            waits.into_iter().try_for_each(|w| match w.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(slot)
    }

    /// Makes a slot decide, for every packet that comes from now on.
    pub fn flip(&self, slot: u32) -> Result<(), KernelError> {
        self.flag.set_u32(0, slot).map_err(io("active", "written"))
    }

    /// The image in a slot, as far as its header says it goes.
    pub fn image(&self, slot: u32) -> Result<Option<Vec<u8>>, KernelError> {
        let Some(map) = inner(&self.maps.images, slot)? else { return Ok(None) };
        let mapped = Mapped::new(&map, self.sizes.slot as usize).map_err(io("image", "read"))?;
        let head = mapped.copy(portcullis_abi::HEADER_SIZE);
        let size = head.get(header::SIZE..).and_then(|r| r.first_chunk()).map(|b| u32::from_le_bytes(*b));
        Ok(Some(mapped.copy(size.unwrap_or_default() as usize)))
    }

    /// The prefixes in a slot, by key.
    pub fn prefixes(&self, slot: u32) -> Result<Vec<(IpNet, u32)>, KernelError> {
        let Some(fd) = inner(&self.maps.prefixes, slot)? else { return Ok(Vec::new()) };
        let trie = Map::open_inner(fd, "prefixes")?;
        let mut out = Vec::new();
        for (key, value) in trie.entries()? {
            let (Some(key), Some(value)) = (PrefixKey::from_bytes(&key), PrefixValue::from_bytes(&value))
            else {
                continue;
            };
            let (ip, bits) = match address_of(key.address) {
                IpAddr::V4(ip) if key.bits >= 96 => (IpAddr::V4(ip), key.bits - 96),
                _ => (IpAddr::V6(Ipv6Addr::from(key.address)), key.bits),
            };
            let bits = u8::try_from(bits).unwrap_or(u8::MAX);
            out.extend(IpNet::new(ip, bits).ok().map(|net| (net, value.identity)));
        }
        out.sort();
        Ok(out)
    }

    /// Gives an identity a class of the deciding image: a pod whose labels are new and fit a class.
    pub fn set_class(&self, slot: u32, identity: u32, class: u16) -> Result<(), KernelError> {
        self.set_entry(slot, Section::PeerClass, identity as usize, class)
    }

    /// Gives an endpoint its subject classes in the deciding image.
    pub fn set_subject(&self, slot: u32, endpoint: u32, subjects: [u16; 2]) -> Result<(), KernelError> {
        for (side, subject) in subjects.into_iter().enumerate() {
            self.set_entry(slot, Section::SubjectOf, endpoint as usize * 2 + side, subject)?;
        }
        Ok(())
    }

    /// The class that an identity has in an image.
    pub fn class(&self, slot: u32, identity: u32) -> Result<u16, KernelError> {
        let image = self.image(slot)?.unwrap_or_default();
        let class = Image::parse(&image)?.peer_class(identity)?;
        Ok(u16::try_from(class).unwrap_or(portcullis_abi::NO_CLASS))
    }

    fn set_entry(&self, slot: u32, section: Section, at: usize, value: u16) -> Result<(), KernelError> {
        let Some(map) = inner(&self.maps.images, slot)? else {
            return Err(KernelError::map("images", "found", std::io::Error::other("the slot is empty")));
        };
        let mapped = Mapped::new(&map, self.sizes.slot as usize).map_err(io("image", "opened"))?;
        let head = mapped.copy(portcullis_abi::HEADER_SIZE);
        let field = |at: usize| {
            head.get(at..).and_then(|r| r.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b) as usize)
        };
        let place = header::SECTIONS + section as usize * 8;
        let (offset, len) = (field(place), field(place + 4));
        if at * 2 >= len {
            return Err(KernelError::map(
                "image",
                "written",
                std::io::Error::other("no room for the number"),
            ));
        }
        mapped.set_u16(offset + at * 2, value).map_err(io("image", "written"))
    }
}

/// The map in a slot of a map of maps.
pub(super) fn inner(outer: &Map, slot: u32) -> Result<Option<OwnedFd>, KernelError> {
    let id = outer.get(&slot.to_ne_bytes())?.and_then(|v| v.first_chunk().map(|b| u32::from_ne_bytes(*b)));
    match id {
        None | Some(0) => Ok(None),
        Some(id) => sys::map_by_id(id).map(Some).map_err(io("images", "opened")),
    }
}

impl Maps {
    /// The number that decides, in memory.
    pub(super) fn flag(&self) -> Result<Mapped, KernelError> {
        Mapped::new(&self.active.fd, 4096).map_err(io("active", "opened"))
    }
}
