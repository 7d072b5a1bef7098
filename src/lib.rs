//! kvmctl: `kubectl` for the KVM host you already have.
//!
//! The modules are the architecture; arrows go one way (a test in `tests/` holds it):
//!
//! ```text
//! argv ──> cli ──┐
//! YAML ──> manifest ──> api objects ──┐ (pure)
//!                                     ├─> plan (pure) ─> engine ─┬─> libvirt ─> libvirtd
//! store + libvirt + host ─> observe ──┘   └ diff, dry-run        ├─> host ─> qemu-img, genisoimage
//!                                                                └─> store
//! everything a person or a script reads ──> output
//! ```
//!
//! | module | what | may use |
//! |---|---|---|
//! | [`api`] | objects as pure data | nothing |
//! | [`manifest`] | text to objects, with positions | `api` |
//! | [`net`], [`plan`], [`cloudinit`] | pure: allocate, plan, render | `api` |
//! | [`libvirt`], [`host`], [`store`], [`image`] | the outside | the pure ones |
//! | [`observe`], [`engine`] | the world to objects; plans to the world | the outside |
//! | [`output`] | everything a person or a script reads | `api`, `plan`, `error` |
//! | [`cli`] | the two grammars | everything |
//! | [`error`] | what went wrong, worded for people, with exit codes | the error types of the others |

pub mod api;
pub mod cli;
pub mod cloudinit;
pub mod config;
pub mod engine;
pub mod error;
pub mod host;
pub mod image;
pub mod libvirt;
pub mod manifest;
pub mod net;
pub mod observe;
pub mod output;
pub mod paths;
pub mod plan;
pub mod shell;
pub mod store;
