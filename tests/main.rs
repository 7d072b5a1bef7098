//! Tests of the binary against a real libvirt, and of the shape of the source.
//!
//! `tests/run.sh` runs them; tier 3 needs the private host that it makes.

#![expect(
    clippy::disallowed_types,
    reason = "the program under test is run as its users run it"
)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod balancers;
mod callers;
mod conformance;
mod converge;
mod forwards;
mod layering;
mod nets;
mod support;
mod tier1;
mod tier2;
mod tier3;
