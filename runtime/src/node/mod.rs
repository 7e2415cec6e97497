//! The node: which generation is in the kernel, and how the next one gets there.
//!
//! The order of a change: the candidate is compiled and proved; its record is written; it is staged; the
//! flip; then addresses and interfaces are bound to it. Until the flip nothing that a packet reads has
//! changed, so an agent may die anywhere: the next one finds a whole generation, and the numbers that it
//! was made with, in the kernel.

mod record;

pub use record::{Record, Records, hex};

use crate::compile::{Candidate, Maker, Refused, entity};
use crate::config::Config;
use crate::inputs::Texts;
use crate::kernel::{self, Attachment, Generation, Kernel, KernelError, Programs, Settings, Sizes};
use crate::links::{self, Link};
use crate::numbers::Registry;
use ipnet::IpNet;
use portcullis_abi::header;
use portcullis_abi::maps::{AddressValue, EndpointValue, LARGEST_SLOT, NO_IDENTITY};
use portcullis_ir::Reserved;
use portcullis_tables::Image;
use portcullis_tables::staged::stage;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
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
    kernel: Kernel,
    programs: Programs,
    registry: Registry,
    maker: Maker,
    records: Records,
    current: Option<Record>,
    next: u64,
    present: BTreeMap<usize, Present>,
    problems: Vec<String>,
    refused: Option<String>,
    took: Took,
    held: Option<Vec<(String, String)>>,
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

fn sizes(config: &Config, slot: u32) -> Sizes {
    Sizes {
        slot,
        addresses: config.sizes.addresses,
        prefixes: config.sizes.prefixes,
        endpoints: config.sizes.endpoints,
        conntrack: config.sizes.conntrack,
        ..Sizes::default()
    }
}

fn settings(config: &Config) -> Settings {
    Settings { fail_open: config.fail_open, report_allowed: config.report_allowed, ..Settings::default() }
}

impl Node {
    /// Opens what an earlier agent left, or makes it. No program is attached or replaced yet.
    pub fn open(config: Config) -> Result<Self, NodeError> {
        let lock = lock(&config)?;
        let folder = pins(&config);
        kernel::prepare(&config.bpffs, &folder)?;
        let slot = kernel::slot_size(&folder)?.unwrap_or(Sizes::default().slot);
        let kernel = Kernel::open(&folder, sizes(&config, slot))?;
        let programs = kernel.load(&settings(&config))?;
        let registry = Registry::new(config.sizes.addresses, kernel.identities()?);
        let records = Records::open(&config.state).map_err(|source| NodeError::State {
            what: format!("the folder of generations in {} could not be made", config.state.display()),
            source,
        })?;
        let live = live_generation(&kernel)?;
        let current = live.and_then(|g| records.read(g).ok().flatten()).map(|(r, _)| r);
        let maker = Maker::new(&config);
        Ok(Self {
            config,
            kernel,
            programs,
            registry,
            maker,
            records,
            current,
            next: live.unwrap_or(0) + 1,
            present: BTreeMap::new(),
            problems: Vec::new(),
            refused: None,
            took: Took::default(),
            held: None,
            _lock: lock,
        })
    }

    /// Brings the kernel to what files and interfaces say. A candidate that is refused leaves everything
    /// as it is; the reason is kept for the status, and returned.
    pub fn refresh(&mut self) -> Result<(), Refused> {
        let mut texts = Texts::read(&self.config);
        if let Some(held) = &self.held {
            // Gone back: the folder counts again once it changes.
            let now: Vec<(String, String)> =
                texts.policies.iter().map(|(n, t)| (n.clone(), t.to_string())).collect();
            if now == *held {
                let Some(record) = &self.current else { return Ok(()) };
                texts.policies = record.policy_texts();
            } else {
                self.held = None;
            }
        }
        let back_to = self.held.as_ref().and(self.current.as_ref()).and_then(|r| r.back_to);
        self.apply(&texts, back_to)
    }

    /// Puts the policies of an earlier generation into use again, under a new number, until the policy
    /// files change. Without a number, those of the generation before this one.
    pub fn roll_back(&mut self, to: Option<u64>) -> Result<u64, String> {
        let current = self.current.as_ref().map_or(0, |r| r.back_to.unwrap_or(r.generation));
        let kept = self.records.generations().map_err(|e| e.to_string())?;
        let to = match to {
            Some(to) => to,
            None => {
                kept.iter().rev().copied().find(|g| *g < current).ok_or("no earlier generation is kept")?
            }
        };
        let (record, _) = self
            .records
            .read(to)
            .map_err(|e| e.to_string())?
            .ok_or_else(|| format!("generation {to} is not kept; there are {}", list(&kept)))?;
        let mut texts = Texts::read(&self.config);
        let now = texts.policies.iter().map(|(n, t)| (n.clone(), t.to_string())).collect();
        texts.policies = record.policy_texts();
        texts.broken.clear();
        self.apply(&texts, Some(to)).map_err(|e| e.to_string())?;
        self.held = Some(now);
        Ok(to)
    }

