//! Names, generated names and annotations of any object.

use super::Purpose;
use super::text::control_character;
use crate::api::{Kind, Name, Object, ObjectMeta};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

/// Kubernetes has the same bound.
const MAX_ANNOTATIONS: usize = 256 << 10;
/// A generated name is the stem and five characters.
const MAX_STEM: usize = 63 - 5;

pub(super) fn check(object: &Object, purpose: Purpose, problems: &mut Vec<Problem>) {
    let meta = object.meta();
    match (&meta.name, &meta.generate_name) {
        (Some(name), _) => host_name(object.kind(), name, problems),
        (None, Some(stem)) => generated(stem, purpose, problems),
        (None, None) => {
            let path = FieldPath::of("metadata.name");
            problems.push(Problem::of_value(path, "not set"));
        }
    }
    if purpose != Purpose::Refer {
        annotations(meta, problems);
    }
}

/// The name of an instance becomes its host name, that of a network a part of its domain.
fn host_name(kind: Kind, name: &Name, problems: &mut Vec<Problem>) {
    let becomes = match kind {
        Kind::Instance => "the name of an instance cannot have: it becomes its host name",
        Kind::Network => "the name of a network cannot have: it becomes a part of its DNS domain",
        _ => return,
    };
    if !name.is_label() {
        let rule = format!("\"{name}\" has a dot, which {becomes}");
        let near = name.as_str().replace('.', "-");
        let problem = Problem::of_value(FieldPath::of("metadata.name"), rule);
        problems.push(problem.help(format!("did you mean \"{near}\"?")));
    }
}

fn generated(stem: &str, purpose: Purpose, problems: &mut Vec<Problem>) {
    let path = FieldPath::of("metadata.generateName");
    let verb = match purpose {
        Purpose::Create => {
            if Name::new(format!("{stem}x")).is_err() || stem.len() > MAX_STEM || stem.contains('.')
            {
                let rule = format!(
                    "{stem:?} is not the start of a name: at most {MAX_STEM} characters, only a-z, 0-9 and '-', starting with a letter or digit"
                );
                problems.push(Problem::of_value(path, rule));
            }
            return;
        }
        Purpose::Apply => "apply",
        Purpose::Refer => "this verb",
    };
    let mut problem = Problem::of_value(path, "");
    problem.message = format!("from {stem}: cannot use generate name with {verb}");
    problems.push(problem);
}

fn annotations(meta: &ObjectMeta, problems: &mut Vec<Problem>) {
    let path = FieldPath::of("metadata.annotations");
    let mut total = 0;
    for (key, text) in &meta.annotations {
        total += key.as_str().len() + text.len();
        if let Some(c) = control_character(text) {
            let rule = format!("control character {c}; only tab and newline are allowed");
            problems.push(Problem::of_value(path.key(key.as_str()), rule));
        }
    }
    if total > MAX_ANNOTATIONS {
        let rule = format!("{total} bytes, at most {MAX_ANNOTATIONS}");
        problems.push(Problem::of_value(path, rule));
    }
}
