//! A recording of any size on standard output: `endless MB [PEERS]`, no line twice. It is made as it is written, so that
//! what reads it can be measured without a disk.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

use std::io::{BufWriter, Write as _};

#[path = "shared/lines.rs"]
mod lines;

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let wanted = args.next().unwrap() * 1_000_000;
    let peers = u32::try_from(args.next().unwrap_or(8)).unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let (mut written, mut text) = (0u64, String::new());
    for n in 0.. {
        if written >= wanted {
            break;
        }
        text.clear();
        lines::line(n, peers, &mut text);
        written += text.len() as u64;
        // A reader that has seen enough is no mistake.
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
    let _ = out.flush();
}
