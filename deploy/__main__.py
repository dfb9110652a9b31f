"""``python3 -m deploy {up|down|clean|status|env|…}``: kfspawner, here or on a cluster.

CONTEXT=<kubeconfig context> and REGISTRY=<host/prefix> choose a cluster that is
there already instead of a node of this machine's own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from deploy import hub, images
from deploy.errors import DeployError
from deploy.node import lifecycle, mounts, objects, packages, preflight, programs
from deploy.node.layout import Layout
from deploy.steps import Steps
from deploy.target import Target


def target_of(layout: Layout) -> Target:
    """Return the target that the environment asks for."""
    context = os.environ.get("CONTEXT", "")
    if context:
        return Target.existing(layout, context, os.environ.get("REGISTRY", ""))
    return Target.local(layout)


def up(layout: Layout, steps: Steps) -> None:
    """Bring everything up, from whatever state it is in."""
    local = not os.environ.get("CONTEXT")
    if local:
        preflight.check(layout)
    # To the end: two at once would make two sets of secrets.
    with lifecycle.locked(layout):
        if local:
            _bring_up_node(layout, steps)
        target = target_of(layout)
        _bring_up_hub(target, steps, simulated_gpus=local and objects.gpus() > 0)
        environment = layout.root / "hub.env"
        environment.touch(mode=0o600)
        environment.write_text(exports(target))
    print(f"\nhub: {target.hub_url}  (on this machine's loopback only)")
    print(f"sign in: any user name, password {target.secrets()['KFSPAWNER_PASSWORD']}")
    if local and objects.gpus():
        print(f"GPUs: {objects.gpus()}, simulated: counted by the scheduler, no device behind them")


def _bring_up_hub(target: Target, steps: Steps, *, simulated_gpus: bool) -> None:
    with steps.step("images in the registry"):
        references = images.build_all(
            target.registry, plain_http=target.plain_http, report=steps.say
        )
    with steps.step("hub"):
        hub.apply(target, references, simulated_gpus=simulated_gpus)
        if target.context:
            hub.forward(target)
        hub.wait_for_answer(target)


def _bring_up_node(layout: Layout, steps: Steps) -> None:
    with steps.step("Debian's packages"):
        packages.install(layout)
        packages.unpack(layout)
        if mounts.mount_helper() == mounts.FUSE:
            packages.install(layout, packages.COMPILER)
            mounts.build(layout)
    missing = [it for it in programs.PROGRAMS if not programs.built(layout, it).exists()]
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Images wait for downloads, the compiler for the processor: together
        # they take little longer than the compiler alone.
        building = pool.submit(images.build, report=steps.say) if missing else None
        for program in missing:
            with steps.step(f"compiling {program.name}") as progress:
                programs.build(layout, program, progress)
        with steps.step("node"):
            lifecycle.start(layout)
        if building is not None:
            with steps.step("images"):
                building.result()


def exports(target: Target) -> str:
    """Return shell lines that export the target's environment."""
    pairs = target.environment().items()
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in pairs)


def down(layout: Layout) -> None:
    """Stop; data stays. A cluster elsewhere goes on, only the way to it ends."""
    target = target_of(layout)
    if target.context:
        hub.stop_forwarding(target)
        return
    with lifecycle.locked(layout):
        lifecycle.stop(layout)


def clean(layout: Layout) -> None:
    """Remove everything that `up` made, on this machine or in the cluster."""
    if os.environ.get("CONTEXT"):
        target = target_of(layout)
        hub.stop_forwarding(target)
        for directory in (target.directory / "homes", target.directory):
            if (directory / "kustomization.yaml").exists():
                target.run_kubectl("delete", "-k", str(directory), "--ignore-not-found")
        shutil.rmtree(target.directory)
        print("people's namespaces, with their files, stay: kubectl get namespaces | grep ^kf-")
        return
    if layout.root.exists():
        with lifecycle.locked(layout):
            lifecycle.clean(layout)


def main(words: list[str]) -> int:
    """Run one command; return the exit status."""
    layout = Layout.from_env()
    match words:
        case ["up"]:
            up(layout, Steps())
        case ["down"]:
            down(layout)
        case ["clean"]:
            clean(layout)
        case ["status"]:
            return 0 if lifecycle.status(layout) else 1
        case ["env"]:
            print(exports(target_of(layout)), end="")
        case ["packages"]:
            packages.install(layout)
        case ["browser"]:
            packages.install(layout, packages.BROWSER)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped; run it again to go on")
