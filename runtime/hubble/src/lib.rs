//! Flows as Hubble's clients ask for them: a bounded ring in memory, the Observer API over gRPC on it,
//! and what a terminal shows of flows.
//!
//! The protos below `proto/` carry the published names and numbers; what flows are made from is the agent's
//! business ([`ring::Observed`]).

pub mod client;
pub mod filter;
pub mod relay;
pub mod ring;
pub mod server;
pub mod text;
pub mod tls;

/// What the protos define.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod pb {
    /// Package `flow`.
    pub mod flow {
        tonic::include_proto!("flow");
    }
    /// Package `relay`.
    pub mod relay {
        tonic::include_proto!("relay");
    }
    /// Package `observer`.
    pub mod observer {
        tonic::include_proto!("observer");
    }
    /// Package `peer`.
    pub mod peer {
        tonic::include_proto!("peer");
    }
}

/// The name that Hubble's clients ask the health service for.
pub const HEALTH_NAME: &str = "hubble.server.Observer";

/// Nanoseconds since 1970 as a timestamp.
pub fn timestamp(nanos: i64) -> prost_types::Timestamp {
    const SECOND: i64 = 1_000_000_000;
    prost_types::Timestamp {
        seconds: nanos.div_euclid(SECOND),
        nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or_default(),
    }
}

/// A timestamp as nanoseconds since 1970; one beyond what fits is the last that does.
pub fn nanos(t: &prost_types::Timestamp) -> i64 {
    t.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(t.nanos))
}
