//! 02xx: names that lead to other objects.

super::codes! {
    DUPLICATE_OBJECT = 201, "duplicate-object", Warning, "Two objects of one kind, namespace and name; the last one wins";
}
