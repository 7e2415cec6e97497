//! An agent that translates services: it refuses beside kube-proxy, follows files, flips services and policies
//! together, and answers load balancers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_agent::kernel::{Kernel, Sizes, services_slot_size};
use portcullis_agent::lab::{Lab, Server};
use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::agent::Agent;

const SOON: Duration = Duration::from_secs(3);
const NEVER: Duration = Duration::from_millis(400);

/// `web` and `api` are pods of the node; `client` is behind its device to the outside.
fn agent(name: &str) -> Option<Agent> {
    let mut out = Agent::new(name, &["web", "api", "client"])?;
    out.configure(
        "cluster: [cluster]\nservices: {devices: [v-client], addresses: [10.77.0.1, \"fd77::1\"], sockets: false}\n",
    );
    let pods: Vec<_> = out.lab.pods().iter().filter(|p| p.name != "client").cloned().collect();
    out.write_config_of(&pods, &|pod| format!("{{app: {pod}}}"));
    std::fs::create_dir_all(out.folder.join("cluster")).unwrap();
    out.policy("p.yaml", &policy("everybody"));
    Some(out)
}

/// Lets outsiders reach `web`, or nobody.
fn policy(who: &str) -> String {
    let peers = if who == "everybody" { "{cidr: 0.0.0.0/0}" } else { "{cidr: 192.0.2.0/24}" };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web, namespace: lab}}\n\
         spec: {{podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{from: [{{ipBlock: {peers}}}]}}]}}\n"
    )
}

fn service(spec: &str) -> String {
    // Only services that have one may name a node port.
    let port = if spec.contains("ClusterIP") { "" } else { "nodePort: 30080, " };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: lab}}\nspec:\n  clusterIP: 10.96.0.10\n  \
         ports: [{{name: http, port: 80, targetPort: 8080, {port}protocol: TCP}}]\n  {spec}\n"
    )
}

fn endpoints(pod: &str) -> String {
    let of = |address: &str| {
        format!("endpoints:\n- {{addresses: [\"{address}\"], nodeName: test, conditions: {{ready: true}}}}\n")
    };
    let list = match pod {
        "web" => of("10.77.0.2"),
        "api" => of("10.77.0.3"),
        _ => "endpoints: []\n".to_owned(),
    };
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: shop-1\n  namespace: lab\n  \
         labels: {{kubernetes.io/service-name: shop}}\naddressType: IPv4\nports: [{{name: http, port: 8080, \
         protocol: TCP}}]\n{list}"
    )
}

/// Writes the cluster's files as one change.
fn cluster(agent: &Agent, spec: &str, pod: &str) {
    let text = format!("{}---\n{}", service(spec), endpoints(pod));
    let beside = agent.folder.join("beside");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, agent.folder.join("cluster").join("c.yaml")).unwrap();
}

fn node_port() -> SocketAddr {
    ([10, 77, 0, 1], 30_080).into()
}

fn serve(agent: &Agent, pod: &str) -> Server {
    let ip = agent.lab.pods().iter().find(|p| p.name == pod).unwrap().v4;
    agent.lab.tcp_server(&agent.lab.namespace(pod), (ip, 8080).into()).unwrap()
}

fn connect(agent: &Agent, patience: Duration) -> io::Result<TcpStream> {
    agent.lab.tcp(&agent.lab.namespace("client"), node_port(), patience)
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 5];
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

