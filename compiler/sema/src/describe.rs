//! Names for sets of nodes: workloads, entities, addresses, DNS names; and short words for them.

use crate::names::{self, NameClass};
use crate::regions::Region;
use crate::universe::{NodeId, NodeKind, Universe};
use fixedbitset::FixedBitSet;
use portcullis_ir::{Reserved, Workload};
use std::collections::{BTreeMap, BTreeSet};

/// A set of peers in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerGroup {
    /// Workloads, sorted, with the pods of each that are meant.
    pub workloads: Vec<(Workload, u32)>,
    /// Everything else: `world`, `host`, `10.0.0.0/8 except …`, `*.example.com`; sorted.
    pub others: Vec<String>,
    /// All of it in a few words: `shop/web`, `12 workloads in 3 namespaces and the world`.
    pub summary: String,
    /// Pods meant.
    pub pods: u64,
}

impl PeerGroup {
    /// How many distinct ends there are: workloads, and one for each other thing.
    pub fn ends(&self) -> u64 {
        (self.workloads.len() + self.others.len()) as u64
    }
}

/// Identities that matter to a reader of a report; `init` and `unmanaged` pods are passing states.
pub const SHOWN_RESERVED: [Reserved; 5] =
    [Reserved::Host, Reserved::RemoteNode, Reserved::KubeApiserver, Reserved::Health, Reserved::Ingress];

/// Whether a node is worth a word in a report.
pub fn is_shown(node: &NodeKind) -> bool {
    match node {
        NodeKind::Group(_) | NodeKind::Region(_) | NodeKind::Name(_) => true,
        NodeKind::Reserved(r) => SHOWN_RESERVED.contains(r),
        NodeKind::Address(..) => false,
    }
}

/// Names sets of one universe.
#[derive(Debug)]
pub struct Describer<'u> {
    universe: &'u Universe,
    /// How many workloads each namespace has.
    namespaces: BTreeMap<&'u str, usize>,
    /// Every workload, sorted.
    workloads: Vec<&'u Workload>,
    /// Of each group: places in `workloads`, and pods.
    members: Vec<Vec<(u32, u32)>>,
    regions: [usize; 2],
    names: Vec<&'u NameClass>,
}

impl<'u> Describer<'u> {
    /// Counts what there is, so that "all of it" can be said.
    pub fn new(universe: &'u Universe) -> Self {
        let mut sorted: BTreeMap<&Workload, u32> = BTreeMap::new();
        let mut regions = [0; 2];
        let mut names = Vec::new();
        for (_, node) in universe.iter() {
            match node {
                NodeKind::Group(g) => {
                    sorted.extend(g.workloads.iter().map(|(w, _)| (w, 0)));
                }
                NodeKind::Region(r) => {
                    if let Some(n) = regions.get_mut(usize::from(r.example.is_ipv6())) {
                        *n += 1;
                    }
                }
                NodeKind::Name(c) => names.push(c),
                NodeKind::Reserved(_) | NodeKind::Address(..) => {}
            }
        }
        let mut namespaces: BTreeMap<&str, usize> = BTreeMap::new();
        for ((w, at), n) in sorted.iter_mut().zip(0..) {
            *at = n;
            *namespaces.entry(w.namespace.as_str()).or_insert(0) += 1;
        }
        let place = |w: &Workload| sorted.get(w).copied().unwrap_or(u32::MAX);
        let members = universe
            .groups()
            .map(|(_, g)| g.workloads.iter().map(|(w, pods)| (place(w), *pods)).collect())
            .collect();
        Self { universe, namespaces, workloads: sorted.into_keys().collect(), members, regions, names }
    }

    /// A set in words.
    pub fn group(&self, nodes: &FixedBitSet) -> PeerGroup {
        let mut pods_of: Vec<Option<u32>> = vec![None; self.workloads.len()];
        for (at, pods) in nodes.ones().map_while(|n| self.members.get(n)).flatten() {
            if let Some(slot) = pods_of.get_mut(*at as usize) {
                *slot = Some(slot.unwrap_or(0) + pods);
            }
        }
        let workloads: Vec<(&Workload, u32)> =
            self.workloads.iter().zip(pods_of).filter_map(|(w, pods)| Some((*w, pods?))).collect();
        let mut others: BTreeSet<String> = BTreeSet::new();
        let mut regions: [Vec<&Region>; 2] = [Vec::new(), Vec::new()];
        let mut names: BTreeSet<&NameClass> = BTreeSet::new();
        for n in nodes.ones().skip_while(|n| *n < self.universe.groups) {
            let Some(node) = self.universe.node(NodeId(u32::try_from(n).unwrap_or(u32::MAX))) else {
                continue;
            };
            match node {
                NodeKind::Reserved(r) if SHOWN_RESERVED.contains(r) => {
                    others.insert(r.name().to_owned());
                }
                NodeKind::Region(r) => {
                    if let Some(list) = regions.get_mut(usize::from(r.example.is_ipv6())) {
                        list.push(r);
                    }
                }
                NodeKind::Name(c) => {
                    names.insert(c);
                }
                NodeKind::Address(ip, _) => {
                    others.insert(ip.to_string());
                }
                NodeKind::Reserved(_) | NodeKind::Group(_) => {}
            }
        }
        self.add_outside(&regions, &names, &mut others);
        let pods = workloads.iter().map(|(_, n)| u64::from(*n)).sum();
        let summary = self.summary(&workloads, &others);
        PeerGroup {
            workloads: workloads.into_iter().map(|(w, n)| (w.clone(), n)).collect(),
            others: others.into_iter().collect(),
            summary,
            pods,
        }
    }

