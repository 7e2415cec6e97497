//! Where the node's tables lead for the addresses of its pods: to a device by a route of its own, as with
//! Calico, Cilium, GKE and AWS; or to a bridge, and through its neighbours and their ports to a device.

use crate::links::{Link, LinkKind, dump_what_can_be_read};
use ipnet::IpNet;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, UdpSocket};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Devices by the one address that a route leads to.
    routes: BTreeMap<IpAddr, BTreeSet<u32>>,
    /// Prefixes that are on a link, and its device.
    on_link: Vec<(IpNet, u32)>,
    /// By address: the device that it is a neighbour at, and its hardware address.
    neighbours: BTreeMap<IpAddr, BTreeSet<(u32, Vec<u8>)>>,
    /// By bridge and hardware address: the bridge's port.
    ports: BTreeMap<(u32, Vec<u8>), u32>,
}

impl Paths {
    /// Looks at this network namespace.
    pub fn look() -> io::Result<Self> {
        let mut out = Self::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let added = dump_what_can_be_read(RouteNetlinkMessage::GetRoute(request), |m| {
                if let RouteNetlinkMessage::NewRoute(m) = m {
                    out.route(&m);
                }
            });
            // A kernel without IPv6 has no such table.
            if family == AddressFamily::Inet {
                added?;
            }
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
            let mut request = NeighbourMessage::default();
            request.header.family = family;
            let added = dump_what_can_be_read(RouteNetlinkMessage::GetNeighbour(request), |m| {
                if let RouteNetlinkMessage::NewNeighbour(m) = m {
                    out.neighbour(&m);
                }
            });
            if family == AddressFamily::Inet {
                added?;
            }
        }
        Ok(out)
    }

    fn route(&mut self, m: &RouteMessage) {
        if m.header.kind != RouteType::Unicast {
            return;
        }
        let (mut to, mut through, mut onwards) = (None, None, false);
        for a in &m.attributes {
            match a {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = Some(IpAddr::V4(*ip)),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => to = Some(IpAddr::V6(*ip)),
                RouteAttribute::Oif(index) => through = Some(*index),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::Encap(_) => {
                    onwards = true;
                }
                _ => {}
            }
        }
        let (Some(to), Some(through)) = (to, through) else { return };
        let bits = m.header.destination_prefix_length;
        if bits == if to.is_ipv4() { 32 } else { 128 } {
            self.routes.entry(to).or_default().insert(through);
        } else if let Ok(net) = IpNet::new(to, bits)
            && !onwards
        {
            self.on_link.push((net, through));
        }
    }

    fn neighbour(&mut self, m: &NeighbourMessage) {
        let (mut ip, mut hardware, mut bridge) = (None, None, None);
        for a in &m.attributes {
            match a {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => ip = Some(IpAddr::V4(*v4)),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => ip = Some(IpAddr::V6(*v6)),
                NeighbourAttribute::LinkLayerAddress(bytes) => hardware = Some(bytes.clone()),
                NeighbourAttribute::Controller(index) => bridge = Some(*index),
                _ => {}
            }
        }
        let at = m.header.ifindex;
        match (m.header.family, ip, hardware, bridge) {
            (AddressFamily::Bridge, _, Some(hardware), Some(bridge)) => {
                self.ports.insert((bridge, hardware), at);
            }
            (AddressFamily::Inet | AddressFamily::Inet6, Some(ip), Some(hardware), _)
                if !matches!(m.header.state, NeighbourState::Failed | NeighbourState::Incomplete) =>
            {
                self.neighbours.entry(ip).or_default().insert((at, hardware));
            }
            _ => {}
        }
    }

    /// The interface of a pod with these addresses, or why it is not known, as a clause.
    pub fn find<'l>(
        &self,
        addresses: &[IpAddr],
        links: &BTreeMap<u32, &'l Link>,
    ) -> Result<&'l Link, String> {
        let mut found: BTreeMap<u32, &'l Link> = BTreeMap::new();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for ip in addresses {
            let routed = self.routes.get(ip).into_iter().flatten().copied();
            let heard = self.neighbours.get(ip).into_iter().flatten();
            let bridged =
                heard.map(|(at, hardware)| self.ports.get(&(*at, hardware.clone())).copied().unwrap_or(*at));
            for link in routed.chain(bridged).filter_map(|index| links.get(&index).copied()) {
                match link.kind {
                    LinkKind::Pod => drop(found.insert(link.index, link)),
                    LinkKind::Bridge => {}
                    LinkKind::Other => drop(others.insert(&link.name)),
                }
            }
        }
        let mut all = found.into_values();
        match (all.next(), all.next()) {
            (Some(link), None) => Ok(link),
            (Some(a), Some(b)) => Err(format!("its addresses lead to {} and to {}", a.name, b.name)),
            (None, _) => Err(match others.first() {
                Some(name) => format!("its address leads to {name}, which is no pod's interface"),
                None => "no route and no neighbour of the node leads to it (yet)".to_owned(),
            }),
        }
    }

    /// Lets the node look for those of these addresses that are on the link of a bridge: a neighbour that nobody
    /// has spoken to is not known. One datagram to each, to the port that discards.
    pub fn ask(&self, addresses: &[IpAddr], links: &BTreeMap<u32, &Link>) {
        let bridge = |at: &u32| links.get(at).is_some_and(|l| l.kind == LinkKind::Bridge);
        for ip in addresses {
            if self.on_link.iter().any(|(net, at)| net.contains(ip) && bridge(at)) {
                let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let _ = UdpSocket::bind(any).and_then(|s| s.send_to(&[], (*ip, 9)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: LinkKind) -> Link {
        Link { index, name: name.to_owned(), peer: None, ethernet: true, kind }
    }

    fn find(paths: &Paths, ip: &str) -> Result<String, String> {
        let links = [
            link(2, "eth0", LinkKind::Other),
            link(3, "cali1", LinkKind::Pod),
            link(4, "cni0", LinkKind::Bridge),
            link(5, "veth1", LinkKind::Pod),
        ];
        let links: BTreeMap<u32, &Link> = links.iter().map(|l| (l.index, l)).collect();
        paths.find(&[ip.parse().unwrap()], &links).map(|l| l.name.clone())
    }

    #[test]
    fn a_route_leads_to_its_device_and_a_neighbour_to_its_bridges_port() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let mut paths = Paths::default();
        paths.routes.insert(ip("10.0.0.1"), BTreeSet::from([3]));
        paths.routes.insert(ip("10.0.0.4"), BTreeSet::from([2]));
        paths.routes.insert(ip("10.0.0.5"), BTreeSet::from([3, 5]));
        paths.neighbours.insert(ip("10.0.0.2"), BTreeSet::from([(4, vec![1; 6])]));
        paths.neighbours.insert(ip("10.0.0.3"), BTreeSet::from([(4, vec![2; 6])]));
        paths.neighbours.insert(ip("10.0.0.6"), BTreeSet::from([(3, vec![3; 6])]));
        paths.ports.insert((4, vec![1; 6]), 5);
        assert_eq!(find(&paths, "10.0.0.1"), Ok("cali1".into()));
        assert_eq!(find(&paths, "10.0.0.2"), Ok("veth1".into()));
        assert_eq!(find(&paths, "10.0.0.6"), Ok("cali1".into()));
        let why = |ip: &str| find(&paths, ip).unwrap_err();
        assert!(why("10.0.0.3").contains("no route and no neighbour"), "the port is not known yet");
        assert!(why("10.0.0.4").contains("eth0, which is no pod's"));
        assert!(why("10.0.0.5").contains("cali1 and to veth1"));
        assert!(why("10.9.9.9").contains("(yet)"));
    }
}
