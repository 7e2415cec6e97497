//! The agent at work: it waits for files, interfaces, events and questions, one after the other, on one
//! thread.

use crate::config::{Config, KubernetesConfig};
use crate::control::{self, LONGEST, Request};
use crate::events::Dictionary;
use crate::flows::Flows;
use crate::health::HealthServers;
use crate::links::Monitor;
use crate::local::Told;
use crate::metrics;
use crate::node::{Node, NodeError, Quick};
use crate::preflight;
use crate::report::Teller;
use crate::status;
use notify::{RecursiveMode, Watcher as _};
use portcullis_abi::maps::{Event, VERDICT_DROPPED, counter};
use portcullis_cluster::{Fleet, Given as Way, Mirror, Pace, Publisher};
use portcullis_hubble::server::{About, Listen, Service};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, thread};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Changes that follow each other within this time are one.
const QUIET: Duration = Duration::from_millis(50);
/// The same for what an API server tells: one object at a time, as soon as it has changed.
const QUIET_CLUSTER: Duration = Duration::from_millis(20);
/// Pods that change within this time are taken in together.
const TOGETHER: Duration = Duration::from_millis(5);
/// A change waits no longer than this for others.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one waits before a pod's interface is looked for again: twice as long each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// How often one looks for events that the kernel had no room for.
const LOOK: Duration = Duration::from_secs(1);
/// How often the flows that passed are written down.
const KEEP: Duration = Duration::from_mins(1);
/// Events that a client may be behind before it misses some.
const BEHIND: usize = 4096;

/// What happened.
#[derive(Debug)]
enum Happened {
    Files,
    Links,
    /// Routes or neighbours: they bear on pods whose interface is not known yet.
    Paths,
    Cluster,
    Events(Vec<Event>),
    Asked(Request, mpsc::Sender<String>),
}

/// Somebody who follows events.
#[derive(Debug)]
struct Follower {
    endpoint: Option<String>,
    dropped: bool,
    to: mpsc::Sender<String>,
    missed: u64,
}

/// A plugin that waits for a pod's policy.
#[derive(Debug)]
struct Waiting {
    pod: String,
    interface: String,
    to: mpsc::Sender<String>,
}

impl Waiting {
    /// Tells it, once it is so; whether that is over, or the plugin gone.
    fn is_over(&self, node: &Node) -> bool {
        if node.is_attached(&self.pod, &self.interface) {
            let said = json!({ "attached": true, "generation": node.current().map(|r| r.generation) });
            let _ = self.to.try_send(said.to_string());
            return true;
        }
        self.to.is_closed()
    }
}

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Somebody else translates services here.
    #[error("{0}")]
    KubeProxy(String),
    /// The API server cannot be looked for.
    #[error("{0}")]
    Cluster(String),
    /// The system.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Looks for a kube-proxy before services are translated. Policy alone goes with one.
fn look_for_kube_proxy(config: &Config, given: Given) -> Result<(), ServeError> {
    if config.services.is_none() {
        return Ok(());
    }
    let findings = preflight::kube_proxy();
    if findings.clear() {
        return Ok(());
    }
    if !given.takeover {
        return Err(ServeError::KubeProxy(preflight::refusal(&findings)));
    }
    tracing::warn!("{}", preflight::takeover(&findings));
    Ok(())
}

/// What the command line adds to the configuration, now and whenever it is read again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Let through what cannot be enforced here.
    pub fail_open: bool,
    /// Translate services beside a kube-proxy.
    pub takeover: bool,
    /// Hold what would deny flows that passed lately.
    pub hold_on_denied: bool,
}

impl Given {
    fn read(self, path: &Path) -> Result<Config, crate::config::ConfigError> {
        let mut config = Config::read(path)?;
        config.fail_open |= self.fail_open;
        config.guard.hold_on_denied |= self.hold_on_denied;
        Ok(config)
    }
}

