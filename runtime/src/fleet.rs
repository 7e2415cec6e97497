//! The commands about all nodes of a cluster, through objects in it.

use crate::{Format, say};
use clap::{Args, Subcommand};
use portcullis_cluster::fleet::{GoBack, Orders, node_statuses, order};
use portcullis_cluster::{FetchError, Given};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// How long the API server may take.
const WITHIN: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Which policies are in use on how many nodes of each group, and what is wrong with which policy
    Status,
    /// Lets a policy set go on wherever it is held
    Approve {
        /// Its digest, as `fleet status` shows it; the only one held if not given
        policy_set: Option<String>,
    },
    /// Puts the policies of before into use on all nodes, until those in the cluster change
    Rollback {
        /// The digest to go back to; the one before if not given
        policy_set: Option<String>,
    },
    /// Ends a rollback: the policies in the cluster count again
    Resume,
}

pub(crate) fn run(args: &FleetArgs) -> Result<(), String> {
    let given =
        Given { kubeconfig: args.kubeconfig.clone(), context: args.context.clone(), ..Given::default() };
    let said = |e: FetchError| e.to_string();
    let nodes = || node_statuses(&given, WITHIN).map_err(said);
    let done = |what: String, v: Value| match args.format {
        Format::Text => say(what.trim_end()),
        Format::Json => say(&format!("{v:#}")),
    };
    match &args.command {
        FleetCommand::Status => {
            let nodes = nodes()?;
            let v = summary(&nodes);
            done(text(&v), v);
        }
        FleetCommand::Approve { policy_set } => {
            let held = held(&nodes()?);
            let digest = choose(&held, policy_set.as_deref())?;
            order(&given, WITHIN, |o| o.approve(&digest)).map_err(said)?;
            let n = held.get(&digest).copied().unwrap_or_default();
            done(
                format!("the policy set {digest} may go on; {n} nodes hold it now"),
                json!({"approved": digest, "nodes": n}),
            );
        }
        FleetCommand::Rollback { policy_set } => {
            let nodes = nodes()?;
            let back = go_back(&nodes, policy_set.as_deref())?;
            let can = nodes.iter().filter(|(_, s)| history(s).any(|d| d == back.to)).count();
            order(&given, WITHIN, |o: &mut Orders| o.rollback = Some(back.clone())).map_err(said)?;
            done(
                format!(
                    "all nodes go back to the policy set {}, until the policies in the cluster change or \
                     `portcullis-agent fleet resume`; {can} of {} nodes have it",
                    back.to,
                    nodes.len()
                ),
                json!({"rollback": back, "nodes": nodes.len(), "able": can}),
            );
        }
        FleetCommand::Resume => {
            order(&given, WITHIN, |o: &mut Orders| o.rollback = None).map_err(said)?;
            done("the policies in the cluster count again".to_owned(), json!({"rollback": null}));
        }
    }
    Ok(())
}

