//! CiliumCIDRGroup (SEM-1.4).

use super::cidr;
use super::fields::{Reader, refused};
use crate::ast::CidrGroup;
use crate::tree::Node;
use portcullis_diag::codes::schema;

/// Reads the object.
pub(super) fn read(r: &mut Reader<'_>, root: &Node) -> Option<CidrGroup> {
    let map = r.strict(root, "a CiliumCIDRGroup", &["apiVersion", "kind", "metadata", "spec"])?;
    super::meta::check(r, &map, false);
    let Some(spec) = map.get("spec") else {
        r.report(refused(schema::NO_SPEC, root.span, "it has no `spec`").label("no addresses in it"));
        return None;
    };
    let spec = r.strict(spec, "spec", &["externalCIDRs"])?;
    let Some(node) = spec.get("externalCIDRs") else {
        r.missing(spec.span, "externalCIDRs", "spec");
        return None;
    };
    Some(CidrGroup { cidrs: cidr::list(r, node, "externalCIDRs")?.value })
}
