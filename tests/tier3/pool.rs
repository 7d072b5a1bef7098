//! A pool of one's own, as small as one wants.

use std::path::Path;

use super::host::host;
use crate::support::Env;

/// A mount that goes with the value.
pub(super) struct Mounted(String);

impl Mounted {
    /// Takes a mount that is there.
    pub(super) fn at(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        host("umount", &[&self.0]);
    }
}

/// A pool on a file system of its own, and the context that uses it.
pub(super) struct Pool {
    name: String,
    pub(super) path: String,
    _mount: Mounted,
}

impl Pool {
    pub(super) fn new(env: &Env, name: &str, size: &str) -> Self {
        let path = format!("/var/lib/libvirt/{name}");
        assert!(!Path::new(&path).exists());
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={size},mode=711");
        let tmpfs = ["-t", "tmpfs", "-o", &size, "tmpfs", &path];
        env.run("mount", &tmpfs).ok();
        let store = env.path("store").display().to_string();
        let context = ["config", "set-context", name, "--uri", "qemu:///system"];
        let rest = ["--pool", name, "--network", "default", "--store", &store];
        env.kvmctl([&context[..], &rest[..]].concat()).ok();
        env.kvmctl(["config", "use-context", name]).ok();
        env.kvmctl(["setup", "--yes", "--pool-path", &path]).ok();
        Self {
            name: name.to_owned(),
            _mount: Mounted(path.clone()),
            path,
        }
    }
}

impl Pool {
    /// Lists its files.
    pub(super) fn files(&self) -> String {
        host("ls", &["-A", &self.path])
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        host("virsh", &["-q", "pool-destroy", &self.name]);
        host("virsh", &["-q", "pool-undefine", &self.name]);
        host("umount", &[&self.path]);
        let _ = std::fs::remove_dir(&self.path);
    }
}
