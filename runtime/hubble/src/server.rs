//! The Observer and Peer services over a ring.

use crate::filter::Filters;
use crate::pb::flow::{Flow, LostEvent, LostEventSource};
use crate::pb::observer::get_flows_response::ResponseTypes;
use crate::pb::observer::observer_server::{Observer, ObserverServer};
use crate::pb::observer::{
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, Namespace, Node, ServerStatusRequest, ServerStatusResponse, Tls,
};
use crate::pb::peer::peer_server::{Peer, PeerServer};
use crate::pb::peer::{self, ChangeNotification, ChangeNotificationType, NotifyRequest};
use crate::pb::relay::NodeState;
use crate::ring::{Entry, Observed, Ring};
use crate::{HEALTH_NAME, nanos, timestamp, tls};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Responses that wait for a client before its reader does.
const AHEAD: usize = 512;
/// Entries that are read at a time.
const CHUNK: usize = 512;

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its name.
    pub node: String,
    /// Its cluster.
    pub cluster: String,
    /// Where others reach its API; empty where only this machine does.
    pub address: String,
    /// The name in its certificate; none without TLS.
    pub server_name: Option<String>,
}

impl About {
    /// The node's name as Hubble's clients know it: with the cluster, if that is not `default`.
    pub fn full_name(&self) -> String {
        match self.cluster.as_str() {
            "" | "default" => self.node.clone(),
            cluster => format!("{cluster}/{}", self.node),
        }
    }
}

/// What is answered as the version.
pub const VERSION: &str = concat!("portcullis ", env!("CARGO_PKG_VERSION"));

/// A stream of responses.
pub type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The services of one node.
#[derive(Debug)]
pub struct Service<T> {
    ring: Arc<Ring<T>>,
    about: Arc<About>,
}

impl<T> Clone for Service<T> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring), about: Arc::clone(&self.about) }
    }
}

impl<T: Observed> Service<T> {
    /// Services of a ring.
    pub fn new(ring: Arc<Ring<T>>, about: About) -> Self {
        Self { ring, about: Arc::new(about) }
    }
}

/// What a request for flows says, checked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) first: bool,
    pub(crate) follow: bool,
    since: Option<i64>,
    until: Option<i64>,
    filters: Filters,
}

impl Asked {
    pub(crate) fn new(r: &GetFlowsRequest) -> Result<Self, String> {
        if r.first && r.follow {
            return Err("`first` and `follow` do not go together".to_owned());
        }
        Ok(Self {
            number: usize::try_from(r.number).unwrap_or(usize::MAX),
            first: r.first,
            follow: r.follow,
            since: r.since.as_ref().map(nanos),
            until: r.until.as_ref().map(nanos),
            filters: Filters::new(&r.whitelist, &r.blacklist)?,
        })
    }

    fn in_time(&self, at: i64) -> bool {
        self.since.is_none_or(|s| at >= s) && self.until.is_none_or(|u| at <= u)
    }

    fn flow<T: Observed>(&self, seen: &T) -> Option<Flow> {
        if !self.in_time(seen.time()) {
            return None;
        }
        let flow = seen.flow();
        self.filters.matches(&flow).then_some(flow)
    }
}

/// Hands flows to one client until it has what it asked for or goes away.
struct Sender<T> {
    ring: Arc<Ring<T>>,
    node: String,
    to: mpsc::Sender<Result<GetFlowsResponse, Status>>,
}

impl<T: Observed> Sender<T> {
    async fn send(&self, what: ResponseTypes, time: i64) -> Option<()> {
        let one = GetFlowsResponse {
            response_types: Some(what),
            node_name: self.node.clone(),
            time: Some(timestamp(time)),
        };
        self.to.send(Ok(one)).await.ok()
    }

    async fn lost(&self, source: LostEventSource, n: u64, time: i64) -> Option<()> {
        let lost = LostEvent { source: source.into(), num_events_lost: n, cpu: None };
        self.send(ResponseTypes::LostEvents(lost), time).await
    }

