"""Who sent a request: certificates, tokens of each sort, anonymous, impersonation."""

import base64
import hashlib
import ssl

import pytest

from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Peer, Request
from skiff.api.errors import Forbidden, InternalError, Unauthorized
from skiff.api.resources import NODES, PODS, SECRETS, SERVICEACCOUNTS
from skiff.server.authn import jwt
from skiff.server.authn.bootstrap_tokens import BootstrapTokens
from skiff.server.authn.chain import ANONYMOUS, AuthenticationChain
from skiff.server.authn.impersonation import impersonate
from skiff.server.authn.static_tokens import parse_token_file
from skiff.server.authn.tokens import DEFAULT_ISSUER, Issuer, ServiceAccountTokens
from skiff.server.authz.chain import AuthorizationChain
from skiff.server.pki import certificates
from skiff.server.seams import Decision, User
from tests.server.objects import FakeObjects

NOW = 1_800_000_000.0
AUDIENCE = DEFAULT_ISSUER


class FixedClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeTls:
    def __init__(self, **subject: object) -> None:
        self.subject = subject

    def getpeercert(self):
        if not self.subject:
            return {}
        return {
            "subject": tuple(((k, v),) for k, vs in self.subject.items() for v in vs),
            "notAfter": "Jan 15 09:00:00 2027 GMT",
        }


@pytest.fixture(scope="module")
def key() -> bytes:
    return certificates.new_key()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def account(objects: FakeObjects) -> dict:
    return objects.put(SERVICEACCOUNTS, {"metadata": {"name": "bot", "namespace": "d"}})


@pytest.fixture
def issuer(key, clock) -> Issuer:
    return Issuer(jwt.Signer(lambda: key), clock, DEFAULT_ISSUER, [AUDIENCE], Entropy(1).uid)


@pytest.fixture
def tokens(objects, key, clock) -> ServiceAccountTokens:
    return ServiceAccountTokens(
        objects, clock, key_pems=lambda: [key], issuers=[DEFAULT_ISSUER], audiences=[AUDIENCE]
    )


@pytest.fixture
def chain(objects, clock, tokens) -> AuthenticationChain:
    static = parse_token_file('secret,admin,u1,"system:masters,ops"\n')
    return AuthenticationChain(
        clock,
        static_tokens=static,
        service_accounts=tokens,
        bootstrap_tokens=BootstrapTokens(objects, clock),
    )


def request(token: str = "", peer: Peer | None = None, **headers: str) -> Request:
    if token:
        headers["authorization"] = f"Bearer {token}"
    return Request("GET", "/", "", headers, b"", peer or Peer(("127.0.0.1", 5)))


def test_nobody_is_anonymous_unless_forbidden(chain, clock):
    assert chain(request()) == ANONYMOUS
    assert chain(request(authorization="Basic eDp5")) == ANONYMOUS
    with pytest.raises(Unauthorized, match="Unauthorized"):
        AuthenticationChain(clock, anonymous=False)(request())


def test_certificate_gives_name_and_groups_once_a_connection(chain, clock):
    tls = FakeTls(organizationName=["system:nodes", "x"], commonName=["system:node:n1"])
    peer = Peer(("127.0.0.1", 5), tls=tls)
    expected = User("system:node:n1", ("system:nodes", "x", "system:authenticated"))
    assert chain(request(peer=peer)) == expected
    tls.subject = {}
    assert chain(request(peer=peer)) == expected
    clock.time = ssl.cert_time_to_seconds("Jan 15 09:00:01 2027 GMT")
    with pytest.raises(Unauthorized):
        chain(request(peer=peer))


def test_certificates_show_which_they_are_and_may_name_a_uid(chain):
    tls = FakeTls(commonName=["jane"], **{"1.3.6.1.4.1.57683.2": ["1042"]})
    user = chain(request(peer=Peer(("127.0.0.1", 5), certificate=b"der", tls=tls)))
    assert (user.name, user.uid) == ("jane", "1042")
    digest = hashlib.sha256(b"der").hexdigest()
    assert user.extra == {"authentication.kubernetes.io/credential-id": (f"X509SHA256={digest}",)}
    tls = FakeTls(commonName=["jane"], **{"1.3.6.1.4.1.57683.2": ["1042", "1043"]})
    with pytest.raises(Unauthorized):
        chain(request(peer=Peer(("127.0.0.1", 5), tls=tls)))


def test_no_certificate_leaves_the_token(chain):
    peer = Peer(("127.0.0.1", 5), tls=FakeTls())
    assert chain(request(peer=peer)) == ANONYMOUS
    assert chain(request("secret", peer=peer)).name == "admin"


def test_static_tokens(chain):
    user = chain(request("secret"))
    assert user == User("admin", ("system:masters", "ops", "system:authenticated"), "u1")
    with pytest.raises(Unauthorized):
        chain(request("wrong"))
    with pytest.raises(ValueError, match="line 2: needs at least the 3 columns"):
        parse_token_file("a,b,c\nd,e\n")


