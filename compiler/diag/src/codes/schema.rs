//! 01xx: the shape of an object, as the API server and Cilium check it.

super::codes! {
    UNKNOWN_FIELD = 101, "unknown-field", Error, "An unknown field, which the API server drops without a word";
}
