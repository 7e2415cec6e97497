//! Services for who is elsewhere, end to end: a client's namespace, the node's, a pod's here, and one that is
//! elsewhere, with real sockets. Tests are named after the cases of Kubernetes' sig-network that they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/service_image.rs"]
mod service_image;
mod support;

use portcullis_abi::services::{SMALLEST_SLOT, backend, frontend, kind};
use portcullis_agent::kernel::{DevicePrograms, Kernel, Services, Settings, Sizes};
use portcullis_agent::lab::Lab;
use portcullis_agent::links::links;
use service_image::{Front, image};
use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::teller::{Teller, any, ask_tcp, ask_udp, tell};
use support::{Machine, small};

const TCP: u8 = 6;
const UDP: u8 = 17;
const LOCAL: u8 = backend::LOCAL;
/// How long something may take that should come, and what should not.
const SOON: Duration = Duration::from_secs(3);
const NEVER: Duration = Duration::from_millis(400);

/// `web` and `api` are pods of the node; `client` and `far` are behind its devices to the outside.
const PODS: [&str; 4] = ["web", "api", "client", "far"];
const OUTSIDE: [&str; 2] = ["client", "far"];

struct Node {
    lab: Lab,
    services: Services,
    programs: DevicePrograms,
    slot: u32,
    machine: Option<Machine>,
}

/// A node of a test; `None` where there can be none.
fn node(name: &str) -> Option<Node> {
    let machine = Machine::new(small(), &Settings::default())?;
    let lab = Lab::new(&format!("pct-sd-{name}"), &PODS).unwrap();
    let mut out = on(lab, &machine.kernel, 0);
    out.machine = Some(machine);
    Some(out)
}

/// Programs of services on the outside devices of a lab.
fn on(lab: Lab, kernel: &Kernel, slot: u32) -> Node {
    let services = kernel.open_services(SMALLEST_SLOT).unwrap();
    let mut programs = services.load_devices(kernel).unwrap();
    lab.inside(&lab.node(), || {
        let all = links()?;
        for name in OUTSIDE {
            let link = &all[&Lab::interface(name)];
            services
                .set_device(link.index, Some([10, 77, 0, 1].into()), Some("fd77::1".parse().unwrap()))
                .map_err(io::Error::other)?;
            programs.attach(&link.name, link.index, link.ethernet).map_err(io::Error::other)?;
        }
        Ok(())
    })
    .unwrap();
    Node { lab, services, programs, slot, machine: None }
}

impl Drop for Node {
    fn drop(&mut self) {
        let (lab, programs) = (&self.lab, &mut self.programs);
        let _ = lab.inside(&lab.node(), || {
            let all = links()?;
            for name in OUTSIDE {
                programs.detach(all[&Lab::interface(name)].index).map_err(io::Error::other)?;
            }
            Ok(())
        });
    }
}

impl Node {
    fn set(&self, fronts: &[Front]) {
        self.services.fill(self.slot, &image(fronts, 1)).unwrap();
    }

    /// An address of a pod; `node` is the node's own.
    fn at(&self, who: &str, v6: bool, port: u16) -> SocketAddr {
        let ip = match (who, v6) {
            ("node", false) => [10, 77, 0, 1].into(),
            ("node", true) => "fd77::1".parse().unwrap(),
            _ => {
                let pod = self.lab.pods().iter().find(|p| p.name == who).unwrap();
                if v6 { pod.v6 } else { pod.v4 }
            }
        };
        SocketAddr::new(ip, port)
    }

    /// A server that tells each client who it is and how it sees the client.
    fn serve(&self, who: &str, v6: bool, port: u16) -> Teller {
        tell(&self.lab, &self.lab.namespace(who), who, self.at(who, v6, port))
    }

    /// Who answers, and what address it saw.
    fn ask(
        &self,
        from: &str,
        protocol: u8,
        to: SocketAddr,
        patience: Duration,
    ) -> io::Result<(String, IpAddr)> {
        let said = self.lab.inside(&self.lab.namespace(from), move || match protocol {
            TCP => ask_tcp(to, patience),
            _ => ask_udp(&UdpSocket::bind(any(to))?, to, patience),
        })?;
        let (who, address) = said.split_once(' ').unwrap();
        Ok((who.to_owned(), address.parse::<SocketAddr>().unwrap().ip()))
    }

