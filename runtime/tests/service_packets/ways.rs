//! One test for each way of a packet.

use crate::scene::{DROP, ON, SCTP, Scene, TCP, UDP, frame, read_packet, who};
use crate::service_image::Front;
use crate::support::packets::{ACK, FIN, Ip, RST, SYN, SYN_ACK, checksum, icmp, udp};
use portcullis_abi::maps::drop;
use portcullis_abi::services::{backend, frontend};
use portcullis_agent::kernel::DeviceHook;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const LOCAL: u8 = backend::LOCAL;

/// The node, its pod, a pod elsewhere, a client; each in both families.
fn node(v6: bool, port: u16) -> SocketAddr {
    who(v6, 1, port)
}
fn pod(v6: bool) -> SocketAddr {
    who(v6, 10, 8080)
}
fn far(v6: bool) -> SocketAddr {
    who(v6, 20, 8080)
}
fn client(v6: bool) -> SocketAddr {
    who(v6, 200, 40_000)
}

fn on_each(protocols: &[u8], test: impl Fn(bool, u8)) {
    for v6 in [false, true] {
        for p in protocols {
            test(v6, *p);
        }
    }
}

#[test]
fn a_node_port_reaches_a_pod_here_which_sees_the_client() {
    on_each(&[TCP, UDP], |v6, p| {
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), p, &[(pod(v6), LOCAL)])]) else { return };
        for flags in [SYN, ACK] {
            let seen = s.comes(&frame(client(v6), node(v6, 30_080), p, flags));
            assert_eq!((seen.from, seen.to), (client(v6), pod(v6)));
            let seen = s.leaves(&frame(pod(v6), client(v6), p, SYN_ACK));
            assert_eq!((seen.from, seen.to), (node(v6, 30_080), client(v6)));
        }
    });
}

#[test]
fn a_pod_elsewhere_is_reached_from_a_port_of_the_node() {
    on_each(&[TCP, UDP], |v6, p| {
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), p, &[(far(v6), 0)])]) else { return };
        let seen = s.comes(&frame(client(v6), node(v6, 30_080), p, SYN));
        assert_eq!((seen.from, seen.to), (client(v6), far(v6)));
        let out = s.leaves(&frame(client(v6), far(v6), p, SYN));
        assert_eq!((out.from.ip(), out.to), (node(v6, 0).ip(), far(v6)));
        assert!(out.from.port() >= 61_000, "{out:?}");
        // A second packet has the same port.
        s.comes(&frame(client(v6), node(v6, 30_080), p, ACK));
        assert_eq!(s.leaves(&frame(client(v6), far(v6), p, ACK)).from, out.from);
        let back = s.comes(&frame(far(v6), out.from, p, SYN_ACK));
        assert_eq!((back.from, back.to), (far(v6), client(v6)));
        let last = s.leaves(&frame(far(v6), client(v6), p, SYN_ACK));
        assert_eq!((last.from, last.to), (node(v6, 30_080), client(v6)));
    });
}

#[test]
fn a_client_that_is_the_backend_gets_its_own_connection_from_the_node() {
    let me = who(false, 20, 40_000);
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &[(far(false), 0)])]) else { return };
    let seen = s.comes(&frame(me, node(false, 30_080), TCP, SYN));
    let out = s.leaves(&frame(seen.from, seen.to, TCP, SYN));
    assert_eq!((out.from.ip(), out.to), (node(false, 0).ip(), far(false)));
    let back = s.comes(&frame(far(false), out.from, TCP, SYN_ACK));
    let last = s.leaves(&frame(back.from, back.to, TCP, SYN_ACK));
    assert_eq!((last.from, last.to), (node(false, 30_080), me));
}

#[test]
fn clients_of_one_backend_get_different_ports() {
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &[(far(false), 0)])]) else { return };
    let mut ports = BTreeMap::new();
    // Four entries each, and no more than the small map of a test keeps.
    for port in 1000..1100 {
        let c = who(false, 200, port);
        s.comes(&frame(c, node(false, 30_080), TCP, SYN));
        let out = s.leaves(&frame(c, far(false), TCP, SYN));
        assert_eq!(ports.insert(out.from.port(), port), None);
    }
}

#[test]
fn what_is_no_service_is_left_alone() {
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &[(pod(false), LOCAL)])]) else { return };
    let others = [
        frame(client(false), node(false, 22), TCP, SYN),
        frame(client(false), node(false, 30_080), UDP, 0),
        Ip::new(client(false).ip(), node(false, 0).ip(), 1).frame(&icmp(8, 0, 1)),
        crate::support::packets::ethernet(0x0806),
    ];
    for packet in others {
        for hook in [DeviceHook::In, DeviceHook::Out] {
            assert_eq!(s.run(hook, &packet), (ON, packet.clone()));
        }
    }
    assert!(s.services.flows().unwrap().is_empty());
}

