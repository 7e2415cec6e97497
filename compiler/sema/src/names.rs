//! DNS names: one name for each set of FQDN selectors that some name can meet together.
//!
//! Every name is in exactly one class, that of the selectors that match it, so one name stands for
//! all of its class. The classes are found by walking all selectors at once, letter by letter, as
//! one automaton: a pattern that narrows another shows what is lost, however many patterns overlap.
//! Names are given an address that no CIDR names, so a name's cell shows what the FQDN rules alone do.

use portcullis_ir::PeerTerm;
use portcullis_ir::fqdn::Fqdn;
use smol_str::SmolStr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Joint states that are walked; more than any sensible set of selectors has.
const STATES: usize = 20_000;
/// Exceptions that are named one by one.
const NAMED: usize = 3;

/// Names that the same selectors match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameClass {
    /// A name of the class, the shortest there is.
    pub example: SmolStr,
    /// The narrowest selector that matches it.
    pub stands_for: Fqdn,
    /// Every selector that matches it, sorted.
    pub selectors: Vec<Fqdn>,
}

/// The classes of names that the terms tell apart, names that no selector matches left out, in order
/// of their selectors.
pub fn classes<'a>(terms: impl IntoIterator<Item = &'a PeerTerm>) -> Vec<NameClass> {
    let all: BTreeSet<&Fqdn> = terms
        .into_iter()
        .filter_map(|t| match t {
            PeerTerm::Fqdn(f) => Some(f),
            _ => None,
        })
        .collect();
    let all: Vec<&Fqdn> = all.into_iter().collect();
    let mut by_selectors: BTreeMap<Vec<&Fqdn>, SmolStr> = BTreeMap::new();
    let mut met: BTreeSet<&Fqdn> = BTreeSet::new();
    for (name, ids) in walk(&all) {
        let matching: Vec<&Fqdn> = ids.iter().filter_map(|id| all.get(*id as usize).copied()).collect();
        met.extend(&matching);
        by_selectors.entry(matching).or_insert(name);
    }
    // Beyond the limit of the walk, at least what each selector names is there.
    for f in all.iter().filter(|f| !met.contains(*f)) {
        let name: SmolStr = match f {
            Fqdn::Name(n) => n.clone(),
            Fqdn::Pattern(p) => p.replace("**", "*").replace('*', "any").into(),
        };
        let matching: Vec<&Fqdn> = all.iter().copied().filter(|f| f.matches(&name)).collect();
        if !matching.is_empty() {
            by_selectors.entry(matching).or_insert(name);
        }
    }
    let mut classes_of: BTreeMap<&Fqdn, usize> = BTreeMap::new();
    for f in by_selectors.keys().flatten() {
        *classes_of.entry(f).or_insert(0) += 1;
    }
    by_selectors
        .iter()
        .filter_map(|(matching, example)| {
            let narrowest = matching.iter().min_by_key(|f| (classes_of.get(*f), **f))?;
            Some(NameClass {
                example: example.clone(),
                stands_for: (*narrowest).clone(),
                selectors: matching.iter().map(|f| (*f).clone()).collect(),
            })
        })
        .collect()
}

/// The wanted ones of all classes in words: whole selectors where all their names are wanted,
/// otherwise a selector and what is left out of it.
pub(crate) fn describe(all: &[&NameClass], wanted: impl Fn(&NameClass) -> bool) -> Vec<String> {
    let mut inside: BTreeMap<&Fqdn, Vec<&NameClass>> = BTreeMap::new();
    for class in all {
        for f in &class.selectors {
            inside.entry(f).or_default().push(class);
        }
    }
    let mut widest: Vec<(&Fqdn, &Vec<&NameClass>)> = inside.iter().map(|(f, c)| (*f, c)).collect();
    widest.sort_by_key(|(f, c)| (Reverse(c.len()), *f));
    let mut covered: BTreeSet<&NameClass> = BTreeSet::new();
    let mut out = Vec::new();
    for (f, classes) in widest {
        if classes.iter().all(|c| wanted(c)) && classes.iter().any(|c| !covered.contains(*c)) {
            covered.extend(classes);
            out.push(f.to_string());
        }
    }
    for class in all.iter().filter(|c| wanted(c) && !covered.contains(**c)) {
        // Siblings that are not wanted meet a selector that this class does not meet, and that can be
        // left out; or this class meets one that they do not, and that can be asked for besides.
        let siblings = inside.get(&class.stands_for).map_or(&[][..], Vec::as_slice);
        let (mut besides, mut left_out) = (BTreeSet::new(), BTreeSet::new());
        for sibling in siblings.iter().filter(|c| !wanted(c)) {
            let other = sibling.selectors.iter().find(|f| !class.selectors.contains(f));
            if let Some(f) = other {
                left_out.insert(f.to_string());
            } else if let Some(f) = class.selectors.iter().find(|f| !sibling.selectors.contains(f)) {
                besides.insert(f.to_string());
            }
        }
        let mut text = class.stands_for.to_string();
        for f in besides {
            text = format!("{text} matching {f}");
        }
        out.push(except(&text, &few(left_out.into_iter().collect(), "names")));
    }
    out.sort();
    out.dedup();
    out
}

