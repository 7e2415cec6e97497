//! Recorded flows: what `hubble observe -o json` and Hubble's exporter write, read line by line and gathered to
//! the distinct flows that policy tells apart.
//!
//! [`read`] takes files apart, plain or compressed, and hands out one JSON object at a time; [`wire`] is
//! what of it is looked at; [`record`] turns it into one fact about one connection, or says why it is
//! none; [`seen`] gathers facts. Memory grows with the distinct flows and not with the recording.
//!
//! Nothing here knows a policy or a cluster.

pub mod read;
pub mod record;
pub mod seen;
mod time;
mod wire;

pub use record::{End, L7, Left, Pod, Port, Record, Verdict};
pub use seen::{FlowId, Seen, Seens};
