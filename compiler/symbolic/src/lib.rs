//! Proofs over every pod that could exist, every address and every port.
//!
//! The way through: [`term`] holds formulas and writes them as SMT-LIB2; [`symbols`] is the
//! vocabulary, what the policies can tell apart; [`encode`] writes a policy set as a formula over
//! one flow and [`claim`] what somebody says about it; [`world`] says which flows there could be;
//! [`table`] is what somebody compiled, [`known`] says which pods its classes are for and [`agree`]
//! where it answers otherwise than the policies. [`query`] asks a [`solver`]; [`decode`] makes the answer
//! plain and [`replay`] gives it to other engines. docs/proofs.md says what a proof means, and what it does not.
//!
//! Nothing here is shared with the class engine, the table image or the oracle but the normal form:
//! its worth as a second opinion is that it was written apart from them.

pub mod agree;
pub mod claim;
pub mod decode;
pub mod encode;
pub mod known;
pub mod query;
pub mod replay;
pub mod solver;
pub mod symbols;
pub mod table;
pub mod term;
pub mod world;

pub use claim::{Claim, Flows, Form, Pattern};
pub use decode::{Who, Witness, WitnessEnd};
pub use known::{Knowing, Role};
pub use query::{Answer, Space};
pub use replay::{Replay, replay};
pub use solver::{SatResult, Solver, SolverError, read_answer};
pub use table::{Identity, Says, Standing, Stretch, Table};
pub use world::Pods;
