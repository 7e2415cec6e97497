//! Datagrams in pieces.

use crate::support::packets::{Ip, SYN, icmp, tcp, udp};
use crate::support::scene::{PASSES, POLICY, Scene, reporting};
use crate::support::small;
use portcullis_abi::maps::{counter, drop};
use portcullis_agent::kernel::Settings;
use std::time::Duration;

fn first(mut ip: Ip, id: u32) -> Ip {
    (ip.id, ip.more, ip.offset) = (id, true, 0);
    ip
}

fn later(mut ip: Ip, id: u32, offset: u16) -> Ip {
    (ip.id, ip.more, ip.offset) = (id, false, offset);
    ip
}

#[test]
fn later_pieces_go_where_the_first_went() {
    let Some(s) = Scene::new() else { return };
    for ip in [s.v4("web", "db", 17), s.v6("web", "db", 17)] {
        assert_eq!(s.sends(&first(ip.clone(), 7).frame(&udp(1000, 53))), PASSES);
        assert_eq!(s.sends(&later(ip.clone(), 7, 1480).frame(&[9; 64])), PASSES);
        assert_eq!(s.sends(&later(ip.clone(), 7, 8).frame(&[9; 1])), PASSES);
        assert_eq!(s.sends(&first(ip.clone(), 8).frame(&udp(1000, 54))), Err(drop::POLICY));
        assert_eq!(s.sends(&later(ip.clone(), 8, 1480).frame(&[9; 64])), Err(drop::POLICY));
    }
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 0);
}

#[test]
fn a_later_piece_whose_first_was_not_seen_needs_a_rule_for_every_port() {
    let Some(s) = Scene::new() else { return };
    for protocol in [6, 17, 132] {
        for v6 in [false, true] {
            let ip = |to| if v6 { s.v6("web", to, protocol) } else { s.v4("web", to, protocol) };
            assert_eq!(s.sends(&later(ip("db"), 7, 1480).frame(&[9; 64])), Err(drop::POLICY), "{protocol}");
            assert_eq!(s.sends(&later(ip("all"), 7, 1480).frame(&[9; 64])), PASSES, "{protocol}");
        }
    }
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 12);
    let all = s.machine.kernel.flows().unwrap();
    assert!(all.is_empty(), "a piece without ports begins no flow: {all:?}");
}

#[test]
fn a_rule_from_port_one_on_or_up_to_the_last_but_one_is_not_one_for_every_port() {
    let Some(s) = Scene::new() else { return };
    let ranges = |ports: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: shop}}\n\
             spec:\n  endpointSelector: {{matchLabels: {{app: web}}}}\n  egress:\n  \
             - toEndpoints: [{{matchLabels: {{app: db}}}}]\n    toPorts: [{{ports: [{ports}]}}]\n"
        )
    };
    let cases = [
        ("{port: '1', endPort: 65535, protocol: UDP}", Err(drop::POLICY)),
        ("{port: '1', endPort: 65534, protocol: UDP}", Err(drop::POLICY)),
        ("{port: '0', protocol: UDP}", PASSES),
        ("{port: '0', protocol: TCP}", Err(drop::POLICY)),
        ("{port: '0', protocol: ANY}", PASSES),
    ];
    for (ports, expected) in cases {
        s.flip(&ranges(ports));
        let ip = later(s.v4("web", "db", 17), 7, 1480);
        assert_eq!(s.sends(&ip.frame(&[9; 64])), expected, "{ports}");
    }
}

#[test]
fn a_denial_of_one_port_does_not_match_a_piece_without_ports() {
    let Some(s) = Scene::new() else { return };
    s.flip(&format!("{POLICY}  egressDeny: [{{toPorts: [{{ports: [{{port: '22', protocol: UDP}}]}}]}}]\n"));
    assert_eq!(s.sends(&later(s.v4("web", "all", 17), 7, 1480).frame(&[9; 64])), PASSES);
    assert_eq!(s.sends(&first(s.v4("web", "all", 17), 7).frame(&udp(1000, 22))), Err(drop::POLICY));
    assert_eq!(s.sends(&later(s.v4("web", "all", 17), 7, 1480).frame(&[9; 64])), Err(drop::POLICY));
}

