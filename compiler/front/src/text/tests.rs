#![allow(clippy::format_push_string, clippy::format_collect, reason = "small texts")]

use super::*;
use crate::SkipReason;
use crate::tree::Value;
use portcullis_diag::codes::syntax as codes;
use portcullis_diag::{Code, Fate, Severity};

fn read_as(name: &str, text: &str) -> Outcome {
    let mut all = Outcome::default();
    for chunk in split(name, text) {
        let one = tree(FileId(3), name, text, chunk);
        all.roots.extend(one.roots);
        all.diagnostics.extend(one.diagnostics);
        all.skipped.extend(one.skipped);
        all.documents += one.documents;
    }
    all
}

fn read(text: &str) -> Outcome {
    read_as("a.yaml", text)
}

fn one(text: &str) -> Node {
    let out = read(text);
    assert!(out.diagnostics.is_empty(), "{text:?}: {:#?}", out.diagnostics);
    assert_eq!(out.roots.len(), 1, "{text:?}");
    out.roots.into_iter().next().unwrap()
}

fn field(text: &str) -> Value {
    one(&format!("a: {text}\n")).get("a").unwrap().value.clone()
}

fn codes_of(out: &Outcome) -> Vec<Code> {
    out.diagnostics.iter().map(|d| d.code).collect()
}

fn under(text: &str, span: Span) -> &str {
    &text[span.start as usize..span.end as usize]
}

fn str(text: &str) -> Value {
    Value::Str(text.into())
}

#[test]
fn scalars_are_what_kubectl_makes_of_them() {
    let yes = Value::Bool { value: true, plain: false };
    let no = Value::Bool { value: false, plain: false };
    for (text, want) in [
        ("08080", Value::Int(8080)),
        ("0777", Value::Int(511)),
        ("0o777", Value::Int(511)),
        ("0x1F", Value::Int(31)),
        ("-0x1F", Value::Int(-31)),
        ("0b101", Value::Int(5)),
        ("1_000", Value::Int(1000)),
        ("+7", Value::Int(7)),
        ("-7", Value::Int(-7)),
        ("8080.0", Value::Int(8080)),
        ("8e3", Value::Int(8000)),
        ("18446744073709551615", Value::Int(18_446_744_073_709_551_615)),
        ("18446744073709551616", Value::Float(18_446_744_073_709_551_616.0)),
        ("1.5", Value::Float(1.5)),
        ("-.5", Value::Float(-0.5)),
        (".5", Value::Float(0.5)),
        ("5.", Value::Int(5)),
        ("1e999", str("1e999")),
        ("1.2.3.4", str("1.2.3.4")),
        ("10.0.0.0/8", str("10.0.0.0/8")),
        ("+", str("+")),
        ("--5", str("--5")),
        ("0x", str("0x")),
        ("0x-1", str("0x-1")),
        ("_1", str("_1")),
        ("1e", str("1e")),
        ("1e+", str("1e+")),
        (".", str(".")),
        ("...x", str("...x")),
        ("on", yes.clone()),
        ("yes", yes.clone()),
        ("y", yes.clone()),
        ("Y", yes),
        ("NO", no.clone()),
        ("off", no.clone()),
        ("n", no),
        ("true", Value::Bool { value: true, plain: true }),
        ("FALSE", Value::Bool { value: false, plain: true }),
        ("yEs", str("yEs")),
        ("12:30:45", str("12:30:45")),
        ("2001-12-14", str("2001-12-14")),
        ("2001-12-14t21:59:43.10-05:00", str("2001-12-14t21:59:43.10-05:00")),
        ("!!str 8080", str("8080")),
        ("!!int 8080", Value::Int(8080)),
        ("!!float 8080", Value::Int(8080)),
        ("!!bool yes", Value::Bool { value: true, plain: false }),
        ("!mine 8080", str("8080")),
        ("! \"8080\"", Value::Int(8080)),
        ("!!str", str("")),
        ("'8080'", str("8080")),
        ("\"yes\"", str("yes")),
        ("\"\\u00e9\"", str("é")),
        ("\"\\ud83d\\ude00\"", str("😀")),
        ("''", str("")),
        ("~", Value::Null),
        ("Null", Value::Null),
        ("", Value::Null),
        ("nULL", str("nULL")),
        ("|\n  x\n  y\n", str("x\ny\n")),
        (">-\n  x\n  y", str("x y")),
        ("|\n  8080", str("8080\n")),
    ] {
        assert_eq!(field(text), want, "{text:?}");
    }
}

