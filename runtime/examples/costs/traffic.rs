//! Two pods of one node: throughput, round trips and new connections with nothing between them, with the
//! programs, and with nftables that holds the same rules. In turns, so that all share the machine's moods.

use crate::median;
use crate::world::{Pins, Slice, World};
use portcullis_abi::maps::{AddressValue, EndpointValue};
use portcullis_agent::kernel::{Generation, Programs, Settings, Sizes};
use portcullis_agent::lab::Lab;
use portcullis_agent::links;
use portcullis_sema::side::Evaluation;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLICIES: usize = 100;
const ROUNDS: usize = 9;
const IPERF: u16 = 5201;
const ECHO: u16 = 7000;
const CLOSED: u16 = 7001;
const PODS: [&str; 2] = ["client", "server"];

/// Pods and policies: the server takes one port from each of its peers, and the last lets the client in.
fn world() -> World {
    let mut cluster = String::from("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    let pod = |name: &str| -> String {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n"
        )
    };
    cluster.extend(PODS.map(pod));
    let mut policies = Vec::new();
    for n in 1..=POLICIES {
        let (peer, ports) = if n == POLICIES {
            ("client".to_owned(), format!("{{port: {IPERF}}}, {{port: {ECHO}}}"))
        } else {
            cluster.push_str(&pod(&format!("peer-{n}")));
            (format!("peer-{n}"), format!("{{port: {}}}", 6000 + n))
        };
        policies.push((
            format!("{n}.yaml"),
            format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}, namespace: shop}}\n\
                 spec:\n  podSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n  \
                 - from: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}]\n    ports: [{ports}]\n"
            ),
        ));
    }
    World::new(&cluster, &policies)
}

/// The same as a chain: connections under way first, as everybody writes it.
fn chain(lab: &Lab) -> String {
    let [client, server] = [0, 1].map(|n| lab.pods()[n].v4);
    let mut out = String::from(
        "table inet costs {\n chain forward {\n  type filter hook forward priority 0; policy accept;\n  \
         ct state established,related accept\n",
    );
    for n in 1..POLICIES {
        let _ = writeln!(out, "  ip saddr 10.77.1.{n} ip daddr {server} tcp dport {} accept", 6000 + n);
    }
    let _ = writeln!(
        out,
        "  ip saddr {client} ip daddr {server} tcp dport {{ {IPERF}, {ECHO} }} accept\n  ip daddr {server} drop\n }}\n}}"
    );
    out
}