/// Runs until a signal. What is in the kernel stays there.
pub async fn run(path: &Path, given: Given) -> Result<(), ServeError> {
    let config = given.read(path)?;
    look_for_kube_proxy(&config, given)?;
    let state = config.state.clone();
    let mut node = Node::open(config)?;
    let (tell, mut heard) = mpsc::channel::<Happened>(64);
    let watcher =
        watch(path, node.config(), &tell).map_err(|e| ServeError::System("files cannot be followed", e))?;
    follow_links(Monitor::new, || Happened::Links, &tell)
        .and_then(|()| follow_links(Monitor::of_paths, || Happened::Paths, &tell))
        .map_err(|e| ServeError::System("interfaces cannot be followed", e))?;
    let listener = listen(&state).map_err(|e| ServeError::System("the control socket", e))?;
    let flows =
        Arc::new(Flows::new(if node.config().hubble.enabled { node.config().hubble.flows } else { 1 }));
    follow_events(&node, &tell, &flows)?;
    if node.config().hubble.enabled {
        serve_flows(&node, &flows)?;
    }
    if let Some(at) = node.config().metrics {
        serve_metrics(at, &tell).await.map_err(|e| ServeError::System("the metrics page", e))?;
    }
    let mut teller = None;
    if let Some(kubernetes) = &node.config().kubernetes {
        let cluster = follow_cluster(kubernetes, &node.config().node, &tell)?;
        node.follow(cluster.mirror);
        node.obey(cluster.fleet);
        if let Some(publisher) = cluster.publisher.map(Arc::new) {
            node.tell_through(Arc::clone(&publisher));
            teller = Some(Teller::new(publisher));
        }
    }
    node.watch_flows(Arc::clone(flows.passed()));
    let mut stop = signal(SignalKind::terminate()).map_err(|e| ServeError::System("signals", e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| ServeError::System("signals", e))?;
    let mut reload = signal(SignalKind::hangup()).map_err(|e| ServeError::System("signals", e))?;
    let mut words = Dictionary::default();
    if let Some(record) = node.current() {
        words.add(record);
    }
    let mut followers: Vec<Follower> = Vec::new();
    let mut health = HealthServers::default();
    refresh(&mut node, &mut words);
    flows.learn(&node);
    check_health(&node, &mut health);
    tell_cluster(&node, &mut teller);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut keep = tokio::time::interval_at(Instant::now() + KEEP, KEEP);
    keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due: Option<(Instant, Instant)> = None;
    let mut pods_due: Option<Instant> = None;
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut config_changed = false;
    let mut again = AGAIN.0;
    if node.is_missing_some() {
        due = Some((Instant::now() + again, Instant::now() + again));
    }
    loop {
        let when = due.map(|(quiet, last)| quiet.min(last));
        tokio::select! {
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => {
                config_changed = true;
                due = Some((Instant::now(), Instant::now()));
            }
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    serve(stream, tell.clone());
                }
            }
            _ = keep.tick() => node.keep_flows(),
            _ = look.tick() => {
                if let Some(lost) = node.kernel().counters().ok().and_then(|c| c.get(counter::EVENTS_LOST as usize).copied()) {
                    flows.lost(lost);
                }
            }
            happened = heard.recv() => match happened {
                Some(Happened::Events(batch)) => {
                    for event in &batch {
                        hand_out(event, &words, &mut followers);
                    }
                }
                Some(Happened::Asked(Request::Attach { namespace, pod, interface, addresses, container }, to)) => {
                    if node.config().kubernetes.is_none() {
                        let why = "this agent follows no API server: pods stand in its configuration";
                        let _ = to.try_send(json!({ "error": why }).to_string());
                        continue;
                    }
                    let told = Told { interface: interface.clone(), addresses, container };
                    waiting.push(Waiting { pod: format!("{namespace}/{pod}"), interface, to });
                    node.hear((namespace, pod), told);
                    due = Some((Instant::now(), Instant::now()));
                }
                Some(Happened::Asked(request, to)) => {
                    answer(request, to, &mut node, &mut words, &mut followers, &flows);
                    flows.learn(&node);
                    check_health(&node, &mut health);
                    tell_cluster(&node, &mut teller);
                }
                Some(Happened::Paths) if !node.is_missing_some() => {}
                Some(Happened::Cluster) if node.only_pods_changed() => {
                    pods_due.get_or_insert_with(|| Instant::now() + TOGETHER);
                }
                Some(what) => {
                    config_changed |= matches!(what, Happened::Files);
                    let quiet = if matches!(what, Happened::Cluster) { QUIET_CLUSTER } else { QUIET };
                    due = Some(sooner(due, quiet));
                }
                None => break,
            },
            () = sleep_until(pods_due.unwrap_or_else(Instant::now)), if pods_due.is_some() => {
                pods_due = None;
                if node.follow_pods() != Quick::Done {
                    due = Some(sooner(due, QUIET_CLUSTER));
                }
            }
            () = sleep_until(when.unwrap_or_else(Instant::now)), if when.is_some() => {
                due = None;
                if std::mem::take(&mut config_changed) {
                    reread(path, given, &mut node);
                }
                refresh(&mut node, &mut words);
                flows.learn(&node);
                check_health(&node, &mut health);
                tell_cluster(&node, &mut teller);
                waiting.retain(|w| !w.is_over(&node));
                if node.is_missing_some() {
                    let now = Instant::now();
                    due = Some((now + again, now + again));
                    again = (again * 2).min(AGAIN.1);
                } else {
                    again = AGAIN.0;
                }
            }
        }
    }
    drop(watcher);
    node.keep_flows();
    let _ = fs::remove_file(control::path(&state));
    let _ = fs::remove_file(control::hubble_path(&state));
    tracing::info!(
        generation = node.current().map(|r| r.generation),
        "stopped; the policy stays in the kernel"
    );
    Ok(())
}

