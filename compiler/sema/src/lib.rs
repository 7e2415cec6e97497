//! What policies mean over a whole cluster: who can reach whom, what a change denies or allows,
//! which policy switched default deny on, and what looks like a mistake.
//!
//! The way through: [`universe`] lines up everything a flow can come from or go to, for one set of
//! policies or for two side by side; [`side`] evaluates each selector once over it; [`row`] and
//! [`cells`] turn the rules of a subject into rows over [`ports`]; [`diff`] and [`reach`] compare
//! and list cells; [`steps`] follows flows over several hops and looks for the rules that a way hangs on;
//! [`policymap`] counts what the same policies cost as Cilium's policy maps; [`describe`] names sets of peers; [`lint`] looks for traps.
//!
//! Work is done by classes, never by pairs of pods: identities that no rule tells apart share
//! their cells, and a peer set is a bit set over identities.

pub mod cells;
pub mod describe;
pub mod diff;
pub mod index;
pub mod lint;
pub mod names;
mod outside;
pub mod policymap;
pub mod ports;
pub mod reach;
pub mod regions;
pub mod row;
mod select;
pub mod side;
pub mod steps;
pub mod universe;

pub use ports::PortSet;
pub use side::Side;
pub use universe::{NodeId, NodeKind, Universe};
