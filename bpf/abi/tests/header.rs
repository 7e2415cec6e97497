//! The C header is the one that this crate writes, and records keep their bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use portcullis_abi::c;
use portcullis_abi::maps::{Event, FlowKey};

#[test]
fn the_c_header_is_what_this_crate_writes() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../include/abi.h");
    let there = std::fs::read_to_string(file).unwrap();
    assert!(
        there == c::header(),
        "bpf/include/abi.h is old: cargo run -p portcullis-abi --example header > bpf/include/abi.h, \
         then scripts/bpf.sh"
    );
}

#[test]
fn a_record_comes_back_from_its_bytes() {
    let key = FlowKey {
        source: [1; 16],
        destination: [2; 16],
        source_port: 0x0304,
        destination_port: 0x0506,
        protocol: 7,
        direction: 1,
        reserved: 0,
    };
    assert_eq!(FlowKey::from_bytes(&key.to_bytes()), Some(key));
    assert_eq!(FlowKey::SIZE, 40);
    assert_eq!(Event::SIZE % 8, 0);
    assert_eq!(FlowKey::from_bytes(&[0; 39]), None);
}
