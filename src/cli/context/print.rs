//! Printing in the form that `-o` asks for.

use serde::Serialize;

use super::Ctx;
use crate::api::{LabelKey, ObjectKey, Timestamp};
use crate::cli::args::ListArgs;
use crate::error::{Error, Result};
use crate::observe::World;
use crate::output::{self, Order, OutputFormat, PrintRequest, SortKey, Table};

impl Ctx {
    /// Prints `kind/name verbed`, or what `-o` asks for instead.
    pub(crate) fn print_outcome(&self, key: &ObjectKey, word: &str) -> Result<()> {
        let results = self.results()?;
        results.tell(key, word)?;
        results.show(std::slice::from_ref(key), World::get)
    }

    /// Prints `kind/name verbed` of what was not done.
    pub(crate) fn print_dry_outcome(&self, key: &ObjectKey, word: &str) -> Result<()> {
        match self.format(output::RESULT_FORMATS_AND_TABLE)? {
            OutputFormat::Name => self.ui.out_line(&key.to_string()),
            _ => self.ui.out_line(&format!("{key} {word}")),
        }
    }

    /// Prints rows that are no objects.
    pub(crate) fn print_rows(
        &self,
        titles: &[&str],
        rows: Vec<Vec<String>>,
        no_headers: bool,
    ) -> Result<()> {
        let mut table = Table::new(titles.iter().copied());
        for row in rows {
            table.push(row);
        }
        let table = if no_headers {
            table.without_titles()
        } else {
            table
        };
        self.ui.out(&table.render(self.ui.paint_out()))
    }

    /// Returns the format that `-o` asks for, among those that make sense here.
    pub(crate) fn format(&self, allowed: &[&str]) -> Result<OutputFormat> {
        match &self.global.output {
            None => Ok(OutputFormat::Table),
            Some(text) => Ok(OutputFormat::parse_among(text, allowed)?),
        }
    }

    /// Refuses `-o` where there is one form only, lest a script takes it for another.
    pub(crate) fn has_one_form(&self) -> Result<()> {
        match self.global.output {
            None => Ok(()),
            Some(_) => Err(Error::usage(
                "this command prints in one form only: leave -o out",
            )),
        }
    }

    /// Prints a value that is no object as JSON or YAML.
    pub(crate) fn print_value(&self, format: &OutputFormat, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|e| Error::failed("cannot print this").caused_by(e))?;
        match format {
            OutputFormat::Yaml => self.ui.out(&output::yaml::to_string(&value)),
            _ => self.ui.out(&output::json::to_string(&value)),
        }
    }

    /// Builds the request that a listing is printed by.
    pub(crate) fn print_request(&self, args: &ListArgs) -> Result<PrintRequest> {
        let format = match &self.global.output {
            None => OutputFormat::Table,
            Some(text) => OutputFormat::parse(text)?,
        };
        let mut request = PrintRequest::new(format, Timestamp::now());
        request.no_headers = args.no_headers;
        request.show_labels = args.show_labels;
        request.show_kind = args.show_kind;
        for key in &args.label_columns {
            let key = LabelKey::new(key.as_str()).map_err(|e| Error::usage(e.to_string()))?;
            request.label_columns.push(key);
        }
        if let Some(path) = &args.sort_by {
            request.order = Order::By(SortKey::parse(path)?);
        }
        Ok(request)
    }
}
