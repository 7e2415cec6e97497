//! The policies: how many of which kind, and for whom.

mod app;
mod clusterwide;
mod ingress;
mod namespace;
mod peers;

use std::collections::BTreeMap;

use self::ingress::AppIngress;
use self::namespace::DefaultDeny;
use crate::cluster::{Cluster, object};
use crate::doc::Doc;
use crate::prefixes::{Prefix, prefixes};
use crate::rng::Rng;

const CNP: (&str, &str) = ("cilium.io/v2", "CiliumNetworkPolicy");
const CCNP: (&str, &str) = ("cilium.io/v2", "CiliumClusterwideNetworkPolicy");
const KNP: (&str, &str) = ("networking.k8s.io/v1", "NetworkPolicy");
const KCNP: (&str, &str) = ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy");

/// A file's name and text.
pub(crate) type File = (String, String);

/// Makes policies one after the other.
struct Maker<'a> {
    cluster: &'a Cluster,
    rng: Rng,
    prefixes: Vec<Prefix>,
    /// How often a name was used, to number the later ones.
    names: BTreeMap<String, usize>,
    files: Vec<File>,
}

/// All policy files in the order of their names, and one of them changed.
pub(crate) fn policies(cluster: &Cluster) -> (Vec<File>, File) {
    let shape = &cluster.shape;
    let pool = prefixes(shape.external_prefixes, &mut Rng::new(shape.seed, 3));
    let mut maker = Maker {
        cluster,
        rng: Rng::new(shape.seed, 4),
        prefixes: pool,
        names: BTreeMap::new(),
        files: Vec::with_capacity(shape.policies),
    };
    let mut order: Vec<usize> = (0..cluster.apps.len()).collect();
    maker.rng.shuffle(&mut order);
    let mut subjects = order.iter().copied().cycle();

    let change = maker.changeable(subjects.next().unwrap_or(0));
    maker.for_the_platform(shape.policies);
    maker.for_namespaces(shape.policies);
    for subject in subjects {
        if maker.files.len() >= shape.policies {
            break;
        }
        maker.for_an_app(subject);
    }
    let mut files = maker.files;
    files.sort();
    (files, change)
}

impl Maker<'_> {
    /// The policy that [`crate::change_one`] changes; returns its changed file.
    fn changeable(&mut self, subject: usize) -> File {
        let policy = AppIngress::choose(self.cluster, subject, true, &mut self.rng);
        let (namespace, app) = self.place(subject);
        let name = self.name(&format!("{namespace}.{app}-ingress"));
        self.push(CNP, &name, policy.spec(self.cluster));
        file(CNP, &name, policy.narrowed().spec(self.cluster))
    }

    /// A few policies over the whole cluster; none in the smallest sets.
    fn for_the_platform(&mut self, policies: usize) {
        for number in 0..(policies / 150).clamp(usize::from(policies >= 20), 14) {
            let (name, spec) = self.cilium_clusterwide(number);
            let name = self.name(name);
            self.push(CCNP, &name, spec);
        }
        for number in 0..(policies / 250).clamp(usize::from(policies >= 20), 8) {
            let (name, spec) = self.cluster_network_policy(number);
            let name = self.name(name);
            self.push(KCNP, &name, spec);
        }
    }

    /// Default deny and name look-ups for the teams' namespaces, while they are at most a fifth of all.
    fn for_namespaces(&mut self, policies: usize) {
        for namespace in self.cluster.namespaces.iter().skip(1).take(policies / 10) {
            let name = self.name(&format!("{}.default-deny", namespace.name));
            match self.default_deny() {
                DefaultDeny::Cilium(spec) => self.push(CNP, &name, spec),
                DefaultDeny::Kubernetes(spec) => self.push(KNP, &name, spec),
            }
            let name = self.name(&format!("{}.allow-dns", namespace.name));
            self.push(CNP, &name, namespace::allow_dns());
        }
    }

    /// One policy for an app, of a kind as often as one meets it.
    fn for_an_app(&mut self, subject: usize) {
        let Some(app) = self.cluster.apps.get(subject) else { return };
        let (purpose, kind, spec) = match self.rng.below(100) {
            0..55 => {
                let policy = AppIngress::choose(self.cluster, subject, false, &mut self.rng);
                ("ingress", CNP, policy.spec(self.cluster))
            }
            55..65 => ("egress", CNP, self.egress_to_peers(subject, app)),
            65..74 => ("outside", CNP, self.egress_to_cidrs(app)),
            74..80 => ("names", CNP, self.egress_to_names(app)),
            80..87 => ("entities", CNP, self.entities(app)),
            87..95 => ("netpol", KNP, self.network_policy(subject, app)),
            _ => ("deny", CNP, self.deny(subject, app)),
        };
        let (namespace, app) = self.place(subject);
        let name = self.name(&format!("{namespace}.{app}-{purpose}"));
        self.push(kind, &name, spec);
    }

    /// The namespace and the name of an app.
    fn place(&self, app: usize) -> (String, String) {
        self.cluster.apps.get(app).map_or_else(Default::default, |app| {
            (self.cluster.namespace_of(app).to_owned(), app.name.clone())
        })
    }

    /// The name itself the first time, then numbered.
    fn name(&mut self, name: &str) -> String {
        let used = self.names.entry(name.to_owned()).or_default();
        *used += 1;
        if *used == 1 { name.to_owned() } else { format!("{name}-{used}") }
    }

    fn push(&mut self, kind: (&'static str, &'static str), name: &str, spec: Doc) {
        self.files.push(file(kind, name, spec));
    }
}

/// The file of an object. `name` is `namespace.name`, or the name alone for a kind without namespaces.
fn file((api_version, kind): (&'static str, &'static str), name: &str, spec: Doc) -> File {
    let (namespace, own) = match name.split_once('.') {
        Some((namespace, own)) => (Some(namespace), own),
        None => (None, name),
    };
    let mut yaml = String::new();
    object(api_version, kind, own, namespace, None).with("spec", spec).write_yaml(&mut yaml);
    let folder = namespace.unwrap_or("cluster");
    (format!("{folder}.{own}.yaml"), yaml)
}
