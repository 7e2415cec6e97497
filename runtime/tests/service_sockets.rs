//! Services for pods of the node, at their sockets: an agent with files, real sockets, and the cases of
//! sig-network by their names. Each asks in both families; many ask from outside, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use portcullis_agent::lab::Lab;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::cgroup::Group;
use support::teller::{Teller, any, ask_tcp, ask_udp, tell};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// How long something may take that should come, and what should not.
const SOON: Duration = Duration::from_secs(3);
const NEVER: Duration = Duration::from_millis(400);
/// How long a change may take until it counts.
const PATIENCE: Duration = Duration::from_secs(20);

/// `web`, `api` and `shell` are pods of the node, `client` and `far` are behind its devices to the outside.
const PODS: [&str; 5] = ["web", "api", "shell", "client", "far"];
const OUTSIDE: [&str; 2] = ["client", "far"];

struct Scene {
    agent: Agent,
    /// The threads of the node's pods are here while they ask.
    cgroup: Group,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.agent.kill();
    }
}

fn scene(name: &str) -> Option<Scene> {
    let mut agent = Agent::new(&format!("sk{name}"), &PODS)?;
    let cgroup = Group::new(name);
    agent.configure(&format!(
        "cluster: [cluster]\nservices: {{devices: [v-client, v-far], addresses: [10.77.0.1, \"fd77::1\"], cgroup: {}}}\n",
        cgroup.0.display()
    ));
    let pods: Vec<_> =
        agent.lab.pods().iter().filter(|p| !OUTSIDE.contains(&p.name.as_str())).cloned().collect();
    agent.write_config_of(&pods, &|pod| format!("{{app: {pod}}}"));
    fs::create_dir_all(agent.folder.join("cluster")).unwrap();
    Some(Scene { agent, cgroup })
}

/// How an endpoint is: `ready`, `serving`, `terminating`.
#[derive(Clone, Copy)]
enum State {
    Ready,
    Draining,
    Gone,
}

/// A Service and its slices, as the API server has them.
struct Shop {
    /// Lines of `spec`.
    spec: String,
    /// Labels of the Service and its slices.
    labels: String,
    /// Name, port, protocol, target.
    ports: Vec<(&'static str, u16, &'static str, u16)>,
    endpoints: Vec<(&'static str, State)>,
    cluster_ip: bool,
    node_port: Option<u16>,
}

impl Shop {
    fn new(endpoints: &[&'static str]) -> Self {
        Self {
            spec: "type: ClusterIP".into(),
            labels: String::new(),
            ports: vec![("http", 80, "TCP", 8080), ("dns", 80, "UDP", 8080)],
            endpoints: endpoints.iter().map(|e| (*e, State::Ready)).collect(),
            cluster_ip: true,
            node_port: None,
        }
    }

    fn spec(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.spec);
        self
    }

    fn node_port(mut self, lines: &str) -> Self {
        self.spec = format!("type: NodePort\n  {lines}");
        self.node_port = Some(30_080);
        self
    }

    fn text(&self, scene: &Scene) -> String {
        let mut out = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: lab, labels: {{{}}}}}\nspec:\n  {}\n",
            self.labels, self.spec
        );
        if self.cluster_ip {
            out.push_str(
                "  clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, \"fd96::10\"]\n  ipFamilies: [IPv4, IPv6]\n  \
                 ipFamilyPolicy: RequireDualStack\n",
            );
        }
        out.push_str("  ports:\n");
        for (at, (name, port, protocol, target)) in self.ports.iter().enumerate() {
            write!(out, "  - {{name: {name}, port: {port}, protocol: {protocol}, targetPort: {target}")
                .unwrap();
            if let Some(node) = self.node_port {
                // Ports of one number for both protocols, as the first two have.
                write!(out, ", nodePort: {}", usize::from(node) + at / 2).unwrap();
            }
            out.push_str("}\n");
        }
        for (kind, v6) in [("IPv4", false), ("IPv6", true)] {
            writeln!(
                out,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: shop-{}\n  namespace: lab\n  \
                 labels: {{kubernetes.io/service-name: shop{}{}}}\naddressType: {kind}\nports:",
                kind.to_lowercase(),
                if self.labels.is_empty() { "" } else { ", " },
                self.labels,
            )
            .unwrap();
            for (name, _, protocol, target) in &self.ports {
                writeln!(out, "- {{name: {name}, port: {target}, protocol: {protocol}}}").unwrap();
            }
            out.push_str(if self.endpoints.is_empty() { "endpoints: []\n" } else { "endpoints:\n" });
            for (pod, state) in &self.endpoints {
                let (ready, serving, terminating) = match state {
                    State::Ready => (true, true, false),
                    State::Draining => (false, true, true),
                    State::Gone => (false, false, true),
                };
                writeln!(
                    out,
                    "- {{addresses: [\"{}\"], nodeName: {}, conditions: {{ready: {ready}, serving: {serving}, terminating: {terminating}}}}}",
                    scene.ip(pod, v6),
                    if OUTSIDE.contains(pod) { "elsewhere" } else { "test" },
                )
                .unwrap();
            }
        }
        out
    }
}

