#!/usr/bin/env bash
# Makes a Debian 12 machine ready to run Switchover's demo and tests, and builds: Debian packages by apt, node modules
# by `npm ci`, then generate and compile. Does only what is missing; says what it does on standard error, so that a
# program's own output stays clean. Says in one sentence what it lacks, and exits 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(qemu-system-x86 busybox-static cpio nats-server iproute2 procps tcpdump openssl)
# A client in another language is made of the .proto files alone, and run by a test.
packages+=(python3-grpcio protobuf-compiler protobuf-compiler-grpc libprotobuf-dev)
# The observer's page is looked at by a real browser.
packages+=(chromium)

say() { printf '%s\n' "$*" >&2; }
lack() {
  say "Switchover: $1"
  exit 1
}

[[ "$(uname -s)" == Linux ]] || lack "the demo and the tests need Linux."
command -v node >/dev/null || lack "Node.js 20 or newer is missing."
command -v npm >/dev/null || lack "npm is missing."
(($(node -p 'process.versions.node.split(".")[0]') >= 20)) || lack "Node.js 20 or newer is needed, this is $(node -v)."
((EUID == 0)) || lack "root is needed (network namespaces, taps and bridges): run it with sudo."

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == installed ]] || missing+=("$package")
done
if ((${#missing[@]} > 0)); then
  command -v apt-get >/dev/null || lack "apt-get is missing, and so are the Debian packages: ${missing[*]}."
  say "Installing Debian packages: ${missing[*]}"
  # A package's own service must not start here: the tests start what they need, and end it.
  policy=/usr/sbin/policy-rc.d
  made_policy=no
  if [[ ! -e "$policy" ]]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  drop_policy() { if [[ "$made_policy" == yes ]]; then rm -f "$policy"; fi; }
  trap drop_policy EXIT
  log=$(mktemp)
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    lack "apt-get could not install: ${missing[*]}."
  fi
  rm -f "$log"
  drop_policy
  trap - EXIT
fi

# The lab's guests are built from Debian's own kernel package, which apt finds only with its lists at hand.
if ! compgen -G '.cache/guest/*.deb' >/dev/null; then
  command -v apt-get >/dev/null || lack "apt-get is missing; the lab's guests are built from Debian packages."
  apt-get update -qq >&2 || lack "apt-get update failed; the lab's guests are built from Debian packages."
fi

# promtool tests the alerts. It is unpacked, not installed: the package would have Prometheus run from the next boot on.
if [[ ! -x .cache/promtool/usr/bin/promtool ]]; then
  command -v apt-get >/dev/null || lack "apt-get is missing, and so is promtool (Debian package prometheus)."
  say "Unpacking promtool"
  mkdir -p .cache/promtool
  if ! (cd .cache/promtool && { apt-get download -qq -o APT::Sandbox::User=root prometheus || { apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root prometheus; }; }) >&2; then
    lack "apt-get could not download prometheus."
  fi
  dpkg-deb --fsys-tarfile .cache/promtool/prometheus_*.deb | tar -x -C .cache/promtool ./usr/bin/promtool
  rm -f .cache/promtool/prometheus_*.deb
fi

lock=$(sha256sum package-lock.json | cut -d' ' -f1)
if [[ "$(cat node_modules/.switchover-lock 2>/dev/null || true)" != "$lock" ]]; then
  say "Installing node modules"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  printf '%s\n' "$lock" >node_modules/.switchover-lock
fi

say "Building"
node_modules/.bin/buf generate >&2
npm run -s compile >&2
