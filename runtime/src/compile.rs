//! Texts to a generation: parsed, compiled, compared with the interpreter, and numbered for this node.

use crate::config::{Config, EndpointConfig};
use crate::inputs::{Library, NamedText, Texts, blocking, pod_text};
use crate::kernel::KernelError;
use crate::live::{Live, PodName};
use crate::local::Local;
use crate::numbers::{Assigned, IdentityDigest, OutOfNumbers, Registry};
use crate::place::place;
use fixedbitset::FixedBitSet;
use ipnet::IpNet;
use portcullis_diag::{Diagnostic, FileId, ObjectRef, SourceMap};
use portcullis_front::Parsed;
use portcullis_front::ast::Object;
use portcullis_ir::cluster::{Facts, NamedPort};
use portcullis_ir::lower::is_policy;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{AuthMode, Cluster, LabelSet, Options, Peers, PolicySet, Reserved, Subject};
use portcullis_sema::Side;
use portcullis_sema::universe::{NodeId, NodeKind, Universe};
use portcullis_services::Services;
use portcullis_tables::staged::Numbers;
use portcullis_tables::{Audit, Cause, Compiler};
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Why no generation was made. What is in the kernel stays.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The node could not be looked at.
    #[error("the interfaces and addresses of the node could not be listed: {0}")]
    Interfaces(std::io::Error),
    /// The files.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Input(Vec<Broken>),
    /// The compiler.
    #[error("{0}")]
    Compile(String),
    /// The image does not answer as the interpreter does: a defect.
    #[error(
        "internal error: the image does not mean what the policies say ({0} flows differ, the first: {1})"
    )]
    Unproved(usize, String),
    /// No number is left for a label set.
    #[error(transparent)]
    Numbers(#[from] OutOfNumbers),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Something that keeps everything from being compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The object, where it is one's fault.
    pub object: Option<ObjectRef>,
    /// Where: file and line, or the field in an object of the API server.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Broken {
    /// What a finding says.
    pub fn of(d: &Diagnostic, sources: &SourceMap) -> Self {
        Self {
            object: d.object.clone(),
            place: d.span().map(|s| place(sources, s)).unwrap_or_default(),
            message: format!("{} ({})", d.message, d.code),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A field does not say whose it is.
        let object = self.object.as_ref().filter(|_| !self.place.contains(':'));
        match (object, self.place.as_str()) {
            (Some(o), place) => write!(f, "{o} at {place}: {}", self.message),
            (None, "") => f.write_str(&self.message),
            (None, place) => write!(f, "{place}: {}", self.message),
        }
    }
}

/// A rule that this node cannot enforce as it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unenforced {
    /// The policy and the place of the rule.
    pub rule: String,
    /// What is missing, and what happens instead.
    pub why: &'static str,
}

/// One generation before it has a number.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The image with its causes, as it was proved.
    pub image: Vec<u8>,
    /// The agent's numbers for its identities and endpoints.
    pub numbers: Numbers,
    /// Prefixes and their identities.
    pub prefixes: Vec<(IpNet, u32)>,
    /// Exact addresses of pods, and who claims them.
    pub claims: Claims,
    /// Addresses of nodes and of the API server, as a followed cluster has them, and their identities.
    pub nodes: BTreeMap<IpAddr, u32>,
    /// Numbers of pods are below this.
    pub room: u32,
    /// How many images its maker had been asked for.
    pub made: u64,
    /// The numbers of pods' identities by what they stand for.
    pub known: BTreeMap<IdentityDigest, u32>,
    /// What each identity is, for people.
    pub names: BTreeMap<u32, String>,
    /// What the causes of verdict words stand for.
    pub causes: Vec<String>,
    /// Rules that cannot be enforced here.
    pub unenforced: Vec<Unenforced>,
    /// Policies that take part.
    pub policies: usize,
    /// The texts it was made of, for going back to it.
    pub texts: Vec<NamedText>,
    /// What the cluster says of services; `None` where they are not translated.
    pub services: Option<Rc<Services>>,
}

