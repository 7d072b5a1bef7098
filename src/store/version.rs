//! The schema of the store: a newer one is refused, an older one copied and brought up to date.

use serde::{Deserialize, Serialize};

use crate::api::Timestamp;

use super::error::{Result, StoreError};
use super::file::{Dir, Durability};
use super::lock::StoreLock;
use super::yaml::Contents;
use super::{Access, STORE_WAIT};

/// The schema that this kvmctl writes.
pub const SCHEMA: u32 = 1;

const FILE: &str = "version.yaml";

/// Directories whose files a migration may change, and which are copied before.
const DIRS: &[&str] = &[
    "instances",
    "intents",
    "slots",
    "secrets",
    "types",
    "images",
    "volumes",
    "hosts",
    "ssh",
];

/// Brings a store from the schema of its position + 1 to the next one.
type Step = fn(&Dir) -> Result<()>;

/// One step for each schema before ours; the first schema has none.
const STEPS: &[Step] = &[];

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    schema_version: u32,
}

/// Makes sure that the store has our schema.
pub(super) fn check(dir: &Dir, access: Access) -> Result<()> {
    check_with(dir, access, STEPS)
}

fn check_with(dir: &Dir, access: Access, steps: &[Step]) -> Result<()> {
    let known = u32::try_from(steps.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let found = dir
        .read_yaml::<Version>(FILE, Contents::Plain)?
        .map(|v| v.schema_version);
    match found {
        Some(found) if found > known => Err(StoreError::Newer {
            path: dir.path().to_owned(),
            found,
            known,
        }),
        Some(0) => Err(dir.damaged(FILE, "schemaVersion must be 1 or more")),
        Some(found) if found == known => Ok(()),
        Some(_) if access == Access::Write => migrate(dir, known, steps),
        // Older files are read as they are: every schema can read its predecessors' or names them.
        Some(_) => Ok(()),
        None if access == Access::Write => record(dir, known),
        None => Ok(()),
    }
}

fn record(dir: &Dir, schema_version: u32) -> Result<()> {
    dir.write_yaml(FILE, &Version { schema_version })
}

fn migrate(dir: &Dir, known: u32, steps: &[Step]) -> Result<()> {
    let _lock = StoreLock::acquire(dir, STORE_WAIT)?;
    // Somebody may have done it while we waited.
    let found = dir.read_yaml::<Version>(FILE, Contents::Plain)?;
    let found = found.map_or(known, |v| v.schema_version);
    if found < known {
        backup(dir, found)?;
    }
    for (next, step) in (found + 1..=known).zip(steps.iter().skip(found as usize - 1)) {
        step(dir)?;
        record(dir, next)?;
    }
    Ok(())
}

fn backup(dir: &Dir, schema: u32) -> Result<()> {
    let to = format!("backup/v{schema}-{}", Timestamp::now().as_second());
    for sub in DIRS {
        for name in dir.list(sub)? {
            if let Some(bytes) = dir.read(&format!("{sub}/{name}"))? {
                dir.write(&format!("{to}/{sub}/{name}"), &bytes, Durability::Power)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(schema: &str) -> (tempfile::TempDir, Dir) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path(), "tmp").unwrap().unwrap();
        dir.write(FILE, schema.as_bytes(), Durability::Process)
            .unwrap();
        dir.write("types/big.yaml", b"cpus: 8\n", Durability::Process)
            .unwrap();
        (tmp, dir)
    }

    fn two_to_three(dir: &Dir) -> Result<()> {
        dir.write("types/big.yaml", b"cpus: 9\n", Durability::Power)
    }

    fn one_to_two(dir: &Dir) -> Result<()> {
        dir.write("types/new.yaml", b"cpus: 1\n", Durability::Power)
    }

    #[test]
    fn an_older_store_is_copied_and_goes_through_every_step_from_its_own() {
        let (_tmp, dir) = store("schemaVersion: 2\n");
        check_with(&dir, Access::Read, &[one_to_two, two_to_three]).unwrap();
        assert_eq!(
            dir.read("types/big.yaml").unwrap().unwrap(),
            b"cpus: 8\n",
            "readers change nothing"
        );
        check_with(&dir, Access::Write, &[one_to_two, two_to_three]).unwrap();
        assert_eq!(dir.read("types/big.yaml").unwrap().unwrap(), b"cpus: 9\n");
        assert_eq!(
            dir.read("types/new.yaml").unwrap(),
            None,
            "its own step is behind it"
        );
        let backups = dir.list("backup").unwrap();
        assert_eq!(backups.len(), 1);
        let copy = dir.read(&format!("backup/{}/types/big.yaml", backups[0]));
        assert_eq!(copy.unwrap().unwrap(), b"cpus: 8\n");
        check_with(&dir, Access::Write, &[one_to_two, two_to_three]).unwrap();
        assert_eq!(dir.list("backup").unwrap(), backups, "nothing more to do");
    }

    #[test]
    fn a_step_that_fails_is_taken_again_and_none_before_it() {
        fn fails(dir: &Dir) -> Result<()> {
            Err(dir.damaged("types/big.yaml", "no"))
        }
        let (_tmp, dir) = store("schemaVersion: 1\n");
        check_with(&dir, Access::Write, &[one_to_two, fails]).unwrap_err();
        assert!(dir.read("types/new.yaml").unwrap().is_some());
        dir.remove("types/new.yaml").unwrap();
        check_with(&dir, Access::Write, &[one_to_two, two_to_three]).unwrap();
        assert_eq!(dir.read("types/new.yaml").unwrap(), None);
        assert_eq!(dir.read("types/big.yaml").unwrap().unwrap(), b"cpus: 9\n");
    }

    #[test]
    fn a_newer_or_senseless_schema_is_refused() {
        for (text, kind) in [
            ("schemaVersion: 99\n", crate::error::Kind::Usage),
            ("schemaVersion: 0\n", crate::error::Kind::Failed),
            ("schemaVersion: [\n", crate::error::Kind::Failed),
        ] {
            let (_tmp, dir) = store(text);
            for access in [Access::Read, Access::Write] {
                let error = crate::error::Error::from(check(&dir, access).unwrap_err());
                assert_eq!(error.kind(), kind, "{text}");
                assert_eq!(dir.read(FILE).unwrap().unwrap(), text.as_bytes());
            }
        }
    }
}
