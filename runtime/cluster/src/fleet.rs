//! What people say to all nodes at once, in one object: which policies may go on where they are held, and which to go
//! back to.

use crate::connect::Given;
use crate::fetch::FetchError;
use crate::mirror::chain;
use crate::own::{API_VERSION, FLEET, nodes, rollouts};
use crate::wait::{Backoff, spread};
use futures_util::StreamExt as _;
use kube::Client;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How often an absent kind is asked for.
const ABSENT: Duration = Duration::from_secs(10);
/// How long what was said stays while the API server does not know the kind.
const FORGET: Duration = Duration::from_mins(1);
/// Approvals that are kept.
const KEPT: usize = 32;

/// `spec` of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orders {
    /// Policy sets that may go on where they are held, by their digests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// The policy set to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<GoBack>,
}

/// From which policy set to which: over once the cluster has another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoBack {
    /// The digest of what the cluster has.
    pub from: String,
    /// The digest of what is to be enforced instead.
    pub to: String,
}

impl Orders {
    /// Lets a policy set go on.
    pub fn approve(&mut self, digest: &str) {
        self.approved.retain(|d| d != digest);
        self.approved.push(digest.to_owned());
        let over = self.approved.len().saturating_sub(KEPT);
        self.approved.drain(..over);
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether the API server has answered once.
    pub ready: bool,
    /// What was said last.
    pub orders: Orders,
    /// Why it may be out of date.
    pub problem: Option<String>,
}

/// Follows the object. Dropped, it stops.
#[derive(Debug)]
pub struct Fleet {
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// Starts to follow, in the runtime it is called in.
    pub fn start(client: &Client) -> Self {
        let (tell, heard) = watch::channel(Heard::default());
        Self { heard, task: tokio::spawn(follow(client.clone(), tell)) }
    }

    /// What is known now.
    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }
}

fn orders(object: &DynamicObject) -> Result<Orders, String> {
    let spec = object.data.get("spec").cloned().unwrap_or_else(|| json!({}));
    serde_json::from_value(spec).map_err(|e| format!("the Rollout {FLEET} cannot be read: {e}"))
}

async fn follow(client: Client, tell: watch::Sender<Heard>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={FLEET}")).timeout(290);
    let mut stream = Box::pin(watcher(rollouts(&client), config));
    let mut backoff = Backoff::new();
    let mut absent_since: Option<Instant> = None;
    let mut listed: Option<DynamicObject> = None;
    let hear = |heard: Heard| {
        tell.send_if_modified(|now| {
            let changed = *now != heard;
            *now = heard;
            changed
        });
    };
    let now = || tell.borrow().clone();
    let take = |object: Option<&DynamicObject>| match object.map_or_else(|| Ok(Orders::default()), orders) {
        Ok(orders) => hear(Heard { ready: true, orders, problem: None }),
        // What cannot be read changes nothing.
        Err(why) => hear(Heard { ready: true, problem: Some(why), ..now() }),
    };
    let ours = |o: &DynamicObject| o.metadata.name.as_deref() == Some(FLEET);
    while let Some(event) = stream.next().await {
        let wait = match event {
            Ok(event) => {
                backoff.reset();
                absent_since = None;
                match event {
                    Event::Init => listed = None,
                    Event::InitApply(o) if ours(&o) => listed = Some(o),
                    Event::InitDone => take(listed.take().as_ref()),
                    Event::Apply(o) if ours(&o) => take(Some(&o)),
                    Event::Delete(o) if ours(&o) => take(None),
                    _ => {}
                }
                continue;
            }
            Err(e) => match code(&e) {
                Some(404) => {
                    let since = *absent_since.get_or_insert_with(Instant::now);
                    let known = if since.elapsed() < FORGET { now().orders } else { Orders::default() };
                    hear(Heard { ready: true, orders: known, problem: None });
                    spread(ABSENT)
                }
                // Policies must not wait for a right that only approvals need.
                Some(403) => {
                    let why = "rollouts may not be read, so that approvals for all nodes and rollbacks are not \
                               heard; grant `list` and `watch` on rollouts.portcullis.dev";
                    hear(Heard { ready: true, problem: Some(why.to_owned()), ..now() });
                    backoff.wait()
                }
                _ => {
                    let why = format!("rollouts are as they were when last heard of: {}", chain(&e));
                    hear(Heard { problem: Some(why), ..now() });
                    backoff.wait()
                }
            },
        };
        sleep(wait).await;
    }
}

