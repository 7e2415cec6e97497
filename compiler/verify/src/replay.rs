//! A flow that was found symbolically, asked of the image and of the oracle: nothing is believed before.

use crate::compare::meant;
use crate::table::says;
use crate::{VerifyError, same_cluster};
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{Direction, LabelSet, PeerRef, Reserved};
use portcullis_oracle::Oracle;
use portcullis_sema::ports::coordinate;
use portcullis_sema::universe::{Input, NodeId, NodeKind, Universe};
use portcullis_symbolic::symbols::Vocabulary;
use portcullis_symbolic::{Knowing, Pods, Role, Says, Who, Witness, WitnessEnd, replay as flow_of};
use portcullis_tables::{Image, ImageError, Word};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One side of a flow between ends that an image knows, as both see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The endpoints that the subject is like.
    pub subject: NodeId,
    /// The identity that the other end is like or is.
    pub peer: NodeId,
    /// The image's answer for them.
    pub image: Result<Word, ImageError>,
    /// The oracle's answer for the flow itself.
    pub meant: Says,
}

/// What a replay needs to know of the image and the policies.
#[derive(Clone, Copy, Debug)]
pub struct Replayer<'r> {
    /// The image.
    pub bytes: &'r [u8],
    /// Policies and cluster.
    pub input: Input<'r>,
    /// Numbers of the image's identities.
    pub universe: &'r Universe,
    /// What the policies can tell of a pod.
    pub knowing: &'r Knowing<'r>,
    /// The words of the query.
    pub words: &'r Vocabulary,
}

impl Replayer<'_> {
    /// The first two identities that the ends of a flow are like and for which the image answers otherwise
    /// than the oracle does for the flow; `None` if there are none, and the flow shows nothing.
    pub fn difference(
        &self,
        witness: &Witness,
        direction: Direction,
    ) -> Result<Option<Replayed>, VerifyError> {
        let image = Image::parse(self.bytes)?;
        same_cluster(&image, self.universe)?;
        let flow = flow_of(witness, Pods::Any(self.input.cluster));
        let (subject, peer) = match direction {
            Direction::Egress => (&witness.from, &witness.to),
            Direction::Ingress => (&witness.to, &witness.from),
        };
        let (id, peer_ref) = match (direction, &flow.flow.from, &flow.flow.to) {
            (Direction::Egress, PeerRef::Endpoint(id), to) => (*id, to),
            (Direction::Ingress, from, PeerRef::Endpoint(id)) => (*id, from),
            _ => return Ok(None),
        };
        let oracle =
            Oracle { policies: self.input.policies, cluster: &flow.cluster, options: self.input.options };
        let meant = meant(&oracle.decide(id, direction, peer_ref, witness.port), self.input.policies);
        let peers = self.like(Role::Peer, peer);
        for s in self.like(Role::Subject(direction), subject) {
            for p in &peers {
                let answer = image.lookup(s.0, direction, p.0, coordinate(witness.port));
                if answer.clone().ok().and_then(says) != Some(meant) {
                    return Ok(Some(Replayed { subject: s, peer: *p, image: answer, meant }));
                }
            }
        }
        Ok(None)
    }

    /// Whether a pod is like an endpoint of the cluster in a role.
    pub fn is_known(&self, role: Role, end: &WitnessEnd) -> bool {
        !self.like(role, end).is_empty()
    }

    /// The identities that an end is like, found by asking about each.
    fn like(&self, role: Role, end: &WitnessEnd) -> Vec<NodeId> {
        let all = self.universe.iter();
        match &end.who {
            Who::Pod(labels, ports) => {
                all.filter(|(_, n)| self.is_like(role, n, labels, ports)).map(id).collect()
            }
            Who::Known(_) => Vec::new(), // only of questions about a cluster's own pods
            Who::Reserved(r) => all.filter(|(_, n)| **n == NodeKind::Reserved(*r)).map(id).collect(),
            Who::External(ip, names) if names.is_empty() => self.at(*ip),
            Who::External(ip, names) => {
                let terms = self.input.policies.peers.iter();
                let met: BTreeSet<&Fqdn> = terms
                    .filter_map(|t| match t {
                        portcullis_ir::PeerTerm::Fqdn(f) => Some(f),
                        _ => None,
                    })
                    .filter(|f| names.iter().any(|n| f.matches(n)))
                    .collect();
                let same = |n: &NodeKind| match n {
                    NodeKind::Name(c) => c.selectors.iter().collect::<BTreeSet<_>>() == met,
                    _ => false,
                };
                if self.longest(*ip) == Some(0) && ip.is_ipv4() {
                    all.filter(|(_, n)| same(n)).map(id).collect()
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn is_like(&self, role: Role, node: &NodeKind, labels: &LabelSet, ports: &[NamedPort]) -> bool {
        let NodeKind::Group(g) = node else { return false };
        let Some((identity, table)) = g.on.first().copied().flatten() else { return false };
        let cluster = self.input.cluster;
        let of =
            |labels: &LabelSet, ports: &[NamedPort]| self.knowing.likeness(self.words, role, labels, ports);
        let known = cluster
            .labels(identity)
            .and_then(|l| of(l, cluster.port_tables.get(table.0).map_or(&[], Vec::as_slice)));
        known.is_some() && known == of(labels, ports)
    }

    /// The length of the longest prefix of the universe around an address.
    fn longest(&self, ip: IpAddr) -> Option<u8> {
        let around = self.universe.iter().filter_map(|(_, n)| match n {
            NodeKind::Region(r) if r.prefix.contains(&ip) => Some(r.prefix.prefix_len()),
            _ => None,
        });
        around.max()
    }

    /// The identities of an address that no name resolved to.
    fn at(&self, ip: IpAddr) -> Vec<NodeId> {
        let longest = self.longest(ip);
        let world = if ip.is_ipv6() { Reserved::WorldIpv6 } else { Reserved::WorldIpv4 };
        let here = |n: &NodeKind| match n {
            NodeKind::Region(r) => r.prefix.contains(&ip) && Some(r.prefix.prefix_len()) == longest,
            NodeKind::Reserved(r) => *r == world && longest == Some(0),
            _ => false,
        };
        self.universe.iter().filter(|(_, n)| here(n)).map(id).collect()
    }
}

fn id((id, _): (NodeId, &NodeKind)) -> NodeId {
    id
}
