//! From cloud-init's status to a verdict.

use serde_json::Value;

use super::errors::{LogLine, ModuleError, from_log_line, of_message};
use super::{Stage, Verdict};

/// No more errors than these are kept of one report.
const MAX_ERRORS: usize = 16;

/// What is known of a boot.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) errors: Vec<ModuleError>,
    pub(super) warnings: Vec<ModuleError>,
    stage: Option<Stage>,
}

impl Facts {
    /// Takes up a status.json.
    pub(super) fn add_status(&mut self, status: &Value, ended: bool) {
        if status.get("oversize").is_some() && ended {
            self.add_error(ModuleError::new(
                "cloud-init",
                "its status is too long to report; see /run/cloud-init/status.json in the guest",
            ));
        }
        for (stage, name) in Stage::NAMES {
            let of_stage = status.pointer(&format!("/v1/{name}"));
            let Some(of_stage) = of_stage.and_then(Value::as_object) else {
                continue;
            };
            if of_stage.get("start").is_some_and(Value::is_number) {
                self.stage = Some(stage);
            }
            for entry in strings(of_stage.get("errors")) {
                self.add_error(ModuleError::of_status(name, entry));
            }
            let recoverable = of_stage
                .get("recoverable_errors")
                .and_then(Value::as_object);
            for messages in recoverable.into_iter().flat_map(|levels| levels.values()) {
                for message in strings(Some(messages)) {
                    self.add_log(of_message(name, message));
                }
            }
        }
    }

    /// Takes up lines of cloud-init.log.
    pub(super) fn add_log_lines(&mut self, text: &str) {
        for line in text.lines().filter_map(from_log_line) {
            self.add_log(line);
        }
    }

    fn add_log(&mut self, line: LogLine) {
        match line {
            LogLine::Failure(error) => self.add_error(error),
            // Told as an error of the stage, too.
            LogLine::Warning(w) if w.message.starts_with("Failed to run module ") => {}
            LogLine::Warning(w) if w.message.starts_with("Running module ") => {}
            LogLine::Warning(warning) => {
                // New versions tell a warning in the log and in the status.
                let known = self.warnings.iter().any(|w| w.message == warning.message);
                if !known && self.warnings.len() < MAX_ERRORS {
                    self.warnings.push(warning);
                }
            }
        }
    }

    pub(super) fn add_error(&mut self, error: ModuleError) {
        let known = self.errors.iter().any(|e| e.message == error.message);
        if !known && !error.is_echo(&self.errors) && self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// Returns the verdict, leaving the warnings.
    pub(super) fn verdict(&mut self, ended: bool) -> Verdict {
        if !self.errors.is_empty() {
            return Verdict::Failed {
                errors: std::mem::take(&mut self.errors),
            };
        }
        if ended {
            return Verdict::Done;
        }
        Verdict::Running {
            stage: self.stage.unwrap_or(Stage::Waiting),
        }
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .take(MAX_ERRORS)
        .filter_map(Value::as_str)
}

/// Reads `/run/cloud-init/status.json` and, if it is there, `result.json` beside it: for guests
/// that are asked through their agent. `None` when the status cannot be read.
pub fn verdict_of_files(status: &str, result: Option<&str>) -> Option<Verdict> {
    let status: Value = serde_json::from_str(status).ok()?;
    status.get("v1")?.as_object()?;
    let mut facts = Facts::default();
    facts.add_status(&status, result.is_some());
    Some(facts.verdict(result.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cloud-init 22.4 of Debian 12 writes it.
    const OLD: &str = r#"{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/sr0][dsmode=net]",
        "init": {"errors": [], "finished": 1.5, "start": 1.0},
        "init-local": {"errors": [], "finished": 0.5, "start": 0.1},
        "modules-config": {"errors": [], "finished": null, "start": 2.0},
        "modules-final": {"errors": [], "finished": null, "start": null},
        "modules-init": {"errors": [], "finished": null, "start": null},
        "stage": "modules-config"}}"#;

    /// As cloud-init 24 and newer write it.
    const NEW: &str = r#"{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/sr0]",
        "init": {"errors": [], "finished": 9.1, "recoverable_errors": {"WARNING": [
            "Failed loading yaml blob. Invalid format at line 3 column 1: \"while parsing a block mapping\n  password: c4nary\n^",
            "Something harmless"]}, "start": 8.0},
        "init-local": {"errors": [], "finished": 7.0, "recoverable_errors": {}, "start": 6.0},
        "modules-config": {"errors": [], "finished": 10.0, "recoverable_errors": {}, "start": 9.5},
        "modules-final": {"errors": ["('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))"],
            "finished": 12.0, "recoverable_errors": {}, "start": 11.0},
        "stage": null}}"#;

    #[test]
    fn the_stage_that_runs_is_told() {
        let stage = Stage::Config;
        assert_eq!(
            verdict_of_files(OLD, None),
            Some(Verdict::Running { stage })
        );
        assert_eq!(verdict_of_files(OLD, Some("{}")), Some(Verdict::Done));
        assert_eq!(verdict_of_files("{", None), None);
        assert_eq!(verdict_of_files("[]", None), None);
    }

    #[test]
    fn errors_and_broken_user_data_are_failures() {
        let Some(Verdict::Failed { errors }) = verdict_of_files(NEW, None) else {
            panic!("not failed");
        };
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "user-data: Invalid format at line 3 column 1: while parsing a block mapping",
                "scripts_user: Runparts: 1 failures (runcmd) in 1 attempted commands",
            ]
        );
    }
}