/// Texts as they are, or how many where they are many.
pub(crate) fn few(all: Vec<String>, what: &str) -> Vec<String> {
    if all.len() > NAMED { vec![format!("{} {what}", all.len())] } else { all }
}

/// `10.0.0.0/8 except 10.1.0.0/16`.
pub(crate) fn except(base: &str, left_out: &[String]) -> String {
    if left_out.is_empty() { base.to_owned() } else { format!("{base} except {}", left_out.join(", ")) }
}

/// One step of a selector.
#[derive(Clone, Copy, Debug)]
enum Token {
    /// This byte.
    Byte(u8),
    /// Any run of bytes that stay inside a label.
    Star,
    /// Whole labels, at least one, with the dot behind them.
    Labels,
    /// Anything at all.
    Anything,
}

fn tokens(f: &Fqdn) -> Vec<Token> {
    let text = match f {
        Fqdn::Name(n) => return n.bytes().map(Token::Byte).collect(),
        Fqdn::Pattern(p) if p == "*" => return vec![Token::Anything],
        Fqdn::Pattern(p) => p.as_str(),
    };
    let rest = text.strip_prefix("**.");
    let labels = rest.map(|_| Token::Labels).into_iter();
    let bytes = rest.unwrap_or(text).bytes();
    labels.chain(bytes.map(|b| if b == b'*' { Token::Star } else { Token::Byte(b) })).collect()
}

/// Selectors that still match what was read, and how far each has come. Sorted.
type Joint = Vec<(u32, u16)>;

