//! File patterns for `-f 'dir/*.yaml'`, quoted so that no shell has expanded them.

use std::path::{Component, Path, PathBuf};

/// Returns whether a path is a pattern.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns the paths that match, sorted; `*`, `?` and `[…]` match within one step of the path.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in Path::new(pattern).components() {
        let step = match component {
            Component::Normal(step) => step.to_string_lossy().into_owned(),
            other => {
                for path in &mut found {
                    path.push(other);
                }
                continue;
            }
        };
        found = found.iter().flat_map(|base| below(base, &step)).collect();
    }
    found.sort();
    found
}

fn below(base: &Path, step: &str) -> Vec<PathBuf> {
    if !is_pattern(step) {
        let path = base.join(step);
        return if path.exists() {
            vec![path]
        } else {
            Vec::new()
        };
    }
    let directory = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| matches_hidden(step, name) && matches(step, name))
        .map(|name| base.join(name))
        .collect()
}

/// A name with a leading dot is matched only by a pattern that has it too, as in a shell.
fn matches_hidden(pattern: &str, name: &str) -> bool {
    !name.starts_with('.') || pattern.starts_with('.')
}

fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where to go back to: after the last `*`, with one character more swallowed by it.
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            back = Some((p + 1, n));
            p += 1;
        } else if let Some(width) = one(&pattern[p..], name[n]) {
            p += width;
            n += 1;
        } else if let Some((after, from)) = back {
            back = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Returns how much of the pattern matches one character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match class(pattern, c) {
            Some((true, width)) => Some(width),
            Some((false, _)) => None,
            None => (c == '[').then_some(1),
        },
        plain => (*plain == c).then_some(1),
    }
}

/// Reads `[abc]`, `[a-z]`, `[!a]`; nothing where the bracket is never closed.
fn class(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let start = 1 + usize::from(negated);
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let body = &pattern[start..end];
    let mut hit = false;
    let mut i = 0;
    while i < body.len() {
        if let (Some('-'), Some(high)) = (body.get(i + 1), body.get(i + 2)) {
            hit |= (body[i]..=*high).contains(&c);
            i += 3;
        } else {
            hit |= body[i] == c;
            i += 1;
        }
    }
    Some((hit != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*.yaml", "a.yaml"),
            ("*", ""),
            ("a*b*c", "aXbYbZc"),
            ("?.yml", "é.yml"),
            ("[ab]*", "b1"),
            ("[!ab]*", "c"),
            ("[a-c]x", "bx"),
            ("a[", "a["),
            ("[]]", "]"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.yaml", "a.yml"), ("[!a]", "a"), ("?", ""), ("a", "ab")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches_hidden("*", ".hidden"));
    }

    proptest! {
        #[test]
        fn no_pattern_panics_or_hangs(pattern in "[a*?\\[\\]!-]{0,12}", name in "[a-c\\[\\]]{0,40}") {
            let _ = matches(&pattern, &name);
        }
    }
}
