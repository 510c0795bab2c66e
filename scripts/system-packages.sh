#!/bin/sh
# Installs the Debian packages that a cluster with real containers needs, where they are missing and
# this is root; elsewhere says what is missing and goes on (nodes are simulated then).
# Services that packages would start stay off: the cluster starts its own.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
want=""
need() { # program-or-file package
  case "$1" in
    /*) test -e "$1" || want="$want $2" ;;
    *) command -v "$1" >/dev/null || want="$want $2" ;;
  esac
}

need containerd containerd
need runc runc
need nft nftables
need ip iproute2
need conntrack conntrack
need buildah buildah
need catatonit catatonit
need /usr/lib/cni/bridge containernetworking-plugins
need iptables iptables
need /bin/busybox busybox-static
need kubectl kubernetes-client
scripts/find-python.sh >/dev/null 2>&1 || want="$want python3 python3-venv"

test -n "$want" || exit 0
if test "$(id -u)" != 0; then
  echo "missing:$want (not root, so not installed): nodes will be simulated" >&2
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "missing:$want (no apt-get here): install them for real containers" >&2
  exit 0
fi
echo "installing$want"
policy=/usr/sbin/policy-rc.d
made=""
if ! test -e "$policy"; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=yes
fi
cleanup() { test -z "$made" || rm -f "$policy"; }
trap cleanup EXIT
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -q update && apt-get -q -y install --no-install-recommends $want; } </dev/null >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "apt-get could not install:$want" >&2
  exit 1
fi
rm -f "$log"
case "$want" in
  *kubernetes-client*) echo "kubectl was missing: installed Debian's, an old one (1.20)" ;;
esac
