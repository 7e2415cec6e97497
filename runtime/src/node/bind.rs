//! Numbers, addresses and interfaces of the generation in use.

use super::seen::Seen;
use super::{Node, Present};
use crate::compile::{Candidate, entity};
use crate::kernel::{KernelError, address_bytes};
use ipnet::IpNet;
use portcullis_abi::maps::{AddressValue, EGRESS, EndpointValue, NO_IDENTITY};
use portcullis_ir::Reserved;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Node {
    /// Numbers of endpoints: those they have in the kernel, by interface, else the lowest free ones.
    pub(super) fn endpoint_numbers(&self, seen: &Seen) -> Result<BTreeMap<usize, u32>, KernelError> {
        let bound = self.kernel.endpoints()?;
        let mut used: BTreeSet<u32> = BTreeSet::new();
        let mut out = BTreeMap::new();
        for (at, link) in &seen.found {
            if let Some(value) = bound.get(&link.index)
                && used.insert(value.number)
            {
                out.insert(*at, value.number);
            }
        }
        // Numbers of interfaces that are gone are free once no program can see them: after this change.
        used.extend(bound.values().map(|v| v.number));
        let mut next = 0;
        for at in seen.found.keys() {
            if !out.contains_key(at) {
                while used.contains(&next) {
                    next += 1;
                }
                used.insert(next);
                out.insert(*at, next);
            }
        }
        Ok(out)
    }

    /// Prefixes of the candidate, and the pods' own, in which nobody is a stranger.
    pub(super) fn prefixes(&self, c: &Candidate) -> Vec<(IpNet, u32)> {
        let pods = &self.config.pod_cidrs;
        let mut out: Vec<(IpNet, u32)> =
            c.prefixes.iter().filter(|(net, _)| !pods.iter().any(|p| p.contains(net))).copied().collect();
        out.extend(pods.iter().map(|p| (p.trunc(), NO_IDENTITY)));
        out.sort();
        out.dedup();
        out
    }

    /// Binds addresses and interfaces to the generation in use, and frees those that are gone.
    pub(super) fn bind(
        &mut self,
        c: &Candidate,
        seen: &Seen,
        numbers: &BTreeMap<usize, u32>,
    ) -> Result<(), KernelError> {
        self.bind_addresses(&self.wanted_addresses(c, seen, numbers))?;
        let mut present = BTreeMap::new();
        for (at, link) in &seen.found {
            let (Some(e), Some(number)) = (self.config.endpoints.get(*at), numbers.get(at)) else { continue };
            let identity = e.addresses.iter().find_map(|ip| c.pods.get(ip)).map_or(NO_IDENTITY, |(i, _)| *i);
            // The programs know the interface before they see a packet of it.
            self.kernel.set_endpoint(link.index, EndpointValue { number: *number, identity })?;
            let name = e.full_name();
            let attached = self.present.values().find(|p| p.link == *link).map(|p| p.how);
            let how = match attached {
                Some(how) => how,
                None => match self.programs.attach(&link.name, link.index, link.ethernet) {
                    Ok(how) => how,
                    Err(e) => {
                        self.problems.push(format!("endpoint {name} is not attached: {e}"));
                        continue;
                    }
                },
            };
            let (link, addresses) = (link.clone(), e.addresses.clone());
            present.insert(*at, Present { name, link, number: *number, identity, addresses, how });
        }
        let here: BTreeSet<u32> = seen.found.values().map(|l| l.index).collect();
        for index in self.kernel.endpoints()?.into_keys().filter(|i| !here.contains(i)) {
            let exists = seen.indices.contains(&index);
            // What may be a pod's keeps its programs, which drop where there is no policy for it.
            if exists && seen.unsure {
                continue;
            }
            self.programs.detach(index, exists)?;
            self.kernel.remove_endpoint(index)?;
        }
        self.present = present;
        Ok(())
    }

    pub(super) fn wanted_addresses(
        &self,
        c: &Candidate,
        seen: &Seen,
        numbers: &BTreeMap<usize, u32>,
    ) -> BTreeMap<IpAddr, AddressValue> {
        let host = AddressValue { identity: Reserved::Host as u32, endpoint: 0 };
        let own = seen.host.iter().chain(&self.config.host_addresses);
        let mut out: BTreeMap<IpAddr, AddressValue> = own.map(|ip| (*ip, host)).collect();
        for (name, list) in &self.config.entities {
            if let Some(identity) = entity(name) {
                out.extend(list.iter().map(|ip| (*ip, AddressValue { identity, endpoint: 0 })));
            }
        }
        for (ip, (identity, at)) in &c.pods {
            let number = at.and_then(|at| numbers.get(&at)).map_or(0, |n| n + 1);
            out.insert(*ip, AddressValue { identity: *identity, endpoint: number });
        }
        out
    }

    fn bind_addresses(&mut self, wanted: &BTreeMap<IpAddr, AddressValue>) -> Result<(), KernelError> {
        let bound = self.kernel.addresses()?;
        // An address that was one pod's and is not any more takes no flows along to whoever has it next.
        let left: BTreeSet<[u8; 16]> = bound
            .iter()
            .filter(|(_, value)| value.endpoint != 0)
            .filter(|(ip, value)| wanted.get(ip).is_none_or(|w| w.endpoint != value.endpoint))
            .map(|(ip, _)| address_bytes(*ip))
            .collect();
        for ip in bound.keys().filter(|ip| !wanted.contains_key(ip)) {
            self.kernel.remove_address(*ip)?;
        }
        if !left.is_empty() {
            for (key, _) in self.kernel.flows()? {
                let own = if key.direction == EGRESS { key.source } else { key.destination };
                if left.contains(&own) {
                    self.kernel.remove_flow(&key)?;
                }
            }
        }
        for (ip, value) in wanted.iter().filter(|(ip, value)| bound.get(ip) != Some(value)) {
            match self.kernel.set_address(*ip, *value) {
                Ok(()) => {}
                Err(e) if e.is_full() => {
                    self.problems.push(format!("the map of addresses is full: {ip} and others are nobody's"));
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Frees the numbers that neither the generation in use nor an address needs.
    pub(super) fn free_numbers(&mut self, c: &Candidate) -> Result<(), KernelError> {
        let mut used: BTreeSet<u32> = c.numbers.identities.iter().copied().flatten().collect();
        used.extend(self.kernel.addresses()?.values().map(|v| v.identity));
        for number in self.registry.retain(&used) {
            self.kernel.remove_identity(number)?;
        }
        Ok(())
    }
}
