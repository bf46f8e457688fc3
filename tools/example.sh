#!/usr/bin/env bash
# Runs an example on a server of its own: installs what the build needs, fetches its data and makes its model where they are not there
# yet, builds, starts a server on an empty directory, and runs the script in examples/search. Options are handed on to that.
#
#     tools/example.sh questions [--rows 5000] [--ask 'a question'] [--file a-text.txt]
#     tools/example.sh images [--rows 500]
#     tools/example.sh sift [--rows 500] [--ask a-picture.png]
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:?questions, images or sift}
shift
case $name in
    questions) package=wordnet-base ;;
    images | sift) package=openclipart-png ;;
    *) echo "example: there is no $name; there are questions, images and sift" >&2; exit 2 ;;
esac
target="${CARGO_TARGET_DIR:-$PWD/target}"

tools/install-build-deps.sh
tools/models/make.sh
data=$(tools/example-data.sh "$package")
cargo build --release --workspace --bin lodedb

work=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
"$target/release/lodedb" serve --data "$work/data" --listen 127.0.0.1:0 --model-dir "$target/models" \
    --onnx-runtime "$target/models-env" 2>"$work/log" &
server=$!
port() { sed -n 's/.* on 127.0.0.1:\([0-9]*\)$/\1/p' "$work/log" | head -1; }
for _ in $(seq 300); do
    [ -z "$(port)" ] || break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
"$target/models-env/bin/python" "examples/search/$name.py" --port "$(port)" --data "$data" --models "$target/models" "$@"
