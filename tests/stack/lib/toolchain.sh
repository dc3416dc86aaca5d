# shellcheck shell=bash
# What building the workspace needs: Rust, a C compiler and make for librdkafka,
# OpenSSL's headers.

check_toolchain() {
  command -v cargo >/dev/null ||
    die "cargo is not on PATH. Install Rust with rustup (https://rustup.rs), then run this again"
  cargo --version >/dev/null ||
    die "cargo is on PATH but does not run: is a default toolchain installed? (rustup default stable)"
  need cc gcc libc6-dev
  need make make
  # The feature `tls` links the system's OpenSSL.
  need pkg-config pkg-config
  pkg-config --exists libssl || apt_install libssl-dev
}
