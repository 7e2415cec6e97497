//! The API as a client sees it that was made from the published protos, not from ours: names and numbers are
//! written here again, from cilium/cilium `api/v1/{flow,observer,peer,relay}/*.proto`, and every call that
//! `hubble status`, `hubble observe`, `hubble list nodes` and Hubble Relay make is made with them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_hubble::pb::flow::{Flow, Verdict};
use portcullis_hubble::ring::{Entry, Observed, Ring};
use portcullis_hubble::server::{About, Listen, Service, serve};
use portcullis_hubble::{client, timestamp, tls};
use std::sync::Arc;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::Channel;

/// Message, field, number.
const FIELDS: &[(&str, &str, u32)] = &[
    ("flow.Flow", "time", 1),
    ("flow.Flow", "verdict", 2),
    ("flow.Flow", "drop_reason", 3),
    ("flow.Flow", "ethernet", 4),
    ("flow.Flow", "IP", 5),
    ("flow.Flow", "l4", 6),
    ("flow.Flow", "source", 8),
    ("flow.Flow", "destination", 9),
    ("flow.Flow", "Type", 10),
    ("flow.Flow", "node_name", 11),
    ("flow.Flow", "source_names", 13),
    ("flow.Flow", "destination_names", 14),
    ("flow.Flow", "reply", 16),
    ("flow.Flow", "event_type", 19),
    ("flow.Flow", "source_service", 20),
    ("flow.Flow", "destination_service", 21),
    ("flow.Flow", "traffic_direction", 22),
    ("flow.Flow", "policy_match_type", 23),
    ("flow.Flow", "trace_observation_point", 24),
    ("flow.Flow", "drop_reason_desc", 25),
    ("flow.Flow", "is_reply", 26),
    ("flow.Flow", "interface", 28),
    ("flow.Flow", "proxy_port", 29),
    ("flow.Flow", "uuid", 34),
    ("flow.Flow", "auth_type", 35),
    ("flow.Flow", "node_labels", 37),
    ("flow.Flow", "file", 38),
    ("flow.Flow", "Summary", 100_000),
    ("flow.Flow", "extensions", 150_000),
    ("flow.Flow", "egress_allowed_by", 21001),
    ("flow.Flow", "ingress_allowed_by", 21002),
    ("flow.Flow", "egress_denied_by", 21004),
    ("flow.Flow", "ingress_denied_by", 21005),
    ("flow.Flow", "policy_log", 21006),
    ("flow.Layer4", "TCP", 1),
    ("flow.Layer4", "UDP", 2),
    ("flow.Layer4", "ICMPv4", 3),
    ("flow.Layer4", "ICMPv6", 4),
    ("flow.Layer4", "SCTP", 5),
    ("flow.Endpoint", "ID", 1),
    ("flow.Endpoint", "identity", 2),
    ("flow.Endpoint", "namespace", 3),
    ("flow.Endpoint", "labels", 4),
    ("flow.Endpoint", "pod_name", 5),
    ("flow.Endpoint", "workloads", 6),
    ("flow.Endpoint", "cluster_name", 7),
    ("flow.Policy", "name", 1),
    ("flow.Policy", "namespace", 2),
    ("flow.Policy", "labels", 3),
    ("flow.Policy", "revision", 4),
    ("flow.Policy", "kind", 5),
    ("flow.FileInfo", "name", 1),
    ("flow.FileInfo", "line", 2),
    ("flow.Workload", "name", 1),
    ("flow.Workload", "kind", 2),
    ("flow.Service", "name", 1),
    ("flow.Service", "namespace", 2),
    ("flow.NetworkInterface", "index", 1),
    ("flow.NetworkInterface", "name", 2),
    ("flow.CiliumEventType", "type", 1),
    ("flow.CiliumEventType", "sub_type", 2),
    ("flow.EventTypeFilter", "type", 1),
    ("flow.EventTypeFilter", "match_sub_type", 2),
    ("flow.EventTypeFilter", "sub_type", 3),
    ("flow.IP", "encrypted", 4),
    ("flow.IP", "source_xlated", 5),
    ("flow.IP", "source", 1),
    ("flow.IP", "destination", 2),
    ("flow.IP", "ipVersion", 3),
    ("flow.TCP", "source_port", 1),
    ("flow.TCP", "destination_port", 2),
    ("flow.TCP", "flags", 3),
    ("flow.TCPFlags", "FIN", 1),
    ("flow.TCPFlags", "SYN", 2),
    ("flow.TCPFlags", "RST", 3),
    ("flow.TCPFlags", "ACK", 5),
    ("flow.FlowFilter", "source_ip", 1),
    ("flow.FlowFilter", "source_pod", 2),
    ("flow.FlowFilter", "destination_ip", 3),
    ("flow.FlowFilter", "destination_pod", 4),
    ("flow.FlowFilter", "verdict", 5),
    ("flow.FlowFilter", "event_type", 6),
    ("flow.FlowFilter", "source_fqdn", 7),
    ("flow.FlowFilter", "destination_fqdn", 8),
    ("flow.FlowFilter", "http_status_code", 9),
    ("flow.FlowFilter", "source_label", 10),
    ("flow.FlowFilter", "destination_label", 11),
    ("flow.FlowFilter", "protocol", 12),
    ("flow.FlowFilter", "source_port", 13),
    ("flow.FlowFilter", "destination_port", 14),
    ("flow.FlowFilter", "reply", 15),
    ("flow.FlowFilter", "source_service", 16),
    ("flow.FlowFilter", "destination_service", 17),
    ("flow.FlowFilter", "dns_query", 18),
    ("flow.FlowFilter", "source_identity", 19),
    ("flow.FlowFilter", "destination_identity", 20),
    ("flow.FlowFilter", "http_method", 21),
    ("flow.FlowFilter", "http_path", 22),
    ("flow.FlowFilter", "tcp_flags", 23),
    ("flow.FlowFilter", "node_name", 24),
    ("flow.FlowFilter", "ip_version", 25),
    ("flow.FlowFilter", "source_workload", 26),
    ("flow.FlowFilter", "destination_workload", 27),
    ("flow.FlowFilter", "trace_id", 28),
    ("flow.FlowFilter", "uuid", 29),
    ("flow.FlowFilter", "traffic_direction", 30),
    ("flow.FlowFilter", "http_url", 31),
    ("flow.FlowFilter", "http_header", 32),
    ("flow.FlowFilter", "drop_reason_desc", 33),
    ("flow.FlowFilter", "source_ip_xlated", 34),
    ("flow.FlowFilter", "interface", 35),
    ("flow.FlowFilter", "node_labels", 36),
    ("flow.FlowFilter", "source_cluster_name", 37),
    ("flow.FlowFilter", "destination_cluster_name", 38),
    ("flow.FlowFilter", "ip_trace_id", 39),
    ("flow.FlowFilter", "encrypted", 40),
    ("flow.FlowFilter", "experimental", 999),
    ("flow.LostEvent", "source", 1),
    ("flow.LostEvent", "num_events_lost", 2),
    ("flow.LostEvent", "cpu", 3),
    ("observer.GetFlowsRequest", "number", 1),
    ("observer.GetFlowsRequest", "follow", 3),
    ("observer.GetFlowsRequest", "blacklist", 5),
    ("observer.GetFlowsRequest", "whitelist", 6),
    ("observer.GetFlowsRequest", "since", 7),
    ("observer.GetFlowsRequest", "until", 8),
    ("observer.GetFlowsRequest", "first", 9),
    ("observer.GetFlowsRequest", "field_mask", 10),
    ("observer.GetFlowsResponse", "flow", 1),
    ("observer.GetFlowsResponse", "node_status", 2),
    ("observer.GetFlowsResponse", "lost_events", 3),
    ("observer.GetFlowsResponse", "node_name", 1000),
    ("observer.GetFlowsResponse", "time", 1001),
    ("observer.ServerStatusResponse", "num_flows", 1),
    ("observer.ServerStatusResponse", "max_flows", 2),
    ("observer.ServerStatusResponse", "seen_flows", 3),
    ("observer.ServerStatusResponse", "uptime_ns", 4),
    ("observer.ServerStatusResponse", "num_connected_nodes", 5),
    ("observer.ServerStatusResponse", "num_unavailable_nodes", 6),
    ("observer.ServerStatusResponse", "unavailable_nodes", 7),
    ("observer.ServerStatusResponse", "version", 8),
    ("observer.ServerStatusResponse", "flows_rate", 9),
    ("observer.Namespace", "cluster", 1),
    ("observer.Namespace", "namespace", 2),
    ("observer.TLS", "enabled", 1),
    ("observer.TLS", "server_name", 2),
    ("peer.TLS", "server_name", 1),
    ("observer.Node", "name", 1),
    ("observer.Node", "version", 2),
    ("observer.Node", "address", 3),
    ("observer.Node", "state", 4),
    ("observer.Node", "tls", 5),
    ("observer.Node", "uptime_ns", 6),
    ("observer.Node", "num_flows", 7),
    ("observer.Node", "max_flows", 8),
    ("observer.Node", "seen_flows", 9),
    ("peer.ChangeNotification", "name", 1),
    ("peer.ChangeNotification", "address", 2),
    ("peer.ChangeNotification", "type", 3),
    ("peer.ChangeNotification", "tls", 4),
    ("relay.NodeStatusEvent", "state_change", 1),
    ("relay.NodeStatusEvent", "node_names", 2),
    ("relay.NodeStatusEvent", "message", 3),
];

