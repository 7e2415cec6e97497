//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use super::{Spanned, Text};
use ipnet::IpNet;
use portcullis_diag::Span;
use smol_str::SmolStr;

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
