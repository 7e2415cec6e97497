//! What the service image costs: `services [ENDPOINTS]`, one line for each number of services.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a measuring tool")]

use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_services::{Image, NodeContext, Numbers, Services, Settings, compile, resolve};
use std::fmt::Write as _;
use std::time::Instant;

/// What the agent uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A cluster address, a node port and a slice each.
fn world(services: usize, endpoints: usize) -> Vec<Object> {
    let mut text = String::new();
    for n in 0..services {
        let (a, b) = (n / 250, n % 250 + 1);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: ns{}}}\nspec: {{type: NodePort, clusterIPs: [10.96.{a}.{b}], ports: [{{name: http, port: 80, nodePort: {}}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-x, namespace: ns{}, labels: {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints:\n",
            n % 40,
            20_000 + n,
            n % 40
        );
        for e in 0..endpoints {
            let _ = writeln!(text, "- {{addresses: [10.{}.{a}.{b}], nodeName: node{}}}", 128 + e, e % 100);
        }
    }
    portcullis_front::parse(FileId(0), "services.yaml", &text).objects
}

fn main() {
    let endpoints = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(10);
    let node =
        NodeContext { name: "node0".into(), zone: None, addresses: vec!["192.0.2.1".parse().unwrap()] };
    println!(
        "services frontends backends | gather resolve tables changed, ms | bytes, bytes with Maglev 1021"
    );
    for services in [100, 1_000, 10_000] {
        let objects = world(services, endpoints);
        let ms = |t: Instant| t.elapsed().as_secs_f64() * 1000.0;
        let mut runs: Vec<[f64; 4]> = Vec::new();
        let mut last = None;
        for _ in 0..5 {
            let t = Instant::now();
            let all = Services::of(&objects);
            let gathered = ms(t);
            let t = Instant::now();
            let resolved = resolve(&all, &node);
            let found = ms(t);
            let t = Instant::now();
            let compiled = compile(&resolved, &Numbers::default(), &Settings::default()).unwrap();
            let tables = ms(t);
            // One service more, with the numbers of before.
            let more = world(services + 1, endpoints);
            let t = Instant::now();
            compile(&resolve(&Services::of(&more), &node), &compiled.numbers, &Settings::default()).unwrap();
            runs.push([gathered, found, tables, ms(t)]);
            last = Some((resolved, compiled));
        }
        let (resolved, compiled) = last.unwrap();
        let median = |at: usize| {
            let mut all: Vec<f64> = runs.iter().map(|r| r[at]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let settings = Settings { maglev: true, maglev_size: 1021 };
        let maglev = compile(&resolved, &Numbers::default(), &settings).map(|c| c.image.len());
        let backends = Image::parse(&compiled.image).unwrap().backends().count();
        println!(
            "{services} {} {backends} | {:.2} {:.2} {:.2} {:.2} | {} {maglev:?}",
            resolved.frontends.len(),
            median(0),
            median(1),
            median(2),
            median(3),
            compiled.image.len(),
        );
    }
}
