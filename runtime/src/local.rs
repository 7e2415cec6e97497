//! The pods of this node: those of the configuration, and those that the API server has placed here.

use crate::config::Config;
use crate::live::{Live, PodName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How a pod's interface on the host's side is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its name.
    Interface(String),
    /// As the other end of one in a network namespace.
    Netns {
        /// The namespace, by name or path.
        netns: String,
        /// The interface in it.
        interface: String,
    },
    /// By its addresses: where the node's routes, neighbours and bridges lead.
    Addresses,
}

/// One pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its labels, for people.
    pub labels: Vec<(String, String)>,
    /// How its interface is found.
    pub place: Place,
    /// It is being stopped.
    pub terminating: bool,
    /// It stands in the configuration.
    pub given: bool,
}

impl Local {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What a CNI plugin has told of a pod that it has just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its interface on the host's side.
    pub interface: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The container, by the runtime's name of it: a pod that is made again under its name has another.
    pub container: String,
}

/// Pods of the configuration.
pub fn given(config: &Config) -> Vec<Local> {
    let one = |e: &crate::config::EndpointConfig| Local {
        namespace: e.namespace.clone(),
        name: e.name.clone(),
        addresses: e.addresses.clone(),
        labels: e.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        place: match (&e.interface, &e.netns) {
            (Some(interface), _) => Place::Interface(interface.clone()),
            (None, Some(netns)) => {
                Place::Netns { netns: netns.clone(), interface: e.netns_interface.clone() }
            }
            (None, None) => Place::Addresses,
        },
        terminating: false,
        given: true,
    };
    config.endpoints.iter().map(one).collect()
}

/// Every pod of this node: those of the configuration, then those of the API server, of which those that are
/// being stopped come last. One that has no address yet is none, unless a plugin has told of it.
pub fn locals(config: &Config, live: Option<&Live>, told: &BTreeMap<PodName, Told>) -> Vec<Local> {
    let mut out = given(config);
    let names: BTreeSet<PodName> = out.iter().map(|l| (l.namespace.clone(), l.name.clone())).collect();
    let mut found = Vec::new();
    for (name, pod) in live.into_iter().flat_map(Live::pods) {
        if pod.node != config.node || names.contains(name) {
            continue;
        }
        let told = told.get(name);
        let mut addresses = pod.addresses.clone();
        // A pod that was made again under its name has other addresses than the plugin told of before.
        let told = told
            .filter(|t| pod.addresses.is_empty() || t.addresses.iter().any(|ip| pod.addresses.contains(ip)));
        for ip in told.into_iter().flat_map(|t| &t.addresses) {
            if !addresses.contains(ip) {
                addresses.push(*ip);
            }
        }
        if addresses.is_empty() {
            continue;
        }
        found.push(Local {
            namespace: name.0.clone(),
            name: name.1.clone(),
            addresses,
            labels: pod.labels.clone(),
            place: told.map_or(Place::Addresses, |t| Place::Interface(t.interface.clone())),
            terminating: pod.terminating,
            given: false,
        });
    }
    found.sort_by_key(|l| l.terminating);
    out.extend(found);
    out
}
