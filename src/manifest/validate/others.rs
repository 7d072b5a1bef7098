//! Images, instance types and secrets.

use super::Purpose;
use super::text::{control_character, is_hex, is_masked};
use crate::api::{ImageSpec, InstanceTypeSpec, MASKED, Quantity, Secret};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

/// What libvirt's and QEMU's x86 machines can have at most.
const MAX_CPUS: u32 = 512;
/// Below this no kernel of a cloud image unpacks itself.
const MIN_MEMORY: Quantity = Quantity::mib(32);
const MAX_MEMORY: Quantity = Quantity::gib(16 << 10);
const MIN_DISK: Quantity = Quantity::mib(1);
/// What qcow2 with 64 KiB clusters is safe to reach.
const MAX_DISK: Quantity = Quantity::gib(64 << 10);
/// Linux's MAX_ARG_STRLEN: a longer variable cannot be handed to a process.
pub(super) const MAX_VALUE: usize = (128 << 10) - 1;
pub(super) const MAX_VALUES: usize = 256 << 10;

pub(super) fn cpus(path: &str, cpus: u32, problems: &mut Vec<Problem>) {
    if !(1..=MAX_CPUS).contains(&cpus) {
        let rule = format!("must be between 1 and {MAX_CPUS}, is {cpus}");
        problems.push(Problem::of_value(FieldPath::of(path), rule));
    }
}

pub(super) fn memory(path: &str, size: Quantity, problems: &mut Vec<Problem>) {
    between(path, size, MIN_MEMORY, MAX_MEMORY, problems);
}

pub(super) fn disk(path: &str, size: Quantity, problems: &mut Vec<Problem>) {
    between(path, size, MIN_DISK, MAX_DISK, problems);
}

fn between(path: &str, size: Quantity, min: Quantity, max: Quantity, problems: &mut Vec<Problem>) {
    let path = FieldPath::of(path);
    if size < min {
        let problem = Problem::of_value(path, format!("must be at least {min}, is {size}"));
        problems.push(match unit_forgotten(size) {
            Some(help) => problem.help(help),
            None => problem,
        });
    } else if size > max {
        problems.push(Problem::of_value(
            path,
            format!("must be at most {max}, is {size}"),
        ));
    }
}

/// `memory: 512` is 512 bytes; nobody means that.
fn unit_forgotten(size: Quantity) -> Option<String> {
    (size.bytes() < 1 << 20).then(|| format!("did you mean {}M?", size.bytes()))
}

pub(super) fn instance_type(spec: &InstanceTypeSpec, problems: &mut Vec<Problem>) {
    cpus("spec.cpus", spec.cpus, problems);
    memory("spec.memory", spec.memory, problems);
    disk("spec.disk", spec.disk, problems);
}

pub(super) fn image(spec: &ImageSpec, problems: &mut Vec<Problem>) {
    if let Some(url) = &spec.url {
        let scheme = url.starts_with("https://") || url.starts_with("http://");
        let plain = url.bytes().all(|b| b.is_ascii_graphic());
        if !scheme || !plain || url.split('/').nth(2).is_none_or(str::is_empty) {
            let rule = "not a URL, as https://example.com/image.qcow2";
            problems.push(Problem::of_value(FieldPath::of("spec.url"), rule));
        }
    }
    if let Some(sum) = &spec.sha256
        && !(sum.len() == 64 && is_hex(sum))
    {
        let rule = "not a SHA-256 sum: 64 hex digits";
        problems.push(Problem::of_value(FieldPath::of("spec.sha256"), rule));
    }
    if let Some(user) = &spec.default_user
        && !is_user(user)
    {
        let rule =
            "not a user name: a-z, 0-9, '_' and '-', at most 32, not starting with a digit or '-'";
        problems.push(Problem::of_value(FieldPath::of("spec.defaultUser"), rule));
    }
}

fn is_user(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let first = name.bytes().next();
    name.len() <= 32
        && name.bytes().all(plain)
        && first.is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Values are never shown, not even in what is wrong with them.
pub(super) fn secret(secret: &Secret, purpose: Purpose, problems: &mut Vec<Problem>) {
    let mut total = 0;
    for (key, value) in &secret.data {
        let text = value.expose();
        let path = FieldPath::of("data").key(key.as_str());
        total += key.as_str().len() + text.len();
        // What `get -o yaml` prints can be applied again: the mask stands for the value that is there.
        let kept = text == MASKED && purpose == Purpose::Apply;
        if !kept && (text == MASKED || is_masked(text)) {
            let rule = "this is the mask that kvmctl prints, not a value; write the value or leave the key out";
            problems.push(Problem::of_value(path, rule));
        } else if let Some(c) = control_character(text) {
            let rule = format!("control character {c}; only tab and newline are allowed");
            problems.push(Problem::of_value(path, rule));
        } else if text.len() > MAX_VALUE {
            let rule = format!("{} bytes, at most {MAX_VALUE}", text.len());
            problems.push(Problem::of_value(path, rule));
        }
    }
    if total > MAX_VALUES {
        let rule = format!("{total} bytes in all, at most {MAX_VALUES}");
        problems.push(Problem::of_value(FieldPath::of("data"), rule));
    }
}
