//! Random services and slices: the image says what a slow reading of the objects says, whatever their order, and
//! damaged bytes never panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_diag::{Fate, Span};
use portcullis_front::ast::{
    BalancerIp, Body, EndpointPort, EndpointSubset, Endpoints, Meta, Object, PortValue, Protocol, Service,
    ServicePort, SliceEndpoint, Spanned,
};
use portcullis_services::{
    Drop, From, Image, NodeContext, Numbers, Outcome, Services, Settings, compile, resolve,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn ip(v6: bool, third: u8, last: u8) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, u16::from(third), 0, 0, 0, 0, 0, u16::from(last)))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, third, last))
    }
}

const NODES: [&str; 3] = ["n0", "n1", "n2"];
const ZONES: [&str; 2] = ["a", "b"];
const NODE_IP: u8 = 99;

fn object(kind: &str, name: &str, labels: &[(&str, &str)], body: Body) -> Object {
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let text = |s: &str| Spanned::new(s.into(), Span::default());
    let meta = Meta { name: text(name), namespace: Some(text("ns")), labels, annotations: Vec::new() };
    Object {
        api_version: "v1".into(),
        kind: kind.into(),
        meta,
        span: Span::default(),
        fate: Fate::Accepted,
        body,
    }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

/// Service number `n`: its addresses are its own, so nobody else claims them.
fn service(n: u8) -> impl Strategy<Value = Service> {
    let kinds = prop_oneof![Just("ClusterIP"), Just("NodePort"), Just("LoadBalancer"), Just("ExternalName")];
    let ports = prop::collection::vec((protocol(), 0..2u16), 1..3);
    (kinds, ports, any::<[bool; 8]>(), prop::option::of(1..9u32)).prop_map(
        move |(kind, ports, flags, affinity_seconds)| {
            let [local_in, local_out, headless, six, ranges, proxied, external, four] = flags;
            let mut seen = BTreeSet::new();
            let ports = ports.into_iter().zip(0u16..).filter(|((p, at), _)| seen.insert((*p, *at))).map(
                |((protocol, at), number)| ServicePort {
                    span: Span::default(),
                    name: Some(format!("p{number}").into()),
                    port: 80 + at,
                    target: PortValue::Number(8080),
                    protocol,
                    node_port: Some(30000 + u16::from(n) * 10 + number),
                },
            );
            let families = [four.then_some(false), six.then_some(true)];
            let addresses = |third: u8| -> Vec<IpAddr> {
                families.iter().flatten().map(|v6| ip(*v6, third, n)).collect()
            };
            Service {
                kind: kind.into(),
                cluster_ips: addresses(1),
                headless: headless && n == 0,
                external_ips: if external { addresses(2) } else { Vec::new() },
                balancer_ips: addresses(3).into_iter().map(|ip| BalancerIp { ip, proxied }).collect(),
                ports: ports.collect(),
                affinity_seconds,
                internal_local: local_in,
                external_local: local_out,
                source_ranges: if ranges { vec!["10.0.9.0/24".parse().unwrap()] } else { Vec::new() },
                ..Service::default()
            }
        },
    )
}

fn endpoint() -> impl Strategy<Value = SliceEndpoint> {
    let hints = prop::collection::vec(0..2usize, 0..2);
    (any::<bool>(), 1..20u8, any::<[bool; 3]>(), 0..3usize, hints.clone(), hints).prop_map(
        |(v6, last, [ready, serving, terminating], node, zones, nodes)| SliceEndpoint {
            addresses: vec![ip(v6, 0, last)],
            ready,
            serving,
            terminating,
            node: Some(NODES[node].into()),
            zone: None,
            for_zones: zones.into_iter().map(|z| ZONES[z].into()).collect(),
            for_nodes: nodes.into_iter().map(|n| NODES[n].into()).collect(),
        },
    )
}

fn slice() -> impl Strategy<Value = EndpointSubset> {
    let ports = prop::collection::vec((0..2u16, protocol(), 8000..8003u16), 1..4);
    (ports, prop::collection::vec(endpoint(), 0..6)).prop_map(|(ports, endpoints)| {
        let mut names = BTreeSet::new();
        let ports = ports.into_iter().filter(|(n, p, _)| names.insert((*n, *p)));
        let ports =
            ports.map(|(n, protocol, port)| EndpointPort { name: format!("p{n}").into(), port, protocol });
        // One address stands in one endpoint of a slice.
        let mut addresses = BTreeSet::new();
        let endpoints = endpoints.into_iter().filter(|e| addresses.insert(e.addresses[0])).collect();
        EndpointSubset { ports: ports.collect(), endpoints }
    })
}

type World = Vec<(Service, EndpointSubset)>;

fn world() -> impl Strategy<Value = World> {
    prop::collection::vec(Just(()), 1..5).prop_flat_map(|n| {
        let all: Vec<_> = (0..u8::try_from(n.len()).unwrap()).map(|n| (service(n), slice())).collect();
        all
    })
}

fn objects(world: &World) -> Vec<Object> {
    let mut out = Vec::new();
    for (n, (service, subset)) in world.iter().enumerate() {
        let name = format!("s{n}");
        out.push(object("Service", &name, &[], Body::Service(Box::new(service.clone()))));
        let slice = Endpoints {
            service: name.clone().into(),
            addresses: Vec::new(),
            slice: true,
            subsets: vec![subset.clone()],
        };
        out.push(object("EndpointSlice", &format!("{name}-x"), &[], Body::Endpoints(Box::new(slice))));
    }
    out
}

fn node() -> NodeContext {
    NodeContext {
        name: "n0".into(),
        zone: Some("a".into()),
        addresses: vec![ip(false, 4, NODE_IP), ip(true, 4, NODE_IP)],
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Says {
    NotService,
    Reject,
    Denied,
    Range,
    Elsewhere,
    OneOf(BTreeSet<(IpAddr, u16)>),
}

/// The slow reading: every service, every port, every endpoint, one rule of kube-proxy after the other.
fn says(world: &World, to: IpAddr, port: u16, protocol: Protocol, outside: bool, client: IpAddr) -> Says {
    for (service, subset) in world {
        if service.headless || service.kind == "ExternalName" {
            continue;
        }
        for p in service.ports.iter().filter(|p| p.protocol == protocol) {
            let balanced = service.kind == "LoadBalancer";
            let opened = balanced || service.kind == "NodePort";
            let cluster = service.cluster_ips.contains(&to) && port == p.port;
            let balancer =
                balanced && service.balancer_ips.iter().any(|b| b.ip == to && !b.proxied) && port == p.port;
            let external = service.external_ips.contains(&to) && port == p.port;
            let node_port = opened && node().addresses.contains(&to) && Some(port) == p.node_port;
            if !(cluster || balancer || external || node_port) {
                continue;
            }
            if cluster && outside {
                return Says::Denied;
            }
            let ranges = &service.source_ranges;
            if balancer && outside && !ranges.is_empty() && !ranges.iter().any(|r| r.contains(&client)) {
                return Says::Range;
            }
            let numbers: Vec<u16> = subset
                .ports
                .iter()
                .filter(|q| Some(&q.name) == p.name.as_ref() && q.protocol == protocol)
                .map(|q| q.port)
                .collect();
            let all: Vec<&SliceEndpoint> = subset
                .endpoints
                .iter()
                .filter(|e| !numbers.is_empty() && e.addresses[0].is_ipv4() == to.is_ipv4())
                .collect();
            let local_only = if cluster { service.internal_local } else { outside && service.external_local };
            let here = |e: &&SliceEndpoint| !local_only || e.node.as_deref() == Some("n0");
            let last = |e: &&SliceEndpoint| e.serving && e.terminating;
            let mut ready: Vec<&SliceEndpoint> = all.iter().copied().filter(|e| e.ready).collect();
            if !local_only {
                let hinted: Vec<&SliceEndpoint> =
                    ready.iter().copied().filter(|e| e.for_nodes.contains(&"n0".into())).collect();
                let zoned: Vec<&SliceEndpoint> =
                    ready.iter().copied().filter(|e| e.for_zones.contains(&"a".into())).collect();
                if ready.iter().all(|e| !e.for_nodes.is_empty()) && !hinted.is_empty() {
                    ready = hinted;
                } else if ready.iter().all(|e| !e.for_zones.is_empty()) && !zoned.is_empty() {
                    ready = zoned;
                }
            }
            let mut chosen: Vec<&SliceEndpoint> = ready.into_iter().filter(here).collect();
            if chosen.is_empty() {
                chosen = all.iter().copied().filter(here).filter(last).collect();
            }
            if chosen.is_empty() {
                let any = all.iter().any(|e| e.ready || last(e));
                return if local_only && any { Says::Elsewhere } else { Says::Reject };
            }
            return Says::OneOf(chosen.iter().map(|e| (e.addresses[0], numbers[0])).collect());
        }
    }
    Says::NotService
}

fn asked(image: &Image<'_>, to: (IpAddr, u16, u8), outside: bool, client: IpAddr) -> Says {
    let from = if outside { From::Outside } else { From::Inside };
    let mut all = BTreeSet::new();
    for n in 0..256u32 {
        match image.lookup(to, from, client, n << 24).unwrap() {
            Outcome::NotService => return Says::NotService,
            Outcome::Reject => return Says::Reject,
            Outcome::Drop(Drop::OutsideDenied) => return Says::Denied,
            Outcome::Drop(Drop::SourceRange) => return Says::Range,
            Outcome::Drop(Drop::NoLocalEndpoint) => return Says::Elsewhere,
            Outcome::Backend { backend, frontend } => {
                assert_eq!(image.backend_by_id(backend.id).unwrap(), Some(backend));
                assert_eq!(frontend.protocol, backend.protocol);
                let v6 = Ipv6Addr::from(backend.address);
                let address = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
                all.insert((address, backend.port));
            }
        }
    }
    Says::OneOf(all)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_image_says_what_a_slow_reading_of_the_objects_says(world in world(), maglev: bool) {
        let resolved = resolve(&Services::of(&objects(&world)), &node());
        let settings = Settings { maglev, maglev_size: 251 };
        let compiled = compile(&resolved, &Numbers::default(), &settings).unwrap();
        let image = Image::parse(&compiled.image).unwrap();
        image.check().unwrap();
        let mut places: Vec<(IpAddr, u16)> = resolved.frontends.iter().map(|f| (f.address.0, f.address.1)).collect();
        for n in 0..5 {
            for third in 1..4 {
                for v6 in [false, true] {
                    places.extend([(ip(v6, third, n), 80), (ip(v6, third, n), 81)]);
                }
            }
            places.extend([(ip(false, 4, NODE_IP), 30000 + u16::from(n) * 10), (ip(true, 4, NODE_IP), 30001)]);
        }
        for (to, port) in places {
            for (protocol, number) in [(Protocol::Tcp, 6), (Protocol::Udp, 17), (Protocol::Sctp, 132)] {
                for outside in [false, true] {
                    for client in [ip(to.is_ipv6(), 9, 1), ip(to.is_ipv6(), 8, 1)] {
                        let want = says(&world, to, port, protocol, outside, client);
                        let got = asked(&image, (to, port, number), outside, client);
                        prop_assert_eq!(got, want, "{} {} {:?} outside {}", to, port, protocol, outside);
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_objects_does_not_matter(world in world(), seed: u64) {
        let mut all = objects(&world);
        let make = |all: &[Object]| {
            compile(&resolve(&Services::of(all), &node()), &Numbers::default(), &Settings::default()).unwrap()
        };
        let first = make(&all);
        let mut state = seed | 1;
        for at in (1..all.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = usize::try_from(state >> 33).unwrap() % (at + 1);
            all.swap(at, other);
        }
        prop_assert_eq!(make(&all), first);
    }

    #[test]
    fn numbers_stay_while_things_stay(before in world(), after in world()) {
        let compiled = |world: &World, numbers: &Numbers| {
            compile(&resolve(&Services::of(&objects(world)), &node()), numbers, &Settings::default()).unwrap()
        };
        let first = compiled(&before, &Numbers::default());
        let second = compiled(&after, &first.numbers);
        let (old, new) = (Image::parse(&first.image).unwrap(), Image::parse(&second.image).unwrap());
        for b in old.backends() {
            let same = new.backends().find(|n| (n.address, n.port, n.protocol) == (b.address, b.port, b.protocol));
            if let Some(n) = same {
                prop_assert_eq!(n.id, b.id);
            } else {
                prop_assert!(second.gone.iter().any(|(_, id)| *id == b.id));
                prop_assert_eq!(new.backend_by_id(b.id).unwrap(), None);
            }
        }
        prop_assert_eq!(Numbers::from_text(&second.numbers.to_text()), Some(second.numbers));
    }

    #[test]
    fn damaged_images_never_panic(world in world(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 0..6), cut: prop::sample::Index, short: bool) {
        let resolved = resolve(&Services::of(&objects(&world)), &node());
        let settings = Settings { maglev: true, maglev_size: 251 };
        let mut image = compile(&resolved, &Numbers::default(), &settings).unwrap().image;
        // Most of the header's fields, and a few bytes anywhere.
        for (n, (at, bit)) in flips.iter().enumerate() {
            let range = if n % 2 == 0 { 96 } else { image.len() };
            image[at.index(range)] ^= 1 << bit;
        }
        if short {
            image.truncate(cut.index(image.len()));
        }
        if let Ok(read) = Image::parse(&image) {
            let sound = read.check();
            for f in &resolved.frontends {
                for (from, hash) in [(From::Inside, 0), (From::Outside, u32::MAX)] {
                    let answer = read.lookup(f.address, from, ip(false, 9, 1), hash);
                    prop_assert!(sound.is_err() || answer.is_ok());
                }
            }
            let _ = read.backend_by_id(1);
        }
    }
}
