//! The cluster: its model, from which policies choose their subjects and peers, and its objects.

use crate::doc::{Doc, list, map};
use crate::rng::Rng;
use crate::shape::Shape;
use crate::words::{Role, STAGES, STEMS, TEAMS};

/// A namespace and its labels.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    /// The `team` label.
    pub(crate) team: &'static str,
    /// The `env` label.
    pub(crate) stage: &'static str,
}

/// A workload: pods with equal labels.
#[derive(Debug)]
pub(crate) struct App {
    /// Index of its namespace.
    pub(crate) namespace: usize,
    /// The `app` label.
    pub(crate) name: String,
    /// What it listens on, and its tier.
    pub(crate) role: Role,
    version: String,
    template_hash: String,
}

/// Everything that policies can talk about.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The size, raised to its least values.
    pub(crate) shape: Shape,
    /// All namespaces; the first is `kube-system`, the second, if there is one, `monitoring`.
    pub(crate) namespaces: Vec<Namespace>,
    /// All apps, those of one namespace together and in its order.
    pub(crate) apps: Vec<App>,
}

/// Pods on one node, as kubelet's default limit of 110 allows.
const PODS_PER_NODE: usize = 100;

impl Cluster {
    /// Chooses names, roles and versions.
    pub(crate) fn new(shape: &Shape) -> Self {
        let shape = shape.raised();
        let mut rng = Rng::new(shape.seed, 1);
        let namespaces: Vec<_> = (0..shape.namespaces).map(namespace).collect();
        let apps = (0..shape.namespaces)
            .flat_map(|namespace| (0..shape.apps_per_namespace).map(move |app| (namespace, app)))
            .map(|(namespace, app)| {
                let (name, role) = app_name(namespace, app);
                let version = format!("v{}.{}.{}", rng.between(1, 4), rng.below(20), rng.below(10));
                App { namespace, name, role, version, template_hash: rng.suffix(10) }
            })
            .collect();
        Self { shape, namespaces, apps }
    }

    /// The apps of a namespace.
    pub(crate) fn apps_of(&self, namespace: usize) -> &[App] {
        let each = self.shape.apps_per_namespace;
        self.apps.get(namespace * each..(namespace + 1) * each).unwrap_or_default()
    }

    /// The name of an app's namespace.
    pub(crate) fn namespace_of(&self, app: &App) -> &str {
        self.namespaces.get(app.namespace).map_or("default", |namespace| &namespace.name)
    }

    /// Calls `each` with every object: namespaces, nodes, services, pods. One at a time, since all pods of a
    /// big cluster as trees take far more memory than their text.
    pub(crate) fn objects(&self, mut each: impl FnMut(&Doc)) {
        let mut rng = Rng::new(self.shape.seed, 2);
        for namespace in &self.namespaces {
            each(&namespace.object());
        }
        let pods = self.shape.pod_count();
        for node in 0..pods.div_ceil(PODS_PER_NODE) {
            each(&node_object(node));
        }
        for (index, app) in self.apps.iter().enumerate() {
            each(&self.service(index, app));
        }
        // Replicas of one app lie far apart, as a scheduler spreads them: walk the slots with a stride that
        // has no divisor in common with their number.
        let stride = coprime_stride(pods);
        let mut slot = 0;
        for app in &self.apps {
            let owner = rng.uid();
            for replica in 0..self.shape.replicas {
                each(&self.pod(app, &owner, replica, slot, &mut rng));
                slot = (slot + stride) % pods;
            }
        }
    }

    fn service(&self, index: usize, app: &App) -> Doc {
        let ports = app.role.ports().iter().map(|port| {
            map([
                ("name", port.name.into()),
                ("port", port.number.into()),
                ("protocol", port.protocol.into()),
                ("targetPort", port.name.into()),
            ])
        });
        object("v1", "Service", &app.name, Some(self.namespace_of(app)), None).with(
            "spec",
            map([
                ("clusterIP", address([10, 192], index + 10).into()),
                ("selector", Doc::Map(vec![(app.label_key().into(), (&app.name).into())])),
                ("ports", list(ports)),
            ]),
        )
    }

