//! Networks on a real libvirtd with a real dnsmasq, without a boot: guests are namespaces on the
//! bridge. One of the tests keeps every network from starting, so they have a private host of their own
//! (`tests/lib/nets.sh`) and run one after the other.

mod apart;
mod kill;
mod lost;
mod ranges;
mod refused;
mod rig;
