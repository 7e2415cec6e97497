//! A cluster as it is now: one watch a kind, resumed whatever ends it.
//!
//! A kind's objects are replaced all at once, when a list of them is complete: while the API server is away,
//! or in the middle of telling, what was known stays.

use crate::kinds::Kind;
use crate::prune::prune;
use crate::snapshot::{Key, Snapshot};
use crate::wait::{Backoff, spread};
use futures_util::StreamExt as _;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// How often an absent kind is asked for.
const ABSENT: Duration = Duration::from_secs(10);
/// An API server that starts says "not found" of kinds that it has: what is known of them stays for so long.
const FORGET: Duration = Duration::from_mins(1);

/// How far one kind is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing complete has been heard yet.
    #[default]
    Waiting,
    /// The API server does not know the kind; it is asked again and again.
    Absent,
    /// What is known was complete, and is followed.
    Ready,
    /// What is known was complete; the API server does not answer now. Why, in words.
    Stale(String),
    /// Nothing is known, and the API server does not answer. Why, in words.
    Failed(String),
}

#[derive(Debug, Default)]
struct One {
    state: State,
    objects: BTreeMap<Key, Arc<str>>,
}

#[derive(Debug, Default)]
struct Shared {
    kinds: BTreeMap<Kind, One>,
    /// What the one who takes changes has not been told yet; `None` until it asks for the first time.
    untold: Option<BTreeMap<Key, Option<Arc<str>>>>,
}

impl Shared {
    fn is_ready(&self) -> bool {
        self.kinds.values().all(|one| !matches!(one.state, State::Waiting | State::Failed(_)))
    }
}

/// What has changed since changes were last taken.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The texts of objects that are new or others than before; `None` for those that are gone.
    pub objects: BTreeMap<Key, Option<Arc<str>>>,
    /// Whether every kind has been heard of.
    pub ready: bool,
}

type Lock = Arc<Mutex<Shared>>;

/// See the module documentation. Dropped, it stops watching.
#[derive(Debug)]
pub struct Mirror {
    shared: Lock,
    changed: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<()>>,
}