/// A pod that says it has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Of several with one address the best has it: one of the configuration, then one of this node, then one
    /// that is not being stopped.
    pub rank: Rank,
    /// Namespace and name; among equals the last.
    pub pod: (SmolStr, SmolStr),
    /// Its identity's number.
    pub identity: u32,
    /// Which pod of this node it is.
    pub at: Option<usize>,
}

/// How good a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Rank {
    Stopping,
    Elsewhere,
    Here,
    Given,
}

/// Who claims which address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    by_address: BTreeMap<IpAddr, Vec<Claim>>,
    of_pod: BTreeMap<(SmolStr, SmolStr), Vec<IpAddr>>,
}

impl Claims {
    /// Adds a claim.
    pub fn add(&mut self, ip: IpAddr, claim: Claim) {
        self.of_pod.entry(claim.pod.clone()).or_default().push(ip);
        self.by_address.entry(ip).or_default().push(claim);
    }

    /// What a pod claims.
    pub fn of(&self, pod: &PodName) -> &[IpAddr] {
        self.of_pod.get(&(SmolStr::from(&pod.0), SmolStr::from(&pod.1))).map_or(&[], Vec::as_slice)
    }

    /// Takes back everything that a pod claims, and says what that was.
    pub fn remove(&mut self, pod: &PodName) -> Vec<IpAddr> {
        let name = (SmolStr::from(&pod.0), SmolStr::from(&pod.1));
        let ips = self.of_pod.remove(&name).unwrap_or_default();
        for ip in &ips {
            if let Some(all) = self.by_address.get_mut(ip) {
                all.retain(|c| c.pod != name);
                if all.is_empty() {
                    self.by_address.remove(ip);
                }
            }
        }
        ips
    }

    /// Who has an address.
    pub fn holder(&self, ip: IpAddr) -> Option<&Claim> {
        self.by_address.get(&ip)?.iter().max()
    }

    /// Whether a pod of this node claims an address.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.by_address.get(&ip).is_some_and(|all| all.iter().any(|c| c.at.is_some()))
    }

    /// Every address and who has it.
    pub fn holders(&self) -> impl Iterator<Item = (IpAddr, &Claim)> {
        self.by_address.iter().filter_map(|(ip, all)| Some((*ip, all.iter().max()?)))
    }
}

/// What generations are made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'i> {
    /// Files, and all policies.
    pub texts: &'i Texts,
    /// What an API server has beside policies.
    pub live: Option<&'i Live>,
    /// The pods of this node.
    pub locals: &'i [Local],
}

/// Policy files, each with whether it has changed, and cluster files.
type Read = (Vec<(Rc<Parsed>, bool)>, Vec<Rc<Parsed>>);

/// The annotation that puts a policy in audit, with the value `true`.
pub const AUDIT: &str = "policy.portcullis.dev/audit";

/// Makes generations, each from what has not changed since the last.
#[derive(Debug)]
pub struct Maker {
    compiler: Compiler,
    library: Library,
    /// The policies of the last image.
    linked: Option<PolicySet>,
    /// How many images were asked for.
    made: u64,
    /// What the cluster was made of: a digest of files and given pods, and how far the API server was.
    cluster: Option<([u8; 32], Option<u64>)>,
    /// What services say, and of which state of the cluster.
    services: Option<Rc<Services>>,
    /// Policies and the files they are from.
    policies: BTreeMap<ObjectRef, FileId>,
}

impl Maker {
    /// A maker for one cluster.
    pub fn new(config: &Config) -> Self {
        let options = Options { cluster_name: config.cluster_name.clone(), ..Options::default() };
        Self {
            compiler: Compiler::new(Cluster::default(), options),
            library: Library::default(),
            linked: None,
            made: 0,
            cluster: None,
            services: None,
            policies: BTreeMap::new(),
        }
    }