fn nft(lab: &Lab, text: &str) {
    let mut child = lab.on_node(Path::new("nft"), &["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft did not take the rules");
}

fn inside(lab: &Lab, pod: &str, program: &str) -> Command {
    let mut out = Command::new("nsenter");
    out.arg(format!("--net=/run/netns/{}", lab.namespace(pod))).arg(program);
    out
}

/// Gigabits a second.
fn throughput(lab: &Lab, server: IpAddr) -> f64 {
    let out =
        inside(lab, "client", "iperf3").args(["-c", &server.to_string(), "-t", "3", "-J"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    report.pointer("/end/sum_received/bits_per_second").unwrap().as_f64().unwrap() / 1e9
}

/// Medians in microseconds of a request and its answer on one connection, and of making a connection.
fn latency(lab: &Lab, to: SocketAddr) -> (f64, f64) {
    let work = move || -> io::Result<(f64, f64)> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        let mut buffer = [7; 64];
        let mut trips = Vec::new();
        for _ in 0..10_000 {
            let t = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            trips.push(t.elapsed().as_secs_f64() * 1e6);
        }
        let mut made = Vec::new();
        for _ in 0..500 {
            let t = Instant::now();
            let new = TcpStream::connect(to)?;
            made.push(t.elapsed().as_secs_f64() * 1e6);
            drop(new);
        }
        Ok((median(trips), median(made)))
    };
    lab.inside(&lab.namespace("client"), work).unwrap()
}

fn is_closed(lab: &Lab, server: IpAddr) -> bool {
    let to = SocketAddr::new(server, CLOSED);
    lab.tcp(&lab.namespace("client"), to, Duration::from_millis(300)).is_err()
}

struct Stop(Child);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run() {
    let lab = Lab::new("pc-costs", &PODS).unwrap();
    let server = lab.pods()[1].v4;
    let world = world();
    let e = Evaluation::new(&[world.input()], &[]);
    let groups = PODS.map(|pod| {
        let has =
            |(_, g): &(_, &portcullis_sema::universe::Group)| g.workloads.iter().any(|(w, _)| w.name == *pod);
        u32::try_from(e.universe.groups().position(|g| has(&g)).unwrap()).unwrap()
    });
    let node = Slice::new(&world, &e, &groups);
    let pins = Pins::new();
    let kernel = pins.kernel(Sizes { slot: 1 << 18, ..Sizes::default() });
    let image = node.staged();
    let slot = kernel.stage(Generation { image: &image, prefixes: &node.assigned.prefixes }).unwrap();
    kernel.flip(slot).unwrap();
    let mut programs = kernel.load(&Settings::default()).unwrap();
    let all = lab.inside(&lab.node(), links::links).unwrap();
    let ends = PODS.map(|p| all[&Lab::interface(p)].clone());
    for (number, (group, end)) in (0u32..).zip(groups.iter().zip(&ends)) {
        let identity = node.assigned.of_node[*group as usize].unwrap();
        kernel.set_endpoint(end.index, EndpointValue { number, identity }).unwrap();
        let pod = &lab.pods()[number as usize];
        for ip in [pod.v4, pod.v6] {
            kernel.set_address(ip, AddressValue { identity, endpoint: number + 1 }).unwrap();
        }
    }
    let attach = |programs: &mut Programs, on: bool| {
        let work = || {
            for end in &ends {
                let done = if on {
                    programs.attach(&end.name, end.index, end.ethernet).map(drop)
                } else {
                    programs.detach(end.index, true)
                };
                done.map_err(io::Error::other)?;
            }
            Ok(())
        };
        lab.inside(&lab.node(), work).unwrap();
    };
    let mut iperf = inside(&lab, "server", "iperf3");
    let _iperf = Stop(iperf.args(["-s"]).stdout(Stdio::null()).spawn().unwrap());
    let echo = SocketAddr::new(server, ECHO);
    let in_server = lab.namespace("server");
    let _echo = lab.tcp_server(&in_server, echo).unwrap();
    let _closed = lab.tcp_server(&in_server, SocketAddr::new(server, CLOSED)).unwrap();
    let rules = chain(&lab);
    std::thread::sleep(Duration::from_millis(300));
    // By what is measured: with nothing, with the programs, with nftables.
    let mut all = vec![vec![Vec::new(); 3]; 3];
    for _ in 0..ROUNDS {
        for how in 0..3 {
            match how {
                1 => attach(&mut programs, true),
                2 => nft(&lab, &rules),
                _ => {}
            }
            assert_eq!(is_closed(&lab, server), how > 0, "policy is not in force as it should be");
            let gigabits = throughput(&lab, server);
            let (trip, made) = latency(&lab, echo);
            match how {
                1 => attach(&mut programs, false),
                2 => nft(&lab, "delete table inet costs\n"),
                _ => {}
            }
            [gigabits, trip, made].iter().zip(&mut all).for_each(|(v, to)| to[how].push(*v));
        }
    }
    println!("of {ROUNDS} rounds | nothing | programs | nftables | programs/nothing | nftables/nothing");
    for (what, by) in ["Gbit/s", "round trip, µs", "new connection, µs"].iter().zip(&all) {
        let ratio = |n: usize| median(by[n].iter().zip(&by[0]).map(|(a, b)| a / b).collect());
        let [bare, ours, theirs] = [0, 1, 2].map(|n| median(by[n].clone()));
        println!("{what} | {bare:.2} | {ours:.2} | {theirs:.2} | {:.3} | {:.3}", ratio(1), ratio(2));
    }
}
