//! Typed objects, each field with its place: what `read` makes of a tree, and what `ir` lowers.
//!
//! Shapes are the ones of the kinds' own schemas, so a field here has the meaning and the units of
//! the field of the same name there. A field that failed validation is left out or kept as read;
//! an object with such a field carries a [`Fate`] other than `Accepted` and is never lowered.
//! An absent and a `null` list are both `None`; an empty list is `Some` of an empty vector, which
//! means something else (SEM-3.9).

use ipnet::IpNet;
use portcullis_diag::{Fate, ObjectRef, Span};
use smol_str::SmolStr;
use std::net::IpAddr;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A string with its place.
pub type Text = Spanned<SmolStr>;

/// One Kubernetes object that was recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// `apiVersion` as written.
    pub api_version: SmolStr,
    /// `kind` as written.
    pub kind: SmolStr,
    /// Its metadata.
    pub meta: Meta,
    /// The whole object.
    pub span: Span,
    /// The worst fate among its diagnostics: only an `Accepted` object takes part in verdicts.
    pub fate: Fate,
    /// What it is.
    pub body: Body,
}

impl Object {
    /// How diagnostics and reports name it.
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            kind: self.kind.to_string(),
            namespace: self.meta.namespace.as_ref().map(|n| n.value.to_string()),
            name: self.meta.name.value.to_string(),
        }
    }
}

/// The part of `metadata` that bears on policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// `metadata.name`; empty (with the metadata's span) where absent.
    pub name: Text,
    /// `metadata.namespace`. A namespaced object without one gets `default` (with the name's
    /// span), as kubectl would send it; a cluster-scoped object has `None`.
    pub namespace: Option<Text>,
    /// `metadata.labels`, in order of the text.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// `metadata.annotations` whose key starts with `service.cilium.io/`, `policy.cilium.io/` or
    /// `kustomize.`; the rest are not kept.
    pub annotations: Vec<(SmolStr, SmolStr)>,
}

impl Default for Text {
    fn default() -> Self {
        Self { value: SmolStr::default(), span: Span::default() }
    }
}

/// What an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy (SEM-1.1).
    Cilium(CiliumPolicy),
    /// Kubernetes NetworkPolicy (SEM-1.2).
    Network(NetworkPolicy),
    /// ClusterNetworkPolicy, or one of its older forms (SEM-1.3).
    Cluster(ClusterPolicy),
    /// CiliumCIDRGroup (SEM-1.4).
    CidrGroup(CidrGroup),
    /// Namespace.
    Namespace,
    /// Pod.
    Pod(Box<Pod>),
    /// Node.
    Node(Box<Node>),
    /// A kind whose pod template stands for pods.
    Workload(Box<Workload>),
    /// Service.
    Service(Box<Service>),
    /// EndpointSlice or Endpoints.
    Endpoints(Box<Endpoints>),
    /// ServiceAccount.
    ServiceAccount,
    /// CiliumIdentity: labels as `source:key=value`, the numeric identity is `metadata.name`.
    CiliumIdentity(Vec<SmolStr>),
    /// CiliumEndpoint.
    CiliumEndpoint(Box<CiliumEndpoint>),
}

// ---- CiliumNetworkPolicy ------------------------------------------------------------------

/// `spec` and `specs` of a CNP or CCNP, `spec` first.
#[derive(Clone, Debug, PartialEq)]
pub struct CiliumPolicy {
    /// CiliumClusterwideNetworkPolicy.
    pub clusterwide: bool,
    /// The rules.
    pub rules: Vec<CiliumRule>,
}

/// One rule of a CNP (SEM-2).
#[derive(Clone, Debug, PartialEq)]
pub struct CiliumRule {
    /// The whole rule.
    pub span: Span,
    /// `endpointSelector` or `nodeSelector`.
    pub subject: Subject,
    /// `ingress`; the place of a section is its key.
    pub ingress: Option<Spanned<Vec<Entry>>>,
    /// `ingressDeny`.
    pub ingress_deny: Option<Spanned<Vec<Entry>>>,
    /// `egress`.
    pub egress: Option<Spanned<Vec<Entry>>>,
    /// `egressDeny`.
    pub egress_deny: Option<Spanned<Vec<Entry>>>,
    /// `enableDefaultDeny.ingress`.
    pub default_deny_ingress: Option<Spanned<bool>>,
    /// `enableDefaultDeny.egress`.
    pub default_deny_egress: Option<Spanned<bool>>,
    /// `description`.
    pub description: Option<Text>,
    /// `log.value`.
    pub log: Option<Text>,
}

/// Whom a rule selects.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// `endpointSelector`.
    Endpoints(LabelSelector),
    /// `nodeSelector`: the host (SEM-2.1).
    Nodes(LabelSelector),
}

