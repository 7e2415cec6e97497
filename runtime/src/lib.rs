//! The node agent: compiled policy in the kernel.

pub mod config;
pub mod kernel;
pub mod links;
pub mod numbers;
