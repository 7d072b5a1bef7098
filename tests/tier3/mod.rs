//! Real guests on the private host.