/// A Kubernetes label selector. Keys may carry a source (`k8s:app`) in Cilium's kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSelector {
    /// The whole selector.
    pub span: Span,
    /// `matchLabels`.
    pub match_labels: Vec<(Text, Text)>,
    /// `matchExpressions`.
    pub match_expressions: Vec<Expression>,
}

/// One `matchExpressions` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// The whole entry.
    pub span: Span,
    /// `key`.
    pub key: Text,
    /// `operator`.
    pub operator: Operator,
    /// `values`, empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Text>,
}

/// A selector operator (SEM-3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label exists and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One entry of `ingress`, `ingressDeny`, `egress` or `egressDeny`. The peer fields are those of
/// the direction the entry stands in; `from…` and `to…` share one field here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The whole entry.
    pub span: Span,
    /// `fromEndpoints` / `toEndpoints`.
    pub endpoints: Option<Spanned<Vec<LabelSelector>>>,
    /// `fromCIDR` / `toCIDR`, host bits masked off (SEM-2.9).
    pub cidr: Option<Spanned<Vec<Spanned<IpNet>>>>,
    /// `fromCIDRSet` / `toCIDRSet`.
    pub cidr_set: Option<Spanned<Vec<CidrRule>>>,
    /// `fromEntities` / `toEntities`.
    pub entities: Option<Spanned<Vec<Spanned<Entity>>>>,
    /// `toServices`.
    pub services: Option<Spanned<Vec<ServiceRef>>>,
    /// `fromGroups` / `toGroups`: only where it stands.
    pub groups: Option<Span>,
    /// `fromNodes` / `toNodes`.
    pub nodes: Option<Spanned<Vec<LabelSelector>>>,
    /// `toFQDNs`.
    pub fqdns: Option<Spanned<Vec<FqdnSelector>>>,
    /// `toPorts`.
    pub to_ports: Option<Spanned<Vec<PortRule>>>,
    /// `icmps`: the fields of all entries. `icmps: []` is as if absent, `None`; entries without
    /// fields (or with types that do not exist only) give an empty list, which allows nothing.
    pub icmps: Option<Spanned<Vec<IcmpField>>>,
    /// `authentication.mode`.
    pub authentication: Option<Spanned<AuthMode>>,
    /// Peer fields (and `authentication`) of another section, such as `egressDeny.toFQDNs`: the API
    /// server drops them, and what is left means something else (SEM-8.3).
    pub dropped: Vec<Text>,
}

/// One `…CIDRSet` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct CidrRule {
    /// The whole entry.
    pub span: Span,
    /// Where the addresses come from.
    pub source: CidrSource,
    /// `except`, host bits masked off.
    pub except: Vec<Spanned<IpNet>>,
}

/// Where a CIDR rule's addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CidrSource {
    /// `cidr`.
    Cidr(Spanned<IpNet>),
    /// `cidrGroupRef`.
    GroupRef(Text),
    /// `cidrGroupSelector`.
    GroupSelector(LabelSelector),
}

/// An entity (SEM-4.1, SEM-4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the entity of that name")]
pub enum Entity {
    All,
    World,
    WorldIpv4,
    WorldIpv6,
    Cluster,
    ClusterMesh,
    Host,
    Init,
    Ingress,
    Unmanaged,
    RemoteNode,
    Health,
    None,
    KubeApiserver,
}

/// One `toServices` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRef {
    /// The whole entry.
    pub span: Span,
    /// `k8sService.serviceName`.
    pub name: Option<Text>,
    /// `k8sService.namespace` or `k8sServiceSelector.namespace`.
    pub namespace: Option<Text>,
    /// `k8sServiceSelector.selector`.
    pub selector: Option<LabelSelector>,
}

/// One `toFQDNs` or `rules.dns` entry, lower-cased (SEM-2.10).
#[derive(Clone, Debug, PartialEq)]
pub struct FqdnSelector {
    /// The whole entry.
    pub span: Span,
    /// `matchName`, without a trailing dot.
    pub match_name: Option<Text>,
    /// `matchPattern`.
    pub match_pattern: Option<Text>,
}

/// One `toPorts` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRule {
    /// The whole entry.
    pub span: Span,
    /// `ports`; `None` and empty both allow nothing where the entry has no ports (SEM-3.9).
    pub ports: Vec<PortSpec>,
    /// `rules.http`.
    pub http: Option<Spanned<Vec<HttpRule>>>,
    /// `rules.dns`.
    pub dns: Option<Spanned<Vec<FqdnSelector>>>,
    /// `rules` fields that upstream removed and that vanish silently (SEM-8.4): kafka, l7, l7proto;
    /// in a deny rule `rules` itself, which deny rules do not have.
    pub dropped_rules: Vec<Text>,
    /// `listener`: its name.
    pub listener: Option<Text>,
    /// `serverNames`.
    pub server_names: Vec<Text>,
    /// `terminatingTLS` or `originatingTLS` is given.
    pub tls: Option<Span>,
}

