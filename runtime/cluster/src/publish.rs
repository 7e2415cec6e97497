//! What an agent tells the cluster: one object of its own, and events beside policies.
//!
//! A node writes when what it has to say changes, and not more often than its pace; changes in between are one. A new
//! generation with nothing else to say waits longer: with every pod that starts anywhere all nodes may have one. All
//! nodes of a cluster learn of a change at once, so each waits a part of the pace that chance decides. Events have names
//! made from what they say: of many nodes with the same to say the first one makes the event.

use crate::kinds::Kind;
use crate::mirror::chain;
use crate::own::{API_VERSION, MANAGER, nodes};
use crate::wait::{Backoff, part, spread};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that an event's note may have.
const LONGEST_NOTE: usize = 1024;

/// How often is told.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two writes of a node's object; and the most that one waits for the others.
    pub status: Duration,
    /// The part of that for each node there is.
    pub turn: Duration,
    /// The same where nothing is new but the generation: pods come and go all day.
    pub calm: Duration,
    /// Between two events.
    pub events: Duration,
    /// An event that is still true is told again after this, since API servers forget events.
    pub again: Duration,
    /// After a refusal that only people can mend.
    pub refused: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            status: Duration::from_secs(20),
            turn: Duration::from_millis(20),
            calm: Duration::from_mins(5),
            events: Duration::from_secs(2),
            again: Duration::from_mins(50),
            refused: Duration::from_mins(5),
        }
    }
}

/// Something to know about one policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// The policy's kind.
    pub kind: Kind,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why, in one word.
    pub reason: &'static str,
    /// What to know. The same from every node that has the same to say.
    pub note: String,
}

/// All that there is to tell now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// `status` of the node's object.
    pub status: Value,
    /// What is true of policies.
    pub notices: Vec<Notice>,
    /// How many nodes learn of the same at once.
    pub nodes: usize,
}

/// Tells it. Dropped, it stops.
#[derive(Debug)]
pub struct Publisher {
    say: watch::Sender<Said>,
    problem: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts to tell for one node, in the runtime it is called in.
    pub fn start(client: &Client, node: &str, pace: Pace) -> Self {
        let (say, said) = watch::channel(Said::default());
        let problem = Arc::default();
        let teller = Teller {
            client: client.clone(),
            node: node.to_owned(),
            pace,
            said,
            problem: Arc::clone(&problem),
            owner: Owner::Unknown,
            told: BTreeMap::new(),
        };
        Self { say, problem, task: tokio::spawn(teller.tell()) }
    }

    /// What is to be told from now on. Never waits.
    pub fn say(&self, said: Said) {
        self.say.send_if_modified(|now| {
            let changed = *now != said;
            *now = said;
            changed
        });
    }

