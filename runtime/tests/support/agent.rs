//! An agent of its own in a lab of its own.

use portcullis_agent::lab::{Lab, LabPod, Server};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long a test waits for what should come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection may take; on this machine it takes well under a millisecond.
pub(crate) const TRY: Duration = Duration::from_millis(500);

pub(crate) struct Agent {
    pub(crate) lab: Lab,
    pub(crate) folder: PathBuf,
    name: String,
    child: Option<Child>,
    extra: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        let _ = self.agent(&["detach", "--config", &self.config().to_string_lossy()]).output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether this machine lets a test have network namespaces and programs; in CI it must.
fn can_run() -> bool {
    super::pins().is_some()
}

impl Agent {
    /// A lab with pods, and an agent that is not started yet. `None` where there can be none.
    pub(crate) fn new(name: &str, pods: &[&str]) -> Option<Self> {
        if !can_run() {
            return None;
        }
        let lab = Lab::new(&format!("pct-{name}"), pods).unwrap();
        let out = Self::on(name, lab);
        out.write_config(&|pod| format!("{{app: {pod}}}"));
        Some(out)
    }

    /// The same with pods of given addresses, and without a configuration.
    pub(crate) fn with(name: &str, pods: Vec<LabPod>) -> Option<Self> {
        can_run().then(|| Self::on(name, Lab::with(&format!("pct-{name}"), pods).unwrap()))
    }

    fn on(name: &str, lab: Lab) -> Self {
        let folder = std::env::temp_dir().join(format!("portcullis-agent-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("policies")).unwrap();
        Self { lab, folder, name: name.to_owned(), child: None, extra: String::new() }
    }

    /// A lab whose pods are at a bridge.
    pub(crate) fn bridged(name: &str, pods: &[&str]) -> Option<Self> {
        can_run().then(|| Self::on(name, Lab::bridged(&format!("pct-{name}"), pods).unwrap()))
    }

    /// A configuration that names no pod, and an API server.
    pub(crate) fn follow(&mut self, kubeconfig: &str) {
        fs::write(self.folder.join("kubeconfig"), kubeconfig).unwrap();
        self.extra("kubernetes: {kubeconfig: kubeconfig}\n");
        self.write_config_of(&[], &|_| String::new());
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("node.yaml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Lines for the configuration that is written next.
    pub(crate) fn extra(&mut self, lines: &str) {
        self.extra.push_str(lines);
    }

    /// Adds lines to the configuration.
    pub(crate) fn configure(&mut self, lines: &str) {
        self.extra(lines);
        self.write_config(&|pod| format!("{{app: {pod}}}"));
    }

    /// Writes the configuration, with the labels of each pod.
    pub(crate) fn write_config(&self, labels: &dyn Fn(&str) -> String) {
        let pods: Vec<LabPod> = self.lab.pods().to_vec();
        self.write_config_of(&pods, labels);
    }

    /// The same for pods with other addresses or fewer of them.
    pub(crate) fn write_config_of(&self, pods: &[LabPod], labels: &dyn Fn(&str) -> String) {
        let mut text = String::new();
        for pod in pods {
            let (name, interface) = (&pod.name, Lab::interface(&pod.name));
            let (labels, v4, v6) = (labels(name), pod.v4, pod.v6);
            writeln!(text, "- name: {name}\n  namespace: lab\n  interface: {interface}").unwrap();
            writeln!(text, "  labels: {labels}\n  addresses: [{v4}, \"{v6}\"]").unwrap();
        }
        self.write_endpoints(&text);
    }

    /// Writes the configuration with these entries as its endpoints.
    pub(crate) fn write_endpoints(&self, entries: &str) {
        let (id, name, extra) = (std::process::id(), &self.name, &self.extra);
        let none = if entries.is_empty() { " []" } else { "" };
        let text = format!(
            "node: test\npolicies: [policies]\nstate: state\npins: portcullis-t-{id}-{name}\n{extra}endpoints:{none}\n{entries}"
        );
        write_whole(&self.config(), &text);
    }

    /// Writes, changes or (with an empty text) removes a policy file.
    pub(crate) fn policy(&self, file: &str, text: &str) {
        let path = self.folder.join("policies").join(file);
        if text.is_empty() {
            fs::remove_file(path).unwrap();
        } else {
            write_whole(&path, text);
        }
    }

    /// A command of the agent, in the node's namespace.
    pub(crate) fn agent(&self, args: &[&str]) -> Command {
        let mut c = self.lab.on_node(Path::new(env!("CARGO_BIN_EXE_portcullis-agent")), args);
        c.stdin(Stdio::null());
        c
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more on its command line.
    pub(crate) fn start_with(&mut self, args: &[&str]) {
        let config = self.config();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = self.agent(&["run", "--config", &config.to_string_lossy()]);
        command.args(args);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.wait("an answer", |_| true);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The running process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// One question, one answer.
    pub(crate) fn ask(&self, request: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(self.state().join("agent.sock")).ok()?;
        stream.write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub(crate) fn status(&self) -> Value {
        self.ask(&json!({"ask": "status", "verbose": true})).unwrap_or_default()
    }

    /// Waits until the status is as it should be, and returns it.
    pub(crate) fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let v = self.status();
            if v.get("node").is_some() && fits(&v) {
                return v;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {v:#}\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a generation.
    pub(crate) fn generation(&self, n: u64) -> Value {
        self.wait(&format!("generation {n}"), |v| v["generation"] == n)
    }

    pub(crate) fn at(&self, pod: &str, port: u16) -> SocketAddr {
        let pod = self.lab.pods().iter().find(|p| p.name == pod).unwrap();
        SocketAddr::new(pod.v4, port)
    }

    pub(crate) fn at6(&self, pod: &str, port: u16) -> SocketAddr {
        let pod = self.lab.pods().iter().find(|p| p.name == pod).unwrap();
        SocketAddr::new(pod.v6, port)
    }

    pub(crate) fn serve(&self, pod: &str, port: u16) -> Vec<Server> {
        let ns = self.lab.namespace(pod);
        vec![
            self.lab.tcp_server(&ns, self.at(pod, port)).unwrap(),
            self.lab.tcp_server(&ns, self.at6(pod, port)).unwrap(),
            self.lab.udp_server(&ns, self.at(pod, port)).unwrap(),
            self.lab.udp_server(&ns, self.at6(pod, port)).unwrap(),
        ]
    }

    /// Whether a TCP connection comes about.
    pub(crate) fn reaches(&self, from: &str, to: SocketAddr) -> bool {
        self.lab.tcp(&self.lab.namespace(from), to, TRY).is_ok()
    }

    /// Whether a datagram is answered.
    pub(crate) fn udp(&self, from: &str, to: SocketAddr) -> bool {
        self.lab.udp(&self.lab.namespace(from), to, TRY).unwrap()
    }

    /// Whether one echo is answered.
    pub(crate) fn pings(&self, from: &str, to: SocketAddr) -> bool {
        let ip = to.ip().to_string();
        let ns = format!("--net=/run/netns/{}", self.lab.namespace(from));
        let done = Command::new("nsenter").args([&ns, "ping", "-c", "1", "-W", "1", &ip]).output();
        done.expect("iputils-ping").status.success()
    }
}

/// As an editor does: the new file takes the old one's place.
fn write_whole(path: &Path, text: &str) {
    let part = path.with_extension("part");
    fs::write(&part, text).unwrap();
    fs::rename(part, path).unwrap();
}
