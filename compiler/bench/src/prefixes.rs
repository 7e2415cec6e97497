//! Address prefixes outside the cluster.

use std::collections::BTreeSet;

use crate::rng::Rng;

/// A prefix and parts of it that a rule may leave out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    /// The prefix in CIDR form, host bits zero.
    pub(crate) cidr: String,
    /// Prefixes inside it, possibly none.
    pub(crate) excepts: Vec<String>,
}

/// First bytes of public ranges; none of them overlaps pods, services or nodes.
const FIRST_BYTES: &[u32] = &[23, 34, 35, 52, 54, 91, 104, 142, 151, 185, 203];

/// Makes `count` distinct prefixes, one in seven of them IPv6.
pub(crate) fn prefixes(count: usize, rng: &mut Rng) -> Vec<Prefix> {
    let mut seen = BTreeSet::new();
    let mut pool = Vec::with_capacity(count);
    // Equal draws are rare; the bound only keeps an absurd count from running for ever.
    for _ in 0..count.saturating_mul(8) {
        if pool.len() == count {
            break;
        }
        let prefix = if rng.chance(14) { ipv6(rng) } else { ipv4(rng) };
        if seen.insert(prefix.cidr.clone()) {
            pool.push(prefix);
        }
    }
    pool
}

fn ipv4(rng: &mut Rng) -> Prefix {
    let length = rng.pick(&[16_u32, 20, 22, 24, 24, 26, 28]).copied().unwrap_or(24);
    let first = rng.pick(FIRST_BYTES).copied().unwrap_or(203);
    let rest = u32::try_from(rng.next() & 0x00ff_ffff).unwrap_or(0);
    let base = (first << 24 | rest) & mask(length);
    let mut excepts = BTreeSet::new();
    if length <= 24 && rng.chance(50) {
        let inner = length + 4;
        for _ in 0..rng.between(1, 3) {
            let part = u32::try_from(rng.below(16)).unwrap_or(0);
            excepts.insert(base | part << (32 - inner));
        }
        return Prefix {
            cidr: format!("{}/{length}", dotted(base)),
            excepts: excepts.into_iter().map(|part| format!("{}/{inner}", dotted(part))).collect(),
        };
    }
    Prefix { cidr: format!("{}/{length}", dotted(base)), excepts: Vec::new() }
}

fn ipv6(rng: &mut Rng) -> Prefix {
    let site = rng.between(1, 0xffff);
    let excepts = if rng.chance(40) {
        vec![format!("2001:db8:{site:x}:{:x}::/64", rng.between(1, 0xff))]
    } else {
        Vec::new()
    };
    Prefix { cidr: format!("2001:db8:{site:x}::/48"), excepts }
}

fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn dotted(address: u32) -> String {
    std::net::Ipv4Addr::from(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_the_size_asked_for_and_no_prefix_twice() {
        let pool = prefixes(500, &mut Rng::new(3, 0));
        let distinct: BTreeSet<_> = pool.iter().map(|prefix| &prefix.cidr).collect();
        assert_eq!((pool.len(), distinct.len()), (500, 500));
    }

    #[test]
    fn host_bits_are_zero() {
        for prefix in prefixes(200, &mut Rng::new(4, 0)) {
            let (address, length) = prefix.cidr.split_once('/').unwrap();
            if let Ok(address) = address.parse::<std::net::Ipv4Addr>() {
                let bits = u32::from(address);
                assert_eq!(bits & mask(length.parse().unwrap()), bits, "{}", prefix.cidr);
            }
        }
    }
}