#[test]
fn a_second_piece_inside_the_tcp_header_is_invalid() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&first(s.v4("web", "all", 6), 7).frame(&tcp(1000, 80, SYN))), PASSES);
    assert_eq!(s.sends(&later(s.v4("web", "all", 6), 7, 8).frame(&[0; 32])), Err(drop::INVALID_PACKET));
    assert_eq!(s.sends(&later(s.v4("web", "all", 6), 7, 16).frame(&[0; 32])), PASSES);
    assert_eq!(s.sends(&later(s.v4("web", "all", 17), 7, 8).frame(&[0; 32])), PASSES);
}

#[test]
fn a_first_piece_too_short_for_its_transport_is_truncated() {
    let Some(s) = Scene::new() else { return };
    for ip in [s.v4("web", "all", 6), s.v6("web", "all", 6)] {
        assert_eq!(s.sends(&first(ip.clone(), 7).frame(&tcp(1000, 80, SYN)[..16])), Err(drop::TRUNCATED));
        // It was not remembered: nothing is known of what follows.
        assert_eq!(s.sends(&later(ip, 7, 16).frame(&[0; 32])), PASSES);
    }
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 2);
}

#[test]
fn pieces_belong_together_by_ends_identification_protocol_and_direction() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&first(s.v4("web", "db", 17), 7).frame(&udp(1000, 53))), PASSES);
    let other = [
        later(s.v4("web", "db", 17), 8, 1480),
        later(s.v4("web", "db", 6), 7, 1480),
        later(s.v4("web", "ping", 17), 7, 1480),
    ];
    for ip in other {
        assert_eq!(s.sends(&ip.frame(&[9; 64])), Err(drop::POLICY), "{ip:?}");
    }
    assert_eq!(s.gets(&later(s.v4("web", "db", 17), 7, 1480).frame(&[9; 64])), Err(drop::POLICY));
    assert_eq!(s.sends(&first(s.v6("web", "db", 17), 0x0001_0007).frame(&udp(1000, 53))), PASSES);
    assert_eq!(s.sends(&later(s.v6("web", "db", 17), 7, 1480).frame(&[9; 64])), Err(drop::POLICY));
    assert_eq!(s.sends(&later(s.v6("web", "db", 17), 0x0001_0007, 1480).frame(&[9; 64])), PASSES);
}

/// The fragment header of later pieces names what stood behind it in the first, which was no transport.
#[test]
fn ipv6_options_behind_the_fragment_header_do_not_part_the_pieces() {
    let Some(s) = Scene::new() else { return };
    let fragment = |offset: u16| {
        let mut bytes = vec![0];
        bytes.extend(offset.to_be_bytes());
        bytes.extend([0, 0, 0, 7]);
        (44, bytes)
    };
    let mut ip = s.v6("web", "db", 17);
    ip.extensions = vec![fragment(1), (60, vec![0; 7])];
    assert_eq!(s.sends(&ip.frame(&udp(1000, 53))), PASSES);
    let mut ip = s.v6("web", "db", 60);
    ip.extensions = vec![fragment(1480)];
    assert_eq!(s.sends(&ip.frame(&[9; 64])), PASSES);
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 0);
    let events = s.events();
    assert!(events.iter().all(|e| e.protocol == 17 && e.destination_port == 53), "{events:?}");
}

