//! What services mean, claim by claim, through the image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_abi::services::frontend;
use portcullis_diag::FileId;
use portcullis_services::{
    Drop, From, Image, NodeContext, Numbers, Outcome, Resolved, Services, Settings, compile, resolve,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn services(yaml: &str) -> Services {
    let parsed = portcullis_front::parse(FileId(0), "t.yaml", yaml);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    Services::of(&parsed.objects)
}

fn node() -> NodeContext {
    NodeContext {
        name: "n1".into(),
        zone: Some("a".into()),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
    }
}

/// The backends that a frontend of a resolved set may choose, each as the image says it.
struct Answer {
    resolved: Resolved,
    image: Vec<u8>,
}

fn answer(yaml: &str) -> Answer {
    let resolved = resolve(&services(yaml), &node());
    let image = compile(&resolved, &Numbers::default(), &Settings::default()).unwrap().image;
    Image::parse(&image).unwrap().check().unwrap();
    Answer { resolved, image }
}

impl Answer {
    fn outcome(&self, to: &str, port: u16, protocol: u8, from: From) -> Outcome {
        self.from(to, port, protocol, from, "198.51.100.7")
    }

    fn from(&self, to: &str, port: u16, protocol: u8, from: From, client: &str) -> Outcome {
        let image = Image::parse(&self.image).unwrap();
        image.lookup((to.parse().unwrap(), port, protocol), from, client.parse().unwrap(), 0).unwrap()
    }

    /// Addresses and ports that chance may bring.
    fn choices(&self, to: &str, port: u16, protocol: u8, from: From) -> BTreeSet<String> {
        let image = Image::parse(&self.image).unwrap();
        let client: IpAddr = "198.51.100.7".parse().unwrap();
        let one = |hash: u32| match image
            .lookup((to.parse().unwrap(), port, protocol), from, client, hash)
            .unwrap()
        {
            Outcome::Backend { backend, .. } => {
                let ip = std::net::Ipv6Addr::from(backend.address);
                match ip.to_ipv4_mapped() {
                    Some(v4) => format!("{v4}:{}", backend.port),
                    None => format!("[{ip}]:{}", backend.port),
                }
            }
            other => panic!("{other:?}"),
        };
        (0..64).map(|n| one(n << 26)).collect()
    }
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|s| (*s).to_owned()).collect()
}

const SLICE: &str = "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], nodeName: n1, conditions: {ready: true}}
- {addresses: [10.0.0.2], nodeName: n2, conditions: {ready: true}}
";

fn web(spec: &str) -> String {
    let opened = ["NodePort", "LoadBalancer"].iter().any(|kind| spec.contains(kind));
    let node_port = if opened { ", nodePort: 30080" } else { "" };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{selector: {{app: web}}, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{{name: http, port: 80, targetPort: http{node_port}}}, {{name: dns, port: 80, protocol: UDP{node_port}}}], {spec}}}\n"
    )
}

#[test]
fn a_cluster_address_leads_to_every_ready_endpoint_and_to_nobody_from_outside() {
    let a = answer(&(web("type: ClusterIP") + SLICE));
    assert_eq!(a.resolved.frontends.len(), 2);
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.1:8080", "10.0.0.2:8080"]));
    assert_eq!(a.choices("10.96.0.1", 80, UDP, From::Inside), set(&["10.0.0.1:5353", "10.0.0.2:5353"]));
    assert_eq!(a.outcome("10.96.0.1", 80, TCP, From::Outside), Outcome::Drop(Drop::OutsideDenied));
    assert_eq!(a.outcome("10.96.0.1", 81, TCP, From::Inside), Outcome::NotService);
    assert_eq!(a.outcome("10.96.0.1", 80, 132, From::Inside), Outcome::NotService);
}

#[test]
fn a_node_port_answers_on_the_nodes_addresses_of_a_family_that_has_endpoints() {
    let a = answer(&(web("type: NodePort") + SLICE));
    assert_eq!(a.choices("192.0.2.1", 30080, TCP, From::Outside), set(&["10.0.0.1:8080", "10.0.0.2:8080"]));
    assert_eq!(a.outcome("2001:db8::1", 30080, TCP, From::Outside), Outcome::Reject);
    assert_eq!(a.outcome("192.0.2.2", 30080, TCP, From::Outside), Outcome::NotService);
}