    /// The settings that policies are compiled with.
    pub fn options(&self) -> &Options {
        self.compiler.options()
    }

    /// The cluster as it was compiled last.
    pub fn cluster(&self) -> &Cluster {
        self.compiler.cluster()
    }

    /// The identity of an image whose verdicts, as a peer, pods with these labels and named ports have; `None` where
    /// there is none, and where that image, by its count, is not the last.
    pub fn twin(&self, made: u64, labels: &LabelSet, ports: &[NamedPort]) -> Option<NodeId> {
        if made != self.made {
            return None;
        }
        self.compiler.twin(self.linked.as_ref()?, labels, ports)
    }

    /// Compiles. `slots` says which pod of this node has which number; `remember` is told of every new identity
    /// number before it is used.
    pub fn make(
        &mut self,
        config: &Config,
        inputs: Inputs<'_>,
        slots: &[Option<usize>],
        registry: &mut Registry,
        mut remember: impl FnMut(u32, IdentityDigest) -> Result<(), KernelError>,
    ) -> Result<Candidate, Refused> {
        let Inputs { texts, live, locals } = inputs;
        let (own, cluster) = self.parse(texts)?;
        if self.update_cluster(config, inputs, &own, &cluster) {
            self.services = None;
        }
        self.update_policies(&own);
        self.forget_files(config, texts);
        if config.services.is_some() && self.services.is_none() {
            self.services = Some(Rc::new(self.gather_services(config, live, &own, &cluster)));
        }
        let audit = audit(config, &own);
        self.compiler.set_audit(audit.clone());
        self.linked = None;
        self.made += 1;
        let policies = self.compiler.policies();
        let sources = self.library.sources();
        let name = |c: &Cause| c.line(&policies, &sources);
        let endpoints = find_endpoints(locals, self.compiler.cluster());
        let group =
            |u: &Universe, endpoint: Option<u32>| u.group_of.first()?.get(endpoint? as usize).copied();
        // This node's own endpoints; others are enforced where they are.
        let wanted = |u: &Universe| {
            let mut wanted = FixedBitSet::with_capacity(u.groups);
            endpoints.iter().filter_map(|e| group(u, *e)).for_each(|g| wanted.insert(g as usize));
            wanted
        };
        let made = self.compiler.compile(&policies, Some(&wanted), &name, |e, built| {
            let Some(Side { input, .. }) = e.sides.first() else {
                return Err(Refused::Compile("nothing was evaluated".to_owned()));
            };
            let u = &e.universe;
            let groups = wanted(u);
            let expect = portcullis_verify::Expect { wanted: Some(&groups), audit: &audit, names: &name };
            let report = portcullis_verify::verify_with(&built.bytes, *input, u, &expect)
                .map_err(|e| Refused::Compile(e.to_string()))?;
            if let Some(first) = report.differences.first() {
                return Err(Refused::Unproved(report.differences.len(), first.expected_cause.clone()));
            }
            let assigned = registry.assign(u, input.cluster, |n, d| remember(n, d).map_err(Refused::from))?;
            let place = |at: &usize| group(u, endpoints.get(*at).copied().flatten());
            let numbers = Numbers {
                identities: assigned.of_node.clone(),
                identity_slots: assigned.slots,
                endpoints: slots.iter().map(|at| at.as_ref().and_then(place)).collect(),
                twins: Vec::new(),
            };
            let claims = claims(inputs, input.cluster, u, &assigned, &endpoints);
            let of_group = |(id, _): (NodeId, _)| {
                let number = assigned.of_node.get(id.index()).copied().flatten()?;
                Some((registry.digest(number)?, number))
            };
            let known = u.groups().filter_map(of_group).collect();
            Ok((numbers, claims, known, names(u, &assigned), assigned))
        });
        let (built, seen) = made.map_err(|e| Refused::Compile(e.to_string()))?;
        let (numbers, claims, known, names, Assigned { prefixes, room, .. }) = seen?;
        let causes = portcullis_tables::Image::parse(&built.bytes)
            .map(|i| i.causes().into_iter().map(str::to_owned).collect())
            .unwrap_or_default();
        let out = Candidate {
            numbers,
            claims,
            nodes: live.map(|_| nodes(self.compiler.cluster())).unwrap_or_default(),
            room,
            made: self.made,
            known,
            names,
            prefixes,
            causes,
            unenforced: unenforced(&policies, &sources, config.fail_open),
            policies: policies.policies.len(),
            texts: texts.policies.clone(),
            image: built.bytes,
            services: self.services.clone(),
        };
        self.linked = Some(policies);
        Ok(out)
    }

