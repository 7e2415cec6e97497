//! A small API server: lists and watches as a real one answers them, and fails on demand. Its answers are
//! compared with recorded ones in `tests/server.rs`. A thread a connection, no library but `serde_json`.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Paths of the kinds, and whether objects in lists have no `kind` of their own.
const RESOURCES: [(&str, &str, &str, bool); 14] = [
    ("/api/v1/namespaces", "v1", "Namespace", true),
    ("/api/v1/nodes", "v1", "Node", true),
    ("/api/v1/serviceaccounts", "v1", "ServiceAccount", true),
    ("/api/v1/pods", "v1", "Pod", true),
    ("/api/v1/services", "v1", "Service", true),
    ("/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1", "EndpointSlice", true),
    ("/apis/networking.k8s.io/v1/networkpolicies", "networking.k8s.io/v1", "NetworkPolicy", true),
    ("/apis/cilium.io/v2/ciliumcidrgroups", "cilium.io/v2", "CiliumCIDRGroup", false),
    ("/apis/cilium.io/v2/ciliumnetworkpolicies", "cilium.io/v2", "CiliumNetworkPolicy", false),
    (
        "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
        "cilium.io/v2",
        "CiliumClusterwideNetworkPolicy",
        false,
    ),
    (
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        "policy.networking.k8s.io/v1alpha2",
        "ClusterNetworkPolicy",
        false,
    ),
    ("/apis/portcullis.dev/v1alpha1/nodestatuses", "portcullis.dev/v1alpha1", "NodeStatus", false),
    ("/apis/portcullis.dev/v1alpha1/rollouts", "portcullis.dev/v1alpha1", "Rollout", false),
    ("/apis/events.k8s.io/v1/events", "events.k8s.io/v1", "Event", true),
];

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of this resource everything is forbidden.
    pub forbidden: Option<&'static str>,
    /// So many writes meet another one.
    pub conflicts: usize,
    /// So many requests are answered with 429.
    pub busy: usize,
    /// Streaming lists are answered with 500, as over an old etcd.
    pub no_streaming: bool,
    /// So many watches end with half a line after their first event.
    pub torn: usize,
    /// So many watches say an error in their middle.
    pub error_in_middle: usize,
    /// Each answer waits so long.
    pub slow: Duration,
    /// Nobody is let in.
    pub unauthorized: bool,
    /// Connections are closed at once.
    pub down: bool,
}

#[derive(Default)]
struct State {
    version: u64,
    oldest: u64,
    objects: BTreeMap<(String, String, String), Value>,
    log: Vec<(u64, String, &'static str, Value)>,
    absent: BTreeSet<String>,
    faults: Faults,
    /// Grows when every connection is cut.
    cut: u64,
    /// Requests so far, paths and queries.
    requests: Vec<String>,
    /// Of these, those that write, with what they were answered.
    writes: Vec<(String, String, u16)>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module documentation.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
    address: SocketAddr,
}

impl Server {
    /// Starts one on loopback.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts one on a listener, which may be one of another network namespace.
    pub fn on(listener: TcpListener) -> Self {
        let inner = Arc::new(Inner::default());
        inner.state.lock().unwrap().version = 240;
        let server = Self { inner, address: listener.local_addr().unwrap() };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.connection(&stream));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\n\
             contexts: [{{name: test, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
            self.url()
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap()
    }

    fn path_of(object: &Value) -> &'static (&'static str, &'static str, &'static str, bool) {
        let kind = object["kind"].as_str().unwrap();
        RESOURCES.iter().find(|r| r.2 == kind).unwrap()
    }

    /// Creates an object or replaces it.
    pub fn apply(&self, mut object: Value) {
        let path = Self::path_of(&object).0.to_owned();
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let key = key(&path, &object);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}-{}", key.1, key.2));
        }
        let old = state.objects.insert(key, object.clone());
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.log.push((version, path, what, object));
        self.inner.changed.notify_all();
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let path = RESOURCES.iter().find(|r| r.2 == kind).unwrap().0.to_owned();
        let mut state = self.lock();
        if let Some(mut object) = state.objects.remove(&(path.clone(), namespace.into(), name.into())) {
            state.version += 1;
            let version = state.version;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            state.log.push((version, path, "DELETED", object));
        }
        self.inner.changed.notify_all();
    }

