//! Numbers of services and backends that outlive generations.
//!
//! What is there again keeps its number. New numbers are fresh ones as long as they stay below four times those in
//! use (and below [`FRESH`]); then the one that has been free for longest comes again.

use crate::resolve::Address;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

/// So many numbers are handed out before one comes again, however few are in use.
pub const FRESH: u32 = 4096;

/// Numbers of one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool<K> {
    used: BTreeMap<K, u32>,
    /// Longest free first.
    free: VecDeque<u32>,
    next: u32,
}

impl<K> Default for Pool<K> {
    fn default() -> Self {
        Self { used: BTreeMap::new(), free: VecDeque::new(), next: 1 }
    }
}

impl<K: Ord + Clone> Pool<K> {
    /// Numbers for exactly these, and those that are gone.
    fn assign(&mut self, wanted: &BTreeSet<K>) -> Vec<(K, u32)> {
        let gone: Vec<(K, u32)> =
            self.used.iter().filter(|(k, _)| !wanted.contains(*k)).map(|(k, n)| (k.clone(), *n)).collect();
        let live = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let limit = FRESH.max(live.saturating_mul(4));
        for key in wanted {
            if self.used.contains_key(key) {
                continue;
            }
            let recycled = if self.next > limit { self.free.pop_front() } else { None };
            let number = recycled.unwrap_or(self.next);
            if recycled.is_none() {
                self.next = self.next.saturating_add(1);
            }
            self.used.insert(key.clone(), number);
        }
        for (key, number) in &gone {
            self.used.remove(key);
            self.free.push_back(*number);
        }
        gone
    }
}

/// Which number stands for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    services: Pool<String>,
    backends: Pool<Address>,
}

impl Numbers {
    /// Numbers for exactly these; returns the backends that are gone, with the numbers they had.
    pub(crate) fn assign(
        &mut self,
        services: &BTreeSet<String>,
        backends: &BTreeSet<Address>,
    ) -> Vec<(Address, u32)> {
        self.services.assign(services);
        self.backends.assign(backends)
    }

    /// The number of a service's port, as [`crate::table::service_name`] writes it.
    pub fn service(&self, name: &str) -> Option<u32> {
        self.services.used.get(name).copied()
    }

    /// The service's port that has a number.
    pub fn service_of(&self, number: u32) -> Option<&str> {
        self.services.used.iter().find(|(_, n)| **n == number).map(|(k, _)| k.as_str())
    }

    /// The number of a backend.
    pub fn backend(&self, address: Address) -> Option<u32> {
        self.backends.used.get(&address).copied()
    }

    /// The backend that has a number.
    pub fn backend_of(&self, number: u32) -> Option<Address> {
        self.backends.used.iter().find(|(_, n)| **n == number).map(|(k, _)| *k)
    }

    /// Numbers as lines of text, to be kept between runs.
    pub fn to_text(&self) -> String {
        let mut out = format!("next {} {}\n", self.services.next, self.backends.next);
        for (name, n) in &self.services.used {
            let _ = writeln!(out, "service {n} {name}");
        }
        for ((ip, port, protocol), n) in &self.backends.used {
            let _ = writeln!(out, "backend {n} {ip} {port} {protocol}");
        }
        for n in &self.services.free {
            let _ = writeln!(out, "free-service {n}");
        }
        for n in &self.backends.free {
            let _ = writeln!(out, "free-backend {n}");
        }
        out
    }

    /// Numbers from the lines of [`Self::to_text`]; `None` if they are no such lines, or say one number twice.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut out = Self::default();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["next", services, backends] => {
                    out.services.next = services.parse().ok()?;
                    out.backends.next = backends.parse().ok()?;
                }
                ["service", n, name] => {
                    let n = n.parse().ok()?;
                    if !seen.insert((true, n)) || out.services.used.insert((*name).to_owned(), n).is_some() {
                        return None;
                    }
                }
                ["backend", n, ip, port, protocol] => {
                    let n = n.parse().ok()?;
                    let address = (ip.parse().ok()?, port.parse().ok()?, protocol.parse().ok()?);
                    if !seen.insert((false, n)) || out.backends.used.insert(address, n).is_some() {
                        return None;
                    }
                }
                ["free-service", n] => {
                    let n = n.parse().ok()?;
                    seen.insert((true, n)).then(|| out.services.free.push_back(n))?;
                }
                ["free-backend", n] => {
                    let n = n.parse().ok()?;
                    seen.insert((false, n)).then(|| out.backends.free.push_back(n))?;
                }
                _ => return None,
            }
        }
        let below = |of_services: bool, next: u32| {
            seen.iter().filter(|(s, _)| *s == of_services).all(|(_, n)| (1..next).contains(n))
        };
        (below(true, out.services.next) && below(false, out.backends.next)).then_some(out)
    }
}
