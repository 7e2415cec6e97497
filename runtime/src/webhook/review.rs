//! One policy, judged beside the cluster as it is: is it valid, and what would it change?

use crate::inputs::{Library, Texts};
use crate::place::place;
use portcullis_cluster::Snapshot;
use portcullis_diag::{Diagnostic, Fate, ObjectRef, Severity, SourceMap, Span};
use portcullis_front::ast::Object;
use portcullis_ir::lower::{is_policy, lower};
use portcullis_ir::{Cluster, Options, Verdict};
use portcullis_sema::diff::{Cause, Finding, FindingKind, Review, SideChange, review};
use portcullis_sema::lint;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// Bytes of a warning: the API server may cut longer ones.
const LONGEST: usize = 240;
/// Warnings in one answer; the API server leaves some out where all of them have more than 4096 bytes.
const MOST: usize = 12;
/// Findings of a comparison that are told.
const FINDINGS: usize = 4;
/// What the policy's text is called.
const NAME: &str = "the policy under review.json";

/// Which findings deny a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// None: everything is a warning.
    Never,
    /// Errors: the API server or Cilium's engine would refuse it, or it cannot mean what it says.
    #[default]
    Error,
    /// Warnings, too.
    Warning,
}

/// What is said to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Why it is denied, if it is.
    pub denied: Option<String>,
    /// Lines for whoever applies it.
    pub warnings: Vec<String>,
}

/// What the API server asks.
#[derive(Clone, Debug, Deserialize)]
struct Asked {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    request: Question,
}

/// `request` of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Question {
    /// Its number.
    pub uid: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Namespace of the object.
    pub namespace: String,
    /// The object as it would be.
    pub object: Value,
    /// The object as it is.
    pub old_object: Value,
}

impl Question {
    /// Reads an AdmissionReview.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let asked: Asked =
            serde_json::from_slice(body).map_err(|e| format!("not an AdmissionReview: {e}"))?;
        if (asked.api_version.as_str(), asked.kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(format!(
                "{} {} is not an AdmissionReview of admission.k8s.io/v1",
                asked.api_version, asked.kind
            ));
        }
        if asked.request.uid.is_empty() {
            return Err("the AdmissionReview has no uid".to_owned());
        }
        Ok(asked.request)
    }
}

