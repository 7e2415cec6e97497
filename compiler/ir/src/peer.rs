//! Whom a rule is about (SEM-2.3, SEM-2.4, SEM-4).

use crate::fqdn::Fqdn;
use crate::label::{Label, LabelSet};
use ipnet::IpNet;
pub use portcullis_front::ast::Entity;

/// A reserved identity (SEM-4.1); the discriminant is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "each is the reserved identity of that name")]
pub enum Reserved {
    Host = 1,
    World = 2,
    Unmanaged = 3,
    Health = 4,
    Init = 5,
    RemoteNode = 6,
    KubeApiserver = 7,
    Ingress = 8,
    WorldIpv4 = 9,
    WorldIpv6 = 10,
}

impl Reserved {
    /// Every reserved identity in order of its number.
    pub const ALL: [Self; 10] = [
        Self::Host,
        Self::World,
        Self::Unmanaged,
        Self::Health,
        Self::Init,
        Self::RemoteNode,
        Self::KubeApiserver,
        Self::Ingress,
        Self::WorldIpv4,
        Self::WorldIpv6,
    ];

    /// The name without `reserved:`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::World => "world",
            Self::Unmanaged => "unmanaged",
            Self::Health => "health",
            Self::Init => "init",
            Self::RemoteNode => "remote-node",
            Self::KubeApiserver => "kube-apiserver",
            Self::Ingress => "ingress",
            Self::WorldIpv4 => "world-ipv4",
            Self::WorldIpv6 => "world-ipv6",
        }
    }

    /// The reserved identity of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// Its labels. kube-apiserver is a remote node too (SEM-4.2).
    pub fn labels(self) -> LabelSet {
        let own = Label::reserved(self.name());
        if self == Self::KubeApiserver {
            LabelSet::new([own, Label::reserved(Self::RemoteNode.name())])
        } else {
            LabelSet::new([own])
        }
    }

    /// Whether it stands for addresses outside the cluster.
    pub const fn is_world(self) -> bool {
        matches!(self, Self::World | Self::WorldIpv4 | Self::WorldIpv6)
    }
}

/// One thing that a rule's peer list names. A rule's peers are the union of its terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerTerm {
    /// Every label set the interned selector matches: pods, and reserved identities where a
    /// reserved label is asked for. The number is a selector's id in the same [`crate::PolicySet`].
    Labels(u32),
    /// An entity (SEM-4.2).
    Entity(Entity),
    /// Addresses outside the cluster inside `net` and in none of `except` (SEM-4.4, SEM-4.5).
    Cidr {
        /// The addresses, host bits zero.
        net: IpNet,
        /// Sorted; each inside `net` unless `net` comes from a group.
        except: Box<[IpNet]>,
    },
    /// Addresses that a selected name resolved to (SEM-4.6).
    Fqdn(Fqdn),
    /// Remote nodes by node label; matches nothing while node selectors are off (SEM-4.7).
    Nodes(u32),
}

/// Whom a rule is about: everyone, or a union of terms. An empty union is nobody (SEM-3.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// Every peer there is.
    All,
    /// Ids of [`PeerTerm`]s in the same [`crate::PolicySet`], sorted and distinct.
    Of(Box<[u32]>),
}

/// Whether an entity takes in a reserved identity (SEM-4.2).
pub fn entity_has_reserved(entity: Entity, id: Reserved) -> bool {
    match entity {
        Entity::All => true,
        Entity::World => id.is_world(),
        Entity::WorldIpv4 => id == Reserved::WorldIpv4,
        Entity::WorldIpv6 => id == Reserved::WorldIpv6,
        Entity::Cluster | Entity::ClusterMesh => !id.is_world(),
        Entity::Host => id == Reserved::Host,
        Entity::Init => id == Reserved::Init,
        Entity::Ingress => id == Reserved::Ingress,
        Entity::Unmanaged => id == Reserved::Unmanaged,
        Entity::RemoteNode => matches!(id, Reserved::RemoteNode | Reserved::KubeApiserver),
        Entity::Health => id == Reserved::Health,
        Entity::None => false,
        Entity::KubeApiserver => id == Reserved::KubeApiserver,
    }
}

/// Whether an entity takes in the pods of this cluster.
pub const fn entity_has_pods(entity: Entity) -> bool {
    matches!(entity, Entity::All | Entity::Cluster | Entity::ClusterMesh)
}

/// Whether an entity takes in addresses of that family outside the cluster.
pub const fn entity_has_external(entity: Entity, v6: bool) -> bool {
    match entity {
        Entity::All | Entity::World => true,
        Entity::WorldIpv4 => !v6,
        Entity::WorldIpv6 => v6,
        _ => false,
    }
}

/// How an entity is written in a policy.
pub const fn entity_name(entity: Entity) -> &'static str {
    match entity {
        Entity::All => "all",
        Entity::World => "world",
        Entity::WorldIpv4 => "world-ipv4",
        Entity::WorldIpv6 => "world-ipv6",
        Entity::Cluster => "cluster",
        Entity::ClusterMesh => "cluster-mesh",
        Entity::Host => "host",
        Entity::Init => "init",
        Entity::Ingress => "ingress",
        Entity::Unmanaged => "unmanaged",
        Entity::RemoteNode => "remote-node",
        Entity::Health => "health",
        Entity::None => "none",
        Entity::KubeApiserver => "kube-apiserver",
    }
}
