//! The demo: three pods of policies/examples/payments in network namespaces, an agent on their node, real
//! traffic, and the example's change of policy while it runs.

use crate::{client, say};
use portcullis_agent::lab::Lab;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const BASE: &str = include_str!("../../policies/examples/payments/base/db-allow-api.yaml");
const CHANGE: &str = include_str!("../../policies/examples/payments/head/api-allow-web.yaml");
const PODS: [&str; 3] = ["web", "api", "db"];
/// Who asks whom on which port.
const TRIES: [(&str, &str, u16); 5] = [
    ("web", "api", 8080),
    ("web", "api", 9090),
    ("db", "api", 8080),
    ("api", "db", 5432),
    ("web", "db", 5432),
];
const PATIENCE: Duration = Duration::from_millis(600);

/// What has to go away at the end, however it ends.
struct Stage {
    folder: PathBuf,
    agent: Option<Child>,
    keep: bool,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if self.keep {
            say(&format!("\nleft there: {} and the namespaces pc-demo-*", self.folder.display()));
            say(&format!(
                "to take the programs out of the kernel: portcullis-agent detach --config {}",
                self.config().display()
            ));
            return;
        }
        if let Ok(config) = portcullis_agent::config::Config::read(&self.config()) {
            let _ = portcullis_agent::node::detach(&config);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    fn config(&self) -> PathBuf {
        self.folder.join("node.yaml")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }
}

/// Runs it.
pub(crate) fn run(keep: bool) -> Result<ExitCode, String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    say("three pods of one node: payments/web, payments/api and payments/db, each in a network namespace");
    let mut lab = Lab::new("pc-demo", &PODS).map_err(|e| {
        format!("the namespaces could not be made: {e}\n  the demo needs root, `ip` (iproute2) and `nsenter` (util-linux)")
    })?;
    if keep {
        lab.keep();
    }
    let folder = env::temp_dir().join(format!("portcullis-demo-{}", std::process::id()));
    let mut stage = Stage { folder, agent: None, keep };
    // Its own, and nobody else's: whoever made a folder of that name before may not be trusted.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&stage.folder)
        .map_err(|e| format!("{} could not be made: {e}", stage.folder.display()))?;
    let policies = stage.folder.join("policies");
    fs::create_dir(&policies).map_err(|e| words(&e))?;
    fs::write(policies.join("db-allow-api.yaml"), BASE).map_err(|e| words(&e))?;
    fs::write(stage.config(), config(&lab)).map_err(|e| words(&e))?;
    let exe = env::current_exe().map_err(|e| words(&e))?;
    let path = stage.config();
    let mut command = lab.on_node(&exe, &["run", "--config", &path.to_string_lossy()]);
    let log = fs::File::create(stage.folder.join("agent.log")).map_err(|e| words(&e))?;
    stage.agent = Some(
        command
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("the agent could not be started in the node's namespace: {e}"))?,
    );
    wait_for(&stage, 1)?;
    say("the agent runs, with the policy db-allow-api: only api reaches db, on TCP 5432\n");
    let servers: Result<Vec<_>, _> = lab
        .pods()
        .iter()
        .flat_map(|p| [5432u16, 8080, 9090].map(|port| (p, port)))
        .map(|(p, port)| lab.tcp_server(&lab.namespace(&p.name), SocketAddr::new(p.v4, port)))
        .collect();
    let servers = servers.map_err(|e| words(&e))?;
    let before = try_all(&lab);
    table(&before, None);
    let events = follow(&stage.state())?;
    say("\nnow api-allow-web.yaml is put beside it: api accepts TCP 8080 from web");
    fs::write(policies.join("api-allow-web.yaml"), CHANGE).map_err(|e| words(&e))?;
    wait_for(&stage, 2)?;
    let status = client::one(&stage.state(), &json!({"ask": "status"}))?;
    let flip = status.pointer("/lastChangeMicroseconds/flip").map_or_else(String::new, ToString::to_string);
    say(&format!("generation 2 is in the kernel; the flip took {flip} µs, and no packet saw half of it\n"));
    while events.try_recv().is_ok() {}
    let after = try_all(&lab);
    table(&after, Some(&before));
    say("\nwhat the kernel dropped, and by which line:");
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut seen = Vec::new();
    while let Ok(line) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        // One line a flow; its source port is of no interest here.
        let key = line.split(" TCP: ").next().unwrap_or_default().split(" → ").map(strip).collect::<Vec<_>>();
        if !seen.contains(&key) {
            seen.push(key);
            say(&format!("  {}", line.replace(&format!("{}/", policies.display()), "")));
        }
        if seen.len() >= after.iter().filter(|(_, ok)| !ok).count() {
            break;
        }
    }
    say(
        "\nthe same as Hubble's clients see it: portcullis-agent observe --verdict DROPPED --last 1 --to-pod payments/api",
    );
    let observed = observe(&exe, &stage)?;
    say(&format!("  {}", observed.replace(&format!("{}/", policies.display()), "")));
    let cut = before.iter().zip(&after).filter(|((_, b), (_, a))| *b && !*a).count();
    say(&format!(
        "\n{cut} of {} flows became denied, as `portcullis diff` says before the change rolls out:",
        TRIES.len()
    ));
    say(
        "  portcullis diff policies/examples/payments/base policies/examples/payments/head --cluster policies/examples/payments/cluster.yaml",
    );
    drop(servers);
    let expected: Vec<bool> = vec![true, false, false, true, false];
    let got: Vec<bool> = after.iter().map(|(_, ok)| *ok).collect();
    let is_observed = observed.contains("api-allow-web.yaml:");
    if got != expected || seen.is_empty() || !is_observed {
        say("\nthe kernel did not do what the policies say: this is a defect, please report it");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// The last drop on the way to api, as the Observer API tells of it.
fn observe(exe: &Path, stage: &Stage) -> Result<String, String> {
    let state = stage.state();
    let args = ["--verdict", "DROPPED", "--last", "1", "--to-pod", "payments/api"];
    let out = Command::new(exe).arg("observe").arg("--state").arg(&state).args(args).output();
    let out = out.map_err(|e| format!("observe could not be run: {e}"))?;
    if !out.status.success() {
        return Err(format!("observe: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A part of an event's line without its port.
fn strip(text: &str) -> String {
    text.rsplit_once(':').map_or(text, |(head, _)| head).to_owned()
}

fn config(lab: &Lab) -> String {
    let mut out =
        String::from("node: demo\npolicies: [policies]\nstate: state\npins: portcullis-demo\nendpoints:\n");
    for pod in lab.pods() {
        let _ = writeln!(
            out,
            "- name: {0}\n  namespace: payments\n  interface: {1}\n  labels: {{app: {0}}}\n  addresses: [{2}, \"{3}\"]",
            pod.name,
            Lab::interface(&pod.name),
            pod.v4,
            pod.v6
        );
    }
    out
}

/// Waits until a generation is in use.
fn wait_for(stage: &Stage, generation: u64) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(v) = client::one(&stage.state(), &json!({"ask": "status"}))
            && v.get("generation").and_then(Value::as_u64) == Some(generation)
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = fs::read_to_string(stage.folder.join("agent.log")).unwrap_or_default();
            return Err(format!(
                "the agent did not get generation {generation} into the kernel; it says:\n{log}"
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

type Tried = ((&'static str, &'static str, u16), bool);

fn try_all(lab: &Lab) -> Vec<Tried> {
    TRIES
        .iter()
        .map(|one| {
            let (from, to, port) = *one;
            let to = lab.pods().iter().find(|p| p.name == to).map(|p| SocketAddr::new(p.v4, port));
            let reached = to.is_some_and(|to| lab.tcp(&lab.namespace(from), to, PATIENCE).is_ok());
            (*one, reached)
        })
        .collect()
}

fn table(tried: &[Tried], before: Option<&[Tried]>) {
    for (i, ((from, to, port), ok)) in tried.iter().enumerate() {
        let word = if *ok { "answers" } else { "times out" };
        let was = before.and_then(|b| b.get(i)).map(|(_, ok)| *ok);
        let change = match was {
            Some(was) if was && !*ok => "   ← became denied",
            Some(was) if !was && *ok => "   ← became allowed",
            _ => "",
        };
        say(&format!("  {:<24} {word}{change}", format!("{from} → {to}:{port}")));
    }
}

/// The agent's lines about dropped packets, as they come.
fn follow(state: &Path) -> Result<mpsc::Receiver<String>, String> {
    let path = portcullis_agent::control::path(state);
    let mut stream = UnixStream::connect(path).map_err(|e| e.to_string())?;
    stream.write_all(b"{\"ask\":\"trace\",\"dropped\":true}\n").map_err(|e| e.to_string())?;
    let (to, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let v: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(text) = v.get("line").and_then(Value::as_str)
                && to.send(text.to_owned()).is_err()
            {
                return;
            }
        }
    });
    Ok(lines)
}
