#!/bin/sh
# Prints the first Python on PATH that is new enough and can make a virtual environment.
for python in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
  if command -v "$python" >/dev/null &&
    "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    command -v "$python"
    exit 0
  fi
done
echo "no Python 3.11 or newer with venv was found; on Debian: apt-get install python3 python3-venv" >&2
exit 1