    /// Why the cluster does not know, if it does not.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Node object that owns the status, so that both go together.
enum Owner {
    Unknown,
    Is(String),
    /// There is none, or it may not be named.
    None,
}

struct Teller {
    client: Client,
    node: String,
    pace: Pace,
    said: watch::Receiver<Said>,
    problem: Arc<Mutex<Option<String>>>,
    owner: Owner,
    told: BTreeMap<String, Instant>,
}

/// What a failed write means.
enum Failed {
    /// Try again soon.
    Soon(String),
    /// Only people can mend it.
    Late(String),
}

impl Failed {
    fn of(e: &kube::Error, what: &str, need: &str) -> Self {
        match e {
            kube::Error::Api(s) if s.code == 403 => {
                Self::Late(format!("{what} may not be written ({}); grant {need}", s.message))
            }
            kube::Error::Api(s) if s.code == 404 => Self::Late(format!(
                "{what} cannot be written: the cluster does not know the kind; apply runtime/deploy/crds.yaml"
            )),
            kube::Error::Api(s) if matches!(s.code, 400 | 413 | 422) => {
                Self::Late(format!("{what} is refused by the API server: {}", s.message))
            }
            kube::Error::Api(s) => Self::Soon(format!("{what} could not be written: {}", s.message)),
            other => Self::Soon(format!("{what} could not be written: {}", chain(other))),
        }
    }
}

impl Teller {
    async fn tell(mut self) {
        let mut written = Value::Null;
        let mut backoff = Backoff::new();
        let mut next = Instant::now();
        let mut calm = next;
        let mut again = Instant::now() + self.pace.again;
        loop {
            tokio::select! {
                changed = self.said.changed() => if changed.is_err() { return },
                () = sleep_until(again) => {}
            }
            again = Instant::now() + self.pace.again;
            // All have it to say at once.
            let nodes = u32::try_from(self.said.borrow().nodes).unwrap_or(u32::MAX);
            let all = self.pace.turn.saturating_mul(nodes).min(self.pace.status);
            sleep_until(next.max(Instant::now() + part(all))).await;
            if !self.wait_while_calm(&written, calm).await {
                return;
            }
            loop {
                let said = self.said.borrow_and_update().clone();
                if said.status == Value::Null {
                    break;
                }
                let mut done = Ok(());
                if said.status != written {
                    done = self.write(&said.status).await;
                    next = Instant::now() + spread(self.pace.status);
                    calm = Instant::now() + spread(self.pace.calm);
                }
                if done.is_ok() {
                    written = said.status;
                    done = self.tell_notices(&said.notices).await;
                }
                let wait = match &done {
                    Ok(()) => None,
                    Err(Failed::Soon(_)) => Some(backoff.wait()),
                    Err(Failed::Late(_)) => Some(spread(self.pace.refused)),
                };
                self.complain(done.err());
                let Some(wait) = wait else {
                    backoff.reset();
                    break;
                };
                sleep(wait).await;
            }
        }
    }

    /// Waits while nothing is new but the generation, and no longer than until a time. False once nobody says
    /// anything any more.
    async fn wait_while_calm(&mut self, written: &Value, until: Instant) -> bool {
        let written = weight(written);
        loop {
            let calm = {
                let said = self.said.borrow_and_update();
                let told = said.notices.iter().all(|n| self.told.contains_key(&event_name(n)));
                told && weight(&said.status) == written
            };
            if !calm {
                return true;
            }
            tokio::select! {
                changed = self.said.changed() => if changed.is_err() { return false },
                () = sleep_until(until) => return true,
            }
        }
    }

