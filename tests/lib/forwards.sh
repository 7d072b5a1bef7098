#!/usr/bin/env bash
# The tests of forwards, inside their private host: they restart its libvirtd and flush its rules.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mkdir -p /run/netns
cargo test --offline --locked --test kvmctl-tests -- forwards:: --skip converge:: \
    --test-threads=1 --nocapture
