//! Inputs made to break the reader, or to keep it busy.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::tests::{WEB, problems};
use super::*;

fn within_a_second(text: &str) -> String {
    let start = Instant::now();
    let told = problems(text);
    // Unoptimised, and beside other tests on the same cores.
    let limit = if cfg!(debug_assertions) { 20 } else { 1 };
    let took = start.elapsed();
    assert!(took < Duration::from_secs(limit), "{took:?}");
    assert!(told.len() < 20_000, "{}", told.len());
    told
}

#[test]
fn bombs_are_refused_at_once() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..10 {
        let refer = format!("*a{},", n - 1).repeat(9);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", refer.trim_end_matches(',')));
    }
    let big = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(400_000),
        "*a,".repeat(50_000)
    );
    let deep = "[".repeat(100_000);
    let deep_map = "{a: ".repeat(100_000);
    let dashes = "- ".repeat(500_000);
    let complex_keys = "? ".repeat(500_000);
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("[{}]", "a,".repeat(500_000));
    let number = WEB.replace("cpus: 2", &format!("cpus: {}", "9".repeat(100_000)));
    let keys: String = (0..60_000).map(|n| format!("k{n}: {n}\n")).collect();
    let unknown = format!("{WEB}{}", keys.replace('k', "  k"));
    let all = [
        &bomb,
        &big,
        &deep,
        &deep_map,
        &dashes,
        &complex_keys,
        &closed,
        &wide,
        &number,
        &unknown,
        "a: &a [*a]",
    ]
    .map(|text| within_a_second(text).lines().next().unwrap().to_owned());
    insta::assert_snapshot!(all.join("\n"), @r#"
    web.yaml:1:1: (document 1) aliases that expand to too many values
    web.yaml:1:4: (document 1) too many values, or aliases that expand to too many
    web.yaml:1:129: (document 1) nested too deeply (more than 128 levels)
    web.yaml:1:513: (document 1) nested too deeply (more than 128 levels)
    web.yaml:1:257: (document 1) nested too deeply (more than 128 levels)
    web.yaml:1:3: (document 1) expected a text as key, found a mapping
    web.yaml:1:128: (document 1) nested too deeply (more than 128 levels)
    web.yaml:1:508398: (document 1) too many values, or aliases that expand to too many
    web.yaml:7:9: (document 1) spec.cpus: expected a whole number that is not negative, found "999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999…
    web.yaml:8:3: (document 1) unknown field "spec.k0"
    web.yaml:1:4: (document 1) nested too deeply (more than 128 levels)
    "#);
}

#[test]
fn the_number_of_documents_is_bounded() {
    let text = "---\na: 1\n".repeat(MAX_DOCUMENTS + 1);
    insta::assert_snapshot!(problems(&text), @r#"web.yaml: 1001 documents, of which one run reads at most 1000"#);
}

fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("apiVersion: kvmctl/v1\n".to_owned()),
        Just("kind: Instance\n".to_owned()),
        Just("kind: List\nitems:\n".to_owned()),
        Just("metadata:\n  name: web\n".to_owned()),
        Just("spec:\n".to_owned()),
        Just("  env:\n  - name: A\n    value: b\n".to_owned()),
        Just("  cpus: 2\n".to_owned()),
        Just("---\n".to_owned()),
        Just("...\n".to_owned()),
        "[\\-:{}\\[\\],&*!|>'\"%@`#? \n\ta-c0-9~<\u{85}\u{2028}é]{0,12}",
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_yaml_makes_it_panic(text in yamlish()) {
        if let Err(found) = parse("-", &text, Strictness::Strict) {
            for d in found {
                prop_assert!(!d.message.is_empty());
                d.snippet(annotate_snippets::Level::ERROR, &annotate_snippets::Renderer::plain());
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse("-", &text, Strictness::Warn);
        let _ = parse("a.json", &text, Strictness::Warn);
    }
}
