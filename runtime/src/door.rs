//! The command `webhook`.

use clap::Args;
use portcullis_agent::privileges;
use portcullis_agent::webhook::Level;
use portcullis_agent::webhook::serve::{Options, run as serve};
use portcullis_cluster::Given;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    /// Where to listen for the API server; HTTPS only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// The certificate, PEM, with those that lead to its authority; read again when it changes
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Findings that deny a policy; others are warnings
    #[arg(long, value_enum, default_value_t)]
    deny: Deny,
    /// Milliseconds that a review may take; then the policy is let through with a warning
    #[arg(long, value_name = "MS", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    within: u64,
    /// Name of the cluster
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster_name: String,
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Log as JSON
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Findings that deny.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Deny {
    Never,
    #[default]
    Error,
    Warning,
}

pub(crate) fn run(args: &WebhookArgs) -> Result<(), String> {
    privileges::drop_all().map_err(|e| format!("rights could not be given up: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("the webhook could not start: {e}"))?;
    let options = Options {
        listen: args.listen,
        cert: args.cert.clone(),
        key: args.key.clone(),
        way: Given { kubeconfig: args.kubeconfig.clone(), context: args.context.clone(), ..Given::default() },
        level: match args.deny {
            Deny::Never => Level::Never,
            Deny::Error => Level::Error,
            Deny::Warning => Level::Warning,
        },
        cluster_name: args.cluster_name.clone(),
        within: Duration::from_millis(args.within),
        look: Duration::from_secs(10),
    };
    let (bound, at) = tokio::sync::oneshot::channel();
    runtime.block_on(async {
        tokio::spawn(async {
            if let Ok(at) = at.await {
                tracing::info!(%at, "listening");
            }
        });
        tokio::select! {
            done = serve(options, bound) => done.map_err(|e| e.to_string()),
            stopped = crate::stopped() => stopped.map_err(|e| format!("no signal can be waited for: {e}")),
        }
    })
}
