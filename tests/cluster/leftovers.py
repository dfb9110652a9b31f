"""What a run leaves behind, and how a refusal reads that leaves nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import httpx

from deploy.kernel import Execution, Kernel
from deploy.person import Person
from kfspawner.names import namespace_name
from tests.cluster.cluster import Cluster


@dataclass(frozen=True)
class Repository:
    """Where the person's run images go, asked from outside."""

    registry: str
    path: str

    @classmethod
    def of(cls, kernel: Kernel) -> Repository:
        """Return the one that the person's server pushes to."""
        said = kernel.execute("import os; print(os.environ['KFSPAWNER_REPOSITORY'])").text.strip()
        registry, _, path = said.partition("/")
        return cls(registry, path)

    def tags(self) -> set[str]:
        """Return the tags that are there."""
        answer = httpx.get(f"http://{self.registry}/v2/{self.path}/tags/list", trust_env=False)
        return set(answer.json().get("tags") or ()) if answer.status_code == 200 else set()

    def push_empty(self) -> str:
        """Push an image with nothing in it, and return its reference by digest."""
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": []},
                "config": {},
            }
        ).encode()
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        media = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": media,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest,
                    "size": len(config),
                },
                "layers": [],
            }
        ).encode()
        base = f"http://{self.registry}/v2/{self.path}"
        with httpx.Client(trust_env=False) as http:
            upload = http.post(f"{base}/blobs/uploads/").headers["Location"]
            where = httpx.URL(upload).copy_merge_params({"digest": digest})
            http.put(where, content=config).raise_for_status()
            pushed = http.put(
                f"{base}/manifests/empty", content=manifest, headers={"Content-Type": media}
            )
            pushed.raise_for_status()
        return f"{self.registry}/{self.path}@{pushed.headers['Docker-Content-Digest']}"


@dataclass(frozen=True)
class Left:
    """All that a run would leave behind."""

    jobs: frozenset[str]
    tags: frozenset[str]
    outputs: frozenset[str]

    @classmethod
    def now(cls, person: Person, cluster: Cluster, kernel: Kernel, profile: str = "") -> Left:
        """Return what is there now, in the person's own profile unless `profile` is given."""
        jobs = cluster.jobs(profile or namespace_name(person.name))
        outputs = person.listing("runs") if "runs" in person.listing() else set()
        return cls(
            frozenset(job["metadata"]["name"] for job in jobs),
            frozenset(Repository.of(kernel).tags()),
            frozenset(outputs),
        )


def check_paragraph(execution: Execution, error: str, *parts: str) -> None:
    """Check that all that is shown is one paragraph of the error `error`, with `parts` in it."""
    assert execution.error == error, execution.text
    (shown,) = execution.outputs
    assert shown.kind == "error"
    assert "\n\n" not in shown.text
    assert "Traceback" not in shown.text
    assert ": " in shown.text
    assert "; " in shown.text, "the way out"
    for part in parts:
        assert part in shown.text