/// When a change is taken in that others may follow: after a quiet time, and no later than the first would be.
fn sooner(due: Option<(Instant, Instant)>, quiet: Duration) -> (Instant, Instant) {
    let now = Instant::now();
    let last = now + PATIENCE;
    (now + quiet, due.map_or(last, |(_, before)| before.min(last)))
}

/// Reads the configuration again. One that is wrong changes nothing.
fn reread(path: &Path, given: Given, node: &mut Node) {
    match given.read(path) {
        Ok(config) => {
            if let Err(why) = node.reconfigure(config) {
                tracing::error!(%why, "the configuration is not in use");
            }
        }
        Err(e) => tracing::error!(%e, "the configuration is not in use"),
    }
}

/// Tells the cluster what is new here.
fn tell_cluster(node: &Node, teller: &mut Option<Teller>) {
    if let Some(teller) = teller {
        teller.tell(node);
    }
}

/// Answers load balancers on the ports that services have for it.
fn check_health(node: &Node, health: &mut HealthServers) {
    if let Some(services) = node.services() {
        for problem in health.follow(services.health_checks()) {
            tracing::warn!(problem, "unhealthy");
        }
    }
}

fn refresh(node: &mut Node, words: &mut Dictionary) {
    let before = node.current().map(|r| r.generation);
    let refused = node.refresh().err();
    words.endpoints = node.present().map(|p| (p.number, p.name.clone())).collect::<BTreeMap<_, _>>();
    if let Some(why) = refused {
        tracing::error!(%why, generation = before, "the policies on disk are not in use; the last good generation stays");
        return;
    }
    if let Some(held) = node.held() {
        tracing::warn!(
            policy_set = held.policy_set,
            why = held.why,
            "held; the policies before it stay in use"
        );
    }
    let Some(record) = node.current() else { return };
    if before == Some(record.generation) {
        return;
    }
    words.add(record);
    let took = node.took();
    tracing::info!(
        generation = record.generation,
        policies = record.policies,
        source = record.source,
        compile_us = u64::try_from(took.compile.as_micros()).unwrap_or(u64::MAX),
        stage_us = u64::try_from(took.stage.as_micros()).unwrap_or(u64::MAX),
        flip_us = u64::try_from(took.flip.as_micros()).unwrap_or(u64::MAX),
        "in use"
    );
    for (rule, why) in &record.unenforced {
        tracing::warn!(rule, why, "not enforced as written");
    }
    for problem in node.problems() {
        tracing::warn!(problem, "unhealthy");
    }
}