fn cluster_ip(v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = if v6 { "fd96::10".parse().unwrap() } else { [10, 96, 0, 10].into() };
    (ip, port).into()
}

fn node_ip(v6: bool, port: u16) -> SocketAddr {
    let ip: IpAddr = if v6 { "fd77::1".parse().unwrap() } else { [10, 77, 0, 1].into() };
    (ip, port).into()
}

fn refused(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::ConnectionRefused
}

fn unreachable(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::HostUnreachable
}

fn silent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

impl Scene {
    fn ip(&self, who: &str, v6: bool) -> IpAddr {
        let pod = self.agent.lab.pods().iter().find(|p| p.name == who).unwrap();
        if v6 { pod.v6 } else { pod.v4 }
    }

    /// Writes the cluster's objects as one change.
    fn cluster(&self, text: &str) {
        let beside = self.agent.folder.join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.agent.folder.join("cluster").join("c.yaml")).unwrap();
    }

    fn set(&self, shop: &Shop) {
        self.cluster(&shop.text(self));
    }

    /// Tellers of a pod in both families.
    fn serve(&self, who: &str, port: u16) -> Vec<Teller> {
        let lab = &self.agent.lab;
        let one = |v6| tell(lab, &lab.namespace(who), who, (self.ip(who, v6), port).into());
        vec![one(false), one(true)]
    }

    /// Runs something as a process of a pod, or of somebody outside.
    fn as_(&self, who: &str, work: impl FnOnce() -> io::Result<String> + Send) -> io::Result<String> {
        let threads = (!OUTSIDE.contains(&who)).then(|| self.cgroup.threads());
        let ns = if who == "node" { self.agent.lab.node() } else { self.agent.lab.namespace(who) };
        self.agent.lab.inside(&ns, move || {
            if let Some(threads) = threads {
                fs::write(threads, "0")?;
            }
            work()
        })
    }

    /// Who answers.
    fn ask(&self, from: &str, protocol: u8, to: SocketAddr, patience: Duration) -> io::Result<String> {
        let said = self.as_(from, move || match protocol {
            TCP => ask_tcp(to, patience),
            _ => ask_udp(&UdpSocket::bind(any(to))?, to, patience),
        })?;
        Ok(said.split(' ').next().unwrap().to_owned())
    }

    /// Waits until an answer, or none, is as it should be.
    fn until(
        &self,
        what: &str,
        from: &str,
        protocol: u8,
        to: SocketAddr,
        fits: impl Fn(&io::Result<String>) -> bool,
    ) {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.ask(from, protocol, to, NEVER);
            if fits(&said) {
                return;
            }
            let agent = &self.agent;
            assert!(
                Instant::now() < end,
                "{what}, {protocol} {to}: {said:?}\n{}\n{:#}",
                agent.log(),
                agent.status()
            );
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until one of these answers, and then sees that over many times all of them do and nobody else.
    fn answered_by(&self, from: &str, protocol: u8, to: SocketAddr, who: &[&str]) {
        let wanted: BTreeSet<String> = who.iter().map(|w| (*w).to_owned()).collect();
        let end = Instant::now() + PATIENCE;
        loop {
            let seen: Result<BTreeSet<String>, _> =
                (0..if who.len() > 1 { 40 } else { 8 }).map(|_| self.ask(from, protocol, to, SOON)).collect();
            if seen.as_ref().is_ok_and(|s| *s == wanted) {
                return;
            }
            let agent = &self.agent;
            assert!(
                Instant::now() < end,
                "{from} {protocol} {to}: {seen:?}\n{}\n{:#}",
                agent.log(),
                agent.status()
            );
            thread::sleep(Duration::from_millis(30));
        }
    }
}

