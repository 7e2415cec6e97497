//! What is there on the node: the interfaces of its pods, and the host's own addresses.

use super::Present;
use crate::config::Config;
use crate::links::{self, Link};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// One look at the node. Where there can be none, nothing may be changed: an interface that was not seen is
/// not one that is gone.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Interfaces of the configuration's endpoints, by their place in it.
    pub(super) found: BTreeMap<usize, Link>,
    /// Indices of every interface there is.
    pub(super) indices: BTreeSet<u32>,
    /// The host's own addresses.
    pub(super) host: BTreeSet<IpAddr>,
    /// An endpoint's namespace could not be looked into, so any interface may be its.
    pub(super) unsure: bool,
    /// Endpoints that are not there, in sentences.
    pub(super) problems: Vec<String>,
}

impl Seen {
    /// Looks.
    pub(super) fn look(config: &Config, before: &BTreeMap<usize, Present>) -> io::Result<Self> {
        let links = links::links()?;
        let mut out = Self {
            indices: links.values().map(|l| l.index).collect(),
            host: links::addresses()?,
            ..Self::default()
        };
        let by_index: BTreeMap<u32, &Link> = links.values().map(|l| (l.index, l)).collect();
        for (at, e) in config.endpoints.iter().enumerate() {
            let name = e.full_name();
            let found = match (&e.interface, &e.netns) {
                (Some(interface), _) => {
                    links.get(interface).ok_or_else(|| format!("there is no interface {interface}"))
                }
                (None, Some(netns)) => match links::host_side_of(netns, &e.netns_interface) {
                    Ok(index) => {
                        by_index.get(&index).copied().ok_or_else(|| "its other end is elsewhere".to_owned())
                    }
                    // Where it was, as long as that is there.
                    Err(why) => {
                        let known = before.values().find(|p| p.name == name).map(|p| p.link.index);
                        let known = known.and_then(|index| by_index.get(&index).copied());
                        out.unsure |= known.is_none() && why.kind() != io::ErrorKind::NotFound;
                        known.ok_or_else(|| format!("its namespace {netns}: {why}"))
                    }
                },
                (None, None) => Err("it has no interface".to_owned()),
            };
            match found {
                Ok(link) => {
                    out.found.insert(at, link.clone());
                }
                Err(why) => out.problems.push(format!("endpoint {name} is not attached: {why}")),
            }
        }
        Ok(out)
    }
}
