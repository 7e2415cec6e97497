//! A compiler that stays: what has not changed since the last image is not worked out again.
//!
//! Every table here is keyed by content, or by numbers that its own tables gave; none depends on which
//! policies there are. So the image is byte for byte the one that [`crate::build()`] makes from the same
//! policies, which is this with an empty memo.

use crate::audit::Audit;
use crate::build::{BuildError, Built, assemble};
use crate::cause::Cause;
use crate::classes::Key;
use crate::rows::{PlacedCause, PlacedRow};
use crate::source::Sum;
use fixedbitset::FixedBitSet;
use portcullis_diag::ObjectRef;
use portcullis_front::ast::Object;
use portcullis_ir::intern::Interner;
use portcullis_ir::lower::{link, lower_one};
use portcullis_ir::{Cluster, Options, PolicySet};
use portcullis_sema::cells::Part;
use portcullis_sema::side::{self, Evaluation};
use portcullis_sema::universe::{Input, Universe};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What one image leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) policies: Interner<ObjectRef>,
    pub(crate) causes: Interner<PlacedCause>,
    pub(crate) rows: Interner<PlacedRow>,
    /// Subject classes of the last image, and, while one is made, those that it has so far: what an image
    /// does not use is not kept for the next, since parts are large.
    pub(crate) subjects: FxHashMap<Key, Known>,
    pub(crate) used: FxHashMap<Key, Known>,
    /// Digests: of the identities, and of policies by number.
    pub(crate) identities: Option<Sum>,
    pub(crate) sums: FxHashMap<u32, Sum>,
    /// The port section of the atoms that it was made for.
    pub(crate) ports: Option<(Vec<u32>, Vec<u16>, Vec<u16>)>,
}

/// The parts of a subject class, the largest first, and their rows in the memo's table.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) parts: Rc<Vec<Part>>,
    pub(crate) rows: Rc<Vec<u32>>,
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

    /// Another state of the cluster: services, namespaces and groups bear on what policies mean, so all
    /// are lowered again, and nothing is remembered.
    pub fn set_cluster(&mut self, cluster: Cluster) {
        self.cluster = cluster;
        self.evaluation = side::Memo::default();
        self.memo = Memo::default();
        let objects: Vec<Rc<Object>> =
            std::mem::take(&mut self.lowered).into_values().map(|(o, _)| o).collect();
        for o in objects {
            self.set_policy(o);
        }
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
        if self.memo.rows.len() + self.memo.subjects.len() + self.memo.causes.len() > LARGE {
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
