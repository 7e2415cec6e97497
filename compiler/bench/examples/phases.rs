//! Where the time of a comparison goes: `phases [PODS] [POLICIES]`, one line a phase.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a measuring tool")]

use portcullis_bench::{Shape, change_one, generate};
use portcullis_diag::{FileId, Severity};
use portcullis_front::ast::Object;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, lower};
use portcullis_sema::diff::review;
use portcullis_sema::universe::Input;
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let mut shape = Shape::pods(args.next().unwrap_or(10_000));
    if let Some(policies) = args.next() {
        shape.policies = policies;
    }
    let generated = generate(&shape);
    let changed = change_one(&generated);
    let bytes: usize = generated.policies.iter().map(|(_, t)| t.len()).sum();
    println!(
        "{} policies, {} KB; cluster {} KB",
        generated.policies.len(),
        bytes / 1024,
        generated.cluster.len() / 1024
    );

    let t = Instant::now();
    let events: usize = generated
        .policies
        .iter()
        .chain(std::iter::once(&(String::new(), generated.cluster.clone())))
        .map(|(_, text)| granit_parser::Parser::new_from_str(text).flatten().count())
        .sum();
    println!("{:<28} {:>8.1} ms ({events} events)", "merely parsing, one thread", ms(t));

    let t = Instant::now();
    let parse = |text: &str, name: &str| -> Vec<Object> {
        let p = portcullis_front::parse(FileId(0), name, text);
        for d in p.diagnostics.iter().filter(|d| d.severity > Severity::Note).take(3) {
            println!("{name}: {} {}", d.code, d.message);
        }
        p.objects
    };
    let mut facts = Facts::default();
    portcullis_front::parse_in_batches(FileId(0), "cluster.yaml", &generated.cluster, &mut |part| {
        part.objects.iter().for_each(|o| facts.add(o));
    });
    println!("{:<28} {:>8.1} ms", "reading the cluster", ms(t));
    println!("{:<28} {:>8} MB", "most memory so far", peak_mb());
    let t = Instant::now();
    let base: Vec<Object> = generated.policies.iter().flat_map(|(n, t)| parse(t, n)).collect();
    println!("{:<28} {:>8.1} ms", "reading the policies, 1 thr", ms(t));
    let head: Vec<Object> = generated
        .policies
        .iter()
        .flat_map(|(n, t)| parse(if *n == changed.0 { &changed.1 } else { t }, n))
        .collect();
    let options = Options::default();
    let t = Instant::now();
    let cluster = Cluster::from_facts(&[&facts], &options);
    println!(
        "{:<28} {:>8.1} ms ({} endpoints, {} identities)",
        "building the cluster",
        ms(t),
        cluster.endpoints.len(),
        cluster.identities.len()
    );
    let t = Instant::now();
    let b = lower::lower(&base, &cluster, &options);
    let h = lower::lower(&head, &cluster, &options);
    println!("{:<28} {:>8.1} ms ({} rules)", "lowering both sides", ms(t), h.rules.len());
    let t = Instant::now();
    let input = |p| Input { policies: p, cluster: &cluster, options: &options };
    let r = review(input(&b), input(&h));
    println!("{:<28} {:>8.1} ms ({} findings, {:?})", "comparing", ms(t), r.findings.len(), r.totals);
    println!("{:<28} {:>8} MB", "most memory so far", peak_mb());
    let empty = portcullis_ir::PolicySet::default();
    let t = Instant::now();
    let r = review(input(&empty), input(&h));
    println!(
        "{:<28} {:>8.1} ms ({} findings, {:?})",
        "comparing with nothing",
        ms(t),
        r.findings.len(),
        r.totals
    );
    let t = Instant::now();
    let r = portcullis_sema::reach::reach(input(&h), None, None);
    println!("{:<28} {:>8.1} ms ({} edges)", "reach, all", ms(t), r.edges.len());
}

/// The process's largest resident set, from the kernel.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn ms(t: Instant) -> f64 {
    t.elapsed().as_secs_f64() * 1e3
}
