//! stub
use crate::args::{ExplainArgs, Global};
use crate::exit::{Exit, Failure};
pub(crate) fn run(_args: &ExplainArgs, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::new("not there yet", ""))
}
