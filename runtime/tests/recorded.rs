//! The policies of the examples in the kernel, real packets between their pods, and what an agent records of
//! them: `simulate` must come to what the kernel decided, flow for flow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stderr, reason = "what is left out is said")]

mod support;

use portcullis_agent::config::Config;
use portcullis_agent::inputs::pod_text;
use portcullis_agent::lab::{Lab, LabPod};
use portcullis_ir::label::{CLUSTER, NAMESPACE_LABELS, POD_NAMESPACE, SERVICE_ACCOUNT, SOURCE_K8S};
use portcullis_ir::peer::Reserved;
use portcullis_ir::{Cluster, FlowPort, L4, PeerRef, Verdict};
use portcullis_snapshot_tests::case::{Case, folders, root};
use portcullis_snapshot_tests::flows::{End, Flow};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};
use support::agent::Agent;

/// When the newest of the files below a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let times =
        entries.map(|p| if p.is_dir() { newest(&p) } else { p.metadata().unwrap().modified().unwrap() });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The command line that is tested beside the agent: another package's program. With the whole workspace it is built
/// beside this test; alone, or older than its sources, cargo is asked for it.
fn portcullis() -> PathBuf {
    let exe = env::current_exe().unwrap();
    let folder = exe.parent().unwrap().parent().unwrap();
    let program = folder.join("portcullis");
    let built = program.metadata().and_then(|m| m.modified());
    if built.is_ok_and(|built| built > newest(&root().join("compiler"))) {
        return program;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--package", "portcullis-cli"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(root()).status().unwrap().success());
    program
}

/// One end in the lab.
#[derive(Clone)]
struct Place {
    /// The lab's name of it.
    pod: String,
    v4: IpAddr,
    v6: IpAddr,
}

/// The ends of a case's flows as pods of one node; ends that are no pods are namespaces without policy.
struct Scene {
    pods: Vec<LabPod>,
    places: BTreeMap<String, Place>,
    endpoints: Vec<Value>,
}

fn key(end: &End) -> String {
    format!("{end:?}")
}

impl Scene {
    fn new(flows: &[&Flow], cluster: &Cluster) -> Self {
        let mut out = Self { pods: Vec::new(), places: BTreeMap::new(), endpoints: Vec::new() };
        for end in flows.iter().flat_map(|f| [&f.from, &f.to]) {
            if out.places.contains_key(&key(end)) {
                continue;
            }
            let n = u8::try_from(out.pods.len() + 2).unwrap();
            let mut pod = LabPod {
                name: format!("p{n}"),
                v4: IpAddr::from([10, 77, 0, n]),
                v6: IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n)]),
            };
            match end {
                End::Pod(_) => {
                    let Ok(PeerRef::Endpoint(id)) = end.on(cluster) else { continue };
                    out.endpoints.push(endpoint(cluster, id, &pod));
                }
                End::Address(ip, _) if ip.is_ipv4() => pod.v4 = *ip,
                End::Address(ip, _) => pod.v6 = *ip,
                // The node itself.
                End::Entity(_) => {
                    let place = Place {
                        pod: String::new(),
                        v4: [10, 77, 0, 1].into(),
                        v6: "fd77::1".parse().unwrap(),
                    };
                    out.places.insert(key(end), place);
                    continue;
                }
            }
            let place = Place { pod: pod.name.clone(), v4: pod.v4, v6: pod.v6 };
            out.places.insert(key(end), place);
            out.pods.push(pod);
        }
        out
    }
}

/// A pod of the example as an endpoint of the agent's configuration.
fn endpoint(cluster: &Cluster, id: portcullis_ir::EndpointId, pod: &LabPod) -> Value {
    let e = cluster.endpoint(id).unwrap();
    let labels = cluster.labels(e.identity).unwrap();
    let added = [POD_NAMESPACE, CLUSTER, SERVICE_ACCOUNT];
    let own: BTreeMap<&str, &str> = labels
        .iter()
        .filter(|l| {
            l.source == SOURCE_K8S && !added.contains(&l.key.as_str()) && !l.key.starts_with(NAMESPACE_LABELS)
        })
        .map(|l| (l.key.as_str(), l.value.as_str()))
        .collect();
    let ports: Vec<Value> = cluster
        .named_ports(e)
        .iter()
        .map(|(name, l4, port)| json!({"name": name.as_str(), "port": port, "protocol": l4.name()}))
        .collect();
    json!({
        "name": format!("{}-{}", e.name, pod.name), "namespace": e.namespace.as_str(), "interface": Lab::interface(&pod.name),
        "labels": own, "ports": ports, "addresses": [pod.v4, pod.v6],
        "serviceAccount": labels.k8s(SERVICE_ACCOUNT).unwrap_or("default"),
    })
}