def test_websocket_protocol_carries_a_token(chain):
    encoded = base64.urlsafe_b64encode(b"secret").rstrip(b"=").decode()
    protocols = f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"
    assert chain(request(**{"sec-websocket-protocol": protocols})).name == "admin"


def test_in_process_identity(chain):
    peer = Peer(("", 0), local=True, state={"user": ("system:kube-scheduler", ())})
    assert chain(request(peer=peer)) == User("system:kube-scheduler", ("system:authenticated",))


def test_a_remote_peer_cannot_claim_an_in_process_identity(chain):
    assert chain(request(peer=Peer(("10.0.0.9", 1), state={"user": ("root", ())}))) == ANONYMOUS


def test_service_account_token_says_who_and_where(chain, issuer, objects, account):
    pod = objects.put(PODS, {"metadata": {"name": "web", "namespace": "d"}, "spec": {}})
    node = objects.put(NODES, {"metadata": {"name": "n1"}})
    token, expires = issuer.issue(account, audiences=[AUDIENCE], lifetime_s=600, pod=pod, node=node)
    user = chain(request(token))
    assert expires == NOW + 600
    assert user.name == "system:serviceaccount:d:bot"
    assert user.groups == (
        "system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated",
    )  # fmt: skip
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)
    claims = jwt.unverified_claims(token)
    assert claims["kubernetes.io"]["pod"] == {"name": "web", "uid": "uid-pods-web"}


@pytest.mark.parametrize("gone", ["account", "pod", "pod replaced", "expired", "tampered", "key"])
def test_a_token_dies(chain, issuer, objects, account, clock, gone):
    pod = objects.put(PODS, {"metadata": {"name": "web", "namespace": "d"}, "spec": {}})
    token, _ = issuer.issue(account, audiences=[AUDIENCE], lifetime_s=600, pod=pod)
    assert chain(request(token)).name.endswith("bot")
    if gone == "account":
        objects.remove(SERVICEACCOUNTS, "bot", "d")
    elif gone == "pod":
        objects.remove(PODS, "web", "d")
    elif gone == "pod replaced":
        objects.put(PODS, {"metadata": {"name": "web", "namespace": "d", "uid": "2"}, "spec": {}})
    elif gone == "expired":
        clock.time += 661
    elif gone == "tampered":
        head, body, signature = token.split(".")
        changed = jwt._unb64(body).replace(b":bot", b":boss")
        token = ".".join((head, jwt._b64(changed), signature))
    else:
        other = Issuer(jwt.Signer(certificates.new_key), clock, DEFAULT_ISSUER, [], Entropy(2).uid)
        token, _ = other.issue(account, audiences=[AUDIENCE], lifetime_s=600)
    with pytest.raises(Unauthorized):
        chain(request(token))


def test_an_unrelated_change_of_the_account_keeps_the_token(chain, issuer, objects, account):
    token, _ = issuer.issue(account, audiences=[AUDIENCE], lifetime_s=600)
    assert chain(request(token))
    account["metadata"]["labels"] = {"a": "b"}
    objects.put(SERVICEACCOUNTS, account)
    assert chain(request(token))


def test_audiences(chain, issuer, account):
    token, _ = issuer.issue(account, audiences=["vault", "x"], lifetime_s=600)
    with pytest.raises(Unauthorized):
        chain(request(token))
    user, common = chain.review_token(token, frozenset({"vault", "y"}))
    assert user.name.endswith("bot") and common == {"vault"}


def test_a_secret_carries_a_token_without_end(chain, objects, key, account, clock):
    claim = "kubernetes.io/serviceaccount/"
    token = jwt.Signer(lambda: key).sign(
        {
            "iss": "kubernetes/serviceaccount",
            claim + "namespace": "d",
            claim + "secret.name": "s",
            claim + "service-account.name": "bot",
            claim + "service-account.uid": account["metadata"]["uid"],
            "sub": "system:serviceaccount:d:bot",
        }
    )
    held = {"token": base64.b64encode(token.encode()).decode()}
    secret = objects.put(SECRETS, {"metadata": {"name": "s", "namespace": "d"}, "data": held})
    clock.time += 10 * 365 * 24 * 3600
    assert chain(request(token)).name == "system:serviceaccount:d:bot"
    objects.put(SECRETS, secret | {"data": {"token": "b3RoZXI="}})
    with pytest.raises(Unauthorized):
        chain(request(token))
    objects.put(SECRETS, secret)
    assert chain(request(token))
    objects.remove(SECRETS, "s", "d")
    with pytest.raises(Unauthorized):
        chain(request(token))


