//! 02xx: names that lead to other objects.

super::codes! {
}
