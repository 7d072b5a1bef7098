//! The world to objects: joins libvirt, the store and the host.
