//! One endpoint for two nodes that live, one that is not there and one that says nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_hubble::client::Server;
use portcullis_hubble::pb::flow::Flow;
use portcullis_hubble::pb::observer::GetFlowsRequest;
use portcullis_hubble::pb::observer::get_flows_response::ResponseTypes;
use portcullis_hubble::relay::{Peer, Relay};
use portcullis_hubble::ring::{Entry, Observed, Ring};
use portcullis_hubble::server::{About, Listen, Service, serve};
use portcullis_hubble::{client, timestamp, tls};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
struct One(i64);

impl Observed for One {
    fn time(&self) -> i64 {
        self.0
    }

    fn flow(&self) -> Flow {
        Flow { time: Some(timestamp(self.0)), ..Flow::default() }
    }
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("portcullis-relay-{}-{name}.sock", std::process::id()))
}

fn node(name: &str, times: &[i64]) -> (Arc<Ring<One>>, Peer) {
    let ring = Arc::new(Ring::new(100));
    ring.push(times.iter().map(|t| Entry::Seen(One(*t))));
    let about = About { node: name.to_owned(), ..About::default() };
    let service = Service::new(Arc::clone(&ring), about);
    let listen = Listen::unix(&socket(name)).unwrap();
    tokio::spawn(async move { serve(service.clone(), service, listen).await.unwrap() });
    (
        ring,
        Peer {
            name: name.to_owned(),
            address: format!("unix://{}", socket(name).display()),
            tls: tls::Client::default(),
        },
    )
}

#[tokio::test]
async fn flows_of_all_nodes_come_in_order_and_a_dead_node_stalls_nobody() {
    let (ring, one) = node("one", &[1, 3, 5]);
    let (_other, two) = node("two", &[2, 4, 6]);
    let dead = Peer {
        name: "dead".to_owned(),
        address: "unix:///nowhere/hubble.sock".to_owned(),
        tls: tls::Client::default(),
    };
    // Takes connections, and never says anything.
    let _silent = std::os::unix::net::UnixListener::bind(socket("silent")).unwrap();
    let silent = Peer {
        name: "silent".to_owned(),
        address: format!("unix://{}", socket("silent").display()),
        tls: tls::Client::default(),
    };
    let relay = Relay::new(vec![one, two, dead, silent]);
    let listen = Listen::unix(&socket("relay")).unwrap();
    tokio::spawn(async move { serve(relay.clone(), relay, listen).await.unwrap() });
    let address = format!("unix://{}", socket("relay").display());
    let begun = Instant::now();
    let (mut times, mut down) = (Vec::new(), Vec::new());
    let ask = GetFlowsRequest { number: 4, ..GetFlowsRequest::default() };
    let each = |r: portcullis_hubble::pb::observer::GetFlowsResponse| {
        match r.response_types {
            Some(ResponseTypes::Flow(f)) => times.push((f.time.unwrap().nanos, r.node_name)),
            Some(ResponseTypes::NodeStatus(s)) if s.state_change == 2 => down.extend(s.node_names),
            _ => {}
        }
        true
    };
    client::flows(&Server::new(&address), ask, each).await.unwrap();
    let name = |n: i32| if n % 2 == 1 { "one" } else { "two" };
    assert_eq!(times, [3, 4, 5, 6].map(|n| (n, name(n).to_owned())));
    down.sort();
    assert_eq!(down, ["dead", "silent"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let status = client::status(&Server::new(&address)).await.unwrap();
    assert_eq!((status.num_flows, status.num_connected_nodes), (6, Some(2)));
    assert_eq!(status.unavailable_nodes, ["dead", "silent"]);
    let states: Vec<i32> =
        client::nodes(&Server::new(&address)).await.unwrap().nodes.iter().map(|n| n.state).collect();
    assert_eq!(states, [1, 1, 2, 2]);
    // What comes is followed, whoever is dead.
    let ask = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let tell = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ring.push([Entry::Seen(One(9))]);
    };
    let mut last = None;
    let server = Server::new(&address);
    let hear = client::flows(&server, ask, |r| {
        if let Some(ResponseTypes::Flow(f)) = r.response_types {
            last = f.time.map(|t| t.nanos);
        }
        last.is_none()
    });
    let both = async { tokio::join!(tell, hear) };
    tokio::time::timeout(Duration::from_secs(5), both).await.unwrap().1.unwrap();
    assert_eq!(last, Some(9));
    for name in ["one", "two", "silent", "relay"] {
        let _ = std::fs::remove_file(socket(name));
    }
}
