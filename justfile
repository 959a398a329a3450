# The loops of CONTRIBUTING.md by name. `just` is optional: each recipe is one command that works without it.

# List the recipes.
default:
    @just --list

# Run a fleet until Ctrl-C.
up *flags:
    scripts/up {{flags}}

# Seconds: the unit tests with a word in their names.
unit word='':
    cargo test --workspace --lib -- {{word}}

# Half a minute: tests on a real fleet with a word in their names.
suite word:
    cargo test --workspace --test suite -- --nocapture {{word}}

# Half a minute: the simulator.
simulate seeds='200':
    cargo build --workspace --bins
    target/debug/simulate --seeds {{seeds}}

# Format, and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --quiet -- -D warnings

# Minutes: what needs no other programs.
quick:
    scripts/test --quick

# All that CI runs.
test:
    scripts/test

# Compare the guide's output with real output; `--write` records it.
guide *flags:
    scripts/check-guide {{flags}}

# Hours.
nightly:
    scripts/nightly