    fn apply(&mut self, texts: &Texts, back_to: Option<u64>) -> Result<(), Refused> {
        let done = self.try_apply(texts, back_to);
        self.refused = done.as_ref().err().map(ToString::to_string);
        done
    }

    fn try_apply(&mut self, texts: &Texts, back_to: Option<u64>) -> Result<(), Refused> {
        let begun = Instant::now();
        self.problems.clear();
        let found = self.find_interfaces();
        let numbers = self.endpoint_numbers(&found)?;
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
        let kernel = &self.kernel;
        let candidate =
            self.maker.make(&self.config, texts, &slots, &mut self.registry, |number, digest| {
                kernel.set_identity(number, digest)
            })?;
        let compile = begun.elapsed();
        if self.unchanged(&candidate, back_to) {
            self.bind(&candidate, &found, &numbers)?;
            return Ok(());
        }
        let image = Image::parse(&candidate.image).map_err(KernelError::from)?;
        let staged =
            stage(&image, &candidate.numbers, self.next).map_err(|e| Refused::Compile(e.to_string()))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut record = Record::new(&candidate, self.next, since, image.source(), back_to);
        record.prefixes = self.prefixes(&candidate);
        self.records.keep(&record, &candidate.image).map_err(|e| {
            Refused::Compile(format!(
                "the generation could not be written to {}: {e}",
                self.config.state.display()
            ))
        })?;
        self.make_room(staged.len())?;
        let staging = Instant::now();
        let slot = self.kernel.stage(Generation { image: &staged, prefixes: &record.prefixes })?;
        let stage = staging.elapsed();
        let flipping = Instant::now();
        self.kernel.flip(slot)?;
        self.took = Took { compile, stage, flip: flipping.elapsed() };
        self.next += 1;
        self.current = Some(record);
        self.bind(&candidate, &found, &numbers)?;
        self.free_numbers(&candidate)?;
        Ok(())
    }

    /// Whether the candidate is what the kernel has: then only interfaces may have changed.
    fn unchanged(&self, c: &Candidate, back_to: Option<u64>) -> bool {
        let Some(current) = &self.current else { return false };
        let live = live_generation(&self.kernel).ok().flatten();
        live == Some(current.generation)
            && current.back_to == back_to
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
        self.kernel = Kernel::open(&pins(&self.config), sizes(&self.config, larger))?;
        self.programs = self.kernel.load(&settings(&self.config))?;
        // These programs are attached nowhere yet.
        self.present.clear();
        Ok(())
    }

    /// Interfaces of the configuration's endpoints, as far as they are there.
    fn find_interfaces(&mut self) -> BTreeMap<usize, Link> {
        let links = match links::links() {
            Ok(links) => links,
            Err(e) => {
                self.problems.push(format!("the interfaces could not be listed: {e}"));
                return BTreeMap::new();
            }
        };
        let by_index: BTreeMap<u32, &Link> = links.values().map(|l| (l.index, l)).collect();
        let mut out = BTreeMap::new();
        for (at, e) in self.config.endpoints.iter().enumerate() {
            let name = format!("{}/{}", e.namespace, e.name);
            let found = match (&e.interface, &e.netns) {
                (Some(interface), _) => {
                    links.get(interface).ok_or_else(|| format!("there is no interface {interface}"))
                }
                (None, Some(netns)) => links::host_side_of(netns, &e.netns_interface)
                    .map_err(|e| format!("its namespace {netns}: {e}"))
                    .and_then(|i| {
                        by_index.get(&i).copied().ok_or_else(|| "its other end is elsewhere".to_owned())
                    }),
                (None, None) => Err("it has no interface".to_owned()),
            };
            match found {
                Ok(link) => {
                    out.insert(at, link.clone());
                }
                Err(why) => self.problems.push(format!("endpoint {name} is not attached: {why}")),
            }
        }
        out
    }

    /// Numbers of endpoints: those they have in the kernel, by interface, else the lowest free ones.
    fn endpoint_numbers(&self, found: &BTreeMap<usize, Link>) -> Result<BTreeMap<usize, u32>, KernelError> {
        let bound = self.kernel.endpoints()?;
        let mut used: BTreeSet<u32> = BTreeSet::new();
        let mut out = BTreeMap::new();
        for (at, link) in found {
            if let Some(value) = bound.get(&link.index)
                && used.insert(value.number)
            {
                out.insert(*at, value.number);
            }
        }
        // Numbers of interfaces that are gone are free once no program can see them: after this change.
        used.extend(bound.values().map(|v| v.number));
        let mut next = 0;
        for at in found.keys() {
            if !out.contains_key(at) {
                while used.contains(&next) {
                    next += 1;
                }
                used.insert(next);
                out.insert(*at, next);
            }
        }
        Ok(out)
    }

