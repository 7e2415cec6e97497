//! The reader: the kernel's steps in safe Rust, every offset checked.
//!
//! A hostile image gives an error, never a panic and never a byte from outside.

use crate::model::bytes;
use crate::resolve::Address;
use crate::table::key;
use portcullis_abi::services::{self as abi, ServiceKey, frontend, hash, header};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// Why bytes are no service image, or an image gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Shorter than a header, or than the size that the header gives.
    #[error("the service image is cut short: {have} of {need} bytes")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there must be.
        need: usize,
    },
    /// Not a service image at all.
    #[error("these bytes are no service image")]
    Magic,
    /// A layout of another version.
    #[error("the service image has layout version {0}, which is not known here")]
    Version(u32),
    /// A section that does not lie in the image, or where none may begin.
    #[error("a section of the service image does not lie in it")]
    Section,
    /// A number of slots or buckets that is no power of two.
    #[error("the service image has a table whose size is no power of two")]
    Size,
    /// An index that points outside its section.
    #[error("an index of the service image points outside its section")]
    Index,
    /// The bytes behind the header are not those of the digest.
    #[error("the service image is damaged: its digest is another")]
    Digest,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// On this node.
    Inside,
    /// Elsewhere.
    Outside,
}

/// Why a packet to a frontend is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// A cluster address, from outside.
    OutsideDenied,
    /// The client is in none of the source ranges.
    SourceRange,
    /// A local policy leaves no endpoint here, and others exist.
    NoLocalEndpoint,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No frontend has this address and port.
    NotService,
    /// There is no endpoint anywhere.
    Reject,
    /// It is dropped without an answer.
    Drop(Drop),
    /// It goes to a backend.
    Backend {
        /// The backend.
        backend: abi::Backend,
        /// The frontend that chose it.
        frontend: abi::Frontend,
    },
}

/// An image whose header and sections are sound.
#[derive(Clone, Copy, Debug)]
pub struct Image<'b> {
    bytes: &'b [u8],
    buckets: u32,
    slots: u32,
    seeds: &'b [u8],
    frontends: &'b [u8],
    list: &'b [u8],
    backends: &'b [u8],
    by_id: &'b [u8],
    ranges: &'b [u8],
}

