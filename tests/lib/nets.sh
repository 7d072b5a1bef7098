#!/usr/bin/env bash
# The tests of networks, inside their private host: one keeps its name server's port.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p /run/netns
cargo test --offline --locked --test kvmctl-tests -- "${@:-nets::}" --test-threads=1