#[test]
fn scalars_without_a_json_form_are_errors() {
    for text in [".inf", "-.INF", ".nan", "+.Inf", "!!int abc", "!!bool 1", "!!int 08080", "!!float x"] {
        let out = read(&format!("a: {text}\n"));
        assert_eq!(codes_of(&out), [codes::UNSUPPORTED_SCALAR], "{text}");
        assert_eq!((out.roots.len(), out.documents), (0, 1));
        assert_eq!(out.diagnostics[0].fate, Fate::Unreadable);
    }
}

#[test]
fn keys_become_strings() {
    for (text, want) in [
        ("80", "80"),
        ("0x50", "80"),
        ("08080", "8080"),
        ("1.5", "1.5"),
        ("12345678.0", "1.2345678e+07"),
        ("true", "true"),
        ("yes", "true"),
        ("NO", "false"),
        ("'80'", "80"),
        ("2001-12-14", "2001-12-14"),
        ("!!str yes", "yes"),
        (".inf", ".inf"),
        ("\"<<\"", "<<"),
    ] {
        let node = one(&format!("{text}: x\n"));
        assert_eq!(node.as_map().unwrap()[0].key, want, "{text}");
    }
}

#[test]
fn a_key_that_is_no_scalar_is_an_error() {
    for text in [
        "? [a]\n: b\n",
        "? {a: b}\n: c\n",
        "~: a\n",
        ": a\n",
        "18446744073709551615: a\n",
        "[a, b]: c\nd: e\n",
    ] {
        let out = read(text);
        assert_eq!(codes_of(&out), [codes::BAD_KEY], "{text:?} {:#?}", out.diagnostics);
        assert!(out.roots.is_empty());
    }
}

#[test]
fn a_duplicate_key_is_reported_at_both_places_and_the_last_wins() {
    let text = "a: 1\nb: 2\na: 3\n";
    let out = read(text);
    assert_eq!(codes_of(&out), [codes::DUPLICATE_KEY]);
    let d = &out.diagnostics[0];
    assert_eq!((d.severity, d.fate), (Severity::Warning, Fate::Accepted));
    assert_eq!(d.labels.iter().map(|l| l.span.start).collect::<Vec<_>>(), [10, 0]);
    let root = &out.roots[0];
    assert_eq!(root.get("a").unwrap().value, Value::Int(3));
    assert_eq!(root.as_map().unwrap().len(), 2);
}

#[test]
fn a_duplicate_is_found_among_many_keys_too() {
    let mut text: String = (0..1000).map(|i| format!("k{i}: {i}\n")).collect();
    text.push_str("k500: x\nk1: y\n");
    let out = read(&text);
    assert_eq!(codes_of(&out), [codes::DUPLICATE_KEY; 2]);
    assert_eq!(out.roots[0].get("k500").unwrap().as_str(), Some("x"));
    assert_eq!(out.roots[0].as_map().unwrap().len(), 1000);
}

#[test]
fn a_merge_overrides_what_stands_before_it_and_yields_to_what_follows() {
    let out = read("b: &b {x: 1, z: 2}\nv:\n  x: 9\n  <<: *b\n  z: 9\n");
    let v = out.roots[0].get("v").unwrap();
    assert_eq!(v.get("x").unwrap().value, Value::Int(1));
    assert_eq!(v.get("z").unwrap().value, Value::Int(9));
    assert_eq!(codes_of(&out), [codes::DUPLICATE_KEY]);
    assert!(out.diagnostics[0].message.contains("overridden"));
}

#[test]
fn in_a_list_of_merges_the_first_wins() {
    let root = one("b: &b {x: 1}\nc: &c {x: 2, w: 2}\nv:\n  <<: [*b, *c, {z: 3}]\n");
    let v = root.get("v").unwrap();
    assert_eq!(v.get("x").unwrap().value, Value::Int(1));
    assert_eq!(v.get("w").unwrap().value, Value::Int(2));
    assert_eq!(v.get("z").unwrap().value, Value::Int(3));
    assert!(v.get("<<").is_none());
}

