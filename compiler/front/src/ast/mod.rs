//! Typed objects, each field with its place: what `read` makes of a tree, and what `ir` lowers.
//!
//! Shapes are the ones of the kinds' own schemas, so a field here has the meaning and the units of
//! the field of the same name there. A field that failed validation is left out or kept as read;
//! an object with such a field carries a [`Fate`] other than `Accepted` and is never lowered.
//! An absent and a `null` list are both `None`; an empty list is `Some` of an empty vector, which
//! means something else (SEM-3.9).

mod cilium;
mod cluster;
mod network;
mod objects;
mod service;

pub use cilium::*;
pub use cluster::*;
pub use network::*;
pub use objects::*;
pub use service::*;

use portcullis_diag::{Fate, ObjectRef, Span};
use smol_str::SmolStr;

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
    /// `metadata.annotations` whose key starts with `service.cilium.io/`, `policy.cilium.io/`, `policy.portcullis.dev/` or
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
