//! What followers of flows lose: `followers [EVENTS_A_SECOND] [SECONDS]`. Events go the way that those of the
//! kernel go once they are read; two clients follow over the Unix socket and read everything, a third asks
//! and reads nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement, not a product"
)]

use portcullis_abi::maps::Event;
use portcullis_agent::flows::Flows;
use portcullis_hubble::client;
use portcullis_hubble::pb::observer::GetFlowsRequest;
use portcullis_hubble::pb::observer::get_flows_response::ResponseTypes;
use portcullis_hubble::server::{About, Listen, Service, serve};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let rate = numbers.first().copied().unwrap_or(100_000);
    let seconds = numbers.get(1).copied().unwrap_or(10);
    let flows = Arc::new(Flows::new(65_536));
    let folder = std::env::temp_dir().join(format!("portcullis-followers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("hubble.sock");
    let listen = Listen::unix(&socket).unwrap();
    let service = Service::new(Arc::clone(flows.ring()), About::default());
    thread::spawn(move || runtime().block_on(serve(service.clone(), service, listen)).unwrap());
    let address = format!("unix://{}", socket.display());
    let got: Vec<Arc<AtomicU64>> = (0..2).map(|_| Arc::default()).collect();
    for count in &got {
        let (count, address) = (Arc::clone(count), address.clone());
        thread::spawn(move || {
            let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
            let each = |r: portcullis_hubble::pb::observer::GetFlowsResponse| {
                if let Some(ResponseTypes::Flow(_)) = r.response_types {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                true
            };
            let _ = runtime().block_on(client::flows(&client::Server::new(&address), request, each));
        });
    }
    let stalled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stalled);
    thread::spawn(move || {
        let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
        let stall = |_| {
            seen.store(true, Ordering::Relaxed);
            thread::park();
            true
        };
        let _ = runtime().block_on(client::flows(&client::Server::new(&address), request, stall));
    });
    thread::sleep(Duration::from_millis(500));
    let event = Event { protocol: 6, family: 4, verdict: 2, reason: 133, tcp_flags: 2, ..Event::default() };
    // As a reader finds them that wakes up every 2 ms.
    let batch = vec![event; usize::try_from(rate / 500).unwrap()];
    let (begun, mut sent, mut adding) = (Instant::now(), 0, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let start = Instant::now();
        flows.add(&batch);
        adding += start.elapsed();
        sent += batch.len() as u64;
        let due = Duration::from_nanos(sent * 1_000_000_000 / rate);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let took = begun.elapsed();
    thread::sleep(Duration::from_secs(1));
    println!(
        "{sent} events in {took:.1?}, {:.0} a second; adding one takes {:.0} ns",
        sent as f64 / took.as_secs_f64(),
        adding.as_nanos() as f64 / sent as f64
    );
    for (n, count) in got.iter().enumerate() {
        let got = count.load(Ordering::Relaxed);
        println!("follower {}: {got} got, {:.2} % lost", n + 1, 100.0 - got as f64 * 100.0 / sent as f64);
    }
    println!("a third follower stalls: {}", stalled.load(Ordering::Relaxed));
    let _ = std::fs::remove_dir_all(&folder);
}
