//! Services to the tables that the kernel's programs balance by.
//!
//! The way through: [`model`] gathers what Services, EndpointSlices, Endpoints and pods say;
//! [`endpoints`] says which endpoints a service has and which of them a node may choose; [`resolve`]
//! makes of it what one node answers: every frontend with its backends, in order. That list is the meaning.
//! [`table`] writes it as the service image ([`place`] finds slots without collisions, [`maglev`] spreads
//! flows, [`numbers`] keeps numbers over generations), and [`image`] reads it back, step by step as the
//! kernel does.
//!
//! Everything here is a function of its input: same objects and numbers, same bytes, whatever their order.

#[cfg(target_endian = "big")]
compile_error!("records of the service image are written in the machine's order of bytes");

pub mod model;

pub mod endpoints;

pub mod resolve;

pub mod maglev;

pub mod numbers;

pub mod place;

pub mod table;

pub mod image;

pub use image::{Drop, From, Image, ImageError, Outcome};
pub use model::{NodeContext, Services};
pub use numbers::Numbers;
pub use resolve::{Backend, Frontend, HealthCheck, Kind, Resolved, resolve};
pub use table::{Compiled, Settings, TableError, compile};