impl<'b> Image<'b> {
    /// Checks the header and every section's place; [`Self::check`] checks what is in them.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, ImageError> {
        if bytes.len() < abi::HEADER_SIZE {
            return Err(ImageError::Short { have: bytes.len(), need: abi::HEADER_SIZE });
        }
        if !bytes.starts_with(&abi::MAGIC) {
            return Err(ImageError::Magic);
        }
        let field = |at: usize| u32_at(bytes, at).unwrap_or_default();
        if field(header::VERSION) != abi::VERSION {
            return Err(ImageError::Version(field(header::VERSION)));
        }
        let need = field(header::SIZE) as usize;
        let bytes = match bytes.get(..need) {
            Some(bytes) if need >= abi::HEADER_SIZE => bytes,
            _ => return Err(ImageError::Short { have: bytes.len(), need }),
        };
        let (buckets, slots) = (field(header::BUCKETS), field(header::SLOTS));
        if !buckets.is_power_of_two() || !slots.is_power_of_two() {
            return Err(ImageError::Size);
        }
        let section = |at: usize, items: u32, size: usize| -> Result<&'b [u8], ImageError> {
            let begin = field(at) as usize;
            let len = (items as usize).checked_mul(size).ok_or(ImageError::Section)?;
            let end = begin.checked_add(len).ok_or(ImageError::Section)?;
            if begin < abi::HEADER_SIZE || !begin.is_multiple_of(abi::ALIGN) {
                return Err(ImageError::Section);
            }
            bytes.get(begin..end).ok_or(ImageError::Section)
        };
        let rest = |at: usize, end: usize| -> Result<&'b [u8], ImageError> {
            let begin = field(at) as usize;
            if begin < abi::HEADER_SIZE || !begin.is_multiple_of(abi::ALIGN) {
                return Err(ImageError::Section);
            }
            bytes.get(begin..end).ok_or(ImageError::Section)
        };
        Ok(Self {
            bytes,
            buckets,
            slots,
            seeds: section(header::SEEDS_AT, buckets, 4)?,
            frontends: section(header::FRONTENDS_AT, slots, abi::Frontend::SIZE)?,
            list: rest(header::LIST_AT, field(header::BACKENDS_AT) as usize)?,
            backends: section(header::BACKENDS_AT, field(header::BACKENDS), abi::Backend::SIZE)?,
            by_id: section(header::BY_ID_AT, field(header::IDS), 4)?,
            ranges: rest(header::RANGES_AT, bytes.len())?,
        })
    }

    /// Checks everything that a look-up could meet: the digest, and every index of every frontend.
    pub fn check(&self) -> Result<(), ImageError> {
        let digest = Sha256::digest(self.bytes.get(abi::HEADER_SIZE..).unwrap_or_default());
        if self.bytes.get(header::DIGEST..header::DIGEST + 32) != Some(digest.as_slice()) {
            return Err(ImageError::Digest);
        }
        let backends = self.backends.len() / abi::Backend::SIZE;
        let within = |first: u32, count: u32| -> Result<(), ImageError> {
            for at in 0..count {
                let at = first.checked_add(at).ok_or(ImageError::Index)?;
                if u32_in(self.list, at)? as usize >= backends {
                    return Err(ImageError::Index);
                }
            }
            Ok(())
        };
        for f in self.frontends() {
            within(f.inside_first, f.inside_count)?;
            within(f.outside_first, f.outside_count)?;
            within(f.maglev_first, f.maglev_size)?;
            for at in 0..f.ranges_count {
                self.range(f.ranges_first.checked_add(at).ok_or(ImageError::Index)?)?;
            }
        }
        for id in self.by_id.as_chunks::<4>().0 {
            if u32::from_le_bytes(*id) as usize > backends {
                return Err(ImageError::Index);
            }
        }
        Ok(())
    }

    /// What becomes of a packet to `to` from `client`. `hash` is a random number, or one of the flow for
    /// Maglev. Whoever keeps a client with its backend asks before ([`abi::frontend::AFFINITY`]).
    pub fn lookup(&self, to: Address, from: From, client: IpAddr, hash: u32) -> Result<Outcome, ImageError> {
        let Some(f) = self.frontend(&key(to))? else { return Ok(Outcome::NotService) };
        let outside = from == From::Outside;
        if outside && f.flags & frontend::OUTSIDE_DENIED != 0 {
            return Ok(Outcome::Drop(Drop::OutsideDenied));
        }
        if outside && f.flags & frontend::SOURCE_RANGES != 0 && !self.admits(&f, client)? {
            return Ok(Outcome::Drop(Drop::SourceRange));
        }
        let (mut first, mut count, drop, maglev) = if outside {
            (f.outside_first, f.outside_count, frontend::OUTSIDE_DROP, frontend::MAGLEV_OUTSIDE)
        } else {
            (f.inside_first, f.inside_count, frontend::INSIDE_DROP, frontend::MAGLEV_INSIDE)
        };
        if count == 0 {
            let dropped = f.flags & drop != 0;
            return Ok(if dropped { Outcome::Drop(Drop::NoLocalEndpoint) } else { Outcome::Reject });
        }
        if f.maglev_size != 0 && f.flags & maglev != 0 {
            (first, count) = (f.maglev_first, f.maglev_size);
        }
        // Below `count`, so it fits.
        let step = u32::try_from((u64::from(hash) * u64::from(count)) >> 32).unwrap_or_default();
        let at = first.checked_add(step).ok_or(ImageError::Index)?;
        let backend = self.backend(u32_in(self.list, at)?)?;
        Ok(Outcome::Backend { backend, frontend: f })
    }

    /// The frontend of a key.
    pub fn frontend(&self, key: &ServiceKey) -> Result<Option<abi::Frontend>, ImageError> {
        let seed = u32_in(self.seeds, hash(key, 0) & (self.buckets - 1))?;
        let slot = (hash(key, seed) & (self.slots - 1)) as usize;
        let bytes = self.frontends.get(slot * abi::Frontend::SIZE..).ok_or(ImageError::Index)?;
        let found = abi::Frontend::from_bytes(bytes).ok_or(ImageError::Index)?;
        let same = found.address == key.address && found.port == key.port && found.protocol == key.protocol;
        Ok(Some(found).filter(|f| same && f.protocol != 0))
    }

    /// Every frontend, in order of their slots.
    pub fn frontends(&self) -> impl Iterator<Item = abi::Frontend> {
        let all = self.frontends.chunks_exact(abi::Frontend::SIZE);
        all.filter_map(abi::Frontend::from_bytes).filter(|f| f.protocol != 0)
    }

    /// The backends that a frontend may choose for one side.
    pub fn choices(&self, f: &abi::Frontend, from: From) -> Result<Vec<abi::Backend>, ImageError> {
        let (first, count) = match from {
            From::Inside => (f.inside_first, f.inside_count),
            From::Outside => (f.outside_first, f.outside_count),
        };
        let at = |n: u32| first.checked_add(n).ok_or(ImageError::Index);
        (0..count).map(|n| self.backend(u32_in(self.list, at(n)?)?)).collect()
    }

    /// The backend with a stable number.
    pub fn backend_by_id(&self, id: u32) -> Result<Option<abi::Backend>, ImageError> {
        match u32_in(self.by_id, id) {
            Ok(0) | Err(_) => Ok(None),
            Ok(index) => self.backend(index - 1).map(Some),
        }
    }

    /// Every backend, in order.
    pub fn backends(&self) -> impl Iterator<Item = abi::Backend> {
        self.backends.chunks_exact(abi::Backend::SIZE).filter_map(abi::Backend::from_bytes)
    }

    fn backend(&self, index: u32) -> Result<abi::Backend, ImageError> {
        let at = (index as usize).checked_mul(abi::Backend::SIZE).ok_or(ImageError::Index)?;
        self.backends.get(at..).and_then(abi::Backend::from_bytes).ok_or(ImageError::Index)
    }

    fn range(&self, index: u32) -> Result<abi::Range, ImageError> {
        let at = (index as usize).checked_mul(abi::Range::SIZE).ok_or(ImageError::Index)?;
        self.ranges.get(at..).and_then(abi::Range::from_bytes).ok_or(ImageError::Index)
    }

    fn admits(&self, f: &abi::Frontend, client: IpAddr) -> Result<bool, ImageError> {
        let client = u128::from_be_bytes(bytes(client));
        for n in 0..f.ranges_count {
            let range = self.range(f.ranges_first.checked_add(n).ok_or(ImageError::Index)?)?;
            let mask = 128u32
                .checked_sub(range.bits)
                .map_or(u128::MAX, |low| u128::MAX.checked_shl(low).unwrap_or(0));
            if client & mask == u128::from_be_bytes(range.address) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Numbers an image. `false` if the bytes have no header.
pub fn set_generation(image: &mut [u8], generation: u64) -> bool {
    let place = image.get_mut(header::GENERATION..header::GENERATION + 8);
    place.map(|p| p.copy_from_slice(&generation.to_le_bytes())).is_some()
}

fn u32_in(section: &[u8], at: u32) -> Result<u32, ImageError> {
    u32_at(section, (at as usize).saturating_mul(4)).ok_or(ImageError::Index)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b))
}
