#!/usr/bin/env bash
# Makes an environment of Python with ONNX Runtime, and in it the models that the tests ask for and what they should give, below the
# target folder. What is there already is not made again.
set -euo pipefail
cd "$(dirname "$0")/../.."
models="${CARGO_TARGET_DIR:-$PWD/target}/models"
environment="$models-env"
requirements=tools/models/requirements.txt

wanted=$(sha256sum "$requirements" | cut -d' ' -f1)
if [ "$(cat "$environment/.requirements" 2>/dev/null || true)" != "$wanted" ]; then
    echo "models: making $environment"
    mkdir -p "$(dirname "$environment")"
    python3 -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    echo "$wanted" > "$environment/.requirements"
fi
"$environment/bin/python" tools/models/build.py "$models"
