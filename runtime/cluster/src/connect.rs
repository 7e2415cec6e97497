//! Finding the API server as kubectl does.

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// What was said on the command line or in a configuration; what is not given is found as kubectl finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// A kubeconfig file instead of `$KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it instead of the current one.
    pub context: Option<String>,
    /// A cluster of it instead of the context's.
    pub cluster: Option<String>,
    /// A user of it instead of the context's.
    pub user: Option<String>,
    /// Whom to act as.
    pub act_as: Option<String>,
    /// Groups to act as a member of.
    pub act_as_groups: Vec<String>,
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a service account.
    #[error("no cluster is configured: {0}")]
    Nowhere(#[from] kube::config::InferConfigError),
    /// TLS, or a plug-in for credentials.
    #[error("the API server cannot be spoken to: {0}")]
    Client(#[from] kube::Error),
    /// A group without a user.
    #[error("a group to act as needs a user to act as")]
    GroupWithoutUser,
}

impl Given {
    fn names_something(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.cluster.is_some() || self.user.is_some()
    }

    /// The configuration of a client.
    async fn config(&self) -> Result<Config, ConnectError> {
        let mut config = if self.names_something() {
            let kubeconfig = match &self.kubeconfig {
                Some(path) => Kubeconfig::read_from(path)?,
                None => Kubeconfig::read()?,
            };
            let options = KubeConfigOptions {
                context: self.context.clone(),
                cluster: self.cluster.clone(),
                user: self.user.clone(),
            };
            Config::from_custom_kubeconfig(kubeconfig, &options).await?
        } else {
            Config::infer().await?
        };
        if self.act_as.is_none() && !self.act_as_groups.is_empty() {
            return Err(ConnectError::GroupWithoutUser);
        }
        if self.act_as.is_some() {
            config.auth_info.impersonate.clone_from(&self.act_as);
            config.auth_info.impersonate_groups =
                (!self.act_as_groups.is_empty()).then(|| self.act_as_groups.clone());
        }
        config.connect_timeout = Some(Duration::from_secs(10));
        // A watch ends within five minutes; a connection that says nothing for longer is dead.
        config.read_timeout = Some(Duration::from_secs(330));
        Ok(config)
    }

    /// A client. Must be called inside a runtime.
    pub async fn client(&self) -> Result<Client, ConnectError> {
        Ok(Client::try_from(self.config().await?)?)
    }
}