/// One port, range, or named port (SEM-2.6, SEM-2.7).
#[derive(Clone, Debug, PartialEq)]
pub struct PortSpec {
    /// The whole entry.
    pub span: Span,
    /// The port; number 0 is every port, unless `end` makes a range from 0 of it.
    pub port: PortValue,
    /// `endPort` where it widens the port: `end > port`, numeric ports only.
    pub end: Option<u16>,
    /// The protocol; `ANY` where absent in Cilium's kinds, `TCP` in Kubernetes'.
    pub protocol: Protocol,
}

/// A port as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortValue {
    /// A number.
    Number(u16),
    /// An IANA service name, lower-cased.
    Name(SmolStr),
}

/// A protocol of a port entry. `Other` holds an IP protocol number of the extended list
/// (VRRP 112, IGMP 2, GRE 47, IPIP 4, IPv6 41, ESP 50, AH 51).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the protocol of that name")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// TCP, UDP and SCTP.
    Any,
    Other(u8),
}

/// One ICMP type (SEM-2.8).
#[derive(Clone, Debug, PartialEq)]
pub struct IcmpField {
    /// The whole entry.
    pub span: Span,
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// The type; 0 in the IPv4 family is every type of that family.
    pub icmp_type: Spanned<u8>,
}

/// `authentication.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the mode of that name")]
pub enum AuthMode {
    Disabled,
    Required,
    TestAlwaysFail,
}

/// One HTTP rule (SEM-2.11). An absent field matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRule {
    /// The whole entry.
    pub span: Span,
    /// `method`, a regular expression over the whole value.
    pub method: Option<Text>,
    /// `path`, likewise.
    pub path: Option<Text>,
    /// `host`, likewise.
    pub host: Option<Text>,
    /// `headers`: "Name value" or "Name".
    pub headers: Vec<Text>,
    /// `headerMatches`: name, value, and whether a mismatch denies (no `mismatch` action).
    pub header_matches: Vec<HeaderMatch>,
}

/// One `headerMatches` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: Text,
    /// The value, if given here and not in a secret.
    pub value: Option<Text>,
    /// `mismatch`: LOG, ADD, DELETE or REPLACE; `None` denies on mismatch.
    pub mismatch: Option<Text>,
}

// ---- NetworkPolicy ------------------------------------------------------------------------

/// A Kubernetes NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPolicy {
    /// `spec`.
    pub span: Span,
    /// `podSelector`.
    pub pod_selector: LabelSelector,
    /// `ingress`; the place of a section is its key.
    pub ingress: Option<Spanned<Vec<NetworkRule>>>,
    /// `egress`.
    pub egress: Option<Spanned<Vec<NetworkRule>>>,
    /// `policyTypes`: (ingress named, egress named), `None` if absent.
    pub policy_types: Option<Spanned<(bool, bool)>>,
}

/// One `ingress` or `egress` entry of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRule {
    /// The whole entry.
    pub span: Span,
    /// `from` / `to`; absent and empty both mean every peer.
    pub peers: Vec<NetworkPeer>,
    /// `ports`; absent and empty both mean every port.
    pub ports: Vec<NetworkPort>,
}

/// One peer of a NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPeer {
    /// The whole entry.
    pub span: Span,
    /// `podSelector`.
    pub pod_selector: Option<LabelSelector>,
    /// `namespaceSelector`.
    pub namespace_selector: Option<LabelSelector>,
    /// `ipBlock`.
    pub ip_block: Option<CidrRule>,
}

/// One port of a NetworkPolicy. `port` absent is every port of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkPort {
    /// The whole entry.
    pub span: Span,
    /// `port`.
    pub port: Option<PortValue>,
    /// `endPort` where it widens the port.
    pub end: Option<u16>,
    /// `protocol`, TCP if absent.
    pub protocol: Protocol,
}

// ---- ClusterNetworkPolicy -----------------------------------------------------------------

/// A ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPolicy {
    /// `spec`.
    pub span: Span,
    /// `tier`.
    pub tier: Spanned<ClusterTier>,
    /// `priority`: lower decides first.
    pub priority: Spanned<i32>,
    /// `subject`.
    pub subject: ClusterSubject,
    /// `ingress`, in order: the index is part of the priority (SEM-6.2).
    pub ingress: Vec<ClusterRule>,
    /// `egress`, likewise.
    pub egress: Vec<ClusterRule>,
}

/// The tier of a ClusterNetworkPolicy (SEM-6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterTier {
    /// Decides before every other policy.
    Admin,
    /// Decides after every other policy.
    Baseline,
}

