//! Random clusters and policies as text, small enough to ask about every pair of pods.
//!
//! [`choices`] turns bytes into decisions; `objects` makes the cluster, `selector` and `ports` the
//! parts that kinds share, `cilium` and `kubernetes` the policies; `change` makes of one world
//! another to compare it with.

#![allow(clippy::indexing_slicing, reason = "objects that were just made, in a crate for tests only")]

mod change;
pub mod choices;
mod cilium;
mod kubernetes;
mod objects;
mod ports;
mod selector;

pub use choices::Choices;

use crate::side::Source;
use serde_json::Value;

/// Policies at most.
const POLICIES: usize = 5;

/// A cluster and policies, as objects.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Namespaces, pods, services and CIDR groups.
    pub cluster: Vec<Value>,
    /// Policies, each under a name of its own.
    pub policies: Vec<Value>,
}

/// The world that these choices make.
pub fn world(c: &mut Choices<'_>) -> World {
    let cluster = objects::cluster(c);
    let count = 1 + c.below(POLICIES);
    let policies = (0..count).map(|i| policy(c, &format!("p{i}"))).collect();
    World { cluster, policies }
}

/// A change of a world: policies added, removed or written anew, labels and ports of the cluster.
pub fn changed(c: &mut Choices<'_>, base: &World) -> World {
    change::change(c, base)
}

/// One policy of any kind.
fn policy(c: &mut Choices<'_>, name: &str) -> Value {
    match c.below(10) {
        0..4 => cilium::policy(c, name, false),
        4..7 => cilium::policy(c, name, true),
        7..9 => kubernetes::network(c, name),
        _ => kubernetes::cluster(c, name),
    }
}

impl World {
    /// The cluster as a text, one document an object.
    pub fn cluster_text(&self) -> Source {
        Source::new("cluster.yaml", documents(&self.cluster))
    }

    /// The policies as texts, YAML and JSON by turns, one policy a file.
    pub fn policy_texts(&self) -> Vec<Source> {
        (0..)
            .zip(&self.policies)
            .map(|(i, p)| {
                let ending = if i % 2 == 0 { "yaml" } else { "json" };
                Source::new(&format!("{i}.{ending}"), p.to_string())
            })
            .collect()
    }
}

/// Objects as documents of one YAML text: JSON is YAML.
fn documents(all: &[Value]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n")
}
