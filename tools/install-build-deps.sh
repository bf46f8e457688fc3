#!/usr/bin/env bash
# Installs what the build and the demo need on Debian 12 and does nothing where it is there already.
#
#   cmake, make, g++, pkg-config    FAISS and RocksDB are built from source
#   clang, libclang-dev             bindgen reads RocksDB's header
#   libopenblas-openmp-dev          BLAS and LAPACK for FAISS: in FAISS's own threads; the pthread flavour fights with them for the cores
#   postgresql-client               psql, for the demo
set -euo pipefail

say() { echo "build deps: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }
installed() { dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

if ! have cargo; then
    say "there is no cargo; install Rust 1.95 or later (https://rustup.rs)" >&2
    exit 1
fi
for program in node npm; do
    have "$program" || say "note: there is no $program; the demo's download and the Node tests need it" >&2
done

missing=()
have cmake || missing+=(cmake)
have make || missing+=(make)
have g++ || missing+=(g++)
have pkg-config || missing+=(pkg-config)
have psql || missing+=(postgresql-client)

if have dpkg-query; then
    installed clang || have clang || missing+=(clang)
    [ -n "${LIBCLANG_PATH:-}" ] || installed libclang-dev || missing+=(libclang-dev)
    installed libopenblas-openmp-dev || missing+=(libopenblas-openmp-dev)
else
    have clang || missing+=(clang)
fi

# Where the alternatives choose another BLAS, programs would run with that one.
warn_about_blas() {
    local chosen
    chosen=$(readlink -f /usr/lib/x86_64-linux-gnu/libblas.so.3 2>/dev/null || true)
    case "$chosen" in
        *openblas-pthread*)
            say "note: libblas.so.3 is the pthread flavour of OpenBLAS; set OPENBLAS_NUM_THREADS=1, or choose with" >&2
            say "      update-alternatives --config libblas.so.3-x86_64-linux-gnu" >&2
            ;;
    esac
}

if [ ${#missing[@]} -eq 0 ]; then
    warn_about_blas
    say "all there"
    exit 0
fi

if ! have apt-get; then
    say "missing: ${missing[*]}; this script installs with apt-get only" >&2
    exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if ! have sudo; then
        say "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi
say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get -qq update
"${sudo[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
warn_about_blas
say "done"
