//! Entries that are there and need one more peer, or one more port, to say what an addition says.
//!
//! Peers join an entry with the same ports, ports one with the same peers: either way what is let through is the
//! addition's peers on the addition's ports, and nothing more.

use crate::Task;
use crate::edit::{self, Target};
use crate::entry::Entry;
use crate::hosts::Host;
use crate::yaml::Yaml;
use portcullis_front::tree::Node;
use portcullis_ir::{Action, PortTerm, Ports, Rule};
use portcullis_sema::ports::PortSet;
use portcullis_sema::row::port_set;

/// Ports that Cilium takes in one list (SEM-2.5).
const MOST_PORTS: usize = 40;

/// The entries of one list that could grow.
pub(crate) struct Entries(Vec<Known>);

struct Known {
    /// Its place in the list.
    at: usize,
    item: Node,
    ports: PortSet,
    grown: Option<By>,
}

/// What an entry has grown by: it must not grow by the other, or old ports would meet new peers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Peers,
    Ports,
}

impl Entries {
    /// Those of a host's list, as its file was read.
    pub(crate) fn of(
        task: &Task<'_>,
        host: &Host<'_>,
        place: &Target,
        name: &str,
        text: &str,
        section: &str,
    ) -> Self {
        let mut out = Vec::new();
        let set = task.input.policies;
        for (at, item) in place.items(name, text, section).into_iter().enumerate() {
            let here = |r: &&Rule| {
                r.entry.file == host.rule.file
                    && (r.entry.start, r.entry.end) == (item.span.start, item.span.end)
            };
            let rules: Vec<&Rule> = set.rules.iter().filter(here).collect();
            // One list of ports, nothing asked beyond them, and no names, which stand for other numbers elsewhere.
            let [rule] = rules.as_slice() else { continue };
            let Ports::Of(terms) = &rule.ports else { continue };
            let plain = rule.l7.is_none() && rule.authentication.is_none() && rule.action == Action::Allow;
            let named = terms.iter().any(|t| matches!(t, PortTerm::Named(..)));
            if plain && !named && rule.direction == host.direction {
                out.push(Known { at, item, ports: port_set(&rule.ports, &[]), grown: None });
            }
        }
        Self(out)
    }

    /// The text with an entry that has grown, if there is one that can.
    pub(crate) fn grow(
        &mut self,
        name: &str,
        text: &str,
        place: &Target,
        section: &str,
        wanted: &Entry,
    ) -> Option<String> {
        let Yaml::Map(parts) = &wanted.yaml else { return None };
        let [(key, Yaml::Seq(peers)), (ports_key, Yaml::Seq(ports))] = parts.as_slice() else { return None };
        for Known { at, item, ports: has, grown } in &mut self.0 {
            let keys: Vec<&str> = item.as_map()?.iter().map(|e| e.key.as_str()).collect();
            if keys.len() != 2 || !keys.contains(&key.as_str()) || !keys.contains(&ports_key.as_str()) {
                continue;
            }
            let known = item.get(key).and_then(Node::as_seq).unwrap_or_default();
            if known.is_empty() {
                continue;
            }
            let target = || place.item(name, text, section, *at);
            if *has == wanted.ports && *grown != Some(By::Ports) {
                let new: Vec<Yaml> =
                    peers.iter().filter(|p| !known.iter().any(|n| p.is(n))).cloned().collect();
                if let Some(done) = target().and_then(|t| edit::add(name, text, &t, key, &new)) {
                    *grown = Some(By::Peers);
                    return Some(done);
                }
            }
            let same = known.len() == peers.len() && peers.iter().all(|p| known.iter().any(|n| p.is(n)));
            if !same || *grown == Some(By::Peers) {
                continue;
            }
            let done = match (ports_key.as_str(), ports.as_slice()) {
                ("ports", list) => target().and_then(|t| edit::add(name, text, &t, "ports", list)),
                ("toPorts", [Yaml::Map(one)]) => {
                    let [(_, Yaml::Seq(list))] = one.as_slice() else { continue };
                    let lists = item.get(ports_key).and_then(Node::as_seq).unwrap_or_default();
                    let [only] = lists else { continue };
                    let plain = only.as_map().is_some_and(|m| m.len() == 1);
                    let room = only
                        .get("ports")
                        .and_then(Node::as_seq)
                        .is_some_and(|l| l.len() + list.len() <= MOST_PORTS);
                    let list_at =
                        target().and_then(|t| t.item(name, text, ports_key, 0)).filter(|_| plain && room);
                    list_at.and_then(|t| edit::add(name, text, &t, "ports", list))
                }
                _ => None,
            };
            if done.is_some() {
                *grown = Some(By::Ports);
                return done;
            }
        }
        None
    }
}
