//! kubectl's JSONPath template language: `{.a.b}`, `{range .items[*]}…{end}`, `{"\n"}`.
//!
//! kubectl's dialect is older than RFC 9535 and differs from it; here its templates are taken apart and
//! its paths are translated into RFC 9535 queries, which `jsonpath-rust` answers.

mod path;
mod scanner;

pub use path::Path;

use serde_json::Value;

use super::error::InvalidRequest;
use scanner::{Fault, Scanner};

/// A template that has been parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

/// What stands in one pair of braces.
enum Action {
    Text(String),
    Path(Path),
    Range(Path),
    End,
}

impl Template {
    /// Parses a template. A text without braces that looks like a path is taken for one.
    ///
    /// # Errors
    /// [`InvalidRequest::JsonPath`] with the place of the fault.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let bare_path = !text.contains('{') && text.starts_with(['.', '$', '@', '[']);
        if bare_path {
            let nodes = vec![Node::Path(Path::parse(text)?)];
            return Ok(Self { nodes });
        }
        let nodes = nodes(text).map_err(|fault| fault.in_text(text))?;
        Ok(Self { nodes })
    }

    /// Fills the template in. A path that leads nowhere gives nothing.
    pub fn render(&self, root: &Value) -> String {
        let mut out = String::new();
        render(&self.nodes, root, root, &mut out);
        out
    }
}

fn nodes(text: &str) -> Result<Vec<Node>, Fault> {
    let mut scanner = Scanner::new(text);
    let mut open: Vec<(usize, Path, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    while let Some(at) = scanner.peek_at() {
        let literal = scanner.take_until('{');
        if !literal.is_empty() {
            nodes.push(Node::Text(literal));
            continue;
        }
        match action(&mut scanner)? {
            Action::Text(text) => nodes.push(Node::Text(text)),
            Action::Path(path) => nodes.push(Node::Path(path)),
            Action::Range(path) => open.push((at, path, std::mem::take(&mut nodes))),
            Action::End => {
                let (_, path, outer) = open
                    .pop()
                    .ok_or(Fault::new(at, "not in range, nothing to end"))?;
                let inner = std::mem::replace(&mut nodes, outer);
                nodes.push(Node::Range(path, inner));
            }
        }
    }
    match open.pop() {
        Some((at, ..)) => Err(Fault::new(at, "unmatched {range}, {end} is missing")),
        None => Ok(nodes),
    }
}

/// Reads one `{…}`.
fn action(scanner: &mut Scanner<'_>) -> Result<Action, Fault> {
    let start = scanner.position();
    scanner.expect('{')?;
    scanner.skip_blanks();
    let action = match scanner.peek() {
        None => return Err(Fault::new(start, "unclosed action, '}' is missing")),
        Some('}') => Action::Text(String::new()),
        Some('"' | '\'') => Action::Text(scanner.quoted()?),
        Some('.' | '[' | '$' | '@' | '*') => Action::Path(Path::scan(scanner)?),
        Some(_) => keyword(scanner)?,
    };
    scanner.skip_blanks();
    match scanner.peek() {
        Some('}') => scanner.expect('}').map(|()| action),
        Some(c) => Err(Fault::new(scanner.position(), format!("unexpected {c:?}"))),
        None => Err(Fault::new(start, "unclosed action, '}' is missing")),
    }
}

fn keyword(scanner: &mut Scanner<'_>) -> Result<Action, Fault> {
    let at = scanner.position();
    let word = scanner.word();
    match word.as_str() {
        "end" => Ok(Action::End),
        "range" => {
            scanner.skip_blanks();
            Ok(Action::Range(Path::scan(scanner)?))
        }
        _ => Err(Fault::new(
            at,
            format!("unrecognized identifier {word:?}; a path starts with a dot"),
        )),
    }
}

fn render(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = path
                    .find_in(root, current)
                    .into_iter()
                    .map(text_of)
                    .collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(path, inner) => {
                for item in path.find_in(root, current) {
                    render(inner, root, item, out);
                }
            }
        }
    }
}