/// Waits until a connection ends as it should.
fn until(agent: &Agent, what: &str, fits: impl Fn(&io::Result<TcpStream>) -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let done = connect(agent, NEVER);
        if fits(&done) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {done:?}\n{}\n{:#}", agent.log(), agent.status());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn pins(name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/fs/bpf/portcullis-t-{}-{name}", std::process::id()))
}

fn refused(done: &io::Result<TcpStream>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn silent(done: &io::Result<TcpStream>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut)
}

#[test]
fn a_node_port_follows_its_endpoints_and_its_policy() {
    let Some(mut agent) = agent("svc") else { return };
    let (_web, _api) = (serve(&agent, "web"), serve(&agent, "api"));
    cluster(&agent, "type: NodePort", "web");
    agent.start();
    until(&agent, "reachable", Result::is_ok);
    let v = agent.wait("a device", |v| !v["services"]["devices"][0].is_null());
    assert_eq!(v["services"]["devices"][0]["name"], "v-client");
    assert_eq!(v["healthy"], true, "{v:#}");
    // Policy sees the pod's port, and the client.
    agent.policy("p.yaml", &policy("nobody"));
    until(&agent, "denied by policy", silent);
    cluster(&agent, "type: NodePort", "api");
    until(&agent, "reachable at another pod", Result::is_ok);
    cluster(&agent, "type: NodePort", "none");
    until(&agent, "rejected without endpoints", refused);
    cluster(&agent, "type: NodePort\n  externalTrafficPolicy: Local", "api");
    until(&agent, "reachable by local policy", Result::is_ok);
    cluster(&agent, "type: ClusterIP", "api");
    until(&agent, "no node port any more", refused);
}

#[test]
fn services_and_policies_of_a_slot_have_one_number() {
    let Some(mut agent) = agent("svcgen") else { return };
    cluster(&agent, "type: NodePort", "web");
    agent.start();
    agent.wait("a generation", |v| v["generation"] == 1);
    for n in 2..5u64 {
        // Both in one change, or one of them.
        cluster(&agent, "type: NodePort", if n % 2 == 0 { "api" } else { "web" });
        agent.wait("the next generation", |v| v["generation"].as_u64() >= Some(n));
        let folder = pins("svcgen");
        let kernel = Kernel::open(&folder, Sizes::default()).unwrap();
        let services = kernel.open_services(services_slot_size(&folder).unwrap()).unwrap();
        let slot = kernel.active().unwrap().unwrap();
        let image = services.image(slot).unwrap().unwrap();
        let place = portcullis_abi::services::header::GENERATION;
        let number = u64::from_le_bytes(image[place..place + 8].try_into().unwrap());
        assert_eq!(Some(number), agent.status()["generation"].as_u64());
    }
}

#[test]
fn connections_through_services_outlive_the_agent() {
    let Some(mut agent) = agent("svckill") else { return };
    let _web = serve(&agent, "web");
    cluster(&agent, "type: NodePort", "web");
    agent.start();
    until(&agent, "reachable", Result::is_ok);
    let mut stream = connect(&agent, SOON).unwrap();
    assert!(echoes(&mut stream));
    let before = agent.status()["generation"].clone();
    agent.kill();
    assert!(echoes(&mut stream));
    assert!(echoes(&mut connect(&agent, SOON).unwrap()));
    agent.start();
    let v = agent.wait("the devices again", |v| !v["services"]["devices"][0].is_null());
    assert_eq!(v["generation"], before, "nothing has changed");
    assert!(echoes(&mut stream));
    assert!(echoes(&mut connect(&agent, SOON).unwrap()));
    // Taken out, nothing is translated.
    agent.kill();
    let config = agent.config();
    let out = agent.agent(&["detach", "--config", config.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("detached from 3 interfaces"), "{out:?}");
    until(&agent, "no service any more", refused);
}

#[test]
fn a_load_balancer_hears_how_many_endpoints_are_here() {
    let Some(mut agent) = agent("svchc") else { return };
    let spec = "type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 32000";
    cluster(&agent, spec, "web");
    agent.start();
    let ask = || -> io::Result<String> {
        let to = ([10, 77, 0, 1], 32_000).into();
        let mut stream = agent.lab.tcp(&agent.lab.namespace("client"), to, NEVER)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let wait = |what: &str, fits: &dyn Fn(&io::Result<String>) -> bool| {
        let end = Instant::now() + Duration::from_secs(15);
        while !fits(&ask()) {
            assert!(Instant::now() < end, "{what}: {:?}\n{}", ask(), agent.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("one endpoint", &|a| {
        a.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 200") && t.contains("\"localEndpoints\":1"))
    });
    cluster(&agent, spec, "none");
    wait("no endpoint", &|a| a.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 503")));
    cluster(&agent, "type: NodePort", "web");
    wait("no health check", &|a| a.is_err());
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn beside_kube_proxy_it_refuses_until_it_is_told_to_take_over() {
    let Some(agent) = agent("svckp") else { return };
    cluster(&agent, "type: NodePort", "web");
    let sh = agent.lab.on_node(Path::new("nft"), &["add", "table", "ip", "kube-proxy"]).status().unwrap();
    assert!(sh.success());
    let config = agent.config();
    let run = |more: &[&str]| {
        let mut args = vec!["run", "--config", config.to_str().unwrap()];
        args.extend(more);
        agent.agent(&args)
    };
    let out = run(&[]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    for part in ["connections through services would break", "found: nft: table ip kube-proxy", "--takeover"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(!agent.folder.join("state").join("agent.sock").exists());
    let log = std::fs::File::create(agent.folder.join("log")).unwrap();
    let child = run(&["--takeover"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let _running = Running(child);
    let v: Value = agent.wait("devices", |v| !v["services"]["devices"][0].is_null());
    assert_eq!(v["services"]["devices"][0]["name"], "v-client");
    assert!(agent.log().contains("taken over beside kube-proxy"), "{}", agent.log());
    assert_eq!(Lab::interface("client"), "v-client");
}
