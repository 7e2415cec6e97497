//! A comparison after one changed policy, beside merely parsing the same YAML, on clusters of
//! growing size and under growing numbers of policies.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis_bench::{Generated, Shape, change_one, generate};
use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, PolicySet, lower};
use portcullis_sema::diff::review;
use portcullis_sema::reach::reach;
use portcullis_sema::universe::Input;
use std::hint::black_box;

/// Everything `diff` reads, once.
struct Texts {
    policies: Vec<(String, String)>,
    changed: (String, String),
    cluster: String,
}

impl Texts {
    fn new(shape: &Shape) -> Self {
        let generated: Generated = generate(shape);
        let changed = change_one(&generated);
        Self { policies: generated.policies, changed, cluster: generated.cluster }
    }

    /// The yardstick: the events of the same YAML, on one thread, thrown away.
    fn parse_only(&self) -> usize {
        let texts = self.policies.iter().map(|(_, t)| t).chain([&self.changed.1, &self.cluster]);
        texts.map(|t| granit_parser::Parser::new_from_str(t).flatten().count()).sum()
    }

    fn read(&self) -> (Vec<Object>, Vec<Object>, Facts) {
        let parse = |name: &str, text: &str| portcullis_front::parse(FileId(0), name, text).objects;
        let base: Vec<Object> = self.policies.iter().flat_map(|(n, t)| parse(n, t)).collect();
        let mut head: Vec<Object> = Vec::new();
        for (n, t) in &self.policies {
            if *n == self.changed.0 {
                head.extend(parse(n, &self.changed.1));
            } else {
                head.extend(parse(n, t));
            }
        }
        let mut facts = Facts::default();
        portcullis_front::parse_in_batches(FileId(0), "cluster.yaml", &self.cluster, &mut |part| {
            part.objects.iter().for_each(|o| facts.add(o));
        });
        (base, head, facts)
    }
}

fn compare(base: &PolicySet, head: &PolicySet, cluster: &Cluster, options: &Options) -> usize {
    let input = |policies| Input { policies, cluster, options };
    review(input(base), input(head)).findings.len()
}

fn bench(c: &mut Criterion, group: &str, shapes: &[(usize, Shape)]) {
    let mut g = c.benchmark_group(group);
    g.sample_size(10);
    for (size, shape) in shapes {
        let texts = Texts::new(shape);
        let options = Options::default();
        g.bench_function(BenchmarkId::new("merely parsing", size), |b| {
            b.iter(|| black_box(texts.parse_only()));
        });
        g.bench_function(BenchmarkId::new("reading", size), |b| b.iter(|| black_box(texts.read())));
        let (base, head, facts) = texts.read();
        g.bench_function(BenchmarkId::new("cluster", size), |b| {
            b.iter(|| black_box(Cluster::from_facts(&[&facts], &options)));
        });
        let cluster = Cluster::from_facts(&[&facts], &options);
        let b_set = lower::lower(&base, &cluster, &options);
        let h_set = lower::lower(&head, &cluster, &options);
        g.bench_function(BenchmarkId::new("comparing", size), |b| {
            b.iter(|| black_box(compare(&b_set, &h_set, &cluster, &options)));
        });
        g.bench_function(BenchmarkId::new("reach", size), |b| {
            let input = Input { policies: &h_set, cluster: &cluster, options: &options };
            b.iter(|| black_box(reach(input, None, None).edges.len()));
        });
    }
    g.finish();
}

fn by_pods(c: &mut Criterion) {
    let shapes: Vec<_> = [1_000, 10_000].map(|n| (n, Shape::pods(n))).into();
    bench(c, "pods", &shapes);
}

fn by_policies(c: &mut Criterion) {
    let shapes: Vec<_> = [100, 1_000, 10_000].map(|n| (n, Shape::policies(n))).into();
    bench(c, "policies", &shapes);
}

criterion_group!(benches, by_pods, by_policies);
criterion_main!(benches);
