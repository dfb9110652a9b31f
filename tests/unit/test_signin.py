"""Signing in, as registries of several makers ask for it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from kfspawner.packaging.signin import Credentials, SignIn

ALICE = Credentials("alice", "s3cret-password")


def answer(
    challenge: list[str], credentials: Credentials | None = ALICE
) -> tuple[bool, str | None, list[httpx.Request]]:
    """Return whether to ask again, with which header, and what the token service was asked."""
    asked: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"access_token": "t0ken"})

    sign_in = SignIn(httpx.URL("https://registry.example"), credentials)
    first = httpx.Request("GET", "https://registry.example/v2/team/app/manifests/1")
    headers = [("WWW-Authenticate", line) for line in challenge]
    response = httpx.Response(401, headers=headers, request=first)
    with httpx.Client(transport=httpx.MockTransport(serve)) as client:
        again = sign_in.answer(response, "team/app", client, "reading team/app")
    second = httpx.Request("GET", first.url)
    sign_in.sign(second, "team/app")
    return again, second.headers.get("Authorization"), asked


@pytest.mark.parametrize(
    ("challenge", "url", "query"),
    [
        (  # Docker Hub
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:team/app:pull,push"'
            ),
            "https://auth.docker.io/token",
            {"service": ["registry.docker.io"], "scope": ["repository:team/app:pull,push"]},
        ),
        (  # GitHub
            'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:team/app:pull"',
            "https://ghcr.io/token",
            {"service": ["ghcr.io"], "scope": ["repository:team/app:pull"]},
        ),
        (  # Aliyun: a service with colons and a realm with a region
            (
                'Bearer realm="https://dockerauth.cn-hangzhou.aliyuncs.com/auth",'
                'service="registry.aliyuncs.com:cn-hangzhou:26842",scope="repository:team/app:pull"'
            ),
            "https://dockerauth.cn-hangzhou.aliyuncs.com/auth",
            {
                "service": ["registry.aliyuncs.com:cn-hangzhou:26842"],
                "scope": ["repository:team/app:pull"],
            },
        ),
        (  # two repositories, as for a mount
            (
                'Bearer realm="https://r.example/t",scope="repository:team/app:pull,push '
                'repository:base:pull"'
            ),
            "https://r.example/t",
            {"scope": ["repository:base:pull", "repository:team/app:pull,push"]},
        ),
        (  # spaces, and nothing quoted
            "bearer  realm=https://r.example/t , service=x",
            "https://r.example/t",
            {"service": ["x"]},
        ),
    ],
)
@pytest.mark.parametrize("credentials", [ALICE, None])
def test_a_token_is_asked_for(
    challenge: str, url: str, query: dict[str, list[str]], credentials: Credentials | None
) -> None:
    again, header, (asked,) = answer([challenge], credentials)
    assert again
    assert header == "Bearer t0ken"
    assert str(asked.url).partition("?")[0] == url
    assert parse_qs(urlsplit(str(asked.url)).query) == query
    assert asked.headers.get("Authorization") == (credentials.basic if credentials else None)


def test_amazon_asks_for_a_password() -> None:
    challenge = (
        'Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"'
    )
    assert answer([challenge]) == (True, ALICE.basic, [])
    assert answer([challenge], None) == (False, None, [])


@pytest.mark.parametrize(
    "challenge",
    [
        ['Bearer realm="https://r.example/t"', 'Basic realm="Registry Realm"'],
        ['Basic realm="Registry Realm"', 'Bearer realm="https://r.example/t"'],
        ['Basic realm="Registry Realm", Bearer realm="https://r.example/t"'],
        ["Negotiate", 'Bearer realm="https://r.example/t", Basic'],
    ],
)
def test_of_several_ways_the_token_is_taken(challenge: list[str]) -> None:
    again, header, (asked,) = answer(challenge)
    assert (again, header, asked.url.host) == (True, "Bearer t0ken", "r.example")


@pytest.mark.parametrize("challenge", [[], [""], ["Negotiate"], ['Digest realm="Basic x"'], ["x,"]])
def test_other_ways_are_not_tried(challenge: list[str]) -> None:
    assert answer(challenge) == (False, None, [])
