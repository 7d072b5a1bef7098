//! Real guests on the private host.

mod changes;
mod cloud_init;
mod console;
mod converge;
mod disks;
mod faults;
mod host;
mod libvirt;
mod main_path;
mod many;
mod networks;
mod secrets;
mod states;