    fn complain(&self, failed: Option<Failed>) {
        let why = failed.map(|(Failed::Soon(why) | Failed::Late(why))| why);
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Writes the node's object, and nobody else's.
    async fn write(&mut self, status: &Value) -> Result<(), Failed> {
        if let Owner::Unknown = self.owner {
            self.owner = match uid(&self.client, &Kind::Node.resource(), "", &self.node).await {
                Ok(Some(uid)) => Owner::Is(uid),
                Ok(None) => Owner::None,
                Err(_) => Owner::Unknown,
            };
        }
        let mut done = self.apply(status).await;
        if let (Err(kube::Error::Api(s)), Owner::Is(_)) = (&done, &self.owner)
            && s.code == 403
        {
            // Some clusters let nobody name an owner who could not delete the object.
            self.owner = Owner::None;
            done = self.apply(status).await;
        }
        done.map_err(|e| {
            Failed::of(&e, "the node's status", "`create` and `patch` on nodestatuses.portcullis.dev")
        })
    }

    async fn apply(&self, status: &Value) -> Result<(), kube::Error> {
        let mut metadata = json!({"name": self.node});
        if let (Owner::Is(uid), Some(map)) = (&self.owner, metadata.as_object_mut()) {
            let owner = json!({"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid});
            map.insert("ownerReferences".into(), json!([owner]));
        }
        let object =
            json!({"apiVersion": API_VERSION, "kind": "NodeStatus", "metadata": metadata, "status": status});
        let how = PatchParams::apply(MANAGER).force();
        nodes(&self.client).patch(&self.node, &how, &Patch::Apply(&object)).await.map(drop)
    }

    async fn tell_notices(&mut self, notices: &[Notice]) -> Result<(), Failed> {
        let now = Instant::now();
        self.told.retain(|_, when| now.duration_since(*when) < self.pace.again);
        for notice in notices {
            let name = event_name(notice);
            if self.told.contains_key(&name) {
                continue;
            }
            // Everybody has it to say at once; by then one may have said it.
            sleep(spread(self.pace.events)).await;
            self.make(notice, &name)
                .await
                .map_err(|e| Failed::of(&e, "an event", "`create` on events.events.k8s.io"))?;
            self.told.insert(name, Instant::now());
        }
        Ok(())
    }

    async fn make(&self, notice: &Notice, name: &str) -> Result<(), kube::Error> {
        let resource = notice.kind.resource();
        let uid = uid(&self.client, &resource, &notice.namespace, &notice.name).await.ok().flatten();
        let mut regarding =
            json!({"apiVersion": resource.api_version, "kind": resource.kind, "name": notice.name});
        if let Some(map) = regarding.as_object_mut() {
            map.extend(uid.map(|uid| ("uid".to_owned(), json!(uid))));
            if !notice.namespace.is_empty() {
                map.insert("namespace".into(), json!(notice.namespace));
            }
        }
        // Events about what has no namespace live in this one.
        let namespace = if notice.namespace.is_empty() { "default" } else { notice.namespace.as_str() };
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "type": "Warning",
            "reason": notice.reason,
            "action": "Enforce",
            "note": shorten(&notice.note),
            "regarding": regarding,
            "reportingController": "portcullis.dev/agent",
            "reportingInstance": self.node,
        });
        let object: DynamicObject = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        let kind = ApiResource {
            group: "events.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "events.k8s.io/v1".to_owned(),
            kind: "Event".to_owned(),
            plural: "events".to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            // Another node has said it. A namespace that goes, or is gone, needs no event.
            Err(kube::Error::Api(s)) if matches!(s.code, 409 | 404) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// What of a status is worth a write of its own.
fn weight(status: &Value) -> Value {
    let mut out = status.clone();
    if let Some(map) = out.as_object_mut() {
        for light in ["generation", "since", "source"] {
            map.remove(light);
        }
        let policies = map.get_mut("policies").and_then(Value::as_array_mut);
        for policy in policies.into_iter().flatten().filter_map(Value::as_object_mut) {
            // Whether it is enforced, and not in which.
            let is = policy.get("enforcedGeneration").is_some_and(Value::is_u64);
            policy.insert("enforcedGeneration".into(), is.into());
        }
    }
    out
}

/// An object's uid, by listing: the right to read single objects is not asked for.
async fn uid(
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, kube::Error> {
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, resource)
    };
    let one = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    let found = api.list_metadata(&one).await?;
    Ok(found
        .items
        .into_iter()
        .find(|o| o.metadata.name.as_deref() == Some(name))
        .and_then(|o| o.metadata.uid))
}

/// The name of a notice's event: the same for the same notice (FNV-1a).
fn event_name(n: &Notice) -> String {
    let text = format!("{}\0{}\0{}\0{}\0{}", n.kind.name(), n.namespace, n.name, n.reason, n.note);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let head: String = n.name.chars().take(200).collect();
    format!("{}.{hash:016x}", head.trim_end_matches(['.', '-']))
}

/// At most what the API server takes, cut between characters.
fn shorten(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - "…".len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", note.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(note: &str) -> Notice {
        let (namespace, name) = ("shop".to_owned(), "p".to_owned());
        Notice { kind: Kind::NetworkPolicy, namespace, name, reason: "Refused", note: note.to_owned() }
    }

    #[test]
    fn one_notice_has_one_name_and_another_has_another() {
        assert_eq!(event_name(&notice("a")), event_name(&notice("a")));
        assert_ne!(event_name(&notice("a")), event_name(&notice("b")));
        let long = Notice { name: "x".repeat(253), ..notice("a") };
        assert!(event_name(&long).len() <= 253);
    }

    #[test]
    fn notes_are_cut_between_characters() {
        let cut = shorten(&"é".repeat(2000));
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with('…'));
        assert_eq!(shorten("short"), "short");
    }
}
