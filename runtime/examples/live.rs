//! Measures an agent that follows a large cluster: from the lists to enforcement, a pod added, a policy changed, memory, and
//! what it costs to do nothing.
//!
//!     cargo build --release -p portcullis-agent && cargo run --release -p portcullis-agent --example live
//!
//! Needs root, `ip` and `nsenter`. The API server is the tests' own, in another process, over loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement"
)]
#![allow(dead_code, unreachable_pub, reason = "the server is shared with tests")]

#[path = "../cluster/tests/support/server.rs"]
mod server;

use portcullis_agent::kernel::{Kernel, Sizes, slot_size};
use portcullis_agent::lab::Lab;
use serde_json::{Value, json};
use server::Server;
use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

const PODS: u32 = 10_000;
const LOCAL: u32 = 100;
const POLICIES: u32 = 1_000;
const SERVICES: u32 = 5_000;
const ROUNDS: u32 = 101;
/// Pods of the node that come later.
const LATER: u32 = 31;

fn address(n: u32) -> String {
    format!("10.{}.{}.{}", 64 + (n >> 16), (n >> 8) & 255, n & 255)
}

fn pod(n: u32, node: &str, more: &Value) -> Value {
    // The size of an ordinary pod: most of it is dropped.
    let filler = "x".repeat(3500);
    let mut labels = json!({"app": format!("app-{}", n % 500), "tier": "backend"});
    labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{n:05}"), "namespace": format!("team-{}", n % 100),
            "labels": labels, "annotations": {"filler": filler},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]},
        "spec": {"nodeName": node, "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "A", "value": "x".repeat(800)}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address(n)}],
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn policy(n: u32, port: u32) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": format!("p-{n}"), "namespace": format!("team-{}", n % 100)},
        "spec": {"endpointSelector": {"matchLabels": {"app": format!("app-{}", n % 500)}},
            "ingress": [{"fromEndpoints": [
                {"matchLabels": {"app": format!("app-{}", (n + 1) % 500)}},
                {"matchLabels": {"app": format!("app-{}", (n + 7) % 500), "k8s:io.kubernetes.pod.namespace": format!("team-{}", (n + 7) % 100)}}],
                "toPorts": [{"ports": [{"port": port.to_string(), "protocol": "TCP"}]}]}]}})
}

fn fill(server: &Server) {
    for n in 0..100 {
        server.apply(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{n}")}}),
        );
        server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{n}")},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.168.1.{n}")}]}}));
    }
    for n in 0..PODS {
        let node = if n < LOCAL { "test".to_owned() } else { format!("node-{}", n % 100) };
        server.apply(pod(n, &node, &json!({})));
    }
    for n in 0..POLICIES {
        server.apply(policy(n, 8080));
    }
    for n in 0..SERVICES {
        let (name, namespace) = (format!("s-{n}"), format!("team-{}", n % 100));
        server.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": format!("10.96.{}.{}", n >> 8, n & 255), "selector": {"app": format!("app-{}", n % 500)},
                "ports": [{"port": 80, "targetPort": 8080}]}}));
        server.apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-x"), "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [address(2 * n)], "conditions": {"ready": true}},
                {"addresses": [address(2 * n + 1)], "conditions": {"ready": true}}],
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]}));
    }
    server.compact();
}

/// Serves; each line of standard input is something to do.
fn serve() {
    let server = Server::start();
    fill(&server);
    println!("{}", server.kubeconfig().replace('\n', "\\n"));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let n: u32 = words[1].parse().unwrap();
        match words[0] {
            "pod" => server.apply(pod(n, "node-1", &json!({}))),
            "here" => server.apply(pod(n, "test", &json!({}))),
            "new" => server.apply(pod(n, "node-1", &json!({"build": format!("b{n}")}))),
            "gone" => server.delete("Pod", &format!("team-{}", n % 100), &format!("pod-{n:05}")),
            "policy" => server.apply(policy(7, n)),
            "slice" => server.apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "s-7-x", "namespace": "team-7", "labels": {"kubernetes.io/service-name": "s-7"}},
                "endpoints": [{"addresses": [address(n)]}], "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]})),
            other => panic!("{other}"),
        }
    }
}

