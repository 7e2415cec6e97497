//! How fast recordings are read: `speed [FILE]`, beside parsing the same fields with the same library and doing nothing
//! with them. Without a file, a recording of a cluster of 1,000 pods is made.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, reason = "a measuring tool")]

use portcullis_flows::Seens;
use portcullis_flows::read::{Piece, open, pieces};
use std::time::Instant;

#[path = "shared/lines.rs"]
mod lines;

const FLOWS: u32 = 500_000;

/// A recording of so many lines.
fn recording(peers: u32) -> String {
    let mut out = String::new();
    (0..FLOWS).for_each(|n| lines::line(n, peers, &mut out));
    out
}

fn main() {
    match std::env::args().nth(1) {
        Some(path) => measure(&path, &std::fs::read(&path).unwrap()),
        None => {
            for peers in [8, 250] {
                measure(&format!("1,000 pods that ask {peers} others each"), recording(peers).as_bytes());
            }
        }
    }
}

fn measure(what: &str, bytes: &[u8]) {
    let (mut parse, mut read, mut distinct) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let t = Instant::now();
        let mut flows = 0u32;
        pieces(open(bytes).unwrap(), |p: Piece<'_>| {
            if let Piece::Object(line) = p {
                flows += u32::from(portcullis_flows::record::only_parse(line));
            }
        })
        .unwrap();
        parse.push(t.elapsed().as_secs_f64() / f64::from(flows));
        let t = Instant::now();
        let mut seens = Seens::default();
        pieces(open(bytes).unwrap(), |p: Piece<'_>| seens.add(p)).unwrap();
        read.push(t.elapsed().as_secs_f64() / f64::from(flows));
        assert_eq!(seens.records, u64::from(flows));
        distinct = seens.flows().len();
    }
    for all in [&mut parse, &mut read] {
        all.sort_by(f64::total_cmp);
    }
    let (parse, read) = (parse.get(2).unwrap(), read.get(2).unwrap());
    println!(
        "{what}: {} MB, {distinct} distinct flows; fields parsed: {:.0} flows a second; read and gathered: {:.0} flows a second; ratio {:.2}",
        bytes.len() / 1_000_000,
        1.0 / parse,
        1.0 / read,
        read / parse
    );
}
