//! The objects of our own: what each node says of itself, and what people say to all nodes.

use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};

/// Group and version of our own kinds.
pub const API_VERSION: &str = "portcullis.dev/v1alpha1";
/// Who writes, as the API server is told.
pub(crate) const MANAGER: &str = "portcullis-agent";
/// The one object that speaks to all nodes.
pub const FLEET: &str = "fleet";

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "portcullis.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// What nodes say of themselves, one object a node.
pub(crate) fn nodes(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("NodeStatus", "nodestatuses"))
}

/// What is said to all nodes.
pub(crate) fn rollouts(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource("Rollout", "rollouts"))
}
