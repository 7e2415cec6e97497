//! stub
use crate::args::{Global, ReachArgs};
use crate::exit::{Exit, Failure};
pub(crate) fn run(_args: &ReachArgs, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::new("not there yet", ""))
}
