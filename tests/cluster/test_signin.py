"""Signing in by HTTP."""

from __future__ import annotations

import secrets

import pytest

from deploy.person import Person, Refused
from tests.cluster.people import Hub


def test_right_password_opens_the_hub(hub: Hub) -> None:
    name = f"signin-{secrets.token_hex(2)}"
    try:
        with Person(hub.url, name) as person:
            person.sign_in(hub.password)
            page = person.send("GET", "/hub/spawn", "opening the spawn page").text
            assert 'name="image_profile" value="cpu"' in page
            assert 'name="image_profile" value="gpu"' in page
            assert person.model()["name"] == name
    finally:
        hub.call("DELETE", f"users/{name}").raise_for_status()


@pytest.mark.parametrize("password", ["wrong", ""])
def test_wrong_password_is_refused(hub: Hub, password: str) -> None:
    name = f"signin-{secrets.token_hex(2)}"
    with Person(hub.url, name) as person:
        with pytest.raises(Refused, match="Invalid username or password") as refused:
            person.sign_in(password)
        assert refused.value.status == 403
        with pytest.raises(Refused) as unknown:
            person.model()
        assert unknown.value.status == 403
    assert hub.call("GET", f"users/{name}").status_code == 404


def test_a_form_without_its_token_is_refused(hub: Hub) -> None:
    with Person(hub.url, "signin") as person:
        form = {"username": "signin", "password": hub.password}
        with pytest.raises(Refused) as refused:
            person.send("POST", "/hub/login", "signing in", data=form)
    assert refused.value.status == 403
