//! DNS names: one name for each thing that FQDN selectors can tell apart.
//!
//! A `matchName` stands for itself. A pattern stands for a name that it matches and that no policy
//! names in full. Names are given an address that no CIDR names, so a name's cell shows what the
//! FQDN rules alone do.

use portcullis_ir::PeerTerm;
use portcullis_ir::fqdn::Fqdn;
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};

/// One name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameClass {
    /// A name of the class.
    pub example: SmolStr,
    /// The selector it stands for.
    pub stands_for: Fqdn,
}

/// The classes of names that the terms tell apart, in order of their selectors.
pub fn classes<'a>(terms: impl IntoIterator<Item = &'a PeerTerm>) -> Vec<NameClass> {
    let selectors: BTreeSet<&Fqdn> = terms
        .into_iter()
        .filter_map(|t| match t {
            PeerTerm::Fqdn(f) => Some(f),
            _ => None,
        })
        .collect();
    let exact: BTreeSet<&str> =
        selectors.iter().filter(|f| matches!(f, Fqdn::Name(_))).map(|f| f.as_str()).collect();
    let mut by_example: BTreeMap<SmolStr, Fqdn> = BTreeMap::new();
    for f in &selectors {
        let example: SmolStr = match f {
            Fqdn::Name(n) => n.clone(),
            Fqdn::Pattern(p) => instance(p, &exact),
        };
        by_example.entry(example).or_insert_with(|| (*f).clone());
    }
    let mut all: Vec<NameClass> =
        by_example.into_iter().map(|(example, stands_for)| NameClass { example, stands_for }).collect();
    all.sort_by(|a, b| a.stands_for.cmp(&b.stands_for));
    all
}

/// A name that the pattern matches and that is none of `taken`.
fn instance(pattern: &str, taken: &BTreeSet<&str>) -> SmolStr {
    for n in 0..=taken.len() {
        let word = if n == 0 { "any".to_owned() } else { format!("any-{n}") };
        let name = match pattern.strip_prefix("**.") {
            Some(rest) => format!("{word}.{}", rest.replace('*', &word)),
            None if pattern == "*" => format!("{word}.example"),
            None => pattern.replace('*', &word),
        };
        if !taken.contains(name.as_str()) {
            return name.into();
        }
    }
    pattern.replace('*', "any").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_a_name_nobody_names() {
        let terms = [
            PeerTerm::Fqdn(Fqdn::Pattern("*.example.com".into())),
            PeerTerm::Fqdn(Fqdn::Name("any.example.com".into())),
            PeerTerm::Fqdn(Fqdn::Pattern("**.example.com".into())),
        ];
        let all = classes(&terms);
        for c in &all {
            assert!(c.stands_for.matches(&c.example), "{c:?}");
        }
        assert!(all.iter().any(|c| c.example == "any-1.example.com"));
    }
}
