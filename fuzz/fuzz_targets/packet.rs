//! Any bytes, read as packets are read in the kernel: nothing may be read outside, and what stands behind
//! a packet's headers may change nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_agent::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragments, Packet, Piece, protocol};

/// Nanoseconds: now, and how long pieces belong together.
const TIMES: (u64, u64) = (1000, 1000);

fuzz_target!(|data: &[u8]| {
    // The first byte says how many pieces there are, each has two bytes of length before it.
    let Some((how, mut rest)) = data.split_first() else { return };
    let ethertype = if how & 1 == 0 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let mut fragments = Fragments::default();
    let mut seen = Vec::new();
    while let Some(([a, b], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*a, *b])).min(after.len());
        let (packet, next) = after.split_at(length);
        rest = next;
        check(&mut fragments, packet, ethertype, &mut seen);
    }
});

fn check(fragments: &mut Fragments, bytes: &[u8], ethertype: u16, firsts: &mut Vec<Packet>) {
    let mut alone = Packet::default();
    let header = alone.read_ip(bytes, 0, ethertype);
    let (packet, done) = fragments.read(bytes, 0, ethertype, 0, TIMES);
    match header {
        Err(reason) => assert_eq!((alone, Err(reason)), (packet, done)),
        Ok(()) => assert!(alone.l4 >= 20, "a header that overlaps its payload"),
    }
    if done.is_err() {
        return;
    }
    let need = match (packet.piece, packet.protocol) {
        (Piece::Later, _) => {
            let known = firsts.iter().any(|f| {
                let ports = (f.source_port, f.destination_port, f.icmp_type, f.icmp_code, f.protocol);
                let own = (
                    packet.source_port,
                    packet.destination_port,
                    packet.icmp_type,
                    packet.icmp_code,
                    packet.protocol,
                );
                ports == own && (f.source, f.destination, f.id) == (packet.source, packet.destination, packet.id)
            });
            assert!(known, "ports that no first piece had");
            0
        }
        (Piece::Unknown, _) => {
            assert_eq!((packet.source_port, packet.destination_port, packet.tracked), (0, 0, false));
            0
        }
        (_, protocol::TCP) => 20,
        (_, protocol::SCTP) => 12,
        (_, protocol::UDP) => 8,
        _ if packet.is_icmp() => 8,
        _ => 0,
    };
    assert!(need == 0 || packet.l4 + need <= bytes.len(), "a transport header outside the packet");
    if packet.piece == Piece::First {
        firsts.push(packet);
    }
    // More payload says nothing new.
    let mut longer = bytes.to_vec();
    longer.extend([0xff; 64]);
    let mut again = Packet::default();
    assert_eq!(again.read_ip(&longer, 0, ethertype), Ok(()));
    if matches!(packet.piece, Piece::Whole | Piece::First) {
        assert_eq!(again.read_l4(&longer, true), Ok(()));
        assert_eq!(again, packet);
        // An error may quote the same, cut behind 8 bytes of the transport.
        let mut quoted = Packet::default();
        let cut = bytes.get(..packet.l4 + 8).unwrap_or(bytes);
        assert_eq!(quoted.read_ip(cut, 0, ethertype), Ok(()));
        assert_eq!(quoted.read_l4(cut, false), Ok(()));
        assert_eq!(
            (quoted.source_port, quoted.destination_port, quoted.tracked),
            (packet.source_port, packet.destination_port, packet.tracked)
        );
    }
}
