//! A client that reaches a server through services: by rules of kube-proxy's shape in iptables-legacy and nft, and by
//! the programs, at a growing number of services.

use crate::median;
use crate::world::Pins;
use portcullis_agent::kernel::{DevicePrograms, Kernel, Settings, Sizes, SocketPrograms, cgroup2};
use portcullis_agent::lab::Lab;
use portcullis_agent::links::links;
use portcullis_diag::FileId;
use portcullis_front::ast::Object;
use portcullis_services::{NodeContext, Numbers, Services, compile, resolve};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Backends of each service. All are ports of one server.
const BACKENDS: u16 = 3;
const IPERF: u16 = 5201;
const ECHO: u16 = 7000;
const CONNECTIONS: usize = 2_000;
const ROUNDS: usize = 5;

/// A service's number to its address. The first is the one of iperf3.
fn address(service: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + u32::try_from(service).unwrap() + 1)
}

/// The server's ports behind a service.
fn targets(service: usize) -> [u16; BACKENDS as usize] {
    if service == 0 { [IPERF; 3] } else { [ECHO, ECHO + 1, ECHO + 2] }
}

/// The chains of one service for `iptables-restore`, as kube-proxy names and fills them.
fn legacy_service(out: &mut String, service: usize, server: IpAddr) {
    let _ = writeln!(out, ":KUBE-SVC-{service:016} - [0:0]");
    let all = targets(service);
    for (n, port) in all.iter().enumerate() {
        let _ = writeln!(out, ":KUBE-SEP-{service:014}{n:02} - [0:0]");
        let left = all.len() - n;
        let probability = if left > 1 {
            format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64)
        } else {
            String::new()
        };
        let comment = format!("-m comment --comment \"shop/service-{service}:http -> {server}:{port}\"");
        let _ =
            writeln!(out, "-A KUBE-SVC-{service:016} {comment} {probability}-j KUBE-SEP-{service:014}{n:02}");
        let name = format!("-m comment --comment \"shop/service-{service}:http\"");
        let _ = writeln!(out, "-A KUBE-SEP-{service:014}{n:02} -s {server}/32 {name} -j KUBE-MARK-MASQ");
        let _ = writeln!(
            out,
            "-A KUBE-SEP-{service:014}{n:02} -p tcp {name} -m tcp -j DNAT --to-destination {server}:{port}"
        );
    }
}

/// The rule that leads to a service's chain.
fn legacy_entry(out: &mut String, service: usize) {
    let _ = writeln!(
        out,
        "-A KUBE-SERVICES -d {}/32 -p tcp -m comment --comment \"shop/service-{service}:http cluster IP\" -m tcp --dport 80 -j KUBE-SVC-{service:016}",
        address(service)
    );
}

/// Everything for `iptables-restore`.
fn legacy(services: usize, server: IpAddr) -> String {
    let mut out = String::from(
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n",
    );
    (0..services).for_each(|n| legacy_service(&mut out, n, server));
    (0..services).for_each(|n| legacy_entry(&mut out, n));
    out + "COMMIT\n"
}

/// One more service: its chains, and the chain of all services anew, as kube-proxy writes it.
fn legacy_one_more(services: usize, server: IpAddr) -> String {
    let mut out = String::from("*nat\n:KUBE-SERVICES - [0:0]\n");
    legacy_service(&mut out, services, server);
    (0..=services).for_each(|n| legacy_entry(&mut out, n));
    out + "COMMIT\n"
}

/// One service as nft elements and chains, as kube-proxy's nftables mode writes them.
fn nft_service(out: &mut String, service: usize, server: IpAddr) {
    let all = targets(service);
    for (n, port) in all.iter().enumerate() {
        let _ = writeln!(
            out,
            "add chain ip kube-proxy endpoint-{service}-{n}\nadd rule ip kube-proxy endpoint-{service}-{n} ip saddr {server} meta mark set meta mark or 0x4000\n\
             add rule ip kube-proxy endpoint-{service}-{n} meta l4proto tcp dnat to {server}:{port}"
        );
    }
    let choices: Vec<String> = (0..all.len()).map(|n| format!("{n} : goto endpoint-{service}-{n}")).collect();
    let _ = writeln!(
        out,
        "add chain ip kube-proxy service-{service}\nadd rule ip kube-proxy service-{service} numgen random mod {} vmap {{ {} }}\n\
         add element ip kube-proxy service-ips {{ {} . tcp . 80 : goto service-{service} }}",
        all.len(),
        choices.join(", "),
        address(service)
    );
}

