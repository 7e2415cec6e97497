//! Compares every engine with verdicts recorded from Cilium's own policy engine.
//!
//! `scenario` reads the recorded form, one JSON object a line; `engines` asks each engine about
//! each flow, [`formula`] among them; `tally` counts and prints.

pub mod engines;
pub mod formula;
pub mod scenario;
pub mod tally;
