//! Text to typed objects: all documents, all problems, each with its place.
//!
//! Two readings: the shape first (kind, duplicates, aliases), then the concrete struct straight
//! from the text. An internally tagged enum would lose every position.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::document::{Document, Fault, split};
use super::layout::Layout;
use super::load::Source;
use super::locate::{Spot, locate};
use super::objects::{DocumentSeed, Objects};
use super::origin::{Located, Origin, Problem, diagnose_at};
use super::path::{FieldPath, Segment};
use super::scan::{Scan, scan};
use super::tracker::{Stop, Tracker, UnknownField};
use super::wording::{missing_field, reword};
use crate::api::Object;
use crate::error::did_you_mean;

/// How many documents one run reads.
pub const MAX_DOCUMENTS: usize = 1000;

/// How much of a document's text is read again to find more problems and their places.
const READING_BUDGET: usize = 8 << 20;
const MAX_PROBLEMS: usize = 20;

/// What is done about fields that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// They are errors.
    Strict,
    /// They are left out with a warning.
    Warn,
    /// They are left out.
    Ignore,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The objects in the order of the text, Lists expanded.
    pub objects: Vec<Located<Object>>,
    /// Fields that were left out, for `Warning: …` lines.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the documents of one file.
///
/// # Errors
///
/// Every problem of every document, in the order of the text.
pub fn parse(file: &str, text: &str, strictness: Strictness) -> Result<Parsed, Vec<Diagnostic>> {
    let documents = split(file, text);
    if documents.len() > MAX_DOCUMENTS {
        let message = format!(
            "{} documents, of which one run reads at most {MAX_DOCUMENTS}",
            documents.len()
        );
        return Err(vec![Diagnostic::of_file(file, message)]);
    }
    let mut parsed = Parsed::default();
    let mut problems = Vec::new();
    for document in documents {
        let mut reading = Reading::new(Arc::new(document), strictness);
        reading.run();
        parsed.objects.append(&mut reading.objects);
        parsed.warnings.append(&mut reading.warnings);
        problems.append(&mut reading.problems);
    }
    if problems.is_empty() {
        Ok(parsed)
    } else {
        Err(problems)
    }
}

/// Reads the documents of all files of a run.
///
/// # Errors
///
/// Every problem of every file.
pub fn parse_all(sources: &[Source], strictness: Strictness) -> Result<Parsed, Vec<Diagnostic>> {
    let mut all = Parsed::default();
    let mut problems = Vec::new();
    for source in sources {
        match parse(&source.name, &source.text, strictness) {
            Ok(mut parsed) => {
                all.objects.append(&mut parsed.objects);
                all.warnings.append(&mut parsed.warnings);
            }
            Err(mut found) => problems.append(&mut found),
        }
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(problems)
    }
}

/// The reading of one document.
struct Reading {
    document: Arc<Document>,
    strictness: Strictness,
    /// Whether the text may hold secrets, which no message shows.
    secret: bool,
    objects: Vec<Located<Object>>,
    warnings: Vec<Diagnostic>,
    problems: Vec<Diagnostic>,
}