    /// The same of an answer that must come.
    fn answer(&self, from: &str, protocol: u8, to: SocketAddr) -> (String, IpAddr) {
        self.ask(from, protocol, to, SOON).unwrap_or_else(|e| panic!("{protocol} {to}: {e}"))
    }

    fn is_silent(&self, from: &str, protocol: u8, to: SocketAddr) {
        let e = self.ask(from, protocol, to, NEVER).unwrap_err();
        assert!(matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{to}: {e}");
    }

    fn is_refused(&self, from: &str, protocol: u8, to: SocketAddr) {
        let begun = Instant::now();
        let e = self.ask(from, protocol, to, SOON).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused, "{protocol} {to}: {e}");
        assert!(begun.elapsed() < SOON / 2);
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
fn should_be_able_to_create_a_functioning_node_port_service() {
    let Some(n) = node("np") else { return };
    each(|v6, p| {
        let _web = n.serve("web", v6, 8080);
        n.set(&[Front::new(n.at("node", v6, 30_080), p, &[(n.at("web", v6, 8080), LOCAL)])]);
        let client = n.at("client", v6, 0).ip();
        assert_eq!(n.answer("client", p, n.at("node", v6, 30_080)), ("web".to_owned(), client));
    });
}

#[test]
fn should_reach_endpoints_on_other_nodes_through_a_node_port() {
    let Some(n) = node("far") else { return };
    each(|v6, p| {
        let _far = n.serve("far", v6, 8080);
        n.set(&[Front::new(n.at("node", v6, 30_080), p, &[(n.at("far", v6, 8080), 0)])]);
        let own = n.at("node", v6, 0).ip();
        assert_eq!(n.answer("client", p, n.at("node", v6, 30_080)), ("far".to_owned(), own));
    });
}

#[test]
fn should_allow_an_endpoint_to_reach_itself_through_a_node_port() {
    let Some(n) = node("hairpin") else { return };
    each(|v6, p| {
        let _far = n.serve("far", v6, 8080);
        n.set(&[Front::new(n.at("node", v6, 30_080), p, &[(n.at("far", v6, 8080), 0)])]);
        let own = n.at("node", v6, 0).ip();
        assert_eq!(n.answer("far", p, n.at("node", v6, 30_080)), ("far".to_owned(), own));
    });
}

#[test]
fn should_serve_multiport_endpoints() {
    let Some(n) = node("multi") else { return };
    each(|v6, p| {
        let (_web, _api) = (n.serve("web", v6, 8080), n.serve("api", v6, 9090));
        n.set(&[
            Front::new(n.at("node", v6, 30_080), p, &[(n.at("web", v6, 8080), LOCAL)]),
            Front::new(n.at("node", v6, 30_090), p, &[(n.at("api", v6, 9090), LOCAL)]),
        ]);
        assert_eq!(n.answer("client", p, n.at("node", v6, 30_080)).0, "web");
        assert_eq!(n.answer("client", p, n.at("node", v6, 30_090)).0, "api");
    });
}

#[test]
fn should_serve_endpoints_on_same_port_and_different_protocols() {
    let Some(n) = node("proto") else { return };
    for v6 in [false, true] {
        let (_web, _api) = (n.serve("web", v6, 8080), n.serve("api", v6, 8080));
        let at = n.at("node", v6, 30_080);
        n.set(&[
            Front::new(at, TCP, &[(n.at("web", v6, 8080), LOCAL)]),
            Front::new(at, UDP, &[(n.at("api", v6, 8080), LOCAL)]),
        ]);
        assert_eq!(n.answer("client", TCP, at).0, "web");
        assert_eq!(n.answer("client", UDP, at).0, "api");
    }
}

#[test]
fn should_have_session_affinity_work_for_a_node_port_service_and_be_able_to_switch_it() {
    let Some(n) = node("aff") else { return };
    for v6 in [false, true] {
        let (_web, _api) = (n.serve("web", v6, 8080), n.serve("api", v6, 8080));
        let at = n.at("node", v6, 30_080);
        let both = [(n.at("web", v6, 8080), LOCAL), (n.at("api", v6, 8080), LOCAL)];
        let mut front = Front::new(at, TCP, &both);
        let names = |count: usize| -> BTreeSet<String> {
            (0..count).map(|_| n.answer("client", TCP, at).0).collect()
        };
        front.affinity = 10_800;
        n.set(&[front.clone()]);
        assert_eq!(names(15).len(), 1);
        front.affinity = 0;
        n.set(&[front.clone()]);
        assert_eq!(names(40).len(), 2);
        front.affinity = 10_800;
        n.set(&[front]);
        assert_eq!(names(15).len(), 1);
    }
}

#[test]
fn should_be_rejected_when_no_endpoints_exist() {
    let Some(n) = node("none") else { return };
    each(|v6, p| {
        let at = n.at("node", v6, 30_080);
        n.set(&[Front::new(at, p, &[])]);
        n.is_refused("client", p, at);
        // A load balancer's address is nobody's on the node.
        let mut balancer = Front::new(balancer(v6), p, &[]);
        balancer.kind = kind::LOAD_BALANCER;
        n.set(&[balancer.clone()]);
        n.is_refused("client", p, balancer.at);
    });
}

#[test]
fn should_drop_with_external_traffic_policy_local_where_there_is_no_local_endpoint() {
    let Some(n) = node("etp") else { return };
    each(|v6, p| {
        let at = n.at("node", v6, 30_080);
        n.set(&[Front::new(at, p, &[]).flags(frontend::EXTERNAL_LOCAL | frontend::OUTSIDE_DROP)]);
        n.is_silent("client", p, at);
        let _web = n.serve("web", v6, 8080);
        let local = [(n.at("web", v6, 8080), LOCAL)];
        n.set(&[Front::new(at, p, &local).flags(frontend::EXTERNAL_LOCAL)]);
        let client = n.at("client", v6, 0).ip();
        assert_eq!(n.answer("client", p, at), ("web".to_owned(), client));
    });
}

/// An address that no machine has, on the client's way by its default route.
fn balancer(v6: bool) -> SocketAddr {
    if v6 { "[2001:db8:1b::5]:80" } else { "203.0.113.5:80" }.parse().unwrap()
}

#[test]
fn should_only_allow_access_from_load_balancer_source_ranges() {
    let Some(n) = node("lb") else { return };
    each(|v6, p| {
        let _web = n.serve("web", v6, 8080);
        let mut front = Front::new(balancer(v6), p, &[(n.at("web", v6, 8080), LOCAL)]);
        front.kind = kind::LOAD_BALANCER;
        front.ranges = vec![(n.at("client", v6, 0).ip(), if v6 { 128 } else { 32 })];
        n.set(&[front.clone()]);
        assert_eq!(n.answer("client", p, front.at).0, "web");
        n.is_silent("far", p, front.at);
    });
}

#[test]
fn should_serve_external_ips_and_host_ports() {
    let Some(n) = node("ext") else { return };
    each(|v6, p| {
        let _web = n.serve("web", v6, 8080);
        for (at, kind) in [(balancer(v6), kind::EXTERNAL_IP), (n.at("node", v6, 8081), kind::HOST_PORT)] {
            let mut front = Front::new(at, p, &[(n.at("web", v6, 8080), LOCAL)]);
            front.kind = kind;
            n.set(&[front]);
            assert_eq!(n.answer("client", p, at).0, "web");
        }
    });
}

#[test]
fn should_not_serve_cluster_ips_to_who_is_outside_and_follow_changes_of_the_type() {
    let Some(n) = node("type") else { return };
    each(|v6, p| {
        let _web = n.serve("web", v6, 8080);
        let local = [(n.at("web", v6, 8080), LOCAL)];
        let mut cluster = Front::new(balancer(v6), p, &local).flags(frontend::OUTSIDE_DENIED);
        cluster.kind = kind::CLUSTER_IP;
        let port = Front::new(n.at("node", v6, 30_080), p, &local);
        n.set(&[cluster.clone()]);
        n.is_silent("client", p, cluster.at);
        n.is_refused("client", p, port.at);
        n.set(&[cluster.clone(), port.clone()]);
        n.is_silent("client", p, cluster.at);
        assert_eq!(n.answer("client", p, port.at).0, "web");
        n.set(&[cluster]);
        n.is_refused("client", p, port.at);
    });
}

#[test]
fn should_preserve_udp_traffic_when_the_server_pod_cycles_for_a_node_port_service() {
    let Some(n) = node("cycle") else { return };
    for v6 in [false, true] {
        let at = n.at("node", v6, 30_080);
        let socket = n.lab.inside(&n.lab.namespace("client"), || UdpSocket::bind(any(at))).unwrap();
        let mut answered = Vec::new();
        for who in ["web", "api", "web"] {
            let _server = n.serve(who, v6, 8080);
            n.set(&[Front::new(at, UDP, &[(n.at(who, v6, 8080), LOCAL)])]);
            let said = ask_udp(&socket, at, SOON).unwrap();
            answered.push(said.split(' ').next().unwrap().to_owned());
        }
        assert_eq!(answered, ["web", "api", "web"]);
    }
}

#[test]
fn a_large_transfer_passes_both_translations_whole() {
    let Some(n) = node("large") else { return };
    for v6 in [false, true] {
        for (who, flags) in [("web", LOCAL), ("far", 0)] {
            let server = n.lab.tcp_server(&n.lab.namespace(who), n.at(who, v6, 8080)).unwrap();
            let at = n.at("node", v6, 30_080);
            n.set(&[Front::new(at, TCP, &[(n.at(who, v6, 8080), flags)])]);
            let stream = n.lab.tcp(&n.lab.namespace("client"), at, SOON).unwrap();
            let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
            let sent: Vec<u8> = (0..1_000_000u32).flat_map(|i| (i * 7).to_be_bytes()).collect();
            let copy = sent.clone();
            let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
            let mut got = vec![0; sent.len()];
            reader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            reader.read_exact(&mut got).unwrap();
            writing.join().unwrap();
            assert!(got == sent, "what came back is what was sent");
            drop(server);
        }
    }
}

#[test]
fn connections_live_on_while_other_endpoints_and_the_programs_change() {
    let Some(mut n) = node("live") else { return };
    let at = n.at("node", false, 30_080);
    let _server = n.lab.tcp_server(&n.lab.namespace("far"), n.at("far", false, 8080)).unwrap();
    let (far, other) = ((n.at("far", false, 8080), 0), (n.at("web", false, 8080), LOCAL));
    n.set(&[Front::new(at, TCP, &[far])]);
    let mut stream = n.lab.tcp(&n.lab.namespace("client"), at, SOON).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let echo = |stream: &mut TcpStream| {
        let mut buffer = [0; 5];
        stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut buffer)).unwrap();
    };
    echo(&mut stream);
    n.set(&[Front::new(at, TCP, &[other, far])]);
    echo(&mut stream);
    // Even the last of its service, while it serves.
    n.set(&[Front::new(at, TCP, &[other])]);
    echo(&mut stream);
    let machine = n.machine.as_ref().unwrap();
    let mut programs = n.services.load_devices(&machine.kernel).unwrap();
    let lab = &n.lab;
    lab.inside(&lab.node(), || {
        let all = links()?;
        for name in OUTSIDE {
            let link = &all[&Lab::interface(name)];
            programs.attach(&link.name, link.index, link.ethernet).map_err(io::Error::other)?;
        }
        Ok(())
    })
    .unwrap();
    n.programs = programs;
    echo(&mut stream);
}