    /// Prefixes of the candidate, and the pods' own, in which nobody is a stranger.
    fn prefixes(&self, c: &Candidate) -> Vec<(IpNet, u32)> {
        let pods = &self.config.pod_cidrs;
        let mut out: Vec<(IpNet, u32)> =
            c.prefixes.iter().filter(|(net, _)| !pods.iter().any(|p| p.contains(net))).copied().collect();
        out.extend(pods.iter().map(|p| (p.trunc(), NO_IDENTITY)));
        out.sort();
        out.dedup();
        out
    }

    /// Binds addresses and interfaces to the generation in use, and frees those that are gone.
    fn bind(
        &mut self,
        c: &Candidate,
        found: &BTreeMap<usize, Link>,
        numbers: &BTreeMap<usize, u32>,
    ) -> Result<(), KernelError> {
        let mut wanted: BTreeMap<IpAddr, AddressValue> = BTreeMap::new();
        match links::addresses() {
            Ok(own) => {
                for ip in own.into_iter().chain(self.config.host_addresses.iter().copied()) {
                    wanted.insert(ip, AddressValue { identity: Reserved::Host as u32, endpoint: 0 });
                }
            }
            Err(e) => self.problems.push(format!("the host's own addresses could not be listed: {e}")),
        }
        for (name, list) in &self.config.entities {
            if let Some(identity) = entity(name) {
                wanted.extend(list.iter().map(|ip| (*ip, AddressValue { identity, endpoint: 0 })));
            }
        }
        for (ip, (identity, at)) in &c.pods {
            let number = at.and_then(|at| numbers.get(&at)).map_or(0, |n| n + 1);
            wanted.insert(*ip, AddressValue { identity: *identity, endpoint: number });
        }
        let bound = self.kernel.addresses()?;
        for ip in bound.keys().filter(|ip| !wanted.contains_key(ip)) {
            self.kernel.remove_address(*ip)?;
        }
        for (ip, value) in &wanted {
            if bound.get(ip) == Some(value) {
                continue;
            }
            match self.kernel.set_address(*ip, *value) {
                Ok(()) => {}
                Err(e) if e.is_full() => {
                    self.problems.push(format!("the map of addresses is full: {ip} and others are nobody's"));
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        let mut present = BTreeMap::new();
        for (at, link) in found {
            let (Some(e), Some(number)) = (self.config.endpoints.get(*at), numbers.get(at)) else { continue };
            let identity = e.addresses.iter().find_map(|ip| c.pods.get(ip)).map_or(NO_IDENTITY, |(i, _)| *i);
            // The programs know the interface before they see a packet of it.
            self.kernel.set_endpoint(link.index, EndpointValue { number: *number, identity })?;
            let name = format!("{}/{}", e.namespace, e.name);
            if let Some(p) = self.present.get(at).filter(|p| p.link == *link && p.number == *number) {
                present.insert(*at, Present { identity, ..p.clone() });
                continue;
            }
            match self.programs.attach(&link.name, link.index, link.ethernet) {
                Ok(how) => {
                    let addresses = e.addresses.clone();
                    let one = Present { name, link: link.clone(), number: *number, identity, addresses, how };
                    present.insert(*at, one);
                }
                Err(e) => self.problems.push(format!("endpoint {name} is not attached: {e}")),
            }
        }
        let here: BTreeSet<u32> = found.values().map(|l| l.index).collect();
        let indices = links::links().map(|l| l.values().map(|l| l.index).collect::<BTreeSet<u32>>());
        for index in self.kernel.endpoints()?.into_keys().filter(|i| !here.contains(i)) {
            let exists = indices.as_ref().map_or(true, |all| all.contains(&index));
            self.programs.detach(index, exists)?;
            self.kernel.remove_endpoint(index)?;
        }
        self.present = present;
        Ok(())
    }

    /// Frees the numbers that neither the generation in use nor an address needs.
    fn free_numbers(&mut self, c: &Candidate) -> Result<(), KernelError> {
        let mut used: BTreeSet<u32> = c.numbers.identities.iter().copied().flatten().collect();
        used.extend(self.kernel.addresses()?.values().map(|v| v.identity));
        for number in self.registry.retain(&used) {
            self.kernel.remove_identity(number)?;
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
            )
        };
        if fixed(&config) != fixed(&self.config) {
            return Err(
                "`bpffs`, `pins`, `state`, `failOpen`, `reportAllowed`, `sizes` and `clusterName` count from the \
                        agent's next start"
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

    /// What keeps the node from doing all that it should.
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.refused.iter().map(|r| format!("the policies on disk are not in use: {r}")));
        if self.current.is_none() {
            out.push("no policy is in use, and no program is attached".to_owned());
        }
        out.extend(self.problems.iter().cloned());
        out
    }

    /// Whether an earlier generation's policies are held.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
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

fn list(all: &[u64]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
