//! A live Kubernetes cluster, watched and read as the compiler's input.
//!
//! The way through: [`connect`] finds the API server as kubectl does; [`Mirror`] watches each [`Kind`] and
//! keeps of every object the text that bears on policy ([`prune`]); [`Snapshot`] is what it held at one
//! moment, in an order that depends on nothing but the objects. Nothing here knows what a policy means:
//! the texts go to the compiler's own readers. Nothing is ever written to the cluster.

pub mod connect;
mod fetch;
mod kinds;
mod mirror;
mod prune;
mod snapshot;
mod wait;

pub use connect::{ConnectError, Given};
pub use fetch::{FetchError, fetch};
pub use kinds::Kind;
pub use mirror::{Mirror, State};
pub use snapshot::{Entry, Key, Snapshot};