struct Scene {
    lab: Lab,
    folder: PathBuf,
    server: Child,
    ask: ChildStdin,
    agent: Child,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in [&mut self.agent, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let config = self.folder.join("node.yaml");
        let _ = self.lab.on_node(&agent_path(), &["detach", "--config", &config.to_string_lossy()]).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn agent_path() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("portcullis-agent");
    assert!(path.exists(), "build the agent first: cargo build --release -p portcullis-agent");
    path
}

const PINS: &str = "portcullis-live";

fn scene(services: bool) -> Scene {
    let lab = Lab::new("pct-live", &[]).unwrap();
    let node = lab.node();
    let mut batch = String::new();
    for n in (0..LOCAL).chain(PODS..PODS + LATER) {
        use std::fmt::Write as _;
        writeln!(batch, "link add v{n} type veth peer name p{n}\nlink set v{n} up\nlink set p{n} up")
            .unwrap();
        writeln!(batch, "route add {}/32 dev v{n}", address(n)).unwrap();
    }
    let folder = std::env::temp_dir().join(format!("portcullis-live-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("batch"), batch).unwrap();
    let made = Command::new("ip").args(["-n", &node, "-batch"]).arg(folder.join("batch")).status().unwrap();
    assert!(made.success());
    let mut server = lab
        .on_node(&std::env::current_exe().unwrap(), &["serve"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    fs::write(folder.join("kubeconfig"), line.replace("\\n", "\n")).unwrap();
    let more = if services { "services: {devices: [], addresses: [192.0.2.1]}\n" } else { "" };
    let config =
        format!("node: test\nkubernetes: {{kubeconfig: kubeconfig}}\nstate: state\npins: {PINS}\n{more}");
    fs::write(folder.join("node.yaml"), config).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    let agent = lab
        .on_node(&agent_path(), &["run", "--config", &folder.join("node.yaml").to_string_lossy()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let ask = server.stdin.take().unwrap();
    Scene { lab, folder, server, ask, agent }
}

impl Scene {
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn say(&mut self, what: &str, n: u32) -> Instant {
        writeln!(self.ask, "{what} {n}").unwrap();
        Instant::now()
    }

    /// Resident memory in KB, and the largest so far.
    fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        (field("VmRSS"), field("VmHWM"))
    }

    /// Processor time so far, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.agent.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come about");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Median and 99 of 100, in milliseconds.
fn say(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{what}: {:.1} ms median, {:.1} ms of 99 % ({} rounds)", ms(median), ms(late), took.len());
}

/// Seconds of the day of a line of the log.
fn at(line: &str) -> f64 {
    let time = line.split(['T', 'Z']).nth(1).unwrap();
    time.split(':').fold(0.0, |all, part| all * 60.0 + part.parse::<f64>().unwrap())
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let services = std::env::args().nth(1).as_deref() == Some("services");
    let mut scene = scene(services);
    until("the first generation", || scene.log().contains("INFO in use"));
    thread::sleep(Duration::from_secs(1));
    let log = scene.log();
    let find = |what: &str| log.lines().find(|l| l.contains(what)).map(str::to_owned);
    println!("{}", find("INFO in use").unwrap());
    let (listed, used) = (at(&find("has been listed").unwrap()), at(&find("INFO in use").unwrap()));
    println!("from the last list to enforcement: {:.2} s", used - listed);
    println!("memory after it: {:?} KB (now, most)", scene.memory());
    let folder = Path::new("/sys/fs/bpf").join(PINS);
    let sizes = Sizes { slot: slot_size(&folder).unwrap().unwrap(), ..Sizes::default() };
    let sizes = Sizes { addresses: 65_536, prefixes: 65_536, endpoints: 4096, conntrack: 262_144, ..sizes };
    let kernel = Kernel::open(&folder, sizes).unwrap();
    let slot = || kernel.active().unwrap();
    for (what, say_it) in [("pod", "a pod of known labels"), ("new", "a pod of new labels")] {
        let mut took = Vec::new();
        for n in PODS..PODS + ROUNDS {
            let ip: IpAddr = address(n).parse().unwrap();
            let begun = scene.say(what, n);
            until("an address", || kernel.address(ip).unwrap().is_some());
            took.push(begun.elapsed());
            scene.say("gone", n);
            until("its end", || kernel.address(ip).unwrap().is_none());
            thread::sleep(Duration::from_millis(30));
        }
        say(say_it, took);
    }
    let mut took = Vec::new();
    for n in PODS..PODS + LATER {
        let before = kernel.endpoints().unwrap().len();
        let begun = scene.say("here", n);
        until("an endpoint", || kernel.endpoints().unwrap().len() > before);
        took.push(begun.elapsed());
        thread::sleep(Duration::from_millis(300));
    }
    say("a pod of this node, to its programs", took);
    let mut took = Vec::new();
    for n in 0..ROUNDS {
        thread::sleep(Duration::from_millis(300));
        let before = slot();
        let begun = scene.say("policy", 9000 + n);
        until("a flip", || slot() != before);
        took.push(begun.elapsed());
    }
    say("a policy changed, to the flip", took);
    let settle = |scene: &mut Scene| {
        thread::sleep(Duration::from_secs(2));
        let (before, begun) = (scene.ticks(), Instant::now());
        thread::sleep(Duration::from_secs(20));
        f64::from(u32::try_from(scene.ticks() - before).unwrap()) / begun.elapsed().as_secs_f64()
    };
    println!("doing nothing: {:.2} % of one processor", settle(&mut scene));
    for n in 0..20 {
        scene.say("slice", 100 + n);
        thread::sleep(Duration::from_millis(200));
    }
    println!("memory at the end: {:?} KB (now, most)", scene.memory());
    let log = scene.log();
    for line in log.lines().filter(|l| l.contains("WARN") || l.contains("ERROR")).take(5) {
        println!("{line}");
    }
    println!("{}", log.lines().rfind(|l| l.contains("INFO in use")).unwrap());
}
