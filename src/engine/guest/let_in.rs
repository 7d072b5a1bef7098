//! The key of a store that was made anew: guests of before know another one, and their agent can be
//! told ours.

use std::time::Duration;

use super::ssh::{Login, refused};
use crate::api::{ObjectKey, Reporter};
use crate::engine::instances;
use crate::error::{Error, Result};
use crate::host::HostError;
use crate::observe::World;

/// Adds a key for a user of the guest, where it is not there: `sh -c SCRIPT sh USER KEY`.
const ADD: &str = r#"set -eu
entry=$(getent passwd "$1" || grep "^$1:" /etc/passwd)
home=$(echo "$entry" | cut -d: -f6); group=$(echo "$entry" | cut -d: -f4)
umask 077
[ -d "$home/.ssh" ] || { mkdir "$home/.ssh"; chown "$1:$group" "$home/.ssh"; }
file=$home/.ssh/authorized_keys
[ -e "$file" ] || { : > "$file"; chown "$1:$group" "$file"; }
grep -qxF -- "$2" "$file" && exit 0
[ -z "$(tail -c 1 "$file")" ] || echo >> "$file"
printf '%s\n' "$2" >> "$file"
if command -v restorecon > /dev/null; then restorecon -R "$home/.ssh" || :; fi"#;

impl Login {
    /// Logs in. When the guest does not let our key in, and its agent answers, it is given the key,
    /// once, and the login is tried again.
    ///
    /// Only the user whom instances are made with gets it, and only in an instance that we made: who
    /// comes into the others is for others to say.
    ///
    /// # Errors
    /// What the login came to.
    pub(super) fn let_in<T>(
        &self,
        world: &World,
        key: &ObjectKey,
        reporter: &dyn Reporter,
        login: impl Fn() -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let done = login();
        let refused = matches!(done, Err(HostError::KeyRefused { .. }));
        // What keeps the agent from it is not what was asked for.
        if !refused || !self.is_ours() || !self.give_key(world, key).unwrap_or(false) {
            return done;
        }
        reporter.warn(&format!(
            "{key} did not know the SSH key of this store, which was made anew since; its guest agent \
             has added the key for user {}",
            self.target.user
        ));
        login()
    }

    /// Words why it came to nothing, and what to do.
    pub(super) fn refused(&self, error: HostError, key: &ObjectKey) -> Error {
        let unknown = matches!(error, HostError::KeyRefused { .. }) && self.is_ours();
        let error = refused(error, key);
        if !unknown {
            return error;
        }
        let add = crate::shell::shell_words(&["echo", &self.public_key]);
        error
            .caused_by(
                "the guest does not know the SSH key of this store: the store was made anew since, or \
                 the key was taken out, and no guest agent adds it",
            )
            .hint(format!(
                "there, as {}: {add} >> ~/.ssh/authorized_keys",
                self.target.user
            ))
    }

    fn is_ours(&self) -> bool {
        self.record.as_ref().is_some_and(|r| {
            !r.adopted && r.ssh_user.as_ref().is_none_or(|u| *u == self.target.user)
        })
    }

    /// Returns whether the guest's agent has added the key.
    fn give_key(&self, world: &World, key: &ObjectKey) -> Result<bool> {
        let domain = instances::find(world, key)?;
        if !domain.agent_answers() {
            return Ok(false);
        }
        let (user, line) = (&self.target.user, &self.public_key);
        if domain.agent_authorize(user, line).is_ok() {
            return Ok(true);
        }
        // An agent of before 5.2 has no command for it.
        let argv = ["sh", "-c", ADD, "sh", user, line].map(str::to_owned);
        let done = domain.agent_exec(&argv, &[], Duration::from_secs(30))?;
        Ok(done.code == 0)
    }
}