fn lock(shared: &Lock) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mirror {
    /// Starts to watch, in the runtime it is called in.
    pub fn start(client: &Client) -> Self {
        let shared = Lock::default();
        let (tell, changed) = watch::channel(0);
        let tell = Arc::new(tell);
        let mut tasks = Vec::new();
        for kind in Kind::ALL {
            lock(&shared).kinds.insert(kind, One::default());
            let follower = Follower { kind, shared: Arc::clone(&shared), tell: Arc::clone(&tell) };
            tasks.push(tokio::spawn(follower.follow(client.clone())));
        }
        Self { shared, changed, tasks }
    }

    /// Tells of changes: its number grows with each.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// How far each kind is.
    pub fn states(&self) -> Vec<(Kind, State)> {
        lock(&self.shared).kinds.iter().map(|(k, one)| (*k, one.state.clone())).collect()
    }

    /// Whether every kind has been heard of: listed once, or absent.
    pub fn is_ready(&self) -> bool {
        lock(&self.shared).is_ready()
    }

    /// What has changed since the last call; everything, the first time. For one reader.
    pub fn take_changes(&self) -> Changes {
        let mut shared = lock(&self.shared);
        let ready = shared.is_ready();
        let untold = shared.untold.replace(BTreeMap::new());
        let objects = untold.unwrap_or_else(|| {
            let all = shared.kinds.values().flat_map(|one| &one.objects);
            all.map(|(k, v)| (k.clone(), Some(Arc::clone(v)))).collect()
        });
        Changes { objects, ready }
    }

    /// Whether something has changed since changes were taken, and whether all of it are pods.
    pub fn only_pods_changed(&self) -> bool {
        let shared = lock(&self.shared);
        shared.untold.as_ref().is_some_and(|u| !u.is_empty() && u.keys().all(|k| k.kind == Kind::Pod))
    }

    /// Waits until [`Self::is_ready`]; what is missing when the time is over, in words.
    pub async fn ready(&self, within: Duration) -> Result<(), Vec<String>> {
        let end = Instant::now() + within;
        let mut changed = self.changed.clone();
        while !self.is_ready() {
            if timeout_at(end, changed.changed()).await.is_err() {
                return Err(self.problems());
            }
        }
        Ok(())
    }

    /// What is not as it should be, in sentences.
    pub fn problems(&self) -> Vec<String> {
        let say = |(kind, state): (Kind, State)| {
            let what = kind.plural();
            match state {
                State::Ready | State::Absent => None,
                State::Waiting => Some(format!("{what} have not been listed yet")),
                State::Stale(why) => Some(format!("{what} are as they were when last heard of: {why}")),
                State::Failed(why) => Some(format!("{what} cannot be listed: {why}")),
            }
        };
        self.states().into_iter().filter_map(say).collect()
    }

    /// How many objects of a kind are known.
    pub fn count(&self, kind: Kind) -> usize {
        lock(&self.shared).kinds.get(&kind).map_or(0, |one| one.objects.len())
    }

    /// One object, if it is known.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<str>> {
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        lock(&self.shared).kinds.get(&kind)?.objects.get(&key).map(Arc::clone)
    }

    /// Everything that is known now.
    pub fn snapshot(&self) -> Snapshot {
        let shared = lock(&self.shared);
        let all = shared.kinds.values().flat_map(|one| &one.objects);
        all.map(|(k, v)| (k.clone(), Arc::clone(v))).collect()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What a failure means for how to go on.
enum Failure {
    /// The kind does not exist there.
    Absent,
    /// A streaming list is not to be had.
    NoStreaming,
    /// What was known is too old to go on from. Why, in words.
    Expired(String),
    /// Anything else, in words.
    Other(String),
}

struct Follower {
    kind: Kind,
    shared: Lock,
    tell: Arc<watch::Sender<u64>>,
}

impl Follower {
    async fn follow(self, client: Client) {
        let api: Api<DynamicObject> = Api::all_with(client, &self.kind.resource());
        let mut backoff = Backoff::new();
        let mut streaming = true;
        let mut absent_since: Option<Instant> = None;
        let mut expired: Option<Instant> = None;
        loop {
            let config = watcher::Config::default().timeout(290);
            let config = if streaming { config.streaming_lists() } else { config };
            let mut stream = Box::pin(watcher(api.clone(), config));
            let mut fresh = BTreeMap::new();
            let mut complete = false;
            // A stream goes on after most errors; a new one is made where the way of listing changes.
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Init) => fresh.clear(),
                    Ok(Event::InitApply(object)) => {
                        let (key, text) = prune(self.kind, &object);
                        fresh.insert(key, text);
                    }
                    Ok(Event::InitDone) => {
                        complete = true;
                        absent_since = None;
                        backoff.reset();
                        self.replace(std::mem::take(&mut fresh));
                    }
                    Ok(Event::Apply(object)) => {
                        backoff.reset();
                        let (key, text) = prune(self.kind, &object);
                        self.apply(key, Some(text));
                    }
                    Ok(Event::Delete(object)) => {
                        backoff.reset();
                        self.apply(prune(self.kind, &object).0, None);
                    }
                    Err(error) => match judge(&error, streaming && !complete) {
                        Failure::Absent => {
                            let since = *absent_since.get_or_insert_with(Instant::now);
                            self.absent(since.elapsed() >= FORGET);
                            sleep(spread(ABSENT)).await;
                        }
                        Failure::NoStreaming => {
                            streaming = false;
                            break;
                        }
                        Failure::Expired(why) => {
                            // The API server is there, and what it tells next is everything.
                            if expired.is_none_or(|at| at.elapsed() > FORGET) {
                                backoff.reset();
                            }
                            expired = Some(Instant::now());
                            self.failed(&why);
                            sleep(backoff.wait()).await;
                        }
                        Failure::Other(why) => {
                            self.failed(&why);
                            sleep(backoff.wait()).await;
                        }
                    },
                }
            }
        }
    }

    /// Changes the kind; `f` says whether it did, and notes every object that is another now.
    fn change(&self, f: impl FnOnce(&mut One, &mut dyn FnMut(&Key, Option<&Arc<str>>)) -> bool) {
        let mut shared = lock(&self.shared);
        let Shared { kinds, untold } = &mut *shared;
        let mut note = |key: &Key, text: Option<&Arc<str>>| {
            if let Some(untold) = untold {
                untold.insert(key.clone(), text.map(Arc::clone));
            }
        };
        let changed = kinds.get_mut(&self.kind).is_some_and(|one| f(one, &mut note));
        drop(shared);
        if changed {
            self.tell.send_modify(|n| *n += 1);
        }
    }

    fn replace(&self, fresh: BTreeMap<Key, Arc<str>>) {
        self.change(|one, note| {
            let changed = one.state != State::Ready || one.objects != fresh;
            one.state = State::Ready;
            let before = std::mem::replace(&mut one.objects, fresh);
            before.keys().filter(|k| !one.objects.contains_key(k)).for_each(|k| note(k, None));
            let others = one.objects.iter().filter(|(k, text)| before.get(k) != Some(text));
            others.for_each(|(k, text)| note(k, Some(text)));
            changed
        });
    }

    fn apply(&self, key: Key, text: Option<Arc<str>>) {
        self.change(|one, note| {
            let was_ready = std::mem::replace(&mut one.state, State::Ready) == State::Ready;
            // Most updates of an object change nothing that is kept of it.
            let changed = match text {
                Some(text) if one.objects.get(&key) == Some(&text) => false,
                Some(text) => {
                    note(&key, Some(&text));
                    one.objects.insert(key, text);
                    true
                }
                None => {
                    let was = one.objects.remove(&key).is_some();
                    if was {
                        note(&key, None);
                    }
                    was
                }
            };
            changed || !was_ready
        });
    }

    fn absent(&self, forget: bool) {
        self.change(|one, note| {
            if !one.objects.is_empty() && !forget {
                let why = State::Stale("the API server does not know the kind any more".to_owned());
                return std::mem::replace(&mut one.state, why.clone()) != why;
            }
            let before = std::mem::take(&mut one.objects);
            for key in before.keys() {
                note(key, None);
            }
            let had = !before.is_empty();
            std::mem::replace(&mut one.state, State::Absent) != State::Absent || had
        });
    }

    fn failed(&self, why: &str) {
        self.change(|one, _| {
            let known = matches!(one.state, State::Ready | State::Stale(_) | State::Absent);
            let state = if known { State::Stale(why.to_owned()) } else { State::Failed(why.to_owned()) };
            std::mem::replace(&mut one.state, state.clone()) != state
        });
    }
}

fn judge(error: &watcher::Error, streaming: bool) -> Failure {
    use kube::Error::Api;
    use watcher::Error as E;
    match error {
        E::InitialListFailed(Api(s)) | E::WatchStartFailed(Api(s)) if s.code == 404 => Failure::Absent,
        // Servers from before streaming lists refuse the parameters, or their etcd cannot do it.
        E::WatchStartFailed(Api(s)) if streaming && matches!(s.code, 400 | 422 | 500) => Failure::NoStreaming,
        E::WatchError(s) if streaming && matches!(s.code, 400 | 422 | 500) => Failure::NoStreaming,
        E::WatchStartFailed(Api(s)) | E::WatchError(s) if s.code == 410 => {
            Failure::Expired(s.message.clone())
        }
        E::InitialListFailed(Api(s)) | E::WatchStartFailed(Api(s)) | E::WatchError(s) => {
            Failure::Other(s.message.clone())
        }
        other => Failure::Other(chain(other)),
    }
}

/// An error with what led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut inner = error.source();
    while let Some(e) = inner {
        let text = e.to_string();
        if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
        inner = e.source();
    }
    out
}
