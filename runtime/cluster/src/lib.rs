//! A live Kubernetes cluster, watched and read as the compiler's input.
//!
//! The way through: [`connect`] finds the API server as kubectl does; [`Mirror`] watches each [`Kind`] and
//! keeps of every object the text that bears on policy ([`prune`]); [`Snapshot`] is what it held at one
//! moment, in an order that depends on nothing but the objects. Nothing here knows what a policy means:
//! the texts go to the compiler's own readers. Of the cluster's objects none is ever written; [`Publisher`] writes
//! one of our own kind and events, and [`Fleet`] hears what people say to all nodes.

pub mod connect;
mod fetch;
pub mod fleet;
mod kinds;
mod mirror;
mod own;
mod prune;
mod publish;
mod snapshot;
mod wait;

pub use connect::{ConnectError, Given};
pub use fetch::{FetchError, fetch};
pub use fleet::Fleet;
pub use kinds::Kind;
pub use mirror::{Changes, Mirror, State};
pub use own::{API_VERSION, FLEET};
pub use publish::{Notice, Pace, Publisher, Said};
pub use snapshot::{Entry, Key, Snapshot};
