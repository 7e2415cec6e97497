//! A file of claims: `claims:`, a list of names with `deny`, `allow` or `only`.

use super::end::{Reader, ends, ports};
use crate::exit::Failure;
use portcullis_diag::{SourceMap, Span};
use portcullis_front::text;
use portcullis_front::tree::Node;
use portcullis_ir::Ports;
use portcullis_symbolic::{Claim, Flows, Form};

/// A claim and the line of its file.
pub(super) struct Read {
    pub(super) claim: Claim,
    pub(super) line: u32,
}

const SHAPE: &str = "write `claims:` and below it a list of `- name: …` with one of deny, allow and only";

/// Reads a file of claims. What is wrong with it is said with its place, all of it at once.
pub(super) fn read(name: &str, content: &str) -> Result<Vec<Read>, Failure> {
    let mut sources = SourceMap::new();
    let file = sources.add(name, content);
    let mut r = Reader { sources: &sources, wrong: Vec::new() };
    let mut out = Vec::new();
    for chunk in text::split(name, content) {
        let parsed = text::tree(file, name, content, chunk);
        for d in &parsed.diagnostics {
            r.say(d.span().unwrap_or_default(), &d.message, d.help.as_deref().unwrap_or(SHAPE));
        }
        for root in &parsed.roots {
            r.keys(root, &["claims"]);
            match root.get("claims").and_then(Node::as_seq) {
                Some(all) => out.extend(all.iter().filter_map(|n| claim(n, &mut r))),
                None => r.say(root.span, "this is no list of claims", SHAPE),
            }
        }
    }
    if out.is_empty() && r.wrong.is_empty() {
        r.say(Span::new(file, 0, 0), "the file holds no claim", SHAPE);
    }
    if r.wrong.is_empty() { Ok(out) } else { Err(Failure::all(r.wrong)) }
}

fn claim(n: &Node, r: &mut Reader<'_>) -> Option<Read> {
    const FORMS: [(&str, Form); 3] = [("deny", Form::Deny), ("allow", Form::Allow), ("only", Form::Only)];
    r.keys(n, &["name", "deny", "allow", "only", "description"]);
    let name = n.get("name").and_then(Node::as_str).map(str::trim).filter(|s| !s.is_empty());
    let given: Vec<_> = FORMS.iter().filter_map(|(key, form)| Some((n.get(key)?, *form))).collect();
    let [(body, form)] = given.as_slice() else {
        r.say(n.span, "a claim has exactly one of deny, allow and only", SHAPE);
        return None;
    };
    let Some(name) = name else {
        r.say(n.span, "this claim has no name", "give it a `name:`, the sentence that it stands for");
        return None;
    };
    r.keys(body, &["from", "to", "ports", "except"]);
    let flows = flows(body, r);
    if flows.from.is_none() && flows.to.is_none() {
        r.say(body.span, "this claim names neither end", "say `from:` or `to:` or both");
    }
    if *form == Form::Only && flows.from.is_none() {
        r.say(body.span, "`only` does not say who", "say `from:`, those who may");
    }
    let mut except = Vec::new();
    match body.get("except") {
        None => {}
        Some(list) => match list.as_seq() {
            Some(all) => {
                for x in all {
                    r.keys(x, &["from", "to", "ports"]);
                    let one = self::flows(x, r);
                    if one.from.is_none() && one.to.is_none() && one.ports == Ports::All {
                        r.say(x.span, "this exception takes in everything", "say `from:`, `to:` or `ports:`");
                    }
                    except.push(one);
                }
            }
            None => r.say(list.span, "exceptions are a list", "write `except: [{from: …}]`"),
        },
    }
    let line = r.sources.position(n.span).line;
    Some(Read { claim: Claim { name: name.to_owned(), form: *form, flows, except }, line })
}

fn flows(n: &Node, r: &mut Reader<'_>) -> Flows {
    Flows {
        from: n.get("from").map(|e| ends(e, r)),
        to: n.get("to").map(|e| ends(e, r)),
        ports: n.get("ports").map_or(Ports::All, |p| ports(p, r)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read("c.yaml", text).err().map(|f| f.text()).unwrap_or_default()
    }

    #[test]
    fn every_form_of_claim_is_read() {
        let text = "claims:\n  - name: a\n    deny: {from: {entity: world}, to: {namespace: pay, labels: {app: [db, cache]}}}\n  \
                    - name: b\n    only: {from: [{labels: {app: web}}, {entity: host}], to: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}, \
                    ports: [443, 8000-8080/TCP, 53/UDP, all/SCTP, 8/ICMP]}\n  - name: c\n    allow: {to: {name: '*.example.com'}, ports: [all]}\n";
        let all = read("c.yaml", text).unwrap_or_else(|f| panic!("{}", f.text()));
        let lines: Vec<_> = all.iter().map(|r| (r.line, r.claim.form)).collect();
        assert_eq!(lines, [(2, Form::Deny), (4, Form::Only), (6, Form::Allow)]);
        assert_eq!(all[2].claim.flows.ports, Ports::All);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let text = "claims:\n  - name: a\n    deny: {form: {entity: world}, to: {labels: {app: db}}, ports: [70000]}\n  \
                    - deny: {to: {entity: moon}}\n";
        let said = wrong(text);
        for what in
            ["c.yaml:3:12: there is no `form` here", "`from`", "`70000` is no port", "c.yaml:4", "no name"]
        {
            assert!(said.contains(what), "{what}\n{said}");
        }
        assert!(wrong("claims: []").contains("no claim"));
        assert!(wrong("kind: [").contains("c.yaml:"));
        assert!(wrong("claims:\n - name: x\n   deny: {to: {entity: moon}}\n").contains("moon"));
        assert!(wrong("claims:\n - name: x\n   deny: {to: {}}\n").contains("says nothing"));
    }
}
