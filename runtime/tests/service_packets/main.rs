//! Packets through the programs of bpf/service_device.c, by the kernel's test runs: every way that a packet can
//! take, with the bytes that it has afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/service_image.rs"]
mod service_image;
#[path = "../support/mod.rs"]
mod support;

mod scene;
mod ways;
