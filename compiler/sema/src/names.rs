//! DNS names: one name for each thing that FQDN selectors can tell apart.
//!
//! A `matchName` stands for itself. A pattern stands for names that it matches and that no policy
//! names in full: one for each depth that `**.` can tell from `*.`, and one for what it shares with
//! each other pattern, so that a pattern that narrows another shows what is lost. What three
//! patterns share and no two of them do is not looked for. Names are given an address that no CIDR
//! names, so a name's cell shows what the FQDN rules alone do.

use portcullis_ir::PeerTerm;
use portcullis_ir::fqdn::Fqdn;
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// One name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameClass {
    /// A name of the class.
    pub example: SmolStr,
    /// The narrowest selector that takes the class in, as written.
    pub stands_for: Fqdn,
    /// The selector takes in names of other classes too.
    pub partly: bool,
}

impl fmt::Display for NameClass {
    /// `*.example.com`, or `**.example.com (such as any.any.example.com)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.partly {
            write!(f, "{} (such as {})", self.stands_for, self.example)
        } else {
            write!(f, "{}", self.stands_for)
        }
    }
}

/// Patterns beyond which what pairs of them share is not looked for.
const PAIRED: usize = 64;

/// The classes of names that the terms tell apart, in order of their selectors.
pub fn classes<'a>(terms: impl IntoIterator<Item = &'a PeerTerm>) -> Vec<NameClass> {
    let selectors: BTreeSet<&Fqdn> = terms
        .into_iter()
        .filter_map(|t| match t {
            PeerTerm::Fqdn(f) => Some(f),
            _ => None,
        })
        .collect();
    let selectors: Vec<&Fqdn> = selectors.into_iter().collect();
    // One name for each distinct set of selectors that take it in.
    let mut by_signature: BTreeMap<Vec<usize>, SmolStr> = BTreeMap::new();
    for name in candidates(&selectors) {
        let signature: Vec<usize> =
            selectors.iter().enumerate().filter(|(_, s)| s.matches(&name)).map(|(i, _)| i).collect();
        if !signature.is_empty() {
            by_signature.entry(signature).or_insert(name);
        }
    }
    let mut narrowest: Vec<(usize, SmolStr)> = Vec::new();
    for (signature, example) in by_signature {
        // The selector with the most text that is fixed is the narrowest of those that match.
        let best = signature.iter().copied().min_by_key(|i| selectors.get(*i).map(|s| breadth(s)));
        if let Some(best) = best {
            narrowest.push((best, example));
        }
    }
    let taken_in = |s: &Fqdn| narrowest.iter().filter(|(_, example)| s.matches(example)).count();
    let mut all: Vec<NameClass> = narrowest
        .iter()
        .filter_map(|(best, example)| {
            let stands_for = (*selectors.get(*best)?).clone();
            let partly = taken_in(&stands_for) > 1;
            Some(NameClass { example: example.clone(), stands_for, partly })
        })
        .collect();
    all.sort_by(|a, b| (&a.stands_for, &a.example).cmp(&(&b.stands_for, &b.example)));
    all
}

/// The classes that are wanted, in words.
pub(crate) fn describe(all: &[&NameClass], wanted: impl Fn(&NameClass) -> bool) -> Vec<String> {
    all.iter().filter(|c| wanted(c)).map(ToString::to_string).collect()
}

