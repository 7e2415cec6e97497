//! What the image answers, and what is done where it has no answer.

use crate::support::packets::{SYN, tcp};
use crate::support::scene::{PASSES, POLICY, Scene, Staged, reporting};
use crate::support::{Machine, small};
use portcullis_abi::maps::{AddressValue, EndpointValue, VERDICT_AUDIT, counter, drop};
use portcullis_abi::word;
use portcullis_agent::kernel::Settings;

const CIDR: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25]}]
    - fromCIDR: [203.0.113.192/26, '2001:db8:1::/48']
  egress:
    - toCIDR: [198.51.100.7/32]
      toPorts: [{ports: [{port: '80', protocol: TCP}]}]
";

#[test]
fn a_rule_holds_for_its_ports_transport_and_direction() {
    let Some(s) = Scene::new() else { return };
    for (port, expected) in [(79, Err(drop::POLICY)), (80, PASSES), (81, Err(drop::POLICY))] {
        assert_eq!(s.sends(&s.tcp("web", "db", (1000, port), SYN)), expected, "{port}");
        assert_eq!(s.gets(&s.tcp("db", "web", (2000, port), SYN)), expected, "{port}");
    }
    assert_eq!(s.sends(&s.udp("web", "db", (1000, 80))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.udp("web", "db", (1000, 53))), PASSES);
    assert_eq!(s.sends(&s.v4("web", "db", 47).frame(&[0; 8])), Err(drop::POLICY));
    assert_eq!(s.gets(&s.udp("out", "web", (1, 1))), Err(drop::POLICY));
    assert_eq!(s.sends(&s.udp("web", "in", (1, 1))), Err(drop::POLICY));
}

#[test]
fn the_longest_prefix_says_who_an_address_is() {
    let Some(s) = Scene::new() else { return };
    s.flip(CIDR);
    let cases = [
        ("203.0.113.1", true),
        ("203.0.113.127", true),
        ("203.0.113.128", false),
        ("203.0.113.191", false),
        ("203.0.113.192", true),
        ("203.0.114.0", false),
        ("2001:db8:1::9", true),
        ("2001:db8:2::9", false),
    ];
    for (from, passes) in cases {
        let source: std::net::IpAddr = from.parse().unwrap();
        let mut ip = if source.is_ipv6() { s.v6("none", "web", 6) } else { s.v4("none", "web", 6) };
        ip.source = source;
        let got = s.gets(&ip.frame(&tcp(1000, 80, SYN)));
        // Where no prefix covers an address, its identity is not known.
        assert_eq!(got.is_ok(), passes, "{from}: {got:?}");
    }
    let mut ip = s.v4("web", "none", 6);
    ip.destination = "198.51.100.7".parse().unwrap();
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN))), PASSES);
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 81, SYN))), Err(drop::POLICY));
}

#[test]
fn an_address_that_is_bound_is_not_looked_for_among_prefixes() {
    let Some(s) = Scene::new() else { return };
    s.flip(CIDR);
    let mut ip = s.v4("none", "web", 6);
    ip.source = "203.0.113.1".parse().unwrap();
    assert_eq!(s.gets(&ip.frame(&tcp(1000, 80, SYN))), PASSES);
    let (identity, _) = s.pods["none"];
    s.machine.kernel.set_address(ip.source, AddressValue { identity, endpoint: 0 }).unwrap();
    assert_eq!(s.gets(&ip.frame(&tcp(1001, 80, SYN))), Err(drop::POLICY));
}

#[test]
fn a_peer_of_no_known_identity_is_dropped() {
    let Some(s) = Scene::new() else { return };
    let from = |address: &str| {
        let mut ip = s.v4("none", "web", 6);
        ip.source = address.parse().unwrap();
        ip.frame(&tcp(1000, 80, SYN))
    };
    // No prefix at all, and one of identity 0.
    s.flip_with(POLICY, |staged: &mut Staged| {
        staged.prefixes = vec![("203.0.113.0/24".parse().unwrap(), 0)];
    });
    assert_eq!(s.gets(&from("198.51.100.1")), Err(drop::INVALID_IDENTITY));
    assert_eq!(s.gets(&from("203.0.113.1")), Err(drop::INVALID_IDENTITY));
    // Numbers beyond the table, and one that nobody has.
    for identity in [0, 15, 60_000, u32::MAX] {
        let value = AddressValue { identity, endpoint: 0 };
        s.machine.kernel.set_address("198.51.100.1".parse().unwrap(), value).unwrap();
        assert_eq!(s.gets(&from("198.51.100.1")), Err(drop::INVALID_IDENTITY), "{identity}");
    }
}