#[test]
fn an_external_local_policy_keeps_outside_clients_here_and_drops_where_nobody_is() {
    let a = answer(&(web("type: NodePort, externalTrafficPolicy: Local") + SLICE));
    assert_eq!(a.choices("192.0.2.1", 30080, TCP, From::Outside), set(&["10.0.0.1:8080"]));
    assert_eq!(a.choices("192.0.2.1", 30080, TCP, From::Inside), set(&["10.0.0.1:8080", "10.0.0.2:8080"]));
    let elsewhere = SLICE.replace("n1", "n3");
    let a = answer(&(web("type: NodePort, externalTrafficPolicy: Local") + &elsewhere));
    assert_eq!(a.outcome("192.0.2.1", 30080, TCP, From::Outside), Outcome::Drop(Drop::NoLocalEndpoint));
    let a = answer(&(web("type: ClusterIP, internalTrafficPolicy: Local") + &elsewhere));
    assert_eq!(a.outcome("10.96.0.1", 80, TCP, From::Inside), Outcome::Drop(Drop::NoLocalEndpoint));
}

#[test]
fn a_terminating_endpoint_that_serves_is_chosen_only_where_none_is_ready() {
    let slice = SLICE.replace(
        "n1, conditions: {ready: true}",
        "n1, conditions: {ready: false, serving: true, terminating: true}",
    );
    let a = answer(&(web("type: NodePort, externalTrafficPolicy: Local") + &slice));
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.2:8080"]));
    // On this node it is the only one.
    assert_eq!(a.choices("192.0.2.1", 30080, TCP, From::Outside), set(&["10.0.0.1:8080"]));
    let none = slice
        .replace("serving: true", "serving: false")
        .replace("n2, conditions: {ready: true}", "n2, conditions: {ready: false}");
    let a = answer(&(web("type: ClusterIP") + &none));
    assert_eq!(a.outcome("10.96.0.1", 80, TCP, From::Inside), Outcome::Reject);
}

#[test]
fn hints_hold_only_where_every_ready_endpoint_has_them_and_one_names_this_zone_or_node() {
    let hinted = |first: &str, second: &str| {
        let slice =
            SLICE.replace("addresses: [10.0.0.1],", &format!("addresses: [10.0.0.1], hints: {{{first}}},"));
        slice.replace("addresses: [10.0.0.2],", &format!("addresses: [10.0.0.2], hints: {{{second}}},"))
    };
    let of = |first: &str, second: &str| {
        answer(&(web("type: ClusterIP") + &hinted(first, second))).choices("10.96.0.1", 80, TCP, From::Inside)
    };
    let both = set(&["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(of("forZones: [{name: b}]", "forZones: [{name: a}]"), set(&["10.0.0.2:8080"]));
    assert_eq!(of("forZones: [{name: b}]", "forZones: [{name: c}]"), both);
    assert_eq!(of("forZones: [{name: a}]", ""), both);
    assert_eq!(
        of("forZones: [{name: b}], forNodes: [{name: n1}]", "forZones: [{name: a}], forNodes: [{name: n2}]"),
        set(&["10.0.0.1:8080"])
    );
}

#[test]
fn a_load_balancer_has_source_ranges_and_a_health_check_and_leaves_proxied_addresses_alone() {
    let spec = "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000, loadBalancerSourceRanges: [198.51.100.0/24]";
    let status = "status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {ip: 203.0.113.2, ipMode: Proxy}]}}\n";
    let a = answer(&(web(spec) + status + SLICE));
    assert_eq!(a.choices("203.0.113.1", 80, TCP, From::Outside), set(&["10.0.0.1:8080"]));
    let other = a.from("203.0.113.1", 80, TCP, From::Outside, "198.51.101.1");
    assert_eq!(other, Outcome::Drop(Drop::SourceRange));
    assert!(matches!(
        a.from("192.0.2.1", 30080, TCP, From::Outside, "198.51.101.1"),
        Outcome::Backend { .. }
    ));
    assert_eq!(a.outcome("203.0.113.2", 80, TCP, From::Outside), Outcome::NotService);
    let check = &a.resolved.health_checks[0];
    assert_eq!((check.name.as_str(), check.port, check.local_endpoints), ("web", 32000, 1));
}

#[test]
fn headless_external_name_and_other_proxies_services_have_no_frontends() {
    for service in [
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: None, ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {type: ExternalName, externalName: a.example}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {service.kubernetes.io/service-proxy-name: x}}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {service.kubernetes.io/headless: ''}}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n",
    ] {
        assert_eq!(answer(service).resolved.frontends, [], "{service}");
    }
}

