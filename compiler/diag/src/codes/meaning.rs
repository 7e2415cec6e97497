//! 03xx: lints, about what a valid policy means.

super::codes! {
}
