//! What is asked of a solver. The process that runs one lives in the command line.

/// A solver's answer to one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SatResult {
    /// There is an assignment: the text of its values.
    Sat(String),
    /// There is none.
    Unsat,
    /// The solver gave up, and why.
    Unknown(String),
}

/// A solver that could not be asked, or that gave no answer at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SolverError(pub String);

/// Answers whole SMT-LIB2 texts that end in `(check-sat)` and `(get-value …)`.
pub trait Solver {
    /// Whether the text's assertions can hold together.
    fn check(&mut self, query: &str) -> Result<SatResult, SolverError>;
}

/// Sorts what a solver printed: the verdict in the first line, values after it.
pub fn read_answer(printed: &str) -> Result<SatResult, SolverError> {
    let printed = printed.trim_start();
    let (first, rest) = printed.split_once('\n').unwrap_or((printed, ""));
    match first.trim() {
        "sat" => Ok(SatResult::Sat(rest.to_owned())),
        "unsat" => Ok(SatResult::Unsat),
        "unknown" => Ok(SatResult::Unknown("the solver gave up".to_owned())),
        "timeout" => Ok(SatResult::Unknown("the time was up".to_owned())),
        "" => Err(SolverError("the solver said nothing".to_owned())),
        other => Err(SolverError(format!("the solver said: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_solver_is_no_proof() {
        assert_eq!(read_answer("unsat\n(error \"no model\")\n"), Ok(SatResult::Unsat));
        assert_eq!(read_answer("sat\n((a true))"), Ok(SatResult::Sat("((a true))".into())));
        assert!(read_answer("(error \"line 1\")\nunsat").is_err());
        assert!(read_answer("").is_err());
        assert!(matches!(read_answer("timeout\n"), Ok(SatResult::Unknown(_))));
    }
}
