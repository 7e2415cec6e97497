//! Numbers of identities, which outlive images: addresses in the kernel are bound to them.
//!
//! Reserved identities have Cilium's numbers (SEM-4.1). Pods of one label set and one set of named ports
//! have one number for as long as any generation in the kernel may name it; what a number stands for is
//! kept in the kernel too, so that a restarted agent gives the same ones. Prefixes and DNS names belong to
//! a generation, which numbers them behind all pods.

use ipnet::IpNet;
use portcullis_ir::cluster::{NamedPort, PortTableId};
use portcullis_ir::{Cluster, IdentityId, LabelSet};
use portcullis_sema::universe::{NodeKind, Universe};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The first number of a pod's identity; those below are reserved.
pub const FIRST_POD: u32 = 16;

/// What tells one number's pods from another's.
pub type IdentityDigest = [u8; 16];

/// The digest of a label set and its named ports.
pub fn digest(cluster: &Cluster, identity: IdentityId, ports: PortTableId) -> IdentityDigest {
    let none = LabelSet::default();
    let labels = cluster.labels(identity).unwrap_or(&none);
    digest_of(labels, cluster.port_tables.get(ports.0).map_or(&[], Vec::as_slice))
}

/// The same of a label set and sorted named ports.
pub fn digest_of(labels: &LabelSet, ports: &[NamedPort]) -> IdentityDigest {
    let mut hash = Sha256::new();
    let mut put = |text: &str| {
        // A length before each text: no two lists of texts run together to one.
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    };
    for label in labels {
        put(&label.source);
        put(&label.key);
        put(&label.value);
    }
    put("ports");
    for (name, l4, number) in ports {
        put(name);
        put(l4.name());
        put(&number.to_string());
    }
    let mut out = IdentityDigest::default();
    for (slot, byte) in out.iter_mut().zip(hash.finalize()) {
        *slot = byte;
    }
    out
}

/// No number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more label sets than identity numbers: {limit}")]
pub struct OutOfNumbers {
    /// How many there are.
    pub limit: u32,
}

/// Which number stands for what.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    by_digest: BTreeMap<IdentityDigest, u32>,
    by_number: BTreeMap<u32, IdentityDigest>,
    limit: u32,
}

/// The numbers of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// By node of the universe.
    pub of_node: Vec<Option<u32>>,
    /// Numbers of pods are below this.
    pub room: u32,
    /// Numbers are below this.
    pub slots: u32,
    /// Prefixes of the generation and their numbers.
    pub prefixes: Vec<(IpNet, u32)>,
}

impl Registry {
    /// A registry of at most `limit` pod identities, with what the kernel remembers.
    pub fn new(limit: u32, remembered: BTreeMap<u32, IdentityDigest>) -> Self {
        let mut out = Self { limit, ..Self::default() };
        for (number, digest) in remembered {
            if out.by_digest.insert(digest, number).is_none() {
                out.by_number.insert(number, digest);
            }
        }
        out
    }

    /// The number of a digest, a new one if it has none. The flag says that it is new.
    pub fn number(&mut self, digest: IdentityDigest) -> Result<(u32, bool), OutOfNumbers> {
        if let Some(number) = self.by_digest.get(&digest) {
            return Ok((*number, false));
        }
        let number =
            self.free().filter(|n| n - FIRST_POD < self.limit).ok_or(OutOfNumbers { limit: self.limit })?;
        self.by_digest.insert(digest, number);
        self.by_number.insert(number, digest);
        Ok((number, true))
    }

    /// What a number stands for.
    pub fn digest(&self, number: u32) -> Option<IdentityDigest> {
        self.by_number.get(&number).copied()
    }

    /// The lowest number that nobody has.
    fn free(&self) -> Option<u32> {
        let mut next = FIRST_POD;
        for number in self.by_number.keys() {
            if *number != next {
                break;
            }
            next = next.checked_add(1)?;
        }
        Some(next)
    }

    /// Frees every number that is not in use; those freed.
    pub fn retain(&mut self, used: &BTreeSet<u32>) -> Vec<u32> {
        let gone: Vec<u32> = self.by_number.keys().copied().filter(|n| !used.contains(n)).collect();
        for number in &gone {
            if let Some(digest) = self.by_number.remove(number) {
                self.by_digest.remove(&digest);
            }
        }
        gone
    }

    /// Numbers every identity of a universe of one side. Room is left for pods that come before the next
    /// generation. What is new is handed to `remember`, in order.
    pub fn assign<E: From<OutOfNumbers>>(
        &mut self,
        universe: &Universe,
        cluster: &Cluster,
        mut remember: impl FnMut(u32, IdentityDigest) -> Result<(), E>,
    ) -> Result<Assigned, E> {
        let mut of_node = vec![None; universe.len()];
        for (id, group) in universe.groups() {
            let Some((identity, ports)) = group.on.first().copied().flatten() else { continue };
            let digest = digest(cluster, identity, ports);
            let (number, new) = self.number(digest)?;
            if new {
                remember(number, digest)?;
            }
            if let Some(slot) = of_node.get_mut(id.index()) {
                *slot = Some(number);
            }
        }
        let highest = self.by_number.keys().next_back().copied().unwrap_or(FIRST_POD);
        let mut next = (highest + 1 + highest / 8 + 64).next_multiple_of(64);
        let room = next;
        let mut prefixes = Vec::new();
        for (id, node) in universe.iter() {
            let number = match node {
                NodeKind::Group(_) => continue,
                NodeKind::Reserved(r) => *r as u32,
                NodeKind::Region(r) => {
                    prefixes.push((r.prefix, next));
                    next += 1;
                    next - 1
                }
                NodeKind::Name(_) | NodeKind::Address(..) => {
                    next += 1;
                    next - 1
                }
            };
            if let Some(slot) = of_node.get_mut(id.index()) {
                *slot = Some(number);
            }
        }
        Ok(Assigned { of_node, room, slots: next, prefixes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_keeps_its_number_and_a_freed_one_is_given_again() {
        let mut r = Registry::new(3, BTreeMap::new());
        assert_eq!(r.number([1; 16]), Ok((FIRST_POD, true)));
        assert_eq!(r.number([2; 16]), Ok((FIRST_POD + 1, true)));
        assert_eq!(r.number([1; 16]), Ok((FIRST_POD, false)));
        assert_eq!(r.retain(&[FIRST_POD + 1].into()), [FIRST_POD]);
        assert_eq!(r.number([3; 16]), Ok((FIRST_POD, true)));
        assert_eq!(r.number([4; 16]), Ok((FIRST_POD + 2, true)));
        assert_eq!(r.number([5; 16]), Err(OutOfNumbers { limit: 3 }));
    }

    #[test]
    fn what_the_kernel_remembers_keeps_its_number() {
        let mut r = Registry::new(10, [(40, [7; 16])].into());
        assert_eq!(r.number([7; 16]), Ok((40, false)));
        assert_eq!(r.number([8; 16]), Ok((FIRST_POD, true)));
    }
}