    /// What files, the API server and this node's own pods say of services.
    fn gather_services(
        &mut self,
        config: &Config,
        live: Option<&Live>,
        own: &[(Rc<Parsed>, bool)],
        cluster: &[Rc<Parsed>],
    ) -> Services {
        let mut out = live.and_then(Live::services).cloned().unwrap_or_default();
        let files = own.iter().map(|(p, _)| p).chain(cluster);
        files.flat_map(|p| p.objects.iter()).for_each(|o| out.add(o));
        for e in &config.endpoints {
            let text: Arc<str> = Arc::from(pod_text(e, &config.node));
            self.library.parse(&given_name(e), &text).0.objects.iter().for_each(|o| out.add(o));
        }
        out
    }

    /// Forgets files that are not there any more; nothing that was parsed from them is in use now.
    fn forget_files(&mut self, config: &Config, texts: &Texts) {
        if self.library.len() <= texts.policies.len() + texts.cluster.len() + config.endpoints.len() {
            return;
        }
        let given: Vec<String> = config.endpoints.iter().map(given_name).collect();
        let files = texts.policies.iter().chain(&texts.cluster).map(|(n, _)| n.as_str());
        let names: BTreeSet<&str> = files.chain(given.iter().map(String::as_str)).collect();
        self.library.retain(&names);
    }

    /// Parsed policies and cluster files; nothing is compiled while a file is broken.
    fn parse(&mut self, texts: &Texts) -> Result<Read, Refused> {
        let own: Vec<_> = texts.policies.iter().map(|(n, t)| self.library.parse(n, t)).collect();
        let cluster: Vec<_> = texts.cluster.iter().map(|(n, t)| self.library.parse(n, t).0).collect();
        let said = |message: &String| Broken { object: None, place: String::new(), message: message.clone() };
        let mut broken: Vec<Broken> = texts.broken.iter().map(said).collect();
        let mut sources = None;
        for parsed in own.iter().map(|(p, _)| p).chain(&cluster) {
            broken.extend(
                blocking(parsed)
                    .map(|d| Broken::of(d, sources.get_or_insert_with(|| self.library.sources()))),
            );
        }
        if broken.is_empty() { Ok((own, cluster)) } else { Err(Refused::Input(broken)) }
    }

