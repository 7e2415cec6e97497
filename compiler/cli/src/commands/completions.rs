//! `completions` and `man`: what packagers ship beside the program.

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::output;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// Writes a completion script to standard output.
pub(crate) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
    output::stdout(&String::from_utf8_lossy(&script));
}

/// Writes one manual page a command into a folder, or the main one to standard output.
pub(crate) fn man(out: Option<&Path>) -> Result<Exit, Failure> {
    let failed = |e: io::Error| {
        Failure::new(format!("the manual pages could not be written: {e}"), "give --out a folder that exists")
    };
    if let Some(folder) = out {
        clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
        output::stdout(&String::from_utf8_lossy(&page));
    }
    Ok(Exit::Clean)
}
