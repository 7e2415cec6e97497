//! Where reports go, and how they look there.

use crate::args::{Colour, FormatName, Global};
use crate::exit::{Exit, Failure};
use portcullis_diag::SourceMap;
use portcullis_report::{Format, Render, Style};
use std::io::{self, IsTerminal, Write};
use std::{env, fs};

/// Refuses a format that a command does not know.
pub(crate) fn check_format(global: &Global, command: &str, known: &[FormatName]) -> Result<(), Failure> {
    if known.contains(&global.format) {
        return Ok(());
    }
    let names: Vec<String> = known.iter().map(|f| f.name()).collect();
    Err(Failure::new(
        format!("`{command}` has no {} report", global.format.name()),
        format!("it knows {}", names.join(", ")),
    ))
}

/// Writes a report to where it belongs.
pub(crate) fn report(report: &dyn Render, sources: &SourceMap, global: &Global) -> Result<(), Failure> {
    let format = global.format.format();
    if global.quiet && global.output.is_none() {
        return Ok(());
    }
    text(&report.render(sources, format, &style(global, format)), global)
}

/// Writes a text to where it belongs.
pub(crate) fn text(text: &str, global: &Global) -> Result<(), Failure> {
    if let Some(path) = &global.output {
        return fs::write(path, text).map_err(|e| {
            Failure::new(
                format!("{} could not be written: {e}", path.display()),
                "give --output a file in a folder that exists and may be written",
            )
        });
    }
    stdout(text);
    Ok(())
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn stdout(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Says what went wrong, on standard error.
pub(crate) fn failure(failure: &Failure) -> Exit {
    stderr(&failure.text());
    Exit::Usage
}

/// Writes to standard error.
pub(crate) fn stderr(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn style(global: &Global, format: Format) -> Style {
    let terminal = global.output.is_none() && io::stdout().is_terminal();
    // https://no-color.org: any value that is not empty.
    let unwanted = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let colour = match global.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && !unwanted,
    };
    let width = if terminal { terminal_size::terminal_size().map(|(w, _)| usize::from(w.0)) } else { None };
    Style {
        colour: colour && format == Format::Terminal,
        // Lines longer than this are hard to read; shorter ones break every name.
        width: width.unwrap_or(100).clamp(60, 120),
        verbose: global.verbose,
    }
}
