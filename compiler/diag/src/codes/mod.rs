//! The registry: one line per diagnostic, grouped by the stage that raises it.

pub mod meaning;
pub mod resolution;
pub mod schema;
pub mod syntax;
pub mod tables;

use crate::code::CodeInfo;

/// All groups, in order of their numbers.
pub const ALL: &[&[CodeInfo]] =
    &[syntax::CODES, schema::CODES, resolution::CODES, meaning::CODES, tables::CODES];

/// Declares the constants and the table of one group.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $slug:literal, $severity:ident, $title:literal;)*) => {
        $(
            #[doc = $title]
            $(#[$doc])*
            pub const $name: $crate::code::Code = $crate::code::Code($number);
        )*
        /// The registry lines of this group.
        pub const CODES: &[$crate::code::CodeInfo] = &[
            $($crate::code::CodeInfo {
                code: $name,
                slug: $slug,
                title: $title,
                severity: $crate::diagnostic::Severity::$severity,
            }),*
        ];
    };
}
pub(crate) use codes;
