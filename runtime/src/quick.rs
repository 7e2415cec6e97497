//! Pods elsewhere that come, go, or get other labels, without a compilation: where their labels and named ports
//! are known to the generation in use, or fit one of its classes, all there is to do is a write or two.

use crate::compile::{Candidate, Claim, Claims, Maker, Rank};
use crate::live::{Live, PodName};
use crate::numbers::{IdentityDigest, Registry, digest_of};
use portcullis_abi::maps::AddressValue;
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What the generation in use was bound with.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    claims: Claims,
    known: BTreeMap<IdentityDigest, u32>,
    /// Addresses that are nobody's pod's.
    others: BTreeMap<IpAddr, AddressValue>,
    /// By pod of this node: 1 + its number, or 0.
    numbers: BTreeMap<usize, u32>,
    namespaces: BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
    /// By node of the universe: its number.
    of_node: Vec<Option<u32>>,
    /// Numbers of pods are below this.
    room: u32,
    /// Which image it is of, among those that its maker made.
    made: u64,
}

/// A write to the kernel. In order: nothing names a number that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// What a new number stands for.
    Identity {
        /// The number.
        number: u32,
        /// What it stands for.
        digest: IdentityDigest,
    },
    /// A new number has another's class in the image in use.
    Class {
        /// The new number.
        number: u32,
        /// The other.
        like: u32,
        /// Which identity of the image that is.
        identity: u32,
        /// A pod that it is for.
        name: String,
    },
    /// Who has an address; `None` for nobody.
    Address(IpAddr, Option<AddressValue>),
}

/// A pod as it is to be bound.
struct Wanted {
    name: (SmolStr, SmolStr),
    ips: Box<[IpAddr]>,
    digest: IdentityDigest,
    rank: Rank,
    /// A group that it is like, where its digest is new.
    like: Option<u32>,
}

impl Bound {
    /// What a candidate binds: `others` are the addresses of hosts and entities, `numbers` those of this node's
    /// pods.
    pub fn new(
        c: &Candidate,
        others: BTreeMap<IpAddr, AddressValue>,
        numbers: &BTreeMap<usize, u32>,
        namespaces: BTreeMap<SmolStr, Vec<(SmolStr, SmolStr)>>,
    ) -> Self {
        Self {
            claims: c.claims.clone(),
            known: c.known.clone(),
            others,
            numbers: numbers.iter().map(|(at, n)| (*at, n + 1)).collect(),
            namespaces,
            of_node: c.numbers.identities.clone(),
            room: c.room,
            made: c.made,
        }
    }

    /// Every address and who has it.
    pub fn addresses(&self) -> BTreeMap<IpAddr, AddressValue> {
        let mut out = self.others.clone();
        out.extend(self.claims.holders().map(|(ip, claim)| (ip, self.value(claim))));
        out
    }

    fn value(&self, claim: &Claim) -> AddressValue {
        let endpoint = claim.at.and_then(|at| self.numbers.get(&at)).copied().unwrap_or_default();
        AddressValue { identity: claim.identity, endpoint }
    }

    fn holder(&self, ip: IpAddr) -> Option<AddressValue> {
        self.claims.holder(ip).map(|c| self.value(c)).or_else(|| self.others.get(&ip).copied())
    }

    /// What to write so that these pods are bound as `live` has them; `None` where that takes a compilation. If
    /// something cannot be written, this is not what is bound any more.
    pub fn follow(
        &mut self,
        pods: &BTreeSet<PodName>,
        live: &Live,
        node: &str,
        maker: &Maker,
        registry: &mut Registry,
    ) -> Option<Vec<Write>> {
        let mut wanted = Vec::new();
        for name in pods {
            let (before, now) = (self.claims.of(name), live.pods().get(name));
            // This node's own pods have numbers and interfaces, and so has who shares an address with them.
            let ips = before.iter().chain(now.into_iter().flat_map(|p| &p.addresses));
            if now.is_some_and(|p| p.node == node) || ips.clone().any(|ip| self.claims.is_local(*ip)) {
                return None;
            }
            let Some(pod) = now else { continue };
            let found = live.facts().pod(&name.0, &name.1, &self.namespaces, maker.options())?;
            let digest = digest_of(&found.labels, &found.ports);
            let like = match self.known.get(&digest) {
                Some(_) => None,
                None => Some(maker.twin(self.made, &found.labels, &found.ports)?.0),
            };
            let rank = if pod.terminating { Rank::Stopping } else { Rank::Elsewhere };
            let name = (SmolStr::from(&name.0), SmolStr::from(&name.1));
            wanted.push(Wanted { name, ips: found.ips, digest, rank, like });
        }
        let mut out = self.number(&wanted, registry)?;
        let mut touched = BTreeSet::new();
        for name in pods {
            touched.extend(self.claims.remove(name));
        }
        for pod in wanted {
            let identity = *self.known.get(&pod.digest)?;
            for ip in &pod.ips {
                touched.insert(*ip);
                self.claims.add(*ip, Claim { rank: pod.rank, pod: pod.name.clone(), identity, at: None });
            }
        }
        out.extend(touched.into_iter().map(|ip| Write::Address(ip, self.holder(ip))));
        Some(out)
    }

    /// Numbers for label sets that are new and like known ones.
    fn number(&mut self, wanted: &[Wanted], registry: &mut Registry) -> Option<Vec<Write>> {
        let mut out = Vec::new();
        for pod in wanted {
            let Some(identity) = pod.like.filter(|_| !self.known.contains_key(&pod.digest)) else { continue };
            let like = self.of_node.get(identity as usize).copied().flatten()?;
            let (number, _) = registry.number(pod.digest).ok()?;
            if number >= self.room {
                return None;
            }
            self.known.insert(pod.digest, number);
            out.push(Write::Identity { number, digest: pod.digest });
            let name = format!("{}/{}", pod.name.0, pod.name.1);
            out.push(Write::Class { number, like, identity, name });
        }
        Some(out)
    }
}
