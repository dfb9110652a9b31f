#!/bin/sh
# requirements-torch.sh none|pypi|debian: put PyTorch into /opt/venv.
set -eu
case "$1" in
none) ;;
pypi)
    pip install --quiet --no-compile ${KFSPAWNER_TORCH_INDEX:+--index-url "$KFSPAWNER_TORCH_INDEX"} \
        -c /run/image/requirements.txt -r /run/image/requirements-torch.txt
    ;;
debian)
    set -- -o Dir::Etc::SourceList=/run/host/sources.list -o Dir::Etc::SourceParts=/dev/null
    export APT_CONFIG=/run/host/apt.conf DEBIAN_FRONTEND=noninteractive
    apt-get -q "$@" update
    apt-get -q "$@" install --yes --no-install-recommends python3-torch
    apt-get clean
    rm -rf /var/lib/apt/lists/*
    # Only torch is to be seen from the environment, not all that Debian brings with it.
    for part in /usr/lib/python3/dist-packages/torch*; do
        ln -s "$part" /opt/venv/lib/python3.11/site-packages/
    done
    ;;
*)
    echo "TORCH=$1 is neither none, pypi nor debian" >&2
    exit 2
    ;;
esac
