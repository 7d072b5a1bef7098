//! Everything a person or a script reads goes through here, and nothing else in the crate prints.
//!
//! One door keeps three promises that many doors would break: text from outside (names made with
//! virsh, cloud-init messages, events) is escaped before a terminal sees it, secret values are masked
//! in every form, and what is for machines (`json`, `yaml`, `name`, `jsonpath`) stays as it is while
//! what is for people may change.

pub mod age;
pub mod columns;
pub mod custom_columns;
pub mod describe;
pub mod diff;
pub mod error;
pub mod field_selector;
mod fields;
pub mod filter;
pub mod format;
pub mod json;
pub mod jsonpath;
pub mod printer;
pub mod progress;
pub mod selector;
pub mod size;
pub mod sort;
pub mod style;
pub mod table;
pub mod trace;
pub mod ui;
pub mod value;
pub mod watch;

pub use crate::text::{escape, yaml};
pub use age::age;
pub use describe::describe;
pub use diff::print_diff;
pub use field_selector::FieldSelector;
pub use filter::Filter;
pub use format::{
    DELETION_FORMATS, LIST_FORMATS, OutputFormat, RESULT_FORMATS, RESULT_FORMATS_AND_TABLE,
};
pub use printer::{Group, Order, PrintRequest, print_objects};
pub use progress::reporter;
pub use selector::LabelSelector;
pub use size::{bytes, size};
pub use sort::SortKey;
pub use style::{Paint, Role};
pub use table::{Cell, Table};
pub use trace::trace;
pub use ui::{Captured, Ui, UiOptions};
pub use value::strip_status;
pub use watch::Watcher;
