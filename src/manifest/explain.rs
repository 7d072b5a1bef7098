//! `explain`: the documentation of fields, from the schema, in kubectl's layout.

use std::fmt::{self, Write};

use serde_json::Value;

use super::error::ExplainError;
use super::schema::schema;
use crate::api::{API_VERSION, KINDS, Kind};
use crate::error::did_you_mean;

const WIDTH: usize = 76;

/// How much below a field is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The fields of it, with what they mean.
    Fields,
    /// All fields below it, names and types only (`--recursive`).
    Recursive,
}

/// One field of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedField {
    /// Name of the field.
    pub name: String,
    /// Type, as `[]EnvVar`.
    pub kind: String,
    /// Whether a manifest must give it.
    pub required: bool,
    /// The words it can be, if it is one of a few.
    pub choices: Vec<String>,
    /// What it means.
    pub description: String,
    /// The fields below it; empty unless asked for with [`Depth::Recursive`].
    pub fields: Vec<ExplainedField>,
}

/// What is known of a field or of a whole kind; prints as `kubectl explain` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The kind.
    pub kind: Kind,
    /// The field, unless the kind itself is explained.
    pub field: Option<ExplainedField>,
    /// What the kind or the field is.
    pub description: String,
    /// The fields below it.
    pub fields: Vec<ExplainedField>,
    depth: Depth,
}

/// Explains `instance`, `instance.spec.cpus`, `vm.spec.env.valueFrom`.
///
/// # Errors
///
/// [`ExplainError`] when the kind or a field does not exist, with what is most like it.
pub fn explain(path: &str, depth: Depth) -> Result<Explanation, ExplainError> {
    let mut steps = path.split('.');
    let noun = steps.next().unwrap_or_default();
    let kind = Kind::from_noun(noun).ok_or_else(|| unknown_kind(noun))?;
    let schema = schema();
    let book = Book(&schema);
    let mut here = &schema["$defs"][kind.info().name];
    let mut walked = noun.to_owned();
    let mut field = None;
    for step in steps {
        let parent = book.inside(here);
        let property = parent.get("properties").and_then(|p| p.get(step));
        let property = property.ok_or_else(|| unknown_field(parent, &walked, step))?;
        field = Some(book.field(step, property, parent, 0));
        here = property;
        walked = format!("{walked}.{step}");
    }
    let levels = match depth {
        Depth::Fields => 1,
        Depth::Recursive => MAX_LEVELS,
    };
    let own = book.description(here);
    Ok(Explanation {
        kind,
        description: own,
        fields: book.fields(here, levels),
        field,
        depth,
    })
}

/// More than any kind has; the types are not recursive.
const MAX_LEVELS: usize = 16;

fn unknown_kind(noun: &str) -> ExplainError {
    let nouns = KINDS.iter().flat_map(|row| {
        [row.singular, row.plural]
            .into_iter()
            .chain(row.aliases.iter().copied())
    });
    ExplainError::UnknownKind {
        noun: noun.to_owned(),
        near: did_you_mean(&noun.to_ascii_lowercase(), nouns),
    }
}

fn unknown_field(parent: &Value, walked: &str, step: &str) -> ExplainError {
    let names = parent.get("properties").and_then(Value::as_object);
    let names = names.into_iter().flatten().map(|(name, _)| name.as_str());
    ExplainError::UnknownField {
        field: step.to_owned(),
        near: did_you_mean(step, names).map(|near| format!("{walked}.{near}")),
    }
}

/// The schema, to be leafed through.
#[derive(Clone, Copy)]
struct Book<'s>(&'s Value);