    /// A kind whose definition is not there (any more, or yet).
    pub fn absent(&self, kind: &str, absent: bool) {
        let path = RESOURCES.iter().find(|r| r.2 == kind).unwrap().0.to_owned();
        let mut state = self.lock();
        if absent {
            state.absent.insert(path);
        } else {
            state.absent.remove(&path);
        }
        drop(state);
        self.cut();
    }

    /// Forgets history: watches from before start anew.
    pub fn compact(&self) {
        let mut state = self.lock();
        state.version += 1;
        state.oldest = state.version;
        state.log.clear();
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.lock().cut += 1;
        self.inner.changed.notify_all();
    }

    pub fn faults(&self, f: impl FnOnce(&mut Faults)) {
        f(&mut self.lock().faults);
    }

    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// Method, path with query, and status of every write.
    pub fn writes(&self) -> Vec<(String, String, u16)> {
        self.lock().writes.clone()
    }

    /// Objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let path = RESOURCES.iter().find(|r| r.2 == kind).unwrap().0;
        self.lock().objects.iter().filter(|(k, _)| k.0 == path).map(|(_, v)| v.clone()).collect()
    }

    /// Creates (POST) or applies (PATCH, server side) an object.
    fn write(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (whole, _) = without_namespace(path);
        let (whole, name) = match method {
            "PATCH" => whole.rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap(),
            _ => (whole, String::new()),
        };
        let refuse = |code, reason, message: &str| (code, failure(code, reason, message));
        {
            let mut state = self.lock();
            if state.faults.busy > 0 {
                state.faults.busy -= 1;
                return refuse(429, "TooManyRequests", "too many requests, please try again later");
            }
            if !RESOURCES.iter().any(|r| r.0 == whole) || state.absent.contains(&whole) {
                return refuse(404, "NotFound", "the server could not find the requested resource");
            }
            if state.faults.forbidden.is_some_and(|f| whole.ends_with(f)) {
                return refuse(403, "Forbidden", "nobody may do that");
            }
            if state.faults.conflicts > 0 {
                state.faults.conflicts -= 1;
                return refuse(409, "Conflict", "the object has been modified");
            }
        }
        let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
            return refuse(400, "BadRequest", "no JSON");
        };
        let key = key(&whole, &object);
        let known = self.lock().objects.get(&key).cloned();
        if method == "POST" {
            if known.is_some() {
                return refuse(409, "AlreadyExists", "it exists");
            }
            self.apply(object.clone());
            return (201, object);
        }
        // Server-side apply: the type says so, somebody says who it is, and managed fields are not given.
        assert_eq!((kind, &key.2), ("application/apply-patch+yaml", &name));
        assert!(query.contains("fieldManager=") && object["metadata"].get("managedFields").is_none());
        let given = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        if let Some(known) = &known {
            if given.is_some_and(|v| known["metadata"]["resourceVersion"] != v) {
                return refuse(409, "Conflict", "the object has been modified");
            }
            object["metadata"]["uid"] = known["metadata"]["uid"].clone();
        }
        self.apply(object.clone());
        (if known.is_some() { 200 } else { 201 }, object)
    }

    fn connection(&self, stream: &TcpStream) {
        let cut = self.lock().cut;
        let mut read = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let (mut length, mut kind) = (0, String::new());
            let mut header = String::new();
            while read.read_line(&mut header).unwrap_or(0) > 2 {
                if let Some((name, value)) = header.split_once(':') {
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.trim().parse().unwrap_or(0),
                        "content-type" => value.trim().clone_into(&mut kind),
                        _ => {}
                    }
                }
                header.clear();
            }
            let mut body = vec![0; length];
            if read.read_exact(&mut body).is_err() {
                return;
            }
            let method = line.split_whitespace().next().unwrap_or_default().to_owned();
            let target = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let slow = {
                let mut state = self.lock();
                state.requests.push(target.clone());
                state.faults.slow
            };
            thread::sleep(slow);
            let over = self.lock().faults.down || self.lock().cut != cut;
            let answered = || {
                if method == "GET" {
                    return self.answer(stream, &target, cut);
                }
                let (status, said) = self.write(&method, &target, &kind, &body);
                self.lock().writes.push((method.clone(), target.clone(), status));
                send(stream, status, "application/json", &said.to_string())
            };
            if over || answered().is_err() {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    fn answer(&self, mut out: &TcpStream, target: &str, cut: u64) -> io::Result<()> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<&str, &str> = query.split('&').filter_map(|p| p.split_once('=')).collect();
        let mut state = self.lock();
        if state.faults.unauthorized {
            return send(
                out,
                401,
                "application/json",
                &failure(401, "Unauthorized", "Unauthorized").to_string(),
            );
        }
        if state.faults.busy > 0 {
            state.faults.busy -= 1;
            let body = failure(429, "TooManyRequests", "too many requests, please try again later");
            return send(out, 429, "application/json", &body.to_string());
        }
        let (whole, namespace) = without_namespace(path);
        // One object: only ours is asked for so.
        if let Some((list, name)) =
            whole.rsplit_once('/').filter(|(list, _)| RESOURCES.iter().any(|r| r.0 == *list))
        {
            let found = state.objects.get(&(list.to_owned(), String::new(), name.to_owned()));
            let missing = failure(404, "NotFound", "it is not there");
            let (code, body) = found.map_or((404, &missing), |o| (200, o));
            return send(out, code, "application/json", &body.to_string());
        }
        let Some(resource) = RESOURCES.iter().find(|r| r.0 == whole).filter(|r| !state.absent.contains(r.0))
        else {
            return send(out, 404, "text/plain; charset=utf-8", "404 page not found\n");
        };
        if state.faults.forbidden.is_some_and(|f| resource.0.ends_with(f)) {
            return send(
                out,
                403,
                "application/json",
                &failure(403, "Forbidden", "nobody may do that").to_string(),
            );
        }
        let one = query
            .get("fieldSelector")
            .and_then(|f| f.strip_prefix("metadata.name%3D").or(f.strip_prefix("metadata.name=")));
        let fits = |k: &(String, String, String)| {
            k.0 == resource.0
                && namespace.as_ref().is_none_or(|n| *n == k.1)
                && one.is_none_or(|name| name == k.2)
        };
        let watching = query.get("watch").is_some_and(|w| *w == "true" || *w == "1");
        if !watching {
            let all: Vec<&Value> = state.objects.iter().filter(|(k, _)| fits(k)).map(|(_, v)| v).collect();
            let from = match query.get("continue").and_then(|c| c.split_once('_')) {
                Some((version, _)) if version.parse::<u64>().unwrap_or(0) < state.oldest => {
                    let why = "The provided continue parameter is too old";
                    return send(out, 410, "application/json", &failure(410, "Expired", why).to_string());
                }
                Some((_, from)) => from.parse().unwrap_or(0),
                None => 0,
            };
            let limit =
                query.get("limit").and_then(|l| l.parse().ok()).filter(|l| *l > 0).unwrap_or(usize::MAX);
            let items: Vec<Value> =
                all.iter().skip(from).take(limit).map(|v| listed(v, resource.3)).collect();
            let mut meta = json!({"resourceVersion": state.version.to_string()});
            let seen = from + items.len();
            if seen < all.len() {
                meta["continue"] = json!(format!("{}_{seen}", state.version));
                meta["remainingItemCount"] = json!(all.len() - seen);
            }
            let body = json!({"kind": format!("{}List", resource.2), "apiVersion": resource.1, "metadata": meta,
                "items": items});
            drop(state);
            return send(out, 200, "application/json", &body.to_string());
        }
        let streaming = query.get("sendInitialEvents") == Some(&"true");
        if streaming && state.faults.no_streaming {
            let body = failure(500, "InternalError", "etcdserver: RequestWatchProgress is disabled");
            return send(out, 500, "application/json", &body.to_string());
        }
        out.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        let mut since: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut lines: Vec<Value> = Vec::new();
        if streaming {
            let all = state.objects.iter().filter(|(k, _)| fits(k));
            lines.extend(all.map(|(_, v)| json!({"type": "ADDED", "object": v})));
            since = state.version;
            lines.push(bookmark(resource, since, true));
        } else if since < state.oldest {
            let why = format!("too old resource version: {since} ({})", state.oldest);
            let mut object = failure(410, "Expired", &why);
            object["metadata"] = json!({});
            lines.push(json!({"type": "ERROR", "object": object}));
            drop(state);
            lines.iter().try_for_each(|l| chunk(out, &format!("{l}\n")))?;
            return chunk(out, "");
        }
        loop {
            let tell: Vec<&(u64, String, &str, Value)> = state.log.iter().filter(|e| e.0 > since).collect();
            let tell = tell.into_iter().filter(|e| fits(&key(&e.1, &e.3)));
            lines.extend(tell.map(|e| json!({"type": e.2, "object": e.3})));
            since = since.max(state.version);
            let torn = !lines.is_empty() && state.faults.torn > 0;
            let error = !lines.is_empty() && state.faults.error_in_middle > 0;
            state.faults.torn -= usize::from(torn);
            state.faults.error_in_middle -= usize::from(error && !torn);
            let over = state.cut != cut || state.faults.down;
            drop(state);
            if over {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            for line in lines.drain(..) {
                let text = format!("{line}\n");
                if torn {
                    chunk(out, &text[..text.len() / 2])?;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                chunk(out, &text)?;
                if error {
                    let object = failure(500, "InternalError", "the watch has failed");
                    chunk(out, &format!("{}\n", json!({"type": "ERROR", "object": object})))?;
                    return chunk(out, "");
                }
            }
            state = self.lock();
            if state.version <= since && state.cut == cut && !state.faults.down {
                state = self.inner.changed.wait_timeout(state, Duration::from_millis(200)).unwrap().0;
            }
        }
    }
}

fn key(path: &str, object: &Value) -> (String, String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (path.to_owned(), text("namespace"), text("name"))
}

/// `/api/v1/namespaces/x/pods` as `/api/v1/pods` and `x`.
fn without_namespace(path: &str) -> (String, Option<String>) {
    match path.split_once("/namespaces/").and_then(|(a, b)| Some((a, b.split_once('/')?))) {
        Some((before, (namespace, plural))) => (format!("{before}/{plural}"), Some(namespace.to_owned())),
        None => (path.to_owned(), None),
    }
}

fn listed(object: &Value, bare: bool) -> Value {
    let mut object = object.clone();
    if bare && let Some(map) = object.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

fn bookmark(resource: &(&str, &str, &str, bool), version: u64, end: bool) -> Value {
    let mut meta = json!({"resourceVersion": version.to_string()});
    if end {
        meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"type": "BOOKMARK", "object": {"kind": resource.2, "apiVersion": resource.1, "metadata": meta}})
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

fn send(mut out: &TcpStream, status: u16, kind: &str, body: &str) -> io::Result<()> {
    let retry = if status == 429 { "Retry-After: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Any\r\nContent-Type: {kind}\r\n{retry}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    out.write_all(head.as_bytes())
}

fn chunk(mut out: &TcpStream, text: &str) -> io::Result<()> {
    out.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}
