//! One endpoint for many nodes. Every node is asked on a task of its own and has a time to answer in, so one
//! that is dead or slow is named, and holds nobody up.

use crate::client::{connect, why};
use crate::pb::observer::get_flows_response::ResponseTypes;
use crate::pb::observer::observer_client::ObserverClient;
use crate::pb::observer::observer_server::Observer;
use crate::pb::observer::{
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, Namespace, Node, ServerStatusRequest, ServerStatusResponse,
};
use crate::pb::peer::peer_server::Peer as PeerService;
use crate::pb::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};
use crate::pb::relay::{NodeState, NodeStatusEvent};
use crate::server::{Asked, Responses, VERSION};
use crate::{nanos, tls};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How long a node has for a connection, and for its next answer where it has more to say.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long flows that are followed wait for earlier ones of other nodes.
const WINDOW: Duration = Duration::from_millis(300);
/// How long one waits before a node that went away is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Responses of one node that wait for the merge.
const AHEAD: usize = 256;
/// Followed flows that wait at most; beyond that the earliest goes on its way.
const WAITING: usize = 16_384;

/// A node that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where its API is: `unix:///path`, `host:port` or `tls://host:port`.
    pub address: String,
    /// For an address with TLS.
    pub tls: tls::Client,
}

impl Peer {
    /// `NAME=ADDRESS`.
    pub fn parse(text: &str, tls: &tls::Client) -> Result<Self, String> {
        match text.split_once('=').map(|(n, a)| (n.trim(), a.trim())) {
            Some((name, address)) if !name.is_empty() && !address.is_empty() => {
                Ok(Self { name: name.to_owned(), address: address.to_owned(), tls: tls.clone() })
            }
            _ => Err(format!("{text:?} is not NAME=ADDRESS")),
        }
    }

