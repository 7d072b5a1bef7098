//! The host's own tools: the only user of `std::process`.

mod command;
mod devices;
pub mod dhcp;
mod editor;
mod error;
mod facts;
pub mod firewall;
mod guard;
mod hop;
mod iso;
pub mod nginx;
pub mod ports;
pub mod probe;
mod qemu_img;
pub mod relay;
pub mod render;
mod routes;
mod ssh;
pub mod systemd;
pub mod taps;
mod terminal;
mod threads;
mod tunnel;
mod workshop;

pub use command::{Output, Running, Tool};
pub use devices::{TakenRange, bridges, devices, taken_ranges};
pub use editor::{Editor, EditorFile};
pub use error::HostError;
pub use facts::{find_in_sbin, in_group, polkit_is_there};
pub use guard::Guard;
pub use hop::Hop;
pub use iso::{IsoMaker, sweep as sweep_seeds};
pub use qemu_img::{
    Backing, CheckReport, Copy, ImageInfo, ImagePath, InvalidImagePath, Packing, QemuImg,
};
pub use routes::parse as parse_routes;
pub use ssh::{Ran, Ssh, SshTarget};
pub use terminal::Terminal;
pub(crate) use threads::one_thread;
pub use tunnel::Tunnel;
pub use workshop::Workshop;