#[test]
fn merging_something_else_is_an_error() {
    for text in ["a: 1\n<<: 2\n", "<<: [1]\n", "<<: [[{a: 1}]]\n"] {
        assert_eq!(codes_of(&read(text)), [codes::BAD_MERGE], "{text}");
    }
}

#[test]
fn an_alias_is_the_value_of_its_anchor() {
    let root = one("a: &x {p: [1, 2]}\nb: *x\nc: &k key\n*k : v\n");
    assert_eq!(root.get("a").unwrap().value, root.get("b").unwrap().value);
    assert_eq!(root.get("key").unwrap().as_str(), Some("v"));
}

#[test]
fn an_alias_of_nothing_is_an_error_and_anchors_end_with_the_document() {
    let text = "a: &x 1\n---\nb: *x\n---\nc: &c [*c]\n";
    let out = read(text);
    assert_eq!(codes_of(&out), [codes::UNKNOWN_ANCHOR; 2]);
    assert_eq!(under(text, out.diagnostics[0].labels[0].span), "*x");
    assert_eq!(under(text, out.diagnostics[1].labels[0].span), "*c");
    assert_eq!((out.documents, out.roots.len()), (3, 1));
}

#[test]
fn aliases_that_double_each_other_are_stopped() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let p = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", vec![p; 9].join(", "));
    }
    assert_eq!(codes_of(&read(&text)), [codes::TOO_MANY_NODES]);
}

