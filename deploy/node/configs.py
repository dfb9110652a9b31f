"""The configuration that the node's parts read."""

from __future__ import annotations

import platform

from deploy.node import layout as at
from deploy.node.layout import Layout


def make_configs(layout: Layout) -> dict[str, str]:
    """Return the files that the parts read: path below ``<state>/etc`` -> text."""
    socket = f"{layout.run}/private/containerd/containerd.sock"
    return {
        "containerd.toml": _containerd(layout, socket),
        f"registries/{at.REGISTRY}/hosts.toml": _REGISTRY_HOST,
        "cni/10-node.conflist": _network(layout),
        "kubelet.yaml": _kubelet(layout, socket),
        "kube-proxy.yaml": _proxy(layout),
        "registry.yaml": _registry(layout),
        "ganesha.conf": _nfs(layout),
    }


_REGISTRY_HOST = f"""\
server = "http://{at.REGISTRY}"
[host."http://{at.REGISTRY}"]
  capabilities = ["pull", "resolve"]
"""


def _containerd(layout: Layout, socket: str) -> str:
    return f"""\
version = 2
root = "{layout.data}/containerd"
state = "{layout.run}/private/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE a lower score cannot be set, and runc gives up.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{layout.root}/cni/bin"
    conf_dir = "{layout.etc}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{layout.etc}/registries"
"""


def _network(layout: Layout) -> str:
    return f"""\
{{"cniVersion": "0.3.1", "name": "node", "plugins": [
  {{"type": "calico", "log_level": "warning", "log_file_path": "{layout.logs}/calico-cni.log",
    "datastore_type": "kubernetes", "nodename": "{at.NODE_NAME}", "nodename_file_optional": true,
    "mtu": 1500, "policy": {{"type": "k8s"}},
    "kubernetes": {{"kubeconfig": "{layout.etc}/super-admin.conf"}},
    "ipam": {{"type": "host-local", "subnet": "{at.POD_RANGE}",
             "dataDir": "{layout.run}/private/cni"}}}},
  {{"type": "portmap", "snat": true, "capabilities": {{"portMappings": true}}}}]}}
"""


def _kubelet(layout: Layout, socket: str) -> str:
    return f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {layout.pki}/ca.crt}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{at.CGROUP}
failSwapOn: false
failCgroupV1: false
containerRuntimeEndpoint: unix://{socket}
clusterDNS: [{at.DNS_ADDRESS}]
clusterDomain: cluster.local
resolvConf: {layout.etc}/resolv.conf
podLogsDir: {layout.logs}/pods
serializeImagePulls: false
# The disk is shared with the machine's owner: what is not asked away stays.
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
"""


def _proxy(layout: Layout) -> str:
    return f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {at.POD_NETWORK}
hostnameOverride: {at.NODE_NAME}
clientConnection: {{kubeconfig: {layout.etc}/kube-proxy.conf}}
conntrack: {{maxPerCore: 0}}
"""


def _registry(layout: Layout) -> str:
    return f"""\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {layout.data}/registry}}
  delete: {{enabled: true}}
http: {{addr: "{at.NODE_ADDRESS}:{at.REGISTRY_PORT}"}}
"""


def _nfs(layout: Layout) -> str:
    return f"""\
NFS_CORE_PARAM {{
  Bind_addr = {at.NFS_SERVER};
  NFS_Port = {at.NFS_PORT};
  MNT_Port = {at.MOUNTD_PORT};
  Protocols = 3, 4;
  # Clients of either version mount the export by one name.
  mount_path_pseudo = true;
  Enable_UDP = false;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Plugins_Dir = {layout.debian}/usr/lib/{platform.machine()}-linux-gnu/ganesha;
}}
NFSv4 {{
  # Nobody waits after a start for locks of a life before: none is kept here.
  Graceless = true;
  Lease_Lifetime = 10;
  RecoveryBackend = fs;
  RecoveryRoot = {layout.run}/private/nfs;
  UseGetpwnam = true;
  Only_Numeric_Owners = true;
}}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
  Export_Id = 1;
  Path = {layout.exported};
  Pseudo = {at.NFS_EXPORT};
  Access_Type = RW;
  # The provisioner makes homes as root, and gives them away.
  Squash = No_Root_Squash;
  SecType = sys;
  Protocols = 3, 4;
  Transports = TCP;
  # Nothing is taken for known: this machine's owner may put files there too.
  Attr_Expiration_Time = 0;
  FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = WARN; }}
"""