/// Tells of changes below everything that is read. Folders are followed, not files: editors put new files
/// in the place of old ones.
fn watch(
    path: &Path,
    config: &Config,
    tell: &mpsc::Sender<Happened>,
) -> io::Result<notify::RecommendedWatcher> {
    let tell = tell.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no change.
        if event.is_ok_and(|e| e.kind.is_access()) {
            return;
        }
        // Whoever is behind has one waiting already.
        let _ = tell.try_send(Happened::Files);
    })
    .map_err(io::Error::other)?;
    let mut folders: Vec<(PathBuf, RecursiveMode)> = Vec::new();
    for p in config.policies.iter().chain(&config.cluster) {
        if p.is_dir() {
            folders.push((p.clone(), RecursiveMode::Recursive));
        } else {
            folders.push((parent(p), RecursiveMode::NonRecursive));
        }
    }
    folders.push((parent(path), RecursiveMode::NonRecursive));
    for (folder, mode) in folders {
        watcher.watch(&folder, mode).map_err(io::Error::other)?;
    }
    Ok(watcher)
}

fn parent(p: &Path) -> PathBuf {
    match p.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Serves metrics, which the loop is asked for like everything else.
async fn serve_metrics(at: SocketAddr, tell: &mpsc::Sender<Happened>) -> io::Result<()> {
    let tell = tell.clone();
    let page = move || {
        let tell = tell.clone();
        async move {
            let (to, mut said) = mpsc::channel(1);
            tell.send(Happened::Asked(Request::Metrics, to)).await.ok()?;
            serde_json::from_str::<String>(&said.recv().await?).ok()
        }
    };
    metrics::serve(at, page).await
}

fn follow_links(
    monitor: impl FnOnce() -> io::Result<Monitor>,
    what: impl Fn() -> Happened + Send + 'static,
    tell: &mpsc::Sender<Happened>,
) -> io::Result<()> {
    let monitor = monitor()?;
    let tell = tell.clone();
    thread::Builder::new().name("links".to_owned()).spawn(move || {
        while monitor.wait().is_ok() {
            if tell.blocking_send(what()).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}

/// What is followed and told over there.
struct Cluster {
    mirror: Arc<Mirror>,
    fleet: Arc<Fleet>,
    publisher: Option<Publisher>,
}

/// Watches the cluster on a thread of its own, which lists and prunes while a policy is compiled.
fn follow_cluster(
    config: &KubernetesConfig,
    node: &str,
    tell: &mpsc::Sender<Happened>,
) -> Result<Cluster, ServeError> {
    let system = |e| ServeError::System("the API server", e);
    let way =
        Way { kubeconfig: config.kubeconfig.clone(), context: config.context.clone(), ..Way::default() };
    let (tell, node, tells) = (tell.clone(), node.to_owned(), config.status.enabled);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let (to, begun) = std::sync::mpsc::channel();
    let follow = async move {
        let cluster = match way.client().await {
            Ok(client) => Cluster {
                mirror: Arc::new(Mirror::start(&client)),
                fleet: Arc::new(Fleet::start(&client)),
                publisher: tells.then(|| Publisher::start(&client, &node, Pace::default())),
            },
            Err(e) => return drop(to.send(Err(ServeError::Cluster(e.to_string())))),
        };
        let (mut changes, mut orders) = (cluster.mirror.changes(), cluster.fleet.changes());
        let followed = Arc::downgrade(&cluster.mirror);
        let _ = to.send(Ok(cluster));
        let mut listed = false;
        loop {
            let heard =
                tokio::select! { heard = changes.changed() => heard, heard = orders.changed() => heard };
            if !listed && followed.upgrade().is_some_and(|m| m.is_ready()) {
                listed = true;
                tracing::info!("every kind has been listed by the API server");
            }
            if heard.is_err() || tell.send(Happened::Cluster).await.is_err() {
                break;
            }
        }
    };
    thread::Builder::new()
        .name("cluster".to_owned())
        .spawn(move || runtime.block_on(follow))
        .map_err(system)?;
    begun.recv().map_err(|e| ServeError::Cluster(e.to_string()))?
}

/// Empties the ring on a thread of its own, so that it does not fill up while a policy is compiled.
/// Those who trace miss what comes while the loop is busy; the ring of flows does not.
fn follow_events(node: &Node, tell: &mpsc::Sender<Happened>, flows: &Arc<Flows>) -> Result<(), ServeError> {
    let mut events = node.kernel().events().map_err(NodeError::from)?;
    let (tell, flows) = (tell.clone(), Arc::clone(flows));
    let follow = move || {
        while events.wait().is_ok() {
            let mut batch = Vec::new();
            events.drain(&mut |e| batch.push(*e));
            if batch.is_empty() {
                continue;
            }
            flows.add(&batch);
            match tell.try_send(Happened::Events(batch)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(Happened::Events(batch))) => {
                    flows.counts().queue_lost(batch.len() as u64);
                }
                Err(_) => break,
            }
        }
    };
    let spawned = thread::Builder::new().name("events".to_owned()).spawn(follow);
    spawned.map(drop).map_err(|e| ServeError::System("the events", e))
}

/// Serves flows on a thread of its own: whoever reads them does not hold the loop up.
fn serve_flows(node: &Node, flows: &Arc<Flows>) -> Result<(), ServeError> {
    let failed = |e| ServeError::System("the Observer API", e);
    let config = node.config();
    let (socket, at) = (control::hubble_path(&config.state), config.hubble.listen);
    let about = About {
        node: config.node.clone(),
        cluster: config.cluster_name.clone(),
        address: at.map(|a| a.to_string()).unwrap_or_default(),
        server_name: config.hubble.tls.as_ref().map(|t| {
            t.server_name.clone().unwrap_or_else(|| {
                // As Hubble Relay names its peers: one label for the node.
                format!("{}.{}.hubble-grpc.cilium.io", config.node.replace('.', "-"), config.cluster_name)
            })
        }),
    };
    let service = Service::new(Arc::clone(flows.ring()), about);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut listeners = vec![Listen::unix(&socket).map_err(failed)?];
    if let Some(at) = at {
        let listen = match &config.hubble.tls {
            Some(t) => {
                let (cert, key, ca) = (t.cert.clone(), t.key.clone(), t.client_ca.clone());
                Listen::tls(at, portcullis_hubble::tls::Files { cert, key, ca })
            }
            None => Listen::loopback(at),
        };
        listeners.push(listen.map_err(failed)?);
    }
    let work = move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for at in listeners {
                tasks.spawn(portcullis_hubble::server::serve(service.clone(), service.clone(), at));
            }
            while let Some(ended) = tasks.join_next().await {
                tracing::warn!(?ended, "the Observer API ended");
            }
        });
    };
    thread::Builder::new().name("hubble".to_owned()).spawn(work).map(drop).map_err(failed)
}

