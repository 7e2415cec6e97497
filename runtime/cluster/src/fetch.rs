//! One look at a cluster.

use crate::connect::{ConnectError, Given};
use crate::kinds::Kind;
use crate::mirror::chain;
use crate::prune::prune;
use crate::snapshot::Snapshot;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use std::time::Duration;
use tokio::time::timeout;

/// Objects in one answer.
const PAGE: u32 = 500;
/// How often a list is begun anew that the API server no longer goes on with.
const AGAIN: usize = 3;

/// Why a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A kind.
    #[error("{what} could not be listed: {why}")]
    List {
        /// Its plural name.
        what: &'static str,
        /// What the API server said.
        why: String,
    },
    /// It takes too long.
    #[error("the API server did not answer within {0:?}")]
    Slow(Duration),
    /// The machine.
    #[error("no runtime could be started: {0}")]
    System(#[from] std::io::Error),
}

/// Lists every kind, and waits for it. `namespaces` limits objects that live in namespaces to these; none
/// means all.
pub fn fetch(given: &Given, namespaces: &[String], within: Duration) -> Result<Snapshot, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = async {
            let client = given.client().await?;
            let mut out = Snapshot::default();
            for kind in Kind::ALL {
                if !kind.is_namespaced() || namespaces.is_empty() {
                    list(&Api::all_with(client.clone(), &kind.resource()), kind, &mut out).await?;
                } else {
                    for namespace in namespaces {
                        let api = namespaced(&client, kind, namespace);
                        list(&api, kind, &mut out).await?;
                    }
                }
            }
            Ok(out)
        };
        timeout(within, all).await.map_err(|_| FetchError::Slow(within))?
    })
}

fn namespaced(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

async fn list(api: &Api<DynamicObject>, kind: Kind, out: &mut Snapshot) -> Result<(), FetchError> {
    let mut params = ListParams::default().limit(PAGE);
    let mut tries = 0;
    let mut found = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            // A cluster without the kind.
            Err(kube::Error::Api(s)) if s.code == 404 => return Ok(()),
            // The list was begun too long ago to go on with it.
            Err(kube::Error::Api(s)) if s.code == 410 && tries < AGAIN => {
                tries += 1;
                found.clear();
                params.continue_token = None;
                continue;
            }
            Err(kube::Error::Api(s)) => {
                return Err(FetchError::List { what: kind.plural(), why: s.message.clone() });
            }
            Err(e) => return Err(FetchError::List { what: kind.plural(), why: chain(&e) }),
        };
        found.extend(page.items.iter().map(|o| prune(kind, o)));
        params.continue_token = page.metadata.continue_.filter(|c| !c.is_empty());
        if params.continue_token.is_none() {
            out.objects.extend(found);
            return Ok(());
        }
    }
}