/// Whether real sockets can try a flow here: names need DNS, and other nodes are not here.
fn can_be_tried(f: &Flow, cluster: &Cluster) -> bool {
    let is_fine = |end: &End| match end {
        End::Pod(_) => true,
        End::Entity(r) => *r == Reserved::Host,
        End::Address(ip, names) => {
            names.is_empty()
                && !cluster.node_ips.contains(ip)
                && !cluster.pod_cidrs.iter().any(|p| p.contains(ip))
                && !cluster.endpoints().any(|(_, e)| e.ips.contains(ip))
        }
    };
    let is_port = matches!(
        f.port,
        FlowPort::L4(L4::Tcp | L4::Udp, 1..) | FlowPort::Icmp(false, 8) | FlowPort::Icmp(true, 128)
    );
    is_port
        && key(&f.from) != key(&f.to)
        && is_fine(&f.from)
        && is_fine(&f.to)
        && !matches!(f.to, End::Entity(_))
}

/// Sends what a flow is about, and says whether it was answered.
fn tries(agent: &Agent, scene: &Scene, f: &Flow) -> bool {
    let (from, to) = (&scene.places[&key(&f.from)], &scene.places[&key(&f.to)]);
    let v6 = matches!(f.port, FlowPort::Icmp(true, _))
        || [&f.from, &f.to].iter().any(|e| matches!(e, End::Address(IpAddr::V6(_), _)));
    let at = |port| SocketAddr::new(if v6 { to.v6 } else { to.v4 }, port);
    let from = if from.pod.is_empty() { "node" } else { &from.pod };
    match f.port {
        FlowPort::L4(L4::Tcp, port) => agent.reaches(from, at(port)),
        FlowPort::L4(_, port) => agent.udp(from, at(port)),
        _ => agent.pings(from, at(0)),
    }
}

/// What a side came to.
#[derive(Default, Debug)]
struct Tally {
    sides: usize,
    flows: usize,
    denied: usize,
    left: BTreeSet<String>,
}

