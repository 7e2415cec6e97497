//! A node and its pods on one machine: network namespaces joined by pairs of interfaces, for the demo and
//! for tests. Needs root and `ip`; what it makes goes away with it.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The address by which a pod reaches its node, on every interface.
pub const GATEWAY: &str = "169.254.1.1";
/// The same for IPv6.
pub const GATEWAY6: &str = "fe80::1";

/// The bridge of a lab that has one.
const BRIDGE: &str = "cni0";

/// A pod of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabPod {
    /// Its namespace's name is the lab's, a dash and this.
    pub name: String,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
}

/// The namespaces.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    pods: Vec<LabPod>,
    keep: bool,
    bridged: bool,
}

fn command(program: &str, args: &[&str]) -> io::Result<()> {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("{program} could not be run: {e}")))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(io::Error::other(format!("{program} {}: {}", args.join(" "), said.trim())))
}

fn ip(args: &str) -> io::Result<()> {
    command("ip", &args.split(' ').collect::<Vec<_>>())
}

impl Lab {
    /// Makes a node and pods. `prefix` names the namespaces; ones of that name from an earlier run go away.
    pub fn new(prefix: &str, names: &[&str]) -> io::Result<Self> {
        Self::of(prefix, names, false)
    }

    /// The same with the pods at the ports of one bridge, as flannel and others have it.
    pub fn bridged(prefix: &str, names: &[&str]) -> io::Result<Self> {
        Self::of(prefix, names, true)
    }

