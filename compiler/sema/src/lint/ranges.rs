//! Address ranges against the addresses of a cluster.

use super::sites::CidrSite;
use ipnet::IpNet;
use portcullis_front::ast::CidrRule;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether a range is so wide that it is hardly meant for the cluster alone: a block of private
/// addresses as a whole, or wider than the ranges clusters use.
pub(super) fn is_broad(net: &IpNet) -> bool {
    match net {
        IpNet::V4(n) => {
            n.prefix_len() < 12
                || matches!(
                    (n.addr().octets(), n.prefix_len()),
                    ([172, 16, 0, 0], 12) | ([192, 168, 0, 0], 16)
                )
        }
        IpNet::V6(n) => n.prefix_len() < 32,
    }
}

/// Whether the range is all addresses of its family.
pub(super) fn is_everything(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

/// The first of some addresses in a range and in none of its exceptions.
pub(super) fn first_inside(site: &CidrSite<'_>, addresses: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    addresses
        .range(site.net.network()..=site.net.broadcast())
        .copied()
        .find(|ip| site.net.contains(ip) && !is_excepted(site.rule, ip))
}

/// Whether an exception takes an address out.
pub(super) fn is_excepted(rule: Option<&CidrRule>, ip: &IpAddr) -> bool {
    rule.is_some_and(|r| r.except.iter().any(|e| e.value.contains(ip)))
}