impl Answer {
    /// An answer that lets it through, with one line.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { denied: None, warnings: vec![cut(&text.into())] }
    }

    /// The AdmissionReview that answers a question.
    pub fn json(&self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.denied.is_none()});
        if let Some(map) = response.as_object_mut() {
            if let Some(why) = &self.denied {
                map.insert("status".into(), json!({"code": 422, "reason": "Invalid", "message": why}));
            }
            if !self.warnings.is_empty() {
                map.insert("warnings".into(), json!(self.warnings));
            }
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

/// Judges policies, one after the other; what of the cluster has not changed is read once.
#[derive(Debug)]
pub struct Reviewer {
    level: Level,
    options: Options,
    library: Library,
}

impl Reviewer {
    /// One for a cluster of a name (SEM-3.8).
    pub fn new(level: Level, cluster_name: &str) -> Self {
        let options = Options { cluster_name: cluster_name.to_owned(), ..Options::default() };
        Self { level, options, library: Library::default() }
    }

    /// Judges. Without a snapshot the policy is judged by itself.
    pub fn judge(&mut self, question: &Question, snapshot: Option<&Snapshot>) -> Answer {
        let (object, goes) = match question.operation.as_str() {
            "CREATE" | "UPDATE" => (&question.object, false),
            "DELETE" => (&question.old_object, true),
            _ => return Answer::default(),
        };
        let text: Arc<str> = named(object, &question.namespace).to_string().into();
        let (own, _) = self.library.parse(NAME, &text);
        let Some(policy) = own.objects.iter().find(|o| is_policy(o)) else {
            // An object of another kind, or none at all: nothing to say, or only what is wrong.
            return self.say(&own.diagnostics, &[], None, goes);
        };
        let key = policy.reference();
        let rest: Vec<_> = match snapshot {
            Some(snapshot) => {
                let mut texts = Texts::default();
                texts.add(snapshot, &[]);
                let now = texts.policies.len() + texts.cluster.len();
                if self.library.len() > 2 * now + 1000 {
                    // Most of it is about policies that are gone.
                    self.library = Library::default();
                    return self.judge(question, Some(snapshot));
                }
                texts.policies.iter().chain(&texts.cluster).map(|(n, t)| self.library.parse(n, t).0).collect()
            }
            None => Vec::new(),
        };
        let before: Vec<&Object> = rest.iter().flat_map(|p| &p.objects).collect();
        let others = before.iter().copied().filter(|o| o.reference() != key);
        let after: Vec<&Object> = others.chain((!goes).then_some(policy)).collect();
        let cluster = Cluster::build(before.iter().copied(), &self.options);
        let old = lower(before.iter().copied(), &cluster, &self.options);
        let new = lower(after.iter().copied(), &cluster, &self.options);
        let input = |policies| Input { policies, cluster: &cluster, options: &self.options };
        let mut lints = Vec::new();
        if !goes && policy.fate == Fate::Accepted {
            let evaluation = Evaluation::new(&[input(&new)], &[]);
            lints = lint::run(&lint::Context {
                objects: &[policy],
                policies: &new,
                cluster: &cluster,
                options: &self.options,
                evaluation: &evaluation,
                has_cluster: snapshot.is_some() && cluster.endpoints().next().is_some(),
                has_services: snapshot.is_some() && !cluster.services.is_empty(),
            });
        }
        let changes = snapshot.map(|_| review(input(&old), input(&new)));
        let sources = self.library.sources();
        let told = changes.map(|r| summary(&r, &sources, &key)).unwrap_or_default();
        drop(rest);
        self.say(&own.diagnostics, &lints, Some(told), goes)
    }

    fn say(&self, own: &[Diagnostic], lints: &[Diagnostic], told: Option<Vec<String>>, goes: bool) -> Answer {
        let sources = self.library.sources();
        let mut out = Answer::default();
        let mut seen = BTreeSet::new();
        let mut said = Vec::new();
        // What goes may be as wrong as it likes.
        for d in own.iter().chain(lints).filter(|_| !goes) {
            let line = line(d, &sources);
            if d.severity == Severity::Note || !seen.insert(line.clone()) {
                continue;
            }
            let denies = match self.level {
                Level::Never => false,
                Level::Error => d.severity == Severity::Error,
                Level::Warning => d.severity >= Severity::Warning,
            };
            if denies {
                let help = d.help.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
                let all = out.denied.get_or_insert_with(|| "portcullis:".to_owned());
                let _ = write!(all, "{} {line}{help}", if all.ends_with(':') { "" } else { " |" });
            } else {
                said.push(line);
            }
        }
        if out.denied.is_none() {
            out.warnings.extend(told.unwrap_or_default());
        }
        out.warnings.extend(said);
        let more = out.warnings.len().saturating_sub(MOST);
        out.warnings.truncate(MOST);
        if more > 0 {
            out.warnings.push(format!("portcullis: and {more} findings more; run portcullis check --live"));
        }
        out.warnings = out.warnings.iter().map(|w| cut(w)).collect();
        out
    }
}

/// The object with its namespace, which old API servers leave out of it.
fn named(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        // Nobody wrote these, and what says who changed it is larger than the rest.
        meta.remove("managedFields");
        if !namespace.is_empty() {
            meta.entry("namespace").or_insert_with(|| namespace.into());
        }
    }
    object
}

fn line(d: &Diagnostic, sources: &SourceMap) -> String {
    let at = d.span().map(|s| place(sources, s)).filter(|p| !p.starts_with(NAME));
    let at = at.map(|p| format!(" at {p}")).unwrap_or_default();
    format!("{}{at} ({})", d.message, d.code)
}