#[test]
fn an_endpoint_that_the_image_does_not_know_has_no_policy() {
    let Some(s) = Scene::new() else { return };
    let (identity, _) = s.pods["web"];
    for number in [1000, u32::MAX] {
        s.machine.kernel.set_endpoint(1, EndpointValue { number, identity }).unwrap();
        assert_eq!(s.gets(&s.tcp("all", "web", (1000, 80), SYN)), Err(drop::NO_POLICY), "{number}");
    }
}

#[test]
fn without_an_image_nothing_passes_but_what_keeps_the_link() {
    let Some(machine) = Machine::new(small(), &reporting()) else { return };
    machine.kernel.set_endpoint(1, EndpointValue { number: 0, identity: 16 }).unwrap();
    let ends = ["198.18.0.1".parse().unwrap(), "198.18.0.2".parse().unwrap()];
    let frame = crate::support::packets::Ip::new(ends[0], ends[1], 6).frame(&tcp(1000, 80, SYN));
    assert_eq!(machine.run(portcullis_ir::Direction::Ingress, &frame), 2);
    let drops = machine.kernel.drops().unwrap();
    assert_eq!(drops.iter().map(|(k, n)| (k.reason, *n)).collect::<Vec<_>>(), [(drop::NO_POLICY, 1)]);
    let mut arp = crate::support::packets::ethernet(0x0806);
    arp.extend([0; 28]);
    assert_eq!(machine.run(portcullis_ir::Direction::Ingress, &arp), -1);
}

#[test]
fn what_needs_a_proxy_or_authentication_is_dropped_unless_told_otherwise() {
    for fail_open in [false, true] {
        let settings = Settings { fail_open, ..reporting() };
        let Some(s) = Scene::with(small(), &settings) else { return };
        for (bit, reason) in [(word::REDIRECT, drop::NO_PROXY), (word::AUTHENTICATE, drop::AUTHENTICATION)] {
            s.flip_with(POLICY, |staged| {
                staged.edit_words(|w| if w & word::ALLOW != 0 { w | bit } else { w });
            });
            s.machine.forget_flows();
            let expected = if fail_open { PASSES } else { Err(reason) };
            assert_eq!(s.sends(&s.tcp("web", "db", (1000, 80), SYN)), expected);
            assert_eq!(s.sends(&s.tcp("web", "db", (1000, 81), SYN)), Err(drop::POLICY));
            assert_eq!(s.machine.kernel.flows().unwrap().len(), usize::from(fail_open));
        }
    }
}

#[test]
fn a_proxy_comes_from_a_rule_for_requests() {
    let Some(s) = Scene::new() else { return };
    s.flip(
        "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]
    - fromEndpoints: [{matchLabels: {app: db}}]
      authentication: {mode: required}
      toPorts: [{ports: [{port: '81', protocol: TCP}]}]
",
    );
    assert_eq!(s.gets(&s.tcp("db", "web", (1000, 80), SYN)), Err(drop::NO_PROXY));
    assert_eq!(s.gets(&s.tcp("db", "web", (1000, 81), SYN)), Err(drop::AUTHENTICATION));
    assert_eq!(s.gets(&s.tcp("db", "web", (1000, 82), SYN)), Err(drop::POLICY));
}

#[test]
fn a_denial_in_audit_passes_and_is_told() {
    let settings = Settings::default();
    let Some(s) = Scene::with(small(), &settings) else { return };
    s.flip_with(POLICY, |staged| {
        staged.edit_words(|w| if w & word::ALLOW == 0 { w | word::AUDIT } else { w });
    });
    assert_eq!(s.sends(&s.tcp("web", "db", (1000, 80), SYN)), PASSES);
    assert!(s.events().is_empty(), "what policy allows is not reported here");
    assert_eq!(s.sends(&s.tcp("web", "db", (1000, 81), SYN)), PASSES);
    let events = s.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].verdict, events[0].reason), (VERDICT_AUDIT, 0));
    assert_eq!(s.count(counter::AUDITED), 1);
    assert_eq!(s.count(counter::DROPPED_EGRESS), 0);
    // Later packets of the flow are counted, and told once.
    assert_eq!(s.sends(&s.tcp("web", "db", (1000, 81), 16)), PASSES);
    assert!(s.events().is_empty());
    assert_eq!(s.count(counter::AUDITED), 2);
}

#[test]
fn a_rule_with_a_log_reports_what_it_allows() {
    let Some(s) = Scene::with(small(), &Settings::default()) else { return };
    s.flip_with(POLICY, |staged| staged.edit_words(|w| w | word::LOG));
    assert_eq!(s.sends(&s.tcp("web", "db", (1000, 80), SYN)), PASSES);
    let events = s.events();
    assert_eq!(events.len(), 1);
    assert!(events[0].word & word::LOG != 0);
}
