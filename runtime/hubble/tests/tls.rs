//! Beyond this machine: both ends show certificates, and new ones are taken up while it runs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use portcullis_hubble::client::{self, Server};
use portcullis_hubble::pb::flow::Flow;
use portcullis_hubble::pb::observer::GetFlowsRequest;
use portcullis_hubble::pb::observer::observer_client::ObserverClient;
use portcullis_hubble::relay::{Peer, Relay};
use portcullis_hubble::ring::{Entry, Observed, Ring};
use portcullis_hubble::server::{About, Listen, Service, serve};
use portcullis_hubble::{timestamp, tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "n1.default.hubble-grpc.cilium.io";

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

struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { folder: folder.to_owned(), issuer }
    }

    fn give(&self, file: &str, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        fs::write(self.folder.join(format!("{file}.pem")), cert.pem()).unwrap();
    }

    fn client(&self) -> tls::Client {
        let file = |name: &str| self.folder.join(name);
        tls::Client {
            ca: Some(file("ca.pem")),
            own: Some((file("client.pem"), file("client.key"))),
            server_name: Some(NAME.to_owned()),
        }
    }

    fn server(&self) -> tls::Files {
        let file = |name: &str| self.folder.join(name);
        tls::Files { cert: file("server.pem"), key: file("server.key"), ca: file("ca.pem") }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn only_certificates_of_the_right_root_get_in() {
    let folder = std::env::temp_dir().join(format!("portcullis-tls-{}", std::process::id()));
    let ours = Authority::new(&folder.join("ours"));
    let other = Authority::new(&folder.join("other"));
    for a in [&ours, &other] {
        a.give("client", "client");
        a.give("server", NAME);
    }
    let port = free_port();
    let ring = Arc::new(Ring::new(100));
    ring.push((0..3).map(|n| Entry::Seen(One(n))));
    let about = About { node: "n1".to_owned(), server_name: Some(NAME.to_owned()), ..About::default() };
    let service = Service::new(Arc::clone(&ring), about);
    let listen = Listen::tls(([127, 0, 0, 1], port).into(), ours.server()).unwrap();
    tokio::spawn(async move { serve(service.clone(), service, listen).await.unwrap() });
    let address = format!("tls://127.0.0.1:{port}");
    let ask = |tls: tls::Client| {
        let server = Server { address: address.clone(), tls };
        async move { client::status(&server).await.map(|s| s.num_flows) }
    };
    assert_eq!(ask(ours.client()).await, Ok(3));
    // A client of another root, one without a certificate, one that expects another name, and one without TLS.
    let wrong = tls::Client { own: other.client().own, ..ours.client() };
    assert!(ask(wrong).await.is_err());
    assert!(ask(tls::Client { own: None, ..ours.client() }).await.is_err());
    let named =
        tls::Client { server_name: Some("n2.default.hubble-grpc.cilium.io".to_owned()), ..ours.client() };
    let said = ask(named).await.unwrap_err();
    assert!(said.contains("not valid for name"), "{said}");
    assert!(ask(tls::Client { ca: other.client().ca, ..ours.client() }).await.is_err());
    assert!(client::status(&Server::new(format!("127.0.0.1:{port}"))).await.is_err());
    // A relay asks nodes in the same way, and says that they are reached with TLS.
    let relay =
        Relay::new(vec![Peer { name: "n1".to_owned(), address: address.clone(), tls: ours.client() }]);
    let path = folder.join("relay.sock");
    let at = Listen::unix(&path).unwrap();
    tokio::spawn(async move { serve(relay.clone(), relay, at).await.unwrap() });
    let relayed = client::status(&Server::new(format!("unix://{}", path.display()))).await.unwrap();
    assert_eq!((relayed.num_flows, relayed.num_connected_nodes), (3, Some(1)));
    let nodes = client::nodes(&Server { address: address.clone(), tls: ours.client() }).await.unwrap().nodes;
    assert_eq!(nodes[0].tls.as_ref().unwrap().server_name, NAME);
    // Files that are another authority's from now on: whoever was let in goes on, and new ones are judged by them.
    let channel = client::connect(&address, &ours.client(), Duration::from_secs(5)).await.unwrap();
    let mut lasting = ObserverClient::new(channel);
    let follow = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut following = lasting.get_flows(follow).await.unwrap().into_inner();
    for file in ["server.pem", "server.key", "ca.pem"] {
        fs::copy(other.folder.join(file), ours.folder.join(format!("{file}.new"))).unwrap();
        fs::rename(ours.folder.join(format!("{file}.new")), ours.folder.join(file)).unwrap();
    }
    let mut taken_up = false;
    for _ in 0..300 {
        if ask(other.client()).await == Ok(3) {
            taken_up = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(taken_up);
    ring.push([Entry::Seen(One(7))]);
    assert_eq!(following.message().await.unwrap().unwrap().time.unwrap().nanos, 7);
    let _ = fs::remove_dir_all(&folder);
}

#[test]
fn files_that_are_none_are_named() {
    let missing = || PathBuf::from("/nowhere/server.pem");
    let files = tls::Files { cert: missing(), key: missing(), ca: missing() };
    let said = Listen::tls(([127, 0, 0, 1], 0).into(), files).unwrap_err().to_string();
    assert!(said.contains("/nowhere/server.pem"), "{said}");
}