#[test]
fn a_cluster_address_is_denied_from_outside() {
    on_each(&[TCP, UDP], |v6, p| {
        let front = Front::new(who(v6, 96, 80), p, &[(pod(v6), LOCAL)]).flags(frontend::OUTSIDE_DENIED);
        let Some(s) = Scene::new(&[front]) else { return };
        let reason = s.dropped(DeviceHook::In, &frame(client(v6), who(v6, 96, 80), p, SYN));
        assert_eq!(reason, drop::CLUSTER_IP);
    });
}

#[test]
fn source_ranges_let_their_clients_in_and_drop_the_others() {
    on_each(&[TCP], |v6, p| {
        let mut front = Front::new(who(v6, 50, 80), p, &[(pod(v6), LOCAL)]);
        // The second one holds the client; many before it hold nobody.
        let nobody = (who(v6, 7, 0).ip(), if v6 { 128 } else { 32 });
        front.ranges = vec![nobody; 300];
        let bits = if v6 { 125 } else { 29 };
        front.ranges.push((who(v6, 200, 0).ip(), bits));
        let Some(s) = Scene::new(&[front]) else { return };
        assert_eq!(s.comes(&frame(client(v6), who(v6, 50, 80), p, SYN)).to, pod(v6));
        assert_eq!(s.comes(&frame(who(v6, 207, 9), who(v6, 50, 80), p, SYN)).to, pod(v6));
        for stranger in [199, 208] {
            let packet = frame(who(v6, stranger, 9), who(v6, 50, 80), p, SYN);
            assert_eq!(s.dropped(DeviceHook::In, &packet), drop::SOURCE_RANGE);
        }
    });
}

#[test]
fn a_connection_without_endpoints_is_reset() {
    on_each(&[TCP], |v6, p| {
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), p, &[])]) else { return };
        let seen = s.refused(&frame(client(v6), node(v6, 30_080), p, SYN));
        assert_eq!((seen.from, seen.to), (node(v6, 30_080), client(v6)));
        assert_eq!(seen.l4[13], RST | ACK);
        // The SYN had the number 1.
        assert_eq!(seen.l4[8..12], [0, 0, 0, 2]);
        let seen = s.refused(&frame(client(v6), node(v6, 30_080), p, ACK));
        assert_eq!((seen.l4[13], &seen.l4[4..8]), (RST, &[0, 0, 0, 0][..]));
        assert_eq!(s.run(DeviceHook::In, &frame(client(v6), node(v6, 30_080), p, RST)).0, DROP);
    });
}

#[test]
fn a_datagram_without_endpoints_is_answered_by_port_unreachable() {
    on_each(&[UDP], |v6, p| {
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), p, &[])]) else { return };
        let packet = frame(client(v6), node(v6, 30_080), p, 0);
        let seen = s.refused(&packet);
        assert_eq!((seen.from.ip(), seen.to.ip()), (node(v6, 0).ip(), client(v6).ip()));
        assert_eq!(seen.l4[..2], if v6 { [1, 4] } else { [3, 3] });
        let quoted = read_packet(&seen.l4[8..]);
        assert_eq!((quoted.from, quoted.to), (client(v6), node(v6, 30_080)));
    });
}

#[test]
fn a_local_policy_without_a_local_endpoint_drops() {
    on_each(&[TCP, UDP], |v6, p| {
        let flags = frontend::EXTERNAL_LOCAL | frontend::OUTSIDE_DROP;
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), p, &[]).flags(flags)]) else { return };
        let packet = frame(client(v6), node(v6, 30_080), p, SYN);
        assert_eq!(s.dropped(DeviceHook::In, &packet), drop::NO_BACKEND);
    });
}

#[test]
fn random_choice_uses_every_backend_and_a_flow_keeps_its_own() {
    let all: Vec<_> = (10..14).map(|n| (who(false, n, 8080), LOCAL)).collect();
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &all)]) else { return };
    let mut seen: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for port in 1000..1400 {
        let c = who(false, 200, port);
        let to = s.comes(&frame(c, node(false, 30_080), TCP, SYN)).to;
        *seen.entry(to).or_default() += 1;
        assert_eq!(s.comes(&frame(c, node(false, 30_080), TCP, ACK)).to, to);
    }
    assert!(seen.len() == 4 && seen.values().all(|n| *n > 50), "{seen:?}");
}