fn listen(state: &Path) -> io::Result<UnixListener> {
    let path = control::path(state);
    // The lock says that no other agent is there: what is left is an old one's.
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves one client, apart from the loop.
fn serve(stream: UnixStream, tell: mpsc::Sender<Happened>) {
    tokio::spawn(async move {
        let own = rustix::process::geteuid().as_raw();
        let allowed = stream.peer_cred().is_ok_and(|c| c.uid() == 0 || c.uid() == own);
        let (read, mut write) = stream.into_split();
        if !allowed {
            let _ = write.write_all(b"{\"error\":\"only root may ask\"}\n").await;
            return;
        }
        let mut line = Vec::new();
        let mut read = BufReader::new(read.take(LONGEST as u64 + 1));
        if read.read_until(b'\n', &mut line).await.is_err() {
            return;
        }
        let (to, mut lines) = mpsc::channel(BEHIND);
        match Request::parse(line.trim_ascii_end()) {
            Ok(request) => {
                if tell.send(Happened::Asked(request, to)).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                let _ = to.send(json!({ "error": e }).to_string()).await;
                drop(to);
            }
        }
        while let Some(mut text) = lines.recv().await {
            text.push('\n');
            if write.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    });
}

fn answer(
    request: Request,
    to: mpsc::Sender<String>,
    node: &mut Node,
    words: &mut Dictionary,
    followers: &mut Vec<Follower>,
    flows: &Flows,
) {
    let failed = |e: &dyn std::fmt::Display| json!({ "error": e.to_string() });
    let said: Value = match request {
        Request::Status { verbose } => status::status(node, verbose).unwrap_or_else(|e| failed(&e)),
        Request::Endpoints => {
            json!({ "schema": "portcullis.dev/endpoints/v1", "endpoints": status::endpoints(node) })
        }
        Request::Trace { endpoint, dropped } => {
            followers.push(Follower { endpoint, dropped, to, missed: 0 });
            return;
        }
        Request::Rollback { generation } => match node.roll_back(generation) {
            Ok(to) => {
                if let Some(record) = node.current() {
                    words.add(record);
                }
                json!({ "generation": node.current().map(|r| r.generation), "policiesOf": to })
            }
            Err(e) => failed(&e),
        },
        Request::Approve { policy_set } => match node.approve(policy_set.as_deref()) {
            Ok(approved) => {
                refresh(node, words);
                json!({ "approved": approved, "generation": node.current().map(|r| r.generation) })
            }
            Err(e) => failed(&e),
        },
        Request::Rules => flows.counts().rules(&flows.words().rules(), node.config().report_allowed),
        Request::Metrics => match metrics::text(node) {
            Ok(text) => (text + &flows.counts().text(&flows.words().rules(), flows.ring().missed())).into(),
            Err(e) => failed(&e),
        },
        // The loop's own.
        Request::Attach { .. } => return,
        Request::Forget { namespace, pod, container } => {
            node.forget(&(namespace, pod), &container);
            json!({ "forgotten": true })
        }
        Request::Refresh => {
            refresh(node, words);
            json!({ "generation": node.current().map(|r| r.generation), "problems": node.problems() })
        }
    };
    let _ = to.try_send(said.to_string());
}

/// Gives an event to those who follow; one who does not keep up misses it, and is told how many.
fn hand_out(e: &Event, words: &Dictionary, followers: &mut Vec<Follower>) {
    if followers.is_empty() {
        return;
    }
    let endpoint = words.endpoints.get(&e.endpoint);
    let mut said: Option<String> = None;
    followers.retain_mut(|f| {
        if f.to.is_closed() {
            return false;
        }
        let fits = (!f.dropped || e.verdict == VERDICT_DROPPED)
            && f.endpoint.as_ref().is_none_or(|wanted| Some(wanted) == endpoint);
        if !fits {
            return true;
        }
        if f.missed > 0 && f.to.try_send(json!({ "missed": f.missed }).to_string()).is_ok() {
            f.missed = 0;
        }
        let text = said.get_or_insert_with(|| {
            let mut v = words.json(e);
            if let Some(map) = v.as_object_mut() {
                map.insert("line".into(), words.line(e).into());
            }
            v.to_string()
        });
        if f.to.try_send(text.clone()).is_err() {
            f.missed += 1;
        }
        true
    });
}
