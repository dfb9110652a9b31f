#!/bin/sh
# The node's first process: it lays out the node's mounts and network, then
# becomes the supervisor. It runs as process 1 of a process namespace and in a
# mount namespace of its own, still on the machine's network; when it ends,
# the kernel ends every process, mount and link that it led to.
#
# usage: init.sh <file of shell assignments>, see deploy/node/network.py
set -eu
. "$1"

# Kubelet's mounts must reach the pods; the machine's are private already.
mount --make-rshared /
# Container runtimes keep sockets and locks here, and would leave them behind.
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=0700 tmpfs /var/lib/cni
mkdir -p "$RUN/private"
mount -t tmpfs -o mode=0700 tmpfs "$RUN/private"
mkdir "$RUN/private/containerd" "$RUN/private/cni" "$RUN/private/nfs"
# mount(8) looks for mount.nfs there and nowhere else; the machine's own /sbin stays as it is.
sbin="$(readlink -f /sbin)"
mount -t overlay -o "ro,lowerdir=$SBIN:$sbin" overlay "$sbin"

# Two network namespaces by name: the machine's, for what listens on its
# loopback, and the node's.
touch "$RUN/private/machine" "$RUN/private/node"
mount --bind /proc/self/ns/net "$RUN/private/machine"
unshare --net="$RUN/private/node" true

in_node() { nsenter --net="$RUN/private/node" "$@"; }

# A pair of links, and nothing else, leads from one to the other.
in_node ip link add eth0 type veth peer name "$HOST_LINK" netns 1
ip address add "$HOST_ADDRESS/30" dev "$HOST_LINK"
ip link set "$HOST_LINK" up
in_node ip link set lo up
in_node ip address add "$NODE_ADDRESS/30" dev eth0
in_node ip link set eth0 up
in_node ip route add default via "$HOST_ADDRESS"
in_node sysctl -qw net.ipv4.ip_forward=1

# Service addresses are rewritten before they are routed, so they need a route;
# it ends in a bridge without ports, so that none of them ever leaves the node.
in_node ip link add services type bridge
in_node ip link set services up
in_node ip route add "$SERVICE_NETWORK" dev services

exec nsenter --net="$RUN/private/node" "$SUPERVISORD" --nodaemon --configuration "$SUPERVISORD_CONF"
