//! What is there on the node: the interfaces of its pods, and the host's own addresses.

use super::Present;
use crate::links::{self, Link};
use crate::local::{Local, Place};
use crate::paths::Paths;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// One look at the node. Where there can be none, nothing may be changed: an interface that was not seen is
/// not one that is gone.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Interfaces of this node's pods, by their place among them.
    pub(super) found: BTreeMap<usize, Link>,
    /// Indices of every interface there is.
    pub(super) indices: BTreeSet<u32>,
    /// And their names.
    pub(super) names: BTreeSet<String>,
    /// The host's own addresses.
    pub(super) host: BTreeSet<IpAddr>,
    /// An endpoint's namespace could not be looked into, so any interface may be its.
    pub(super) unsure: bool,
    /// Pods that are not there, in sentences.
    pub(super) problems: Vec<String>,
    /// Some pod of the API server is among them: it is looked for again.
    pub(super) missing: bool,
}

impl Seen {
    /// Looks.
    pub(super) fn look(locals: &[Local], before: &BTreeMap<usize, Present>) -> io::Result<Self> {
        let links = links::links()?;
        let mut out = Self {
            indices: links.values().map(|l| l.index).collect(),
            names: links.keys().cloned().collect(),
            host: links::addresses()?,
            ..Self::default()
        };
        let by_index: BTreeMap<u32, &Link> = links.values().map(|l| (l.index, l)).collect();
        let paths = if locals.iter().any(|l| l.place == Place::Addresses) {
            Paths::look()
        } else {
            Ok(Paths::default())
        };
        let mut taken: BTreeMap<u32, String> = BTreeMap::new();
        for (at, local) in locals.iter().enumerate() {
            let name = local.full_name();
            let was = before.values().find(|p| p.name == name);
            let found = match &local.place {
                Place::Interface(interface) => {
                    links.get(interface).ok_or_else(|| format!("there is no interface {interface}"))
                }
                Place::Netns { netns, interface } => match links::host_side_of(netns, interface) {
                    Ok(index) => {
                        by_index.get(&index).copied().ok_or_else(|| "its other end is elsewhere".to_owned())
                    }
                    // Where it was, as long as that is there.
                    Err(why) => {
                        let known = was.and_then(|p| by_index.get(&p.link.index).copied());
                        out.unsure |= known.is_none() && why.kind() != io::ErrorKind::NotFound;
                        known.ok_or_else(|| format!("its namespace {netns}: {why}"))
                    }
                },
                Place::Addresses => {
                    let found = match &paths {
                        Ok(paths) => paths.find(&local.addresses, &by_index),
                        Err(why) => Err(format!("the node's routes could not be listed: {why}")),
                    };
                    // Neighbours are forgotten. Where it was, as long as it has its addresses and that is there.
                    found.or_else(|why| {
                        let was = was.filter(|p| p.addresses == local.addresses);
                        let known = was.and_then(|p| by_index.get(&p.link.index).copied());
                        known.filter(|l| was.is_some_and(|p| p.link == **l)).ok_or_else(|| {
                            if let Ok(paths) = &paths {
                                paths.ask(&local.addresses, &by_index);
                            }
                            why
                        })
                    })
                }
            };
            let found = found.and_then(|link| match taken.get(&link.index) {
                Some(other) => Err(format!("{} is the interface of {other}", link.name)),
                None => Ok(link),
            });
            match found {
                Ok(link) => {
                    taken.insert(link.index, name);
                    out.found.insert(at, link.clone());
                }
                Err(why) if local.given => {
                    out.problems.push(format!("endpoint {name} is not attached: {why}"));
                }
                // It is going, and its interface has gone before it.
                Err(_) if local.terminating => {}
                Err(why) => {
                    out.missing = true;
                    out.problems.push(format!(
                        "no policy is enforced for pod {name}: its interface was not found: {why}; it is looked for again"
                    ));
                }
            }
        }
        Ok(out)
    }
}
