//! Proves that a table image answers every flow of a cluster as the policies do.
//!
//! The image's answer depends on an endpoint by its subject class, on a peer by its peer class and on
//! a port by its atom. The oracle's depends on an endpoint by the rules and enforcements that select
//! it, on a peer by the peer terms that take it in, and on a port by the port terms that do. So both
//! answer alike for *every* flow if they do for one flow of each combination of
//!
//! * (the rules that select an endpoint, the image's subject class): `subjects`;
//! * (the terms that take in a peer, the image's peer class): `peers`;
//! * (the stretch between two bounds of port terms, the image's atom): `ports`.
//!
//! Each list is made by asking about every endpoint, every identity and every coordinate, one by one,
//! with the oracle's own code: nothing is taken from the classes that the image was built from.
//! `compare` then looks at each combination.
//!
//! [`table()`] gives an image to the other way of proving it, over pods that need not exist:
//! `portcullis-symbolic`.

mod compare;
mod peers;
mod ports;
mod replay;
mod subjects;
mod table;

use compare::{Comparison, compare};
use fixedbitset::FixedBitSet;
use peers::PeerClasses;
use portcullis_abi::{COORDINATES, header};
use portcullis_ir::{Decision, Direction};
use portcullis_oracle::Oracle;
use portcullis_sema::universe::{Input, NodeId, Universe};
use portcullis_tables::Cause;
use portcullis_tables::{Audit, Image, ImageError, Word};
use ports::Stretches;
use rayon::prelude::*;
pub use replay::{Replayed, Replayer};
pub use table::{says, table};

/// Says a cause in the line that the image was given for it.
pub type Names<'n> = &'n (dyn Fn(&Cause) -> String + Sync);

/// Why an image could not be compared at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The bytes are no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image numbers other identities than this cluster and these policies have.
    #[error("the image has {image} {what}, and there are {here} here")]
    OtherCluster {
        /// What is counted.
        what: &'static str,
        /// How many the image has.
        image: usize,
        /// How many there are.
        here: usize,
    },
}

/// One flow for which the image and the policies do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The endpoints.
    pub subject: NodeId,
    /// Their side of the flow.
    pub direction: Direction,
    /// The other end.
    pub peer: NodeId,
    /// What the flow carries: [`portcullis_sema::ports::flow_port`] says it.
    pub coordinate: u32,
    /// The image's answer.
    pub image: Result<Word, ImageError>,
    /// The oracle's.
    pub expected: Decision,
    /// Nothing but policies in audit denies it: it passes all the same.
    pub expected_audit: bool,
    /// The oracle's cause, as the image would name it.
    pub expected_cause: String,
}

impl Difference {
    /// Whether the flow passes in one and not in the other, or has no answer.
    pub fn changes_verdict(&self) -> bool {
        let passes = self.expected_audit || self.expected.verdict == portcullis_ir::Verdict::Allowed;
        self.image.as_ref().map_or(true, |w| w.passes() != passes)
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first difference of each two rows that differ, verdicts before causes.
    pub differences: Vec<Difference>,
    /// Cells that the comparison stands for: endpoints and directions × identities × coordinates.
    pub flows: u128,
    /// Combinations of subjects and peers that were looked at.
    pub pairs: u64,
    /// Cells that were compared, one of each two rows.
    pub cells: u64,
}

/// What an image was asked for beside the policies themselves.
#[derive(Clone, Copy)]
pub struct Expect<'e> {
    /// Endpoint groups it answers for; all if not given.
    pub wanted: Option<&'e FixedBitSet>,
    /// Policies whose denials are reported and let through.
    pub audit: &'e Audit,
    /// Must say causes as when the image was built.
    pub names: Names<'e>,
}

/// Compares an image with what the policies mean, for every endpoint group (or those that are
/// `wanted`), every identity of the universe and everything a packet can carry. `names` must say
/// causes as it did when the image was built. No policy is in audit.
pub fn verify(
    bytes: &[u8],
    input: Input<'_>,
    universe: &Universe,
    wanted: Option<&FixedBitSet>,
    names: Names<'_>,
) -> Result<Report, VerifyError> {
    verify_with(bytes, input, universe, &Expect { wanted, audit: &Audit::default(), names })
}

/// The same for an image with policies in audit.
pub fn verify_with(
    bytes: &[u8],
    input: Input<'_>,
    universe: &Universe,
    expect: &Expect<'_>,
) -> Result<Report, VerifyError> {
    let wanted = expect.wanted;
    let image = Image::parse(bytes)?;
    same_cluster(&image, universe)?;
    let oracle = Oracle { policies: input.policies, cluster: input.cluster, options: input.options };
    let subjects = subjects::subjects(&oracle, universe, &image, wanted);
    let all = Comparison {
        oracle,
        image,
        causes: image.causes(),
        peers: PeerClasses::new(&oracle, universe, &image),
        ports: Stretches::new(input.policies, input.cluster, &image),
        audit: expect.audit,
        names: expect.names,
    };
    let outcomes: Vec<_> = subjects.par_iter().map(|case| compare(&all, case)).collect();
    let endpoints = wanted.map_or(universe.groups, |w| w.count_ones(..)) as u128;
    let mut report = Report {
        flows: endpoints * 2 * universe.len() as u128 * u128::from(COORDINATES),
        ..Report::default()
    };
    for outcome in outcomes {
        report.pairs += outcome.pairs;
        report.cells += outcome.cells;
        report.differences.extend(outcome.differences);
    }
    report.differences.sort_by_key(|d| !d.changes_verdict());
    Ok(report)
}

/// Whether an image numbers as many identities as this cluster and these policies have.
fn same_cluster(image: &Image<'_>, universe: &Universe) -> Result<(), VerifyError> {
    for (what, at, here) in [
        ("identities", header::IDENTITIES, universe.len()),
        ("endpoints", header::ENDPOINTS, universe.groups),
    ] {
        let found = image.count(at);
        if found != here {
            return Err(VerifyError::OtherCluster { what, image: found, here });
        }
    }
    Ok(())
}
