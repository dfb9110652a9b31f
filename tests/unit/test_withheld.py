from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfspawner.errors import SourceRefused
from kfspawner.packaging.withheld import check_withheld, why_withheld

SECRETS = [
    ".aws/credentials",
    ".docker/config.json",
    ".dockerconfigjson",
    ".env",
    ".env.production",
    ".git-credentials",
    ".git/config",
    ".gnupg/secring.gpg",
    ".kube/config",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh/known_hosts",
    "api_token",
    "application_default_credentials.json",
    "client.p12",
    "hf.token",
    "id_ed25519",
    "id_rsa.pub",
    "id_work",
    "server.key",
    "server.pem",
    "token",
]
CODE = [
    "credentials.py",
    "data/tokens.txt",
    "environment.yml",
    "git/a.py",
    "id_map.py",
    "keys/a.csv",
    "model/token/a.py",
    "tokenizer.json",
    "train.ipynb",
    "x.env/a.py",
]


@given(
    st.lists(st.sampled_from(["src", "data", "a b", "ü"]), max_size=3),
    st.sampled_from(SECRETS),
    st.lists(st.sampled_from(CODE), unique=True),
    st.sampled_from([str, str.upper, str.title]),
)
def test_secrets_are_refused_wherever_they_are(
    above: list[str], secret: str, others: list[str], spell: Callable[[str], str]
) -> None:
    path = "/".join([*above, spell(secret)])
    paths = [path, *others]
    random.shuffle(paths)
    with pytest.raises(SourceRefused) as refused:
        check_withheld(paths)
    assert repr(path) in str(refused.value)


@given(st.lists(st.sampled_from(CODE), unique=True))
def test_code_and_data_go_along(paths: list[str]) -> None:
    check_withheld(paths)


@pytest.mark.parametrize(
    ("name", "directory", "said"),
    [
        (".git", True, "history"),
        (".git", False, "history"),
        (".env", True, "passwords"),
        (".aws", True, "credentials"),
        ("token", False, "token"),
        ("token", True, None),
        ("id_rsa", True, None),
        ("id_rsa", False, "key"),
    ],
)
def test_names(name: str, *, directory: bool, said: str | None) -> None:
    why = why_withheld(name, directory=directory)
    assert why is None if said is None else said in (why or "")
