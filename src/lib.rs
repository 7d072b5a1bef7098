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
//! | [`api`] | objects as pure data; newtypes that are valid for ever; the [`api::Reporter`] trait | nothing |
//! | [`shell`], [`text`] | quoting of command lines; escapes and YAML | nothing |
//! | [`manifest`] | text to objects, with positions; merge, patch, schema | `api`, `text` |
//! | [`net`], [`plan`], [`cloudinit`] | pure: allocate addresses, plan steps, render seeds and read reports | `api`, `shell` |
//! | [`paths`], [`config`] | where files are; contexts | `api`, `store`'s files |
//! | [`libvirt`] | the one door to libvirt, typed XML, the only `unsafe` (`ffi`) | the pure ones |
//! | [`host`] | the one process runner and the host's tools | the pure ones |
//! | [`store`] | what libvirt cannot hold, as files | the pure ones |
//! | [`image`] | images: catalogue, download, header check | the pure ones, `host` |
//! | [`observe`] | the world to objects: [`observe::World`] is what a command works in | the outside |
//! | [`engine`] | plans to the world; undo, batches, waiting, reconcile, rebuild | `observe`, the outside |
//! | [`output`] | everything a person or a script reads | `api`, `error`, `shell`, `text` |
//! | [`cli`] | the two grammars; a file a verb, each thin | everything |
//! | [`error`] | the one error people see, with exit codes; each module words its own facts | nothing |
//!
//! To add a kind: a row in `api/kind.rs`, its data in `api/`, its steps in `plan/`, what they do in
//! `engine/`, how it is seen in `observe/`, its columns and description in `output/`, its flags in
//! `cli/create/`.

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
pub mod text;
