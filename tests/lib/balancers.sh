#!/usr/bin/env bash
# The tests of balancers, inside their private host: they fill its ports.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p /run/netns
cargo test --offline --locked --test kvmctl-tests -- "${@:-balancers::}" --skip converge:: --test-threads=1 --nocapture
