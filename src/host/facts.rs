//! Small facts about the host and the caller.

use std::path::Path;

use super::command::Tool;
use super::error::HostError;

/// Returns whether the caller is in a group.
pub fn in_group(name: &str) -> bool {
    let Some(wanted) = crate::store::group_id(name) else {
        return false;
    };
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.iter().any(|g| g.as_raw() == wanted)
}

/// Returns whether polkit decides who may talk to daemons.
pub fn polkit_is_there() -> bool {
    Path::new("/usr/share/polkit-1").exists() && Tool::find(&["pkcheck"], "polkitd").is_ok()
}

/// Finds a tool that may lie where only root's PATH looks.
///
/// # Errors
/// [`HostError::Missing`].
pub fn find_in_sbin(names: &[&str], package: &'static str) -> Result<Tool, HostError> {
    Tool::find(names, package).or_else(|missing| {
        let dirs = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
        let full: Vec<String> = dirs
            .iter()
            .flat_map(|d| names.iter().map(move |n| format!("{d}/{n}")))
            .collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        Tool::find(&full, package).map_err(|_| missing)
    })
}
