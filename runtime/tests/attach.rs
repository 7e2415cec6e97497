//! The programs on interfaces: attached, replaced under traffic, and detached, by whichever way the kernel
//! has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/service_image.rs"]
mod service_image;
mod support;

use portcullis_abi::maps::EndpointValue;
use portcullis_abi::services::SMALLEST_SLOT;
use portcullis_agent::kernel::{Attachment, Programs, Settings};
use portcullis_agent::lab::Lab;
use portcullis_agent::links::{Link, links};
use portcullis_ir::Cluster;
use portcullis_snapshot_tests::case::{Case, root};
use service_image::{Front, image};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::agent::TRY;
use support::cgroup::Group;
use support::{Machine, World, pod_address, small};

const PODS: [&str; 3] = ["web", "api", "db"];

/// What this kernel, by its version, should offer.
fn expected() -> Attachment {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).take(2).map(|n| n.trim().parse().unwrap()).collect();
    if numbers >= vec![6, 6] { Attachment::Link } else { Attachment::Filter }
}

/// How long what should come may take: seconds in an emulated machine that others keep busy.
const PATIENCE: Duration = Duration::from_secs(10);

fn on_node<T: Send>(lab: &Lab, each: impl FnMut(&Link) -> io::Result<T> + Send) -> Vec<T> {
    let all = || {
        let all = links()?;
        lab.pods().iter().map(|p| &all[&Lab::interface(&p.name)]).map(each).collect::<io::Result<_>>()
    };
    lab.inside(&lab.node(), all).unwrap()
}

fn attach(lab: &Lab, programs: &mut Programs, expected: Attachment) {
    let how = on_node(lab, |l| programs.attach(&l.name, l.index, l.ethernet).map_err(io::Error::other));
    assert_eq!(how, [expected; 3]);
}

