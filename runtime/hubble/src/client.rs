//! Asking an Observer.

use crate::pb::observer::observer_client::ObserverClient;
use crate::pb::observer::{
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, ServerStatusRequest, ServerStatusResponse,
};
use crate::tls;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// Why there is no connection.
pub type Failed = Box<dyn Error + Send + Sync>;

/// What failed, in the words of whoever knows most.
pub fn why(e: &Failed) -> String {
    let mut last: &dyn Error = e.as_ref();
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Connects to `unix:///path`, to a path, to `host:port`, or, with TLS, to `tls://host:port`.
pub async fn connect(address: &str, tls: &tls::Client, patience: Duration) -> Result<Channel, Failed> {
    let path = address.strip_prefix("unix://").or_else(|| address.starts_with('/').then_some(address));
    if let Some(path) = path {
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is asked for and not used.
        return Ok(Endpoint::from_static("http://localhost").connect_with_connector(connector).await?);
    }
    let endpoint = match address.strip_prefix("tls://") {
        Some(address) => Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls.config()?)?,
        None => {
            Endpoint::from_shared(format!("http://{}", address.strip_prefix("tcp://").unwrap_or(address)))?
        }
    };
    Ok(endpoint.connect_timeout(patience).connect().await?)
}

/// An Observer, and how one gets to it.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// As for [`connect`].
    pub address: String,
    /// For addresses with TLS.
    pub tls: tls::Client,
}

impl Server {
    /// One that is reached without TLS.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), tls: tls::Client::default() }
    }
}

/// How long one waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

async fn observer(server: &Server) -> Result<ObserverClient<Channel>, String> {
    let channel = connect(&server.address, &server.tls, PATIENCE).await;
    channel.map(ObserverClient::new).map_err(|e| format!("no connection to {}: {}", server.address, why(&e)))
}

fn said(e: &tonic::Status) -> String {
    format!("{}: {}", e.code(), e.message())
}

/// Asks for flows, and hands on each response until `each` says that it is enough.
pub async fn flows(
    server: &Server,
    request: GetFlowsRequest,
    mut each: impl FnMut(GetFlowsResponse) -> bool,
) -> Result<(), String> {
    let mut client = observer(server).await?;
    let mut stream = client.get_flows(request).await.map_err(|e| said(&e))?.into_inner();
    while let Some(one) = stream.message().await.map_err(|e| said(&e))? {
        if !each(one) {
            return Ok(());
        }
    }
    Ok(())
}

/// Asks how the server is.
pub async fn status(server: &Server) -> Result<ServerStatusResponse, String> {
    let answer = observer(server).await?.server_status(ServerStatusRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}

/// Asks for the nodes.
pub async fn nodes(server: &Server) -> Result<GetNodesResponse, String> {
    let answer = observer(server).await?.get_nodes(GetNodesRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}

/// Asks for the namespaces.
pub async fn namespaces(server: &Server) -> Result<GetNamespacesResponse, String> {
    let answer = observer(server).await?.get_namespaces(GetNamespacesRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}
