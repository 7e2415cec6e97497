//! Any bytes as a recording: nothing may panic, every piece is counted, and what was gathered adds up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_flows::Seens;
use portcullis_flows::read::{open, pieces};

fuzz_target!(|bytes: &[u8]| {
    let mut seens = Seens::default();
    let mut n = 0u64;
    let Ok(from) = open(bytes) else { return };
    let _ = pieces(from, |piece| {
        n += 1;
        seens.add(piece);
    });
    assert_eq!(n, seens.pieces);
    let left: u64 = seens.left.values().sum();
    assert!(seens.records + left <= n);
    let records: u64 = seens.flows().iter().map(|(_, s)| s.records).sum();
    assert_eq!(records, seens.records);
    for (id, s) in seens.flows() {
        assert!((id.from as usize) < seens.ends().len() && (id.to as usize) < seens.ends().len());
        assert!(s.records == s.forwarded + s.dropped + s.audited && s.connections <= s.records);
    }
});