#[test]
fn depth_is_limited_in_every_form() {
    let aliases = {
        let mut t = format!("a0: &a0 {}x{}\n", "[".repeat(60), "]".repeat(60));
        t += &format!("a1: &a1 {}*a0{}\n", "[".repeat(60), "]".repeat(60));
        t
    };
    let block: String = (0..120).map(|i| format!("{}a:\n", "  ".repeat(i))).collect();
    for (name, text) in [
        ("a.yaml", "[".repeat(100_000)),
        ("a.yaml", "{a: ".repeat(100_000)),
        ("a.json", "[".repeat(100_000)),
        ("a.json", "{\"a\":".repeat(100_000)),
        ("a.yaml", format!("{}{}", "[".repeat(101), "]".repeat(101))),
        ("a.yaml", "- ".repeat(50_000)),
        ("a.yaml", aliases),
        ("a.yaml", block),
    ] {
        let out = read_as(name, &text);
        assert_eq!(codes_of(&out), [codes::TOO_DEEP], "{} {:?}", &text[..20], out.diagnostics);
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(read(&deep).roots.len(), 1);
}

#[test]
fn every_scalar_and_key_has_its_own_place() {
    let text = "\u{feff}# é\r\nname: é é\r\n---\r\nlist:\r\n- \"a\\tb\"\r\n- {k: 'v'}\r\nblock: |\r\n  one\r\n  two\r\nnone:\r\nlast: 1\r\n";
    let out = read(text);
    assert!(out.diagnostics.is_empty(), "{:?}", out.diagnostics);
    let name = &out.roots[0].as_map().unwrap()[0];
    assert_eq!((under(text, name.key_span), under(text, name.value.span)), ("name", "é é"));
    assert_eq!(name.key_span.file, FileId(3));
    let root = &out.roots[1];
    let list = root.get("list").unwrap();
    assert_eq!(under(text, list.span), "\"a\\tb\"\r\n- {k: 'v'}");
    let items = list.as_seq().unwrap();
    assert_eq!(under(text, items[0].span), "\"a\\tb\"");
    assert_eq!(under(text, items[1].span), "{k: 'v'}");
    assert_eq!(under(text, items[1].get("k").unwrap().span), "'v'");
    assert_eq!(under(text, root.get("block").unwrap().span), "one\r\n  two");
    assert!(root.get("none").unwrap().is_null());
    assert_eq!(under(text, root.get("last").unwrap().span), "1");
    assert!(under(text, root.span).starts_with("list:") && under(text, root.span).ends_with("last: 1"));
}

#[test]
fn empty_documents_do_not_count() {
    let out = read("# only a comment\n---\n---\n\n---\n~\n---\na: 1\n---\n# end\n");
    assert!(out.diagnostics.is_empty(), "{:?}", out.diagnostics);
    assert_eq!((out.documents, out.roots.len()), (1, 1));
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let text = "a: 1\n---\nb: [1\n---\nc: 3\n";
    let out = read(text);
    assert_eq!(codes_of(&out), [codes::YAML_SYNTAX]);
    assert_eq!((out.roots.len(), out.documents), (2, 3));
}

#[test]
fn a_tab_is_named_and_pointed_at() {
    let text = "a:\n\tb: 1\n";
    let out = read(text);
    assert_eq!(codes_of(&out), [codes::YAML_SYNTAX]);
    assert!(out.diagnostics[0].help.as_deref().unwrap().contains("tabs"));
    assert_eq!(under(text, out.diagnostics[0].labels[0].span), "\t");
}

#[test]
fn syntax_errors_point_into_the_text() {
    for text in [
        "a: 'x\n",
        "a: b: c\n",
        "a:\n  b: 1\n c: 2\n",
        "a: [1, 2\n",
        "a: }\n",
        "a: \"\\q\"\n",
        "- a\nb: 1\n",
        "a: @x\n",
        "a: 1\n- b\n",
        "%YAML 1.1\n---\na: 1\n",
        "a: \u{1}\n",
        "a: x\n]\n",
    ] {
        let out = read(text);
        let d = &out.diagnostics[0];
        assert_eq!((d.code, d.fate), (codes::YAML_SYNTAX, Fate::Unreadable), "{text:?}");
        assert!(!under(text, d.labels[0].span).is_empty(), "{text:?} {d:?}");
        assert!(d.help.is_some());
    }
}

#[test]
fn text_after_the_separator_is_refused_as_kubectl_does() {
    let text = "--- {a: 1}\n---\nb: 2\n";
    let out = read(text);
    assert_eq!(codes_of(&out), [codes::YAML_SYNTAX]);
    assert_eq!(under(text, out.diagnostics[0].labels[0].span), "{a: 1}");
    assert_eq!((out.documents, out.roots.len()), (2, 1));
}

#[test]
fn text_after_the_end_of_a_document_is_named_not_dropped_in_silence() {
    let out = read("a: 1\n...\nb: 2\n");
    assert_eq!(codes_of(&out), [codes::AFTER_END]);
    assert_eq!(out.roots.len(), 1);
    assert!(read("a: 1\n...\n").diagnostics.is_empty());
}

#[test]
fn json_is_read_with_places_and_several_values() {
    let text = "{\"a\": [1, -2.5, true, null, \"\\ud83d\\ude00\"], \"p\": 8080.0}\n{\"b\": {}} ";
    let out = read_as("a.json", text);
    assert!(out.diagnostics.is_empty(), "{:?}", out.diagnostics);
    assert_eq!((out.roots.len(), out.documents), (2, 2));
    let items = out.roots[0].get("a").unwrap();
    assert_eq!(under(text, items.span), "[1, -2.5, true, null, \"\\ud83d\\ude00\"]");
    assert_eq!(items.as_seq().unwrap()[4].as_str(), Some("😀"));
    assert_eq!(under(text, items.as_seq().unwrap()[1].span), "-2.5");
    assert_eq!(out.roots[0].get("p").unwrap().value, Value::Int(8080));
    assert_eq!(under(text, out.roots[1].get("b").unwrap().span), "{}");
}

#[test]
fn json_is_strict() {
    for text in [
        "{\"a\": 1,}",
        "[1,]",
        "[1 2]",
        "{'a': 1}",
        "{a: 1}",
        "{\"a\" 1}",
        "[0x1]",
        "[01]",
        "[+1]",
        "[.5]",
        "[1.]",
        "[NaN]",
        "// c\n{}",
        "{} /* c */",
        "{\"a\": }",
        "[1}",
        "{\"a\": 1",
        "[\"x\ny\"]",
        "[\"\\x41\"]",
        "[\"\\ud800\"]",
        "[tru]",
        "[1,,2]",
        "{,}",
        "[\u{a0}1]",
        "{\"a\\n\": 1, \"b\t\\n\": 1}",
        "[\"",
        "{\"a\":1}]",
    ] {
        let out = read_as("a.json", text);
        assert_eq!(codes_of(&out), [codes::JSON_SYNTAX], "{text:?} {:?}", out.diagnostics);
        assert!(!under(text, out.diagnostics[0].labels[0].span).is_empty(), "{text:?}");
    }
}

#[test]
fn flow_style_yaml_may_begin_like_json() {
    assert_eq!(one("{a: 1, b: [x, y,],}\n").get("a").unwrap().value, Value::Int(1));
    assert_eq!(one("{\"a\": 1} # comment\n").get("a").unwrap().value, Value::Int(1));
    assert_eq!(codes_of(&read("{a: 1\n")), [codes::YAML_SYNTAX]);
}

#[test]
fn a_json_duplicate_is_reported_too() {
    assert_eq!(codes_of(&read_as("a.json", "{\"a\": 1, \"a\": 2}")), [codes::DUPLICATE_KEY]);
}

#[test]
fn templates_are_skipped_with_a_note() {
    for text in [
        "{{- if .Values.on }}\nkind: CiliumNetworkPolicy\n{{- end }}\n",
        "kind: CiliumNetworkPolicy\nmetadata:\n  name: {{ .Values.name }}\n",
        "kind: CiliumNetworkPolicy\nmetadata:\n  name: \"{{ .Values.name }}\"\n",
        "kind: CiliumNetworkPolicy\nmetadata:\n  name: x-{{ $name }}\n",
        "kind: CiliumNetworkPolicy\nspec:\n  {{- toYaml .x | nindent 2 }}\n",
        "---\n{{ range $x }}\nkind: CiliumNetworkPolicy\n",
        "--- {{/* x */}}\nkind: CiliumNetworkPolicy\nname: {{ x }}\n",
    ] {
        let out = read(text);
        assert_eq!(codes_of(&out), [codes::TEMPLATE_SKIPPED], "{text}: {:?}", out.diagnostics);
        assert_eq!(out.skipped.len(), 1);
        assert_eq!(
            (out.skipped[0].reason, out.skipped[0].kind.as_str()),
            (SkipReason::Template, "CiliumNetworkPolicy")
        );
        assert_eq!((out.documents, out.roots.len()), (1, 0));
        assert!(out.diagnostics[0].help.as_deref().unwrap().contains("helm template"));
    }
}

#[test]
fn braces_in_quotes_and_comments_are_no_template() {
    one("# {{ .Values.x }}\nsummary: \"{{ $labels.pod }} is down\"\n");
    one("text: |\n  {{ $labels.pod }}\n");
    one("metadata:\n  annotations:\n    a: Pod {{ $labels.pod }}\n    b: \"{{ .Values.x }}\"\n");
    one("kind: List\nitems:\n- spec: {a: \"{{ .Values.x }}\"}\n");
    one("{\"a\": \"{{ .Values.x }}\"}");
    assert_eq!(codes_of(&read("a: \"{{ x }}\"\nb: [\n")), [codes::YAML_SYNTAX]);
    assert_eq!(codes_of(&read("# {{ x }}\nb: [\n")), [codes::YAML_SYNTAX]);
}

#[test]
fn kustomize_files_are_skipped_with_a_note() {
    for (name, text) in [
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("a.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n"),
        ("a.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"),
        ("a.yaml", "kind: CiliumNetworkPolicy\nspec:\n  $patch: delete\n"),
        ("a.yaml", "- op: replace\n  path: /spec\n  value: {}\n"),
        ("a.json", "[{\"op\": \"remove\", \"path\": \"/spec\"}]"),
        ("a.yaml", "é:\n  $patch: delete\n"),
    ] {
        let out = read_as(name, text);
        let span = out.diagnostics[0].labels[0].span;
        assert!(text.get(span.start as usize..span.end as usize).is_some(), "{text}");
        assert_eq!(codes_of(&out), [codes::PATCH_SKIPPED], "{text}");
        assert_eq!((out.skipped[0].reason, out.roots.len(), out.documents), (SkipReason::Kustomize, 0, 1));
    }
}
