//! The door: HTTPS, bounded in size, time and number, with certificates that may change under it.

use super::review::{Answer, Level, Question, Reviewer};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_cluster::{Given, Mirror};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes that a question may have: an object of the API server, twice, and what is around it.
const LARGEST: usize = 8 << 20;
/// Connections at once.
const CONNECTIONS: usize = 128;
/// Questions that wait.
const QUEUE: usize = 32;
/// How long a client may take for a handshake, a head, or a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate, with those that lead to its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The way to the API server.
    pub way: Given,
    /// Which findings deny.
    pub level: Level,
    /// Name of the cluster.
    pub cluster_name: String,
    /// How long an answer may take; then the policy is let through, and that is said.
    pub within: Duration,
    /// How often certificates are looked at.
    pub look: Duration,
}

/// Why there is no webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its certificate.
    #[error("the certificate {} or its key {} cannot be used: {why}", cert.display(), key.display())]
    Certificate {
        /// The file.
        cert: PathBuf,
        /// The file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The way to the API server.
    #[error("{0}")]
    Cluster(#[from] portcullis_cluster::ConnectError),
    /// The system.
    #[error("{0}: {1}")]
    System(String, io::Error),
}

/// One question, and where its answer goes.
type Job = (Question, oneshot::Sender<Answer>);

/// Serves until it is dropped. `bound` is told the address.
pub async fn run(options: Options, bound: oneshot::Sender<SocketAddr>) -> Result<(), WebhookError> {
    let tls = Arc::new(RwLock::new(load(&options.cert, &options.key)?));
    let client = options.way.client().await?;
    let mirror = Arc::new(Mirror::start(&client));
    let system = |what: &str| {
        let what = what.to_owned();
        move |e| WebhookError::System(what, e)
    };
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(system(&format!("{} cannot be listened at", options.listen)))?;
    let _ = bound.send(listener.local_addr().map_err(system("the address"))?);
    let jobs = reviewer(&options, Arc::clone(&mirror)).map_err(system("the reviewer could not start"))?;
    let door = Door { jobs, mirror, within: options.within };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let follow = reload(options.cert.clone(), options.key.clone(), Arc::clone(&tls), options.look);
    let accept = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // No file is left, say: others end meanwhile.
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let config = Arc::clone(&tls.read().unwrap_or_else(PoisonError::into_inner));
            let door = door.clone();
            tokio::spawn(async move {
                let _place = place;
                let Ok(Ok(stream)) = timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let door = door.clone();
                    async move { door.answer(request).await }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    };
    tokio::join!(accept, follow);
    Ok(())
}

/// The reviewer works on a thread of its own, one question after the other.
fn reviewer(options: &Options, mirror: Arc<Mirror>) -> io::Result<mpsc::Sender<Job>> {
    let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE);
    let (level, name) = (options.level, options.cluster_name.clone());
    let work = move || {
        let mut reviewer = Reviewer::new(level, &name);
        while let Some((question, to)) = waiting.blocking_recv() {
            // Nobody waits for it any more.
            if to.is_closed() {
                continue;
            }
            let snapshot = mirror.is_ready().then(|| mirror.snapshot());
            let mut answer = reviewer.judge(&question, snapshot.as_ref());
            if snapshot.is_none() {
                answer.warnings.push(
                    "portcullis: the cluster is not known yet, so that nothing was compared".to_owned(),
                );
            }
            let _ = to.send(answer);
        }
    };
    std::thread::Builder::new().name("reviewer".to_owned()).spawn(work)?;
    Ok(jobs)
}

#[derive(Clone)]
struct Door {
    jobs: mpsc::Sender<Job>,
    mirror: Arc<Mirror>,
    within: Duration,
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
        let plain = |status, text: &str| reply(status, "text/plain; charset=utf-8", text.to_owned());
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/validate") => {}
            // Without the reviewer nothing is reviewed any more: whoever runs this should start it anew.
            (&Method::GET, _) if self.jobs.is_closed() => {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "the reviewer has ended\n");
            }
            (&Method::GET, "/healthz") => return plain(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") if self.mirror.is_ready() => return plain(StatusCode::OK, "ok\n"),
            (&Method::GET, "/readyz") => {
                return plain(StatusCode::SERVICE_UNAVAILABLE, &(self.mirror.problems().join("\n") + "\n"));
            }
            (_, "/validate") => return plain(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview\n"),
            _ => return plain(StatusCode::NOT_FOUND, "there are /validate, /healthz and /readyz\n"),
        }
        let body = match timeout(PATIENCE, Limited::new(request.into_body(), LARGEST).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off\n");
            }
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the body takes too long\n"),
        };
        let question = match Question::parse(&body) {
            Ok(question) => question,
            Err(why) => return plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        };
        let uid = question.uid.clone();
        let answer = ask(&self.jobs, question, self.within).await;
        reply(StatusCode::OK, "application/json", answer.json(&uid).to_string())
    }
}

/// Has a question judged. Whoever applies a policy is not held up: what takes too long is let through, and that is
/// said.
async fn ask(jobs: &mpsc::Sender<Job>, question: Question, within: Duration) -> Answer {
    let (to, said) = oneshot::channel();
    if jobs.try_send((question, to)).is_err() {
        return Answer::warn("portcullis: too many policies wait for review: not reviewed");
    }
    match timeout(within, said).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::warn("portcullis: the review failed: not reviewed"),
        Err(_) => {
            Answer::warn("portcullis: the review takes too long: not reviewed; run portcullis diff --live")
        }
    }
}

fn reply(status: StatusCode, kind: &str, text: String) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    Response::builder().status(status).header("content-type", kind).body(Full::new(Bytes::from(text)))
}

/// A certificate and its key, as a server uses them.
fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, WebhookError> {
    let wrong = |why: String| WebhookError::Certificate { cert: cert.to_owned(), key: key.to_owned(), why };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|e| wrong(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes new certificates. Those that cannot be used change nothing: they may be half written.
async fn reload(cert: PathBuf, key: PathBuf, tls: Arc<RwLock<Arc<ServerConfig>>>, look: Duration) {
    let read = || (std::fs::read(&cert).ok(), std::fs::read(&key).ok());
    let mut known = read();
    loop {
        sleep(look).await;
        let now = read();
        if now == known {
            continue;
        }
        known = now;
        match load(&cert, &key) {
            Ok(config) => {
                *tls.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!("the new certificate is in use");
            }
            Err(e) => tracing::error!(%e, "the certificate of before stays in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_or_fails_is_let_through_and_said() {
        let warned = |a: &Answer, what: &str| {
            assert!(a.denied.is_none() && a.warnings[0].contains(what), "{a:?}");
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(1);
        // Nobody reviews.
        warned(&ask(&jobs, Question::default(), Duration::ZERO).await, "takes too long");
        warned(&ask(&jobs, Question::default(), PATIENCE).await, "too many");
        // It is over for the one who asked.
        let (_, to) = waiting.recv().await.unwrap();
        assert!(to.is_closed());
        let failing = tokio::spawn(async move { drop(waiting.recv().await) });
        warned(&ask(&jobs, Question::default(), PATIENCE).await, "failed");
        failing.await.unwrap();
        warned(&ask(&jobs, Question::default(), PATIENCE).await, "too many");
    }
}
