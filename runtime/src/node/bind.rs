//! Numbers, addresses and interfaces of the generation in use.

use super::seen::Seen;
use super::{Node, Present};
use crate::compile::{Candidate, entity};
use crate::kernel::{KernelError, address_bytes};
use crate::live::PodName;
use crate::quick::{Bound, Write};
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
        let bound = self.will_be_bound(c, seen, numbers);
        // Should something fail here, nobody knows what is bound.
        self.bound = None;
        self.bind_addresses(&bound.addresses())?;
        let mut present = BTreeMap::new();
        for (at, link) in &seen.found {
            let (Some(e), Some(number)) = (self.locals.get(*at), numbers.get(at)) else { continue };
            let own = e.addresses.iter().filter_map(|ip| c.claims.holder(*ip));
            let identity =
                own.filter(|c| c.at == Some(*at)).map(|c| c.identity).next().unwrap_or(NO_IDENTITY);
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
            let (link, addresses, given) = (link.clone(), e.addresses.clone(), e.given);
            present.insert(*at, Present { name, link, number: *number, identity, addresses, how, given });
        }
        let here: BTreeSet<u32> = seen.found.values().map(|l| l.index).collect();
        for index in self.kernel.endpoints()?.into_keys().filter(|i| !here.contains(i)) {
            let exists = seen.indices.contains(&index);
            // What may be a pod's keeps its programs, which drop where there is no policy for it. So does one whose
            // pod the API server has forgotten: its processes may not be at their end.
            let withdrawn = self.present.values().any(|p| p.link.index == index && p.given);
            if exists && (seen.unsure || self.config.kubernetes.is_some() && !withdrawn) {
                continue;
            }
            self.programs.detach(index, exists)?;
            self.kernel.remove_endpoint(index)?;
        }
        self.present = present;
        self.bound = Some(bound);
        Ok(())
    }

    /// What a candidate binds.
    pub(super) fn will_be_bound(&self, c: &Candidate, seen: &Seen, numbers: &BTreeMap<usize, u32>) -> Bound {
        let namespaces = self.maker.cluster().namespaces.clone();
        Bound::new(c, self.other_addresses(c, seen), numbers, namespaces)
    }

    /// Addresses of nodes, of this host and of entities.
    fn other_addresses(&self, c: &Candidate, seen: &Seen) -> BTreeMap<IpAddr, AddressValue> {
        let host = AddressValue { identity: Reserved::Host as u32, endpoint: 0 };
        let own = seen.host.iter().chain(&self.config.host_addresses);
        let named =
            |(ip, identity): (&IpAddr, &u32)| (*ip, AddressValue { identity: *identity, endpoint: 0 });
        let mut out: BTreeMap<IpAddr, AddressValue> = c.nodes.iter().map(named).collect();
        // This node's own addresses are the host's, whatever else they are.
        out.extend(own.map(|ip| (*ip, host)));
        for (name, list) in &self.config.entities {
            if let Some(identity) = entity(name) {
                out.extend(list.iter().map(|ip| (*ip, AddressValue { identity, endpoint: 0 })));
            }
        }
        out
    }

    /// Binds pods elsewhere that have changed, where that takes no compilation; whether it did.
    pub(super) fn bind_quickly(&mut self, pods: &BTreeSet<PodName>) -> Result<bool, KernelError> {
        let (Some(bound), Some(slot)) = (&mut self.bound, self.kernel.active()?) else { return Ok(false) };
        let node = &self.config.node;
        let Some(writes) = bound.follow(pods, &self.live, node, &self.maker, &mut self.registry) else {
            return Ok(false);
        };
        let mut learned = false;
        for write in writes {
            match write {
                Write::Identity { number, digest } => self.kernel.set_identity(number, digest)?,
                Write::Class { number, like, identity, name } => {
                    let class = self.kernel.class(slot, like)?;
                    self.kernel.set_class(slot, number, class)?;
                    if let Some(record) = &mut self.current {
                        record.twins.push((number, identity));
                        record.names.insert(number, name);
                        learned = true;
                    }
                }
                Write::Address(ip, Some(value)) => self.kernel.set_address(ip, value)?,
                Write::Address(ip, None) => drop(self.kernel.remove_address(ip)?),
            }
        }
        if learned && let Some(record) = &self.current {
            // Who compares the kernel with what was proved must know of them.
            self.records.keep_again(record).map_err(|e| KernelError::map("record", "written", e))?;
        }
        Ok(true)
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
