//! The program, and what it was built with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::NginxError;
use crate::api::HostFile;
use crate::host::render::nginx::{ERROR_LOG, StreamModule};
use crate::host::{HostError, Tool, find_in_sbin};

const PACKAGE: &str = "nginx-light";
const PATIENCE: Duration = Duration::from_secs(60);
/// From here on the first words of an nginx need not go where it was built to write them.
const HAS_ERROR_LOG_OPTION: [u32; 3] = [1, 19, 5];

/// An nginx of the host.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    tool: Tool,
    built: Built,
}

/// What `nginx -V` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Built {
    version: [u32; 3],
    options: Vec<String>,
}

impl Binary {
    /// Finds it on PATH, or where only root's PATH looks.
    pub(super) fn find() -> Result<Self, NginxError> {
        let tool = find_in_sbin(&["nginx"], PACKAGE)?.timeout(PATIENCE);
        let said = tool.run(&["-V"], b"", None)?.stderr;
        let built =
            Built::parse(&String::from_utf8_lossy(&said)).ok_or_else(|| HostError::Garbage {
                program: "nginx".to_owned(),
                what: "nginx -V names no version".to_owned(),
            })?;
        Ok(Self { tool, built })
    }

    /// Returns how it has the part for tcp and udp.
    pub(super) fn stream(&self) -> Result<StreamModule, NginxError> {
        if self.built.has("--with-stream") {
            return Ok(StreamModule::BuiltIn);
        }
        let path = self.built.modules().join("ngx_stream_module.so");
        let there = path.to_str().filter(|_| path.is_file());
        let file = there.and_then(|path| HostFile::new(path).ok());
        file.map(StreamModule::File).ok_or(NginxError::NoStream)
    }

    /// Returns whether that part knows TLS.
    pub(super) fn stream_tls(&self) -> bool {
        self.built.has("--with-stream_ssl_module")
    }

    /// Tests a configuration, named relative to `home`.
    pub(super) fn test(&self, home: &Path, file: &str) -> Result<(), NginxError> {
        match self.run(home, file, &["-t", "-q"]) {
            Ok(()) => Ok(()),
            Err(HostError::Failed { stderr, .. }) => Err(refusal(&stderr)),
            Err(other) => Err(other.into()),
        }
    }

    /// Starts the instance in `home`; it goes on by itself.
    pub(super) fn start(&self, home: &Path, file: &str) -> Result<(), NginxError> {
        match self.run(home, file, &[]) {
            Ok(()) => Ok(()),
            Err(HostError::Failed { stderr, .. }) => Err(refusal(&stderr)),
            Err(other) => Err(other.into()),
        }
    }

    /// It runs in its directory, and knows it by that alone: so are its processes told from others',
    /// a long path does not have to fit into the address of a socket, and workers, which are nobody,
    /// need no right to the directories above.
    fn run(&self, home: &Path, file: &str, more: &[&str]) -> Result<(), HostError> {
        let mut args = vec!["-p", "./", "-c", file];
        if self.built.version >= HAS_ERROR_LOG_OPTION {
            args.extend(["-e", ERROR_LOG]);
        }
        args.extend(more);
        self.tool.run(&args, b"", Some(home)).map(drop)
    }
}

fn refusal(stderr: &str) -> NginxError {
    let said = reason(stderr);
    if said.contains("bind()") && said.contains("Permission denied") {
        NginxError::NoRight { said }
    } else {
        NginxError::Rejected { said }
    }
}

/// Takes the first line that says what is wrong, without its time and process number.
pub(super) fn reason(said: &str) -> String {
    const MARKS: [&str; 3] = ["[emerg]", "[alert]", "[crit]"];
    let lines = || said.lines().filter(|l| !l.trim().is_empty());
    let wrong = lines().find_map(|line| MARKS.iter().find_map(|m| line.split_once(m)));
    let text = wrong.map_or_else(
        || lines().next().unwrap_or("no reason given"),
        |(_, rest)| rest,
    );
    // `1234#1234: ` when it comes from the log.
    let plain = text.trim().split_once(": ").filter(|(head, _)| {
        head.contains('#') && head.chars().all(|c| c.is_ascii_digit() || c == '#')
    });
    plain
        .map_or_else(|| text.trim(), |(_, rest)| rest)
        .to_owned()
}

impl Built {
    fn parse(said: &str) -> Option<Self> {
        let (_, rest) = said.split_once("nginx/")?;
        let number = rest
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()?;
        let mut parts = number.split('.').map(str::parse);
        let mut part = || parts.next()?.ok();
        let version = [part()?, part()?, part()?];
        let options = said.split_once("configure arguments:");
        let options = options.map_or("", |(_, rest)| rest).split_whitespace();
        Some(Self {
            version,
            options: options.map(str::to_owned).collect(),
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    fn value(&self, option: &str) -> Option<&str> {
        let all = self.options.iter();
        all.filter_map(|o| o.strip_prefix(option)?.strip_prefix('='))
            .next()
    }

    fn modules(&self) -> PathBuf {
        let prefix = self.value("--prefix").unwrap_or("/usr/local/nginx");
        self.value("--modules-path")
            .map_or_else(|| Path::new(prefix).join("modules"), PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.9\nconfigure arguments: \
        --with-cc-opt='-g -O2' --prefix=/usr/share/nginx --modules-path=/usr/lib/nginx/modules \
        --with-stream_ssl_module --with-stream=dynamic\n";

    #[test]
    fn what_it_was_built_with_is_read() {
        let built = Built::parse(DEBIAN).unwrap();
        assert_eq!(built.version, [1, 22, 1]);
        assert!(!built.has("--with-stream") && built.has("--with-stream_ssl_module"));
        assert_eq!(built.modules(), Path::new("/usr/lib/nginx/modules"));
        let ubuntu = Built::parse("nginx version: nginx/1.18.0 (Ubuntu)\n").unwrap();
        assert!(ubuntu.version < HAS_ERROR_LOG_OPTION);
        assert_eq!(ubuntu.modules(), Path::new("/usr/local/nginx/modules"));
        assert!(Built::parse("bash: nginx: command not found").is_none());
    }

    #[test]
    fn the_reason_is_one_line_without_its_time() {
        for said in [
            "nginx: [warn] something\nnginx: [emerg] host not found in /x/y.conf:3\nnginx: configuration test failed\n",
            "2026/11/23 06:02:39 [emerg] 4958#4958: host not found in /x/y.conf:3\n",
        ] {
            assert_eq!(reason(said), "host not found in /x/y.conf:3");
        }
        assert_eq!(reason(""), "no reason given");
    }
}
