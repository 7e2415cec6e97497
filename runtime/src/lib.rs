//! The node agent: compiled policy in the kernel.

pub mod check;
pub mod compile;
pub mod config;
pub mod control;
pub mod events;
pub mod flows;
pub mod health;
pub mod inputs;
pub mod kernel;
pub mod lab;
pub mod links;
pub mod live;
pub mod local;
pub mod metrics;
pub mod node;
pub mod numbers;

pub mod packet;
pub mod passed;
pub mod paths;
pub mod place;
pub mod preflight;
pub mod privileges;
pub mod quick;
pub mod report;
pub mod serve;
pub mod status;
pub mod webhook;