fn nft(services: usize, server: IpAddr) -> String {
    let mut out = String::from(
        "add table ip kube-proxy\n\
         add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n\
         add chain ip kube-proxy services\n\
         add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips\n\
         add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }\n\
         add rule ip kube-proxy nat-prerouting jump services\n\
         add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }\n\
         add rule ip kube-proxy nat-output jump services\n",
    );
    (0..services).for_each(|n| nft_service(&mut out, n, server));
    out
}

/// Runs a program on the node with a text on its standard input: seconds, and seconds of processors.
fn feed(lab: &Lab, program: &str, args: &[&str], text: &str) -> (f64, f64) {
    let before = children();
    let t = Instant::now();
    let mut child = lab.on_node(Path::new(program), args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} did not take the rules");
    (t.elapsed().as_secs_f64(), children() - before)
}

/// Seconds of processors that children which ended have used.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // cutime and cstime; a tick is a hundredth of a second on every machine that Linux tells programs about.
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) / 100.0
}

struct Stop(Child);

impl Drop for Stop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Microseconds of a connection to one service after the other, a round trip in it included.
fn connect(lab: &Lab, to: &[SocketAddr]) -> f64 {
    let work = move || -> io::Result<f64> {
        let mut made = Vec::new();
        for n in 0..CONNECTIONS {
            let at = to[n * 7919 % to.len()];
            let t = Instant::now();
            let mut stream = TcpStream::connect(at)?;
            made.push(t.elapsed().as_secs_f64() * 1e6);
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
        }
        Ok(median(made))
    };
    lab.inside(&lab.namespace("client"), work).unwrap()
}

/// Gigabits a second.
fn throughput(lab: &Lab, to: SocketAddr) -> f64 {
    let out = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", lab.namespace("client")))
        .args(["iperf3", "-c", &to.ip().to_string(), "-p", &to.port().to_string(), "-t", "2", "-J"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    report.pointer("/end/sum_received/bits_per_second").unwrap().as_f64().unwrap() / 1e9
}

/// Services as the API server has them: the address is a load balancer's, so that it may be asked for from outside, too.
fn objects(services: std::ops::Range<usize>, server: IpAddr) -> Vec<Object> {
    let mut text = String::new();
    for n in services {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: shop}}\nspec: {{type: LoadBalancer, \
             allocateLoadBalancerNodePorts: false, ports: [{{name: http, port: 80}}]}}\n",
        );
        let _ = writeln!(text, "status: {{loadBalancer: {{ingress: [{{ip: {}}}]}}}}", address(n));
        let mut ports = targets(n).to_vec();
        ports.dedup();
        for (i, port) in ports.iter().enumerate() {
            let _ = writeln!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{n}-{i}, namespace: shop, labels: \
                 {{kubernetes.io/service-name: s{n}}}}}\naddressType: IPv4\nports: [{{name: http, port: {port}}}]\n\
                 endpoints: [{{addresses: [{server}], nodeName: node}}]"
            );
        }
    }
    let parsed = portcullis_front::parse(FileId(0), "services.yaml", &text);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics.first());
    parsed.objects
}

/// The agent's part of the work: from objects to what decides.
struct Ours {
    kernel: Kernel,
    maps: portcullis_agent::kernel::Services,
    numbers: Numbers,
    slot: u32,
}

impl Ours {
    fn load(&mut self, objects: &[Object]) -> (f64, f64) {
        let before = own();
        let t = Instant::now();
        let node =
            NodeContext { name: "node".into(), zone: None, addresses: vec!["10.77.0.1".parse().unwrap()] };
        let made = compile(
            &resolve(&Services::of(objects), &node),
            &self.numbers,
            &portcullis_services::Settings::default(),
        );
        let made = made.unwrap();
        self.slot = (self.slot + 1) % 4;
        self.maps.fill(self.slot, &made.image).unwrap();
        self.kernel.flip(self.slot).unwrap();
        self.numbers = made.numbers;
        (t.elapsed().as_secs_f64(), own() - before)
    }

    fn devices(&self, lab: &Lab) -> (DevicePrograms, u32) {
        let mut programs = self.maps.load_devices(&self.kernel).unwrap();
        let index = lab.inside(&lab.node(), || {
            let all = links()?;
            let link = &all[&Lab::interface("client")];
            self.maps.set_device(link.index, Some([10, 77, 0, 1].into()), None).unwrap();
            programs.attach(&link.name, link.index, link.ethernet).unwrap();
            Ok(link.index)
        });
        (programs, index.unwrap())
    }
}

/// Takes this process, and what it starts, into a cgroup with the programs of sockets.
fn sockets(ours: &Ours) -> (SocketPrograms, std::path::PathBuf, std::path::PathBuf) {
    let root = cgroup2().unwrap();
    let group = root.join("portcullis-costs");
    let _ = std::fs::create_dir(&group);
    let mut programs = ours.maps.load_sockets(&ours.kernel).unwrap();
    programs.attach(&group).unwrap();
    std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    (programs, group, root)
}