#[test]
fn without_slices_the_pods_of_the_selector_are_the_endpoints() {
    let pods = "
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8081}]}]}
status: {podIPs: [{ip: 10.0.0.5}, {ip: 'fd00::5'}], conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8082}]}]}
status: {podIPs: [{ip: 10.0.0.6}], conditions: [{type: Ready, status: 'False'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: other, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8082}]}]}
status: {podIPs: [{ip: 10.0.0.7}]}
";
    let a = answer(&(web("type: NodePort") + pods));
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.5:8081"]));
    assert_eq!(a.choices("2001:db8::1", 30080, TCP, From::Outside), set(&["[fd00::5]:8081"]));
    let a = answer(&(web("publishNotReadyAddresses: true") + pods));
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.5:8081", "10.0.0.6:8082"]));
    let a = answer(&web("type: ClusterIP"));
    let codes: Vec<String> = a.resolved.diagnostics.iter().map(|d| d.code.to_string()).collect();
    assert_eq!(codes, ["PC0203"]);
}

#[test]
fn endpoints_objects_count_only_where_there_is_no_slice() {
    let endpoints = "
---
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: shop}
subsets: [{addresses: [{ip: 10.0.0.8}], notReadyAddresses: [{ip: 10.0.0.9}], ports: [{name: http, port: 8080}]}]
";
    let a = answer(&(web("type: ClusterIP") + endpoints));
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.8:8080"]));
    let a = answer(&(web("type: ClusterIP") + endpoints + SLICE));
    assert_eq!(a.choices("10.96.0.1", 80, TCP, From::Inside), set(&["10.0.0.1:8080", "10.0.0.2:8080"]));
}

#[test]
fn a_host_port_leads_to_the_pod_of_this_node() {
    let pod = |name: &str, node: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: 53, hostPort: 5300, protocol: UDP{more}}}]}}]}}\nstatus: {{podIPs: [{{ip: 10.0.0.5}}, {{ip: 'fd00::5'}}]}}\n"
        )
    };
    let a = answer(&pod("a", "n1", ""));
    assert_eq!(a.choices("192.0.2.1", 5300, UDP, From::Outside), set(&["10.0.0.5:53"]));
    assert_eq!(a.choices("2001:db8::1", 5300, UDP, From::Inside), set(&["[fd00::5]:53"]));
    assert_eq!(answer(&pod("a", "n2", "")).resolved.frontends, []);
    assert_eq!(answer(&pod("a", "n1", ", hostIP: 192.0.2.1")).resolved.frontends.len(), 1);
}

#[test]
fn two_services_on_one_address_are_told_of_and_the_first_name_has_it() {
    let one = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{a: b}}, clusterIPs: [10.96.0.{}], externalIPs: [203.0.113.9], ports: [{{port: 80}}]}}\n",
            name.len()
        )
    };
    let a = answer(&(one("ww") + &one("w")));
    let f = a.resolved.frontends.iter().find(|f| f.address.0.to_string() == "203.0.113.9").unwrap();
    assert_eq!(f.owner.name, "w");
    let duplicates = a.resolved.diagnostics.iter().filter(|d| d.code.to_string() == "PC0202");
    let texts: Vec<&str> = duplicates.map(|d| d.message.as_str()).collect();
    assert_eq!(
        texts,
        ["Service shop/ww never gets what is sent to 203.0.113.9 port 80: Service shop/w has it"]
    );
}

#[test]
fn affinity_lasts_three_hours_unless_the_service_says_otherwise() {
    for (config, seconds) in [("", 10_800), (", sessionAffinityConfig: {clientIP: {timeoutSeconds: 30}}", 30)]
    {
        let a = answer(&(web(&format!("sessionAffinity: ClientIP{config}")) + SLICE));
        let Outcome::Backend { frontend: f, .. } = a.outcome("10.96.0.1", 80, TCP, From::Inside) else {
            panic!()
        };
        assert_eq!((f.flags & frontend::AFFINITY, f.affinity_seconds), (frontend::AFFINITY, seconds));
    }
}
