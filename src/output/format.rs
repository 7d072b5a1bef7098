//! `-o`: the forms in which objects are printed.

use super::custom_columns::CustomColumns;
use super::error::InvalidRequest;
use super::jsonpath::Template;

/// The formats of a listing, as an error names them.
pub const LIST_FORMATS: &[&str] = &[
    "custom-columns",
    "custom-columns-file",
    "json",
    "jsonpath",
    "jsonpath-file",
    "name",
    "table",
    "wide",
    "yaml",
];

/// The formats of a command that changes something and prints the result.
pub const RESULT_FORMATS: &[&str] = &["json", "jsonpath", "jsonpath-file", "name", "yaml"];

/// The formats of such a command, with the words for people that it prints otherwise.
pub const RESULT_FORMATS_AND_TABLE: &[&str] = &[
    "json",
    "jsonpath",
    "jsonpath-file",
    "name",
    "table",
    "wide",
    "yaml",
];

/// The formats of a deletion, after which there is nothing to print but names.
pub const DELETION_FORMATS: &[&str] = &["name"];

/// One form in which objects are printed.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum OutputFormat {
    /// Columns for people and `awk`.
    #[default]
    Table,
    /// The same columns and more at the end.
    Wide,
    /// JSON, complete.
    Json,
    /// YAML, complete; can be applied again.
    Yaml,
    /// `kind/name` a line.
    Name,
    /// A template in kubectl's JSONPath language.
    JsonPath(Template),
    /// Columns of the caller's choice.
    CustomColumns(CustomColumns),
}

impl OutputFormat {
    /// Parses the argument of `-o` of a listing.
    ///
    /// # Errors
    /// [`InvalidRequest`] for an unknown format, a template that does not parse or a template file that
    /// cannot be read.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        Self::parse_among(text, LIST_FORMATS)
    }

    /// Parses the argument of `-o` where only some formats make sense.
    ///
    /// # Errors
    /// As [`OutputFormat::parse`].
    pub fn parse_among(text: &str, allowed: &[&str]) -> Result<Self, InvalidRequest> {
        let (format, template) = match text.split_once('=') {
            Some((format, template)) => (format, Some(template)),
            None => (text, None),
        };
        let unknown = || InvalidRequest::Format {
            given: text.to_owned(),
            allowed: allowed.join(","),
        };
        if !allowed.contains(&format) {
            return Err(unknown());
        }
        let template = |what| {
            let format = *LIST_FORMATS.iter().find(|f| **f == format).unwrap_or(&"");
            let missing = InvalidRequest::MissingTemplate { format, what };
            template.filter(|t| !t.is_empty()).ok_or(missing)
        };
        match format {
            "jsonpath" => Ok(Self::JsonPath(Template::parse(template("template")?)?)),
            "jsonpath-file" => Ok(Self::JsonPath(Template::parse(&read(template("file")?)?)?)),
            "custom-columns" => Ok(Self::CustomColumns(CustomColumns::parse(template(
                "custom columns",
            )?)?)),
            "custom-columns-file" => Ok(Self::CustomColumns(CustomColumns::parse_file(&read(
                template("file")?,
            )?)?)),
            _ if text.contains('=') => Err(unknown()),
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            _ => Err(unknown()),
        }
    }

    /// Returns whether the form is for people: a table, not data.
    pub const fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

fn read(path: &str) -> Result<String, InvalidRequest> {
    std::fs::read_to_string(path).map_err(|e| InvalidRequest::TemplateFile {
        path: path.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn every_format_parses() {
        for (text, format) in [
            ("table", OutputFormat::Table),
            ("wide", OutputFormat::Wide),
            ("json", OutputFormat::Json),
            ("yaml", OutputFormat::Yaml),
            ("name", OutputFormat::Name),
        ] {
            assert_eq!(OutputFormat::parse(text), Ok(format));
        }
        assert!(matches!(
            OutputFormat::parse("jsonpath={.a[}"),
            Err(InvalidRequest::JsonPath { .. })
        ));
        assert!(matches!(
            OutputFormat::parse("jsonpath={.items[?(@.a==\"b\")].c}"),
            Ok(OutputFormat::JsonPath(_))
        ));
        assert!(matches!(
            OutputFormat::parse("custom-columns=A:.a"),
            Ok(OutputFormat::CustomColumns(_))
        ));
    }

    #[test]
    fn an_unknown_format_lists_those_there_are() {
        let error = Error::from(OutputFormat::parse("nope").unwrap_err());
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(
            error.message(),
            "unable to match a printer suitable for the output format \"nope\", allowed formats are: \
             custom-columns,custom-columns-file,json,jsonpath,jsonpath-file,name,table,wide,yaml"
        );
        for bad in [
            "",
            "json=x",
            "JSON",
            "jsonpath",
            "jsonpath=",
            "custom-columns=",
            "name=a",
        ] {
            assert!(OutputFormat::parse(bad).is_err(), "{bad:?}");
        }
        let narrow = OutputFormat::parse_among("wide", RESULT_FORMATS).unwrap_err();
        assert!(
            narrow
                .to_string()
                .ends_with("json,jsonpath,jsonpath-file,name,yaml")
        );
    }

    #[test]
    fn templates_come_from_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, "{.metadata.name}").unwrap();
        let format = OutputFormat::parse(&format!("jsonpath-file={}", path.display())).unwrap();
        assert_eq!(
            format,
            OutputFormat::parse("jsonpath={.metadata.name}").unwrap()
        );
        assert!(matches!(
            OutputFormat::parse("jsonpath-file=/nonexistent/t"),
            Err(InvalidRequest::TemplateFile { .. })
        ));
    }
}
