#!/usr/bin/env bash
# Breaks the engine on purpose, fault by fault (src/fault.rs), and ends with an error unless the model test notices each.
# Compiles the root crate once more, with the feature planted-faults: minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --release --workspace --features planted-faults --test model -- --nocapture every_planted_fault
