# Short names for the long commands; .ci/run is what decides.

.PHONY: all check test fmt ci

all: check test

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test:
	cargo test --workspace

fmt:
	cargo fmt --all

ci:
	./.ci/run