    /// `None` once the client is gone.
    async fn run(self, asked: Asked) -> Option<()> {
        let (oldest, next) = self.ring.bounds();
        let from = if asked.number > 0 && !asked.first {
            for (flow, time) in self.last(&asked, oldest, next) {
                self.send(ResponseTypes::Flow(flow), time).await?;
            }
            next
        } else if asked.follow && asked.since.is_none() {
            next
        } else {
            oldest
        };
        let most = if asked.first && asked.number > 0 { asked.number } else { usize::MAX };
        self.forward(&asked, from, next, most).await
    }

    async fn forward(&self, asked: &Asked, mut at: u64, end: u64, mut left: usize) -> Option<()> {
        loop {
            if !asked.follow && at >= end {
                return Some(());
            }
            let batch = self.ring.read(at, CHUNK);
            if batch.missed > 0 {
                self.ring.count_missed(batch.missed);
                let time = batch.entries.first().map_or(0, time_of);
                self.lost(LostEventSource::HubbleRingBuffer, batch.missed, time).await?;
            }
            at = batch.first + batch.entries.len() as u64;
            if batch.entries.is_empty() {
                tokio::select! {
                    () = self.ring.wait(at) => continue,
                    () = self.to.closed() => return None,
                }
            }
            for entry in &batch.entries {
                match entry {
                    Entry::Lost { source, count, time } => self.lost(*source, *count, *time).await?,
                    Entry::Seen(seen) => {
                        if asked.follow && asked.until.is_some_and(|u| seen.time() > u) {
                            return Some(());
                        }
                        if let Some(flow) = asked.flow(seen) {
                            self.send(ResponseTypes::Flow(flow), seen.time()).await?;
                            left -= 1;
                            if left == 0 {
                                return Some(());
                            }
                        }
                    }
                }
            }
            // Whoever filters much sends little, and must let others run all the same.
            tokio::task::yield_now().await;
        }
    }

    /// The last flows that fit, in order.
    fn last(&self, asked: &Asked, oldest: u64, next: u64) -> VecDeque<(Flow, i64)> {
        let mut out = VecDeque::new();
        let mut end = next;
        while end > oldest && out.len() < asked.number {
            let start = end.saturating_sub(CHUNK as u64).max(oldest);
            let batch = self.ring.read(start, usize::try_from(end - start).unwrap_or(CHUNK));
            let still = usize::try_from(end.saturating_sub(batch.first)).unwrap_or_default();
            for entry in batch.entries.iter().take(still).rev() {
                if let Entry::Seen(seen) = entry
                    && let Some(flow) = asked.flow(seen)
                {
                    out.push_front((flow, seen.time()));
                    if out.len() == asked.number {
                        break;
                    }
                }
            }
            end = start;
        }
        out
    }
}

fn time_of<T: Observed>(entry: &Entry<T>) -> i64 {
    match entry {
        Entry::Seen(seen) => seen.time(),
        Entry::Lost { time, .. } => *time,
    }
}

#[tonic::async_trait]
impl<T: Observed> Observer for Service<T> {
    type GetFlowsStream = Responses<GetFlowsResponse>;

