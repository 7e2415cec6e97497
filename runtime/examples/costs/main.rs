//! What the programs in the kernel cost: `costs decision`, `costs staging`, `costs traffic`. Needs root, and
//! `traffic` needs ip, nsenter, nft and iperf3. docs/performance.md has what it printed.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, reason = "a measuring tool")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod decision;
mod services;
mod staging;
mod traffic;
mod world;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("decision") => decision::run(),
        Some("staging") => staging::run(),
        Some("traffic") => traffic::run(),
        Some("services") => services::run(),
        _ => println!("costs decision|staging|traffic|services"),
    }
}

/// The middle of some figures.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
