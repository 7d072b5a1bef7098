//! The SSH key that kvmctl logs in with.

use crate::cloudinit::HostKey;
use crate::error::Result;
use crate::observe::World;
use crate::store::Store;

/// Our own SSH key, one a store, made at the first use.
const KEY_FILE: &str = "id_ed25519";
const PUBLIC_KEY_FILE: &str = "id_ed25519.pub";

/// Returns our own key.
///
/// # Errors
/// If the store cannot be written.
pub fn own_key(world: &World) -> Result<HostKey> {
    let store = world.store()?;
    if let Some(key) = known(store)? {
        return Ok(key);
    }
    let _lock = store.lock(crate::store::STORE_WAIT)?;
    if let Some(key) = known(store)? {
        return Ok(key);
    }
    let key = HostKey::generate()?;
    store.put_ssh_file(KEY_FILE, key.private.as_bytes())?;
    store.put_ssh_file(
        PUBLIC_KEY_FILE,
        format!("{} kvmctl\n", key.public).as_bytes(),
    )?;
    Ok(key)
}

/// Returns our own key if it has been made.
///
/// # Errors
/// If the store cannot be read.
pub(in crate::engine) fn known_key(world: &World) -> Result<Option<HostKey>> {
    known(world.store_for_reading()?)
}

fn known(store: &Store) -> Result<Option<HostKey>> {
    let text = |file| -> Result<Option<String>> {
        Ok(store
            .ssh_file(file)?
            .and_then(|b| String::from_utf8(b).ok()))
    };
    Ok(match (text(KEY_FILE)?, text(PUBLIC_KEY_FILE)?) {
        (Some(private), Some(public)) => Some(HostKey {
            private,
            public: public.trim().to_owned(),
        }),
        _ => None,
    })
}
