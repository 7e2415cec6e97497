//! What the tests of this folder share.
//!
//! [`side`] reads texts into a cluster and policies; [`generate`] makes such texts at random;
//! [`probe`] lists everything worth asking about them, [`engines`] asks every engine, and
//! [`findings`] takes a comparison's findings apart again into single flows. [`policy_maps`] fills Cilium's
//! policy maps entry by entry; [`tables`] holds images to the formula that z3 is asked about.
//! [`case`] and [`flows`] read the folders with verdicts written by hand.

pub mod case;
pub mod engines;
pub mod findings;
pub mod flows;
pub mod generate;
pub mod policy_maps;
pub mod probe;
pub mod side;
pub mod tables;