fn part<'v>(v: &'v Value, at: &str) -> &'v str {
    v.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(v: &'v Value, at: &str) -> impl Iterator<Item = &'v Value> {
    v.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

fn history(status: &Value) -> impl Iterator<Item = &str> {
    list(status, "/history").filter_map(Value::as_str)
}

/// Policy sets that are held, and on how many nodes.
fn held(nodes: &[(String, Value)]) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for digest in nodes.iter().map(|(_, s)| part(s, "/held/policySet")).filter(|d| !d.is_empty()) {
        *out.entry(digest.to_owned()).or_default() += 1;
    }
    out
}

/// The digest that was meant.
fn choose(held: &BTreeMap<String, usize>, given: Option<&str>) -> Result<String, String> {
    let all = || held.keys().cloned().collect::<Vec<_>>().join(", ");
    match given {
        Some(d) if d.len() == 16 && d.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(d.to_lowercase()),
        Some(d) => {
            let mut fit = held.keys().filter(|h| d.len() >= 6 && h.starts_with(d));
            match (fit.next(), fit.next()) {
                (Some(one), None) => Ok(one.clone()),
                _ => Err(format!("{d} is not one of the policy sets that are held: {}", all())),
            }
        }
        None => match (held.len(), held.keys().next()) {
            (1, Some(one)) => Ok(one.clone()),
            (0, _) => Err("nothing is held on any node".to_owned()),
            _ => Err(format!("several policy sets are held; say which: {}", all())),
        },
    }
}

/// From what most nodes were given to what most of them can go back to.
fn go_back(nodes: &[(String, Value)], to: Option<&str>) -> Result<GoBack, String> {
    let most = |all: &mut dyn Iterator<Item = String>| {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        all.for_each(|d| *count.entry(d).or_default() += 1);
        count.into_iter().max_by_key(|(_, n)| *n).map(|(d, _)| d)
    };
    let given = |s: &Value| part(s, "/clusterPolicySet").to_owned();
    let from = most(&mut nodes.iter().map(|(_, s)| given(s)).filter(|d| !d.is_empty()))
        .ok_or("no node has said which policies it was given")?;
    let kept = || nodes.iter().flat_map(|(_, s)| history(s)).map(str::to_owned);
    let to = if let Some(d) = to {
        let fit: BTreeSet<String> = kept().filter(|h| d.len() >= 6 && h.starts_with(d)).collect();
        let one = fit.first().filter(|_| fit.len() == 1).cloned();
        one.ok_or_else(|| {
            format!("{d} is not one policy set that a node can go back to; see `fleet status`")
        })?
    } else {
        // The latest of each node that is not what it was given.
        let mut earlier =
            nodes.iter().filter_map(|(_, s)| history(s).find(|d| *d != from).map(str::to_owned));
        most(&mut earlier).ok_or("no node keeps an earlier policy set")?
    };
    if from == to {
        return Err(format!("{to} is what the cluster has now"));
    }
    Ok(GoBack { from, to })
}

/// What all nodes say, by group; then by policy.
fn summary(nodes: &[(String, Value)]) -> Value {
    #[derive(Default)]
    struct Group {
        nodes: usize,
        sets: BTreeMap<String, usize>,
        held: BTreeMap<String, usize>,
        problems: Vec<Value>,
    }
    struct Finding {
        compiled: Value,
        said: Vec<Value>,
        nodes: BTreeMap<String, usize>,
    }
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    // By policy and what is said of it.
    let mut policies: BTreeMap<(String, String), Finding> = BTreeMap::new();
    let mut waits: BTreeMap<String, Value> = BTreeMap::new();
    for (name, s) in nodes {
        let group = part(s, "/group").to_owned();
        let g = groups.entry(group.clone()).or_default();
        g.nodes += 1;
        *g.sets.entry(part(s, "/policySet").to_owned()).or_default() += 1;
        let digest = part(s, "/held/policySet");
        if !digest.is_empty() {
            *g.held.entry(digest.to_owned()).or_default() += 1;
            waits.entry(digest.to_owned()).or_insert_with(|| s.pointer("/held").cloned().unwrap_or_default());
        }
        let problems: Vec<&str> = list(s, "/problems").filter_map(Value::as_str).collect();
        if !problems.is_empty() {
            g.problems.push(json!({"node": name, "problems": problems}));
        }
        for p in list(s, "/policies") {
            let policy = match part(p, "/namespace") {
                "" => format!("{} {}", part(p, "/kind"), part(p, "/name")),
                namespace => format!("{} {namespace}/{}", part(p, "/kind"), part(p, "/name")),
            };
            let compiled = p.pointer("/compiled").cloned().unwrap_or_default();
            let said: Vec<Value> = list(p, "/diagnostics").cloned().collect();
            let entry = policies.entry((policy, json!(said).to_string()));
            let entry = entry.or_insert_with(|| Finding { compiled, said, nodes: BTreeMap::new() });
            *entry.nodes.entry(group.clone()).or_default() += 1;
        }
    }
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(name, g)| {
            json!({"group": name, "nodes": g.nodes, "policySets": g.sets, "held": g.held, "problems": g.problems})
        })
        .collect();
    let policies: Vec<Value> = policies
        .into_iter()
        .map(|((policy, _), f)| {
            json!({"policy": policy, "compiled": f.compiled, "diagnostics": f.said, "nodesByGroup": f.nodes})
        })
        .collect();
    json!({"schema": "portcullis.dev/fleet/v1", "nodes": nodes.len(), "groups": groups, "policies": policies,
        "waits": waits.into_values().collect::<Vec<_>>()})
}

