//! Health checks of load balancers: on each `healthCheckNodePort`, how many endpoints this node has.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_services::HealthCheck;
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener as StdListener};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One server for each port there is.
#[derive(Debug, Default)]
pub struct HealthServers {
    ports: BTreeMap<u16, (watch::Sender<HealthCheck>, JoinHandle<()>)>,
}

impl Drop for HealthServers {
    fn drop(&mut self) {
        for (_, server) in self.ports.values() {
            server.abort();
        }
    }
}

impl HealthServers {
    /// Serves these and no others; says which ports could not be had.
    pub fn follow(&mut self, checks: &[HealthCheck]) -> Vec<String> {
        let wanted: BTreeMap<u16, &HealthCheck> = checks.iter().map(|c| (c.port, c)).collect();
        self.ports.retain(|port, (_, server)| {
            let stays = wanted.contains_key(port);
            if !stays {
                server.abort();
            }
            stays
        });
        let mut problems = Vec::new();
        for (port, check) in wanted {
            if let Some((tell, _)) = self.ports.get(&port) {
                tell.send_replace(check.clone());
                continue;
            }
            match listen(port) {
                Ok(listener) => {
                    let (tell, hear) = watch::channel(check.clone());
                    self.ports.insert(port, (tell, tokio::spawn(serve(listener, hear))));
                }
                Err(e) => problems.push(format!(
                    "load balancers hear nothing of {}/{}: health check port {port}: {e}",
                    check.namespace, check.name
                )),
            }
        }
        problems
    }
}

/// On every address of both families; of IPv4 alone where there is no IPv6.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = StdListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|e| match e.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => StdListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        _ => Err(e),
    })?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn serve(listener: TcpListener, state: watch::Receiver<HealthCheck>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: not at once again.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let answer = answer(&state.borrow());
                async move { answer }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5)).keep_alive(false);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(check: &HealthCheck) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let count = check.local_endpoints;
    let status = if count > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = json!({
        "service": {"namespace": check.namespace.as_str(), "name": check.name.as_str()},
        "localEndpoints": count,
    });
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-load-balancing-endpoint-weight", count.to_string())
        .body(Full::new(Bytes::from(text.to_string())))
}