    fn pod(&self, app: &App, owner: &str, replica: usize, slot: usize, rng: &mut Rng) -> Doc {
        let stateful = matches!(app.role, Role::Cache | Role::Database);
        let (owner_kind, owner_name, name) = if stateful {
            ("StatefulSet", app.name.clone(), format!("{}-{replica}", app.name))
        } else {
            let set = format!("{}-{}", app.name, app.template_hash);
            let name = format!("{set}-{}", rng.suffix(5));
            ("ReplicaSet", set, name)
        };
        let (node, place) = (slot / PODS_PER_NODE, slot % PODS_PER_NODE);
        let ip = format!("10.{}.{}.{}", node / 256, node % 256, place + 10);
        let ports = app.role.ports().iter().map(|port| {
            map([
                ("name", port.name.into()),
                ("containerPort", port.number.into()),
                ("protocol", port.protocol.into()),
            ])
        });
        let owner_reference = map([
            ("apiVersion", "apps/v1".into()),
            ("kind", owner_kind.into()),
            ("name", owner_name.into()),
            ("uid", owner.to_owned().into()),
            ("controller", true.into()),
            ("blockOwnerDeletion", true.into()),
        ]);
        let mut metadata = vec![
            ("name".into(), name.into()),
            ("namespace".into(), self.namespace_of(app).to_owned().into()),
            ("labels".into(), self.labels(app, stateful)),
        ];
        metadata.push(("ownerReferences".into(), list([owner_reference])));
        map([
            ("apiVersion", "v1".into()),
            ("kind", "Pod".into()),
            ("metadata", Doc::Map(metadata)),
            (
                "spec",
                map([
                    ("nodeName", node_name(node).into()),
                    ("serviceAccountName", app.service_account().into()),
                    (
                        "containers",
                        list([map([
                            ("name", (&app.name).into()),
                            (
                                "image",
                                format!(
                                    "registry.example.com/{}/{}:{}",
                                    self.team(app),
                                    app.name,
                                    app.version
                                )
                                .into(),
                            ),
                            ("ports", list(ports)),
                        ])]),
                    ),
                ]),
            ),
            (
                "status",
                map([
                    ("phase", "Running".into()),
                    ("hostIP", address([172, 20], node + 10).into()),
                    ("podIP", (&ip).into()),
                    (
                        "podIPs",
                        list([
                            map([("ip", ip.into())]),
                            map([("ip", format!("fd00:10:{node:x}::{:x}", place + 10).into())]),
                        ]),
                    ),
                ]),
            ),
        ])
    }

    fn team(&self, app: &App) -> &'static str {
        self.namespaces.get(app.namespace).map_or("platform", |namespace| namespace.team)
    }

    /// The pod labels, equal for all replicas: what differs from pod to pod in a StatefulSet is left out, as
    /// Cilium's default label filter leaves it out of identities.
    fn labels(&self, app: &App, stateful: bool) -> Doc {
        let mut labels = vec![
            (app.label_key().into(), (&app.name).into()),
            ("tier".into(), app.role.tier().into()),
            ("team".into(), self.team(app).into()),
            ("version".into(), (&app.version).into()),
        ];
        if !stateful {
            labels.push(("pod-template-hash".into(), (&app.template_hash).into()));
        }
        Doc::Map(labels)
    }
}

impl App {
    /// The key of the label that names it: `app`, or `k8s-app` for what comes with Kubernetes.
    pub(crate) fn label_key(&self) -> &'static str {
        if self.role == Role::Dns { "k8s-app" } else { "app" }
    }

    fn service_account(&self) -> String {
        // Workers and databases run without an account of their own, as most pods do.
        match self.role {
            Role::Worker | Role::Cache | Role::Database => "default".to_owned(),
            _ => self.name.clone(),
        }
    }
}