    /// The field mask is not looked at: clients up to 1.19.4 leave fields out of it that they print.
    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let asked = Asked::new(request.get_ref()).map_err(Status::invalid_argument)?;
        let (to, from) = mpsc::channel(AHEAD);
        let sender = Sender { ring: Arc::clone(&self.ring), node: self.about.full_name(), to };
        tokio::spawn(sender.run(asked));
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let (num_flows, max_flows, seen_flows) = self.ring.numbers();
        let node = Node {
            name: self.about.full_name(),
            version: VERSION.to_owned(),
            address: self.about.address.clone(),
            state: NodeState::NodeConnected.into(),
            tls: Some(Tls {
                enabled: self.about.server_name.is_some(),
                server_name: self.about.server_name.clone().unwrap_or_default(),
            }),
            uptime_ns: self.ring.uptime(),
            num_flows,
            max_flows,
            seen_flows,
        };
        Ok(Response::new(GetNodesResponse { nodes: vec![node] }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let cluster = &self.about.cluster;
        let name = |namespace| Namespace { cluster: cluster.clone(), namespace };
        let namespaces = self.ring.namespaces().into_iter().map(name).collect();
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let (num_flows, max_flows, seen_flows) = self.ring.numbers();
        let uptime_ns = self.ring.uptime();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let flows_rate = seen_flows as f64 / (uptime_ns as f64 / 1e9).max(1.0);
        Ok(Response::new(ServerStatusResponse {
            num_flows,
            max_flows,
            seen_flows,
            uptime_ns,
            version: VERSION.to_owned(),
            flows_rate,
            ..ServerStatusResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl<T: Observed> Peer for Service<T> {
    type NotifyStream = Responses<ChangeNotification>;

    /// This node, and then nothing: nodes know of no others.
    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let own = ChangeNotification {
            name: self.about.full_name(),
            address: self.about.address.clone(),
            r#type: ChangeNotificationType::PeerAdded.into(),
            tls: self.about.server_name.clone().map(|server_name| peer::Tls { server_name }),
        };
        let rest = tokio_stream::pending();
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(own)).chain(rest))))
    }
}

/// Where the API is to be had.
#[derive(Debug)]
pub enum Listen {
    /// A Unix socket.
    Unix(UnixListener),
    /// An address.
    Tcp(TcpListener),
    /// An address where both ends show certificates.
    Tls(TcpListener, tls::Files),
}

impl Listen {
    /// A Unix socket that only its owner may open; what is left of an earlier one goes away.
    pub fn unix(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }

    /// An address of this machine alone: flows are not for everybody.
    pub fn loopback(at: SocketAddr) -> io::Result<Self> {
        if !at.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{at} is not a loopback address, and there is no TLS"),
            ));
        }
        Self::bind(at).map(Self::Tcp)
    }

    /// Any address, for whoever has a certificate of the right root. The files are read, to say at once what is
    /// wrong with them.
    pub fn tls(at: SocketAddr, files: tls::Files) -> io::Result<Self> {
        Server::builder().tls_config(files.read()?.config).map_err(io::Error::other)?;
        Ok(Self::Tls(Self::bind(at)?, files))
    }

    fn bind(at: SocketAddr) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

/// Whether the peer of a Unix socket is root or who runs this.
fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|c| c.uid() == 0 || c.uid() == own)
}

/// Serves observer, peers and health.
pub async fn serve<O: Observer + Clone, P: Peer + Clone>(
    observer: O,
    peer: P,
    at: Listen,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(HEALTH_NAME, tonic_health::ServingStatus::Serving).await;
    let add = |mut server: Server| {
        server
            .add_service(health.clone())
            .add_service(ObserverServer::new(observer.clone()))
            .add_service(PeerServer::new(peer.clone()))
    };
    let plain = || Server::builder().tcp_nodelay(true);
    match at {
        Listen::Unix(listener) => {
            let allowed = UnixListenerStream::new(tokio::net::UnixListener::from_std(listener)?)
                .filter(|s| s.as_ref().is_ok_and(is_own));
            add(plain()).serve_with_incoming(allowed).await?;
        }
        Listen::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            add(plain()).serve_with_incoming(TcpListenerStream::new(listener)).await?;
        }
        Listen::Tls(listener, files) => {
            let mut read = files.read()?;
            let mut servers = tokio::task::JoinSet::new();
            loop {
                let router = add(plain().tls_config(read.config.clone())?);
                let own = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
                let (stop, stopped) = oneshot::channel::<()>();
                let until = async { drop(stopped.await) };
                // With new certificates a new server takes the place; answers of the old one go on to their end.
                servers.spawn(router.serve_with_incoming_shutdown(TcpListenerStream::new(own), until));
                read = {
                    let changed = files.changed(&read);
                    tokio::pin!(changed);
                    loop {
                        tokio::select! {
                            next = &mut changed => break next,
                            Some(ended) = servers.join_next() => ended??,
                        }
                    }
                };
                let _ = stop.send(());
            }
        }
    }
    Ok(())
}