impl<'s> Book<'s> {
    /// Follows references and takes off `null`.
    fn resolve(self, mut node: &'s Value) -> &'s Value {
        loop {
            if let Some(pointer) = reference(node) {
                match self.0.pointer(pointer) {
                    Some(target) => node = target,
                    None => return node,
                }
            } else if let Some(some) = not_null(node) {
                node = some;
            } else {
                return node;
            }
        }
    }

    /// Returns the schema of what a field holds: the entry of a list, the mapping itself.
    fn inside(self, node: &'s Value) -> &'s Value {
        let node = self.resolve(node);
        match node.get("items") {
            Some(items) => self.inside(items),
            None => node,
        }
    }

    fn fields(self, node: &'s Value, levels: usize) -> Vec<ExplainedField> {
        let parent = self.inside(node);
        let properties = parent.get("properties").and_then(Value::as_object);
        if levels == 0 {
            return Vec::new();
        }
        properties
            .into_iter()
            .flatten()
            .map(|(name, node)| self.field(name, node, parent, levels - 1))
            .collect()
    }

    fn field(
        self,
        name: &str,
        node: &'s Value,
        parent: &'s Value,
        levels: usize,
    ) -> ExplainedField {
        let required = parent.get("required").and_then(Value::as_array);
        ExplainedField {
            name: name.to_owned(),
            kind: self.type_name(node),
            required: required.is_some_and(|r| r.iter().any(|v| v == name)),
            choices: self.choices(node),
            description: self.description(node),
            fields: self.fields(node, levels),
        }
    }

    /// The field's own words, else those of its type.
    fn description(self, node: &'s Value) -> String {
        let own = node.get("description");
        let text = own.or_else(|| self.resolve(node).get("description"));
        plain(text.and_then(Value::as_str).unwrap_or_default())
    }

    fn type_name(self, node: &'s Value) -> String {
        let name = named(node).or_else(|| named(not_null(node)?));
        let node = self.resolve(node);
        if let Some(items) = node.get("items") {
            return format!("[]{}", self.type_name(items));
        }
        match node.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                return format!("map[string]{}", self.type_name(values));
            }
            _ if node.get("patternProperties").is_some() => return "map[string]string".to_owned(),
            _ => {}
        }
        let words = node.get("oneOf").is_some() || node.get("enum").is_some();
        match (basic_type(node), name) {
            (Some("object") | None, Some(name)) if !words => name.to_owned(),
            // A size is a text or a number, and more than either.
            (Some(_), Some(name)) if node.get("description").is_some() && !words => match name {
                "Quantity" | "PortMapping" => name.to_owned(),
                _ => basic_type(node).unwrap_or("string").to_owned(),
            },
            (Some(basic), _) => basic.to_owned(),
            (None, _) => "string".to_owned(),
        }
    }

    fn choices(self, node: &'s Value) -> Vec<String> {
        let node = self.inside(node);
        let words = |v: &Value| v.as_str().map(str::to_owned);
        if let Some(only) = node.get("const").and_then(words) {
            return vec![only];
        }
        let flat = node.get("enum").and_then(Value::as_array);
        let documented = node.get("oneOf").and_then(Value::as_array);
        let flat = flat.into_iter().flatten().filter_map(words);
        let documented = documented.into_iter().flatten().flat_map(|one| {
            let several = one.get("enum").and_then(Value::as_array);
            let single = one.get("const");
            single
                .into_iter()
                .chain(several.into_iter().flatten())
                .filter_map(words)
                .collect::<Vec<_>>()
        });
        flat.chain(documented).collect()
    }
}

fn reference(node: &Value) -> Option<&str> {
    node.get("$ref")?.as_str()?.strip_prefix('#')
}

/// Returns the name of the type that a schema refers to.
fn named(node: &Value) -> Option<&str> {
    reference(node)?.rsplit('/').next()
}

/// Returns what an optional field holds when it holds something.
fn not_null(node: &Value) -> Option<&Value> {
    let choices = node.get("anyOf")?.as_array()?;
    choices
        .iter()
        .find(|c| c.get("type") != Some(&Value::from("null")))
}

fn basic_type(node: &Value) -> Option<&str> {
    match node.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|n| *n != "null"),
        _ => None,
    }
}

/// Turns a doc comment into running text.
fn plain(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('`', "")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "KIND:       {}", self.kind.info().name)?;
        writeln!(f, "VERSION:    {API_VERSION}")?;
        writeln!(f)?;
        if let Some(field) = &self.field {
            writeln!(f, "FIELD: {} <{}>", field.name, field.kind)?;
            if !field.choices.is_empty() {
                writeln!(f, "ENUM:")?;
            }
            for choice in &field.choices {
                writeln!(f, "    {choice}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "DESCRIPTION:")?;
        wrapped(f, &self.description)?;
        if self.fields.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nFIELDS:")?;
        match self.depth {
            Depth::Fields => {
                let texts: Vec<String> = self.fields.iter().map(long).collect();
                f.write_str(&texts.join("\n"))
            }
            Depth::Recursive => tree(f, &self.fields, 2),
        }
    }
}

fn long(field: &ExplainedField) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {}", head(field));
    if !field.choices.is_empty() {
        let _ = writeln!(text, "  enum: {}", field.choices.join(", "));
    }
    let _ = wrapped(&mut text, &field.description);
    text
}

fn tree(f: &mut fmt::Formatter<'_>, fields: &[ExplainedField], indent: usize) -> fmt::Result {
    for field in fields {
        writeln!(f, "{:indent$}{}", "", head(field))?;
        tree(f, &field.fields, indent + 2)?;
    }
    Ok(())
}

fn head(field: &ExplainedField) -> String {
    let required = if field.required { " -required-" } else { "" };
    format!("{}\t<{}>{required}", field.name, field.kind)
}

/// Writes a text indented by four, in lines of at most 80 characters.
fn wrapped(out: &mut dyn Write, text: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "    {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "    {line}")
}

#[cfg(test)]
mod tests;