fn each(test: impl Fn(bool, u8)) {
    for v6 in [false, true] {
        for p in [TCP, UDP] {
            test(v6, p);
        }
    }
}

#[test]
fn should_serve_a_basic_endpoint_from_pods() {
    let Some(mut s) = scene("basic") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    s.set(&Shop::new(&[]));
    s.agent.start();
    // "should be rejected when no endpoints exist" begins and ends this.
    for endpoints in [&["web"][..], &["web", "api"], &["api"], &[]] {
        s.set(&Shop::new(endpoints));
        each(|v6, p| match endpoints {
            [] => s.until("rejected", "shell", p, cluster_ip(v6, 80), |r| r.as_ref().is_err_and(refused)),
            _ => s.answered_by("shell", p, cluster_ip(v6, 80), endpoints),
        });
    }
    // Nobody outside has a way to it.
    s.set(&Shop::new(&["web"]));
    each(|v6, p| {
        s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]);
        assert!(s.ask("client", p, cluster_ip(v6, 80), NEVER).is_err_and(|e| silent(&e)));
    });
    let status = s.agent.status();
    assert_eq!(status["services"]["sockets"]["cgroup"], s.cgroup.0.to_str().unwrap(), "{status:#}");
    assert_eq!(status["healthy"], true, "{status:#}");
}

#[test]
fn should_serve_multiport_endpoints_from_pods() {
    let Some(mut s) = scene("multi") else { return };
    let _servers = (s.serve("web", 8080), s.serve("web", 9090), s.serve("api", 9090));
    let mut shop = Shop::new(&["web"]);
    shop.ports = vec![("http", 80, "TCP", 8080), ("admin", 81, "TCP", 9090)];
    s.set(&shop);
    s.agent.start();
    for v6 in [false, true] {
        for port in [80, 81] {
            s.answered_by("shell", TCP, cluster_ip(v6, port), &["web"]);
        }
        // What is no port of it is no service.
        assert!(s.ask("shell", TCP, cluster_ip(v6, 82), NEVER).is_err());
    }
    shop.ports.remove(0);
    s.set(&shop);
    for v6 in [false, true] {
        s.until("gone", "shell", TCP, cluster_ip(v6, 80), Result::is_err);
        s.answered_by("shell", TCP, cluster_ip(v6, 81), &["web"]);
    }
}

#[test]
fn should_serve_endpoints_on_same_port_and_different_protocols() {
    let Some(mut s) = scene("proto") else { return };
    let _servers = (s.serve("web", 8080), s.serve("web", 9090));
    let mut shop = Shop::new(&["web"]);
    shop.ports = vec![("tcp", 80, "TCP", 8080), ("udp", 80, "UDP", 9090)];
    s.set(&shop);
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    shop.ports.remove(1);
    s.set(&shop);
    for v6 in [false, true] {
        s.until("no UDP", "shell", UDP, cluster_ip(v6, 80), Result::is_err);
        s.answered_by("shell", TCP, cluster_ip(v6, 80), &["web"]);
    }
}

const STICKY: &str = "sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 100}}";

/// One backend answers, whichever it is.
fn sticks(s: &Scene, from: &str, protocol: u8, to: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen: Result<BTreeSet<String>, _> = (0..15).map(|_| s.ask(from, protocol, to, SOON)).collect();
        if seen.as_ref().is_ok_and(|s| s.len() == 1) {
            return;
        }
        assert!(Instant::now() < end, "{from} {protocol} {to}: {seen:?}\n{}", s.agent.log());
    }
}