/// Writes a found value: texts bare, lists and maps as compact JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn stack() -> Value {
        json!({
            "kind": "List",
            "items": [
                {"kind": "None", "metadata": {"name": "127.0.0.1",
                    "labels": {"app.kubernetes.io/name": "web", "a-b": "dash"}},
                 "status": {"capacity": {"cpu": "4"}, "up": true,
                    "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"},
                                  {"type": "another", "address": "127.0.0.2"}]}},
                {"kind": "None", "metadata": {"name": "127.0.0.2", "labels": {}},
                 "status": {"capacity": {"cpu": "8"}, "up": false}},
            ],
            "users": [
                {"name": "myself", "user": {}, "n": 1},
                {"name": "e2e", "user": {"username": "admin", "password": "secret"}, "n": 10},
                {"name": "it's", "n": 3},
            ],
        })
    }

    fn run(template: &str) -> String {
        Template::parse(template)
            .unwrap_or_else(|e| panic!("{e}"))
            .render(&stack())
    }

    /// The examples of kubectl's documentation (and of its unit tests), with their results.
    #[test]
    fn kubectls_own_examples_give_kubectls_results() {
        for (template, result) in [
            ("kind is {.kind}", "kind is List"),
            ("the object is {.kind}", "the object is List"),
            ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
            ("{['kind']}", "List"),
            ("{..name}", "127.0.0.1 127.0.0.2 myself e2e it's"),
            ("{.users[0].name}", "myself"),
            ("{.users[-1].name}", "it's"),
            ("{.users[0:2].name}", "myself e2e"),
            ("{.users[::2].name}", "myself it's"),
            ("{.users[0,2].name}", "myself it's"),
            (
                "{.items[*]['metadata.name', 'status.capacity']}",
                "127.0.0.1 127.0.0.2 {\"cpu\":\"4\"} {\"cpu\":\"8\"}",
            ),
            ("{.users[?(@.name==\"e2e\")].user.password}", "secret"),
            ("{.users[?(@.name=='e2e')].user.password}", "secret"),
            ("{.users[?(@.name==\"it's\")].n}", "3"),
            ("{.users[?(@.n>2)].name}", "e2e it's"),
            ("{.users[?(@.n >= 3 && @.name != \"e2e\")].name}", "it's"),
            ("{.users[?(@.user.username)].name}", "e2e"),
            (
                "{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}",
                "[127.0.0.1, {\"cpu\":\"4\"}] [127.0.0.2, {\"cpu\":\"8\"}] ",
            ),
            (
                "{range .items[*]}{@.metadata.name}{\"\\t\"}{$.kind}{'\\n'}{end}",
                "127.0.0.1\tList\n127.0.0.2\tList\n",
            ),
            (
                "{range .items[*]}{range .status.addresses[*]}{.type},{end}{end}",
                "LegacyHostIP,another,",
            ),
            (
                "{.items[?(@.metadata.labels.a-b==\"dash\")].metadata.name}",
                "127.0.0.1",
            ),
            (
                "{.items[*].metadata.labels.app\\.kubernetes\\.io/name}",
                "web",
            ),
            (
                "{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}",
                "web",
            ),
            (
                "{.items[0].metadata.labels['app.kubernetes.io/name']}",
                "web",
            ),
            ("{.items[0].metadata.labels.a-b}", "dash"),
            ("{.items[*].status.up}", "true false"),
            ("{.users[0].user}", "{}"),
            ("{.users.*.name}", "myself e2e it's"),
            ("{.users[0]['name','n']}", "myself 1"),
            ("{ .kind }", "List"),
            (".kind", "List"),
            ("{\"\\u263a \\\"q\\\"\"}", "☺ \"q\""),
            ("{.zz}{.items[*].zz}{.users[9]}{.kind.zz}{..zz}", ""),
            ("", ""),
            ("plain", "plain"),
            ("{}", ""),
        ] {
            assert_eq!(run(template), result, "{template}");
        }
        assert_eq!(run("{@}"), stack().to_string());
        assert_eq!(run("{.}"), stack().to_string());
        assert_eq!(run("{$}"), stack().to_string());
    }

    #[test]
    fn faults_are_told_with_their_place() {
        for (template, message) in [
            (
                "ab{.a",
                "error parsing jsonpath \"ab{.a\" at column 3: unclosed action, '}' is missing",
            ),
            (
                "{.a[}",
                "error parsing jsonpath \"{.a[}\" at column 4: unterminated '['",
            ),
            (
                "{.a[x]}",
                "error parsing jsonpath \"{.a[x]}\" at column 5: invalid array index \"x\"",
            ),
            (
                "{kind}",
                "error parsing jsonpath \"{kind}\" at column 2: unrecognized identifier \"kind\"; a path starts with a dot",
            ),
            (
                "{end}",
                "error parsing jsonpath \"{end}\" at column 1: not in range, nothing to end",
            ),
            (
                "{range .a}x",
                "error parsing jsonpath \"{range .a}x\" at column 1: unmatched {range}, {end} is missing",
            ),
            (
                "{.a b}",
                "error parsing jsonpath \"{.a b}\" at column 5: unexpected 'b'",
            ),
            (
                "{\"a}",
                "error parsing jsonpath \"{\\\"a}\" at column 2: unterminated quoted string",
            ),
            (
                "{.a[?(@.b==)]}",
                "error parsing jsonpath \"{.a[?(@.b==)]}\" at column 5: invalid filter \"(@.b==)\"",
            ),
            (
                "{.a..}",
                "error parsing jsonpath \"{.a..}\" at column 4: a name is missing after \"..\"",
            ),
        ] {
            assert_eq!(Template::parse(template).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}.@$*\\[\\]?()'\"\\\\a-c0-9:, =<|é-]{0,24}") {
            if let Ok(template) = Template::parse(&text) {
                template.render(&stack());
            }
        }

        #[test]
        fn any_key_is_reached_by_its_name(key in "[^\u{0}]{1,8}", other in "[a-z]{1,3}") {
            prop_assume!(key != other);
            let value = json!({&key: "found", other: "other"});
            let escaped: String = key.chars().flat_map(|c| ['\\', c]).collect();
            let template = Template::parse(&format!("{{.{escaped}}}"));
            let template = template.map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(template.render(&value), "found");
        }
    }
}
