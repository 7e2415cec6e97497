//! Packets made byte by byte, run through the programs by the kernel: what passes, and why the rest is
//! dropped. One folder, so that there is one binary to link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "how many packets there were")]

#[path = "../support/mod.rs"]
mod support;

mod conntrack;
mod extensions;
mod flips;
mod fragments;
mod headers;
mod icmp;
mod reports;
mod twin;
mod verdicts;
