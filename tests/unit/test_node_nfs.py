"""The local node's NFS: its server's settings, and what mounts it on which kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.node import layout as at
from deploy.node import mounts, packages, preflight
from deploy.node.configs import make_configs
from deploy.node.layout import Layout
from deploy.node.parts import parts

LAYOUT = Layout(Path("/state"))
CONFIG = make_configs(LAYOUT)["ganesha.conf"]


def settings() -> dict[str, str]:
    """Return every setting of the server's configuration, whichever block it is in."""
    found = {}
    for line in CONFIG.replace("{", "\n").replace("}", "\n").splitlines():
        name, equals, value = line.strip().partition(" = ")
        if equals:
            found[name] = value.rstrip("; ")
    return found


def test_the_server_exports_one_directory_to_whom_the_walls_let_in() -> None:
    found = settings()
    assert found["Path"] == str(LAYOUT.exported) == "/state/data/nfs/homes"
    assert found["Pseudo"] == at.NFS_EXPORT == "/homes"
    assert found["Bind_addr"] == at.NFS_SERVER == at.NODE_ADDRESS
    assert found["Squash"] == "No_Root_Squash"
    assert found["SecType"] == "sys"
    assert found["Protocols"] == "3, 4"
    assert CONFIG.count("EXPORT {") == 1


def test_a_restarted_server_answers_at_once() -> None:
    assert settings()["Graceless"] == "true"


def test_what_the_server_keeps_is_gone_with_the_node_and_what_it_serves_is_not() -> None:
    assert settings()["RecoveryRoot"].startswith(f"{LAYOUT.run}/")
    (server,) = [part for part in parts(LAYOUT) if part.name == "nfs-server"]
    assert f"{LAYOUT.run}/private/nfs/pid" in server.command
    assert LAYOUT.exported.is_relative_to(LAYOUT.data)


def test_the_server_outlives_kubelet_which_unmounts() -> None:
    # They are stopped in the reverse order.
    order = [part.name for part in parts(LAYOUT)]
    assert order.index("rpcbind") < order.index("nfs-server") < order.index("kubelet")


def pretend(monkeypatch: pytest.MonkeyPatch, *filesystems: str) -> None:
    """Let the kernel have just these file systems, and no modules."""
    monkeypatch.setattr(mounts, "_filesystems", lambda: set(filesystems))
    monkeypatch.setattr("shutil.which", lambda _: None)


def test_a_kernel_that_has_a_client_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "nfs", "fuse", "ext4")
    assert mounts.mount_helper() == mounts.KERNEL
    assert mounts.program(LAYOUT, mounts.KERNEL) == Path("/state/debian/sbin/mount.nfs")


def test_a_kernel_that_has_none_goes_through_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    # A server's file system is no client.
    pretend(monkeypatch, "nfsd", "fuse", "ext4")
    assert mounts.mount_helper() == mounts.FUSE
    program = mounts.program(LAYOUT, mounts.FUSE)
    assert program.is_relative_to(LAYOUT.builds)
    assert mounts.key() in program.parent.name


def test_a_module_is_loaded_before_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"ext4"}
    monkeypatch.setattr(mounts, "_filesystems", lambda: set(there))
    monkeypatch.setattr("shutil.which", lambda name: f"/sbin/{name}")

    def load(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[0] == "modprobe"
        there.add(command[1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", load)
    assert mounts.mount_helper() == mounts.KERNEL


def test_both_kinds_of_nfs_are_mounted_by_the_program(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for helper in (mounts.FUSE, mounts.KERNEL):
        mounts.link(layout, helper)
        for name in ("mount.nfs", "mount.nfs4"):
            assert (layout.sbin / name).readlink() == mounts.program(layout, helper)


def test_a_kernel_without_a_client_and_without_fuse_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, "overlay", "fuse")
    monkeypatch.setattr(preflight, "_FUSE_DEVICE", tmp_path / "fuse")
    with pytest.raises(DeployError) as caught:
        preflight.check(Layout(tmp_path / "state"))
    (lack,) = [it for it in str(caught.value).split(" | ") if "NFS" in it]
    assert f"nor {tmp_path / 'fuse'}: load the module" in lack
    assert "give it the device" in lack


@pytest.mark.parametrize(
    "filesystems", [("overlay", "nfs"), ("overlay", "fuse")], ids=["client", "fuse"]
)
def test_either_way_to_mount_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, filesystems: tuple[str, ...]
) -> None:
    pretend(monkeypatch, *filesystems)
    device = tmp_path / "fuse"
    if "fuse" in filesystems:
        device.touch()
    monkeypatch.setattr(preflight, "_FUSE_DEVICE", device)
    with pytest.raises(DeployError) as caught:
        # Without programs it lacks others.
        preflight.check(Layout(tmp_path / "state"))
    assert "NFS" not in str(caught.value)


def test_the_libraries_of_a_package_are_told_from_its_services() -> None:
    depends = (
        "dbus, nfs-common, rpcbind, libacl1 (>= 2.2.23), libc6 (>= 2.34), libnfsidmap1:any, "
        "liba | libb, python3, lsb-base (>= 4.1+Debian3)\n"
    )
    assert packages.libraries_of(depends) == {"libacl1", "libc6", "libnfsidmap1", "liba"}


class Debian:
    """Stands in for apt-get and dpkg: what was downloaded and installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.downloads: list[tuple[str, ...]] = []
        self.installed: set[str] = set()
        monkeypatch.setattr(packages, "_apt", self._apt)
        monkeypatch.setattr(packages, "call", self._call)
        monkeypatch.setattr(packages, "install", lambda _, names: self.installed.update(names))

    def _apt(self, *words: str, cwd: Path | None = None) -> None:
        if words[0] == "download":
            assert cwd is not None
            self.downloads.append(words[1:])
            for name in words[1:]:
                (cwd / f"{name}_1_all.deb").touch()

    def _call(self, command: list[str | Path], _: str) -> str:
        return "libc6, adduser" if command[0] == "dpkg-deb" else ""


def test_what_is_unpacked_is_unpacked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    debian, layout = Debian(monkeypatch), Layout(tmp_path)
    packages.unpack(layout)
    packages.unpack(layout)
    assert debian.downloads == [packages.UNPACKED]
    assert debian.installed == {"libc6"}


def test_what_an_older_checkout_unpacked_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    debian, layout = Debian(monkeypatch), Layout(tmp_path)
    # It left no list of what it had unpacked.
    (layout.debian / "usr").mkdir(parents=True)
    packages.unpack(layout)
    assert debian.downloads == [packages.UNPACKED]
    assert not (layout.debian / "usr").exists()
    monkeypatch.setattr(packages, "UNPACKED", (*packages.UNPACKED, "another"))
    packages.unpack(layout)
    assert debian.downloads[-1][-1] == "another"
    assert [path.name for path in tmp_path.iterdir()] == ["debian"]