    /// Takes another state of everything but policies; whether it is another.
    fn update_cluster(
        &mut self,
        config: &Config,
        inputs: Inputs<'_>,
        own: &[(Rc<Parsed>, bool)],
        cluster: &[Rc<Parsed>],
    ) -> bool {
        let pods: Vec<Arc<str>> =
            config.endpoints.iter().map(|e| Arc::from(pod_text(e, &config.node))).collect();
        let mut hash = Sha256::new();
        for text in inputs.texts.cluster.iter().map(|(_, t)| t).chain(&pods) {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(text.as_bytes());
        }
        // Objects beside the policies, of which only their files' changing is known.
        let beside = own.iter().any(|(p, changed)| *changed && p.objects.iter().any(|o| !is_policy(o)));
        let state = (hash.finalize().into(), inputs.live.map(Live::revision));
        if self.cluster == Some(state) && !beside {
            return false;
        }
        let (mut files, mut given) = (Facts::default(), Facts::default());
        let all = own.iter().map(|(p, _)| p).chain(cluster);
        all.flat_map(|p| p.objects.iter()).filter(|o| !is_policy(o)).for_each(|o| files.add(o));
        for (e, text) in config.endpoints.iter().zip(&pods) {
            let (parsed, _) = self.library.parse(&given_name(e), text);
            parsed.objects.iter().for_each(|o| given.add(o));
        }
        // What is said later counts: this node's own pods win.
        let mut layers = vec![&files];
        layers.extend(inputs.live.map(|l| l.facts().facts()));
        layers.push(&given);
        self.compiler.set_cluster(Cluster::from_facts(&layers, self.compiler.options()));
        self.cluster = Some(state);
        true
    }

    fn update_policies(&mut self, own: &[(Rc<Parsed>, bool)]) {
        // Of two with one name the later counts.
        let mut now: BTreeMap<ObjectRef, (&Object, bool)> = BTreeMap::new();
        for (parsed, changed) in own {
            for o in parsed.objects.iter().filter(|o| is_policy(o)) {
                now.insert(o.reference(), (o, *changed));
            }
        }
        for (key, (o, changed)) in &now {
            // One in the place of one from another file is another, too.
            if *changed || self.policies.get(key) != Some(&o.meta.name.span.file) {
                self.compiler.set_policy(Rc::new((*o).clone()));
            }
        }
        for gone in self.policies.keys().filter(|k| !now.contains_key(*k)) {
            self.compiler.remove_policy(gone);
        }
        self.policies = now.into_iter().map(|(key, (o, _))| (key, o.meta.name.span.file)).collect();
    }
}

/// Policies in audit: those that say so themselves, and all of the namespaces of the configuration.
fn audit(config: &Config, own: &[(Rc<Parsed>, bool)]) -> Audit {
    let says = |o: &&Object| o.meta.annotations.iter().any(|(k, v)| k == AUDIT && v == "true");
    let all = own.iter().flat_map(|(p, _)| &p.objects);
    Audit {
        policies: all.filter(|o| is_policy(o)).filter(says).map(Object::reference).collect(),
        namespaces: config.audit_namespaces.iter().map(Into::into).collect(),
    }
}

/// The name that a pod of the configuration has as a text.
fn given_name(e: &EndpointConfig) -> String {
    format!("endpoint {}/{}.json", e.namespace, e.name)
}

/// The cluster's endpoint of each pod of this node.
fn find_endpoints(locals: &[Local], cluster: &Cluster) -> Vec<Option<u32>> {
    let at: BTreeMap<(&str, &str), usize> =
        locals.iter().enumerate().map(|(at, l)| ((l.namespace.as_str(), l.name.as_str()), at)).collect();
    let mut out = vec![None; locals.len()];
    for (id, e) in cluster.endpoints() {
        let at = at.get(&(e.namespace.as_str(), e.name.as_str()));
        if let Some(slot) = at.and_then(|at| out.get_mut(*at)) {
            *slot = Some(id.0);
        }
    }
    out
}

/// The cluster's nodes, and its API server: where the service `kubernetes` ends.
fn nodes(cluster: &Cluster) -> BTreeMap<IpAddr, u32> {
    let mut out: BTreeMap<IpAddr, u32> =
        cluster.node_ips.iter().map(|ip| (*ip, Reserved::RemoteNode as u32)).collect();
    let servers = cluster.services.iter().filter(|s| s.namespace == "default" && s.name == "kubernetes");
    out.extend(servers.flat_map(|s| &s.addresses).map(|ip| (*ip, Reserved::KubeApiserver as u32)));
    out
}