#[test]
fn payload_of_a_later_ipv6_piece_is_not_taken_for_a_header() {
    let Some(s) = Scene::new() else { return };
    for next in [0, 43, 44, 51, 60] {
        let ip = later(s.v6("web", "all", next), 7, 1480);
        assert_eq!(s.sends(&ip.frame(&[0, 0, 0, 1])), PASSES, "{next}");
        let ip = later(s.v6("web", "db", next), 7, 1480);
        assert_eq!(s.sends(&ip.frame(&udp(1000, 53))), Err(drop::POLICY), "{next}");
    }
}

#[test]
fn a_fragment_header_around_a_whole_datagram_changes_nothing() {
    let Some(s) = Scene::new() else { return };
    let mut ip = s.v6("web", "db", 17);
    ip.extensions = vec![(44, vec![0, 0, 0, 0, 0, 0, 7])];
    assert_eq!(s.sends(&ip.frame(&udp(1000, 53))), PASSES);
    assert_eq!(s.sends(&ip.frame(&udp(1000, 54))), Err(drop::POLICY));
    assert_eq!(s.sends(&later(s.v6("web", "db", 17), 7, 8).frame(&[9; 64])), Err(drop::POLICY));
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 1);
}

#[test]
fn what_the_first_piece_said_is_forgotten_after_its_time() {
    let settings = Settings { lifetime_fragments: Duration::ZERO, ..reporting() };
    let Some(s) = Scene::with(small(), &settings) else { return };
    for ip in [s.v4("web", "db", 17), s.v6("web", "db", 17)] {
        assert_eq!(s.sends(&first(ip.clone(), 7).frame(&udp(1000, 53))), PASSES);
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(s.sends(&later(ip, 7, 1480).frame(&[9; 64])), Err(drop::POLICY));
    }
    assert_eq!(s.count(counter::FRAGMENTS_UNKNOWN), 2);
}

#[test]
fn a_reply_in_pieces_passes_and_pieces_that_answer_nothing_do_not() {
    let Some(s) = Scene::new() else { return };
    for v6 in [false, true] {
        let ip = |from, to| if v6 { s.v6(from, to, 17) } else { s.v4(from, to, 17) };
        assert_eq!(s.sends(&ip("web", "out").frame(&udp(1000, 53))), PASSES);
        assert_eq!(s.gets(&first(ip("out", "web"), 7).frame(&udp(53, 1000))), PASSES);
        assert_eq!(s.gets(&later(ip("out", "web"), 7, 1480).frame(&[9; 64])), PASSES);
        assert_eq!(s.gets(&first(ip("out", "web"), 8).frame(&udp(53, 1001))), Err(drop::POLICY));
        assert_eq!(s.gets(&later(ip("out", "web"), 8, 1480).frame(&[9; 64])), Err(drop::POLICY));
        assert_eq!(s.gets(&later(ip("out", "web"), 9, 1480).frame(&[9; 64])), Err(drop::POLICY));
    }
}

#[test]
fn a_ping_in_pieces_is_asked_and_answered() {
    let Some(s) = Scene::new() else { return };
    for (v6, ask, answer) in [(false, 8, 0), (true, 128, 129)] {
        let ip = |from, to| if v6 { s.v6(from, to, 58) } else { s.v4(from, to, 1) };
        assert_eq!(s.sends(&first(ip("web", "ping"), 7).frame(&icmp(ask, 0, 5))), PASSES);
        assert_eq!(s.sends(&later(ip("web", "ping"), 7, 1480).frame(&[9; 64])), PASSES);
        assert_eq!(s.gets(&first(ip("ping", "web"), 9).frame(&icmp(answer, 0, 5))), PASSES);
        assert_eq!(s.gets(&later(ip("ping", "web"), 9, 1480).frame(&[9; 64])), PASSES);
        assert_eq!(s.gets(&first(ip("ping", "web"), 10).frame(&icmp(answer, 0, 6))), Err(drop::POLICY));
        assert_eq!(s.gets(&later(ip("ping", "web"), 10, 1480).frame(&[9; 64])), Err(drop::POLICY));
    }
}
