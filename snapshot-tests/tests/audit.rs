//! Policies in audit, logs and enforcement modes, over sequences of changes: a compiler that stays gives
//! the bytes that a new one gives, and every flag of every answer is the one that follows from the oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use portcullis_diag::{ObjectRef, SourceMap};
use portcullis_front::ast::Object;
use portcullis_ir::lower::{is_policy, lower};
use portcullis_ir::{Cluster, Direction, EnforcementMode, Options};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_snapshot_tests::generate::{self, Choices, World};
use portcullis_tables::{Audit, Cause, Compiler, Image, build_with_audit};
use portcullis_verify::{Expect, verify_with};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
    ProptestConfig { cases, max_shrink_iters: 150, ..ProptestConfig::default() }
}

/// Reads each object once, as a file of its own: what did not change keeps its place.
#[derive(Default)]
struct Reader {
    sources: SourceMap,
    read: BTreeMap<String, Vec<Object>>,
}

impl Reader {
    fn read(&mut self, values: &[Value]) -> BTreeMap<ObjectRef, Object> {
        let mut out = BTreeMap::new();
        for value in values {
            let known = self.read.entry(value.to_string()).or_insert_with_key(|text| {
                let file = self.sources.add("an-object.json".to_owned(), text.clone());
                portcullis_front::parse(file, "an-object.json", text).objects
            });
            out.extend(known.iter().map(|o| (o.reference(), o.clone())));
        }
        out
    }
}

/// The next world: mostly as a review sees changes; sometimes a part of the cluster goes away, or the
/// first policies or the first cluster come back.
fn step(c: &mut Choices<'_>, world: &World, first: &World) -> World {
    match c.below(8) {
        1 if !world.cluster.is_empty() => {
            let mut next = world.clone();
            next.cluster.remove(c.below(world.cluster.len()));
            next
        }
        2 => World { cluster: world.cluster.clone(), policies: first.policies.clone() },
        3 => World { cluster: first.cluster.clone(), policies: world.policies.clone() },
        _ => generate::changed(c, world),
    }
}

fn options(c: &mut Choices<'_>) -> Options {
    let enforcement = match c.below(8) {
        1 => EnforcementMode::Always,
        2 => EnforcementMode::Never,
        _ => EnforcementMode::Default,
    };
    Options { enforcement, allow_localhost: !c.one_in(4), ..Options::default() }
}

fn audit<'o>(c: &mut Choices<'_>, policies: impl Iterator<Item = &'o Object>) -> Audit {
    let mut out = Audit::default();
    for o in policies {
        match c.below(4) {
            1 => drop(out.policies.insert(o.reference())),
            2 => out.namespaces.extend(o.meta.namespace.iter().map(|n| n.value.clone())),
            _ => {}
        }
    }
    out
}