#[test]
fn should_have_session_affinity_work_for_service_with_type_cluster_ip_and_be_able_to_switch_it() {
    let Some(mut s) = scene("aff") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    s.set(&Shop::new(&["web", "api"]).spec(&format!("type: ClusterIP\n  {STICKY}")));
    s.agent.start();
    each(|v6, p| sticks(&s, "shell", p, cluster_ip(v6, 80)));
    s.set(&Shop::new(&["web", "api"]));
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web", "api"]));
    s.set(&Shop::new(&["web", "api"]).spec(&format!("type: ClusterIP\n  {STICKY}")));
    each(|v6, p| sticks(&s, "shell", p, cluster_ip(v6, 80)));
    // Its backend goes: it gets the other one.
    let before = s.ask("shell", TCP, cluster_ip(false, 80), SOON).unwrap();
    let other = if before == "web" { "api" } else { "web" };
    s.set(&Shop::new(&[other]).spec(&format!("type: ClusterIP\n  {STICKY}")));
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &[other]));
}

#[test]
fn should_have_session_affinity_work_for_node_port_service_and_be_able_to_switch_it() {
    let Some(mut s) = scene("affnp") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    s.set(&Shop::new(&["web", "api"]).node_port(STICKY));
    s.agent.start();
    for from in ["shell", "client"] {
        each(|v6, p| sticks(&s, from, p, node_ip(v6, 30_080)));
    }
    s.set(&Shop::new(&["web", "api"]).node_port(""));
    for from in ["shell", "client"] {
        each(|v6, p| s.answered_by(from, p, node_ip(v6, 30_080), &["web", "api"]));
    }
    s.set(&Shop::new(&["web", "api"]).node_port(STICKY));
    for from in ["shell", "client"] {
        each(|v6, p| sticks(&s, from, p, node_ip(v6, 30_080)));
    }
}

#[test]
fn should_be_able_to_change_the_type() {
    let Some(mut s) = scene("types") else { return };
    let _servers = s.serve("web", 8080);
    let external = || {
        let mut shop = Shop::new(&[]).spec("type: ExternalName\n  externalName: example.com");
        shop.cluster_ip = false;
        shop
    };
    s.set(&external());
    s.agent.start();
    let cluster = |works: bool| {
        each(|v6, p| {
            if works {
                s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]);
            } else {
                s.until("no cluster address", "shell", p, cluster_ip(v6, 80), Result::is_err);
            }
        });
    };
    let node = |works: bool| {
        for from in ["shell", "client"] {
            each(|v6, p| {
                if works {
                    s.answered_by(from, p, node_ip(v6, 30_080), &["web"]);
                } else {
                    s.until("no node port", from, p, node_ip(v6, 30_080), Result::is_err);
                }
            });
        }
    };
    // ExternalName to ClusterIP, to NodePort, to ClusterIP, to ExternalName, to NodePort, to ExternalName.
    cluster(false);
    s.set(&Shop::new(&["web"]));
    cluster(true);
    node(false);
    s.set(&Shop::new(&["web"]).node_port(""));
    cluster(true);
    node(true);
    s.set(&Shop::new(&["web"]));
    cluster(true);
    node(false);
    s.set(&external());
    cluster(false);
    s.set(&Shop::new(&["web"]).node_port(""));
    node(true);
    s.set(&external());
    node(false);
    cluster(false);
}

#[test]
fn should_be_able_to_create_a_functioning_node_port_service_and_reject_without_endpoints() {
    let Some(mut s) = scene("np") else { return };
    let _servers = (s.serve("web", 8080), s.serve("far", 8080));
    s.set(&Shop::new(&["web", "far"]).node_port(""));
    s.agent.start();
    for from in ["shell", "client", "node"] {
        each(|v6, p| s.answered_by(from, p, node_ip(v6, 30_080), &["web", "far"]));
    }
    s.set(&Shop::new(&[]).node_port(""));
    for from in ["shell", "client", "node"] {
        each(|v6, p| s.until("rejected", from, p, node_ip(v6, 30_080), |r| r.as_ref().is_err_and(refused)));
    }
}