/// SEM-7.3: the policy at the pod is asked about the pod's own port, and sees the client.
#[test]
fn policy_is_checked_on_the_translated_address_and_port() {
    let Some(mut agent) = Agent::new("sdpol", &PODS) else { return };
    agent.policy(
        "p.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: lab}\n\
         spec:\n  podSelector: {matchLabels: {app: web}}\n  ingress:\n  - from: [{podSelector: {matchLabels: \
         {app: client}}}]\n    ports: [{port: 8080, protocol: TCP}]\n",
    );
    agent.start();
    agent.wait("a generation", |v| v["generation"].as_u64() == Some(1));
    let folder = std::path::PathBuf::from(format!("/sys/fs/bpf/portcullis-t-{}-sdpol", std::process::id()));
    let kernel = Kernel::open(&folder, Sizes::default()).unwrap();
    let slot = kernel.active().unwrap().unwrap();
    let pods = Lab::new("pct-sd-unused", &[]).unwrap();
    let lab = std::mem::replace(&mut agent.lab, pods);
    let n = on(lab, &kernel, slot);
    let _web = n.serve("web", false, 8080);
    let _other = n.serve("web", false, 9090);
    let (allowed, denied) = (n.at("node", false, 30_080), n.at("node", false, 30_090));
    n.set(&[
        Front::new(allowed, TCP, &[(n.at("web", false, 8080), LOCAL)]),
        Front::new(denied, TCP, &[(n.at("web", false, 9090), LOCAL)]),
    ]);
    assert_eq!(n.answer("client", TCP, allowed).0, "web");
    n.is_silent("client", TCP, denied);
    n.is_silent("far", TCP, allowed);
}

