//! The admission webhook: what the API server asks before it takes a policy, and what is said to it.
//!
//! [`review`] judges one policy beside a cluster; [`serve`] is the door: TLS, bounds on size and time, and certificates
//! that change under it.

pub mod review;
pub mod serve;

pub use review::{Answer, Level, Reviewer};