/// ` except a, b`, or nothing; more than three are counted.
pub(crate) fn except(left_out: &BTreeSet<String>) -> String {
    match left_out.len() {
        0 => String::new(),
        1..=3 => format!(" except {}", left_out.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        n => format!(" except {n} names"),
    }
}

/// Lower is narrower: a name, then patterns by depth, by their stars, and by how little they fix.
fn breadth(f: &Fqdn) -> (u8, bool, usize, std::cmp::Reverse<usize>) {
    match f {
        Fqdn::Name(n) => (0, false, 0, std::cmp::Reverse(n.len())),
        Fqdn::Pattern(p) => {
            let stars = p.matches('*').count();
            (if p == "*" { 2 } else { 1 }, p.starts_with("**."), stars, std::cmp::Reverse(p.len()))
        }
    }
}

/// Names worth asking about, most telling first.
fn candidates(selectors: &[&Fqdn]) -> Vec<SmolStr> {
    let exact: BTreeSet<&str> =
        selectors.iter().filter(|f| matches!(f, Fqdn::Name(_))).map(|f| f.as_str()).collect();
    let mut out: Vec<SmolStr> = exact.iter().map(|n| SmolStr::from(*n)).collect();
    let mut globs: Vec<String> = Vec::new();
    for f in selectors {
        if let Fqdn::Pattern(p) = f {
            match p.strip_prefix("**.") {
                Some(rest) => globs.extend([format!("*.{rest}"), format!("*.*.{rest}")]),
                None if p == "*" => globs.push("*.example".to_owned()),
                None => globs.push(p.to_string()),
            }
        }
    }
    globs.sort();
    globs.dedup();
    out.extend(globs.iter().map(|g| instance(g, &exact)));
    if globs.len() <= PAIRED {
        for (i, a) in globs.iter().enumerate() {
            out.extend(globs.iter().skip(i + 1).filter_map(|b| shared(a, b)).map(SmolStr::from));
        }
    }
    out
}

/// A name that the glob matches and that is none of `taken`.
fn instance(glob: &str, taken: &BTreeSet<&str>) -> SmolStr {
    for n in 0..=taken.len() {
        let word = if n == 0 { "any".to_owned() } else { format!("any-{n}") };
        let name = glob.replace('*', &word);
        if !taken.contains(name.as_str()) {
            return name.into();
        }
    }
    glob.replace('*', "any").into()
}

/// A shortest name that two globs both match: a walk over pairs of places in them.
fn shared(a: &str, b: &str) -> Option<String> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let star = |p: &[u8], i: usize| p.get(i) == Some(&b'*');
    let mut seen: BTreeSet<(usize, usize)> = BTreeSet::from([(0, 0)]);
    let mut queue: VecDeque<(usize, usize, String)> = VecDeque::from([(0, 0, String::new())]);
    while let Some((i, j, name)) = queue.pop_front() {
        if i == a.len() && j == b.len() {
            return Some(name);
        }
        let mut step = |i: usize, j: usize, name: String| {
            if seen.insert((i, j)) {
                queue.push_back((i, j, name));
            }
        };
        // A star may stand for nothing, or for the other side's next character.
        if star(a, i) {
            step(i + 1, j, name.clone());
        }
        if star(b, j) {
            step(i, j + 1, name.clone());
        }
        match (a.get(i).copied(), b.get(j).copied()) {
            (Some(x), Some(y)) if x == y && x != b'*' => {
                step(i + 1, j + 1, format!("{name}{}", char::from(x)));
            }
            (Some(b'*'), Some(y)) if y != b'*' && y != b'.' => {
                step(i, j + 1, format!("{name}{}", char::from(y)))
            }
            (Some(x), Some(b'*')) if x != b'*' && x != b'.' => {
                step(i + 1, j, format!("{name}{}", char::from(x)))
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(patterns: &[&str]) -> Vec<NameClass> {
        let terms: Vec<PeerTerm> = patterns
            .iter()
            .map(|p| {
                PeerTerm::Fqdn(if p.contains('*') {
                    Fqdn::Pattern((*p).into())
                } else {
                    Fqdn::Name((*p).into())
                })
            })
            .collect();
        classes(&terms)
    }

    #[test]
    fn a_pattern_stands_for_a_name_nobody_names() {
        let all = of(&["*.example.com", "any.example.com"]);
        for c in &all {
            assert!(c.stands_for.matches(&c.example), "{c:?}");
        }
        assert!(all.iter().any(|c| c.example == "any-1.example.com"), "{all:?}");
    }

    #[test]
    fn a_deep_pattern_differs_from_a_shallow_one_in_a_name_of_its_own() {
        let all = of(&["*.example.com", "**.example.com"]);
        let deep = Fqdn::Pattern("**.example.com".into());
        let shallow = Fqdn::Pattern("*.example.com".into());
        assert!(all.iter().any(|c| deep.matches(&c.example) && !shallow.matches(&c.example)), "{all:?}");
        assert!(all.iter().any(|c| shallow.matches(&c.example)), "{all:?}");
    }

    #[test]
    fn patterns_that_overlap_share_a_name() {
        let all = of(&["api*.example.com", "*-eu.example.com"]);
        assert!(all.iter().any(|c| c.example == "api-eu.example.com"), "{all:?}");
        assert!(all.iter().any(|c| c.example == "apiany.example.com"), "{all:?}");
        assert!(all.iter().any(|c| c.example == "any-eu.example.com"), "{all:?}");
    }

    #[test]
    fn a_lone_star_takes_names_of_any_depth() {
        let all = of(&["*", "*.a.com"]);
        assert!(all.iter().any(|c| c.example.contains('.') && c.stands_for.as_str() == "*"), "{all:?}");
    }
}
