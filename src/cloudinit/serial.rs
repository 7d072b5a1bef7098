//! What a guest's serial console tells of its boot: the fallback for guests without a reporter.

use super::report::{LogLine, ModuleError, clean, from_log_line};

/// How a boot stands, as far as the console shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SerialState {
    /// Nothing that says anything.
    Silent,
    /// The kernel or cloud-init is at work; the last stage that cloud-init named, if any.
    Booting {
        /// As `init-local`, `init`, `modules:config`.
        stage: Option<String>,
    },
    /// cloud-init came to its end, and nothing was seen to fail.
    Finished {
        /// Where it got its data from, as `DataSourceNoCloud`.
        datasource: String,
    },
    /// cloud-init failed, or found no seed.
    Failed {
        /// What failed; never empty.
        errors: Vec<ModuleError>,
    },
    /// There is a login or shell prompt, and cloud-init never spoke.
    NoCloudInit,
    /// The kernel stopped.
    Crashed {
        /// What it said.
        message: String,
    },
}

/// The end of the log that is looked at, in bytes: more than a boot writes.
const WINDOW: usize = 1 << 20;

/// Reads a serial log; only its last boot counts.
pub fn read(log: &[u8]) -> SerialState {
    let window = &log[log.len().saturating_sub(WINDOW)..];
    let text = String::from_utf8_lossy(window);
    let lines: Vec<String> = text.lines().map(plain).collect();
    let is_kernel = |line: &String| line.contains("Linux version ");
    let start = lines.iter().rposition(is_kernel).unwrap_or(0);
    let mut seen = Seen::default();
    for line in &lines[start..] {
        seen.add(line);
    }
    seen.state()
}

#[derive(Default)]
struct Seen {
    anything: bool,
    login: bool,
    stage: Option<String>,
    finished: Option<String>,
    panic: Option<String>,
    /// A traceback of this stage is being written.
    traceback: Option<String>,
    errors: Vec<ModuleError>,
}

impl Seen {
    fn add(&mut self, line: &str) {
        self.anything |= !line.trim().is_empty();
        if line.contains("Kernel panic - not syncing") {
            self.panic.get_or_insert_with(|| clean(strip_time(line)));
        } else if let Some(rest) = after(line, "Cloud-init v. ") {
            self.add_cloud_init(rest);
        } else if let Some(stage) = after(line, "failed run of stage ") {
            self.traceback = Some(clean(stage));
        } else if self.traceback.is_some() {
            self.add_traceback(line);
        } else if let Some(LogLine::Failure(error)) = from_log_line(line) {
            self.push(error);
        } else if let Some(module) = after(line, "[WARNING]: Running module ") {
            let module = module.split(' ').next().unwrap_or(module);
            self.push(ModuleError::new(
                module,
                "failed; see /var/log/cloud-init.log in the guest",
            ));
        } else if line.trim_end().ends_with(" login:") || is_shell_prompt(line) {
            self.login = true;
        }
    }

    /// `22.4.2 running 'init' at Sun, …` and `22.4.2 finished at … Datasource DataSourceNoCloud […`.
    fn add_cloud_init(&mut self, rest: &str) {
        if let Some(stage) = after(rest, " running '") {
            self.stage = Some(clean(stage.split('\'').next().unwrap_or(stage)));
        } else if rest.contains(" finished at ") {
            let datasource = after(rest, "Datasource ").unwrap_or("unknown");
            let name = datasource.split([' ', '.']).next().unwrap_or(datasource);
            self.finished = Some(clean(name));
        }
    }

    /// Waits for the last line of a Python traceback, which begins with the class of the exception.
    fn add_traceback(&mut self, line: &str) {
        let text = line.rsplit_once("]: ").map_or(line, |(_, t)| t);
        let is_exception = text.split(':').next().is_some_and(|class| {
            ["Error", "Exception"]
                .iter()
                .any(|end| class.ends_with(end))
                && !class.contains(' ')
        });
        if is_exception && let Some(stage) = self.traceback.take() {
            let message = text.split_once(": ").map_or(text, |(_, m)| m);
            self.push(ModuleError::new(&stage, message));
        }
    }

    fn push(&mut self, error: ModuleError) {
        let known = self.errors.contains(&error) || error.is_echo(&self.errors);
        if self.errors.len() < 16 && !known {
            self.errors.push(error);
        }
    }

    fn state(mut self) -> SerialState {
        if let Some(message) = self.panic {
            return SerialState::Crashed { message };
        }
        if self.finished.as_deref() == Some("DataSourceNone") {
            let message = "cloud-init found no seed; has the image a driver for the CD-ROM?";
            self.push(ModuleError::new("datasource", message));
        }
        if let Some(stage) = self.traceback.take() {
            self.push(ModuleError::new(
                &stage,
                "failed; see /var/log/cloud-init.log in the guest",
            ));
        }
        match self {
            Self { errors, .. } if !errors.is_empty() => SerialState::Failed { errors },
            Self {
                finished: Some(datasource),
                ..
            } => SerialState::Finished { datasource },
            Self {
                stage: None,
                login: true,
                ..
            } => SerialState::NoCloudInit,
            Self {
                anything: true,
                stage,
                ..
            } => SerialState::Booting { stage },
            _ => SerialState::Silent,
        }
    }
}

