//! An addition in words and numbers: what it takes in, and how much of that nobody asked for.

use crate::bound::Product;
use crate::gaps::{Needs, Peer};
use crate::pick::Picker;
use portcullis_ir::{Cluster, Direction, IdentityId, Reserved};
use portcullis_sema::ports::PortSet;
use std::collections::{BTreeMap, BTreeSet};

/// What one entry lets through on its side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Workloads whose policy it is, `ns/name`.
    pub subjects: Vec<String>,
    /// Who is at the other end: workloads, entities, prefixes, names.
    pub peers: Vec<String>,
    /// Ports.
    pub ports: PortSet,
    /// Pairs of a workload and a workload, entity, prefix or name.
    pub pairs: u64,
    /// Those of them between which no flow was asked for.
    pub pairs_beyond: u64,
    /// Ports and ICMP types.
    pub port_count: u64,
    /// Those of them on which no flow of these ends was asked for.
    pub ports_beyond: u64,
    /// Addresses outside the cluster that are taken in and that no flow had; many for a name, whose addresses change.
    pub addresses_beyond: Option<u128>,
}

/// Words for workloads and peers.
pub(crate) struct Speaker<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) picker: &'a Picker<'a>,
    /// What was asked for.
    pub(crate) needs: &'a BTreeMap<(Direction, IdentityId), Needs>,
}

impl Speaker<'_> {
    fn workloads(&self, ids: &BTreeSet<IdentityId>) -> BTreeSet<u32> {
        ids.iter().flat_map(|i| self.picker.workloads(*i)).collect()
    }

    fn names(&self, workloads: &BTreeSet<u32>) -> Vec<String> {
        let all = workloads.iter().filter_map(|w| self.cluster.workloads.get(*w));
        let mut out: Vec<String> = all.map(|w| format!("{}/{}", w.namespace, w.name)).collect();
        out.sort();
        out
    }

    /// What a product takes in.
    pub(crate) fn say(&self, product: &Product) -> Said {
        let subjects = self.workloads(&product.subjects);
        let pods = self.workloads(&product.peers.identities);
        let mut others: Vec<String> = Vec::new();
        others.extend(product.peers.reserved.iter().map(|r| r.name().to_owned()));
        // SEM-4.2: it is a remote node, too.
        let nodes = &product.peers.reserved;
        if nodes.contains(&Reserved::RemoteNode) && !nodes.contains(&Reserved::KubeApiserver) {
            others.push(Reserved::KubeApiserver.name().to_owned());
        }
        if product.peers.world && !others.iter().any(|o| o == "world") {
            others.push("world".to_owned());
        }
        others.extend(product.peers.prefixes.iter().map(ToString::to_string));
        others.extend(product.peers.names.iter().map(ToString::to_string));
        let mut asked: BTreeSet<(u32, String)> = BTreeSet::new();
        let mut seen = PortSet::default();
        let mut addresses: BTreeSet<std::net::IpAddr> = BTreeSet::new();
        let names: BTreeMap<u32, String> = pods
            .iter()
            .filter_map(|w| {
                self.cluster.workloads.get(*w).map(|o| (*w, format!("{}/{}", o.namespace, o.name)))
            })
            .collect();
        for s in &product.subjects {
            for (peer, ports) in self.needs.get(&(product.direction, *s)).into_iter().flatten() {
                let here = ports.intersect(&product.ports);
                if here.is_empty() {
                    continue;
                }
                let mut ends: Vec<String> = Vec::new();
                match peer {
                    Peer::Pods(id) if product.peers.identities.contains(id) => {
                        ends.extend(self.picker.workloads(*id).filter_map(|w| names.get(&w).cloned()));
                    }
                    Peer::Reserved(r) if product.peers.reserved.contains(r) => ends.push(r.name().to_owned()),
                    Peer::Address(ip, name) => {
                        if let Some(n) = name.as_ref().filter(|n| product.peers.names.contains(*n)) {
                            ends.push(n.to_string());
                        }
                        if let Some(p) = product.peers.prefixes.iter().find(|p| p.contains(ip)) {
                            ends.push(p.to_string());
                            addresses.insert(*ip);
                        } else if product.peers.world {
                            ends.push("world".to_owned());
                        }
                    }
                    _ => {}
                }
                if ends.is_empty() {
                    continue;
                }
                seen = seen.union(&here);
                for w in self.picker.workloads(*s) {
                    asked.extend(ends.iter().map(|e| (w, e.clone())));
                }
            }
        }
        let mut peers = self.names(&pods);
        peers.extend(others);
        let pairs = subjects.len() as u64 * peers.len() as u64;
        let port_count = size(&product.ports);
        let sizes = product.peers.prefixes.iter().map(|p| {
            let bits = u32::from(p.max_prefix_len() - p.prefix_len());
            1u128.checked_shl(bits).unwrap_or(u128::MAX)
        });
        let taken: u128 = sizes.fold(0, u128::saturating_add);
        let unbounded = product.peers.world || !product.peers.names.is_empty();
        Said {
            subjects: self.names(&subjects),
            peers,
            ports: product.ports.clone(),
            pairs,
            pairs_beyond: pairs.saturating_sub(asked.len() as u64),
            port_count,
            ports_beyond: port_count.saturating_sub(size(&seen)),
            addresses_beyond: (!unbounded).then(|| taken.saturating_sub(addresses.len() as u128)),
        }
    }
}

fn size(ports: &PortSet) -> u64 {
    ports.intervals().iter().map(|(a, b)| u64::from(b - a)).sum()
}