/// Enum, value, number.
const VALUES: &[(&str, &str, i32)] = &[
    ("flow.Verdict", "FORWARDED", 1),
    ("flow.Verdict", "DROPPED", 2),
    ("flow.Verdict", "ERROR", 3),
    ("flow.Verdict", "AUDIT", 4),
    ("flow.Verdict", "REDIRECTED", 5),
    ("flow.Verdict", "TRACED", 6),
    ("flow.Verdict", "TRANSLATED", 7),
    ("flow.FlowType", "L3_L4", 1),
    ("flow.TrafficDirection", "INGRESS", 1),
    ("flow.TrafficDirection", "EGRESS", 2),
    ("flow.IPVersion", "IPv4", 1),
    ("flow.IPVersion", "IPv6", 2),
    ("flow.DropReason", "INVALID_SOURCE_IP", 132),
    ("flow.DropReason", "POLICY_DENIED", 133),
    ("flow.DropReason", "INVALID_PACKET_DROPPED", 134),
    ("flow.DropReason", "CT_TRUNCATED_OR_INVALID_HEADER", 135),
    ("flow.DropReason", "UNSUPPORTED_L3_PROTOCOL", 139),
    ("flow.DropReason", "CT_MAP_INSERTION_FAILED", 155),
    ("flow.DropReason", "INVALID_IPV6_EXTENSION_HEADER", 156),
    ("flow.DropReason", "SERVICE_BACKEND_NOT_FOUND", 158),
    ("flow.DropReason", "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION", 165),
    ("flow.DropReason", "NO_MAPPING_FOR_NAT_MASQUERADE", 167),
    ("flow.DropReason", "INVALID_IDENTITY", 171),
    ("flow.DropReason", "IS_A_CLUSTERIP", 174),
    ("flow.DropReason", "DENIED_BY_LB_SRC_RANGE_CHECK", 177),
    ("flow.DropReason", "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL", 180),
    ("flow.DropReason", "POLICY_DENY", 181),
    ("flow.DropReason", "VLAN_FILTERED", 182),
    ("flow.DropReason", "AUTH_REQUIRED", 189),
    ("flow.LostEventSource", "PERF_EVENT_RING_BUFFER", 1),
    ("flow.LostEventSource", "OBSERVER_EVENTS_QUEUE", 2),
    ("flow.LostEventSource", "HUBBLE_RING_BUFFER", 3),
    ("relay.NodeState", "NODE_CONNECTED", 1),
    ("relay.NodeState", "NODE_UNAVAILABLE", 2),
    ("relay.NodeState", "NODE_GONE", 3),
    ("relay.NodeState", "NODE_ERROR", 4),
    ("peer.ChangeNotificationType", "PEER_ADDED", 1),
    ("peer.ChangeNotificationType", "PEER_DELETED", 2),
    ("peer.ChangeNotificationType", "PEER_UPDATED", 3),
];

