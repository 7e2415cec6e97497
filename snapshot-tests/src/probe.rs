//! What to ask: one question on each side of every boundary that the policies name.

use crate::side::Side;
use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{FlowPort, L4, PeerTerm, PortTerm, Ports};
use smol_str::SmolStr;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that no generated prefix but `0.0.0.0/0` contains: where names resolve to.
pub const RESOLVED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 7, 7));

/// Ports and ICMP types at and beside every boundary.
pub fn ports(sides: &[&Side]) -> Vec<FlowPort> {
    let mut numbers: BTreeSet<(L4, u16)> =
        L4::ALL.iter().flat_map(|l4| [(*l4, 0), (*l4, u16::MAX)]).collect();
    let mut icmp: BTreeSet<(bool, u8)> = [(false, 0), (false, 255), (true, 0), (true, 255)].into();
    let mut around = |l4: L4, n: u16| {
        numbers.extend([n.saturating_sub(1), n, n.saturating_add(1)].map(|n| (l4, n)));
    };
    for side in sides {
        for table in side.cluster.port_tables.iter() {
            for (_, l4, n) in table {
                around(*l4, *n);
            }
        }
        for rule in &side.policies.rules {
            let Ports::Of(terms) = &rule.ports else { continue };
            for t in terms.iter() {
                match t {
                    PortTerm::Range(l4, low, high) => {
                        around(*l4, *low);
                        around(*l4, *high);
                    }
                    PortTerm::Icmp(v6, Some(t)) => {
                        icmp.extend([t.saturating_sub(1), *t, t.saturating_add(1)].map(|t| (*v6, t)));
                    }
                    PortTerm::Named(..) | PortTerm::Icmp(_, None) | PortTerm::Protocol(_) => {}
                }
            }
        }
    }
    let mut all: Vec<FlowPort> = numbers.into_iter().map(|(l4, n)| FlowPort::L4(l4, n)).collect();
    all.extend(icmp.into_iter().map(|(v6, t)| FlowPort::Icmp(v6, t)));
    all.push(FlowPort::Protocol(47));
    all
}

/// The first and last address of every prefix, and their neighbours outside it.
pub fn addresses(sides: &[&Side]) -> BTreeSet<IpAddr> {
    let mut all: BTreeSet<IpAddr> = [RESOLVED, IpAddr::V6(Ipv6Addr::LOCALHOST)].into();
    for side in sides {
        for term in side.policies.peers.iter() {
            if let PeerTerm::Cidr { net, except } = term {
                for n in std::iter::once(net).chain(except) {
                    all.extend(
                        [Some(n.network()), Some(n.broadcast()), before(n), after(n)].into_iter().flatten(),
                    );
                }
            }
        }
    }
    all
}

fn before(net: &IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(a) => u32::from(a).checked_sub(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_sub(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

fn after(net: &IpNet) -> Option<IpAddr> {
    match net.broadcast() {
        IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| Ipv4Addr::from(n).into()),
        IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| Ipv6Addr::from(n).into()),
    }
}

/// Names that the DNS selectors may tell apart: those they name, and instances of their patterns
/// with one and with more labels for a star.
pub fn names(sides: &[&Side]) -> BTreeSet<SmolStr> {
    let mut all: BTreeSet<SmolStr> = ["elsewhere.test".into()].into();
    for side in sides {
        for term in side.policies.peers.iter() {
            match term {
                PeerTerm::Fqdn(Fqdn::Name(n)) => {
                    all.insert(n.clone());
                    all.insert(format!("sub.{n}").into());
                }
                PeerTerm::Fqdn(Fqdn::Pattern(p)) => {
                    let bare = p.replace("**", "*");
                    for word in ["", "x", "api", "a", "b", "x.b", "a.b", "x.y"] {
                        all.insert(bare.replace('*', word).into());
                    }
                }
                _ => {}
            }
        }
    }
    all.retain(|n| !n.is_empty() && !n.starts_with('.') && !n.contains(".."));
    all
}
