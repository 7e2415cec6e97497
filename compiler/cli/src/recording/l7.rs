//! Recorded requests against the rules that a proxy goes by (SEM-6.8).

use portcullis_flows::L7 as Request;
use portcullis_front::ast::HttpRule;
use portcullis_ir::rule::L7;
use portcullis_ir::{Cluster, Decision, Direction, Flow, Options, PolicySet, Reason, RuleId};
use portcullis_oracle::Oracle;
use portcullis_sema::diff::Ask;
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;

/// Patterns that were met, compiled; `None` for one that is no pattern.
#[derive(Default)]
pub(super) struct Matcher(RefCell<HashMap<String, Option<Regex>>>);

impl Matcher {
    /// Whether a side's proxies let a request through on a connection that passes; `None` if that cannot be told.
    pub(super) fn allows(
        &self,
        (policies, cluster): (&PolicySet, &Cluster),
        at: usize,
        ask: &Ask,
        request: &Request<'_>,
        options: &Options,
    ) -> Option<bool> {
        let oracle = Oracle { policies, cluster, options };
        let flow = Flow { from: ask.from.get(at)?.clone(), to: ask.to.get(at)?.clone(), port: ask.port };
        let outcome = oracle.judge(&flow);
        let mut all = true;
        for decision in [&outcome.egress, &outcome.ingress].into_iter().flatten() {
            all &= self.side(policies, decision, request)?;
        }
        Some(all)
    }

    /// The sides whose proxies refuse a request, with the rules that send it there.
    pub(super) fn refusing(
        &self,
        (policies, cluster): (&PolicySet, &Cluster),
        at: usize,
        ask: &Ask,
        request: &Request<'_>,
        options: &Options,
    ) -> Vec<(Direction, Vec<RuleId>)> {
        let oracle = Oracle { policies, cluster, options };
        let (Some(from), Some(to)) = (ask.from.get(at), ask.to.get(at)) else { return Vec::new() };
        let outcome = oracle.judge(&Flow { from: from.clone(), to: to.clone(), port: ask.port });
        let mut out = Vec::new();
        for (d, decision) in [(Direction::Egress, outcome.egress), (Direction::Ingress, outcome.ingress)] {
            if let Some(decision) = decision
                && self.side(policies, &decision, request) == Some(false)
                && let Reason::Rules(rules) = decision.reason
            {
                out.push((d, rules));
            }
        }
        out
    }

    fn side(&self, policies: &PolicySet, decision: &Decision, request: &Request<'_>) -> Option<bool> {
        let Reason::Rules(ids) = &decision.reason else { return Some(true) };
        let rules: Vec<_> = ids.iter().filter_map(|id| policies.rule(*id)).collect();
        // One that asks nothing more lets everything through.
        if rules.iter().any(|r| r.l7.is_none()) {
            return Some(true);
        }
        let mut unknown = false;
        for l7 in rules.iter().filter_map(|r| r.l7.as_deref()) {
            match self.one(l7, request) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(false) }
    }

    fn one(&self, l7: &L7, request: &Request<'_>) -> Option<bool> {
        if l7.listener.is_some() || !l7.server_names.is_empty() {
            return None;
        }
        match request {
            Request::Dns(name) => match &l7.dns {
                Some(names) => Some(names.is_empty() || names.iter().any(|f| f.matches(name))),
                // Another protocol's rules; a DNS query does not pass them.
                None => Some(false),
            },
            Request::Http { .. } if l7.http.is_empty() => Some(false),
            Request::Http { .. } => {
                let mut unknown = false;
                for rule in &l7.http {
                    match self.http(rule, request) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => unknown = true,
                    }
                }
                if unknown { None } else { Some(false) }
            }
        }
    }

    fn http(&self, rule: &HttpRule, request: &Request<'_>) -> Option<bool> {
        let Request::Http { method, host, path, headers } = request else { return Some(false) };
        for (pattern, value) in [(&rule.method, method), (&rule.path, path), (&rule.host, host)] {
            if let Some(pattern) = pattern {
                if value.is_empty() {
                    return None;
                }
                if !self.whole(&pattern.value, value)? {
                    return Some(false);
                }
            }
        }
        let header =
            |name: &str| headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| &**v);
        for wanted in &rule.headers {
            let (name, value) = wanted.value.split_once(' ').unwrap_or((&wanted.value, ""));
            let found = header(name.trim_end_matches(':'));
            // Recorders leave headers out, or their values.
            let found = found?;
            if !value.is_empty() && found != value.trim() {
                return Some(false);
            }
        }
        for wanted in rule.header_matches.iter().filter(|m| m.mismatch.is_none()) {
            let found = header(&wanted.name.value)?;
            match &wanted.value {
                Some(value) if found != value.value.as_str() => return Some(false),
                Some(_) => {}
                // In a secret, which nobody reads here.
                None => return None,
            }
        }
        Some(true)
    }

    /// Whether a pattern matches the whole of a value; `None` if it is no pattern.
    fn whole(&self, pattern: &str, value: &str) -> Option<bool> {
        let mut known = self.0.borrow_mut();
        let regex =
            known.entry(pattern.to_owned()).or_insert_with(|| Regex::new(&format!("^(?:{pattern})$")).ok());
        regex.as_ref().map(|r| r.is_match(value))
    }
}

/// A request in words.
pub(super) fn words(request: &Request<'_>) -> String {
    match request {
        Request::Http { method, host, path, .. } => format!("{method} {host}{path}"),
        Request::Dns(name) => format!("DNS query for {name}"),
    }
}
