//! The node: which generation is in the kernel, and how the next one gets there.
//!
//! The order of a change: the candidate is compiled and proved; its record is written; it is staged; the
//! flip; then addresses and interfaces are bound to it. Until the flip nothing that a packet reads has
//! changed, so an agent may die anywhere: the next one finds a whole generation, and the numbers that it
//! was made with, in the kernel.

mod bind;
mod guard;
mod record;
mod seen;
mod services;

pub use guard::{Held, policy_set};
pub use record::{Back, Record, Records, hex};
pub use services::NodeServices;

use crate::compile::{Broken, Candidate, Inputs, Maker, Refused};
use crate::config::Config;
use crate::inputs::Texts;
use crate::kernel::{self, Attachment, Generation, Kernel, KernelError, Programs, Settings};
use crate::links::Link;
use crate::live::{Difference, Live, PodName};
use crate::local::{Local, Told, locals};
use crate::numbers::Registry;
use crate::quick::Bound;
use guard::{Guard, Way};
use portcullis_abi::header;
use portcullis_abi::maps::LARGEST_SLOT;
use portcullis_cluster::{Fleet, Mirror, Publisher};
use portcullis_tables::Image;
use portcullis_tables::staged::stage;
use seen::Seen;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another agent has the state folder.
    #[error("another agent runs on this node (it holds {0}); stop it first")]
    Busy(String),
    /// Files of the agent's own.
    #[error("{what}: {source}")]
    State {
        /// Which.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// One pod of this node whose interface is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// `namespace/name`.
    pub name: String,
    /// Its interface on the host's side.
    pub link: Link,
    /// Its number.
    pub number: u32,
    /// Its identity.
    pub identity: u32,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How the programs are attached.
    pub how: Attachment,
    /// It stands in the configuration.
    pub given: bool,
}

/// What became of pods that were to be followed without a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quick {
    /// They are bound.
    Done,
    /// They are bound, and a refresh has more to do.
    More,
    /// It takes a refresh.
    No,
}

/// How long the parts of a change took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Reading, compiling and proving.
    pub compile: Duration,
    /// Staging, with the kernel's grace period.
    pub stage: Duration,
    /// The flip.
    pub flip: Duration,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Node {
    config: Config,
    mirror: Option<Arc<Mirror>>,
    fleet: Option<Arc<Fleet>>,
    publisher: Option<Arc<Publisher>>,
    guard: Guard,
    /// What the mirror has told.
    live: Live,
    /// Pods of this node, and what a plugin has told of them.
    locals: Vec<Local>,
    told: BTreeMap<PodName, Told>,
    missing: bool,
    /// What has changed since the node was last brought to it.
    pending: Difference,
    /// What is bound; `None` where nobody knows.
    bound: Option<Bound>,
    kernel: Kernel,
    programs: Programs,
    services: Option<NodeServices>,
    registry: Registry,
    maker: Maker,
    records: Records,
    current: Option<Record>,
    next: u64,
    present: BTreeMap<usize, Present>,
    problems: Vec<String>,
    refused: Option<String>,
    broken: Vec<Broken>,
    /// The digest of the policies that are given.
    given: Option<String>,
    /// A policy set to go back to that is not there.
    lost: Option<String>,
    took: Took,
    _lock: File,
}

