//! The admission webhook by its door: real TLS, an API server of our own behind it, hostile clients in front.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "the server is shared by several tests")]

#[path = "../cluster/tests/support/server.rs"]
mod server;

use portcullis_agent::webhook::Level;
use portcullis_agent::webhook::serve::{Options, run};
use portcullis_cluster::Given;
use serde_json::{Value, json};
use server::Server;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const LONG: Duration = Duration::from_secs(40);

struct Hook {
    folder: PathBuf,
    server: Server,
    at: SocketAddr,
    root: CertificateDer<'static>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A new certificate for `localhost` in a folder.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

async fn hook(name: &str) -> Hook {
    let folder = std::env::temp_dir().join(format!("portcullis-webhook-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let root = certify(&folder);
    let server = Server::start();
    server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    for (n, app) in ["web", "api", "cron", "db"].iter().enumerate() {
        server.apply(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": app, "namespace": "shop", "labels": {"app": app}}, "spec": {"nodeName": "one"},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.0.0.{n}")}]}}));
    }
    fs::write(folder.join("kubeconfig"), server.kubeconfig()).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        cert: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        way: Given { kubeconfig: Some(folder.join("kubeconfig")), ..Given::default() },
        level: Level::Error,
        cluster_name: "default".to_owned(),
        within: LONG,
        look: Duration::from_millis(50),
    };
    let (bound, at) = tokio::sync::oneshot::channel();
    tokio::spawn(async move { run(options, bound).await.unwrap() });
    let out = Hook { folder, server, at: at.await.unwrap(), root };
    let end = Instant::now() + LONG;
    while out.ask("GET", "/readyz", b"").await.unwrap().0 != 200 {
        assert!(Instant::now() < end, "it is not ready");
        sleep(Duration::from_millis(20)).await;
    }
    out
}

impl Hook {
    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.at).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // Who has heard enough answers before all is said.
        let _ = stream.write_all(body).await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        let status = said.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok((status, said.split_once("\r\n\r\n").map(|(_, b)| b.to_owned()).unwrap_or_default()))
    }

    async fn review(&self, object: &Value) -> Value {
        let question = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "705ab4f5", "operation": "CREATE", "namespace": "shop", "object": object,
            "kind": {"group": "cilium.io", "version": "v2", "kind": "CiliumNetworkPolicy"}, "dryRun": false,
            "userInfo": {"username": "somebody"}, "oldObject": null, "options": {}}});
        let (status, body) = self.ask("POST", "/validate", question.to_string().as_bytes()).await.unwrap();
        assert_eq!(status, 200, "{body}");
        let v: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&v["kind"], &v["response"]["uid"]), (&json!("AdmissionReview"), &json!("705ab4f5")));
        v["response"].clone()
    }
}

fn policy(extra: &Value) -> Value {
    let mut rule = json!({"fromEndpoints": [{"matchLabels": {"app": "web"}}]});
    for (k, v) in extra.as_object().into_iter().flatten() {
        rule[k] = v.clone();
    }
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule]}})
}

#[tokio::test]
async fn policies_are_warned_of_and_denied_beside_the_cluster_as_it_is() {
    let hook = hook("review").await;
    let said = hook.review(&policy(&json!({}))).await;
    assert_eq!(said["allowed"], true, "{said}");
    let warnings = said["warnings"].to_string();
    assert!(warnings.contains("newly denies") && warnings.contains("shop/cron"), "{warnings}");
    let said = hook.review(&policy(&json!({"fromEntities": ["all"]}))).await;
    assert_eq!((&said["allowed"], &said["status"]["code"]), (&json!(false), &json!(422)), "{said}");
    // Once the cluster has it, the same changes nothing.
    hook.server.apply(policy(&json!({})));
    let end = Instant::now() + LONG;
    while hook.review(&policy(&json!({}))).await.get("warnings").is_some() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn hostile_clients_are_answered_or_left() {
    let hook = hook("hostile").await;
    for (method, path, body, wanted) in [
        ("GET", "/validate", &b""[..], 405),
        ("POST", "/", b"", 404),
        ("POST", "/validate", b"", 400),
        ("POST", "/validate", b"{\"apiVersion\"", 400),
        ("POST", "/validate", b"\x00\xff", 400),
        ("POST", "/validate", &b"[".repeat(1 << 20)[..], 400),
        ("POST", "/validate", &b" ".repeat(9 << 20)[..], 413),
    ] {
        let (status, said) = hook.ask(method, path, body).await.unwrap();
        assert_eq!(status, wanted, "{method} {path} {} bytes: {said}", body.len());
    }
    // No TLS, half a handshake, and clients that say nothing keep nobody else out.
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(hook.at).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        }
        silent.push(stream);
    }
    let said = timeout(LONG, hook.review(&policy(&json!({})))).await.unwrap();
    assert_eq!(said["allowed"], true);
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let mut hook = hook("certificates").await;
    fs::write(hook.folder.join("tls.crt"), "half a").unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(hook.ask("GET", "/healthz", b"").await.unwrap().0, 200, "the certificate of before stays");
    hook.root = certify(&hook.folder);
    let end = Instant::now() + LONG;
    while hook.ask("GET", "/healthz", b"").await.is_err() {
        assert!(Instant::now() < end, "the new certificate is not in use");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_the_api_server_only_the_policy_itself_is_judged() {
    let hook = hook("alone").await;
    hook.server.faults(|f| f.down = true);
    hook.server.cut();
    // What was known of the cluster stays.
    let said = hook.review(&policy(&json!({}))).await;
    assert!(said["warnings"].to_string().contains("newly denies"), "{said}");
}