impl Namespace {
    fn object(&self) -> Doc {
        let mut labels = vec![
            ("kubernetes.io/metadata.name".into(), (&self.name).into()),
            ("team".into(), self.team.into()),
            ("env".into(), self.stage.into()),
        ];
        if matches!(self.team, "payments" | "billing" | "fraud") {
            labels.push(("pci".into(), Doc::Quoted("true".to_owned())));
        }
        object("v1", "Namespace", &self.name, None, Some(Doc::Map(labels)))
    }
}

fn namespace(index: usize) -> Namespace {
    match index {
        0 => Namespace { name: "kube-system".to_owned(), team: "platform", stage: "prod" },
        1 => Namespace { name: "monitoring".to_owned(), team: "platform", stage: "prod" },
        _ => {
            let index = index - 2;
            let team = TEAMS.get(index / STAGES.len() % TEAMS.len()).copied().unwrap_or_default();
            let stage = STAGES.get(index % STAGES.len()).copied().unwrap_or_default();
            let round = index / (TEAMS.len() * STAGES.len());
            let name = numbered(format!("{team}-{stage}"), round);
            Namespace { name, team, stage }
        }
    }
}

fn app_name(namespace: usize, index: usize) -> (String, Role) {
    match (namespace, index) {
        (0, 0) => ("kube-dns".to_owned(), Role::Dns),
        (1, 0) => ("prometheus".to_owned(), Role::Prometheus),
        _ => {
            let role = Role::OF_TEAMS.get(index % Role::OF_TEAMS.len()).copied().unwrap_or(Role::Api);
            // The namespace turns the list of stems, so that neighbours do not all begin with the same app.
            let stem_index = index / Role::OF_TEAMS.len();
            let stem = STEMS.get((namespace * 3 + stem_index) % STEMS.len()).copied().unwrap_or_default();
            (numbered(format!("{stem}-{}", role.word()), stem_index / STEMS.len()), role)
        }
    }
}

fn numbered(name: String, round: usize) -> String {
    if round == 0 { name } else { format!("{name}-{}", round + 1) }
}

fn node_name(index: usize) -> String {
    format!("node-{index:04}")
}

fn node_object(index: usize) -> Doc {
    let name = node_name(index);
    let zone =
        ["eu-central-1a", "eu-central-1b", "eu-central-1c"].get(index % 3).copied().unwrap_or_default();
    let labels = map([
        ("kubernetes.io/hostname", (&name).into()),
        ("kubernetes.io/os", "linux".into()),
        ("topology.kubernetes.io/zone", zone.into()),
    ]);
    object("v1", "Node", &name, None, Some(labels))
        .with("spec", map([("podCIDR", format!("10.{}.{}.0/24", index / 256, index % 256).into())]))
        .with(
            "status",
            map([(
                "addresses",
                list([
                    map([("type", "InternalIP".into()), ("address", address([172, 20], index + 10).into())]),
                    map([("type", "Hostname".into()), ("address", name.into())]),
                ]),
            )]),
        )
}

/// The `number`th address after `a.b.0.0`, running on into the second byte.
fn address([a, b]: [usize; 2], number: usize) -> String {
    format!("{a}.{}.{}.{}", b + number / 65_536, number / 256 % 256, number % 256)
}

/// The head of an object.
pub(crate) fn object(
    api_version: &'static str,
    kind: &'static str,
    name: &str,
    namespace: Option<&str>,
    labels: Option<Doc>,
) -> Doc {
    let mut metadata = map([("name", name.to_owned().into())]);
    if let Some(namespace) = namespace {
        metadata = metadata.with("namespace", namespace.to_owned());
    }
    if let Some(labels) = labels {
        metadata = metadata.with("labels", labels);
    }
    map([("apiVersion", api_version.into()), ("kind", kind.into()), ("metadata", metadata)])
}

fn coprime_stride(count: usize) -> usize {
    fn gcd(a: usize, b: usize) -> usize {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    // Among so many numbers in a row is one that leaves 1 when divided by `count`.
    (PODS_PER_NODE + 1..=PODS_PER_NODE + 1 + count).find(|stride| gcd(*stride, count) == 1).unwrap_or(1)
}