/// Some of the rules ask for a log.
fn with_logs(c: &mut Choices<'_>, world: &mut World) {
    for p in world.policies.iter_mut().filter(|p| p["kind"].as_str().is_some_and(|k| k.starts_with("Cilium")))
    {
        if let Some(spec) = p.get_mut("spec").and_then(Value::as_object_mut).filter(|_| c.one_in(3)) {
            spec.insert("log".to_owned(), json!({"value": "noted"}));
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn after_every_change_the_bytes_are_those_from_scratch_and_the_flags_the_oracles(
        world in prop::collection::vec(any::<u8>(), 0..300),
        steps in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..7),
    ) {
        let mut c = Choices::new(&world);
        let options = options(&mut c);
        let first = generate::world(&mut c);
        let mut reader = Reader::default();
        let mut compiler = Compiler::new(Cluster::default(), options.clone());
        let (mut now, mut fed, mut below) = (first.clone(), BTreeMap::new(), None);
        for (at, bytes) in std::iter::once(&Vec::new()).chain(&steps).enumerate() {
            let mut c = Choices::new(bytes);
            if at > 0 {
                now = step(&mut c, &now, &first);
                with_logs(&mut c, &mut now);
            }
            let cluster_objects = reader.read(&now.cluster);
            let cluster = Cluster::build(cluster_objects.values(), &options);
            if below.as_ref() != Some(&cluster_objects) {
                compiler.set_cluster(cluster.clone());
                below = Some(cluster_objects);
            }
            let objects = reader.read(&now.policies);
            fed.keys().filter(|o| !objects.contains_key(*o)).for_each(|o| {
                compiler.remove_policy(o);
            });
            let mut changed: Vec<&Object> =
                objects.iter().filter(|(name, o)| fed.get(*name) != Some(*o)).map(|(_, o)| o).collect();
            if c.one_in(2) {
                changed.reverse();
            }
            for o in changed {
                compiler.set_policy(Rc::new(o.clone()));
            }
            let audit = audit(&mut c, objects.values().filter(|o| is_policy(o)));
            compiler.set_audit(audit.clone());

            let policies = lower(objects.values(), &cluster, &options);
            let input = Input { policies: &policies, cluster: &cluster, options: &options };
            let e = Evaluation::new(&[input], &[]);
            let names = |c: &Cause| c.line(&policies, &reader.sources);
            let scratch = build_with_audit(&e, None, &audit, &names).unwrap();
            let set = compiler.policies();
            let again = |c: &Cause| c.line(&set, &reader.sources);
            let (kept, nodes) = compiler.compile(&set, None, &again, |e, _| e.universe.nodes.clone()).unwrap();
            prop_assert!(nodes == e.universe.nodes);
            prop_assert!(kept.bytes == scratch.bytes, "other bytes after step {}", at);

            let expect = Expect { wanted: None, audit: &audit, names: &names };
            let report = verify_with(&kept.bytes, input, &e.universe, &expect).unwrap();
            prop_assert!(report.differences.is_empty(), "{:?}", report.differences.first());
            fed = objects;
        }
    }
}

#[test]
fn a_denial_passes_only_if_every_policy_behind_it_is_in_audit() {
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}}})
    };
    let policy = |name: &str, spec: Value| {
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
    };
    let of = |app: &str| json!({"matchLabels": {"app": app}});
    let deny = json!({"endpointSelector": of("db"), "ingressDeny": [{"fromEndpoints": [of("web")]}]});
    let world = World {
        cluster: vec![pod("db"), pod("web"), pod("job")],
        policies: vec![policy("one", deny.clone()), policy("two", deny)],
    };
    let mut reader = Reader::default();
    let options = Options::default();
    let cluster = Cluster::build(reader.read(&world.cluster).values(), &options);
    let objects = reader.read(&world.policies);
    let policies = lower(objects.values(), &cluster, &options);
    let input = Input { policies: &policies, cluster: &cluster, options: &options };
    let e = Evaluation::new(&[input], &[]);
    let names = |c: &Cause| c.line(&policies, &reader.sources);
    // Pods in order of their names: db, job, web.
    for (in_audit, from, audits) in [
        (vec![], 2, false),
        (vec!["one"], 2, false),
        (vec!["one", "two"], 2, true),
        (vec!["one", "two"], 1, true),
        (vec!["two"], 1, false),
    ] {
        let of = |name: &&str| objects.keys().find(|o| o.name == **name).unwrap().clone();
        let audit = Audit { policies: in_audit.iter().map(of).collect(), ..Audit::default() };
        let built = build_with_audit(&e, None, &audit, &names).unwrap();
        let word = Image::parse(&built.bytes).unwrap().lookup(0, Direction::Ingress, from, 80).unwrap();
        assert!(!word.allows(), "{in_audit:?}");
        assert_eq!((word.audits(), word.passes()), (audits, audits), "{in_audit:?} from {from}");
        // Who expects other policies in audit notices.
        let other = Expect { wanted: None, audit: &Audit::default(), names: &names };
        let report = verify_with(&built.bytes, input, &e.universe, &other).unwrap();
        assert_eq!(report.differences.iter().any(portcullis_verify::Difference::changes_verdict), audits);
        let named = Expect { audit: &audit, ..other };
        assert_eq!(verify_with(&built.bytes, input, &e.universe, &named).unwrap().differences, []);
    }
}
