//! Services, and where their traffic ends.

use super::{PortValue, Protocol};
use ipnet::IpNet;
use portcullis_diag::Span;
use smol_str::SmolStr;
use std::net::IpAddr;

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "fields of the kind")]
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
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` entries with an `ip`.
    pub balancer_ips: Vec<BalancerIp>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `sessionAffinity: ClientIP`: for how many seconds.
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `trafficDistribution`.
    pub distribution: Option<Distribution>,
    /// `loadBalancerSourceRanges`, host bits masked off.
    pub source_ranges: Vec<IpNet>,
    /// `healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
}

impl Service {
    /// Every address from outside that leads to it: external ones and those of a load balancer.
    pub fn outside_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.external_ips.iter().copied().chain(self.balancer_ips.iter().map(|b| b.ip))
    }
}

/// One address of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalancerIp {
    /// `ip`.
    pub ip: IpAddr,
    /// `ipMode: Proxy`: what arrives has been translated already, so nodes leave the address alone.
    pub proxied: bool,
}

/// Which endpoints a service prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// `PreferSameZone`, formerly `PreferClose`.
    SameZone,
    /// `PreferSameNode`.
    SameNode,
}

/// One `spec.ports` entry of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// The whole entry.
    pub span: Span,
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
    /// The addresses that are ready, or of which nothing is said.
    pub addresses: Vec<IpAddr>,
    /// An EndpointSlice, not an Endpoints object.
    pub slice: bool,
    /// What it holds: one for a slice, one for each of the `subsets`.
    pub subsets: Vec<EndpointSubset>,
}

/// Endpoints that have the same ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSubset {
    /// The ports.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port of a slice. One without a number is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// `name`, empty for an unnamed one.
    pub name: SmolStr,
    /// `port`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// `addresses`.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; true if absent.
    pub ready: bool,
    /// `conditions.serving`; true if absent.
    pub serving: bool,
    /// `conditions.terminating`; false if absent.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<SmolStr>,
    /// `zone`.
    pub zone: Option<SmolStr>,
    /// `hints.forZones`.
    pub for_zones: Vec<SmolStr>,
    /// `hints.forNodes`.
    pub for_nodes: Vec<SmolStr>,
}
