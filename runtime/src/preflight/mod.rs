//! Looks at a node before anything is attached to it: what the kernel offers, and who else works there.
//!
//! Nothing is changed, and no other program is asked: all comes from the kernel.

mod kernel;
mod kube_proxy;
mod netfilter;
mod others;

pub use kube_proxy::{Findings, kube_proxy, refusal, takeover};

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, but somebody should know.
    Note,
    /// Something will not work.
    Bad,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub about: &'static str,
    /// How it ended.
    pub level: Level,
    /// The consequence; for what is good, what was found.
    pub says: String,
    /// What was found.
    pub cause: Vec<String>,
    /// The way out; empty where none is needed.
    pub way_out: &'static str,
}

impl Check {
    fn good(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, level: Level::Good, says: says.into(), cause: Vec::new(), way_out: "" }
    }

    fn note(about: &'static str, says: &str, cause: Vec<String>, way_out: &'static str) -> Self {
        Self { about, level: Level::Note, says: says.to_owned(), cause, way_out }
    }

    fn bad(about: &'static str, says: &str, cause: Vec<String>, way_out: &'static str) -> Self {
        Self { about, level: Level::Bad, says: says.to_owned(), cause, way_out }
    }
}

/// The whole list. `cgroup` is where cgroup2 is mounted; found if not given.
pub fn look(cgroup: Option<&Path>) -> Vec<Check> {
    let mut out = kernel::checks();
    let (mounts, found) = kernel::mounts(cgroup);
    out.extend(mounts);
    out.extend(others::programs(found.as_deref()));
    out.extend(others::plugins());
    out.push(proxy());
    out
}

fn proxy() -> Check {
    let findings = kube_proxy();
    let about = "kube-proxy";
    if findings.clear() {
        return Check::good(about, "no trace of it in nft, iptables, ipvs or on its ports");
    }
    let mut cause = findings.found.clone();
    cause.extend(findings.unread.iter().map(|u| format!("could not be looked at: {u}")));
    Check::bad(
        about,
        "service translation will not start: two translations that do not know of each other break \
         connections",
        cause,
        "stop kube-proxy and remove its rules with `kube-proxy --cleanup`, or run with --takeover; policy alone \
         needs neither",
    )
}

/// For people.
pub fn text(list: &[Check]) -> String {
    let mut out = String::new();
    for check in list {
        let mark = match check.level {
            Level::Good => "ok  ",
            Level::Note => "note",
            Level::Bad => "bad ",
        };
        let _ = writeln!(out, "{mark}  {}: {}", check.about, check.says);
        for cause in &check.cause {
            let _ = writeln!(out, "        found: {cause}");
        }
        if !check.way_out.is_empty() {
            let _ = writeln!(out, "        way out: {}", check.way_out);
        }
    }
    out
}

/// For programs.
pub fn json(list: &[Check]) -> Value {
    let checks: Vec<Value> = list
        .iter()
        .map(|c| {
            let level = match c.level {
                Level::Good => "ok",
                Level::Note => "note",
                Level::Bad => "bad",
            };
            json!({"about": c.about, "level": level, "says": c.says, "found": c.cause, "wayOut": c.way_out})
        })
        .collect();
    json!({"code": code(list), "checks": checks})
}

/// The exit code: 0 where all is good, 1 where somebody should know something, 2 where something will not
/// work.
pub fn code(list: &[Check]) -> u8 {
    match list.iter().map(|c| c.level).max() {
        Some(Level::Bad) => 2,
        Some(Level::Note) => 1,
        _ => 0,
    }
}
