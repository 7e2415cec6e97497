//! Reports for a terminal. Every line that matters reads without colour.

pub(crate) mod check;
pub(crate) mod diagnostic;
pub(crate) mod diff;
pub(crate) mod excerpt;
pub(crate) mod explain;
pub(crate) mod reach;
pub(crate) mod steps;

use crate::Style;
use crate::model::Coverage;
use crate::place::Places;
use crate::say;
use crate::words::{agree, clean, number, wrap};
use portcullis_diag::{SourceMap, Span};
use portcullis_ir::Verdict;
use portcullis_sema::describe::PeerGroup;
use std::collections::BTreeSet;

/// What a piece of text is, and so how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// As it is.
    Plain,
    /// Heads of sections.
    Bold,
    /// Denied; errors.
    Red,
    /// Allowed.
    Green,
    /// Warnings.
    Yellow,
    /// Names of help and commands.
    Cyan,
    /// Of less weight.
    Dim,
}

/// Puts text in colour, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// One line of text in one colour.
    pub(crate) fn ink(self, ink: Ink, text: &str) -> String {
        let codes = match ink {
            _ if !self.0 => return text.to_owned(),
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Red => "1;31",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Cyan => "36",
            Ink::Dim => "2",
        };
        if text.is_empty() { String::new() } else { format!("\u{1b}[{codes}m{text}\u{1b}[0m") }
    }

    /// The colour of a verdict.
    pub(crate) fn verdict(v: Verdict) -> Ink {
        match v {
            Verdict::Allowed => Ink::Green,
            Verdict::Denied => Ink::Red,
        }
    }
}

/// A page under way.
pub(crate) struct Page<'s> {
    pub(crate) out: String,
    pub(crate) paint: Paint,
    pub(crate) width: usize,
    pub(crate) verbose: bool,
    pub(crate) places: Places<'s>,
    /// Places whose lines are on the page already, with what was shown around them.
    pub(crate) shown: BTreeSet<(Span, Span)>,
}

impl<'s> Page<'s> {
    pub(crate) fn new(sources: &'s SourceMap, style: &Style) -> Self {
        Self {
            out: String::new(),
            paint: Paint(style.colour),
            // Narrower than this, excerpts say nothing; wider, prose cannot be read.
            width: style.width.clamp(40, 200),
            verbose: style.verbose,
            places: Places::new(sources),
            shown: BTreeSet::new(),
        }
    }

    /// A line as it is, which may hold colours.
    pub(crate) fn raw(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// An empty line, unless the page begins or has one already.
    pub(crate) fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Prose, wrapped.
    pub(crate) fn prose(&mut self, indent: usize, ink: Ink, text: &str) {
        self.led(indent, "", Ink::Plain, ink, text);
    }

    /// Prose after a short lead, wrapped under its own beginning.
    pub(crate) fn led(&mut self, indent: usize, lead: &str, lead_ink: Ink, ink: Ink, text: &str) {
        let hang = indent + lead.chars().count();
        let text = clean(text);
        for (i, line) in wrap(&text, self.width.min(120).saturating_sub(hang)).iter().enumerate() {
            let line = self.paint.ink(ink, line);
            if i == 0 {
                let lead = self.paint.ink(lead_ink, lead);
                self.raw(&format!("{:indent$}{lead}{line}", ""));
            } else {
                self.raw(&format!("{:hang$}{line}", ""));
            }
        }
    }

    /// A line between sections.
    pub(crate) fn section(&mut self, title: &str) {
        self.gap();
        let title = self.paint.ink(Ink::Bold, title);
        self.raw(&title);
        self.gap();
    }

    /// How many of a list to show.
    pub(crate) fn most(&self, few: usize) -> usize {
        if self.verbose { usize::MAX } else { few }
    }

    /// `+N more` under a list that was cut; what is counted, for one and for many.
    pub(crate) fn more(&mut self, indent: usize, left: usize, (one, many): (&str, &str)) {
        if left > 0 {
            let what = agree(left as u64, one, many);
            let text = format!("+{} more {what} (--verbose shows all)", number(left as u64));
            self.prose(indent, Ink::Dim, &text);
        }
    }

    /// The workloads of a group where its summary neither names them nor says that it is all there are.
    pub(crate) fn members(&mut self, indent: usize, lead: &str, g: &PeerGroup) {
        let names = say::unnamed(g, self.verbose);
        if names.is_empty() {
            return;
        }
        let text = crate::words::cut(&names, self.most(6));
        self.led(indent, lead, Ink::Dim, Ink::Dim, &text);
    }

    /// What was looked at.
    pub(crate) fn coverage(&mut self, coverage: &Coverage) {
        self.gap();
        for (i, text) in say::coverage(coverage).iter().enumerate() {
            let warn = i == 1 && coverage.cluster == crate::ClusterSource::None;
            let ink = if warn { Ink::Yellow } else { Ink::Dim };
            self.prose(0, ink, text);
        }
    }

    pub(crate) fn finish(mut self) -> String {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out
    }
}
