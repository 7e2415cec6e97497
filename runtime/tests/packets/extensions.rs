//! IPv6: what stands between the header and the transport, and what keeps a link alive.

use crate::support::packets::{Ip, SYN, icmp, tcp, udp};
use crate::support::scene::{PASSES, Scene};
use portcullis_abi::maps::drop;

const HOP: u8 = 0;
const ROUTING: u8 = 43;
const AH: u8 = 51;
const DESTINATION: u8 = 60;

/// A header of `words` eights beyond the first.
fn options(kind: u8, words: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; 7 + usize::from(words) * 8];
    bytes[0] = words;
    (kind, bytes)
}

fn routing(kind: u8, left: u8) -> (u8, Vec<u8>) {
    (ROUTING, vec![0, kind, left, 0, 0, 0, 0])
}

fn with(mut ip: Ip, extensions: &[(u8, Vec<u8>)]) -> Ip {
    ip.extensions = extensions.to_vec();
    ip
}

/// That ports are found behind these headers.
fn found(s: &Scene, extensions: &[(u8, Vec<u8>)]) {
    let ip = with(s.v6("web", "db", 6), extensions);
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN))), PASSES, "{extensions:?}");
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 81, SYN))), Err(drop::POLICY), "{extensions:?}");
    assert_eq!(s.sends(&ip.frame(&tcp(1000, 80, SYN)[..19])), Err(drop::TRUNCATED), "{extensions:?}");
}

#[test]
fn ports_are_found_behind_every_kind_of_extension_header() {
    let Some(s) = Scene::new() else { return };
    found(&s, &[options(HOP, 0)]);
    found(&s, &[options(HOP, 5)]);
    found(&s, &[options(DESTINATION, 0)]);
    found(&s, &[options(DESTINATION, 31)]);
    found(&s, &[options(HOP, 1), options(DESTINATION, 0), routing(4, 1), options(DESTINATION, 2)]);
}

#[test]
fn the_length_of_an_authentication_header_counts_fours() {
    let Some(s) = Scene::new() else { return };
    for words in [1u8, 4, 5, 11] {
        let mut bytes = vec![0; (usize::from(words) + 2) * 4 - 1];
        bytes[0] = words;
        found(&s, &[(AH, bytes)]);
    }
}

#[test]
fn a_routing_header_of_type_zero_passes_only_where_it_routes_no_further() {
    let Some(s) = Scene::new() else { return };
    found(&s, &[routing(0, 0)]);
    found(&s, &[routing(2, 1)]);
    found(&s, &[routing(3, 1)]);
    for left in [1, 255] {
        let frame = with(s.v6("web", "all", 6), &[routing(0, left)]).frame(&tcp(1000, 80, SYN));
        assert_eq!(s.sends(&frame), Err(drop::EXTENSION_HEADER), "{left}");
        assert_eq!(s.gets(&frame), Err(drop::EXTENSION_HEADER), "{left}");
    }
}

#[test]
fn eight_extension_headers_are_followed_and_nine_are_not() {
    let Some(s) = Scene::new() else { return };
    let chain = vec![options(DESTINATION, 0); 8];
    found(&s, &chain);
    let chain = vec![options(DESTINATION, 0); 9];
    let frame = with(s.v6("web", "all", 6), &chain).frame(&tcp(1000, 80, SYN));
    assert_eq!(s.sends(&frame), Err(drop::EXTENSION_HEADER));
}

#[test]
fn an_extension_header_cut_short_is_dropped() {
    let Some(s) = Scene::new() else { return };
    for kind in [HOP, ROUTING, 44, AH, DESTINATION] {
        let ip = s.v6("web", "all", kind);
        for length in 0..8 {
            assert_eq!(s.sends(&ip.frame(&vec![0; length])), Err(drop::EXTENSION_HEADER), "{kind}: {length}");
        }
    }
    // One that says it is longer than the packet leaves no transport.
    let ip = s.v6("web", "all", DESTINATION);
    assert_eq!(s.sends(&ip.frame(&[6, 200, 0, 0, 0, 0, 0, 0])), Err(drop::TRUNCATED));
}

#[test]
fn no_next_header_is_a_protocol_like_others() {
    let Some(s) = Scene::new() else { return };
    assert_eq!(s.sends(&s.v6("web", "db", 59).frame(&[])), Err(drop::POLICY));
    assert_eq!(s.sends(&s.v6("web", "all", 59).frame(&[])), PASSES);
}

#[test]
fn encryption_and_mobility_headers_are_not_looked_behind() {
    let Some(s) = Scene::new() else { return };
    for protocol in [50, 135, 139, 140] {
        let payload = tcp(1000, 80, SYN);
        assert_eq!(s.sends(&s.v6("web", "db", protocol).frame(&payload)), Err(drop::POLICY), "{protocol}");
        assert_eq!(s.sends(&s.v6("web", "all", protocol).frame(&payload)), PASSES, "{protocol}");
    }
}

#[test]
fn neighbour_discovery_passes_with_the_hop_limit_of_a_link() {
    let Some(s) = Scene::new() else { return };
    for kind in 133..=137 {
        let mut ip = s.v6("none", "web", 58);
        for hops in [0, 1, 64, 254] {
            ip.hops = hops;
            assert_eq!(s.gets(&ip.frame(&icmp(kind, 0, 0))), Err(drop::POLICY), "{kind} {hops}");
        }
        ip.hops = 255;
        assert_eq!(s.gets(&ip.frame(&icmp(kind, 0, 0))), PASSES, "{kind}");
        // Duplicate addresses are looked for from no address at all.
        let mut ip = s.v6("web", "none", 58);
        ip.hops = 255;
        ip.source = "::".parse().unwrap();
        ip.destination = "ff02::1:ff00:1".parse().unwrap();
        assert_eq!(s.sends(&ip.frame(&icmp(kind, 0, 0))), PASSES, "{kind}");
    }
}

#[test]
fn group_membership_passes_with_a_hop_limit_of_one() {
    let Some(s) = Scene::new() else { return };
    for kind in [130, 131, 132, 143] {
        let mut ip = s.v6("none", "web", 58);
        ip.extensions = vec![options(HOP, 0)];
        for hops in [0, 2, 64, 255] {
            ip.hops = hops;
            assert_eq!(s.gets(&ip.frame(&icmp(kind, 0, 0))), Err(drop::POLICY), "{kind} {hops}");
        }
        ip.hops = 1;
        assert_eq!(s.gets(&ip.frame(&icmp(kind, 0, 0))), PASSES, "{kind}");
    }
}

#[test]
fn neighbour_discovery_in_pieces_or_over_ipv4_asks_policy() {
    let Some(s) = Scene::new() else { return };
    let mut ip = s.v6("none", "web", 58);
    ip.hops = 255;
    ip.more = true;
    assert_eq!(s.gets(&ip.frame(&icmp(135, 0, 0))), Err(drop::POLICY));
    ip.more = false;
    ip.offset = 8;
    assert_eq!(s.gets(&ip.frame(&icmp(135, 0, 0))), Err(drop::POLICY));
    let mut ip = s.v4("none", "web", 58);
    ip.hops = 255;
    assert_eq!(s.gets(&ip.frame(&icmp(135, 0, 0))), Err(drop::POLICY));
    let mut ip = s.v6("none", "web", 17);
    ip.hops = 255;
    assert_eq!(s.gets(&ip.frame(&udp(135, 135))), Err(drop::POLICY));
}
