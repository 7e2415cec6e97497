//! A live cluster, in the place of a file with one.

use crate::exit::Failure;
use crate::input::{Gathered, Text};
use clap::Args;
use portcullis_cluster::{Given, Snapshot, fetch};
use portcullis_diag::{FileId, ObjectRef};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// What a live cluster is called where files have names.
pub(crate) const NAME: &str = "the live cluster";

/// The way to the API server, in kubectl's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Live cluster")]
pub(crate) struct Way {
    /// The kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The user of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only these namespaces; what lives in none is always read
    #[arg(long, short, value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Whom to act as
    #[arg(long = "as", value_name = "USER")]
    act_as: Option<String>,
    /// A group to act as a member of; may be given more than once
    #[arg(long = "as-group", value_name = "GROUP")]
    act_as_groups: Vec<String>,
    /// How many seconds the API server may take for all of it [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    request_timeout: Option<u64>,
}

/// `30` or `30s`, as kubectl takes it; never is never.
fn seconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    number
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| "give a number of seconds above zero, as 30 or 30s".to_owned())
}

/// `--live` of commands that read files, too.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LiveArgs {
    /// Namespaces, pods, services and other policies as they are in the live cluster
    #[arg(long, help_heading = "Live cluster")]
    pub(crate) live: bool,
    #[command(flatten)]
    way: Way,
}

impl Way {
    /// Reads the cluster.
    pub(crate) fn fetch(&self) -> Result<Snapshot, Failure> {
        let given = Given {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: None,
            user: self.user.clone(),
            act_as: self.act_as.clone(),
            act_as_groups: self.act_as_groups.clone(),
        };
        let within = Duration::from_secs(self.request_timeout.unwrap_or(60));
        fetch(&given, &self.namespace, within).map_err(|e| {
            Failure::new(
                format!("the live cluster could not be read: {e}"),
                "see whether `kubectl get pods -A` works with the same options; listing needs the rights in docs/kubernetes.md",
            )
        })
    }
}

impl LiveArgs {
    /// Reads the cluster where it is asked for.
    pub(crate) fn fetch(&self) -> Result<Option<Snapshot>, Failure> {
        if self.live {
            return self.way.fetch().map(Some);
        }
        if self.way == Way::default() {
            return Ok(None);
        }
        Err(Failure::new(
            "an option about the live cluster is given without --live",
            "add --live, or leave it out",
        ))
    }

    /// What reports call the cluster: the files given, and the live one.
    pub(crate) fn named(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let live = self.live.then(|| PathBuf::from(NAME));
        files.iter().cloned().chain(live).collect()
    }
}

/// A snapshot as a text beside those of files.
pub(crate) fn text(snapshot: &Snapshot) -> Gathered {
    let text = Text { name: NAME.to_owned(), key: String::new(), content: snapshot.list().into() };
    Gathered { texts: vec![text], ..Gathered::default() }
}

/// What the cluster has of the objects in some texts: what applying them would replace.
pub(crate) fn replaced(snapshot: &Snapshot, by: &Gathered) -> Gathered {
    let parsed = by.texts.iter().map(|t| portcullis_front::parse(FileId(0), &t.name, &t.content));
    let keys: BTreeSet<ObjectRef> = parsed
        .flat_map(|p| p.objects.iter().map(portcullis_front::ast::Object::reference).collect::<Vec<_>>())
        .collect();
    let own = snapshot.iter().filter(|(key, _)| {
        let namespace = key.kind.is_namespaced().then(|| key.namespace.clone());
        keys.contains(&ObjectRef { kind: key.kind.name().to_owned(), namespace, name: key.name.clone() })
    });
    text(&own.map(|(k, v)| (k.clone(), v.clone())).collect())
}