impl Reading {
    fn new(document: Arc<Document>, strictness: Strictness) -> Self {
        Self {
            secret: document.mentions_secrets(),
            document,
            strictness,
            objects: Vec::new(),
            warnings: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn run(&mut self) {
        let scan = match scan(&self.document) {
            Ok(scan) if scan.tree.is_null() => return,
            Ok(scan) => scan,
            Err(fault) => {
                let message = reword(&fault.message);
                let problem = Problem::of_value(FieldPath::root(), message);
                let diagnostic = diagnose_at(&self.document, fault.place, &problem, self.secret);
                self.problems.push(diagnostic);
                return;
            }
        };
        let layout = match Layout::of(&scan.tree) {
            Ok(layout) => layout,
            Err(problems) => {
                self.report(&problems);
                return;
            }
        };
        self.report(&scan.problems);
        self.report(&layout.problems);
        self.read_objects(&layout, &scan);
        self.problems
            .sort_by_key(|d| (d.line == 0, d.line, d.column));
        self.problems.dedup();
        self.problems.truncate(2 * MAX_PROBLEMS);
        if !self.problems.is_empty() {
            self.objects.clear();
        }
    }

    /// Reads the typed objects; leaves out each field that cannot be read and reads again, so that
    /// every problem is found.
    fn read_objects(&mut self, layout: &Layout, scan: &Scan) {
        let mut known = Known {
            skip: layout.statuses(),
            unknown: BTreeSet::new(),
        };
        let mut more = true;
        for _ in 0..self.readings() {
            more = self.read_once(layout, scan, &mut known);
            if !more {
                break;
            }
        }
        self.report_unknown(&known.unknown);
        if more {
            self.note("and perhaps more, which are looked for when these are mended");
        }
    }

    /// Returns whether there may be more to find.
    fn read_once(&mut self, layout: &Layout, scan: &Scan, known: &mut Known) -> bool {
        let document = Arc::clone(&self.document);
        let tracker = Tracker::new(&known.skip, &scan.nulls);
        let read = document.read(DocumentSeed {
            layout,
            tracker: &tracker,
        });
        let (stop, unknown) = (tracker.stop(), tracker.unknown());
        // The scan has told of merge keys.
        let merge_key = Segment::Key("<<".to_owned());
        let unknown = unknown.into_iter();
        let unknown = unknown.filter(|u| u.path.segments().last() != Some(&merge_key));
        known.unknown.extend(unknown);
        match read {
            Ok(objects) => {
                self.keep(objects);
                false
            }
            Err(fault) => {
                self.report_stop(&stop, &fault, known);
                !stop.path.is_root() && known.skip.insert(stop.path)
            }
        }
    }

    fn report_stop(&mut self, stop: &Stop, fault: &Fault, known: &Known) {
        let message = stop.message.as_deref().unwrap_or(&fault.message);
        if known.explains(message, &stop.path) {
            return;
        }
        let spot = if stop.at_key { Spot::Key } else { Spot::Value };
        let mut problem = Problem::of_value(self.shown(&stop.path), reword(message));
        problem.spot = spot;
        let place = locate(&self.document, &stop.path, spot).or(fault.place);
        let diagnostic = diagnose_at(&self.document, place, &problem, self.secret);
        self.problems.push(diagnostic);
    }

    /// Adds a line about the document as a whole, after the others.
    fn note(&mut self, what: &str) {
        let mut diagnostic = Diagnostic::of_file(self.document.file.to_string(), what);
        diagnostic.document = self.document.number;
        self.report_field(diagnostic);
    }

    /// Returns how often the document may be read again; a large one is slow to read.
    fn readings(&self) -> usize {
        (READING_BUDGET / self.document.len().max(1)).clamp(2, MAX_PROBLEMS)
    }

    fn keep(&mut self, objects: Objects) {
        for (prefix, value) in objects {
            let origin = Origin::new(Arc::clone(&self.document), prefix, self.secret);
            self.objects.push(Located { value, origin });
        }
    }

    fn report_unknown(&mut self, unknown: &BTreeSet<UnknownField>) {
        if self.strictness == Strictness::Ignore {
            return;
        }
        let told = self.readings();
        for field in unknown.iter().take(told) {
            let path = self.shown(&field.path);
            let near = match field.path.segments().last() {
                Some(Segment::Key(key)) => did_you_mean(key, field.known.iter().copied()),
                _ => None,
            };
            let problem = Problem {
                spot: Spot::Key,
                message: format!("unknown field \"{path}\""),
                help: match near {
                    Some(near) => Some(format!("did you mean \"{near}\"?")),
                    None => fields_here(field.known),
                },
                path,
            };
            let place = locate(&self.document, &field.path, Spot::Key);
            self.report_field(diagnose_at(&self.document, place, &problem, self.secret));
        }
        if unknown.len() > told {
            let more = unknown.len() - told;
            self.note(&format!("and {more} more unknown fields"));
        }
    }

    fn report_field(&mut self, diagnostic: Diagnostic) {
        match self.strictness {
            Strictness::Strict => self.problems.push(diagnostic),
            Strictness::Warn => self.warnings.push(diagnostic),
            Strictness::Ignore => {}
        }
    }

    fn report(&mut self, problems: &[Problem]) {
        for problem in problems.iter().take(MAX_PROBLEMS) {
            let place = locate(&self.document, &problem.path, problem.spot);
            let diagnostic = diagnose_at(&self.document, place, problem, self.secret);
            self.problems.push(diagnostic);
        }
    }

    /// Returns a path as messages show it: from the object down, also in a List.
    fn shown(&self, path: &FieldPath) -> FieldPath {
        match path.segments() {
            [Segment::Key(items), index @ Segment::Index(_), _, ..] if items == "items" => {
                path.below(&FieldPath::of("items").with(index.clone()))
            }
            _ => path.clone(),
        }
    }
}

/// What earlier readings of a document found.
struct Known {
    /// Fields that cannot be read.
    skip: BTreeSet<FieldPath>,
    /// Fields that do not exist.
    unknown: BTreeSet<UnknownField>,
}

impl Known {
    /// Returns whether a field of `parent` is missing only because it was left out or misspelled,
    /// which is told already.
    fn explains(&self, message: &str, parent: &FieldPath) -> bool {
        let Some(field) = missing_field(message) else {
            return false;
        };
        let misspelled = |u: &UnknownField| match u.path.segments().last() {
            Some(Segment::Key(key)) if u.path.parent().as_ref() == Some(parent) => {
                did_you_mean(key, u.known.iter().copied()) == Some(field)
            }
            _ => false,
        };
        self.skip.contains(&parent.key(field)) || self.unknown.iter().any(misspelled)
    }
}

/// Lists the fields of a place that has few of them.
fn fields_here(known: &[&str]) -> Option<String> {
    let few = (1..=6).contains(&known.len());
    few.then(|| format!("the fields here are {}", known.join(", ")))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
