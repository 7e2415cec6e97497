//! The sentences that every format shares, so that a terminal and a pull request say the same.

mod explained;
mod flows;
mod headline;
mod names;
mod recorded;
mod verdict;

pub(crate) use explained::{explained, explanation, name, ways_out};
pub(crate) use flows::{
    declared, effect, explain_command, finding_id, flow, kind_severity, kind_word, sides, transition,
    transition_effect,
};
pub(crate) use headline::{
    INCOMPLETE, UNSAFE_CHANGE, blocked, coverage, headline, left_out, masked_text, not_compared, policies,
    tally,
};
pub(crate) use names::{group, names, object, path, unnamed, workload};
pub use recorded::losses;
pub(crate) use recorded::{recording, seen, time};
pub(crate) use verdict::{Evidence, cause, cause_now, change, evidence, no_side, side_name, verdict};
