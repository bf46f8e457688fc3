# The commands of this repository. `make demo` and `make test` are all that a newcomer needs.

export CARGO_TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: help demo demo-small test bench check build-deps test-deps clean-demo

help:
	@echo 'make demo        install what the build needs, build, load 341,479 word vectors and search them'
	@echo 'make demo-small  the same with 20,000 of them'
	@echo 'make test        install what the tests need and run them all'
	@echo 'make bench       measure beside PostgreSQL with pgvector and raw FAISS; BENCH_ARGS are handed on'
	@echo 'make check       formatting, lints, documentation, links'
	@echo 'make clean-demo  remove what the demo made, its download included'

build-deps:
	@tools/install-build-deps.sh

test-deps: build-deps
	@tools/install-test-deps.sh

demo: build-deps
	cargo build --release --workspace --bin lodedb --example words
	@tools/demo.sh $(DEMO_ARGS)

demo-small: build-deps
	cargo build --release --workspace --bin lodedb --example words
	@tools/demo.sh --rows 20000 $(DEMO_ARGS)

test: test-deps
	tools/test.sh

bench: build-deps
	tools/bench/run.sh $(BENCH_ARGS)

check: build-deps
	cargo fmt --all --check
	cargo fmt --manifest-path power/Cargo.toml --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release -p lodedb-group --all-targets --features loom -- -D warnings
	cargo clippy --release --manifest-path power/Cargo.toml --target-dir '$(CARGO_TARGET_DIR)/power' -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --release --no-deps --workspace
	tools/check-documents.py

clean-demo:
	rm -rf "$(CARGO_TARGET_DIR)/demo"
