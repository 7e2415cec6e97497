//! The node agent: compiled policy in the kernel.

pub mod kernel;
pub mod numbers;
