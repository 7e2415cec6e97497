//! What stands before policy: link, IP and transport headers, and where a packet comes from.

use crate::support::LOOPBACK;
use crate::support::packets::{SYN, ethernet, icmp, sctp, tcp, udp};
use crate::support::scene::{PASSES, Scene};
use portcullis_abi::maps::{AddressValue, counter, drop};
use portcullis_agent::kernel::Program;

#[test]
fn ports_are_read_behind_ipv4_options() {
    let Some(s) = Scene::new() else { return };
    for length in [4, 8, 40] {
        let mut ip = s.v4("web", "db", 6);
        ip.options = vec![1; length];
        assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN))), PASSES, "{length}");
        assert_eq!(s.sends(&ip.frame(&tcp(1000, 81, SYN))), Err(drop::POLICY), "{length}");
    }
}

#[test]
fn an_ip_header_cut_short_is_invalid() {
    let Some(s) = Scene::new() else { return };
    let v4 = s.tcp("db", "web", (1000, 80), SYN);
    let v6 = s.v6("db", "web", 6).frame(&tcp(1000, 80, SYN));
    for (whole, header) in [(v4, 20), (v6, 40)] {
        for length in 1..header {
            let frame = &whole[..14 + length];
            // Newer kernels make no test run of such a packet.
            if s.machine.programs.test_run(Program::ToEndpoint, frame, LOOPBACK, 1).is_ok() {
                assert_eq!(s.gets(frame), Err(drop::INVALID_PACKET), "{length} of {header}");
            }
        }
        assert_eq!(s.gets(&whole[..14 + header]), Err(drop::TRUNCATED), "no transport header");
        assert_eq!(s.gets(&whole), PASSES);
    }
}

#[test]
fn a_version_that_is_not_the_links_is_invalid() {
    let Some(s) = Scene::new() else { return };
    let v4 = s.tcp("db", "web", (1000, 80), SYN);
    let v6 = s.v6("db", "web", 6).frame(&tcp(1000, 80, SYN));
    for version in (0..16).filter(|v| *v != 4) {
        let mut frame = v4.clone();
        frame[14] = version << 4 | 5;
        assert_eq!(s.gets(&frame), Err(drop::INVALID_PACKET), "IPv4 that says {version}");
    }
    for version in (0..16).filter(|v| *v != 6) {
        let mut frame = v6.clone();
        frame[14] = version << 4;
        assert_eq!(s.gets(&frame), Err(drop::INVALID_PACKET), "IPv6 that says {version}");
    }
}

#[test]
fn an_ipv4_header_length_below_five_words_is_invalid() {
    let Some(s) = Scene::new() else { return };
    for words in 0..5 {
        let mut frame = s.tcp("db", "web", (1000, 80), SYN);
        frame[14] = 0x40 | words;
        assert_eq!(s.gets(&frame), Err(drop::INVALID_PACKET), "{words}");
    }
}

#[test]
fn an_ipv4_header_length_beyond_the_packet_leaves_no_transport() {
    let Some(s) = Scene::new() else { return };
    let mut frame = s.udp("db", "web", (1000, 53));
    frame[14] = 0x4f;
    assert_eq!(s.gets(&frame), Err(drop::TRUNCATED));
}

#[test]
fn a_transport_header_cut_short_is_truncated() {
    let Some(s) = Scene::new() else { return };
    let cases = [(6, 20, tcp(1000, 80, SYN)), (17, 8, udp(1000, 53)), (132, 12, sctp(1000, 5000))];
    for (protocol, need, payload) in cases {
        for ip in [s.v4("db", "web", protocol), s.v6("db", "web", protocol)] {
            for length in 0..need {
                assert_eq!(
                    s.gets(&ip.frame(&payload[..length])),
                    Err(drop::TRUNCATED),
                    "{protocol}: {length}"
                );
            }
            assert_eq!(s.gets(&ip.frame(&payload[..need])), PASSES, "{protocol}");
        }
    }
    for (ip, kind) in [(s.v4("ping", "web", 1), 8), (s.v6("ping", "web", 58), 128)] {
        for length in 0..8 {
            assert_eq!(
                s.gets(&ip.frame(&icmp(kind, 0, 7)[..length])),
                Err(drop::TRUNCATED),
                "ICMP: {length}"
            );
        }
        assert_eq!(s.gets(&ip.frame(&icmp(kind, 0, 7)[..8])), PASSES);
    }
}

