//! Policies to the table image, and the reader of its bytes.
//!
//! `classes` gives every identity a peer class and every endpoint two subject classes; `atoms` cuts
//! the port coordinates; `rows` says what stands behind each; `build` turns cells into pages and the pages
//! into one block of bytes; `memo` keeps what the next image can use;
//! `image` reads those bytes back, with the same steps as the kernel's program and every offset
//! checked; `staged` is the form of an image that goes into a kernel. Same input, same bytes, on any machine.

pub mod atoms;
pub mod audit;
pub mod build;
pub mod cause;
pub mod classes;
pub mod image;
pub mod memo;
mod pages;
mod rows;
mod source;
pub mod staged;
mod writer;

pub use audit::Audit;
pub use build::{BuildError, Built, build, build_with_audit};
pub use cause::Cause;
pub use image::{Image, ImageError, Word};
pub use memo::Compiler;
