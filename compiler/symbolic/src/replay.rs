//! A found flow as every engine takes it: with a cluster of its own where its pods need not exist.

use crate::decode::{Who, Witness, WitnessEnd};
use crate::world::Pods;
use portcullis_ir::cluster::{Endpoint, IdentityId, PortTableId, Workload, WorkloadId};
use portcullis_ir::label::POD_NAMESPACE;
use portcullis_ir::{Cluster, EndpointId, Flow, PeerRef};
use std::borrow::Cow;

/// A flow, and the cluster its pods are in.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    /// The cluster.
    pub cluster: Cow<'a, Cluster>,
    /// The flow.
    pub flow: Flow,
}

/// The flow of a witness. The two ends are never one and the same pod.
pub fn replay<'a>(witness: &Witness, pods: Pods<'a>) -> Replay<'a> {
    let mut cluster = match pods {
        Pods::Of(c) => Cow::Borrowed(c),
        Pods::Any(_) => Cow::Owned(Cluster::default()),
    };
    let from = end(&witness.from, &mut cluster);
    let to = end(&witness.to, &mut cluster);
    Replay { cluster, flow: Flow { from, to, port: witness.port } }
}

fn end(end: &WitnessEnd, cluster: &mut Cow<'_, Cluster>) -> PeerRef {
    match &end.who {
        Who::Known(id) => PeerRef::Endpoint(*id),
        Who::Reserved(r) => PeerRef::Reserved(*r),
        Who::External(ip, names) => PeerRef::External { ip: *ip, names: names.clone() },
        Who::Pod(labels, ports) => {
            let c = cluster.to_mut();
            let namespace = labels.k8s(POD_NAMESPACE).unwrap_or_default();
            let name = format!("pod-{}", c.endpoints.len());
            let workload =
                Workload { namespace: namespace.into(), name: name.as_str().into(), kind: "Pod".into() };
            let mut ports = ports.clone();
            ports.sort();
            let endpoint = Endpoint {
                namespace: namespace.into(),
                name: name.into(),
                workload: WorkloadId(c.workloads.intern(workload)),
                identity: IdentityId(c.identities.intern(labels.clone())),
                ports: PortTableId(c.port_tables.intern(ports)),
                pods: 1,
                node: None,
                ips: Box::default(),
                declared: c.declared_tables.intern(Vec::new()),
                probes: c.probe_tables.intern(Vec::new()),
            };
            let id = EndpointId(u32::try_from(c.endpoints.len()).unwrap_or(u32::MAX));
            c.endpoints.push(endpoint);
            PeerRef::Endpoint(id)
        }
    }
}