    fn of(prefix: &str, names: &[&str], bridged: bool) -> io::Result<Self> {
        let pods = (2u8..)
            .zip(names)
            .map(|(n, name)| LabPod {
                name: (*name).to_owned(),
                v4: IpAddr::from([10, 77, 0, n]),
                v6: IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n)]),
            })
            .collect();
        Self::made(prefix, pods, bridged)
    }

    /// The same with pods of given addresses.
    pub fn with(prefix: &str, pods: Vec<LabPod>) -> io::Result<Self> {
        Self::made(prefix, pods, false)
    }

    fn made(prefix: &str, pods: Vec<LabPod>, bridged: bool) -> io::Result<Self> {
        let lab = Self { prefix: prefix.to_owned(), pods, keep: false, bridged };
        lab.remove();
        lab.make()?;
        Ok(lab)
    }

    /// Makes another pod.
    pub fn add_pod(&mut self, pod: LabPod) -> io::Result<()> {
        self.make_pod(&pod)?;
        self.pods.push(pod);
        Ok(())
    }

    /// Leaves everything there when it goes.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    fn make(&self) -> io::Result<()> {
        let node = self.node();
        ip(&format!("netns add {node}"))?;
        ip(&format!("-n {node} link set lo up"))?;
        let (at, bits) = if self.bridged { (BRIDGE, ["24", "64"]) } else { ("lo", ["32", "128"]) };
        if self.bridged {
            ip(&format!("-n {node} link add {BRIDGE} type bridge"))?;
            ip(&format!("-n {node} link set {BRIDGE} up"))?;
        }
        let [v4, v6] = bits;
        ip(&format!("-n {node} addr add 10.77.0.1/{v4} dev {at}"))?;
        ip(&format!("-n {node} addr add fd77::1/{v6} dev {at} nodad"))?;
        self.inside(&node, || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        })?;
        for pod in &self.pods {
            self.make_pod(pod)?;
        }
        Ok(())
    }

    /// Makes one pod's namespace, or makes it again.
    pub fn make_pod(&self, pod: &LabPod) -> io::Result<()> {
        let (node, ns, host) = (self.node(), self.namespace(&pod.name), Self::interface(&pod.name));
        ip(&format!("netns add {ns}"))?;
        ip(&format!("-n {ns} link set lo up"))?;
        // No duplicate address detection: addresses count at once.
        for n in [&node, &ns] {
            self.inside(n, || std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"))?;
        }
        ip(&format!("-n {node} link add {host} type veth peer name eth0 netns {ns}"))?;
        if self.bridged {
            ip(&format!("-n {node} link set {host} master {BRIDGE}"))?;
            ip(&format!("-n {node} link set {host} up"))?;
            ip(&format!("-n {ns} link set eth0 up"))?;
            ip(&format!("-n {ns} addr add {}/24 dev eth0", pod.v4))?;
            ip(&format!("-n {ns} addr add {}/64 dev eth0 nodad", pod.v6))?;
            ip(&format!("-n {ns} route add default via 10.77.0.1 dev eth0"))?;
            return ip(&format!("-n {ns} -6 route add default via fd77::1 dev eth0"));
        }
        ip(&format!("-n {node} addr add {GATEWAY}/32 dev {host}"))?;
        ip(&format!("-n {node} addr add {GATEWAY6}/64 dev {host} nodad"))?;
        ip(&format!("-n {node} link set {host} up"))?;
        ip(&format!("-n {ns} link set eth0 up"))?;
        ip(&format!("-n {ns} addr add {}/32 dev eth0", pod.v4))?;
        ip(&format!("-n {ns} addr add {}/128 dev eth0 nodad", pod.v6))?;
        ip(&format!("-n {ns} route add {GATEWAY} dev eth0"))?;
        ip(&format!("-n {ns} route add default via {GATEWAY} dev eth0"))?;
        ip(&format!("-n {ns} -6 route add default via {GATEWAY6} dev eth0"))?;
        ip(&format!("-n {node} route add {}/32 dev {host}", pod.v4))?;
        ip(&format!("-n {node} -6 route add {}/128 dev {host}", pod.v6))
    }

    /// Takes one pod's namespace and interfaces away.
    pub fn remove_pod(&self, pod: &LabPod) -> io::Result<()> {
        let (node, host) = (self.node(), Self::interface(&pod.name));
        ip(&format!("-n {node} link del {host}"))?;
        ip(&format!("netns del {}", self.namespace(&pod.name)))
    }

    fn remove(&self) {
        for pod in &self.pods {
            let _ = ip(&format!("netns del {}", self.namespace(&pod.name)));
        }
        let _ = ip(&format!("netns del {}", self.node()));
    }

    /// Its pods.
    pub fn pods(&self) -> &[LabPod] {
        &self.pods
    }

    /// The node's namespace.
    pub fn node(&self) -> String {
        format!("{}-node", self.prefix)
    }

    /// A pod's namespace.
    pub fn namespace(&self, pod: &str) -> String {
        format!("{}-{pod}", self.prefix)
    }

    /// A pod's interface on the node's side.
    pub fn interface(pod: &str) -> String {
        format!("v-{pod}")
    }

    /// Runs something in a namespace, on a thread of its own.
    pub fn inside<T: Send>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let path = PathBuf::from("/run/netns").join(namespace);
        thread::scope(|s| {
            let inside = s.spawn(move || {
                enter(&path)?;
                work()
            });
            inside.join().map_err(|_| io::Error::other("what ran in a namespace panicked"))?
        })
    }

    /// A program in the node's namespace, with the mounts of this one.
    pub fn on_node(&self, program: &std::path::Path, args: &[&str]) -> Command {
        let mut out = Command::new("nsenter");
        out.arg(format!("--net=/run/netns/{}", self.node())).arg(program).args(args);
        out
    }

    /// A TCP server in a namespace that sends back what it gets.
    pub fn tcp_server(&self, namespace: &str, at: SocketAddr) -> io::Result<Server> {
        let listener = self.inside(namespace, || TcpListener::bind(at))?;
        listener.set_nonblocking(true)?;
        Ok(Server::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let stop = Arc::clone(stop);
                        thread::spawn(move || echo(stream, &stop));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        }))
    }

    /// A UDP server in a namespace that sends back what it gets.
    pub fn udp_server(&self, namespace: &str, at: SocketAddr) -> io::Result<Server> {
        let socket = self.inside(namespace, || UdpSocket::bind(at))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(Server::start(move |stop| {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(buffer.get(..n).unwrap_or_default(), from);
                }
            }
        }))
    }

    /// A TCP connection from a namespace.
    pub fn tcp(&self, namespace: &str, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        self.inside(namespace, move || TcpStream::connect_timeout(&to, patience))
    }

    /// Whether a UDP datagram from a namespace is answered.
    pub fn udp(&self, namespace: &str, to: SocketAddr, patience: Duration) -> io::Result<bool> {
        let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = self.inside(namespace, move || UdpSocket::bind(any))?;
        socket.set_read_timeout(Some(patience))?;
        socket.send_to(b"hello", to)?;
        let mut buffer = [0; 64];
        Ok(socket.recv_from(&mut buffer).is_ok())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.keep {
            self.remove();
        }
    }
}

fn enter(path: &std::path::Path) -> io::Result<()> {
    let file = File::open(path)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if stream.write_all(buffer.get(..n).unwrap_or_default()).is_err() {
                    return;
                }
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// A server that stops when it goes.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(work: impl FnOnce(&Arc<AtomicBool>) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || work(&seen))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