/// Takes the lock that one agent of a state folder has.
fn lock(config: &Config) -> Result<File, NodeError> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let state = |what: String| move |source| NodeError::State { what, source };
    let folder = &config.state;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(state(format!("the folder {} could not be made", folder.display())))?;
    let path = folder.join("agent.lock");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(state(format!("{} could not be opened", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(NodeError::Busy(path.display().to_string())),
        Err(std::fs::TryLockError::Error(e)) => {
            Err(state(format!("{} could not be locked", path.display()))(e))
        }
    }
}

/// The folder of pins that a configuration means.
pub fn pins(config: &Config) -> PathBuf {
    config.bpffs.join(&config.pins)
}

fn settings(config: &Config) -> Settings {
    Settings {
        fail_open: config.fail_open,
        report_allowed: config.report_allowed || config.guard.hold_on_denied,
        ..Settings::default()
    }
}

impl Node {
    /// Opens what an earlier agent left, or makes it. No program is attached or replaced yet.
    pub fn open(config: Config) -> Result<Self, NodeError> {
        let lock = lock(&config)?;
        let folder = pins(&config);
        kernel::prepare(&config.bpffs, &folder)?;
        let slot = kernel::slot_size(&folder)?.unwrap_or(config.sizes.image);
        let kernel = Kernel::open(&folder, config.sizes.kernel(slot))?;
        let programs = kernel.load(&settings(&config))?;
        let services = config.services.is_some().then(|| NodeServices::open(&kernel, &config)).transpose()?;
        let registry = Registry::new(config.sizes.addresses, kernel.identities()?);
        let records = Records::open(&config.state).map_err(|source| NodeError::State {
            what: format!("the folder of generations in {} could not be made", config.state.display()),
            source,
        })?;
        let live = live_generation(&kernel)?;
        let current = live.and_then(|g| records.read(g).ok().flatten()).map(|(r, _)| r);
        // Records outlive the kernel where the state folder outlives a restart of the machine.
        let kept = records.generations().unwrap_or_default().last().copied();
        let maker = Maker::new(&config);
        let guard = Guard::open(&config.state);
        Ok(Self {
            live: Live::new(&config.node, config.services.is_some()),
            config,
            mirror: None,
            fleet: None,
            publisher: None,
            guard,
            locals: Vec::new(),
            told: BTreeMap::new(),
            missing: false,
            pending: Difference::default(),
            bound: None,
            kernel,
            programs,
            services,
            registry,
            maker,
            records,
            current,
            next: live.max(kept).unwrap_or(0) + 1,
            present: BTreeMap::new(),
            problems: Vec::new(),
            refused: None,
            broken: Vec::new(),
            given: None,
            lost: None,
            took: Took::default(),
            _lock: lock,
        })
    }

    /// Brings the kernel to what files and interfaces say. A candidate that is refused leaves everything
    /// as it is; the reason is kept for the status, and returned.
    pub fn refresh(&mut self) -> Result<(), Refused> {
        let mut texts = self.texts();
        // Gone back: the files count again once they change.
        let back = self.current.as_ref().and_then(|r| r.back.clone()).filter(|b| b.files == named(&texts));
        if let (Some(_), Some(record)) = (&back, &self.current) {
            self.given = Some(policy_set(&texts.policies));
            texts.policies = record.policy_texts();
            return self.apply(&texts, back, false);
        }
        self.lost = None;
        let ask = match self.way(&texts) {
            Way::On => false,
            Way::Ask => true,
            Way::Instead(policies) => {
                texts.policies = policies;
                false
            }
        };
        self.apply(&texts, None, ask)
    }

    /// Puts the policies of an earlier generation into use again, under a new number, until the policy
    /// files change. Without a number, those of the generation before this one.
    pub fn roll_back(&mut self, to: Option<u64>) -> Result<u64, String> {
        let current = self.current.as_ref().map_or(0, |r| r.back.as_ref().map_or(r.generation, |b| b.to));
        let kept = self.records.generations().map_err(|e| e.to_string())?;
        let earlier =
            || kept.iter().rev().copied().find(|g| *g < current).ok_or("no earlier generation is kept");
        let to = to.map_or_else(earlier, Ok)?;
        let (record, _) = self
            .records
            .read(to)
            .map_err(|e| e.to_string())?
            .ok_or_else(|| format!("generation {to} is not kept; there are {}", list(&kept)))?;
        let mut texts = self.texts();
        let back = Back { to, files: named(&texts) };
        self.given = Some(policy_set(&texts.policies));
        texts.policies = record.policy_texts();
        texts.broken.clear();
        self.apply(&texts, Some(back), false).map_err(|e| e.to_string())?;
        Ok(to)
    }

    /// Takes what a live cluster has along with the files.
    pub fn follow(&mut self, mirror: Arc<Mirror>) {
        self.mirror = Some(mirror);
    }

    /// Takes what people say to all nodes.
    pub fn obey(&mut self, fleet: Arc<Fleet>) {
        self.fleet = Some(fleet);
    }

    /// Knows of what tells the cluster about this node.
    pub fn tell_through(&mut self, publisher: Arc<Publisher>) {
        self.publisher = Some(publisher);
    }

    /// Takes what a plugin tells of a pod; [`Self::refresh`] attaches policy there.
    pub fn hear(&mut self, pod: PodName, told: Told) {
        self.told.insert(pod, told);
    }

    /// Forgets what a plugin has told of a pod's container.
    pub fn forget(&mut self, pod: &PodName, container: &str) {
        if self.told.get(pod).is_some_and(|t| t.container == container) {
            self.told.remove(pod);
        }
    }

    /// Whether policy is attached for a pod at that interface.
    pub fn is_attached(&self, pod: &str, interface: &str) -> bool {
        self.current.is_some() && self.present.values().any(|p| p.name == pod && p.link.name == interface)
    }

    fn take_changes(&mut self) {
        if let Some(mirror) = &self.mirror {
            self.pending.extend(self.live.take(mirror.take_changes()));
        }
    }

    /// Whether pods, and nothing else, have changed in the API server.
    pub fn only_pods_changed(&self) -> bool {
        !self.pending.others && self.mirror.as_ref().is_some_and(|m| m.only_pods_changed())
    }

    /// Takes in pods elsewhere that have come, gone or changed, where that takes no compilation.
    pub fn follow_pods(&mut self) -> Quick {
        self.take_changes();
        if self.pending.others {
            return Quick::No;
        }
        let pods = std::mem::take(&mut self.pending.pods);
        match self.bind_quickly(&pods) {
            Ok(true) if self.services.is_none() => Quick::Done,
            // Services are worked out anew from all pods.
            Ok(true) => {
                self.pending.others = true;
                Quick::More
            }
            done => {
                if let Err(e) = done {
                    tracing::warn!(%e, "pods elsewhere could not be bound by themselves");
                    self.bound = None;
                }
                self.pending.pods = pods;
                Quick::No
            }
        }
    }

    /// What there is to compile. Until the API server has told of every kind, that is nothing.
    fn texts(&mut self) -> Texts {
        self.take_changes();
        let mut texts = Texts::read(&self.config);
        if let Some(mirror) = &self.mirror {
            if !self.live.is_ready() {
                texts.broken.extend(mirror.problems());
            }
            texts.policies.extend(self.live.policies().cloned());
            texts.broken.extend(self.live.broken().cloned());
            if self.fleet.as_ref().is_some_and(|f| !f.heard().ready) {
                texts.broken.push("what is said to all nodes (rollouts) has not been listed yet".to_owned());
            }
        } else if self.config.kubernetes.is_some() {
            texts.broken.push("the API server is not followed".to_owned());
        }
        texts
    }

    fn apply(&mut self, texts: &Texts, back: Option<Back>, ask: bool) -> Result<(), Refused> {
        // What is refused is tried again when something else than a pod changes; pods wait no longer than that.
        self.pending.others = false;
        let done = self.try_apply(texts, back, ask);
        if done.is_ok() {
            self.pending = Difference::default();
        }
        self.refused = done.as_ref().err().map(ToString::to_string);
        self.broken = match &done {
            Err(Refused::Input(all)) => all.clone(),
            _ => Vec::new(),
        };
        done
    }

    /// Compiles for the endpoints that have numbers.
    fn make(&mut self, texts: &Texts, slots: &[Option<usize>]) -> Result<Candidate, Refused> {
        let kernel = &self.kernel;
        let live = self.mirror.is_some().then_some(&self.live);
        let inputs = Inputs { texts, live, locals: &self.locals };
        self.maker.make(&self.config, inputs, slots, &mut self.registry, |number, digest| {
            kernel.set_identity(number, digest)
        })
    }

    fn try_apply(&mut self, texts: &Texts, back: Option<Back>, ask: bool) -> Result<(), Refused> {
        let begun = Instant::now();
        self.problems.clear();
        let live = self.mirror.is_some().then_some(&self.live);
        self.locals = locals(&self.config, live, &self.told);
        let seen = Seen::look(&self.locals, &self.present).map_err(Refused::Interfaces)?;
        self.missing = seen.missing;
        // What was told of an interface that is gone is told of nothing.
        self.told.retain(|_, told| seen.names.contains(&told.interface));
        self.problems.extend(seen.problems.iter().cloned());
        let numbers = self.endpoint_numbers(&seen)?;
        let mut slots: Vec<Option<usize>> = Vec::new();
        for (at, number) in &numbers {
            let number = *number as usize;
            if slots.len() <= number {
                slots.resize(number + 1, None);
            }
            if let Some(slot) = slots.get_mut(number) {
                *slot = Some(*at);
            }
        }
        let mut candidate = self.make(texts, &slots)?;
        if ask {
            candidate = self.ask(candidate, texts, &seen, &numbers, &slots)?;
        }
        let mut services_change = false;
        if let (Some(services), Some(all)) = (&mut self.services, &candidate.services) {
            let slot = self.kernel.active()?;
            services_change = services.prepare(&self.config, all, slot)?;
        }
        let compile = begun.elapsed();
        if !services_change && self.unchanged(&candidate, back.as_ref()) {
            self.bind(&candidate, &seen, &numbers)?;
            self.settle_services();
            return Ok(());
        }
        let image = Image::parse(&candidate.image).map_err(KernelError::from)?;
        let staged =
            stage(&image, &candidate.numbers, self.next).map_err(|e| Refused::Compile(e.to_string()))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut record = Record::new(&candidate, self.next, since, image.source(), back);
        record.prefixes = self.prefixes(&candidate);
        self.make_room(staged.len())?;
        let staging = Instant::now();
        let (records, kernel) = (&self.records, &self.kernel);
        // The record is written while the kernel waits for its grace period; both come before the flip.
        let (kept, slot) = std::thread::scope(|scope| {
            let kept = scope.spawn(|| records.keep(&record, &candidate.image));
            let slot = kernel.stage(Generation { image: &staged, prefixes: &record.prefixes });
            (kept.join().unwrap_or_else(|_| Err(io::Error::other("writing panicked"))), slot)
        });
        kept.map_err(|e| {
            Refused::Compile(format!(
                "the generation could not be written to {}: {e}",
                self.config.state.display()
            ))
        })?;
        let slot = slot?;
        if let Some(services) = &mut self.services {
            services.stage(&self.kernel, slot, self.next)?;
        }
        let stage = staging.elapsed();
        let flipping = Instant::now();
        self.kernel.flip(slot)?;
        self.took = Took { compile, stage, flip: flipping.elapsed() };
        self.next += 1;
        self.current = Some(record);
        self.bind(&candidate, &seen, &numbers)?;
        self.settle_services();
        self.free_numbers(&candidate)?;
        Ok(())
    }

    /// The generation is in use already: what fails here is a problem, and no reason to refuse it.
    fn settle_services(&mut self) {
        if let Some(services) = &mut self.services
            && let Err(e) = services.settle(&self.kernel, &self.config, &mut self.problems)
        {
            self.problems.push(format!("services are not translated everywhere: {e}"));
        }
    }

    /// Whether the candidate is what the kernel has: then only interfaces may have changed.
    fn unchanged(&self, c: &Candidate, back: Option<&Back>) -> bool {
        let Some(current) = &self.current else { return false };
        let live = live_generation(&self.kernel).ok().flatten();
        live == Some(current.generation)
            && current.back.as_ref() == back
            && current.numbers() == c.numbers
            && current.prefixes == self.prefixes(c)
            && current.causes == c.causes
            && self.records.read(current.generation).is_ok_and(|r| r.is_some_and(|(_, i)| i == c.image))
    }

    /// A slot for images that have outgrown theirs: new maps, and programs over them.
    fn make_room(&mut self, need: usize) -> Result<(), KernelError> {
        let slot = self.kernel.slot_size();
        if need <= slot as usize {
            return Ok(());
        }
        let larger = u32::try_from(need.next_power_of_two()).unwrap_or(u32::MAX);
        if larger > LARGEST_SLOT {
            return Err(KernelError::TooLarge { need, slot: LARGEST_SLOT });
        }
        self.kernel = Kernel::open(&pins(&self.config), self.config.sizes.kernel(larger))?;
        self.programs = self.kernel.load(&settings(&self.config))?;
        // These programs are attached nowhere yet.
        self.present.clear();
        if let Some(services) = &mut self.services {
            services.reload(&self.kernel)?;
        }
        Ok(())
    }

    /// Takes another configuration; [`Self::refresh`] puts it into use. What is fixed when an agent starts
    /// must be as it was.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), String> {
        let fixed = |c: &Config| {
            (
                c.bpffs.clone(),
                c.pins.clone(),
                c.state.clone(),
                c.fail_open,
                c.report_allowed,
                c.sizes,
                c.cluster_name.clone(),
                c.services.is_some(),
                c.kubernetes.clone(),
                c.guard.hold_on_denied,
            )
        };
        if fixed(&config) != fixed(&self.config) {
            return Err(
                "`bpffs`, `pins`, `state`, `failOpen`, `reportAllowed`, `sizes`, `clusterName`, `kubernetes`, `guard.holdOnDenied` and \
                 whether there are `services` count from the agent's next start"
                    .to_owned(),
            );
        }
        self.config = config;
        Ok(())
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kernel's half.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Services, where they are translated.
    pub fn services(&self) -> Option<&NodeServices> {
        self.services.as_ref()
    }

    /// The generation in use.
    pub fn current(&self) -> Option<&Record> {
        self.current.as_ref()
    }

    /// Earlier generations.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Pods whose programs are attached.
    pub fn present(&self) -> impl Iterator<Item = &Present> {
        self.present.values()
    }

    /// The pods of this node, with or without an interface.
    pub fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Whether a pod of this node is to be looked for again.
    pub fn is_missing_some(&self) -> bool {
        self.missing
    }

    /// What keeps the node from doing all that it should.
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.refused.iter().map(|r| format!("the policies on disk are not in use: {r}")));
        if self.current.is_none() {
            out.push("no policy is in use, and no program is attached".to_owned());
        }
        out.extend(self.problems.iter().cloned());
        out.extend(self.mirror.iter().flat_map(|m| m.problems()));
        out.extend(self.fleet.iter().filter_map(|f| f.heard().problem));
        out.extend(self.publisher.iter().filter_map(|p| p.problem()));
        out.extend(self.guard.problems());
        out.extend(self.lost.clone());
        out
    }

    /// Why nothing new is compiled.
    pub fn refused(&self) -> Option<&String> {
        self.refused.as_ref()
    }

    /// How many nodes the cluster has.
    pub fn nodes(&self) -> usize {
        self.mirror.as_ref().map_or(0, |m| m.count(portcullis_cluster::Kind::Node))
    }

    /// Whether the API server has an object.
    pub fn has_object(&self, kind: portcullis_cluster::Kind, namespace: &str, name: &str) -> bool {
        self.mirror.as_ref().is_some_and(|m| m.get(kind, namespace, name).is_some())
    }

    /// Why nothing new is compiled, piece by piece.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// The digest of the policies that are given, whether they are in use or not.
    pub fn given(&self) -> Option<&str> {
        self.given.as_deref()
    }

    /// Whether an earlier generation's policies are held.
    pub fn is_held(&self) -> bool {
        self.current.as_ref().is_some_and(|r| r.back.is_some())
    }

    /// How long the last change took.
    pub fn took(&self) -> Took {
        self.took
    }
}

/// The generation that decides in the kernel.
pub fn live_generation(kernel: &Kernel) -> Result<Option<u64>, KernelError> {
    let Some(slot) = kernel.active()? else { return Ok(None) };
    let image = kernel.image(slot)?.unwrap_or_default();
    Ok(image.get(header::GENERATION..).and_then(|b| b.first_chunk()).map(|b| u64::from_le_bytes(*b)))
}

/// Takes everything away that agents of this configuration have put into the kernel: programs first.
pub fn detach(config: &Config) -> Result<usize, NodeError> {
    let _lock = lock(config)?;
    let folder = pins(config);
    if !folder.exists() {
        return Ok(0);
    }
    Ok(kernel::detach_all(&folder)?)
}

/// Policy files by name.
fn named(texts: &Texts) -> Vec<(String, String)> {
    texts.policies.iter().map(|(n, t)| (n.clone(), t.to_string())).collect()
}

fn list(all: &[u64]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