/// Two generations that take turns: in one the service goes to `web`, which alone may be reached, in the other to
/// `api`, which alone may be reached then. A packet of which the service and the policy were not of one generation
/// would be dropped.
#[test]
fn no_packet_sees_the_service_of_one_generation_and_the_policy_of_another() {
    let Some(mut agent) = Agent::new("sdswap", &PODS) else { return };
    let policy = |open: &str| {
        let one = |pod: &str| {
            let who = if pod == open { "client" } else { "nobody" };
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {pod}, namespace: lab}}\nspec: \
                 {{podSelector: {{matchLabels: {{app: {pod}}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {who}}}}}}}]}}]}}\n"
            )
        };
        format!("{}{}", one("web"), one("api"))
    };
    let folder = std::path::PathBuf::from(format!("/sys/fs/bpf/portcullis-t-{}-sdswap", std::process::id()));
    let mut slots = Vec::new();
    for (n, open) in [(1, "web"), (2, "api")] {
        agent.policy("p.yaml", &policy(open));
        if n == 1 {
            agent.start();
        }
        agent.wait("a generation", |v| v["generation"].as_u64() == Some(n));
        slots.push(Kernel::open(&folder, Sizes::default()).unwrap().active().unwrap().unwrap());
    }
    agent.kill();
    let kernel = Kernel::open(&folder, Sizes::default()).unwrap();
    let pods = Lab::new("pct-sd-unused2", &[]).unwrap();
    let lab = std::mem::replace(&mut agent.lab, pods);
    let n = on(lab, &kernel, slots[0]);
    let front = |pod: &str| {
        [false, true].map(|v6| Front::new(n.at("node", v6, 30_080), UDP, &[(n.at(pod, v6, 8080), LOCAL)]))
    };
    n.services.fill(slots[0], &image(&front("web"), 1)).unwrap();
    n.services.fill(slots[1], &image(&front("api"), 2)).unwrap();
    let serve = |pod: &str, v6| n.lab.udp_server(&n.lab.namespace(pod), n.at(pod, v6, 8080)).unwrap();
    let _servers: Vec<_> =
        ["web", "api"].map(|pod| [false, true].map(|v6| serve(pod, v6))).into_iter().collect();
    let stop = AtomicBool::new(false);
    let (mut flips, mut lost) = (0u64, 0u32);
    let sent = packets();
    thread::scope(|scope| {
        let flipping = scope.spawn(|| {
            let mut flips = 0u64;
            while !stop.load(Ordering::Relaxed) {
                kernel.flip(slots[(flips % 2) as usize]).unwrap();
                flips += 1;
                // So that a flip may come anywhere in a packet's way.
                for _ in 0..(flips * 7919) % 400 {
                    std::hint::spin_loop();
                }
            }
            flips
        });
        lost = n
            .lab
            .inside(&n.lab.namespace("client"), || {
                let mut lost = 0;
                for at in 0..sent {
                    let to = n.at("node", at % 2 == 1, 30_080);
                    let socket = UdpSocket::bind(any(to))?;
                    socket.set_read_timeout(Some(NEVER))?;
                    socket.send_to(b"hello", to)?;
                    lost += u32::from(socket.recv_from(&mut [0; 64]).is_err());
                }
                Ok(lost)
            })
            .unwrap();
        stop.store(true, Ordering::Relaxed);
        flips = flipping.join().unwrap();
    });
    println!("{sent} packets under {flips} flips, {lost} of two generations");
    assert_eq!(lost, 0, "of {sent} packets under {flips} flips");
    assert!(flips > sent);
}

/// Packets under flips; `PORTCULLIS_PACKETS` says how many.
fn packets() -> u64 {
    std::env::var("PORTCULLIS_PACKETS").ok().map_or(10_000, |n| n.parse().expect("a number of packets"))
}