/// Binds the lab's pods as those of the same names in the cluster.
fn bind(machine: &Machine, lab: &Lab, cluster: &Cluster) {
    let known = machine.kernel.addresses().unwrap();
    let links = on_node(lab, |l| Ok(l.index));
    for (pod, ifindex) in lab.pods().iter().zip(links) {
        let (id, _) = cluster
            .endpoints()
            .find(|(_, e)| e.namespace == "payments" && e.name.starts_with(&pod.name))
            .unwrap();
        let value = known[&pod_address(id.0, false)];
        machine.kernel.set_address(pod.v4, value).unwrap();
        let own = EndpointValue { number: value.endpoint - 1, identity: value.identity };
        machine.kernel.set_endpoint(ifindex, own).unwrap();
    }
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

/// Events of one new connection.
fn events_of_a_connection(machine: &Machine, lab: &Lab, to: SocketAddr) -> usize {
    let mut events = machine.kernel.events().unwrap();
    events.drain(&mut |_| {});
    assert!(lab.tcp(&lab.namespace("api"), to, PATIENCE).is_ok());
    let mut seen = 0;
    events.drain(&mut |_| seen += 1);
    seen
}

#[test]
fn programs_are_attached_the_way_this_kernel_has() {
    attached_replaced_and_detached("way", expected(), |_| {});
}

#[test]
fn programs_are_attached_by_filters_as_on_old_kernels() {
    attached_replaced_and_detached("filters", Attachment::Filter, Programs::use_only_filters);
}

/// Not a packet passes between a program and the next, and nothing is left at the end.
fn attached_replaced_and_detached(name: &str, way: Attachment, prepare: fn(&mut Programs)) {
    let Some(mut machine) = Machine::new(small(), &Settings::default()) else { return };
    prepare(&mut machine.programs);
    let lab = Lab::new(&format!("pct-attach-{name}"), &PODS).unwrap();
    let case = Case::read(&root().join("policies/examples/payments")).unwrap();
    let side = case.side("base").unwrap();
    drop(World::new(&machine, side.input(), &[], 1));
    bind(&machine, &lab, &side.cluster);
    let at = |pod: &str| SocketAddr::new(lab.pods().iter().find(|p| p.name == pod).unwrap().v4, 5432);
    let db = at("db");
    let _server = lab.tcp_server(&lab.namespace("db"), db).unwrap();
    let sink = lab.inside(&lab.namespace("db"), || UdpSocket::bind(db)).unwrap();
    let source = lab.inside(&lab.namespace("web"), || UdpSocket::bind("0.0.0.0:0")).unwrap();
    let arrives = |patience| {
        sink.set_read_timeout(Some(patience)).unwrap();
        source.send_to(b"hello", db).unwrap();
        sink.recv(&mut [0; 8]).is_ok()
    };
    assert!(arrives(PATIENCE), "no program yet");

    attach(&lab, &mut machine.programs, way);
    assert!(!arrives(TRY), "db accepts nothing but TCP from api");
    assert!(lab.tcp(&lab.namespace("web"), db, TRY).is_err());
    assert!(
        lab.tcp(&lab.namespace("web"), at("api"), PATIENCE)
            .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused),
        "api has no policy"
    );
    let mut open = lab.tcp(&lab.namespace("api"), db, PATIENCE).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(echoes(&mut open));
    assert!(machine.kernel.drops().unwrap().iter().map(|(_, n)| n).sum::<u64>() >= 2);

    let chatty = Settings { report_allowed: true, ..Settings::default() };
    let mut others = machine.kernel.load(&chatty).unwrap();
    prepare(&mut others);
    let stop = AtomicBool::new(false);
    let sent = thread::scope(|s| {
        let flood = s.spawn(|| {
            let mut sent = 0u32;
            while !stop.load(Ordering::Relaxed) {
                source.send_to(b"hello", db).unwrap();
                sent += 1;
            }
            sent
        });
        let begun = Instant::now();
        let mut times = 0;
        while times < 20 || begun.elapsed() < Duration::from_millis(300) {
            attach(&lab, if times % 2 == 0 { &mut others } else { &mut machine.programs }, way);
            assert!(echoes(&mut open), "replaced {times} times");
            times += 1;
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    assert!(sent > 100, "only {sent} datagrams were sent");
    assert!(sink.recv(&mut [0; 8]).is_err(), "one of {sent} datagrams passed between two programs");

    attach(&lab, &mut others, way);
    assert!(events_of_a_connection(&machine, &lab, db) > 0, "these programs report what passes");
    attach(&lab, &mut machine.programs, way);
    assert_eq!(events_of_a_connection(&machine, &lab, db), 0, "and these do not");
    drop(others);
    assert!(!arrives(TRY), "programs that were replaced take nothing with them");

    on_node(&lab, |l| machine.programs.detach(l.index, true).map_err(io::Error::other));
    assert!(arrives(PATIENCE), "nothing is attached any more");
}

/// On every kernel: programs at sockets are attached, replaced while somebody connects, and detached.
#[test]
fn sockets_are_translated_without_a_gap() {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let Some(machine) = Machine::new(small(), &Settings::default()) else { return };
    let lab = Lab::new("pct-attach-sockets", &PODS).unwrap();
    let group = Group::new("attach");
    let services = machine.kernel.open_services(SMALLEST_SLOT).unwrap();
    let load = || {
        lab.inside(&lab.node(), || services.load_sockets(&machine.kernel).map_err(io::Error::other)).unwrap()
    };
    let (mut first, mut second) = (load(), load());
    let at = |pod: &str, v6: bool, port: u16| {
        let pod = lab.pods().iter().find(|p| p.name == pod).unwrap();
        SocketAddr::new(if v6 { pod.v6 } else { pod.v4 }, port)
    };
    let front = |v6: bool, port: u16| {
        let ip: std::net::IpAddr = if v6 { "fd96::1".parse().unwrap() } else { [10, 96, 0, 1].into() };
        SocketAddr::new(ip, port)
    };
    let node = SocketAddr::from(([10, 77, 0, 1], 30_080));
    let mut fronts = vec![Front::new(node, TCP, &[(at("web", false, 8080), 1)])];
    for v6 in [false, true] {
        fronts.push(Front::new(front(v6, 80), TCP, &[(at("web", v6, 8080), 1)]));
        fronts.push(Front::new(front(v6, 80), UDP, &[(at("web", v6, 8080), 1)]));
        fronts.push(Front::new(front(v6, 81), TCP, &[]));
    }
    services.fill(0, &image(&fronts, 1)).unwrap();
    services.set_node(Some([10, 77, 0, 1].into()), None).unwrap();
    machine.kernel.flip(0).unwrap();
    let _servers: Vec<_> = [false, true]
        .into_iter()
        .map(|v6| {
            let (ns, at) = (lab.namespace("web"), at("web", v6, 8080));
            (lab.tcp_server(&ns, at).unwrap(), lab.udp_server(&ns, at).unwrap())
        })
        .collect();
    let inside = |who: &str, work: &(dyn Fn() -> io::Result<()> + Sync)| {
        let threads = group.threads();
        lab.inside(who, move || {
            std::fs::write(threads, "0")?;
            work()
        })
    };
    let api = lab.namespace("api");
    let tcp = |to: SocketAddr| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        assert_eq!(stream.peer_addr()?, to, "the socket knows the service and not the pod");
        stream.set_read_timeout(Some(PATIENCE))?;
        assert!(echoes(&mut stream));
        Ok(())
    };
    let udp = |to: SocketAddr| {
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        for _ in 0..3 {
            socket.send_to(b"hello", to)?;
            assert_eq!(socket.recv_from(&mut [0; 8])?.1, to);
        }
        Ok(())
    };
    first.attach(&group.0).unwrap();
    for v6 in [false, true] {
        inside(&api, &|| tcp(front(v6, 80))).unwrap();
        inside(&api, &|| udp(front(v6, 80))).unwrap();
        let refused = inside(&api, &|| tcp(front(v6, 81))).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    let taken = inside(&lab.node(), &|| std::net::TcpListener::bind(node).map(drop)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    // Replaced under load: no connection misses its service.
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        let load = s.spawn(|| {
            inside(&api, &|| {
                while !stop.load(Ordering::Relaxed) {
                    tcp(front(false, 80))?;
                }
                Ok(())
            })
            .unwrap();
        });
        for n in 0..20 {
            let programs = if n % 2 == 0 { &mut second } else { &mut first };
            programs.attach(&group.0).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    // The links live on without who made them, until they are taken out.
    drop(second);
    inside(&api, &|| tcp(front(false, 80))).unwrap();
    first.detach().unwrap();
    assert!(inside(&api, &|| tcp(front(false, 80))).is_err());
}
