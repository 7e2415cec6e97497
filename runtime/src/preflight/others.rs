//! Who else has programs on the hooks, or rules of policy, on this node.

use super::{Check, netfilter};
use crate::kernel::{Program, sys};
use crate::links::links;
use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

/// Hooks of a cgroup, as numbers of `enum bpf_attach_type`.
const HOOKS: [(&str, u32); 10] = [
    ("connect4", 10),
    ("connect6", 11),
    ("post_bind4", 12),
    ("post_bind6", 13),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("getpeername4", 29),
    ("getpeername6", 30),
];

/// Names of the agent's own programs begin like this where they serve services.
const OWN: [&str; 1] = ["service_"];

/// Programs of others on the hooks of interfaces and of the root cgroup.
pub(super) fn programs(cgroup: Option<&Path>) -> Vec<Check> {
    let names: BTreeMap<u32, String> = loaded_programs()
        .filter_map(Result::ok)
        .map(|p| (p.id(), p.name_as_str().unwrap_or_default().to_owned()))
        .collect();
    let name = |id: u32| names.get(&id).cloned().unwrap_or_default();
    let mut found = Vec::new();
    let mut unread = Vec::new();
    match links() {
        Ok(all) => {
            for link in all.keys() {
                for (hook, kind) in [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)] {
                    // Where there is no TCX there is nothing to find.
                    let Ok((_, programs)) = SchedClassifier::query_tcx(link, kind) else { continue };
                    for p in programs {
                        let name = name(p.id());
                        if !is_own(&name) {
                            found.push(format!("{link} {hook}: {name} (number {})", p.id()));
                        }
                    }
                }
            }
        }
        Err(e) => unread.push(format!("interfaces: {e}")),
    }
    let mut out = vec![one(
        "programs on interfaces",
        "packets may not reach the policy programs, or reach them changed, where others run before them",
        found,
        unread,
    )];
    if let Some(path) = cgroup {
        let (found, unread) = on_cgroup(path, &name);
        out.push(one(
            "programs on the cgroup",
            "another load balancer may choose where connections go before this one is asked",
            found,
            unread,
        ));
    }
    out
}

fn on_cgroup(path: &Path, name: &dyn Fn(u32) -> String) -> (Vec<String>, Vec<String>) {
    let mut found = Vec::new();
    let group = match File::open(path) {
        Ok(group) => group,
        Err(e) => return (found, vec![format!("{}: {e}", path.display())]),
    };
    let mut unread = Vec::new();
    for (hook, number) in HOOKS {
        match sys::programs_at(&group, number) {
            Ok(ids) => {
                for id in ids {
                    let name = name(id);
                    if !is_own(&name) {
                        found.push(format!("{} {hook}: {name} (number {id})", path.display()));
                    }
                }
            }
            Err(e) => unread.push(format!("{hook}: {e}")),
        }
    }
    (found, unread)
}

fn is_own(name: &str) -> bool {
    // The kernel keeps fifteen bytes of a name.
    let own = |p: &Program| p.name().get(..15).unwrap_or(p.name()) == name || p.name() == name;
    Program::ALL.iter().any(own) || OWN.iter().any(|o| name.starts_with(o))
}

fn one(about: &'static str, says: &'static str, found: Vec<String>, unread: Vec<String>) -> Check {
    if found.is_empty() && unread.is_empty() {
        return Check::good(about, "none of others");
    }
    let mut cause = found;
    cause.extend(unread.into_iter().map(|u| format!("could not be looked at: {u}")));
    Check::note(about, says, cause, "remove them with the program that attached them, if it is not needed")
}

/// Rules, pins and devices of other plugins that enforce policy.
pub(super) fn plugins() -> Vec<Check> {
    let mut found = Vec::new();
    let mut unread = Vec::new();
    for place in ["/sys/fs/bpf", "/sys/fs/bpf/tc/globals"] {
        let Ok(entries) = fs::read_dir(place) else { continue };
        let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let theirs = |n: &&String| n.starts_with("cilium") || n.starts_with("cali_") || *n == "calico";
        if let Some(first) = names.iter().find(theirs) {
            let count = names.iter().filter(theirs).count();
            found.push(format!("{count} pins in {place}, {first} the first"));
        }
    }
    match links() {
        Ok(all) => {
            let theirs =
                |n: &&String| n.starts_with("cilium_") || n.starts_with("cali") || *n == "vxlan.calico";
            found.extend(all.keys().filter(theirs).map(|n| format!("the device {n}")));
        }
        Err(e) => unread.push(format!("interfaces: {e}")),
    }
    for all in [netfilter::nft(), netfilter::legacy()] {
        match all {
            Ok(chains) => {
                let mut tables: BTreeMap<String, usize> = BTreeMap::new();
                for chain in chains {
                    if ["cali-", "cali:", "CILIUM_", "KUBE-ROUTER-", "KUBE-NWPLCY-"]
                        .iter()
                        .any(|p| chain.name.starts_with(p))
                    {
                        let table = format!("{}: table {} {}", chain.by, chain.family, chain.table);
                        *tables.entry(table).or_default() += 1;
                    }
                }
                found.extend(tables.into_iter().map(|(table, n)| format!("{table}, {n} chains")));
            }
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)) => {}
            Err(e) => unread.push(format!("netfilter: {e}")),
        }
    }
    let about = "other network plugins";
    if found.is_empty() && unread.is_empty() {
        return vec![Check::good(about, "no trace of Cilium, Calico or kube-router")];
    }
    found.extend(unread.into_iter().map(|u| format!("could not be looked at: {u}")));
    vec![Check::note(
        about,
        "flows must pass two policies: what is allowed here may be dropped by the other one",
        found,
        "let one of them enforce policy, and remove what the other left",
    )]
}
