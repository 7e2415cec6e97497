//! The address space outside the cluster, cut at every prefix that any policy names (SEM-4.4).
//!
//! A region is a prefix without the longer prefixes inside it: every address of a region is in
//! exactly the same CIDRs, so one address stands for all.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_ir::PeerTerm;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The prefix it is the rest of.
    pub prefix: IpNet,
    /// Whether longer prefixes were cut out of it.
    pub cut: bool,
    /// An address of it.
    pub example: IpAddr,
}

/// Both whole families.
pub fn whole() -> [IpNet; 2] {
    [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
}

/// Every prefix that peer terms name, exceptions included.
pub fn prefixes<'a>(terms: impl IntoIterator<Item = &'a PeerTerm>) -> BTreeSet<IpNet> {
    let mut all: BTreeSet<IpNet> = whole().into();
    for t in terms {
        if let PeerTerm::Cidr { net, except } = t {
            all.insert(*net);
            all.extend(except.iter().copied());
        }
    }
    all
}

/// The regions of a set of prefixes, in order of family, address and length. A prefix that longer
/// ones cover whole has no region.
pub fn regions(prefixes: &BTreeSet<IpNet>) -> Vec<Region> {
    let sorted: Vec<IpNet> = prefixes.iter().copied().collect();
    let mut out = Vec::with_capacity(sorted.len());
    for (i, prefix) in sorted.iter().enumerate() {
        // Prefixes inside this one follow it directly: `IpNet` orders by address, then length.
        let inside: Vec<&IpNet> = sorted
            .iter()
            .skip(i + 1)
            .take_while(|p| prefix.contains(&p.network()) && same_family(prefix, p))
            .collect();
        if let Some(example) = first_free(prefix, &inside) {
            out.push(Region { prefix: *prefix, cut: !inside.is_empty(), example });
        }
    }
    out
}

fn same_family(a: &IpNet, b: &IpNet) -> bool {
    matches!((a, b), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

/// The first address of `prefix` outside every prefix of `inside`, which is sorted.
fn first_free(prefix: &IpNet, inside: &[&IpNet]) -> Option<IpAddr> {
    let mut candidate = prefix.network();
    for p in inside {
        if p.contains(&candidate) {
            candidate = next(p.broadcast())?;
        }
    }
    prefix.contains(&candidate).then_some(candidate)
}

fn next(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|n| IpAddr::V4(Ipv4Addr::from(n))),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|n| IpAddr::V6(Ipv6Addr::from(n))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<IpNet> {
        whole().into_iter().chain(texts.iter().map(|t| t.parse().unwrap())).collect()
    }

    #[test]
    fn a_region_is_a_prefix_without_the_longer_ones_inside() {
        let r = regions(&set(&["10.0.0.0/8", "10.0.0.0/16"]));
        let find = |p: &str| r.iter().find(|r| r.prefix == p.parse().unwrap()).cloned().unwrap();
        assert_eq!(find("10.0.0.0/8").example, "10.1.0.0".parse::<IpAddr>().unwrap());
        assert_eq!(find("0.0.0.0/0").example, "0.0.0.0".parse::<IpAddr>().unwrap());
        assert!(find("10.0.0.0/8").cut);
    }

    #[test]
    fn a_prefix_that_is_covered_whole_has_no_region() {
        let r = regions(&set(&["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"]));
        assert!(r.iter().all(|r| r.prefix != "10.0.0.0/8".parse().unwrap()));
    }

    #[test]
    fn the_last_address_does_not_overflow() {
        let r = regions(&set(&["255.255.255.255/32", "0.0.0.0/1", "128.0.0.0/1"]));
        assert!(r.iter().all(|r| r.prefix != "0.0.0.0/0".parse().unwrap()));
    }
}
