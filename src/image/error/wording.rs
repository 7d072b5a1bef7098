//! The errors of images, worded for people: exit codes and hints.

use std::io;

use super::{CatalogueError, DownloadError, ImageError};
use crate::error::{Error, Kind};

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        let message = error.to_string();
        let refused = Self::usage(message.clone());
        match &error {
            ImageError::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted => {
                Self::new(Kind::Interrupted, message)
            }
            ImageError::Io { source, .. } => Self::failed(message).caused_by(source),
            ImageError::BackingFile { .. } | ImageError::InternalSnapshots(_) => refused
                .hint("make a stand-alone copy of an image you trust: qemu-img convert -f qcow2 -O qcow2 FILE COPY.qcow2"),
            ImageError::ExternalDataFile { .. } => {
                refused.hint("an image from elsewhere that names a file of this host is not taken; get a stand-alone one")
            }
            ImageError::Foreign(kind) => match kind.remedy() {
                Some(remedy) => refused.hint(remedy),
                None => refused,
            },
            ImageError::Unrecognised { .. } | ImageError::Empty | ImageError::Truncated { .. } => {
                refused.hint("download the file again and compare its checksum with the publisher's")
            }
            ImageError::Corrupt | ImageError::Dirty => {
                refused.hint("repair an image you trust: qemu-img check -f qcow2 -r all FILE")
            }
            ImageError::DoesNotFit { .. } => {
                refused.hint("free some space in the pool, or import the file with --sparse, which accepts that the pool may fill up later")
            }
            _ => refused,
        }
    }
}

impl From<DownloadError> for Error {
    fn from(error: DownloadError) -> Self {
        use DownloadError as D;
        let kind = match &error {
            D::BadUrl { .. } | D::Insecure { .. } | D::WrongSum { .. } | D::TooLarge { .. } => {
                Kind::Usage
            }
            D::Redirect { .. } | D::NoSum { .. } | D::NoSpace { .. } | D::Local { .. } => {
                Kind::Failed
            }
            D::NotFound { .. } => Kind::NotFound,
            D::Status { .. } | D::Network { .. } | D::CutShort { .. } => Kind::Unavailable,
            D::Stalled { .. } => Kind::Timeout,
            D::Interrupted { .. } => Kind::Interrupted,
            D::Unpack { .. } => Kind::Failed,
        };
        let worded = Self::new(kind, error.to_string());
        let again = "run the same command again: it goes on where it stopped";
        match &error {
            D::Insecure { .. } => worded.hint("use the https URL, or allow plain http with --allow-http and a --checksum"),
            D::Network { source, .. } => worded.with_chain(source.as_ref()).hint(again),
            D::Local { source, .. } => worded.caused_by(source),
            D::Unpack { source, .. } => worded.with_chain(source),
            D::Stalled { .. } | D::CutShort { .. } | D::Interrupted { .. } => worded.hint(again),
            D::WrongSum { .. } => {
                worded.hint("the file was removed; run the command again, and if the sums still differ do not use this source")
            }
            D::NotFound { .. } => worded.hint(
                "publishers move files: give a current URL with kvmctl images pull URL --name NAME, or add the image to your catalogue file",
            ),
            D::NoSum { .. } => worded.hint("give the sum yourself with --checksum SUM"),
            D::NoSpace { dir, .. } => worded.hint(format!("free some space: df -h {}", dir.display())),
            _ => worded,
        }
    }
}

impl From<CatalogueError> for Error {
    fn from(error: CatalogueError) -> Self {
        let message = error.to_string();
        match error {
            CatalogueError::Unreadable { source, .. } => Self::failed(message).caused_by(source),
            CatalogueError::Invalid { problems, .. } => problems
                .iter()
                .fold(Self::usage(message), |error, problem| {
                    error.caused_by(problem)
                }),
            CatalogueError::Unknown {
                suggestion,
                candidates,
                ..
            } => {
                let worded = Self::not_found(message);
                let worded = match suggestion {
                    Some(near) => worded.hint(format!("did you mean {near}?")),
                    None => worded,
                };
                worded.hint(format!("images there are: {}", candidates.join(", ")))
            }
            CatalogueError::NotForArchitecture { available, .. } => {
                let list: Vec<_> = available.iter().map(ToString::to_string).collect();
                Self::not_found(message).hint(format!("it is published for {}", list.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Problem;
    use super::*;
    use crate::image::{Algorithm, Checksum};

    #[test]
    fn all_mistakes_of_a_catalogue_are_told_at_once() {
        let problem = |what: &str| Problem {
            entry: "images[0]".into(),
            at: Some((3, 5)),
            what: what.into(),
        };
        let error: Error = CatalogueError::Invalid {
            origin: "images.yaml".into(),
            problems: vec![problem("one"), problem("two")],
        }
        .into();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.causes().len(), 2);
        assert_eq!(error.causes()[0], "line 3 column 5: images[0]: one");
    }

    #[test]
    fn a_wrong_sum_names_both() {
        let sum = |digit: &str| Checksum::new(Algorithm::Sha256, &digit.repeat(64)).unwrap();
        let error: Error = DownloadError::WrongSum {
            url: "https://example.org/a".into(),
            expected: sum("a"),
            actual: sum("b"),
        }
        .into();
        assert!(error.message().contains(&"a".repeat(64)));
        assert!(error.message().contains(&"b".repeat(64)));
        assert_eq!(error.kind(), Kind::Usage);
    }
}