#[test]
fn a_tcp_data_offset_inside_the_header_is_truncated() {
    let Some(s) = Scene::new() else { return };
    for words in 0..5 {
        let mut segment = tcp(1000, 80, SYN);
        segment[12] = words << 4;
        assert_eq!(s.gets(&s.v4("db", "web", 6).frame(&segment)), Err(drop::TRUNCATED), "{words}");
    }
}

#[test]
fn checksums_are_the_endpoints_to_verify() {
    let Some(s) = Scene::new() else { return };
    let mut frame = s.tcp("db", "web", (1000, 80), SYN);
    frame[24] ^= 0xff;
    frame[14 + 20 + 16] ^= 0xff;
    assert_eq!(s.gets(&frame), PASSES);
    let mut frame = s.udp("db", "web", (1000, 53));
    frame[14 + 20 + 6] = 0x12;
    assert_eq!(s.gets(&frame), PASSES);
}

#[test]
fn lengths_that_the_packet_claims_are_not_believed() {
    let Some(s) = Scene::new() else { return };
    for claim in [0u16, 20, 65535] {
        let mut frame = s.tcp("db", "web", (1000, 80), SYN);
        frame[16..18].copy_from_slice(&claim.to_be_bytes());
        assert_eq!(s.gets(&frame), PASSES, "{claim}");
        let mut frame = s.v6("db", "web", 6).frame(&tcp(1001, 81, SYN));
        frame[18..20].copy_from_slice(&claim.to_be_bytes());
        assert_eq!(s.gets(&frame), Err(drop::POLICY), "{claim}");
    }
}

#[test]
fn arp_passes_in_both_directions_and_on_every_interface() {
    let Some(s) = Scene::new() else { return };
    let mut frame = ethernet(0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0; 20]);
    assert_eq!(s.sends(&frame), PASSES);
    assert_eq!(s.gets(&frame), PASSES);
    s.machine.kernel.remove_endpoint(1).unwrap();
    assert_eq!(s.sends(&frame), PASSES);
}

#[test]
fn what_is_neither_ip_nor_arp_is_dropped() {
    let Some(s) = Scene::new() else { return };
    // RARP, PPPoE, MPLS, 802.1X, LLDP, loopback; lengths of 802.3 too.
    for kind in [0x8035, 0x8864, 0x8847, 0x888e, 0x88cc, 0x9000, 0, 46, 0x5ff] {
        let mut frame = ethernet(kind);
        frame.extend([0; 46]);
        assert_eq!(s.sends(&frame), Err(drop::UNSUPPORTED_L3), "{kind:04x}");
        assert_eq!(s.gets(&frame), Err(drop::UNSUPPORTED_L3), "{kind:04x}");
    }
}

#[test]
fn a_vlan_tag_is_dropped_whatever_stands_behind() {
    let Some(s) = Scene::new() else { return };
    for tag in [0x8100, 0x88a8] {
        for inner in [0x0800, 0x0806, 0x86dd] {
            let mut frame = ethernet(tag);
            frame.extend([0, 5]);
            frame.extend(u16::to_be_bytes(inner));
            frame.extend(s.v4("web", "all", 6).packet(&tcp(1000, 80, SYN)));
            assert_eq!(s.sends(&frame), Err(drop::VLAN), "{tag:04x} {inner:04x}");
            assert_eq!(s.gets(&frame), Err(drop::VLAN), "{tag:04x} {inner:04x}");
        }
    }
}

