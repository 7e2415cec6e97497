# Short names for the long commands; .ci/run is what decides.

.PHONY: all check test fmt ci kernels

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

# The kernel's programs on other kernels, in QEMU: minutes, so .ci/run leaves it out.
kernels:
	./scripts/kernels.sh