fn one_side(case: &Case, at: usize, lab: &str, portcullis: &Path, tally: &Mutex<Tally>) {
    let leave = |why: String| tally.lock().unwrap().left.insert(why);
    let (side_name, side) = (&case.sides[at].0, &case.sides[at].1);
    let folder = if side_name == "expect" { "policies" } else { side_name };
    let flows: Vec<&Flow> = case.flows.iter().filter(|f| can_be_tried(f, &side.cluster)).collect();
    if flows.is_empty() {
        leave(format!("{}: no flow that sockets here can try", case.name));
        return;
    }
    let scene = Scene::new(&flows, &side.cluster);
    let Some(mut agent) = Agent::with(lab, scene.pods.clone()) else { return };
    let cluster = case.path.join("cluster.yaml");
    agent.extra("reportAllowed: true\n");
    if cluster.is_file() {
        agent.extra(&format!("cluster: [{}]\n", cluster.display()));
    }
    for file in fs::read_dir(case.path.join(folder)).unwrap() {
        let file = file.unwrap();
        agent.policy(&file.file_name().to_string_lossy(), &fs::read_to_string(file.path()).unwrap());
    }
    // One JSON object an entry is YAML, too.
    let entries: Vec<String> = scene.endpoints.iter().map(|e| format!("- {e}")).collect();
    agent.write_endpoints(&entries.join("\n"));
    agent.start();
    let status = agent.wait("a generation", |v| !v["generation"].is_null() || !v["refused"].is_null());
    if !status["refused"].is_null() {
        leave(format!("{} {side_name}: {}", case.name, status["refused"]));
        return;
    }
    if status["unenforced"].as_array().is_some_and(|u| !u.is_empty()) {
        leave(format!("{} {side_name}: {}", case.name, status["unenforced"][0]));
        return;
    }
    let mut servers = Vec::new();
    let mut served = BTreeSet::new();
    for f in &flows {
        let to = &scene.places[&key(&f.to)];
        if let FlowPort::L4(_, port) = f.port
            && served.insert((to.pod.clone(), port))
        {
            let ns = agent.lab.namespace(&to.pod);
            for ip in [to.v4, to.v6] {
                servers.push(agent.lab.tcp_server(&ns, SocketAddr::new(ip, port)).unwrap());
                servers.push(agent.lab.udp_server(&ns, SocketAddr::new(ip, port)).unwrap());
            }
        }
    }
    let mut denied = 0;
    for f in &flows {
        let expected = f
            .expect
            .iter()
            .find(|(n, _)| n == side_name)
            .map(|(_, e)| e.iter().all(|(_, v)| *v == Verdict::Allowed));
        let answered = tries(&agent, &scene, f);
        assert_eq!(Some(answered), expected, "{} {side_name}: {f:?}\n{}", case.name, agent.log());
        denied += usize::from(!answered);
    }
    let recording = record(&agent, flows.len());
    let recorded = agent.folder.join("flows.jsonl");
    fs::write(&recorded, &recording).unwrap();
    // The lab's pods, as a snapshot of the cluster has them.
    let pods = agent.folder.join("pods.yaml");
    let config = Config::read(&agent.config()).unwrap();
    let texts: Vec<String> = config.endpoints.iter().map(|e| pod_text(e, "test")).collect();
    fs::write(&pods, texts.join("\n---\n")).unwrap();
    let empty = agent.folder.join("none");
    fs::create_dir_all(&empty).unwrap();
    let mut command = Command::new(portcullis);
    command
        .arg("simulate")
        .arg(&recorded)
        .arg("--base")
        .arg(case.path.join(folder))
        .arg("--candidate")
        .arg(&empty);
    command.arg("--cluster").arg(&pods);
    if cluster.is_file() {
        command.arg("--cluster").arg(&cluster);
    }
    let out = command.args(["--format", "json", "--fail-on", "never"]).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{}: {e}: {}", case.name, String::from_utf8_lossy(&out.stderr)));
    let r = &report["recording"];
    let context = || format!("{} {side_name}\n{r:#}\n{recording}", case.name);
    assert_eq!(r["refusedThen"]["flows"], 0, "the kernel refused what the base allows: {}", context());
    assert_eq!(r["passedThen"]["flows"], 0, "the kernel let through what the base denies: {}", context());
    assert_eq!(r["notJudged"], json!([]), "{}", context());
    assert_eq!(r["connections"], flows.len(), "{}", context());
    // Without any policy everything that was denied is allowed, and nothing else changes.
    assert_eq!((&r["allowed"]["flows"], &r["denied"]["flows"]), (&json!(denied), &json!(0)), "{}", context());
    let mut tally = tally.lock().unwrap();
    tally.sides += 1;
    tally.flows += flows.len();
    tally.denied += denied;
}

/// What the agent has seen, once it is at least as many connections as were tried.
fn record(agent: &Agent, wanted: usize) -> String {
    let state = agent.state();
    let mut last = String::new();
    for _ in 0..100 {
        let out = Command::new(env!("CARGO_BIN_EXE_portcullis-agent"))
            .args(["observe", "--all", "-o", "jsonpb", "--state", state.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        if text.lines().count() >= wanted && text == last {
            break;
        }
        last = text;
        thread::sleep(Duration::from_millis(50));
    }
    last
}

#[test]
fn simulation_of_what_an_agent_recorded_agrees_with_the_kernel() {
    if support::pins().is_none() {
        return;
    }
    let portcullis = portcullis();
    // Mostly one waits for what does not come: several at a time.
    let work = Mutex::new(folders(&root().join("policies/examples")).unwrap().into_iter().enumerate());
    let tally = Mutex::new(Tally::default());
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                loop {
                    let next = work.lock().unwrap().next();
                    let Some((n, folder)) = next else { break };
                    let case = Case::read(&folder).unwrap();
                    for at in 0..case.sides.len() {
                        one_side(&case, at, &format!("rec{n}-{at}"), &portcullis, &tally);
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    eprintln!("{} policy sets, {} flows, {} of them denied", tally.sides, tally.flows, tally.denied);
    for left in &tally.left {
        eprintln!("left out: {left}");
    }
    assert!(tally.sides >= 20 && tally.denied >= 50, "{tally:#?}");
}
