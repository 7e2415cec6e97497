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
pub(super) fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let word = one_line(word);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_are_quoted_when_they_must_be() {
        assert_eq!(shell("shop/app=web"), "shop/app=web");
        assert_eq!(shell("*.example.com"), "'*.example.com'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell(""), "''");
    }
}
