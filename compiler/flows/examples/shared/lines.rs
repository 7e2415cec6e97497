//! Lines as Hubble's exporter writes them, of a cluster of 1,000 pods.

use std::fmt::Write as _;

/// Writes the line of that number. A connection has two: its request and its answer; each pod asks so many others.
pub(crate) fn line(n: u32, peers: u32, out: &mut String) {
    // A connection's request and its answer; each pod asks so many others.
    let connection = n / 2;
    let asks = connection * 7919 % 1000;
    let asked = (asks * 31 + connection / 1000 % peers * 57) % 997;
    let end = |i: u32| {
        format!(
            "{{\"ID\":{},\"identity\":{},\"cluster_name\":\"default\",\"namespace\":\"team-{}\",\"labels\":[\"k8s:app=app-{}\",\"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=team-{}\",\"k8s:io.cilium.k8s.policy.cluster=default\",\"k8s:io.cilium.k8s.policy.serviceaccount=default\",\"k8s:io.kubernetes.pod.namespace=team-{}\"],\"pod_name\":\"app-{}-6d4cf56db6-{i:05}\",\"workloads\":[{{\"name\":\"app-{}\",\"kind\":\"Deployment\"}}]}}",
            i + 10,
            10_000 + i % 200,
            i % 40,
            i % 200,
            i % 40,
            i % 40,
            i % 200,
            i % 200
        )
    };
    let reply = n % 2 == 1;
    let (sport, dport) =
        if reply { (8080, 32_768 + n / 2 % 28_000) } else { (32_768 + n / 2 % 28_000, 8080) };
    let (s, d) = if reply { (asked, asks) } else { (asks, asked) };
    writeln!(
        out,
        "{{\"flow\":{{\"time\":\"2026-11-24T10:{:02}:{:02}.{:09}Z\",\"uuid\":\"7d0ad3a1-0000-4000-8000-{n:012}\",\"verdict\":\"FORWARDED\",\"ethernet\":{{\"source\":\"0a:58:0a:00:00:01\",\"destination\":\"0a:58:0a:00:00:02\"}},\"IP\":{{\"source\":\"10.1.{}.{}\",\"destination\":\"10.1.{}.{}\",\"ipVersion\":\"IPv4\"}},\"l4\":{{\"TCP\":{{\"source_port\":{sport},\"destination_port\":{dport},\"flags\":{{\"ACK\":true,\"PSH\":true}}}}}},\"source\":{},\"destination\":{},\"Type\":\"L3_L4\",\"node_name\":\"default/node-{}\",\"event_type\":{{\"type\":4,\"sub_type\":3}},\"traffic_direction\":\"INGRESS\",\"trace_observation_point\":\"TO_ENDPOINT\",\"trace_reason\":\"ESTABLISHED\",\"is_reply\":{reply},\"interface\":{{\"index\":12,\"name\":\"lxc1\"}},\"Summary\":\"TCP Flags: ACK, PSH\"}},\"node_name\":\"default/node-1\",\"time\":\"2026-11-24T10:00:00Z\"}}",
        n / 60_000 % 60, n / 1000 % 60, n, s / 250, s % 250 + 1, d / 250, d % 250 + 1, end(s), end(d), n % 10
    )
    .unwrap();
}