    async fn client(&self) -> Result<ObserverClient<Channel>, String> {
        match timeout(PATIENCE, connect(&self.address, &self.tls, PATIENCE)).await {
            Ok(Ok(channel)) => Ok(ObserverClient::new(channel)),
            Ok(Err(e)) => Err(why(&e)),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Relay {
    peers: Arc<Vec<Peer>>,
}

impl Relay {
    /// A relay of nodes.
    pub fn new(peers: Vec<Peer>) -> Self {
        Self { peers: Arc::new(peers) }
    }

    /// Asks every node the same, all at once.
    async fn ask_all<A, F, W>(&self, ask: F) -> Vec<(Peer, Option<A>)>
    where
        A: Send + 'static,
        F: Fn(ObserverClient<Channel>) -> W + Clone + Send + 'static,
        W: Future<Output = Result<Response<A>, Status>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (at, peer) in self.peers.iter().cloned().enumerate() {
            let ask = ask.clone();
            tasks.spawn(async move {
                let answer = match peer.client().await {
                    Ok(client) => timeout(PATIENCE, ask(client)).await.ok().and_then(Result::ok),
                    Err(_) => None,
                };
                (at, peer, answer.map(Response::into_inner))
            });
        }
        let mut all = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((at, peer, answer)) = done {
                all.insert(at, (peer, answer));
            }
        }
        all.into_values().collect()
    }
}

fn state(name: &str, state: NodeState, message: String) -> GetFlowsResponse {
    let event = NodeStatusEvent { state_change: state.into(), node_names: vec![name.to_owned()], message };
    GetFlowsResponse {
        response_types: Some(ResponseTypes::NodeStatus(event)),
        node_name: name.to_owned(),
        time: None,
    }
}

fn time(r: &GetFlowsResponse) -> i64 {
    r.time.as_ref().map_or(i64::MIN, nanos)
}

/// Asks one node once, and hands on what it says. `Err` says why it ended early.
async fn read(peer: &Peer, ask: GetFlowsRequest, to: &mpsc::Sender<GetFlowsResponse>) -> Result<(), String> {
    let follow = ask.follow;
    let mut client = peer.client().await?;
    let answer = timeout(PATIENCE, client.get_flows(ask)).await;
    let mut stream =
        answer.map_err(|_| "no answer in time")?.map_err(|e| e.message().to_owned())?.into_inner();
    let _ = to.send(state(&peer.name, NodeState::NodeConnected, String::new())).await;
    loop {
        let next = if follow {
            stream.message().await
        } else {
            timeout(PATIENCE, stream.message()).await.map_err(|_| "it stopped in the middle")?
        };
        match next.map_err(|e| e.message().to_owned())? {
            None => return Ok(()),
            Some(one) => {
                if to.send(one).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Asks one node, and, where flows are followed, again when it is back.
async fn follow(peer: Peer, mut ask: GetFlowsRequest, to: mpsc::Sender<GetFlowsResponse>) {
    loop {
        let ended = read(&peer, ask.clone(), &to).await;
        let message = match ended {
            Ok(()) if !ask.follow => return,
            Ok(()) => "it ended".to_owned(),
            Err(why) => why,
        };
        let down = state(&peer.name, NodeState::NodeUnavailable, message);
        if to.send(down).await.is_err() || !ask.follow {
            return;
        }
        sleep(AGAIN).await;
        if to.is_closed() {
            return;
        }
        // What was before it went away has been told.
        (ask.number, ask.since) = (0, None);
    }
}

type To = mpsc::Sender<Result<GetFlowsResponse, Status>>;

fn is_flow(r: &GetFlowsResponse) -> bool {
    matches!(r.response_types, Some(ResponseTypes::Flow(_)))
}

/// Merges what ends. Each node's flows are in order, and each node answers in time or is gone.
async fn merge(mut nodes: Vec<mpsc::Receiver<GetFlowsResponse>>, asked: &Asked, to: &To) -> Option<()> {
    let mut heads: Vec<Option<GetFlowsResponse>> = Vec::new();
    heads.resize_with(nodes.len(), || None);
    let mut kept: VecDeque<GetFlowsResponse> = VecDeque::new();
    let mut sent = 0;
    loop {
        for (head, node) in heads.iter_mut().zip(&mut nodes) {
            while head.is_none() {
                match node.recv().await {
                    None => break,
                    Some(one) if is_flow(&one) => *head = Some(one),
                    // States and losses do not wait.
                    Some(other) => to.send(Ok(other)).await.ok()?,
                }
            }
        }
        let earliest = heads.iter_mut().filter(|h| h.is_some()).min_by_key(|h| h.as_ref().map(time));
        let Some(one) = earliest.and_then(Option::take) else { break };
        if asked.number == 0 || asked.first {
            to.send(Ok(one)).await.ok()?;
            sent += 1;
            if asked.first && asked.number > 0 && sent == asked.number {
                return Some(());
            }
        } else {
            if kept.len() == asked.number {
                kept.pop_front();
            }
            kept.push_back(one);
        }
    }
    for one in kept {
        to.send(Ok(one)).await.ok()?;
    }
    Some(())
}

/// Merges what goes on: a flow waits for earlier ones of other nodes, but not for long.
async fn merge_live(mut all: mpsc::Receiver<GetFlowsResponse>, to: &To) -> Option<()> {
    let mut waiting: BTreeMap<(i64, u64), (Instant, GetFlowsResponse)> = BTreeMap::new();
    let mut number = 0;
    loop {
        let due = waiting.first_key_value().map(|(_, (due, _))| *due);
        tokio::select! {
            one = all.recv() => {
                let one = one?;
                if is_flow(&one) {
                    number += 1;
                    waiting.insert((time(&one), number), (Instant::now() + WINDOW, one));
                } else {
                    to.send(Ok(one)).await.ok()?;
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = to.closed() => return None,
        }
        let now = Instant::now();
        while let Some(first) = waiting.first_entry() {
            if first.get().0 > now && number_waiting(first.key(), number) < WAITING as u64 {
                break;
            }
            to.send(Ok(first.remove().1)).await.ok()?;
        }
    }
}

/// How many came after one.
fn number_waiting(key: &(i64, u64), last: u64) -> u64 {
    last.saturating_sub(key.1)
}

#[tonic::async_trait]
impl Observer for Relay {
    type GetFlowsStream = Responses<GetFlowsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        let ask = request.into_inner();
        let asked = Asked::new(&ask).map_err(Status::invalid_argument)?;
        let (to, from) = mpsc::channel(AHEAD);
        if ask.follow {
            let (tell, all) = mpsc::channel(AHEAD);
            for peer in self.peers.iter() {
                tokio::spawn(follow(peer.clone(), ask.clone(), tell.clone()));
            }
            tokio::spawn(async move { merge_live(all, &to).await });
        } else {
            let each = self.peers.iter().map(|peer| {
                let (tell, heard) = mpsc::channel(AHEAD);
                tokio::spawn(follow(peer.clone(), ask.clone(), tell));
                heard
            });
            let nodes = each.collect();
            tokio::spawn(async move { merge(nodes, &asked, &to).await });
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let ask =
            |mut c: ObserverClient<Channel>| async move { c.server_status(ServerStatusRequest {}).await };
        let nodes = self.ask_all(ask).await.into_iter().map(|(peer, s)| {
            let state = if s.is_some() { NodeState::NodeConnected } else { NodeState::NodeUnavailable };
            let s = s.unwrap_or_default();
            Node {
                name: peer.name,
                address: peer.address,
                state: state.into(),
                version: s.version,
                uptime_ns: s.uptime_ns,
                num_flows: s.num_flows,
                max_flows: s.max_flows,
                seen_flows: s.seen_flows,
                tls: None,
            }
        });
        Ok(Response::new(GetNodesResponse { nodes: nodes.collect() }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let ask =
            |mut c: ObserverClient<Channel>| async move { c.get_namespaces(GetNamespacesRequest {}).await };
        let answers = self.ask_all(ask).await.into_iter().filter_map(|(_, a)| a);
        let all: BTreeSet<(String, String)> =
            answers.flat_map(|a| a.namespaces).map(|n| (n.cluster, n.namespace)).collect();
        let namespaces = all.into_iter().map(|(cluster, namespace)| Namespace { cluster, namespace });
        Ok(Response::new(GetNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        let ask =
            |mut c: ObserverClient<Channel>| async move { c.server_status(ServerStatusRequest {}).await };
        let (mut out, mut connected) = (ServerStatusResponse::default(), 0);
        for (peer, answer) in self.ask_all(ask).await {
            let Some(s) = answer else {
                out.unavailable_nodes.push(peer.name);
                continue;
            };
            connected += 1;
            out.num_flows += s.num_flows;
            out.max_flows += s.max_flows;
            out.seen_flows += s.seen_flows;
            out.flows_rate += s.flows_rate;
            out.uptime_ns = out.uptime_ns.max(s.uptime_ns);
        }
        out.num_connected_nodes = Some(connected);
        out.num_unavailable_nodes = Some(u32::try_from(out.unavailable_nodes.len()).unwrap_or(u32::MAX));
        VERSION.clone_into(&mut out.version);
        Ok(Response::new(out))
    }
}

#[tonic::async_trait]
impl PeerService for Relay {
    type NotifyStream = Responses<ChangeNotification>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let all: Vec<_> = self
            .peers
            .iter()
            .map(|p| {
                Ok(ChangeNotification {
                    name: p.name.clone(),
                    address: p.address.clone(),
                    r#type: ChangeNotificationType::PeerAdded.into(),
                    tls: None,
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(all).chain(tokio_stream::pending()))))
    }
}
