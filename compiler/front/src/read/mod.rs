//! Trees to typed objects, checked as the API server and Cilium's engine check them.

use crate::Parsed;
use crate::tree::Node;

/// Reads one document: an object, or a list of objects.
pub fn document(_root: &Node, _out: &mut Parsed) {}
