//! Texts to a generation: parsed, compiled, compared with the interpreter, and numbered for this node.

use crate::config::Config;
use crate::inputs::{Library, NamedText, Texts, blocking, pod_text};
use crate::kernel::KernelError;
use crate::numbers::{Assigned, IdentityDigest, OutOfNumbers, Registry};
use crate::place::place;
use fixedbitset::FixedBitSet;
use ipnet::IpNet;
use portcullis_diag::{FileId, ObjectRef, SourceMap};
use portcullis_front::Parsed;
use portcullis_front::ast::Object;
use portcullis_ir::cluster::Facts;
use portcullis_ir::lower::is_policy;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{AuthMode, Cluster, Options, Peers, PolicySet, Reserved, Subject};
use portcullis_sema::Side;
use portcullis_sema::universe::{NodeKind, Universe};
use portcullis_services::Services;
use portcullis_tables::staged::Numbers;
use portcullis_tables::{Audit, Cause, Compiler};
use sha2::{Digest as _, Sha256};
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
    /// Exact addresses of pods: identity, and which endpoint of the configuration it is.
    pub pods: BTreeMap<IpAddr, (u32, Option<usize>)>,
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
    pub services: Option<Services>,
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
    cluster: Option<[u8; 32]>,
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
            cluster: None,
            policies: BTreeMap::new(),
        }
    }

    /// Compiles. `slots` says which endpoint of the configuration has which number on this node; `remember`
    /// is told of every new identity number before it is used.
    pub fn make(
        &mut self,
        config: &Config,
        texts: &Texts,
        slots: &[Option<usize>],
        registry: &mut Registry,
        mut remember: impl FnMut(u32, IdentityDigest) -> Result<(), KernelError>,
    ) -> Result<Candidate, Refused> {
        let (own, cluster) = self.parse(texts)?;
        self.update_cluster(config, texts, &own, &cluster);
        self.update_policies(&own);
        let services = config.services.is_some().then(|| self.services(config, &own, &cluster));
        let audit = audit(config, &own);
        self.compiler.set_audit(audit.clone());
        let policies = self.compiler.policies();
        let sources = self.library.sources();
        let name = |c: &Cause| c.line(&policies, &sources);
        let endpoints = find_endpoints(config, self.compiler.cluster());
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
            };
            let pods = pods(config, input.cluster, u, &assigned, &endpoints);
            Ok((numbers, pods, names(u, &assigned), assigned.prefixes))
        });
        let (built, seen) = made.map_err(|e| Refused::Compile(e.to_string()))?;
        let (numbers, pods, names, prefixes) = seen?;
        let causes = portcullis_tables::Image::parse(&built.bytes)
            .map(|i| i.causes().into_iter().map(str::to_owned).collect())
            .unwrap_or_default();
        Ok(Candidate {
            numbers,
            pods,
            names,
            prefixes,
            causes,
            unenforced: unenforced(&policies, &sources, config.fail_open),
            policies: policies.policies.len(),
            texts: texts.policies.clone(),
            image: built.bytes,
            services,
        })
    }

    /// What every file and this node's pods say of services.
    fn services(&mut self, config: &Config, own: &[(Rc<Parsed>, bool)], cluster: &[Rc<Parsed>]) -> Services {
        let mut out = Services::default();
        let files = own.iter().map(|(p, _)| p).chain(cluster);
        files.flat_map(|p| p.objects.iter()).for_each(|o| out.add(o));
        for e in &config.endpoints {
            let text: Arc<str> = Arc::from(pod_text(e, &config.node));
            let name = format!("endpoint {}/{}.json", e.namespace, e.name);
            self.library.parse(&name, &text).0.objects.iter().for_each(|o| out.add(o));
        }
        out
    }

    /// Parsed policies and cluster files; nothing is compiled while a file is broken.
    fn parse(&mut self, texts: &Texts) -> Result<Read, Refused> {
        let own: Vec<_> = texts.policies.iter().map(|(n, t)| self.library.parse(n, t)).collect();
        let cluster: Vec<_> = texts.cluster.iter().map(|(n, t)| self.library.parse(n, t).0).collect();
        let said = |message: &String| Broken { object: None, place: String::new(), message: message.clone() };
        let mut broken: Vec<Broken> = texts.broken.iter().map(said).collect();
        let sources = self.library.sources();
        for parsed in own.iter().map(|(p, _)| p).chain(&cluster) {
            broken.extend(blocking(parsed).map(|d| Broken {
                object: d.object.clone(),
                place: d.span().map(|s| place(&sources, s)).unwrap_or_default(),
                message: format!("{} ({})", d.message, d.code),
            }));
        }
        if broken.is_empty() { Ok((own, cluster)) } else { Err(Refused::Input(broken)) }
    }

    fn update_cluster(
        &mut self,
        config: &Config,
        texts: &Texts,
        own: &[(Rc<Parsed>, bool)],
        cluster: &[Rc<Parsed>],
    ) {
        let pods: Vec<Arc<str>> =
            config.endpoints.iter().map(|e| Arc::from(pod_text(e, &config.node))).collect();
        let mut hash = Sha256::new();
        for text in texts.cluster.iter().map(|(_, t)| t).chain(&pods) {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(text.as_bytes());
        }
        // Objects beside the policies, of which only their files' changing is known.
        let beside = own.iter().any(|(p, changed)| *changed && p.objects.iter().any(|o| !is_policy(o)));
        let digest: [u8; 32] = hash.finalize().into();
        if self.cluster == Some(digest) && !beside {
            return;
        }
        let mut facts = Facts::default();
        let files = own.iter().map(|(p, _)| p).chain(cluster);
        files.flat_map(|p| p.objects.iter()).filter(|o| !is_policy(o)).for_each(|o| facts.add(o));
        for (e, text) in config.endpoints.iter().zip(&pods) {
            let (parsed, _) = self.library.parse(&format!("endpoint {}/{}.json", e.namespace, e.name), text);
            parsed.objects.iter().for_each(|o| facts.add(o));
        }
        self.compiler.set_cluster(Cluster::from_facts(&[&facts], self.compiler.options()));
        self.cluster = Some(digest);
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

/// The cluster's endpoint of each endpoint of the configuration.
fn find_endpoints(config: &Config, cluster: &Cluster) -> Vec<Option<u32>> {
    let by_name: BTreeMap<(&str, &str), u32> =
        cluster.endpoints().map(|(id, e)| ((e.namespace.as_str(), e.name.as_str()), id.0)).collect();
    let find = |namespace: &str, name: &str| by_name.get(&(namespace, name)).copied();
    config.endpoints.iter().map(|e| find(&e.namespace, &e.name)).collect()
}

fn pods(
    config: &Config,
    cluster: &Cluster,
    universe: &Universe,
    assigned: &Assigned,
    own: &[Option<u32>],
) -> BTreeMap<IpAddr, (u32, Option<usize>)> {
    let mut out = BTreeMap::new();
    for (id, e) in cluster.endpoints() {
        let group = universe.group_of.first().and_then(|g| g.get(id.0 as usize)).copied();
        let Some(number) = group.and_then(|g| assigned.of_node.get(g as usize).copied().flatten()) else {
            continue;
        };
        let at = own.iter().position(|o| *o == Some(id.0));
        for ip in &e.ips {
            out.insert(*ip, (number, at));
        }
    }
    // This node's own pods win over what a file says of their addresses.
    for (at, (e, id)) in config.endpoints.iter().zip(own).enumerate() {
        let group = id.and_then(|id| universe.group_of.first()?.get(id as usize).copied());
        let Some(number) = group.and_then(|g| assigned.of_node.get(g as usize).copied().flatten()) else {
            continue;
        };
        for ip in &e.addresses {
            out.insert(*ip, (number, Some(at)));
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