#[test]
fn should_fallback_to_terminating_endpoints_when_there_are_no_ready_endpoints() {
    let Some(mut s) = scene("term") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    let of = |web: State, api: Option<State>, lines: &str| {
        let mut shop = Shop::new(&[]).node_port(lines);
        shop.endpoints = std::iter::once(("web", web)).chain(api.map(|a| ("api", a))).collect();
        shop
    };
    s.set(&of(State::Draining, None, ""));
    s.agent.start();
    for lines in ["", "internalTrafficPolicy: Local\n  externalTrafficPolicy: Local"] {
        s.set(&of(State::Draining, None, lines));
        let everywhere = |who: &[&str]| {
            each(|v6, p| {
                s.answered_by("shell", p, cluster_ip(v6, 80), who);
                s.answered_by("client", p, node_ip(v6, 30_080), who);
            });
        };
        everywhere(&["web"]);
        // One that is ready takes all, and the one that drains nothing.
        s.set(&of(State::Draining, Some(State::Ready), lines));
        everywhere(&["api"]);
        s.set(&of(State::Gone, Some(State::Draining), lines));
        everywhere(&["api"]);
    }
}

#[test]
fn should_respect_internal_and_external_traffic_policy() {
    let Some(mut s) = scene("policy") else { return };
    let _servers = (s.serve("web", 8080), s.serve("far", 8080));
    s.set(&Shop::new(&["web", "far"]));
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web", "far"]));
    s.set(&Shop::new(&["web", "far"]).spec("type: ClusterIP\n  internalTrafficPolicy: Local"));
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    // Elsewhere only: nobody here may have it, and is told so at once instead of waiting.
    s.set(&Shop::new(&["far"]).spec("type: ClusterIP\n  internalTrafficPolicy: Local"));
    each(|v6, p| s.until("no way", "shell", p, cluster_ip(v6, 80), |r| r.as_ref().is_err_and(unreachable)));
    s.set(&Shop::new(&["web", "far"]).node_port("externalTrafficPolicy: Local"));
    each(|v6, p| {
        s.answered_by("client", p, node_ip(v6, 30_080), &["web"]);
        // Pods of the cluster get all of them by the cluster's address.
        s.answered_by("shell", p, cluster_ip(v6, 80), &["web", "far"]);
    });
    s.set(&Shop::new(&["far"]).node_port("externalTrafficPolicy: Local"));
    each(|v6, p| s.until("dropped", "client", p, node_ip(v6, 30_080), |r| r.as_ref().is_err_and(silent)));
}

#[test]
fn should_be_able_to_preserve_udp_traffic_when_server_pod_cycles() {
    let Some(mut s) = scene("cycle") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    s.set(&Shop::new(&["web"]).node_port(""));
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    let ends =
        |v6| [("shell", cluster_ip(v6, 80)), ("shell", node_ip(v6, 30_080)), ("client", node_ip(v6, 30_080))];
    let mut sockets = Vec::new();
    for v6 in [false, true] {
        for (from, to) in ends(v6) {
            // One port throughout, and no connection: as a resolver or a client of a game would.
            let threads = self_threads(&s, from);
            let ns = s.agent.lab.namespace(from);
            let socket = s.agent.lab.inside(&ns, move || {
                if let Some(threads) = threads {
                    fs::write(threads, "0")?;
                }
                UdpSocket::bind(any(to))
            });
            sockets.push((socket.unwrap(), to));
        }
    }
    let say = |socket: &UdpSocket, to: SocketAddr| -> io::Result<String> {
        socket.set_read_timeout(Some(NEVER))?;
        socket.send_to(b"hello", to)?;
        let mut buffer = [0; 256];
        let (n, from) = socket.recv_from(&mut buffer)?;
        // It never sees the backend's address.
        assert_eq!(from, to);
        Ok(String::from_utf8_lossy(&buffer[..n]).split(' ').next().unwrap().to_owned())
    };
    for who in ["web", "api", "web"] {
        s.set(&Shop::new(&[who]).node_port(""));
        for (socket, to) in &sockets {
            let end = Instant::now() + PATIENCE;
            while !say(socket, *to).is_ok_and(|w| w == who) {
                assert!(Instant::now() < end, "{to} {who}\n{}", s.agent.log());
                thread::sleep(Duration::from_millis(30));
            }
        }
    }
    // With two it stays with the one that it has.
    s.set(&Shop::new(&["web", "api"]).node_port(""));
    s.answered_by("shell", UDP, cluster_ip(false, 80), &["web", "api"]);
    for (socket, to) in &sockets {
        let all: BTreeSet<String> = (0..20).map(|_| say(socket, *to).unwrap()).collect();
        assert_eq!(all.len(), 1, "{to}: {all:?}");
    }
}

