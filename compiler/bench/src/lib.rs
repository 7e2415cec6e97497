//! Clusters to measure with: realistic pods, services and policies of any size, the same for the same seed.
//!
//! Real clusters cannot be published, and hand-made ones are too small or too regular to show how the
//! compiler behaves on ten thousand pods. These have what costs time in practice: many label sets, few of
//! them alike; selectors that overlap; ports that cut each other's ranges; addresses with exceptions.
//!
//! ```
//! use portcullis_bench::{Shape, change_one, generate};
//!
//! let generated = generate(&Shape { namespaces: 4, policies: 40, ..Shape::pods(1_000) });
//! let (file, after) = change_one(&generated);
//! let before = generated.policies.iter().find(|(name, _)| *name == file).map(|(_, yaml)| yaml);
//! assert!(before.is_some_and(|before| *before != after));
//! ```

mod cluster;
mod doc;
mod policies;
mod prefixes;
mod rng;
mod shape;
mod words;

pub use shape::Shape;

use cluster::Cluster;

/// A generated cluster and its policies.
#[derive(Debug, Clone)]
pub struct Generated {
    /// File name and YAML of each policy, in the order of the names. A name is `namespace.policy.yaml`, or
    /// `cluster.policy.yaml` for a policy over all namespaces.
    pub policies: Vec<(String, String)>,
    /// Namespaces, Nodes, Services and Pods, as one stream of YAML documents.
    pub cluster: String,
    change: (String, String),
}

/// Generates the cluster of a shape; equal shapes give equal bytes.
pub fn generate(shape: &Shape) -> Generated {
    let cluster = Cluster::new(shape);
    let (policies, change) = policies::policies(&cluster);
    let mut yaml = String::with_capacity(cluster.shape.pod_count() * 1_100);
    cluster.objects(|object| {
        if !yaml.is_empty() {
            yaml.push_str("---\n");
        }
        object.write_yaml(&mut yaml);
    });
    Generated { policies, cluster: yaml, change }
}

/// The objects of [`Generated::cluster`] as JSON: a `List` with one object per line. The simpler
/// language to read fast, so this is how snapshots of big clusters are kept.
pub fn cluster_json(shape: &Shape) -> String {
    let cluster = Cluster::new(shape);
    let mut json = String::from("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n");
    let mut first = true;
    cluster.objects(|object| {
        if !std::mem::take(&mut first) {
            json.push_str(",\n");
        }
        object.write_json(&mut json);
    });
    json.push_str("\n]}\n");
    json
}

/// A change as reviewers meet it: the name of one of the policy files and its new text, in which an app has
/// lost a peer and half of a port range. It can deny flows and never allows one.
pub fn change_one(generated: &Generated) -> (String, String) {
    generated.change.clone()
}
