//! Causes of verdict words, and the line that says each.

use portcullis_diag::SourceMap;
use portcullis_ir::{EnforcementId, PolicySet, RuleId};

/// What a verdict word's cause stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing selects the endpoint in this direction.
    NotEnforced,
    /// The node's own host reaches its pods.
    Localhost,
    /// These enforcements turned default deny on.
    DefaultDeny(Vec<EnforcementId>),
    /// These rules decide.
    Rules(Vec<RuleId>),
}

impl Cause {
    /// The cause in one line: what decided, and where it stands.
    pub fn line(&self, policies: &PolicySet, sources: &SourceMap) -> String {
        let of = |policy, span| {
            let object = policies.policy(policy).map(|p| p.object.to_string()).unwrap_or_default();
            format!("{object} at {}", sources.locate(span))
        };
        match self {
            Self::NotEnforced => "no policy selects it".to_owned(),
            Self::Localhost => "the node's own host reaches its pods".to_owned(),
            Self::DefaultDeny(ids) if ids.is_empty() => "default deny of every endpoint".to_owned(),
            Self::DefaultDeny(ids) => {
                let by = ids.iter().filter_map(|id| policies.enforcement(*id)).map(|e| of(e.policy, e.span));
                format!("default deny by {}", by.collect::<Vec<_>>().join("; "))
            }
            Self::Rules(ids) => {
                let by = ids
                    .iter()
                    .filter_map(|id| policies.rule(*id))
                    .map(|r| format!("{} by {}", r.action, of(r.policy, r.span)));
                by.collect::<Vec<_>>().join("; ")
            }
        }
    }
}
