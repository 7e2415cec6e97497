//! The whole way of events, from packets that the kernel drops to clients that follow: `flood [PACKETS_A_SECOND]
//! [SECONDS]`. An agent on two pods in network namespaces, a policy that refuses what one sends to the other, a
//! datagram of another flow each time, and two clients of the Observer API. Needs root and the agent beside it:
//! `cargo build --release -p portcullis-agent --bins --examples`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement, not a product"
)]

use portcullis_agent::lab::{Lab, LabPod};
use portcullis_agent::{config, control, node};
use portcullis_hubble::client::{self, Server};
use portcullis_hubble::pb::observer::get_flows_response::ResponseTypes;
use portcullis_hubble::pb::observer::{GetFlowsRequest, GetFlowsResponse};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody, namespace: lab}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
";
/// Sockets of the sender: with the ports of the other end, as many flows as are not told again within five seconds.
const SOCKETS: usize = 16;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Sends at a rate, and says how many were sent.
fn send(lab: &Lab, to: std::net::IpAddr, rate: u64, time: Duration) -> u64 {
    let ns = lab.namespace("web");
    let open = || (0..SOCKETS).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<std::io::Result<Vec<_>>>();
    let sockets = lab.inside(&ns, open).unwrap();
    let (begun, mut sent) = (Instant::now(), 0u64);
    while begun.elapsed() < time {
        for _ in 0..rate / 500 {
            let port = u16::try_from(sent % 60_000).unwrap() + 1024;
            let socket = &sockets[usize::try_from(sent / 60_000).unwrap() % SOCKETS];
            let _ = socket.send_to(b"x", SocketAddr::new(to, port));
            sent += 1;
        }
        let due = Duration::from_nanos(sent * 1_000_000_000 / rate);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    sent
}

fn main() {
    let numbers: Vec<u64> = env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let rate = numbers.first().copied().unwrap_or(100_000);
    let seconds = numbers.get(1).copied().unwrap_or(10);
    let lab = Lab::new("pc-flood", &["web", "db"]).unwrap();
    let folder = env::temp_dir().join(format!("portcullis-flood-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let pod = |p: &LabPod| {
        let (name, interface, v4, v6) = (&p.name, Lab::interface(&p.name), p.v4, p.v6);
        format!(
            "- {{name: {name}, namespace: lab, interface: {interface}, labels: {{app: {name}}}, addresses: [{v4}, \"{v6}\"]}}"
        )
    };
    let pods: Vec<String> = lab.pods().iter().map(pod).collect();
    let text = format!(
        "node: flood\npolicies: [policy.yaml]\nstate: state\npins: portcullis-flood\nendpoints:\n{}\n",
        pods.join("\n")
    );
    let path = folder.join("node.yaml");
    fs::write(&path, text).unwrap();
    let agent = env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("portcullis-agent");
    let mut child = lab
        .on_node(&agent, &["run", "--config", &path.to_string_lossy()])
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let state = folder.join("state");
    let server = Server::new(format!("unix://{}", control::hubble_path(&state).display()));
    for _ in 0..200 {
        if run(client::status(&server)).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(500));
    let heard: Vec<(Arc<AtomicU64>, Arc<AtomicU64>)> = (0..2).map(|_| Default::default()).collect();
    for (flows, lost) in &heard {
        let (flows, lost, server) = (Arc::clone(flows), Arc::clone(lost), server.clone());
        thread::spawn(move || {
            let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
            let each = |r: GetFlowsResponse| {
                match r.response_types {
                    Some(ResponseTypes::Flow(_)) => flows.fetch_add(1, Ordering::Relaxed),
                    Some(ResponseTypes::LostEvents(l)) => {
                        lost.fetch_add(l.num_events_lost, Ordering::Relaxed)
                    }
                    _ => 0,
                };
                true
            };
            let _ = run(client::flows(&server, request, each));
        });
    }
    thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    let sent = send(&lab, lab.pods()[1].v4, rate, Duration::from_secs(seconds));
    let took = begun.elapsed();
    thread::sleep(Duration::from_secs(2));
    println!("{sent} packets dropped in {took:.1?}, {:.0} a second", sent as f64 / took.as_secs_f64());
    let seen = run(client::status(&server)).map_or(0, |s| s.seen_flows);
    let part = |n: u64| 100.0 - n as f64 * 100.0 / sent as f64;
    println!("the agent has seen {seen} of their events, {:.2} % are lost", part(seen));
    for (n, (flows, lost)) in heard.iter().enumerate() {
        let (flows, lost) = (flows.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
        println!("follower {}: {flows} got, {:.2} % lost; told of {lost}", n + 1, part(flows));
    }
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
    if let Ok(config) = config::Config::read(&path) {
        let _ = node::detach(&config);
    }
    let _ = fs::remove_dir_all(&folder);
}