#[test]
fn maglev_chooses_by_the_flow_and_again_alike() {
    let all: Vec<_> = (10..14).map(|n| (who(false, n, 8080), LOCAL)).collect();
    let mut front = Front::new(node(false, 30_080), TCP, &all);
    front.maglev = (0..13).map(|i| i % 4).collect();
    let Some(s) = Scene::new(&[front]) else { return };
    let mut seen = BTreeMap::new();
    for round in 0..2 {
        for port in 1000..1200 {
            let c = who(false, 200, port);
            let to = s.comes(&frame(c, node(false, 30_080), TCP, SYN)).to;
            if round == 0 {
                seen.insert(port, to);
            }
            assert_eq!(seen[&port], to);
        }
        for (key, _) in s.services.flows().unwrap() {
            s.services.remove_flow(&key).unwrap();
        }
    }
    assert_eq!(seen.values().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn a_client_keeps_its_backend_until_the_backend_is_gone() {
    let all: Vec<_> = (10..18).map(|n| (who(false, n, 8080), LOCAL)).collect();
    let mut front = Front::new(node(false, 30_080), TCP, &all);
    front.affinity = 10_800;
    let Some(s) = Scene::new(&[front.clone()]) else { return };
    let go = |port| s.comes(&frame(who(false, 200, port), node(false, 30_080), TCP, SYN)).to;
    let first = go(1000);
    assert!((1001..1100).all(|port| go(port) == first));
    front.backends.retain(|(at, _)| *at != first);
    s.set(&[front]);
    let second = go(2000);
    assert_ne!(second, first);
    assert!((2001..2100).all(|port| go(port) == second));
}

#[test]
fn a_short_affinity_runs_out() {
    let all: Vec<_> = (10..18).map(|n| (who(false, n, 8080), LOCAL)).collect();
    let mut front = Front::new(node(false, 30_080), TCP, &all);
    front.affinity = 1;
    let Some(s) = Scene::new(&[front]) else { return };
    let go = |port| s.comes(&frame(who(false, 200, port), node(false, 30_080), TCP, SYN)).to;
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4u16 {
        seen.insert(go(1000 + round));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn datagrams_leave_a_gone_backend_and_connections_end_with_it() {
    for (p, moves) in [(UDP, true), (TCP, false)] {
        let to = |n| Front::new(node(false, 30_080), p, &[(who(false, n, 8080), LOCAL)]);
        let Some(s) = Scene::new(&[to(10)]) else { return };
        let go = |flags| s.comes(&frame(client(false), node(false, 30_080), p, flags)).to;
        assert_eq!(go(SYN), who(false, 10, 8080));
        s.leaves(&frame(who(false, 10, 8080), client(false), p, SYN_ACK));
        assert_eq!(go(ACK), who(false, 10, 8080));
        s.set(&[to(11)]);
        assert_eq!(go(ACK), who(false, if moves { 11 } else { 10 }, 8080));
    }
}

#[test]
fn a_port_that_is_used_again_begins_a_new_connection() {
    let to = |n| Front::new(node(false, 30_080), TCP, &[(who(false, n, 8080), LOCAL)]);
    let Some(s) = Scene::new(&[to(10)]) else { return };
    let go = |flags| s.comes(&frame(client(false), node(false, 30_080), TCP, flags)).to;
    go(SYN);
    s.leaves(&frame(who(false, 10, 8080), client(false), TCP, SYN_ACK));
    go(FIN | ACK);
    s.set(&[to(11)]);
    assert_eq!(go(ACK), who(false, 10, 8080));
    assert_eq!(go(SYN), who(false, 11, 8080));
}

#[test]
fn sctp_keeps_its_port_or_is_dropped() {
    let Some(s) = Scene::new(&[
        Front::new(who(false, 50, 8080), SCTP, &[(pod(false), LOCAL)]),
        Front::new(node(false, 30_080), SCTP, &[(pod(false), LOCAL)]),
    ]) else {
        return;
    };
    assert_eq!(s.comes(&frame(client(false), who(false, 50, 8080), SCTP, 0)).to, pod(false));
    let packet = frame(client(false), node(false, 30_080), SCTP, 0);
    assert_eq!(s.dropped(DeviceHook::In, &packet), drop::UNMAPPABLE);
}

#[test]
fn later_pieces_go_where_the_first_went() {
    for v6 in [false, true] {
        let Some(s) = Scene::new(&[Front::new(node(v6, 30_080), UDP, &[(pod(v6), LOCAL)])]) else { return };
        let mut ip = Ip::new(client(v6).ip(), node(v6, 0).ip(), UDP);
        (ip.id, ip.more) = (77, true);
        let (code, after) = s.run(DeviceHook::In, &ip.frame(&udp(40_000, 30_080)[..8]));
        assert_eq!(code, ON);
        assert_eq!(addresses(&after, v6), (client(v6).ip(), pod(v6).ip()));
        (ip.more, ip.offset) = (false, 8);
        let (code, after) = s.run(DeviceHook::In, &ip.frame(b"the rest"));
        assert_eq!(code, ON);
        assert_eq!(addresses(&after, v6), (client(v6).ip(), pod(v6).ip()));
        assert!(after.ends_with(b"the rest"));
    }
}

fn addresses(frame: &[u8], v6: bool) -> (std::net::IpAddr, std::net::IpAddr) {
    if v6 {
        let ip = |at: usize| <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap().into();
        (ip(22), ip(38))
    } else {
        let ip = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap().into();
        (ip(26), ip(30))
    }
}

/// An error about a packet, from somebody, with its checksum.
fn error(v6: bool, from: SocketAddr, to: SocketAddr, about: &[u8]) -> Vec<u8> {
    let mut l4 = if v6 { vec![1, 4, 0, 0, 0, 0, 0, 0] } else { vec![3, 3, 0, 0, 0, 0, 0, 0] };
    l4.extend(&about[14..14 + if v6 { 48 } else { 28 }]);
    let protocol = if v6 { 58 } else { 1 };
    let sum = if v6 { crate::scene::transport_sum(from.ip(), to.ip(), 58, &l4) } else { checksum(&l4, 0) };
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(from.ip(), to.ip(), protocol).frame(&l4)
}

#[test]
fn errors_about_flows_reach_both_ends_in_their_own_terms() {
    for v6 in [false, true] {
        let front = node(v6, 30_080);
        let Some(s) = Scene::new(&[Front::new(front, UDP, &[(far(v6), 0)])]) else { return };
        s.comes(&frame(client(v6), front, UDP, 0));
        let out = s.leaves(&frame(client(v6), far(v6), UDP, 0));
        // The backend says that nobody listens: the client hears it of the frontend.
        let sent = frame(out.from, far(v6), UDP, 0);
        let came = s.comes(&error(v6, far(v6), out.from, &sent));
        assert_eq!((came.from.ip(), came.to.ip()), (far(v6).ip(), client(v6).ip()));
        let quoted = read_packet(&came.l4[8..]);
        assert_eq!((quoted.from, quoted.to), (client(v6), far(v6)));
        let left = s.leaves(&error(v6, far(v6), client(v6), &frame(client(v6), far(v6), UDP, 0)));
        assert_eq!((left.from.ip(), left.to.ip()), (front.ip(), client(v6).ip()));
        let quoted = read_packet(&left.l4[8..]);
        assert_eq!((quoted.from, quoted.to), (client(v6), front));
        // A router between keeps its own address.
        let router = who(v6, 99, 0);
        let left = s.leaves(&error(v6, router, client(v6), &frame(client(v6), far(v6), UDP, 0)));
        assert_eq!(left.from.ip(), router.ip());
        // The client says so about a reply: the backend hears it about its own packet.
        let about = frame(front, client(v6), UDP, 0);
        let came = s.comes(&error(v6, client(v6), front, &about));
        assert_eq!((came.from.ip(), came.to.ip()), (client(v6).ip(), far(v6).ip()));
        let quoted = read_packet(&came.l4[8..]);
        assert_eq!((quoted.from, quoted.to), (far(v6), client(v6)));
    }
}

#[test]
fn an_evicted_entry_is_made_again_of_its_partner() {
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &[(pod(false), LOCAL)])]) else { return };
    s.comes(&frame(client(false), node(false, 30_080), TCP, SYN));
    s.leaves(&frame(pod(false), client(false), TCP, SYN_ACK));
    for (key, _) in s.services.flows().unwrap() {
        if key.direction == portcullis_abi::maps::EGRESS {
            s.services.remove_flow(&key).unwrap();
        }
    }
    s.comes(&frame(client(false), node(false, 30_080), TCP, FIN | ACK));
    let seen = s.leaves(&frame(pod(false), client(false), TCP, ACK));
    assert_eq!(seen.from, node(false, 30_080));
}

#[test]
fn without_an_address_of_the_node_nothing_leaves_with_the_clients() {
    let Some(s) = Scene::new(&[Front::new(node(false, 30_080), TCP, &[(far(false), 0)])]) else { return };
    s.services.remove_device(crate::support::LOOPBACK).unwrap();
    s.comes(&frame(client(false), node(false, 30_080), TCP, SYN));
    let packet = frame(client(false), far(false), TCP, SYN);
    assert_eq!(s.dropped(DeviceHook::Out, &packet), drop::NO_MAPPING);
}