fn code(e: &watcher::Error) -> Option<u16> {
    use watcher::Error as E;
    match e {
        E::InitialListFailed(kube::Error::Api(s))
        | E::WatchStartFailed(kube::Error::Api(s))
        | E::WatchFailed(kube::Error::Api(s))
        | E::WatchError(s) => Some(s.code),
        _ => None,
    }
}

fn blocking<T>(
    given: &Given,
    within: Duration,
    work: impl AsyncFnOnce(Client) -> Result<T, kube::Error>,
    what: &'static str,
) -> Result<T, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = async {
            let client = given.client().await?;
            work(client).await.map_err(|e| {
                let why = match &e {
                    kube::Error::Api(s) if s.code == 404 => {
                        "the cluster does not know the kind; apply runtime/deploy/crds.yaml".to_owned()
                    }
                    kube::Error::Api(s) => s.message.clone(),
                    other => chain(other),
                };
                FetchError::List { what, why }
            })
        };
        timeout(within, all).await.map_err(|_| FetchError::Slow(within))?
    })
}

/// What every node says of itself: name and `status`.
pub fn node_statuses(given: &Given, within: Duration) -> Result<Vec<(String, Value)>, FetchError> {
    let list = async |client: Client| {
        let api = nodes(&client);
        let mut params = ListParams::default().limit(200);
        let mut out = Vec::new();
        loop {
            let page = api.list(&params).await?;
            out.extend(page.items.into_iter().map(|mut o| {
                let status = o.data.get_mut("status").map(Value::take).unwrap_or_default();
                (o.metadata.name.unwrap_or_default(), status)
            }));
            params.continue_token = page.metadata.continue_.filter(|c| !c.is_empty());
            if params.continue_token.is_none() {
                return Ok(out);
            }
        }
    };
    blocking(given, within, list, "nodestatuses")
}

/// Changes what is said to all nodes; what is said now.
pub fn order(
    given: &Given,
    within: Duration,
    change: impl FnOnce(&mut Orders),
) -> Result<Orders, FetchError> {
    let write = async |client: Client| {
        let api = rollouts(&client);
        let found = api.get_opt(FLEET).await?;
        let mut now = found.as_ref().and_then(|o| orders(o).ok()).unwrap_or_default();
        change(&mut now);
        let mut metadata = json!({"name": FLEET});
        // Two people at once: the later one is told, and loses nothing of the other's.
        if let (Some(version), Some(map)) =
            (found.and_then(|o| o.metadata.resource_version), metadata.as_object_mut())
        {
            map.insert("resourceVersion".into(), json!(version));
        }
        let object = json!({"apiVersion": API_VERSION, "kind": "Rollout", "metadata": metadata, "spec": now});
        api.patch(FLEET, &PatchParams::apply("portcullis").force(), &Patch::Apply(&object)).await?;
        Ok(now)
    };
    blocking(given, within, write, "the Rollout fleet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_are_bounded_and_the_latest_stay() {
        let mut orders = Orders::default();
        (0..100).for_each(|n| orders.approve(&n.to_string()));
        orders.approve("99");
        assert_eq!(orders.approved.len(), KEPT);
        assert_eq!(orders.approved.last().map(String::as_str), Some("99"));
        let text = serde_json::to_value(Orders::default()).unwrap();
        assert_eq!(text, json!({}));
    }
}