fn claims(
    inputs: Inputs<'_>,
    cluster: &Cluster,
    universe: &Universe,
    assigned: &Assigned,
    own: &[Option<u32>],
) -> Claims {
    let mut out = Claims::default();
    let stopping = inputs.live.map(Live::terminating).unwrap_or_default();
    let at: BTreeMap<u32, usize> =
        own.iter().enumerate().filter_map(|(at, id)| id.map(|id| (id, at))).collect();
    for (id, e) in cluster.endpoints() {
        let group = universe.group_of.first().and_then(|g| g.get(id.0 as usize)).copied();
        let Some(number) = group.and_then(|g| assigned.of_node.get(g as usize).copied().flatten()) else {
            continue;
        };
        let at = at.get(&id.0).copied();
        let local = at.and_then(|at| inputs.locals.get(at));
        let rank = match local {
            Some(l) if l.given => Rank::Given,
            Some(l) if !l.terminating => Rank::Here,
            None if !stopping.contains(&(e.namespace.as_str(), e.name.as_str())) => Rank::Elsewhere,
            _ => Rank::Stopping,
        };
        // What this node knows of its own pods' addresses is the newest.
        let ips = local.map_or(&*e.ips, |l| &l.addresses);
        for ip in ips {
            let pod = (e.namespace.clone(), e.name.clone());
            out.add(*ip, Claim { rank, pod, identity: number, at });
        }
    }
    out
}

fn names(universe: &Universe, assigned: &Assigned) -> BTreeMap<u32, String> {
    let mut out = BTreeMap::new();
    for (id, node) in universe.iter() {
        let Some(number) = assigned.of_node.get(id.index()).copied().flatten() else { continue };
        let name = match node {
            NodeKind::Group(g) => {
                let first = g.workloads.first().map(|(w, _)| format!("{}/{}", w.namespace, w.name));
                let more = g.workloads.len().saturating_sub(1);
                let first = first.unwrap_or_default();
                if more > 0 { format!("{first} +{more} more") } else { first }
            }
            NodeKind::Reserved(r) => r.name().to_owned(),
            NodeKind::Region(r) => r.prefix.to_string(),
            NodeKind::Name(n) => n.example.to_string(),
            NodeKind::Address(ip, _) => ip.to_string(),
        };
        out.insert(number, name);
    }
    out
}

fn unenforced(policies: &PolicySet, sources: &SourceMap, fail_open: bool) -> Vec<Unenforced> {
    let mut out = BTreeSet::new();
    for rule in &policies.rules {
        let mut say = |why| {
            let object = policies.policy(rule.policy).map(|p| p.object.to_string()).unwrap_or_default();
            out.insert(Unenforced { rule: format!("{object} at {}", place(sources, rule.span)), why });
        };
        if rule.redirects() {
            say(if fail_open {
                "there is no proxy on this node: what it allows passes without being looked into"
            } else {
                "there is no proxy on this node: what it allows is dropped"
            });
        }
        if rule.authentication.is_some_and(|a| a != AuthMode::Disabled) {
            say(if fail_open {
                "there is no authentication on this node: what it allows passes without"
            } else {
                "there is no authentication on this node: what it allows is dropped"
            });
        }
        if let Peers::Of(ids) = &rule.peers {
            let terms = || ids.iter().filter_map(|id| policies.peers.get(*id));
            if terms().any(|t| matches!(t, PeerTerm::Fqdn(_))) {
                say(
                    "DNS answers are not seen on this node: its names match no address, and what it allows is dropped",
                );
            }
            if terms().any(|t| matches!(t, PeerTerm::Nodes(_))) {
                say("node selectors are off: it matches nobody");
            }
        }
        if matches!(rule.subject, Subject::Host(_)) {
            say("the host firewall is off: it selects nothing");
        }
    }
    out.into_iter().collect()
}

/// The reserved identity that an entity of the configuration names.
pub fn entity(name: &str) -> Option<u32> {
    Reserved::parse(name).map(|r| r as u32)
}
