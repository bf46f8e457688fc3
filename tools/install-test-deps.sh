#!/usr/bin/env bash
# Installs what the tests need beyond the build: drivers for Python in a virtual environment, for Node, Java, Go and C, pgbench, strace,
# and a browser.
# Does nothing where it is there already.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
environment="${CARGO_TARGET_DIR:-$root/target}/test-env"
clients="$root/tools/clients"

say() { echo "test deps: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# A program or a package that is missing is installed with apt-get.
install() {
    if have apt-get && { [ "$(id -u)" -eq 0 ] || have sudo; }; then
        local sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        say "installing $*"
        "${sudo[@]}" apt-get -qq update
        DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
    else
        say "missing: $*; they cannot be installed without root" >&2
        exit 1
    fi
}

packages=()
have javac || packages+=(default-jdk-headless)
[ -e /usr/share/java/postgresql.jar ] || packages+=(libpostgresql-jdbc-java)
have go || packages+=(golang-go)
have strace || packages+=(strace)
have chromium || packages+=(chromium)
have chromedriver || packages+=(chromium-driver)
[ -d /usr/share/gocode/src/github.com/jackc/pgx/v4 ] || packages+=(golang-github-jackc-pgx-v4-dev)
[ -e /usr/lib/x86_64-linux-gnu/libpq.so ] || packages+=(libpq-dev)
[ ${#packages[@]} -eq 0 ] || install "${packages[@]}"

# Debian puts pgbench into the server's package; what the client's package has under that name only looks for it.
if ! pgbench --version >/dev/null 2>&1; then
    # Without this file the package would make and start a cluster.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        "${sudo[@]}" mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    install postgresql-15
fi

for program in python3 node npm; do
    if ! have "$program"; then
        say "there is no $program" >&2
        exit 1
    fi
done

wanted=$(sha256sum "$clients/python/requirements.txt" | cut -d' ' -f1)
if [ "$(cat "$environment/.requirements" 2>/dev/null || true)" != "$wanted" ]; then
    say "making $environment"
    mkdir -p "$(dirname "$environment")"
    if ! python3 -m venv --clear "$environment"; then
        install python3-venv
        python3 -m venv --clear "$environment"
    fi
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$clients/python/requirements.txt"
    echo "$wanted" > "$environment/.requirements"
fi

wanted=$(sha256sum "$clients/node/package-lock.json" | cut -d' ' -f1)
if [ "$(cat "$clients/node/node_modules/.lock" 2>/dev/null || true)" != "$wanted" ]; then
    say "installing the drivers for Node"
    (cd "$clients/node" && npm ci --silent --no-audit --no-fund)
    echo "$wanted" > "$clients/node/node_modules/.lock"
fi
# Programs in Go and Rust are built here, so that no test waits for a compiler.
wanted=$(find "$clients/go" "$clients/rust" -type f | sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
if [ "$(cat "$environment/.programs" 2>/dev/null || true)" != "$wanted" ]; then
    say "building the programs in Go and Rust"
    GO111MODULE=off GOPATH=/usr/share/gocode go build -o "$environment/bin/check-pgx" "$clients/go/check.go"
    programs="${CARGO_TARGET_DIR:-$root/target}/clients"
    cargo build --quiet --manifest-path "$clients/rust/Cargo.toml" --target-dir "$programs"
    cp "$programs/debug/check-sqlx" "$programs/debug/check-diesel" "$environment/bin/"
    echo "$wanted" > "$environment/.programs"
fi
"$root/tools/models/make.sh"
for package in wordnet-base openclipart-png; do
    "$root/tools/example-data.sh" "$package" >/dev/null
done
say "all there"