/// A test run takes the protocol from where an Ethernet header has it, so without one these bytes of the
/// source address must say it: 8.0.x.x and x:x:86dd::.
#[test]
fn devices_without_ethernet_headers_are_read_from_the_first_byte() {
    let Some(s) = Scene::new() else { return };
    let (identity, number) = s.pods["web"];
    let own = AddressValue { identity, endpoint: number + 1 };
    for (source, v6) in [("8.0.0.9", false), ("2001:db8:86dd::9", true)] {
        s.machine.kernel.set_address(source.parse().unwrap(), own).unwrap();
        let mut ip = if v6 { s.v6("web", "db", 6) } else { s.v4("web", "db", 6) };
        ip.source = source.parse().unwrap();
        assert_eq!(s.run(Program::FromEndpointL3, &ip.packet(&tcp(1000, 80, SYN))), PASSES);
        let refused = s.run(Program::FromEndpointL3, &ip.packet(&tcp(1000, 81, SYN)));
        assert_eq!(refused, Err(drop::POLICY));
        let short = s.run(Program::FromEndpointL3, &ip.packet(&tcp(1000, 80, SYN)[..19]));
        assert_eq!(short, Err(drop::TRUNCATED));

        let (identity, number) = s.pods["db"];
        let peer = AddressValue { identity, endpoint: number + 1 };
        s.machine.kernel.set_address(ip.source, peer).unwrap();
        ip.destination = s.address("web", v6);
        assert_eq!(s.run(Program::ToEndpointL3, &ip.packet(&tcp(1001, 80, SYN))), PASSES);
        let refused = s.run(Program::ToEndpointL3, &ip.packet(&tcp(1001, 81, SYN)));
        assert_eq!(refused, Err(drop::POLICY));
        let forged = s.run(Program::FromEndpointL3, &ip.packet(&tcp(1002, 80, SYN)));
        assert_eq!(forged, Err(drop::INVALID_SOURCE));
    }
}

#[test]
fn a_pod_sends_from_its_own_addresses_only() {
    let Some(s) = Scene::new() else { return };
    for other in ["db", "all", "none"] {
        for ip in [s.v4(other, "all", 6), s.v6(other, "all", 6)] {
            assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN))), Err(drop::INVALID_SOURCE), "{other}");
        }
    }
    for unknown in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "203.0.113.1", "224.0.0.1"] {
        let mut ip = s.v4("web", "all", 17);
        ip.source = unknown.parse().unwrap();
        assert_eq!(s.sends(&ip.frame(&udp(68, 67))), Err(drop::INVALID_SOURCE), "{unknown}");
    }
    for unknown in ["::", "::1", "fe80::1", "2001:db8::1", "ff02::1"] {
        let mut ip = s.v6("web", "all", 17);
        ip.source = unknown.parse().unwrap();
        assert_eq!(s.sends(&ip.frame(&udp(546, 547))), Err(drop::INVALID_SOURCE), "{unknown}");
    }
}

/// IPv4 addresses stand in the maps as mapped ones; no IPv6 packet may pass for one.
#[test]
fn a_mapped_address_is_not_told_from_the_ipv4_address_and_must_be_the_pods_own() {
    let Some(s) = Scene::new() else { return };
    let std::net::IpAddr::V4(db) = s.address("db", false) else { panic!("no IPv4") };
    let mut ip = s.v6("web", "all", 6);
    ip.source = db.to_ipv6_mapped().into();
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN))), Err(drop::INVALID_SOURCE));
}

#[test]
fn a_forged_source_is_refused_before_replies_are_looked_for() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.gets(&s.tcp("in", "web", (1000, 22), SYN)), PASSES);
    let mut reply = s.v4("web", "in", 6);
    reply.source = s.address("none", false);
    assert_eq!(s.sends(&reply.frame(&tcp(22, 1000, 0x12))), Err(drop::INVALID_SOURCE));
}

#[test]
fn what_comes_to_an_interface_that_is_not_known_is_dropped() {
    let Some(s) = Scene::new() else { return };
    s.machine.kernel.remove_endpoint(1).unwrap();
    assert_eq!(s.sends(&s.tcp("web", "all", (1000, 80), SYN)), Err(drop::NO_POLICY));
    assert_eq!(s.gets(&s.tcp("all", "web", (1000, 80), SYN)), Err(drop::NO_POLICY));
    assert_eq!(s.count(counter::DROPPED_EGRESS), 1);
    assert_eq!(s.count(counter::DROPPED_INGRESS), 1);
}