fn self_threads(s: &Scene, who: &str) -> Option<PathBuf> {
    (!OUTSIDE.contains(&who)).then(|| s.cgroup.threads())
}

#[test]
fn should_implement_service_kubernetes_io_headless() {
    let Some(mut s) = scene("headless") else { return };
    let _servers = s.serve("web", 8080);
    s.set(&Shop::new(&["web"]));
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    let mut labelled = Shop::new(&["web"]);
    labelled.labels = "service.kubernetes.io/headless: \"\"".into();
    s.set(&labelled);
    each(|v6, p| s.until("not translated", "shell", p, cluster_ip(v6, 80), Result::is_err));
    s.set(&Shop::new(&["web"]));
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
}

#[test]
fn should_implement_service_kubernetes_io_service_proxy_name() {
    let Some(mut s) = scene("proxyname") else { return };
    let _servers = s.serve("web", 8080);
    let mut labelled = Shop::new(&["web"]);
    labelled.labels = "service.kubernetes.io/service-proxy-name: other".into();
    s.set(&labelled);
    s.agent.start();
    each(|v6, p| s.until("not translated", "shell", p, cluster_ip(v6, 80), Result::is_err));
    s.set(&Shop::new(&["web"]));
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    s.set(&labelled);
    each(|v6, p| s.until("not translated", "shell", p, cluster_ip(v6, 80), Result::is_err));
}

#[test]
fn host_port_validates_that_there_is_no_conflict_between_pods_with_same_host_port_but_different_host_ip_and_protocol()
 {
    let Some(mut s) = scene("hostport") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    let pod = |name: &str, protocol: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: h-{name}, namespace: lab}}\nspec:\n  nodeName: test\n  containers:\n  \
             - name: c\n    image: i\n    ports: [{{containerPort: 8080, hostPort: 31080, protocol: {protocol}}}]\n\
             status: {{phase: Running, podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n---\n",
            v4 = s.ip(name, false),
            v6 = s.ip(name, true),
        )
    };
    s.cluster(&format!("{}{}", pod("web", "TCP"), pod("api", "UDP")));
    s.agent.start();
    for from in ["shell", "client"] {
        for v6 in [false, true] {
            s.answered_by(from, TCP, node_ip(v6, 31_080), &["web"]);
            s.answered_by(from, UDP, node_ip(v6, 31_080), &["api"]);
        }
    }
}

#[test]
fn a_socket_knows_its_peer_as_the_service() {
    let Some(mut s) = scene("peer") else { return };
    let _servers = s.serve("web", 8080);
    s.set(&Shop::new(&["web"]));
    s.agent.start();
    for v6 in [false, true] {
        let to = cluster_ip(v6, 80);
        s.answered_by("shell", TCP, to, &["web"]);
        let peer =
            s.as_("shell", move || Ok(TcpStream::connect_timeout(&to, SOON)?.peer_addr()?.to_string()));
        assert_eq!(peer.unwrap(), to.to_string());
        let peer = s.as_("shell", move || {
            let socket = UdpSocket::bind(any(to))?;
            socket.connect(to)?;
            Ok(socket.peer_addr()?.to_string())
        });
        assert_eq!(peer.unwrap(), to.to_string());
    }
    // A socket of the later family with an address of the earlier one.
    let mapped: SocketAddr = "[::ffff:10.96.0.10]:80".parse().unwrap();
    each(|v6, p| {
        if v6 {
            s.answered_by("shell", p, mapped, &["web"]);
        }
    });
    let peer =
        s.as_("shell", move || Ok(TcpStream::connect_timeout(&mapped, SOON)?.peer_addr()?.to_string()));
    assert_eq!(peer.unwrap(), mapped.to_string());
}

