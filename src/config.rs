//! Contexts: which libvirt, pool, network and store a command works with.