/// `subject` and pod peers of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterSubject {
    /// `namespaces`: a selector over namespace labels.
    Namespaces(LabelSelector),
    /// `pods`: both selectors.
    Pods {
        /// `namespaceSelector`.
        namespace_selector: LabelSelector,
        /// `podSelector`.
        pod_selector: LabelSelector,
    },
}

/// `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the action of that name")]
pub enum ClusterAction {
    Accept,
    Deny,
    Pass,
}

/// One rule of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRule {
    /// The whole rule.
    pub span: Span,
    /// `name`.
    pub name: Option<Text>,
    /// `action`.
    pub action: Spanned<ClusterAction>,
    /// `from` / `to`.
    pub peers: Vec<ClusterPeer>,
    /// `protocols` (or the older `ports`); `None` is every port and protocol.
    pub ports: Option<Spanned<Vec<PortSpec>>>,
}

/// One peer of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPeer {
    /// The whole entry.
    pub span: Span,
    /// What it names.
    pub what: ClusterPeerKind,
}

/// What a ClusterNetworkPolicy's peer names.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterPeerKind {
    /// `namespaces` or `pods`.
    Pods(ClusterSubject),
    /// `networks`.
    Networks(Vec<Spanned<IpNet>>),
    /// `nodes`.
    Nodes(LabelSelector),
    /// `domainNames`.
    DomainNames(Vec<Text>),
}

// ---- cluster objects ----------------------------------------------------------------------

/// A CiliumCIDRGroup; its labels are in [`Meta`].
#[derive(Clone, Debug, PartialEq)]
pub struct CidrGroup {
    /// `spec.externalCIDRs`, host bits masked off.
    pub cidrs: Vec<Spanned<IpNet>>,
}

/// What of a pod bears on policy. Labels are in [`Meta`] (or in [`Workload::labels`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// `spec.nodeName`.
    pub node: Option<SmolStr>,
    /// `spec.serviceAccountName`, `default` if absent.
    pub service_account: SmolStr,
    /// `spec.hostNetwork`: the pod is the host and no endpoint.
    pub host_network: bool,
    /// `status.podIPs` (or `podIP`).
    pub ips: Vec<IpAddr>,
    /// `status.phase` is `Succeeded` or `Failed`: it has no address any more.
    pub finished: bool,
    /// Named and unnamed container ports, init containers with `restartPolicy: Always` included.
    pub ports: Vec<ContainerPort>,
    /// Ports of liveness, readiness and startup probes that the kubelet opens (HTTP, TCP, gRPC).
    pub probes: Vec<Spanned<PortValue>>,
    /// The controlling owner: kind and name.
    pub owner: Option<(SmolStr, SmolStr)>,
}

/// One `containerPort`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// `name`.
    pub name: Option<SmolStr>,
    /// `containerPort`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
    /// `hostPort`.
    pub host_port: Option<u16>,
}

/// A workload kind: its template stands for pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// `spec.replicas`, 1 if absent (a DaemonSet, Job or CronJob counts as 1).
    pub replicas: u32,
    /// `spec.template.metadata.labels`.
    pub labels: Vec<(SmolStr, SmolStr)>,
    /// Where the template's labels (or the template) stand.
    pub template_span: Span,
    /// The pod the template describes.
    pub pod: Pod,
}

/// What of a node bears on policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// `status.addresses` of type InternalIP and ExternalIP, then CiliumInternalIP annotations.
    pub ips: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

/// What of a service bears on policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// `spec`.
    pub span: Span,
    /// `spec.type`, `ClusterIP` if absent.
    pub kind: SmolStr,
    /// `spec.selector`; `None` for a service without one.
    pub selector: Option<Vec<(SmolStr, SmolStr)>>,
    /// `spec.clusterIPs`, without `None`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.clusterIP: None`.
    pub headless: bool,
    /// `spec.externalIPs` and `status.loadBalancer.ingress[].ip`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

/// One `spec.ports` entry of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// `name`.
    pub name: Option<SmolStr>,
    /// `port`.
    pub port: u16,
    /// `targetPort`, the port itself if absent.
    pub target: PortValue,
    /// `protocol`.
    pub protocol: Protocol,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// An EndpointSlice or Endpoints object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// The service's name: label `kubernetes.io/service-name`, or the object's own name.
    pub service: SmolStr,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// A CiliumEndpoint; its name and namespace are the pod's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CiliumEndpoint {
    /// `status.identity.id`.
    pub identity: Option<u64>,
    /// `status.identity.labels`, as `source:key=value`.
    pub labels: Vec<SmolStr>,
    /// `status.networking.addressing`.
    pub ips: Vec<IpAddr>,
    /// `status.named-ports`.
    pub ports: Vec<ContainerPort>,
}
