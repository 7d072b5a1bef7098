//! The SSH key that kvmctl logs in with.

use crate::cloudinit::HostKey;
use crate::error::Result;
use crate::observe::World;

/// Our own SSH key, one a store, made at the first use.
const KEY_FILE: &str = "id_ed25519";
const PUBLIC_KEY_FILE: &str = "id_ed25519.pub";

/// Returns our own key.
///
/// # Errors
/// If the store cannot be written.
pub fn own_key(world: &World) -> Result<HostKey> {
    let store = world.store()?;
    let known = |store: &crate::store::Store| -> Result<Option<HostKey>> {
        let private = store
            .ssh_file(KEY_FILE)?
            .and_then(|b| String::from_utf8(b).ok());
        let public = store
            .ssh_file(PUBLIC_KEY_FILE)?
            .and_then(|b| String::from_utf8(b).ok());
        Ok(match (private, public) {
            (Some(private), Some(public)) => Some(HostKey {
                private,
                public: public.trim().to_owned(),
            }),
            _ => None,
        })
    };
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
