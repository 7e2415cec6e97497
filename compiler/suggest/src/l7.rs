//! Requests that proxies refuse, as further items of the L7 rules of the entry that sends them there.

use crate::yaml::Yaml;
use crate::{Asked, Refusal, Requests, Task};
use portcullis_diag::{ObjectRef, Span};
use portcullis_ir::rule::L7;
use portcullis_ir::{Direction, IdentityId, Rule, RuleId};
use portcullis_sema::cells::Cells;
use portcullis_sema::describe::Describer;
use portcullis_sema::universe::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Paths of one method in one entry beyond which their last parts are let through as any.
const PATHS: usize = 8;

/// Items for the L7 rules of one entry.
pub(crate) struct Additions {
    pub(crate) policy: ObjectRef,
    pub(crate) direction: Direction,
    /// The `toPorts` item.
    pub(crate) span: Span,
    /// `http` or `dns`.
    pub(crate) section: &'static str,
    pub(crate) items: Vec<Yaml>,
    pub(crate) subjects: BTreeSet<IdentityId>,
    pub(crate) said: Requests,
}

/// Which entry gets which requests.
pub(crate) fn plan(task: &Task<'_>, cells: &Cells<'_, '_>) -> Vec<Additions> {
    let mut by_rule: BTreeMap<(RuleId, &'static str), BTreeSet<&Asked>> = BTreeMap::new();
    for refusal in task.refused {
        if let Some((rule, section)) = entry(task, cells, refusal) {
            by_rule.entry((rule, section)).or_default().insert(&refusal.asked);
        }
    }
    let describer = Describer::new(&cells.evaluation.universe);
    by_rule
        .into_iter()
        .filter_map(|((id, section), asked)| additions(task, cells, &describer, id, section, &asked))
        .collect()
}

/// The entry to add to: of those that could let the request through the one for the fewest pods, one that the change
/// touched before others.
fn entry(task: &Task<'_>, cells: &Cells<'_, '_>, refusal: &Refusal) -> Option<(RuleId, &'static str)> {
    let set = task.input.policies;
    let section = match refusal.asked {
        Asked::Http { .. } => "http",
        Asked::Dns(_) => "dns",
    };
    let fits = |l7: &L7| {
        let plain = l7.listener.is_none() && l7.server_names.is_empty();
        plain && if section == "http" { !l7.http.is_empty() } else { l7.dns.is_some() }
    };
    let rules = refusal.rules.iter().filter_map(|id| Some((*id, set.rule(*id)?)));
    rules
        .filter(|(_, r)| task.editable.contains(&r.span.file) && r.l7.as_deref().is_some_and(fits))
        .min_by_key(|(id, r)| {
            let touched = set.policy(r.policy).is_some_and(|p| task.touched.contains(&p.object));
            (!touched, subjects(cells, r).len(), *id)
        })
        .map(|(id, _)| (id, section))
}

fn subjects(cells: &Cells<'_, '_>, rule: &Rule) -> BTreeSet<IdentityId> {
    let portcullis_ir::Subject::Endpoints(selector) = rule.subject else { return BTreeSet::new() };
    let e = cells.evaluation;
    let bits = e.sides.first().and_then(|s| s.subjects.get(selector as usize));
    let groups = bits.into_iter().flat_map(|b| b.ones());
    let groups = groups.filter_map(|g| e.universe.group(NodeId(u32::try_from(g).ok()?)));
    groups.filter_map(|g| g.on.first().copied().flatten()).map(|(identity, _)| identity).collect()
}

fn additions(
    task: &Task<'_>,
    cells: &Cells<'_, '_>,
    describer: &Describer<'_>,
    id: RuleId,
    section: &'static str,
    asked: &BTreeSet<&Asked>,
) -> Option<Additions> {
    let (set, e) = (task.input.policies, cells.evaluation);
    let rule = set.rule(id)?;
    let side = e.sides.first()?;
    let portcullis_ir::Subject::Endpoints(selector) = rule.subject else { return None };
    let pods = side.subjects.get(selector as usize)?;
    let meaning = side.meaning_of.get(id.0 as usize).and_then(|m| e.meanings.get(*m))?;
    let peers = e.peer_sets.get(meaning.peers)?;
    let (items, all, wider) = items(asked, task.exact);
    Some(Additions {
        policy: set.policy(rule.policy)?.object.clone(),
        direction: rule.direction,
        span: rule.span,
        section,
        items,
        subjects: subjects(cells, rule),
        said: Requests {
            all,
            wider,
            subjects: describer.group(pods).summary,
            peers: describer.group(peers).summary,
        },
    })
}

/// Items, each in words, and which take in more than was asked for.
fn items(asked: &BTreeSet<&Asked>, exact: bool) -> (Vec<Yaml>, Vec<String>, Vec<String>) {
    let (mut items, mut all, mut wider) = (Vec::new(), Vec::new(), Vec::new());
    let mut paths: BTreeMap<&str, BTreeSet<(String, bool)>> = BTreeMap::new();
    for one in asked {
        match one {
            Asked::Dns(name) => {
                items.push(Yaml::map([("matchName", Yaml::Text(name.clone()))]));
                all.push(format!("DNS {name}"));
            }
            Asked::Http { method, path } => {
                let pattern = if exact { (escaped(path), false) } else { general(path) };
                paths.entry(method).or_default().insert(pattern);
            }
        }
    }
    for (method, mut patterns) in paths {
        if !exact && patterns.len() > PATHS {
            // What they have in common, down to a whole part of the path.
            let common = common(&patterns);
            patterns = BTreeSet::from([(format!("{common}.*"), true)]);
        }
        for (path, is_wider) in patterns {
            let text = format!("{method} {path}");
            if is_wider {
                wider.push(text.clone());
            }
            all.push(text);
            let mut item = Vec::new();
            if !method.is_empty() {
                item.push(("method".to_owned(), Yaml::Text(escaped(method))));
            }
            item.push(("path".to_owned(), Yaml::Quoted(path)));
            items.push(Yaml::Map(item));
        }
    }
    (items, all, wider)
}

/// The longest beginning that ends with a slash; a pattern's special signs are whole in it.
fn common(patterns: &BTreeSet<(String, bool)>) -> String {
    let mut all = patterns.iter().map(|(p, _)| p.as_str());
    let mut common = all.next().unwrap_or_default();
    for p in all {
        let same = common.bytes().zip(p.bytes()).take_while(|(a, b)| a == b).count();
        common = common.get(..common.floor_char_boundary(same)).unwrap_or_default();
    }
    common.rfind('/').and_then(|n| common.get(..=n)).unwrap_or("/").to_owned()
}

/// A path in which numbers and ids stand for any, with any query if it had one; and whether that is more than it.
fn general(path: &str) -> (String, bool) {
    let (plain, query) = path.split_once('?').map_or((path, false), |(p, _)| (p, true));
    let mut wider = query;
    let parts: Vec<String> = plain
        .split('/')
        .map(|part| {
            if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
                wider = true;
                "[0-9]+".to_owned()
            } else if is_id(part) {
                wider = true;
                "[0-9a-fA-F-]+".to_owned()
            } else {
                escaped(part)
            }
        })
        .collect();
    let query = if query { "(\\?.*)?" } else { "" };
    (format!("{}{query}", parts.join("/")), wider)
}