#[test]
fn nobody_on_the_node_takes_a_port_that_a_service_has() {
    let Some(mut s) = scene("bind") else { return };
    let _servers = s.serve("web", 8080);
    s.set(&Shop::new(&["web"]).node_port(""));
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, node_ip(v6, 30_080), &["web"]));
    let bind =
        |who: &str, at: SocketAddr| s.as_(who, move || Ok(TcpListener::bind(at)?.local_addr()?.to_string()));
    for v6 in [false, true] {
        for at in [node_ip(v6, 30_080), (any(node_ip(v6, 0)).ip(), 30_080).into()] {
            let e = bind("node", at).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::AddrInUse, "{at}: {e}");
        }
        assert!(bind("node", node_ip(v6, 30_081)).is_ok());
        // A pod has ports of its own.
        assert!(bind("shell", (any(node_ip(v6, 0)).ip(), 30_080).into()).is_ok());
    }
}

/// Backends are replaced one after the other, as a Deployment does, while clients connect anew all the time.
#[test]
fn a_rolling_restart_fails_no_new_connection() {
    const CONNECTIONS: u64 = 10_000;
    let Some(mut s) = scene("roll") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080), s.serve("far", 8080));
    s.set(&Shop::new(&["web", "api"]).node_port(""));
    s.agent.start();
    for from in ["shell", "client"] {
        each(|v6, p| s.answered_by(from, p, node_ip(v6, 30_080), &["web", "api"]));
    }
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let failures = std::sync::Mutex::new(Vec::new());
    let mut rolls = 0u32;
    thread::scope(|scope| {
        for from in ["shell", "client"] {
            for v6 in [false, true] {
                let (s, done, stop, failures) = (&s, &done, &stop, &failures);
                scope.spawn(move || {
                    let to = if from == "shell" { cluster_ip(v6, 80) } else { node_ip(v6, 30_080) };
                    // One thread for many connections: a thread for each would be most of the work.
                    let said = s.as_(from, move || {
                        while !stop.load(Ordering::Relaxed) {
                            match ask_tcp(to, SOON) {
                                Ok(text) if !text.is_empty() => {}
                                other => failures.lock().unwrap().push(format!("{to}: {other:?}")),
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(String::new())
                    });
                    said.unwrap();
                });
            }
        }
        let all = ["web", "api", "far"];
        let end = Instant::now() + Duration::from_secs(150);
        while done.load(Ordering::Relaxed) < CONNECTIONS && Instant::now() < end {
            for at in 0..3 {
                let (old, kept, new) = (all[at], all[(at + 1) % 3], all[(at + 2) % 3]);
                for states in [
                    vec![(old, State::Ready), (kept, State::Ready), (new, State::Ready)],
                    vec![(old, State::Draining), (kept, State::Ready), (new, State::Ready)],
                    vec![(kept, State::Ready), (new, State::Ready)],
                ] {
                    let mut shop = Shop::new(&[]).node_port("");
                    shop.endpoints = states;
                    s.set(&shop);
                    thread::sleep(Duration::from_millis(150));
                }
                rolls += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    let done = done.load(Ordering::Relaxed);
    assert!(
        failures.is_empty(),
        "{} of {done} failed: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(done >= CONNECTIONS, "{done} connections while {rolls} backends were replaced");
}

/// What is under way goes on while the agent is dead, new connections work, and the next agent changes nothing.
#[test]
fn connections_live_on_when_the_agent_is_killed_under_load() {
    let Some(mut s) = scene("kill") else { return };
    let lab = &s.agent.lab;
    let echoes: Vec<_> = [false, true]
        .map(|v6| lab.tcp_server(&lab.namespace("web"), (s.ip("web", v6), 8080).into()).unwrap())
        .into_iter()
        .collect();
    s.set(&Shop::new(&["web"]).node_port(""));
    s.agent.start();
    let open = |s: &Scene, from: &str, to: SocketAddr| {
        let threads = self_threads(s, from);
        s.agent.lab.inside(&s.agent.lab.namespace(from), move || {
            if let Some(threads) = threads {
                fs::write(threads, "0")?;
            }
            TcpStream::connect_timeout(&to, SOON)
        })
    };
    let ends: Vec<(&str, SocketAddr)> = [false, true]
        .into_iter()
        .flat_map(|v6| {
            [("shell", cluster_ip(v6, 80)), ("shell", node_ip(v6, 30_080)), ("client", node_ip(v6, 30_080))]
        })
        .collect();
    for (from, to) in &ends {
        let end = Instant::now() + PATIENCE;
        while open(&s, from, *to).is_err() {
            assert!(Instant::now() < end, "{from} {to}\n{}", s.agent.log());
        }
    }
    let mut streams: Vec<TcpStream> =
        (0..5).flat_map(|_| &ends).map(|(from, to)| open(&s, from, *to).unwrap()).collect();
    let all_echo = |streams: &mut Vec<TcpStream>| {
        for stream in streams {
            let mut buffer = [0; 5];
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut buffer).unwrap();
        }
    };
    for _ in 0..5 {
        all_echo(&mut streams);
        s.agent.kill();
        all_echo(&mut streams);
        streams.extend(ends.iter().map(|(from, to)| open(&s, from, *to).unwrap()));
        s.agent.start();
        s.agent.wait("the sockets again", |v| v["services"]["sockets"]["cgroup"].is_string());
        all_echo(&mut streams);
    }
    drop(echoes);
}

/// In one change the service goes to the other backend, which policy lets the client reach only then, and no more the
/// first. Whoever mixes the two reaches nobody.
#[test]
fn services_and_policies_change_in_one_step() {
    let Some(mut s) = scene("both") else { return };
    let _servers = (s.serve("web", 8080), s.serve("api", 8080));
    let policy = |open: &str| {
        let other = if open == "web" { "api" } else { "web" };
        let one = |pod: &str, from: &str| {
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {pod}, namespace: lab}}\nspec: \
                 {{podSelector: {{matchLabels: {{app: {pod}}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {from}}}}}}}]}}]}}\n"
            )
        };
        format!("{}{}", one(open, "shell"), one(other, "nobody"))
    };
    let set =
        |s: &Scene, who: &'static str| s.cluster(&format!("{}{}", Shop::new(&[who]).text(s), policy(who)));
    s.agent.policy("none.yaml", "# Policies and services are in one file of the cluster's.\n");
    fs::write(
        s.agent.config(),
        fs::read_to_string(s.agent.config())
            .unwrap()
            .replace("policies: [policies]", "policies: [policies, cluster]"),
    )
    .unwrap();
    set(&s, "web");
    s.agent.start();
    each(|v6, p| s.answered_by("shell", p, cluster_ip(v6, 80), &["web"]));
    let stop = AtomicBool::new(false);
    let seen = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for v6 in [false, true] {
            let (s, stop, seen) = (&s, &stop, &seen);
            scope.spawn(move || {
                let asked = s.as_("shell", move || {
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        let said = ask_tcp(cluster_ip(v6, 80), SOON);
                        seen.lock().unwrap().push((begun.elapsed(), said.map_err(|e| e.to_string())));
                    }
                    Ok(String::new())
                });
                asked.unwrap();
            });
        }
        for n in 0..40 {
            set(&s, if n % 2 == 0 { "api" } else { "web" });
            thread::sleep(Duration::from_millis(120));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_inner().unwrap();
    let names: BTreeSet<&str> = seen
        .iter()
        .filter_map(|(_, s)| s.as_ref().ok()?.split(' ').next())
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(names, BTreeSet::from(["web", "api"]));
    // A connection's choice and its first packet are two moments: a flip between them costs one try, which is sent
    // again after a second and then dropped as the policy of its time says. That is rare, and no mixture of images.
    let lost = seen.iter().filter(|(_, s)| s.is_err()).count();
    assert!(lost <= 40, "{lost} of {} failed: {:?}", seen.len(), seen.iter().find(|(_, s)| s.is_err()));
    println!(
        "{} connections over 40 changes, {lost} between their choice and their first packet",
        seen.len()
    );
    let _ = Lab::interface("web");
}
