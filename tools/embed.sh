#!/usr/bin/env bash
# The tests of embed/: makes an environment of Python with ONNX Runtime, and in it the models that the tests ask for and what they should
# give; then formatting, lints and tests. What is there already is not made again. Arguments are handed on to the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
models="$target/models"
environment="$models-env"
requirements=tools/models/requirements.txt

wanted=$(sha256sum "$requirements" | cut -d' ' -f1)
if [ "$(cat "$environment/.requirements" 2>/dev/null || true)" != "$wanted" ]; then
    echo "embed: making $environment"
    mkdir -p "$target"
    python3 -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    echo "$wanted" > "$environment/.requirements"
fi
"$environment/bin/python" tools/models/build.py "$models"

export LODEDB_TEST_MODELS="$models"
ORT_DYLIB_PATH=$(echo "$environment"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
export ORT_DYLIB_PATH
in_crate=(--manifest-path embed/Cargo.toml --target-dir "$target/embed")
cargo fmt --manifest-path embed/Cargo.toml --check
cargo clippy --release "${in_crate[@]}" --all-targets -- -D warnings
cargo test --release "${in_crate[@]}" "$@"