def test_a_projected_token_is_extended(issuer, objects, account):
    pod = objects.put(PODS, {"metadata": {"name": "web", "namespace": "d"}, "spec": {}})
    token, told = issuer.issue(account, audiences=[AUDIENCE], lifetime_s=3607, pod=pod)
    claims = jwt.unverified_claims(token)
    assert told == NOW + 3607 and claims["kubernetes.io"]["warnafter"] == NOW + 3607
    assert claims["exp"] == NOW + 365 * 24 * 3600


def test_rsa_keys_sign_and_verify():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    key = jwt.VerifyingKey.from_pem(certificates.public_pem(pem))
    assert jwt.verify(jwt.Signer(lambda: pem).sign({"a": 1}), [key]) == {"a": 1}
    assert key.jwk()["kty"] == "RSA" and key.jwk()["e"] == "AQAB"


def test_tokens_agree_with_another_implementation(key, issuer, account):
    from joserfc import jwk
    from joserfc import jwt as other

    token, _ = issuer.issue(account, audiences=["x"], lifetime_s=600)
    public = jwk.import_key(jwt.VerifyingKey.from_pem(key).jwk())
    assert other.decode(token, public).claims["sub"] == "system:serviceaccount:d:bot"


def test_bootstrap_token(chain, objects, clock):
    def b64(text):
        return base64.b64encode(text.encode()).decode()

    data = {
        "token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true", "expiration": "2030-01-01T00:00:00Z",
        "auth-extra-groups": "system:bootstrappers:nodes",
    }  # fmt: skip
    secret = {
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: b64(v) for k, v in data.items()},
    }
    objects.put(SECRETS, secret)
    user = chain(request("abcdef.0123456789abcdef"))
    assert user.name == "system:bootstrap:abcdef"
    assert user.groups[:2] == ("system:bootstrappers", "system:bootstrappers:nodes")
    with pytest.raises(Unauthorized):
        chain(request("abcdef.0123456789abcdeX"))
    clock.time = 2_000_000_000.0
    with pytest.raises(Unauthorized):
        chain(request("abcdef.0123456789abcdef"))


# --- impersonation ----------------------------------------------------------------------------


class Allow:
    """Allows the listed (resource, name) pairs."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs

    def allowed(self, user, info):
        return Decision(info.verb == "impersonate" and (info.resource, info.name) in self.pairs)


ME = User("me", ("system:authenticated",))


def test_impersonation_gives_the_asked_identity():
    headers = {
        "impersonate-user": "jane", "impersonate-group": "devs, ops", "impersonate-uid": "7",
        "impersonate-extra-acme.com%2fproject": "x",
    }  # fmt: skip
    asked = Request("GET", "/", headers=headers, repeated={"impersonate-group": ["devs", "ops"]})
    authz = Allow(("users", "jane"), ("groups", "devs"), ("groups", "ops"), ("uids", "7"), ("userextras", "x"))  # fmt: skip
    user = impersonate(ME, asked, authz)
    assert user == User(
        "jane", ("devs", "ops", "system:authenticated"), "7", {"acme.com/project": ("x",)}
    )


def test_a_comma_is_part_of_what_is_impersonated():
    headers = {
        "impersonate-user": "jane",
        "impersonate-group": ",,,a",
        "impersonate-extra-k": "1,2",
    }
    authz = Allow(("users", "jane"), ("groups", ",,,a"), ("userextras", "1,2"))
    user = impersonate(ME, Request("GET", "/", headers=headers), authz)
    assert user == User("jane", (",,,a", "system:authenticated"), "", {"k": ("1,2",)})


def test_impersonation_is_asked_for_each_part():
    headers = {"impersonate-user": "jane", "impersonate-group": "admins"}
    with pytest.raises(Forbidden) as caught:
        impersonate(ME, Request("GET", "/", headers=headers), Allow(("users", "jane")))
    assert caught.value.message == (
        'groups "admins" is forbidden: User "me" cannot impersonate resource "groups" in API'
        ' group "" at the cluster scope'
    )
    for header in ("impersonate-group", "impersonate-uid", "impersonate-extra-k"):
        with pytest.raises(InternalError):
            impersonate(ME, Request("GET", "/", headers={header: "admins"}), Allow())
    assert impersonate(ME, Request("GET", "/"), Allow()) is ME


def test_an_impersonated_service_account_has_its_groups():
    headers = {"impersonate-user": "system:serviceaccount:d:bot"}
    user = impersonate(ME, Request("GET", "/", headers=headers), Allow(("serviceaccounts", "bot")))
    assert user.groups == (
        "system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated",
    )  # fmt: skip


def test_masters_may_impersonate_anybody(objects):
    root = User("root", ("system:masters",))
    headers = {"impersonate-user": "system:anonymous"}
    asked = Request("GET", "/", headers=headers)
    assert impersonate(root, asked, AuthorizationChain(objects)) == ANONYMOUS
