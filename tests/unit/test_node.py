"""The local node, as far as it can be told without one."""

from __future__ import annotations

import configparser
import io
import json
import socket
import tarfile
from pathlib import Path

import pytest
import yaml

from deploy.commands import call
from deploy.errors import DeployError
from deploy.node import crashes, network, objects, preflight, programs
from deploy.node import layout as at
from deploy.node.archives import make_archive
from deploy.node.configs import make_configs
from deploy.node.layout import Layout
from deploy.node.parts import make_supervisor_config, parts

LAYOUT = Layout(Path("/state"))


def test_every_part_is_supervised_and_started_again() -> None:
    config = configparser.RawConfigParser()
    config.read_string(make_supervisor_config(LAYOUT))
    for part in parts(LAYOUT):
        section = config[f"program:{part.name}"]
        assert section["command"].split()[0] == part.command[0]
        assert section.getboolean("autorestart")
        assert section.getboolean("autostart") is not part.needs_api
        # Supervisor takes a percent sign for the start of an expansion.
        assert "%" not in section["command"] + section["environment"]


def test_what_the_api_server_needs_does_not_wait_for_it() -> None:
    first = {part.name for part in parts(LAYOUT) if not part.needs_api}
    servers = {"registry", "hub-port", "rpcbind", "nfs-server"}
    assert first == {"containerd", "etcd", "kube-apiserver", *servers}


def test_every_program_that_a_part_calls_is_on_the_nodes_path() -> None:
    ours = {name for program in programs.PROGRAMS for name in program.links}
    unpacked = {"containerd", "docker-registry", "ganesha.nfsd", "rpcbind"}
    machine = {"nsenter"}
    assert {part.command[0] for part in parts(LAYOUT)} <= ours | unpacked | machine


def test_the_hub_is_offered_on_the_loopback_address_alone() -> None:
    (port,) = [part for part in parts(LAYOUT) if part.name == "hub-port"]
    assert f"TCP-LISTEN:{at.HUB_PORT},bind=127.0.0.1,fork,reuseaddr" in port.command


@pytest.mark.parametrize("name", ["kubelet.yaml", "kube-proxy.yaml", "registry.yaml"])
def test_configurations_are_yaml(name: str) -> None:
    assert isinstance(yaml.safe_load(make_configs(LAYOUT)[name]), dict)


def test_the_network_of_pods_is_json_for_calico() -> None:
    network_list = json.loads(make_configs(LAYOUT)["cni/10-node.conflist"])
    assert [plugin["type"] for plugin in network_list["plugins"]] == ["calico", "portmap"]


def test_nothing_of_the_state_is_outside_its_directory() -> None:
    for name, text in make_configs(LAYOUT).items():
        for word in text.replace('"', " ").replace(";", " ").split():
            outside = word.startswith("/") and not word.startswith("/state/")
            # Neither is a path of the machine.
            assert not outside or word in (f"/{at.CGROUP}", at.NFS_EXPORT), f"{name}: {word}"


def test_an_archive_is_one_program_and_the_same_every_time(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    archive = make_archive("localhost/pause:1", program, ("-P",))
    assert archive == make_archive("localhost/pause:1", program, ("-P",))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (manifest,) = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        config = json.load(tar.extractfile(manifest["Config"]) or io.BytesIO())
        layer = tar.extractfile(manifest["Layers"][0])
        with tarfile.open(fileobj=layer) as files:
            assert files.getnames() == ["pause"]
            assert files.getmember("pause").mode == 0o755
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["config"]["Entrypoint"] == ["/pause", "-P"]
    assert config["config"]["User"] != "0:0"


def test_a_crash_keeps_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "kubelet.log").write_text("".join(f"line {n}\n" for n in range(100)))
    event = crashes.fields("processname:kubelet groupname:kubelet expected:0 pid:7")
    crashes.keep(tmp_path, event)
    kept = (tmp_path / "kubelet.crash").read_text().splitlines()
    assert kept[0].startswith("crashed at ")
    assert kept[-1] == "line 99"
    assert len(kept) == 13


def test_a_change_of_any_source_or_flag_is_another_build(tmp_path: Path) -> None:
    class Moved(programs.Program):
        @property
        def source(self) -> Path:
            return tmp_path

    (tmp_path / "main.go").write_text("package main\n")
    before = Moved("x", ("x",)).key()
    assert Moved("x", ("x",)).key() == before
    assert Moved("x", ("x",), flags=("-tags=y",)).key() != before
    (tmp_path / "go.sum").write_text("")
    assert Moved("x", ("x",)).key() != before


@pytest.mark.parametrize(("given", "expected"), [("0", 0), ("2", 2), ("8", 8)])
def test_gpus_are_as_many_as_asked_for(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: int
) -> None:
    monkeypatch.setenv("GPUS", given)
    assert objects.gpus() == expected


@pytest.mark.parametrize("given", ["two", "-1", "1.5"])
def test_gpus_that_are_no_number_are_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("GPUS", given)
    with pytest.raises(DeployError, match="is no number"):
        objects.gpus()


def test_a_machine_without_go_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "_root", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(preflight, "_namespaces", lambda: None)
    with pytest.raises(DeployError) as caught:
        preflight.check(Layout(tmp_path / "state"))
    assert "no Go: install it" in str(caught.value)
    assert "no apt-get" in str(caught.value)
    assert not (tmp_path / "state").exists()


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(preflight, "HUB_PORT", port)
        with pytest.raises(DeployError, match=f"something listens on 127.0.0.1:{port} already"):
            preflight.check(Layout(tmp_path / "state"))


def test_a_person_who_is_not_root_hears_only_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(DeployError) as caught:
        preflight.check(Layout(tmp_path / "state"))
    assert "not root" in str(caught.value)
    assert "no Go" not in str(caught.value)


def test_a_failed_command_says_what_it_said() -> None:
    with pytest.raises(DeployError, match=r"sh -c .*: no such thing; look again"):
        call(["sh", "-c", "echo no such thing >&2; exit 3"], "look again")


def test_the_init_assignments_are_what_a_shell_reads(tmp_path: Path) -> None:
    file = tmp_path / "init.env"
    file.write_text(network.init_assignments(LAYOUT))
    printed = call(["sh", "-euc", f'. {file}; echo "$RUN $SUPERVISORD_CONF"'], "mend it")
    assert printed.split() == ["/state/run", "/state/etc/supervisord.conf"]