/// A UUID, a hash, or the like: hexadecimal, long, and with a digit in it.
fn is_id(part: &str) -> bool {
    part.len() >= 12
        && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && part.bytes().any(|b| b.is_ascii_digit())
}

/// A text as a regular expression that matches it alone.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_general_where_they_name_things_and_exact_elsewhere() {
        assert_eq!(general("/items/17?page=2"), ("/items/[0-9]+(\\?.*)?".to_owned(), true));
        assert_eq!(general("/a.b/c"), ("/a\\.b/c".to_owned(), false));
        assert_eq!(general("/o/0b6f1c52-9d1e-4c55-8d9e-5b7d2f6a1c33/x").0, "/o/[0-9a-fA-F-]+/x");
        assert_eq!(general("/deadbeefcafe").0, "/deadbeefcafe");
        let many = |n: u32| Asked::Http { method: "GET".into(), path: format!("/api/v1/x{n}/y") };
        let asked: Vec<Asked> = (0..20).map(many).collect();
        let (items, all, wider) = items(&asked.iter().collect(), false);
        assert_eq!((items.len(), all.len()), (1, 1));
        assert_eq!(wider, ["GET /api/v1/.*"]);
        assert_eq!(super::items(&asked.iter().collect(), true).0.len(), 20);
    }
}