/// `name# ` or `~ $ `: some small images offer no login, but a shell.
fn is_shell_prompt(line: &str) -> bool {
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("~" | "/"), Some("#" | "$")) => true,
        (Some(word), Some(_)) => word.len() > 1 && word.ends_with(['#', '$']),
        _ => false,
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

fn strip_time(line: &str) -> &str {
    line.split_once("] ").map_or(line, |(_, rest)| rest)
}

/// Returns a line without ANSI sequences and other controls, at most 4096 characters of it.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars().take(4096);
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            text.extend((!c.is_control()).then_some(c));
        } else if chars.next() == Some('[') {
            // Parameters go on until a letter.
            chars.by_ref().find(|c| ('@'..='~').contains(c));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: &str = "[    0.000000] Linux version 6.1.0 (x)\r\n";

    fn of(text: &str) -> SerialState {
        read(format!("{START}{text}").as_bytes())
    }

    #[test]
    fn the_end_of_cloud_init_is_seen() {
        let state = of(
            "[   20.1] cloud-init[285]: Cloud-init v. 22.4.2 running 'init' at Sun, 22 Nov\r\n\
            host login: [   70.1] cloud-init[600]: Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 22:00:00 +0000. Datasource DataSourceNoCloud [seed=/dev/sr0][dsmode=net].  Up 70.11 seconds\r\n",
        );
        let datasource = "DataSourceNoCloud".to_owned();
        assert_eq!(state, SerialState::Finished { datasource });
        let none = of("Cloud-init v. 24.1 finished at x. Datasource DataSourceNone.  Up 1 seconds");
        assert!(matches!(none, SerialState::Failed { .. }), "{none:?}");
    }

    #[test]
    fn a_stage_that_failed_is_told_with_its_exception() {
        let state = of("[   20.1] cloud-init[285]: failed run of stage init\r\n\
            [   20.1] cloud-init[285]: ------------------\r\n\
            [   20.1] cloud-init[285]: Traceback (most recent call last):\r\n\
            [   20.1] cloud-init[285]: Exception: 404 Client Error for url: http://x\r\n\
            [   20.1] cloud-init[285]: Cloud-init v. 22.4.2 finished at x. Datasource DataSourceNoCloud.\r\n");
        let SerialState::Failed { errors } = state else {
            panic!("{state:?}");
        };
        assert_eq!(
            errors[0].to_string(),
            "init: 404 Client Error for url: http://x"
        );
    }

    #[test]
    fn broken_user_data_is_seen_behind_the_prefixes_of_kernel_and_service() {
        let state = of(
            "[   74.782536] cloud-init[373]: 2026-11-22 23:10:54,505 - util.py[WARNING]: Failed loading yaml blob. Invalid format at line 3 column 4: \"while parsing a flow sequence\r\n\
            [   79.4] cloud-init[425]: Cloud-init v. 22.4.2 finished at x. Datasource DataSourceNoCloud.\r\n",
        );
        let SerialState::Failed { errors } = state else {
            panic!("{state:?}");
        };
        let message = "Invalid format at line 3 column 4: while parsing a flow sequence";
        assert_eq!(errors[0].to_string(), format!("user-data: {message}"));
    }

    #[test]
    fn a_login_without_cloud_init_is_an_image_without_it() {
        assert_eq!(
            of("\r\nDebian GNU/Linux 12 debian ttyS0\r\n\r\ndebian login: "),
            SerialState::NoCloudInit
        );
        assert_eq!(of("\r\ntiny# "), SerialState::NoCloudInit);
        assert_eq!(of("\r\n~ # "), SerialState::NoCloudInit);
        assert_eq!(of("\r\n# comment"), SerialState::Booting { stage: None });
        let stage = Some("init-local".to_owned());
        let state = of("\u{1b}[0;32mCloud-init v. 1 running 'init-local' at\r\ndebian login: ");
        assert_eq!(state, SerialState::Booting { stage });
    }

    #[test]
    fn a_panic_is_a_crash_until_the_next_boot() {
        let panic = "[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
        let message = "Kernel panic - not syncing: VFS: Unable to mount root fs".to_owned();
        assert_eq!(of(panic), SerialState::Crashed { message });
        assert_eq!(
            of(&format!("{panic}{START}")),
            SerialState::Booting { stage: None }
        );
        assert_eq!(read(b""), SerialState::Silent);
    }

    proptest! {
        #[test]
        fn any_log_does_no_harm(log in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&log);
        }
    }
}
