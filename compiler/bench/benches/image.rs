//! One changed policy: its image made from scratch, and by a compiler that stays, side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use portcullis_bench::{Shape, change_one, generate};
use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, lower};
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::{Cause, Compiler, build};
use std::hint::black_box;
use std::rc::Rc;

/// What the agent uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn name(_: &Cause) -> String {
    String::new()
}

fn parse(name: &str, text: &str) -> Vec<Object> {
    portcullis_front::parse(FileId(0), name, text).objects
}

fn one_policy(c: &mut Criterion) {
    let mut g = c.benchmark_group("one policy changed");
    g.sample_size(20);
    for pods in [1_000, 10_000, 30_000] {
        let generated = generate(&Shape::pods(pods));
        let (changed_name, changed_text) = change_one(&generated);
        let options = Options::default();
        let mut facts = Facts::default();
        portcullis_front::parse_in_batches(FileId(0), "cluster.yaml", &generated.cluster, &mut |part| {
            part.objects.iter().for_each(|o| facts.add(o));
        });
        let cluster = Cluster::from_facts(&[&facts], &options);
        let objects: Vec<Object> = generated.policies.iter().flat_map(|(n, t)| parse(n, t)).collect();
        let before = generated.policies.iter().find(|(n, _)| *n == changed_name);
        let states: Vec<Vec<Rc<Object>>> = [before.map_or("", |(_, t)| t), changed_text.as_str()]
            .map(|t| parse(&changed_name, t).into_iter().map(Rc::new).collect())
            .into();
        g.bench_function(BenchmarkId::new("from scratch", pods), |b| {
            b.iter(|| {
                let policies = lower::lower(&objects, &cluster, &options);
                let input = Input { policies: &policies, cluster: &cluster, options: &options };
                let e = Evaluation::new(&[input], &[]);
                black_box(build(&e, None, &name).unwrap().bytes.len())
            });
        });
        let mut compiler = Compiler::new(cluster.clone(), options.clone());
        for o in &objects {
            compiler.set_policy(Rc::new(o.clone()));
        }
        let mut turn = 0;
        g.bench_function(BenchmarkId::new("again", pods), |b| {
            b.iter(|| {
                turn += 1;
                for o in states.get(turn % 2).into_iter().flatten() {
                    compiler.set_policy(Rc::clone(o));
                }
                let policies = compiler.policies();
                black_box(compiler.compile(&policies, None, &name, |_, _| ()).unwrap().0.bytes.len())
            });
        });
    }
    g.finish();
}

criterion_group!(benches, one_policy);
criterion_main!(benches);
