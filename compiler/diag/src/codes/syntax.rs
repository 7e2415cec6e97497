//! 00xx: reading files and YAML.

super::codes! {
    YAML_SYNTAX = 1, "yaml-syntax", Error, "The document is not valid YAML";
    JSON_SYNTAX = 2, "json-syntax", Error, "The document is not valid JSON";
    NOT_TEXT = 3, "not-text", Error, "The file is not UTF-8 text";
    UNREADABLE = 4, "unreadable", Error, "A file or folder could not be read";
    TOO_LARGE = 5, "too-large", Error, "A file is larger than the limit";
    TOO_DEEP = 6, "too-deep", Error, "The document is nested too deeply";
    TOO_MANY_NODES = 7, "too-many-nodes", Error, "Aliases expand the document beyond the limit";
    DUPLICATE_KEY = 8, "duplicate-key", Warning, "A key occurs twice in one mapping; the last one wins";
    UNKNOWN_ANCHOR = 9, "unknown-anchor", Error, "An alias names an anchor that this document does not define";
    BAD_MERGE = 10, "bad-merge", Error, "A merge key does not name a mapping";
    BAD_KEY = 11, "bad-key", Error, "A mapping key is not a scalar";
    TEMPLATE_SKIPPED = 12, "template-skipped", Note, "A template was skipped: render it first";
    PATCH_SKIPPED = 13, "patch-skipped", Note, "A kustomize file was skipped: build it first";
    NOT_AN_OBJECT = 14, "not-an-object", Warning, "The document is not a Kubernetes object";
    UNKNOWN_KIND_SKIPPED = 15, "unknown-kind-skipped", Note, "An object of a kind that says nothing about policy was skipped";
    SYMLINK_LOOP = 16, "symlink-loop", Warning, "A symbolic link leads back into its own folder";
    UNSUPPORTED_SCALAR = 17, "unsupported-scalar", Error, "The scalar has no JSON form, so the API server cannot take it";
    AFTER_END = 18, "after-document-end", Warning, "Text after the end of a document is never read";
}
