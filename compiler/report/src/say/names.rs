//! Names of objects, workloads and groups, and words for a shell.

use crate::words::{cut, one_line};
use portcullis_diag::ObjectRef;
use portcullis_ir::Workload;
use portcullis_sema::describe::PeerGroup;

/// A group in a few words, never empty.
pub(crate) fn group(g: &PeerGroup) -> String {
    let text = one_line(&g.summary);
    if !text.is_empty() {
        return text;
    }
    let names = names(g);
    if names.is_empty() { "nothing".to_owned() } else { cut(&names, 3) }
}

/// Every member of a group by name.
pub(crate) fn names(g: &PeerGroup) -> Vec<String> {
    g.workloads.iter().map(|(w, _)| workload(w)).chain(g.others.iter().map(|o| one_line(o))).collect()
}

/// Members that the group's summary neither names nor, but for `all`, takes in as every workload of
/// the cluster or of a namespace.
pub(crate) fn unnamed(g: &PeerGroup, all: bool) -> Vec<String> {
    let summary = group(g);
    let whole = summary.starts_with("every workload in ") && !all;
    let workloads = g.workloads.iter().filter(|_| !whole).map(|(w, _)| workload(w));
    workloads.chain(g.others.iter().map(|o| one_line(o))).filter(|n| !is_named(&summary, n)).collect()
}

/// Whether a name stands in a text as a whole.
fn is_named(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or("");
        let after = text.get(at + name.len()..).unwrap_or("");
        (before.is_empty() || before.ends_with(' ')) && (after.is_empty() || after.starts_with([',', ' ']))
    })
}

/// `shop/web`.
pub(crate) fn workload(w: &Workload) -> String {
    one_line(&format!("{}/{}", w.namespace, w.name))
}

/// `CiliumNetworkPolicy shop/web`, or something that can be read where the name is missing.
pub(crate) fn object(o: &ObjectRef) -> String {
    let name = if o.name.is_empty() { "(no name)" } else { o.name.as_str() };
    one_line(&match &o.namespace {
        Some(ns) => format!("{} {ns}/{name}", o.kind),
        None => format!("{} {name}", o.kind),
    })
}

/// Distinct policies of rules, in the order they come.
pub(super) fn policies<'c>(objects: impl Iterator<Item = &'c ObjectRef>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for o in objects {
        let name = object(o);
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// A file's name without the revision it was read from: what a code host knows it by.
pub(crate) fn path<'n>(name: &'n str, revisions: &[&str]) -> &'n str {
    let under = |rev: &&str| (!rev.is_empty()).then(|| name.strip_prefix(rev)?.strip_prefix(':')).flatten();
    revisions.iter().find_map(under).unwrap_or(name)
}

/// A word for a POSIX shell.
pub(crate) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+~".contains(c);
    let word = one_line(word);
    // A shell puts a home folder for a tilde that begins something.
    let home = word.starts_with('~') || word.contains("=~") || word.contains(":~");
    if !word.is_empty() && !home && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_listed_where_the_summary_leaves_them_open() {
        let workload = |name: &str| Workload { namespace: "a".into(), name: name.into(), kind: "Pod".into() };
        let of = |summary: &str, others: &[&str]| PeerGroup {
            workloads: vec![(workload("b"), 1), (workload("b-2"), 1)],
            others: others.iter().map(|o| (*o).to_owned()).collect(),
            summary: summary.to_owned(),
            pods: 2,
        };
        assert_eq!(unnamed(&of("a/b-2 and host", &["host"]), false), ["a/b"]);
        assert_eq!(unnamed(&of("every workload in namespace a (2), host", &["host"]), false), [""; 0]);
        assert_eq!(unnamed(&of("every workload in namespace a (2)", &[]), true), ["a/b", "a/b-2"]);
        let many = of("every workload in the cluster (2) and 7 entities and address ranges", &["host"]);
        assert_eq!(unnamed(&many, false), ["host"]);
    }

    #[test]
    fn words_for_a_shell_are_quoted_when_they_must_be() {
        assert_eq!(shell("shop/app=web"), "shop/app=web");
        assert_eq!(shell("*.example.com"), "'*.example.com'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("--at=HEAD~1"), "--at=HEAD~1");
        assert_eq!(shell("~/x"), "'~/x'");
    }
}
