//! A compiler that stays: what has not changed since the last image is not worked out again.
//!
//! Every table here is keyed by content, or by numbers that its own tables gave; none depends on which
//! policies there are. So the image is byte for byte the one that [`crate::build()`] makes from the same
//! policies, which is this with an empty memo.

use crate::audit::Audit;
use crate::build::{BuildError, Built, assemble};
use crate::cause::Cause;
use crate::classes::Key;
use crate::pages::Cut;
use crate::rows::{PlacedCause, PlacedRow, PlacedWord};
use crate::source::Sum;
use fixedbitset::FixedBitSet;
use portcullis_abi as abi;
use portcullis_diag::ObjectRef;
use portcullis_front::ast::Object;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::intern::Interner;
use portcullis_ir::lower::{link, lower_one};
use portcullis_ir::{Cluster, LabelSet, Options, PolicySet};
use portcullis_sema::side::{self, Evaluation};
use portcullis_sema::universe::{Input, NodeId, Universe};
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What one image leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) policies: Interner<ObjectRef>,
    pub(crate) causes: Interner<PlacedCause>,
    pub(crate) words: Interner<PlacedWord>,
    pub(crate) rows: Interner<PlacedRow>,
    /// Identities that stand together in a part of some subject class.
    pub(crate) members: Interner<Box<[u32]>>,
    /// Subject classes of the last image, and, while one is made, those that it has so far: what an image
    /// does not use is not kept for the next.
    pub(crate) subjects: FxHashMap<Key, Rc<Known>>,
    pub(crate) used: FxHashMap<Key, Rc<Known>>,
    pub(crate) pairs: Pairs,
    pub(crate) lines: Lines,
    /// Digests: of the identities, and of policies by number.
    pub(crate) identities: Option<Sum>,
    pub(crate) sums: FxHashMap<u32, Sum>,
    /// The port section of the atoms that it was made for.
    pub(crate) ports: Option<(Vec<u32>, Vec<u16>, Vec<u16>)>,
}

impl Memo {
    fn len(&self) -> usize {
        let tables = [self.rows.len(), self.subjects.len(), self.causes.len(), self.words.len()];
        tables.iter().sum::<usize>() + self.members.len() + self.pairs.cut.len() + self.lines.cut.len()
    }
}

/// The pair table's arrays, of subject classes over these peer classes.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub(crate) peer_class: Vec<usize>,
    pub(crate) cut: Cut<u16>,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { peer_class: Vec::new(), cut: Cut::new(abi::PAIR_PAGE) }
    }
}

/// The row table's arrays, of rows over these atoms.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) starts: Vec<u32>,
    pub(crate) cut: Cut<u32>,
    pub(crate) of_row: FxHashMap<u32, u32>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { starts: Vec::new(), cut: Cut::new(abi::ROW_PAGE), of_row: FxHashMap::default() }
    }
}

/// What a subject class is made of. The part with the most peers is the first, so that most of an image's
/// pages are zero.
#[derive(Debug)]
pub(crate) struct Known {
    /// The peers of every part but the first, which has the rest, in the memo's table.
    pub(crate) parts: Vec<u32>,
    /// Distinct rows in order of first use, in the memo's table.
    pub(crate) rows: Vec<u32>,
    /// By part, as in `parts`: which of the rows.
    pub(crate) row_of: Vec<usize>,
    /// Its array in the pair table, once it was made for the peer classes there.
    pub(crate) array: Cell<Option<u32>>,
}

/// Entries of the tables beyond which they begin anew: what no policy uses any more is never removed
/// one by one.
const LARGE: usize = 1 << 17;

/// Says which endpoint groups of a universe an image is for.
pub type Wanted<'w> = &'w dyn Fn(&Universe) -> FixedBitSet;

