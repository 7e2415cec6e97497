//! Counters as Prometheus reads them, on a page of their own when the configuration asks for one.

use crate::kernel::KernelError;
use crate::node::Node;
use crate::status::status;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// Everything that is counted, in Prometheus' text format.
pub fn text(node: &Node) -> Result<String, KernelError> {
    let v = status(node, true)?;
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP portcullis_{name} {help}\n# TYPE portcullis_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(out, "portcullis_{name}{labels} {value}");
        }
    };
    let number = |path: &str| v.pointer(path).and_then(Value::as_f64).unwrap_or_default();
    let plain = |path: &str| vec![(String::new(), number(path))];
    let sides = |path: &str| -> Vec<(String, f64)> {
        ["ingress", "egress"]
            .map(|d| (format!("{{direction=\"{d}\"}}"), number(&format!("/packets/{path}/{d}"))))
            .into()
    };
    let healthy = f64::from(u8::from(v.get("healthy") == Some(&Value::Bool(true))));
    metric("healthy", "gauge", "1 if the node does all that it should.", &[(String::new(), healthy)]);
    metric("generation", "gauge", "The generation in use; 0 if there is none.", &plain("/generation"));
    metric("generation_since_seconds", "gauge", "When it came into use, since 1970.", &plain("/since"));
    metric("policies", "gauge", "Policies of the generation in use.", &plain("/policies"));
    let list = |key: &str| v.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |key: &str| f64::from(u32::try_from(list(key).len()).unwrap_or(u32::MAX));
    metric("endpoints", "gauge", "Pods whose programs are attached.", &[(String::new(), count("endpoints"))]);
    metric(
        "rules_not_enforced",
        "gauge",
        "Rules that cannot be enforced on this node as they are written.",
        &[(String::new(), count("unenforced"))],
    );
    metric("forwarded_packets_total", "counter", "Packets that passed.", &sides("forwarded"));
    metric("dropped_packets_total", "counter", "Packets that were dropped.", &sides("dropped"));
    let drops: Vec<(String, f64)> = list("drops")
        .iter()
        .map(|d| {
            let part = |key: &str| d.get(key).and_then(Value::as_str).unwrap_or_default();
            let labels = format!(
                "{{direction=\"{}\",cause=\"{}\"}}",
                escape(part("direction")),
                escape(part("cause"))
            );
            (labels, d.get("packets").and_then(Value::as_f64).unwrap_or_default())
        })
        .collect();
    metric("drops_total", "counter", "Packets that were dropped, by what decided.", &drops);
    metric(
        "events_lost_total",
        "counter",
        "Events for which the ring had no room.",
        &plain("/packets/eventsLost"),
    );
    metric(
        "flows_not_tracked_total",
        "counter",
        "Flows that could not be tracked.",
        &plain("/packets/notTracked"),
    );
    metric(
        "audited_packets_total",
        "counter",
        "Packets that an audit let through.",
        &plain("/packets/audited"),
    );
    let maps = |what: &str| -> Vec<(String, f64)> {
        ["addresses", "conntrack"]
            .map(|m| (format!("{{map=\"{m}\"}}"), number(&format!("/maps/{m}/{what}"))))
            .into()
    };
    metric("map_entries", "gauge", "Entries of a map of the kernel.", &maps("used"));
    metric("map_capacity", "gauge", "Entries that a map of the kernel can have.", &maps("room"));
    for part in ["compile", "stage", "flip"] {
        metric(
            &format!("last_{part}_microseconds"),
            "gauge",
            "What this part of the last change took.",
            &plain(&format!("/lastChangeMicroseconds/{part}")),
        );
    }
    Ok(out)
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Serves `/metrics`, and nothing else, at an address. `page` makes the page; `None` where the agent is
/// stopping.
pub async fn serve<F, P>(at: SocketAddr, page: F) -> io::Result<()>
where
    F: Fn() -> P + Clone + Send + Sync + 'static,
    P: Future<Output = Option<String>> + Send + 'static,
{
    let listener = TcpListener::bind(at).await?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let page = page.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let page = page.clone();
                    async move { answer(&request, page).await }
                });
                // A client that says nothing does not stay.
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5)).keep_alive(false);
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

async fn answer<F, P>(
    request: &Request<Incoming>,
    page: F,
) -> Result<Response<Full<Bytes>>, hyper::http::Error>
where
    F: Fn() -> P,
    P: Future<Output = Option<String>>,
{
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match page().await {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n".to_owned()),
        },
        _ => (StatusCode::NOT_FOUND, "there is /metrics, and nothing else\n".to_owned()),
    };
    Response::builder()
        .status(status)
        .header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::new(Bytes::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_any_text() {
        assert_eq!(escape("a \"b\"\\\n"), "a \\\"b\\\"\\\\\\n");
    }
}