/// Seconds of processors that this process has used.
fn own() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// What one way of doing it costs.
#[derive(Default)]
struct Cost {
    load: (f64, f64),
    add: (f64, f64),
    connect: Vec<f64>,
    throughput: Vec<f64>,
}

impl Cost {
    fn measure(&mut self, lab: &Lab, services: usize) {
        let through: Vec<SocketAddr> =
            (1..services).map(|n| SocketAddr::new(address(n).into(), 80)).collect();
        for _ in 0..ROUNDS {
            self.connect.push(connect(lab, &through));
            self.throughput.push(throughput(lab, SocketAddr::new(address(0).into(), 80)));
        }
    }

    fn print(self, services: usize, name: &str, bare: (f64, f64)) {
        let (c, t) = (median(self.connect), median(self.throughput));
        println!(
            "{services:>6} | {name:<15} | {:>8.3} | {:>8.3} | {:>8.4} | {:>8.4} | {c:>8.2} | {:>5.2} | {t:>6.2} | {:>5.2}",
            self.load.0,
            self.load.1,
            self.add.0,
            self.add.1,
            c / bare.0,
            t / bare.1
        );
    }
}

pub(crate) fn run() {
    let lab = Lab::new("pc-services", &["client", "server"]).unwrap();
    let server = lab.pods()[1].v4;
    let inside = lab.namespace("server");
    let _echo: Vec<_> =
        (0..BACKENDS).map(|n| lab.tcp_server(&inside, SocketAddr::new(server, ECHO + n)).unwrap()).collect();
    let mut iperf = Command::new("nsenter");
    iperf.arg(format!("--net=/run/netns/{inside}")).args(["iperf3", "-s"]).stdout(Stdio::null());
    let _iperf = Stop(iperf.spawn().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(300));
    println!("services | by | load s | CPU s | add one s | CPU s | connect µs | /bare | Gbit/s | /bare");
    for services in [100, 1_000, 10_000] {
        let direct: Vec<SocketAddr> = (0..BACKENDS).map(|n| SocketAddr::new(server, ECHO + n)).collect();
        let mut bare = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.0.push(connect(&lab, &direct));
            bare.1.push(throughput(&lab, SocketAddr::new(server, IPERF)));
        }
        let bare = (median(bare.0), median(bare.1));
        println!("{services:>6} | {:<15} | connect {:.2} µs, {:.2} Gbit/s", "no service", bare.0, bare.1);

        let mut by = Cost {
            load: feed(&lab, "iptables-legacy-restore", &[], &legacy(services, server)),
            ..Cost::default()
        };
        by.measure(&lab, services);
        by.add = feed(&lab, "iptables-legacy-restore", &["--noflush"], &legacy_one_more(services, server));
        feed(&lab, "iptables-legacy-restore", &[], "*nat\nCOMMIT\n");
        by.print(services, "iptables-legacy", bare);

        let mut by =
            Cost { load: feed(&lab, "nft", &["-f", "-"], &nft(services, server)), ..Cost::default() };
        by.measure(&lab, services);
        let mut one = String::new();
        nft_service(&mut one, services, server);
        by.add = feed(&lab, "nft", &["-f", "-"], &one);
        feed(&lab, "nft", &["-f", "-"], "delete table ip kube-proxy\n");
        by.print(services, "nft", bare);

        let pins = Pins::new();
        let kernel = pins.kernel(Sizes::default());
        let maps = kernel.open_services(1 << 24).unwrap();
        let mut ours = Ours { kernel, maps, numbers: Numbers::default(), slot: 0 };
        // The programs of policy are attached nowhere, as no policy is in force with the others.
        let _policy = ours.kernel.load(&Settings::default()).unwrap();
        let (all, more) = (objects(0..services, server), objects(0..services + 1, server));
        let load = ours.load(&all);
        let add = ours.load(&more);
        let (mut programs, index) = ours.devices(&lab);
        let mut by = Cost { load, add, ..Cost::default() };
        by.measure(&lab, services);
        by.print(services, "ours, devices", bare);
        lab.inside(&lab.node(), || programs.detach(index).map_err(io::Error::other)).unwrap();

        let (mut programs, group, root) = sockets(&ours);
        let mut by = Cost { load, add, ..Cost::default() };
        by.measure(&lab, services);
        by.print(services, "ours, sockets", bare);
        programs.detach().unwrap();
        std::fs::write(root.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let _ = std::fs::remove_dir(group);
    }
}
