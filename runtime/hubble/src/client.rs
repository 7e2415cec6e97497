//! Asking an Observer.

use crate::pb::observer::observer_client::ObserverClient;
use crate::pb::observer::{
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, ServerStatusRequest, ServerStatusResponse,
};
use hyper_util::rt::TokioIo;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error};

/// Connects to `unix:///path`, to a path, or to `host:port`.
pub async fn connect(address: &str, patience: Duration) -> Result<Channel, Error> {
    let path = address.strip_prefix("unix://").or_else(|| address.starts_with('/').then_some(address));
    if let Some(path) = path {
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is asked for and not used.
        return Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    }
    let address = address.strip_prefix("tcp://").unwrap_or(address);
    Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(patience).connect().await
}

/// How long one waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

async fn observer(address: &str) -> Result<ObserverClient<Channel>, String> {
    let channel = connect(address, PATIENCE).await.map_err(|e| {
        let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
        format!("nobody answers at {address}: {why}")
    })?;
    Ok(ObserverClient::new(channel))
}

fn said(e: &tonic::Status) -> String {
    format!("{}: {}", e.code(), e.message())
}

/// Asks for flows, and hands on each response until `each` says that it is enough.
pub async fn flows(
    address: &str,
    request: GetFlowsRequest,
    mut each: impl FnMut(GetFlowsResponse) -> bool,
) -> Result<(), String> {
    let mut client = observer(address).await?;
    let mut stream = client.get_flows(request).await.map_err(|e| said(&e))?.into_inner();
    while let Some(one) = stream.message().await.map_err(|e| said(&e))? {
        if !each(one) {
            return Ok(());
        }
    }
    Ok(())
}

/// Asks how the server is.
pub async fn status(address: &str) -> Result<ServerStatusResponse, String> {
    let answer = observer(address).await?.server_status(ServerStatusRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}

/// Asks for the nodes.
pub async fn nodes(address: &str) -> Result<GetNodesResponse, String> {
    let answer = observer(address).await?.get_nodes(GetNodesRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}

/// Asks for the namespaces.
pub async fn namespaces(address: &str) -> Result<GetNamespacesResponse, String> {
    let answer = observer(address).await?.get_namespaces(GetNamespacesRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|e| said(&e))
}
