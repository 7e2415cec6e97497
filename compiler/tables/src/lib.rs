//! Policies to the table image, and the reader of its bytes.
//!
//! `classes` gives every identity a peer class and every endpoint two subject classes; `atoms` cuts
//! the port coordinates; `build` turns cells into pages and the pages into one block of bytes;
//! `image` reads those bytes back, with the same steps as the kernel's program and every offset
//! checked; `staged` is the form of an image that goes into a kernel. Same input, same bytes, on any machine.

pub mod atoms;
pub mod build;
pub mod cause;
pub mod classes;
pub mod image;
mod pages;
mod source;
pub mod staged;

pub use build::{BuildError, Built, build};
pub use cause::Cause;
pub use image::{Image, ImageError, Word};