/// What changes, the worst first.
fn summary(r: &Review, sources: &SourceMap, key: &ObjectRef) -> Vec<String> {
    let mut out = Vec::new();
    let pairs = |n: u64| format!("{n} workload pair{}", if n == 1 { "" } else { "s" });
    let of = |kind| r.findings.iter().filter(move |f| f.kind == kind);
    let ends = |f: &Finding| format!("{} → {} {}", f.sources.summary, f.destinations.summary, f.ports);
    if r.totals.denied > 0 {
        let first: Vec<String> = of(FindingKind::Denied).take(1).map(ends).collect();
        out.push(format!("portcullis: newly denies {}: {}", pairs(r.totals.denied), first.join("; ")));
        for f in of(FindingKind::Denied).take(FINDINGS) {
            out.push(format!("portcullis: DENIED {}{}", ends(f), why(f, sources, key)));
        }
    }
    if r.totals.newly_default_deny > 0 {
        let who: Vec<String> = r
            .transitions
            .iter()
            .filter(|t| t.on)
            .take(2)
            .map(|t| format!("{} of {}", t.direction, t.endpoints.summary))
            .collect();
        out.push(format!("portcullis: {} becomes default-deny", who.join(" and ")));
    }
    if r.totals.allowed > 0 {
        let first: Vec<String> = of(FindingKind::Allowed).take(1).map(ends).collect();
        out.push(format!("portcullis: newly allows {}: {}", pairs(r.totals.allowed), first.join("; ")));
    }
    if r.totals.l7 > 0 {
        out.push(format!("portcullis: a proxy's rules change for {}", pairs(r.totals.l7)));
    }
    out
}

/// Whose doing it is.
fn why(f: &Finding, sources: &SourceMap, key: &ObjectRef) -> String {
    let denies = |s: &&SideChange| s.head.verdict == Verdict::Denied;
    let Some(side) = f.ingress.iter().chain(&f.egress).find(denies) else { return String::new() };
    let at = |policy: &ObjectRef, span: Span| {
        let whose = if policy == key { String::new() } else { format!("{policy} ") };
        format!("{whose}{}", place(sources, span))
    };
    match &side.head.cause {
        Cause::DefaultDeny(all) => match all.first() {
            Some(p) => format!(" by default deny, from {}", at(&p.policy, p.span)),
            None => " by default deny".to_owned(),
        },
        Cause::Rules(all) => match all.first() {
            Some(rule) => format!(" by {}", at(&rule.policy, rule.span)),
            None => String::new(),
        },
        Cause::Localhost | Cause::NotEnforced => String::new(),
    }
}