#[test]
fn numbers_are_the_published_ones() {
    let files = ["flow/flow.proto", "relay/relay.proto", "observer/observer.proto", "peer/peer.proto"];
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let set = protox::compile(files, [proto]).unwrap();
    for (message, field, number) in FIELDS {
        let (package, name) = message.split_once('.').unwrap();
        let file = set.file.iter().find(|f| f.package() == package).unwrap();
        let of = file.message_type.iter().find(|m| m.name() == name).unwrap_or_else(|| panic!("{message}"));
        let is = of.field.iter().find(|f| f.name() == *field).map(|f| f.number().cast_unsigned());
        assert_eq!(is, Some(*number), "{message}.{field}");
    }
    for (name, value, number) in VALUES {
        let (package, name) = name.split_once('.').unwrap();
        let file = set.file.iter().find(|f| f.package() == package).unwrap();
        let of = file.enum_type.iter().find(|e| e.name() == name).unwrap_or_else(|| panic!("{name}"));
        let is =
            of.value.iter().find(|v| v.name() == *value).map(prost_types::EnumValueDescriptorProto::number);
        assert_eq!(is, Some(*number), "{name}.{value}");
    }
}

/// The client's messages.
mod theirs {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Empty {}
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct HealthRequest {
        #[prost(string, tag = "1")]
        pub(crate) service: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct HealthResponse {
        #[prost(int32, tag = "1")]
        pub(crate) status: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Status {
        #[prost(uint64, tag = "1")]
        pub(crate) flows: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) most: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) seen: u64,
        #[prost(string, tag = "8")]
        pub(crate) version: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Filter {
        #[prost(string, repeated, tag = "1")]
        pub(crate) source_ip: Vec<String>,
        #[prost(int32, repeated, tag = "5")]
        pub(crate) verdict: Vec<i32>,
        #[prost(string, repeated, tag = "22")]
        pub(crate) http_path: Vec<String>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Mask {
        #[prost(string, repeated, tag = "1")]
        pub(crate) paths: Vec<String>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Ask {
        #[prost(uint64, tag = "1")]
        pub(crate) number: u64,
        #[prost(bool, tag = "3")]
        pub(crate) follow: bool,
        #[prost(message, repeated, tag = "5")]
        pub(crate) blacklist: Vec<Filter>,
        #[prost(message, repeated, tag = "6")]
        pub(crate) whitelist: Vec<Filter>,
        #[prost(message, optional, tag = "7")]
        pub(crate) since: Option<prost_types::Timestamp>,
        #[prost(message, optional, tag = "8")]
        pub(crate) until: Option<prost_types::Timestamp>,
        #[prost(bool, tag = "9")]
        pub(crate) first: bool,
        #[prost(message, optional, tag = "10")]
        pub(crate) mask: Option<Mask>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct FlowSeen {
        #[prost(int32, tag = "2")]
        pub(crate) verdict: i32,
        #[prost(int32, tag = "22")]
        pub(crate) direction: i32,
        #[prost(string, repeated, tag = "21006")]
        pub(crate) policy_log: Vec<String>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Lost {
        #[prost(int32, tag = "1")]
        pub(crate) source: i32,
        #[prost(uint64, tag = "2")]
        pub(crate) count: u64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Answer {
        #[prost(message, optional, tag = "1")]
        pub(crate) flow: Option<FlowSeen>,
        #[prost(message, optional, tag = "3")]
        pub(crate) lost: Option<Lost>,
        #[prost(string, tag = "1000")]
        pub(crate) node: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Named {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) second: String,
        #[prost(int32, tag = "4")]
        pub(crate) state: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct List {
        #[prost(message, repeated, tag = "1")]
        pub(crate) all: Vec<Named>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct PeerSeen {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(int32, tag = "3")]
        pub(crate) change: i32,
    }
}
use theirs::{Answer, Ask, Empty, Filter, HealthRequest, HealthResponse, List, PeerSeen, Status};

#[derive(Clone, Debug)]
struct One(i64);

impl Observed for One {
    fn time(&self) -> i64 {
        self.0
    }

    fn flow(&self) -> Flow {
        let verdict = if self.0 % 2 == 0 { Verdict::Forwarded } else { Verdict::Dropped };
        Flow {
            time: Some(timestamp(self.0)),
            verdict: verdict.into(),
            traffic_direction: 1,
            policy_log: vec![self.0.to_string()],
            ..Flow::default()
        }
    }
}

async fn start(name: &str, keep: usize) -> (Arc<Ring<One>>, Grpc<Channel>) {
    let ring = Arc::new(Ring::new(keep));
    let path = std::env::temp_dir().join(format!("portcullis-{}-{name}.sock", std::process::id()));
    let about = About { node: "n1".to_owned(), cluster: "default".to_owned(), ..About::default() };
    let service = Service::new(Arc::clone(&ring), about);
    let listen = Listen::unix(&path).unwrap();
    tokio::spawn(async move { serve(service.clone(), service, listen).await.unwrap() });
    let address = format!("unix://{}", path.display());
    let channel = client::connect(&address, &tls::Client::default(), Duration::from_secs(5)).await.unwrap();
    let _ = std::fs::remove_file(&path);
    (ring, Grpc::new(channel))
}

async fn call<Q: prost::Message + 'static, A: prost::Message + Default + 'static>(
    grpc: &mut Grpc<Channel>,
    path: &'static str,
    ask: Q,
) -> A {
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    grpc.unary(tonic::Request::new(ask), http::uri::PathAndQuery::from_static(path), codec)
        .await
        .unwrap()
        .into_inner()
}

async fn stream<Q: prost::Message + 'static, A: prost::Message + Default + 'static>(
    grpc: &mut Grpc<Channel>,
    path: &'static str,
    ask: Q,
) -> Result<tonic::Streaming<A>, tonic::Status> {
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.server_streaming(tonic::Request::new(ask), path, codec).await.map(tonic::Response::into_inner)
}

const GET_FLOWS: &str = "/observer.Observer/GetFlows";

async fn logs(grpc: &mut Grpc<Channel>, ask: Ask) -> Vec<String> {
    let mut out = Vec::new();
    let mut all = stream::<_, Answer>(grpc, GET_FLOWS, ask).await.unwrap();
    while let Some(a) = all.message().await.unwrap() {
        assert_eq!(a.node, "n1");
        let flow = a.flow.unwrap();
        assert_eq!(flow.direction, 1, "whatever the field mask says");
        out.extend(flow.policy_log);
    }
    out
}

#[tokio::test]
async fn every_call_of_hubbles_clients_is_answered() {
    let (ring, mut grpc) = start("calls", 100).await;
    ring.set_namespaces(vec!["payments".to_owned()]);
    ring.push((0..10).map(|n| Entry::Seen(One(n))));
    // hubble status
    let ask = HealthRequest { service: "hubble.server.Observer".to_owned() };
    let health: HealthResponse = call(&mut grpc, "/grpc.health.v1.Health/Check", ask).await;
    assert_eq!(health.status, 1);
    let status: Status = call(&mut grpc, "/observer.Observer/ServerStatus", Empty {}).await;
    assert_eq!((status.flows, status.most, status.seen), (10, 100, 10));
    assert!(status.version.starts_with("portcullis"));
    // hubble list nodes, hubble list namespaces
    let nodes: List = call(&mut grpc, "/observer.Observer/GetNodes", Empty {}).await;
    assert_eq!((nodes.all[0].name.as_str(), nodes.all[0].state), ("n1", 1));
    let spaces: List = call(&mut grpc, "/observer.Observer/GetNamespaces", Empty {}).await;
    assert_eq!(spaces.all[0].second, "payments");
    // hubble observe
    let mask = theirs::Mask { paths: vec!["time".to_owned(), "verdict".to_owned()] };
    let all = Ask { mask: Some(mask), ..Ask::default() };
    assert_eq!(logs(&mut grpc, all).await.len(), 10);
    assert_eq!(logs(&mut grpc, Ask { number: 2, ..Ask::default() }).await, ["8", "9"]);
    assert_eq!(logs(&mut grpc, Ask { number: 2, first: true, ..Ask::default() }).await, ["0", "1"]);
    let between = Ask { since: Some(timestamp(3)), until: Some(timestamp(5)), ..Ask::default() };
    assert_eq!(logs(&mut grpc, between).await, ["3", "4", "5"]);
    let dropped = || vec![Filter { verdict: vec![2], ..Filter::default() }];
    assert_eq!(logs(&mut grpc, Ask { number: 2, whitelist: dropped(), ..Ask::default() }).await, ["7", "9"]);
    assert_eq!(logs(&mut grpc, Ask { number: 2, blacklist: dropped(), ..Ask::default() }).await, ["6", "8"]);
    let path = Filter { http_path: vec!["/".to_owned()], ..Filter::default() };
    let wrong = Ask { whitelist: vec![path], ..Ask::default() };
    let refused = stream::<_, Answer>(&mut grpc, GET_FLOWS, wrong).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("http_path"), "{refused}");
    // Hubble Relay
    let mut peers = stream::<_, PeerSeen>(&mut grpc, "/peer.Peer/Notify", Empty {}).await.unwrap();
    let first = peers.message().await.unwrap().unwrap();
    assert_eq!((first.name.as_str(), first.change), ("n1", 1));
    // hubble observe --follow
    let follow = Ask { number: 1, follow: true, ..Ask::default() };
    let mut all = stream::<_, Answer>(&mut grpc, GET_FLOWS, follow).await.unwrap();
    assert_eq!(all.message().await.unwrap().unwrap().flow.unwrap().policy_log, ["9"]);
    ring.push([Entry::Seen(One(11))]);
    let next = all.message().await.unwrap().unwrap().flow.unwrap();
    assert_eq!((next.policy_log, next.verdict), (vec!["11".to_owned()], 2));
}

#[tokio::test]
async fn who_does_not_read_loses_and_is_told() {
    let (ring, mut grpc) = start("stalls", 64).await;
    let follow = Ask { follow: true, ..Ask::default() };
    let mut all = stream::<_, Answer>(&mut grpc, GET_FLOWS, follow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let total: u64 = 200_000;
    for n in 0..total {
        // Writing never waits: the client reads nothing all the while.
        ring.push([Entry::Seen(One(n.cast_signed()))]);
        if n % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut got, mut lost) = (0, 0);
    while got + lost < total {
        let a = all.message().await.unwrap().unwrap();
        got += u64::from(a.flow.is_some());
        if let Some(l) = a.lost {
            assert_eq!(l.source, 3);
            lost += l.count;
        }
    }
    assert!(lost > 0 && got > 0);
    assert_eq!(got + lost, total);
    assert_eq!(ring.missed(), lost);
}
