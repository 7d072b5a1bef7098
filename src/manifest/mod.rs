//! Text to objects, with positions: what a person writes becomes what the planner reads.
//!
//! ```text
//! load ──> Source ──> parse ──> Located<Object> ──> defaults, validate ──> plan
//!                        └──> Diagnostic (file:line:column, field, suggestion)
//! ```
//!
//! Every document is read and checked before anything is changed, and every problem is reported,
//! not only the first. Pure but for [`load`], which reads files and standard input.

mod defaults;
mod diagnostic;
mod document;
mod emit;
mod error;
mod explain;
mod glob;
mod layout;
mod load;
mod locate;
mod merge;
mod objects;
mod origin;
mod parse;
mod patch;
mod path;
mod references;
mod refuse;
mod scan;
mod schema;
mod tracked;
mod tracker;
mod validate;
mod wording;

pub use defaults::{DEFAULT_TYPE, normalise, size};
pub use diagnostic::{Diagnostic, into_error};
pub use emit::to_manifest_yaml;
pub use error::{ExplainError, LoadError, PatchError};
pub use explain::{Depth, ExplainedField, Explanation, explain};
pub use load::{Fetch, MAX_BYTES, Recursion, Source, load};
pub use merge::{FieldChange, Merged, merge};
pub use origin::{Located, Origin, Problem};
pub use parse::{MAX_DOCUMENTS, Parsed, Strictness, parse, parse_all};
pub use patch::{json_patch, merge_patch};
pub use path::{FieldPath, Segment};
pub use references::{Reference, references};
pub use schema::schema;
pub use validate::{Purpose, check, is_masked, mask, printable, validate};
