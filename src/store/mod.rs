//! The little that libvirt cannot hold, as files.
