//! What an image costs: `measure [PODS] [POLICIES] [PODS OF A LABEL SET]`, one line a number.
//!
//! `measure grow PODS` keeps the apps and the policies of the default cluster and gives every pod a label of
//! its own that no policy names: identities grow, and nothing that policies can tell apart.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a measuring tool")]

use fixedbitset::FixedBitSet;
use portcullis_abi::{Section, header};
use portcullis_bench::{Shape, generate};
use portcullis_diag::FileId;
use portcullis_front::ast::Body;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, lower};
use portcullis_sema::policymap::PolicyMaps;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::Input;
use portcullis_tables::{Image, build};
use portcullis_verify::verify;
use std::time::Instant;

fn main() {
    let grow = std::env::args().nth(1).is_some_and(|a| a == "grow");
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let mut shape = Shape::pods(if grow { 10_000 } else { args.next().unwrap_or(10_000) });
    if grow {
        let apps = shape.namespaces * shape.apps_per_namespace;
        shape.replicas = args.next().unwrap_or(10_000) / apps;
    }
    if let Some(policies) = args.next() {
        shape.policies = policies;
    }
    if let Some(replicas) = args.next() {
        shape.namespaces = shape.namespaces * shape.replicas / replicas;
        shape.replicas = replicas;
    }
    let generated = generate(&shape);
    let options = Options::default();
    let mut facts = Facts::default();
    portcullis_front::parse_in_batches(FileId(0), "cluster.yaml", &generated.cluster, &mut |mut part| {
        for o in &mut part.objects {
            if grow && matches!(o.body, Body::Pod(_)) {
                o.meta.labels.push(("instance".into(), o.meta.name.value.clone()));
            }
            facts.add(o);
        }
    });
    let objects: Vec<_> = generated
        .policies
        .iter()
        .flat_map(|(n, t)| portcullis_front::parse(FileId(0), n, t).objects)
        .collect();
    let t = Instant::now();
    let cluster = Cluster::from_facts(&[&facts], &options);
    let policies = lower::lower(&objects, &cluster, &options);
    println!("cluster and lowering {:>8.1} ms", ms(t));
    let t = Instant::now();
    let input = Input { policies: &policies, cluster: &cluster, options: &options };
    let e = Evaluation::new(&[input], &[]);
    let built = build(&e, None, &|c| format!("{c:?}")).expect("an image");
    println!("evaluation and image {:>8.1} ms", ms(t));
    let image = Image::parse(&built.bytes).expect("an image");
    let causes = image.section(Section::Causes).len();
    println!(
        "{} identities, {} peer classes, {} subject classes, {} atoms, {} rows, {} words, {} bytes and {causes} of causes",
        image.count(header::IDENTITIES),
        image.count(header::PEER_CLASSES),
        image.count(header::SUBJECT_CLASSES),
        image.count(header::ATOMS),
        image.count(header::ROWS),
        image.count(header::WORDS),
        built.bytes.len() - causes
    );
    let size = |s: Section| image.section(s).len();
    println!(
        "bytes: {} by identity and endpoint, {} of ports, {} of pairs, {} of rows and words",
        size(Section::PeerClass) + size(Section::SubjectOf),
        size(Section::PortDirectory) + size(Section::PortPages),
        size(Section::Subjects)
            + size(Section::PairDirectory)
            + size(Section::PairPages)
            + size(Section::Locals),
        size(Section::RowDirectory) + size(Section::RowPages) + size(Section::Words)
    );
    let t = Instant::now();
    let report = verify(&built.bytes, input, &e.universe, None, &|c| format!("{c:?}")).expect("an image");
    println!(
        "verify               {:>8.1} ms, {} pairs, {} cells, {} differences, {} flows",
        ms(t),
        report.pairs,
        report.cells,
        report.differences.len(),
        report.flows
    );
    for d in report.differences.iter().take(3) {
        println!("{d:?}");
    }
    let t = Instant::now();
    let maps = PolicyMaps::new(&e).maps(None);
    println!(
        "policy maps          {:>8.1} ms, {} entries in all, {} in the largest",
        ms(t),
        maps.iter().map(|m| m.endpoints * m.entries as u64).sum::<u64>(),
        maps.first().map_or(0, |m| m.entries)
    );
    let mut some = FixedBitSet::with_capacity(e.universe.groups);
    // 50 pods on one node, each of another label set.
    let step = (e.universe.groups / 50).max(1);
    (0..e.universe.groups).step_by(step).take(50).for_each(|n| some.insert(n));
    let slice = build(&e, Some(&some), &|_| String::new()).expect("an image");
    println!("slice of {} groups: {} bytes", some.count_ones(..), slice.bytes.len());
}

fn ms(t: Instant) -> f64 {
    t.elapsed().as_secs_f64() * 1e3
}
