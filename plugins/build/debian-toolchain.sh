#!/bin/sh
# Unpacks Debian's compiler for WebAssembly (rustc-web) into a folder, without installing it.
#
#   plugins/build/debian-toolchain.sh [FOLDER]      FOLDER: /opt/rustc-web
#
# For machines where `rustup target add wasm32-unknown-unknown` can't be used. The packages are fetched through
# apt, which checks their signatures; root is needed only to write to FOLDER, and for `apt-get update` where
# apt's lists are missing.
set -eu

folder=${1:-/opt/rustc-web}
if [ -x "$folder/usr/bin/rustc" ]; then
    echo "$folder has it already" >&2
    exit 0
fi

# The versions of the library and of LLVM stand in the names of their packages.
depends() { apt-cache depends "$1" 2>/dev/null | sed -n "s/^ *Depends: \($2\)\$/\1/p" | head -n 1; }
std=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
if [ -z "$std" ]; then
    apt-get update >&2
    std=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
fi
if [ -z "$std" ]; then
    echo "apt knows no libstd-rust-web-dev: Debian 12 with its security updates, or later, has it" >&2
    exit 1
fi
llvm=$(depends "$std" 'libllvm[0-9]*')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# shellcheck disable=SC2086
apt-get download rustc-web "$std" libstd-rust-web-dev rust-web-src $llvm >&2
mkdir -p "$folder"
for package in *.deb; do
    dpkg -x "$package" "$folder"
done
LD_LIBRARY_PATH="$folder/usr/lib/$(uname -m)-linux-gnu" "$folder/usr/bin/rustc" --version