/// Policies and a cluster that change piece by piece, and their image.
#[derive(Debug, Default)]
pub struct Compiler {
    cluster: Cluster,
    options: Options,
    audit: Audit,
    /// Policies, each lowered by itself.
    lowered: BTreeMap<ObjectRef, (Rc<Object>, PolicySet)>,
    /// How many times a policy was lowered.
    versions: u64,
    evaluation: side::Memo,
    memo: Memo,
}

impl Compiler {
    /// A compiler without policies.
    pub fn new(cluster: Cluster, options: Options) -> Self {
        Self { cluster, options, ..Self::default() }
    }

    /// Another state of the cluster. Where its endpoints are as they were, what was worked out about them is
    /// kept; where services and groups are, what policies mean.
    pub fn set_cluster(&mut self, cluster: Cluster) {
        let before = std::mem::replace(&mut self.cluster, cluster);
        if !before.has_endpoints_of(&self.cluster) {
            self.evaluation = side::Memo::default();
            self.memo = Memo::default();
        }
        if before.services == self.cluster.services && before.cidr_groups == self.cluster.cidr_groups {
            return;
        }
        let objects: Vec<Rc<Object>> =
            std::mem::take(&mut self.lowered).into_values().map(|(o, _)| o).collect();
        for o in objects {
            self.set_policy(o);
        }
    }

    /// The group of the last image whose verdicts, as a peer, pods with these labels and named ports have, too.
    pub fn twin(&self, policies: &PolicySet, labels: &LabelSet, ports: &[NamedPort]) -> Option<NodeId> {
        let input = Input { policies, cluster: &self.cluster, options: &self.options };
        self.evaluation.twin(input, labels, ports)
    }

    /// Adds a policy, or puts it in the place of the one with its kind, namespace and name. An object that
    /// the cluster does not enforce takes that one's place as well, and has no part in the image.
    pub fn set_policy(&mut self, object: Rc<Object>) {
        let key = object.reference();
        self.changed(&key);
        match lower_one(&object, &self.cluster, &self.options) {
            Some(mut set) => {
                self.versions += 1;
                set.policies.iter_mut().for_each(|p| p.version = self.versions);
                self.lowered.insert(key, (object, set));
            }
            None => {
                self.lowered.remove(&key);
            }
        }
    }

    /// Puts these policies, and no others, in audit.
    pub fn set_audit(&mut self, audit: Audit) {
        self.audit = audit;
    }

    /// Removes a policy; whether it was there.
    pub fn remove_policy(&mut self, key: &ObjectRef) -> bool {
        self.changed(key);
        self.lowered.remove(key).is_some()
    }

    fn changed(&mut self, key: &ObjectRef) {
        if let Some(number) = self.memo.policies.find(key) {
            self.memo.sums.remove(&number);
        }
    }

    /// The cluster as it is.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The policies as they are, in normal form.
    pub fn policies(&self) -> PolicySet {
        link(self.lowered.values().map(|(_, set)| set))
    }

    /// The image of [`Self::policies`], as [`crate::build_with_audit()`] would make it. `seen` is shown the
    /// image and the evaluation it was made of.
    pub fn compile<T>(
        &mut self,
        policies: &PolicySet,
        wanted: Option<Wanted<'_>>,
        name: &dyn Fn(&Cause) -> String,
        seen: impl FnOnce(&Evaluation<'_>, &Built) -> T,
    ) -> Result<(Built, T), BuildError> {
        if self.memo.len() > LARGE {
            self.memo = Memo::default();
            self.evaluation = side::Memo::default();
        }
        let input = Input { policies, cluster: &self.cluster, options: &self.options };
        let e = Evaluation::with_memo(input, std::mem::take(&mut self.evaluation));
        if e.began_anew {
            self.memo = Memo::default();
        }
        let wanted = wanted.map(|w| w(&e.universe));
        let built = assemble(&e, wanted.as_ref(), &self.audit, name, &mut self.memo);
        let out = built.map(|built| {
            let seen = seen(&e, &built);
            (built, seen)
        });
        self.evaluation = e.into_memo();
        out
    }
}
