//! One side of a comparison, from texts.

use portcullis_diag::{Diagnostic, FileId, SourceMap};
use portcullis_front::ast::Object;
use portcullis_ir::cluster::Facts;
use portcullis_ir::{Cluster, Options, PolicySet};
use portcullis_oracle::Oracle;
use portcullis_sema::universe::Input;

/// A named text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, which tells YAML from JSON.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl Source {
    /// A text under a name.
    pub fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into() }
    }
}

/// Policies and the cluster they apply to, read and lowered.
#[derive(Debug, Default)]
pub struct Side {
    /// The cluster: what all sides share, and this side's own objects over it.
    pub cluster: Cluster,
    /// This side's policies.
    pub policies: PolicySet,
    /// Its settings.
    pub options: Options,
    /// This side's own objects, policies among them.
    pub objects: Vec<Object>,
    /// What the reader said of this side's own texts.
    pub diagnostics: Vec<Diagnostic>,
}

impl Side {
    /// Reads the texts. The sources are added to `map`, so that spans can be shown.
    pub fn new(map: &mut SourceMap, shared: &[Source], own: &[Source]) -> Self {
        let options = Options::default();
        let mut below = Facts::default();
        let mut above = Facts::default();
        for s in shared {
            let file = map.add(s.name.clone(), s.text.clone());
            for o in &portcullis_front::parse(file, &s.name, &s.text).objects {
                below.add(o);
            }
        }
        let mut objects = Vec::new();
        let mut diagnostics = Vec::new();
        for s in own {
            let file: FileId = map.add(s.name.clone(), s.text.clone());
            let parsed = portcullis_front::parse(file, &s.name, &s.text);
            diagnostics.extend(parsed.diagnostics);
            objects.extend(parsed.objects);
        }
        for o in &objects {
            above.add(o);
        }
        let cluster = Cluster::from_facts(&[&below, &above], &options);
        let policies = portcullis_ir::lower::lower(&objects, &cluster, &options);
        Self { cluster, policies, options, objects, diagnostics }
    }

    /// As the class engine takes it.
    pub fn input(&self) -> Input<'_> {
        Input { policies: &self.policies, cluster: &self.cluster, options: &self.options }
    }

    /// As the oracle takes it.
    pub fn oracle(&self) -> Oracle<'_> {
        Oracle { policies: &self.policies, cluster: &self.cluster, options: &self.options }
    }
}
