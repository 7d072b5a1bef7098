//! Pure allocators: addresses, hardware addresses.
