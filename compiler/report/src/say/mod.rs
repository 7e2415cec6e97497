//! The sentences that every format shares, so that a terminal and a pull request say the same.

mod explained;
mod flows;
mod headline;
mod names;
mod verdict;

pub(crate) use explained::{explained, explanation, ways_out};
pub(crate) use flows::{
    effect, explain_command, finding_id, flow, kind_severity, kind_word, sides, transition, transition_effect,
};
pub(crate) use headline::{INCOMPLETE, UNSAFE_CHANGE, blocked, coverage, headline, masked_text, tally};
pub(crate) use names::{group, names, object, path, workload};
pub(crate) use verdict::{cause, change, evidence, no_side, side_name, verdict};
