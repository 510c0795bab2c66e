"""Secrets that carry a service account's token: filled in, kept right, gone with the account."""

import base64
import json
from typing import Any

from skiff.api.errors import NotFound
from skiff.api.resources import SECRETS, SERVICEACCOUNTS
from skiff.controllers.context import Options
from tests.controllers.world import Object, World, run

TYPE = "kubernetes.io/service-account-token"


def sign(claims: dict[str, Any]) -> str:
    return json.dumps(claims)


SIGNING = Options(ca_pem="CA", sign_token=sign)


def secret(name: str, account: str, annotations: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "annotations": {"kubernetes.io/service-account.name": account, **(annotations or {})},
        },
        "type": TYPE,
        "data": {"extra": "YmFy"},
    }


def account(name: str, **more: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, **more}


def decoded(obj: Object) -> dict[str, str]:
    return {k: base64.b64decode(v).decode() for k, v in obj["data"].items()}


async def filled(world: World, name: str) -> Object:
    async def check() -> Object | None:
        found = await world.client.get(SECRETS, name, "default")
        return found if "token" in found["data"] else None

    found: Object = await world.until(check)
    return found


async def gone(world: World, name: str) -> None:
    async def check() -> bool:
        try:
            await world.client.get(SECRETS, name, "default")
        except NotFound:
            return True
        return False

    await world.until(check)


def test_a_secret_gets_the_token_of_its_account() -> None:
    async def test(world: World) -> None:
        made = await world.client.create(SERVICEACCOUNTS, account("robot"), "default")
        await world.client.create(SECRETS, secret("s", "robot"), "default")
        found = await filled(world, "s")
        data = decoded(found)
        assert data["ca.crt"] == "CA"
        assert data["namespace"] == "default"
        assert data["extra"] == "bar"
        uid = made["metadata"]["uid"]
        assert found["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid
        assert json.loads(data["token"]) == {
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "default",
            "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": uid,
            "sub": "system:serviceaccount:default:robot",
        }
        broken = {"data": {"ca.crt": "eA==", "token": found["data"]["token"]}}
        await world.client.patch(SECRETS, "s", "default", broken, "merge")

        async def mended() -> bool:
            return decoded(await world.client.get(SECRETS, "s", "default"))["ca.crt"] == "CA"

        await world.until(mended)

    run(test, options=SIGNING)


def test_secrets_go_with_their_account() -> None:
    async def test(world: World) -> None:
        await world.client.create(SERVICEACCOUNTS, account("robot"), "default")
        await world.client.create(SERVICEACCOUNTS, account("other"), "default")
        await world.client.create(SECRETS, secret("s", "robot"), "default")
        await world.client.create(SECRETS, secret("o", "other"), "default")
        await filled(world, "s")
        await filled(world, "o")
        await world.client.delete(SERVICEACCOUNTS, "robot", "default")
        await gone(world, "s")
        assert "token" in (await world.client.get(SECRETS, "o", "default"))["data"]

    run(test, options=SIGNING)


def test_secrets_of_nobody_go() -> None:
    async def test(world: World) -> None:
        await world.client.create(SERVICEACCOUNTS, account("robot"), "default")
        await world.client.create(SECRETS, secret("unknown", "nobody"), "default")
        another = {"kubernetes.io/service-account.uid": "of-an-earlier-one"}
        await world.client.create(SECRETS, secret("stale", "robot", another), "default")
        await gone(world, "unknown")
        await gone(world, "stale")

    run(test, options=SIGNING)


def test_accounts_forget_secrets_that_go() -> None:
    async def test(world: World) -> None:
        mine = account("robot", secrets=[{"name": "s"}, {"name": "mine"}])
        await world.client.create(SERVICEACCOUNTS, mine, "default")
        await world.client.create(SECRETS, secret("s", "robot"), "default")
        await filled(world, "s")
        await world.client.delete(SECRETS, "s", "default")

        async def forgotten() -> bool:
            found = await world.client.get(SERVICEACCOUNTS, "robot", "default")
            return bool(found["secrets"] == [{"name": "mine"}])

        await world.until(forgotten)

    run(test, options=SIGNING)