fn cut(text: &str) -> String {
    // One line each: a header's.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() <= LONGEST {
        return text;
    }
    let end = (0..LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_cluster::{Entry, Key, Kind};

    fn entry(kind: Kind, name: &str, object: &Value) -> Entry {
        let namespace = if kind.is_namespaced() { "shop" } else { "" }.to_owned();
        (Key { kind, namespace, name: name.to_owned() }, object.to_string().into())
    }

    fn pod(name: &str, app: &str, n: u8) -> Entry {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
            "spec": {"nodeName": "one", "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIPs": [{"ip": format!("10.0.0.{n}")}], "phase": "Running"}});
        entry(Kind::Pod, name, &object)
    }

    fn policy(name: &str, app: &str, from: &str) -> Value {
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": name, "namespace": "shop", "managedFields": [{"manager": "x"}]},
            "spec": {"endpointSelector": {"matchLabels": {"app": app}},
                "ingress": [{"fromEndpoints": [{"matchLabels": {"app": from}}]}]}})
    }

    fn snapshot(policies: &[Value]) -> Snapshot {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let names = ["api", "web", "cron", "db"];
        let pods = names.iter().zip(1..).map(|(app, n)| pod(app, app, n));
        let own = policies
            .iter()
            .map(|p| entry(Kind::CiliumNetworkPolicy, p["metadata"]["name"].as_str().unwrap(), p));
        pods.chain(own).chain([entry(Kind::Namespace, "shop", &namespace)]).collect()
    }

    fn ask(operation: &str, object: Value) -> Question {
        let (object, old_object) =
            if operation == "DELETE" { (Value::Null, object) } else { (object, Value::Null) };
        Question {
            uid: "u".into(),
            operation: operation.into(),
            namespace: "shop".into(),
            object,
            old_object,
        }
    }

    fn judge(level: Level, question: &Question, snapshot: Option<&Snapshot>) -> Answer {
        Reviewer::new(level, "default").judge(question, snapshot)
    }

    #[test]
    fn a_policy_that_cuts_pods_off_is_let_through_and_says_so() {
        let answer = judge(Level::Error, &ask("CREATE", policy("p", "api", "web")), Some(&snapshot(&[])));
        assert_eq!(answer.denied, None, "{answer:?}");
        let all = answer.warnings.join("\n");
        assert!(answer.warnings[0].starts_with("portcullis: newly denies "), "{all}");
        assert!(all.contains("shop/cron") && all.contains("by default deny, from spec.ingress"), "{all}");
        assert!(all.contains("ingress of shop/api becomes default-deny"), "{all}");
        assert!(answer.warnings.iter().all(|w| w.len() <= LONGEST + 3 && !w.contains('\n')));
    }

    #[test]
    fn what_changes_nothing_says_nothing_and_what_goes_opens() {
        let cluster = snapshot(&[policy("p", "api", "web")]);
        let mut reviewer = Reviewer::new(Level::Error, "default");
        let same = reviewer.judge(&ask("UPDATE", policy("p", "api", "web")), Some(&cluster));
        assert_eq!(same, Answer::default());
        let gone = reviewer.judge(&ask("DELETE", policy("p", "api", "web")), Some(&cluster));
        assert!(gone.denied.is_none());
        assert!(gone.warnings[0].starts_with("portcullis: newly allows "), "{gone:?}");
        // The next question is not answered with the last one's text.
        let moved = reviewer.judge(&ask("UPDATE", policy("p", "api", "cron")), Some(&cluster));
        assert!(moved.warnings.iter().any(|w| w.contains("DENIED shop/web")), "{moved:?}");
        assert!(
            moved.warnings.iter().any(|w| w.contains("newly allows 1 workload pair: shop/cron")),
            "{moved:?}"
        );
    }

    #[test]
    fn what_cilium_would_refuse_is_denied_at_the_level_that_was_chosen() {
        let mut wrong = policy("p", "api", "web");
        wrong["spec"]["ingress"][0]["fromEntities"] = json!(["all"]);
        let question = ask("CREATE", wrong);
        let denied = judge(Level::Error, &question, Some(&snapshot(&[]))).denied.unwrap();
        assert!(denied.contains("spec.ingress[0]") && denied.contains("(PC"), "{denied}");
        let never = judge(Level::Never, &question, None);
        assert!(never.denied.is_none() && !never.warnings.is_empty());
        // One that selects nobody is a warning, and denied where warnings deny.
        let nobody = ask("CREATE", policy("p", "nobody", "web"));
        let answer = judge(Level::Error, &nobody, Some(&snapshot(&[])));
        assert!(answer.denied.is_none() && !answer.warnings.is_empty(), "{answer:?}");
        assert!(judge(Level::Warning, &nobody, Some(&snapshot(&[]))).denied.is_some());
        // What is wrong may go.
        assert!(judge(Level::Error, &ask("DELETE", question.object), None).denied.is_none());
    }

    #[test]
    fn hostile_questions_are_no_questions() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"apiVersion":"v1","kind":"Pod","request":{}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"x"}}"#,
        ] {
            assert!(Question::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Question::parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(Question::parse(b"\xff\xfe").is_err());
        // An object may be anything.
        let deep = (0..100).fold(json!(1), |v, _| json!({"spec": v}));
        for object in [
            json!(null),
            json!(3),
            json!("x"),
            json!([[]]),
            json!({}),
            json!({"kind": 7, "metadata": []}),
            deep,
            json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "x"}, "spec": "\u{0}"}),
            json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": 5}),
        ] {
            for operation in ["CREATE", "UPDATE", "DELETE", "CONNECT", "\r\n"] {
                let answer = judge(Level::Error, &ask(operation, object.clone()), Some(&snapshot(&[])));
                assert!(answer.json("u")["response"]["uid"] == "u");
            }
        }
        assert_eq!(cut("a\r\nb"), "a  b");
    }
}
