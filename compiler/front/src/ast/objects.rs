//! What of the cluster's own objects bears on policy.

use super::{PortValue, Protocol, Spanned};
use ipnet::IpNet;
use portcullis_diag::Span;
use smol_str::SmolStr;
use std::net::IpAddr;

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
    /// The condition `Ready`, if it is given.
    pub ready: Option<bool>,
    /// `metadata.deletionTimestamp` is there: it is being stopped.
    pub terminating: bool,
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
    /// `hostIP`, if it is an address other than the unspecified one.
    pub host_ip: Option<IpAddr>,
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