    /// Whole families become `world`; else each region is named, nested ones as exceptions. Names
    /// have addresses of IPv4: where the rest of IPv4 is meant, so are they, but for exceptions.
    fn add_outside(
        &self,
        regions: &[Vec<&Region>; 2],
        names: &BTreeSet<&NameClass>,
        out: &mut BTreeSet<String>,
    ) {
        let [v4, v6] = regions;
        let [all4, all6] = self.regions;
        let whole = [v4.len() == all4 && all4 > 0, v6.len() == all6 && all6 > 0];
        let folded = v4.iter().any(|r| r.prefix.prefix_len() == 0);
        let left_out: Vec<String> = if folded {
            names::few(names::describe(&self.names, |c| !names.contains(c)), "names")
        } else {
            out.extend(names::describe(&self.names, |c| names.contains(c)));
            Vec::new()
        };
        if whole == [true, true] {
            out.insert(names::except("world", &left_out));
            return;
        }
        for (list, whole) in regions.iter().zip(whole) {
            for r in list {
                let rest_of_ipv4 = r.prefix.prefix_len() == 0 && !r.prefix.addr().is_ipv6();
                let mut missing = self.missing(r, list);
                missing.extend(left_out.iter().filter(|_| rest_of_ipv4).cloned());
                if r.prefix.prefix_len() == 0 {
                    let word = if rest_of_ipv4 { "world (IPv4)" } else { "world (IPv6)" };
                    out.insert(names::except(word, &missing));
                } else if !whole || !list.iter().any(|r| r.prefix.prefix_len() == 0) {
                    out.insert(names::except(&r.prefix.to_string(), &missing));
                }
            }
        }
    }

    /// Named prefixes inside a region's that are not chosen with it.
    fn missing(&self, r: &Region, chosen: &[&Region]) -> Vec<String> {
        if !r.cut {
            return Vec::new();
        }
        let all = self.universe.iter().filter_map(|(_, n)| match n {
            NodeKind::Region(other)
                if other.prefix != r.prefix
                    && r.prefix.contains(&other.prefix)
                    && !chosen.contains(&other) =>
            {
                Some(other.prefix.to_string())
            }
            _ => None,
        });
        names::few(all.collect(), "named prefixes")
    }

    fn summary(&self, workloads: &[(&Workload, u32)], others: &BTreeSet<String>) -> String {
        let mut parts = Vec::new();
        let in_all = workloads.len();
        let mut by_ns: BTreeMap<&str, usize> = BTreeMap::new();
        for (w, _) in workloads {
            *by_ns.entry(w.namespace.as_str()).or_insert(0) += 1;
        }
        if in_all == self.workloads.len() && in_all > 3 {
            parts.push(format!("every workload in the cluster ({in_all})"));
        } else if in_all <= 3 {
            parts.extend(workloads.iter().map(|(w, _)| format!("{}/{}", w.namespace, w.name)));
        } else if let [(ns, some)] = by_ns.iter().collect::<Vec<_>>().as_slice() {
            let all = self.namespaces.get(*ns).copied().unwrap_or(0);
            parts.push(if all == **some {
                format!("every workload in namespace {ns} ({all})")
            } else {
                format!("{some} workloads in namespace {ns}")
            });
        } else {
            parts.push(format!("{in_all} workloads in {} namespaces", by_ns.len()));
        }
        let mut rest: Vec<&String> = others.iter().collect();
        if rest.len() > 6 {
            let world = rest.iter().find(|o| is_world(o)).map(|o| format!("the {o}"));
            let n = rest.len() - usize::from(world.is_some());
            rest.clear();
            parts.extend(world);
            parts.push(format!("{n} entities and address ranges"));
        }
        parts.extend(rest.into_iter().map(|o| if is_world(o) { format!("the {o}") } else { o.clone() }));
        join(&parts)
    }
}

/// `world`, or `world except …`.
fn is_world(text: &str) -> bool {
    text == "world" || text.starts_with("world except ")
}

/// `a`, `a and b`, `a, b and c`.
fn join(parts: &[String]) -> String {
    match parts {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}
