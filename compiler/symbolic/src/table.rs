//! What somebody compiled, as this crate takes it: who stands behind each class, and what a class of
//! subjects answers a class of peers. Whoever knows the compiled form writes it down in these words.

use ipnet::IpNet;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{FlowPort, LabelSet, Reserved};

/// Who an identity of a table stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Pods with these labels and named ports.
    Pods(LabelSet, Vec<NamedPort>),
    /// A reserved identity.
    Reserved(Reserved),
    /// Addresses outside the cluster that no name resolved to: those of the prefix that are in no longer
    /// prefix of the table.
    Addresses(IpNet),
    /// IPv4 addresses in no prefix but the whole of IPv4, whose names meet these DNS selectors together
    /// and no other.
    Names(Vec<Fqdn>),
}

/// One identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub standing: Standing,
    /// Its class as a peer, below [`Table::peers`].
    pub peer: usize,
    /// Its classes as the subject of ingress and of egress, in this order: indices of [`Table::subjects`].
    /// `None` where the table was not asked to answer for it.
    pub subject: [Option<usize>; 2],
}

/// What an answer says beside its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of one answer")]
pub struct Says {
    /// Let it through.
    pub passes: bool,
    /// By way of a proxy.
    pub redirects: bool,
    /// After authentication.
    pub authenticates: bool,
    /// A rule that decides asks for a log value.
    pub logs: bool,
}

/// Neighbouring ports, ICMP types or protocols with one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub low: FlowPort,
    /// The last, of the same protocol.
    pub high: FlowPort,
    /// The answer; `None` where the table gives none.
    pub says: Option<Says>,
}

/// Every answer of a table. It may have more classes and rows than it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Who there is.
    pub identities: Vec<Identity>,
    /// How many classes of peers there are.
    pub peers: usize,
    /// By class of subjects and class of peers: an index of [`Self::rows`]; `None` where there is no answer.
    pub subjects: Vec<Vec<Option<usize>>>,
    /// By row: answers for everything a packet can carry.
    pub rows: Vec<Vec<Stretch>>,
}
