//! `portcullis`: reviews Kubernetes network policy before it rolls out.
//!
//! The way through: [`args`] says what was asked; [`input`] (the crate `files`) and [`git`] fetch texts;
//! [`load`] makes objects of them; [`session`] puts a side together, with [`coverage`] of what was looked at;
//! [`commands`] ask the engines, with [`resolve`] for names of flows' ends; [`output`] writes the
//! report; [`exit`] says how it ended. This crate and `files` alone
//! touch the machine.

mod args;
mod commands;
mod coverage;
mod exit;
mod git;
mod live;
mod output;
mod recording;
mod resolve;
mod session;
mod solver;

use exit::Exit;
use portcullis_files::{self as input, load};
use std::panic;
use std::process::ExitCode;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| output::stderr(&bug_report(info))));
    let cli = args::parse();
    let ended = panic::catch_unwind(|| commands::run(&cli).unwrap_or_else(|f| output::failure(&f)));
    ended.unwrap_or(Exit::Internal).into()
}

/// A panic is a defect of this program, whatever the input.
fn bug_report(info: &panic::PanicHookInfo<'_>) -> String {
    let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    let what = info
        .payload()
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!(
        "internal error: {what}{place}\n  This is a defect of portcullis {}, not of your files. Please report it with this line \
         and, if you can, the files that led to it.\n",
        env!("CARGO_PKG_VERSION")
    )
}