fn text(v: &Value) -> String {
    let mut out = String::new();
    let counts = |v: &Value, at: &str| -> Vec<(String, u64)> {
        let all = v.pointer(at).and_then(Value::as_object).into_iter().flatten();
        all.map(|(k, n)| (k.clone(), n.as_u64().unwrap_or_default())).collect()
    };
    for p in list(v, "/policies") {
        let what =
            if p.pointer("/compiled") == Some(&json!(true)) { "not enforced as written" } else { "REFUSED" };
        let nodes: u64 = counts(p, "/nodesByGroup").iter().map(|(_, n)| n).sum();
        let _ = writeln!(out, "{what}: {} ({nodes} nodes)", part(p, "/policy"));
        for d in list(p, "/diagnostics") {
            let _ = writeln!(out, "  {} (at {})", part(d, "/message"), part(d, "/place"));
        }
    }
    for held in list(v, "/waits") {
        let digest = part(held, "/policySet");
        let _ = writeln!(out, "held: the policy set {digest}: {}", part(held, "/reason"));
        let lines =
            list(held, "/changes").map(|l| (l, "")).chain(list(held, "/denied").map(|l| (l, "DENIED ")));
        for (line, head) in lines.take(20) {
            let _ = writeln!(out, "  {head}{}", line.as_str().unwrap_or_default());
        }
        let _ = writeln!(out, "  to let it in: portcullis-agent fleet approve {digest}");
    }
    for g in list(v, "/groups") {
        let name = match part(g, "/group") {
            "" => "nodes without a group".to_owned(),
            name => format!("group {name}"),
        };
        let _ = writeln!(out, "{name}: {} nodes", g.pointer("/nodes").cloned().unwrap_or_default());
        for (set, n) in counts(g, "/policySets") {
            let what =
                if set.is_empty() { "no policy at all".to_owned() } else { format!("the policy set {set}") };
            let _ = writeln!(out, "  {n:>5} enforce {what}");
        }
        for (set, n) in counts(g, "/held") {
            let _ = writeln!(out, "  {n:>5} hold {set}");
        }
        let bad: Vec<&Value> = list(g, "/problems").collect();
        for p in bad.iter().take(5) {
            let first = list(p, "/problems").next().and_then(Value::as_str).unwrap_or_default();
            let _ = writeln!(out, "  problem on {}: {first}", part(p, "/node"));
        }
        if bad.len() > 5 {
            let _ = writeln!(out, "  and problems on {} more", bad.len() - 5);
        }
    }
    if out.is_empty() {
        out.push_str("no node has said anything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbb";

    fn node(name: &str, own: &str, given: &str, held: Option<&str>) -> (String, Value) {
        let found = json!([{"place": "spec.ingress[0]", "message": "there is no proxy"}]);
        let status = json!({"group": "canary", "policySet": own, "clusterPolicySet": given, "history": [own, A],
            "held": held.map(|h| json!({"policySet": h, "reason": "why", "changes": ["added x"], "denied": ["a → b"]})),
            "policies": [{"kind": "NetworkPolicy", "namespace": "n", "name": "p", "compiled": true, "diagnostics": found}],
            "problems": []});
        (name.to_owned(), status)
    }

    #[test]
    fn nodes_are_counted_by_what_they_enforce_and_policies_by_what_is_wrong() {
        let nodes = [node("1", A, B, Some(B)), node("2", A, B, Some(B)), node("3", B, B, None)];
        let v = summary(&nodes);
        assert_eq!(v["groups"][0]["policySets"], json!({A: 2, B: 1}));
        assert_eq!(v["policies"][0]["nodesByGroup"], json!({"canary": 3}));
        let said = text(&v);
        assert!(
            said.contains("2 enforce the policy set aaaa") && said.contains("fleet approve bbbb"),
            "{said}"
        );
        assert!(said.contains("not enforced as written: NetworkPolicy n/p (3 nodes)"), "{said}");
        assert_eq!(choose(&held(&nodes), None), Ok(B.to_owned()));
        assert_eq!(choose(&held(&nodes), Some("bbbbbb")), Ok(B.to_owned()));
        assert!(choose(&held(&nodes), Some("cc")).is_err());
        assert!(choose(&BTreeMap::new(), None).is_err());
    }

    #[test]
    fn one_goes_back_to_what_most_nodes_had_before() {
        let nodes = [node("1", B, B, None), node("2", B, B, None)];
        assert_eq!(go_back(&nodes, None), Ok(GoBack { from: B.to_owned(), to: A.to_owned() }));
        assert!(go_back(&nodes, Some("cccccc")).is_err());
        assert!(go_back(&[node("1", A, A, None)], None).is_err());
        assert!(go_back(&[], None).is_err());
        assert_eq!(text(&summary(&[])), "no node has said anything");
        // What a node says is not to be trusted to have any shape.
        for strange in [json!(null), json!([]), json!({"policies": 3, "held": [], "history": {"a": 1}})] {
            text(&summary(&[("x".to_owned(), strange)]));
        }
    }
}
