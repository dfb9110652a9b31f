"""The node's parts, and how each is started."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.node import layout as at
from deploy.node.layout import Layout


@dataclass(frozen=True)
class Part:
    """One supervised process.

    Attributes
    ----------
    name
        What ``status`` calls it, and its log.
    command
        Its arguments; the first is found on the node's PATH.
    environment
        What it needs beyond the supervisor's own environment.
    needs_api
        Whether it gives up when the API server does not answer yet, and so is
        started after it.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    needs_api: bool = True


def parts(layout: Layout) -> list[Part]:
    """Return the parts in the order of their start."""
    return [
        Part(
            "containerd",
            ("containerd", "--config", f"{layout.etc}/containerd.toml"),
            needs_api=False,
        ),
        # Before kubelet, and so stopped after it. -s makes it the user `daemon`, which every
        # machine has; Debian's own user for it comes with an installation.
        Part("rpcbind", ("rpcbind", "-f", "-s"), needs_api=False),
        _nfs_server(layout),
        _etcd(layout),
        _api_server(layout),
        _controllers(layout),
        Part(
            "kube-scheduler",
            ("kube-scheduler", f"--kubeconfig={layout.etc}/scheduler.conf", "--leader-elect=false"),
        ),
        _kubelet(layout),
        Part("kube-proxy", ("kube-proxy", f"--config={layout.etc}/kube-proxy.yaml")),
        _felix(layout),
        Part(
            "local-volumes",
            (
                "local-volumes",
                f"--kubeconfig={layout.etc}/local-volumes.conf",
                f"--root={layout.data}/volumes",
            ),
        ),
        Part(
            "registry",
            ("docker-registry", "serve", f"{layout.etc}/registry.yaml"),
            needs_api=False,
        ),
        Part(
            "hub-port",
            (
                "nsenter",
                f"--net={layout.run}/private/machine",
                "socat",
                f"TCP-LISTEN:{at.HUB_PORT},bind=127.0.0.1,fork,reuseaddr",
                f"TCP:{at.NODE_ADDRESS}:{at.HUB_NODE_PORT}",
            ),
            needs_api=False,
        ),
    ]


def _nfs_server(layout: Layout) -> Part:
    return Part(
        "nfs-server",
        (
            "ganesha.nfsd",
            "-F",
            "-f",
            f"{layout.etc}/ganesha.conf",
            "-L",
            "STDOUT",
            "-p",
            f"{layout.run}/private/nfs/pid",
        ),
        {"LD_LIBRARY_PATH": f"{layout.debian}/usr/lib/ganesha"},
        needs_api=False,
    )


def _etcd(layout: Layout) -> Part:
    pki = layout.pki / "etcd"
    return Part(
        "etcd",
        (
            "etcd",
            f"--data-dir={layout.data}/etcd",
            "--listen-client-urls=https://127.0.0.1:2379",
            "--advertise-client-urls=https://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            f"--cert-file={pki}/server.crt",
            f"--key-file={pki}/server.key",
            "--client-cert-auth",
            f"--trusted-ca-file={pki}/ca.crt",
        ),
        needs_api=False,
    )


def _api_server(layout: Layout) -> Part:
    pki = layout.pki
    return Part(
        "kube-apiserver",
        (
            "kube-apiserver",
            f"--advertise-address={at.NODE_ADDRESS}",
            "--secure-port=6443",
            "--etcd-servers=https://127.0.0.1:2379",
            f"--etcd-cafile={pki}/etcd/ca.crt",
            f"--etcd-certfile={pki}/apiserver-etcd-client.crt",
            f"--etcd-keyfile={pki}/apiserver-etcd-client.key",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
            # Otherwise logs and exec would look the node's name up in DNS.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            f"--service-cluster-ip-range={at.SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
            "--allow-privileged=true",
        ),
        needs_api=False,
    )


def _controllers(layout: Layout) -> Part:
    return Part(
        "kube-controller-manager",
        (
            "kube-controller-manager",
            f"--kubeconfig={layout.etc}/controller-manager.conf",
            f"--service-account-private-key-file={layout.pki}/sa.key",
            f"--root-ca-file={layout.pki}/ca.crt",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={at.POD_NETWORK}",
            f"--service-cluster-ip-range={at.SERVICE_NETWORK}",
            f"--cluster-signing-cert-file={layout.pki}/ca.crt",
            f"--cluster-signing-key-file={layout.pki}/ca.key",
            # The default of 20 calls per second binds a hundred claims in half a minute.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ),
    )


def _kubelet(layout: Layout) -> Part:
    return Part(
        "kubelet",
        (
            "kubelet",
            f"--config={layout.etc}/kubelet.yaml",
            f"--kubeconfig={layout.etc}/kubelet.conf",
            f"--hostname-override={at.NODE_NAME}",
            f"--node-ip={at.NODE_ADDRESS}",
            f"--root-dir={layout.data}/kubelet",
            f"--cert-dir={layout.data}/kubelet/pki",
        ),
    )


def _felix(layout: Layout) -> Part:
    settings = {
        "DATASTORETYPE": "kubernetes",
        "FELIXHOSTNAME": at.NODE_NAME,
        "LOGSEVERITYSCREEN": "warning",
        "LOGFILEPATH": "none",
        "LOGSEVERITYFILE": "none",
        "LOGSEVERITYSYS": "none",
        "IPTABLESBACKEND": "NFT",
        "IPV6SUPPORT": "false",
        "IPINIPENABLED": "false",
        "USAGEREPORTINGENABLED": "false",
        "DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
        "PROMETHEUSMETRICSENABLED": "false",
        "BPFENABLED": "false",
        "WIREGUARDENABLED": "false",
    }
    environment = {f"FELIX_{name}": value for name, value in settings.items()}
    environment |= {
        "DATASTORE_TYPE": "kubernetes",
        "KUBECONFIG": f"{layout.etc}/super-admin.conf",
    }
    return Part("felix", ("calico-felix",), environment)


def make_supervisor_config(layout: Layout) -> str:
    """Return the supervisor's configuration: every part, started again when it ends."""
    path = f"{layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    sections = [
        f"""\
[supervisord]
logfile = {layout.logs}/supervisord.log
pidfile = {layout.run}/supervisord.pid
childlogdir = {layout.logs}
user = root
environment = PATH="{path}"

[unix_http_server]
file = {layout.supervisor_socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{layout.supervisor_socket}

[eventlistener:crashes]
command = {layout.venv}/bin/python {layout.etc}/crashes.py {layout.logs}
events = PROCESS_STATE_EXITED
stdout_logfile = NONE
stderr_logfile = {layout.logs}/crashes.log
"""
    ]
    for order, part in enumerate(parts(layout), start=1):
        environment = ",".join(f'{name}="{value}"' for name, value in part.environment.items())
        sections.append(
            f"""\
[program:{part.name}]
command = {" ".join(part.command)}
environment = {environment}
priority = {order}
autostart = {str(not part.needs_api).lower()}
autorestart = true
startretries = 100000
stdout_logfile = {layout.logs}/{part.name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 1
redirect_stderr = true
"""
        )
    return "\n".join(sections)
