//! Real guests on the private host.

mod archives;
mod by_hand;
mod changes;
mod cloud_init;
mod console;
mod converge;
mod data;
mod disks;
mod faults;
mod full;
mod host;
mod images;
mod libvirt;
mod live_snapshots;
mod main_path;
mod many;
mod networks;
mod persist;
mod pool;
mod port_forward;
mod secrets;
mod served;
mod snapshots;
mod states;
mod verbs;
mod volumes;