/// A name and the indexes of the selectors that match it, for each state of all selectors together in
/// which one does; shortest names first.
fn walk(all: &[&Fqdn]) -> Vec<(SmolStr, Vec<u32>)> {
    let programs: Vec<Vec<Token>> = all.iter().map(|f| tokens(f)).collect();
    let letters = alphabet(&programs);
    let mut start = Joint::new();
    for at in (0u32..).take(programs.len()) {
        reach(&programs, at, 0, &mut start);
    }
    start.sort_unstable();
    let mut seen: BTreeSet<(bool, Joint)> = BTreeSet::new();
    let mut queue: VecDeque<(Vec<u8>, bool, Joint)> = VecDeque::from([(Vec::new(), true, start)]);
    let mut out = Vec::new();
    while let Some((name, fresh, state)) = queue.pop_front() {
        for letter in &letters {
            let dot = *letter == b'.';
            if (dot && fresh) || name.len() >= 253 {
                continue; // no label is empty
            }
            let mut next = Joint::new();
            for (at, position) in &state {
                step(&programs, *at, *position, *letter, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            if next.is_empty() || seen.len() >= STATES || !seen.insert((dot, next.clone())) {
                continue;
            }
            let mut longer = name.clone();
            longer.push(*letter);
            let done = |(at, position): &(u32, u16)| {
                programs
                    .get(*at as usize)
                    .is_some_and(|p| usize::from(*position) == 2 * p.len())
                    .then_some(*at)
            };
            let matching: Vec<u32> = next.iter().filter_map(done).collect();
            if !dot
                && !matching.is_empty()
                && let Ok(text) = std::str::from_utf8(&longer)
            {
                out.push((text.into(), matching));
            }
            queue.push_back((longer, dot, next));
        }
    }
    out
}

/// Every letter that a selector names, and one that none does and that stands for all others: it
/// comes first, so that examples have it.
fn alphabet(programs: &[Vec<Token>]) -> Vec<u8> {
    let mut named: BTreeSet<u8> = programs
        .iter()
        .flatten()
        .filter_map(|t| match t {
            Token::Byte(b) => Some(*b),
            _ => None,
        })
        .collect();
    named.remove(&b'.');
    let other = b"xyzwvqkjhgfbabcdeilmnoprstu0123456789".iter().find(|b| !named.contains(*b));
    other.copied().into_iter().chain(named.iter().copied()).chain([b'.']).collect()
}

/// Adds a position and those that are reached from it without reading.
fn reach(programs: &[Vec<Token>], at: u32, position: u16, out: &mut Joint) {
    let mut position = position;
    loop {
        out.push((at, position));
        match programs.get(at as usize).and_then(|p| p.get(usize::from(position / 2))) {
            Some(Token::Star | Token::Anything) => position += 2,
            _ => return,
        }
    }
}

/// Reads one letter. A position is twice the token's index, and one more inside a label of `**.`.
fn step(programs: &[Vec<Token>], at: u32, position: u16, letter: u8, out: &mut Joint) {
    match programs.get(at as usize).and_then(|p| p.get(usize::from(position / 2))) {
        Some(Token::Byte(b)) if *b == letter => reach(programs, at, position + 2, out),
        Some(Token::Star) if letter != b'.' => reach(programs, at, position, out),
        Some(Token::Anything) => reach(programs, at, position, out),
        Some(Token::Labels) if letter != b'.' => out.push((at, position | 1)),
        Some(Token::Labels) if position & 1 == 1 => {
            out.push((at, position - 1));
            reach(programs, at, position + 1, out);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<NameClass> {
        let terms: Vec<PeerTerm> = texts
            .iter()
            .map(|t| {
                let f = if t.contains('*') { Fqdn::Pattern((*t).into()) } else { Fqdn::Name((*t).into()) };
                PeerTerm::Fqdn(f)
            })
            .collect();
        classes(&terms)
    }

    /// The classes of these names in words.
    fn words(all: &[NameClass], names: &[&str]) -> Vec<String> {
        let refs: Vec<&NameClass> = all.iter().collect();
        let selectors: BTreeSet<&Fqdn> = all.iter().flat_map(|c| &c.selectors).collect();
        let class_of = |n: &str| -> Vec<Fqdn> {
            selectors.iter().filter(|f| f.matches(n)).map(|f| (*f).clone()).collect()
        };
        describe(&refs, |c| names.iter().any(|n| class_of(n) == c.selectors))
    }

    #[test]
    fn one_star_and_two_stars_are_two_classes() {
        let all = of(&["*.mirror.example", "**.mirror.example"]);
        assert_eq!(all.len(), 2);
        assert_eq!(words(&all, &["a.b.mirror.example"]), ["**.mirror.example except *.mirror.example"]);
        assert_eq!(words(&all, &["a.mirror.example"]), ["*.mirror.example"]);
        assert_eq!(words(&all, &["a.mirror.example", "a.b.mirror.example"]), ["**.mirror.example"]);
    }

    #[test]
    fn what_two_patterns_share_is_said_with_both() {
        let all = of(&["a*.example.com", "*b.example.com"]);
        assert_eq!(words(&all, &["ab.example.com"]), ["*b.example.com matching a*.example.com"]);
    }

    #[test]
    fn a_pattern_stands_for_names_that_nobody_names() {
        let all = of(&["*.example.com", "api.example.com"]);
        assert_eq!(all.len(), 2);
        assert_eq!(words(&all, &["x.example.com"]), ["*.example.com except api.example.com"]);
        assert_eq!(words(&all, &["api.example.com"]), ["api.example.com"]);
    }

    #[test]
    fn patterns_that_overlap_have_a_class_in_common_and_one_each() {
        let all = of(&["a*.example.com", "*b.example.com"]);
        let sizes: Vec<usize> = all.iter().map(|c| c.selectors.len()).collect();
        assert_eq!(sizes.iter().filter(|n| **n == 2).count(), 1);
        assert_eq!(sizes.iter().filter(|n| **n == 1).count(), 2);
    }

    #[test]
    fn what_three_patterns_share_is_a_class_even_if_no_name_says_so() {
        let all = of(&["a*.example.com", "*b.example.com", "*-*.example.com"]);
        assert!(all.iter().any(|c| c.selectors.len() == 3), "{all:?}");
        assert_eq!(all.len(), 7);
    }

    #[test]
    fn every_class_is_met_by_its_example_and_by_no_other_selector() {
        let texts = ["*", "*.com", "**.com", "a.com", "a*.b*.com", "**.b.com", "b.com", "*.*.com"];
        let all = of(&texts);
        for c in &all {
            for f in all.iter().flat_map(|c| &c.selectors) {
                assert_eq!(f.matches(&c.example), c.selectors.contains(f), "{c:?} {f}");
            }
        }
        assert!(all.len() > texts.len());
    }

    #[test]
    fn many_names_are_many_classes() {
        let texts: Vec<String> = (0..500).map(|n| format!("host-{n}.example.com")).collect();
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&refs).len(), 500);
    }
}
