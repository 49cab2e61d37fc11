from __future__ import annotations

import pytest
from azure.eventhub._client_base import _generate_sas_token

from infra.local.eventhubs.amqp.tokens import Access, TokenRefused, check_token
from infra.local.eventhubs.namespace import AccessKey, Namespace

NAMESPACE = Namespace(
    keys=(AccessKey("root", "secret"), AccessKey("device", "other", frozenset({"send"}))), require_keys=True
)


def token(resource: str, policy: str = "root", key: str = "secret") -> str:
    """As the SDK makes it; valid for an hour."""
    return str(_generate_sas_token(resource, policy, key).token)


def access(clock_s: float = 0.0) -> Access:
    return Access(NAMESPACE, lambda: clock_s)


def test_a_token_of_the_sdk_is_accepted() -> None:
    granted = access()
    granted.put_token(token("sb://localhost/readings"))
    assert granted.refusal("readings", "send") is None
    assert granted.refusal("Readings/Partitions/3", "manage") is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (token("sb://h/readings", key="wrong"), "does not match"),
        (token("sb://h/readings", policy="nobody"), "no shared access policy"),
        (token("sb://h/readings").replace("readings", "everything"), "does not match"),
        (token("sb://h/readings").replace("&se=", "&se=9"), "does not match"),
        ("SharedAccessSignature sr=x&skn=root", "lacks sig, se"),
        ("eyJ0eXAiOiJKV1QifQ.e30.sig", "no Microsoft Entra"),
        ("", "no Microsoft Entra"),
    ],
)
def test_a_wrong_token_is_refused_with_a_reason(wrong: str, words: str) -> None:
    with pytest.raises(TokenRefused, match=words):
        check_token(wrong, NAMESPACE, 0)


def test_an_expired_token_is_refused() -> None:
    with pytest.raises(TokenRefused, match="ExpiredToken"):
        check_token(token("sb://h/readings"), NAMESPACE, 10**11)


def test_a_token_expires_while_it_is_used() -> None:
    now = 0.0
    granted = Access(NAMESPACE, lambda: now)
    granted.put_token(token("sb://h/readings"))
    assert granted.refusal("readings", "send") is None
    now = 10.0**11
    assert "ExpiredToken" in (granted.refusal("readings", "send") or "")


def test_a_token_is_good_for_its_hub_only() -> None:
    granted = access()
    granted.put_token(token("sb://h/readings"))
    assert granted.refusal("readings2", "send") is not None
    assert granted.refusal("other", "send") is not None


def test_a_policy_allows_what_it_claims() -> None:
    granted = access()
    granted.put_token(token("sb://h/readings", "device", "other"))
    assert granted.refusal("readings", "send") is None
    assert "Listen claim" in (granted.refusal("readings", "listen") or "")
    assert granted.refusal("readings", None) is None


def test_a_refused_token_leaves_an_earlier_one_in_force() -> None:
    granted = access()
    granted.put_token(token("sb://h/readings"))
    with pytest.raises(TokenRefused):
        granted.put_token(token("sb://h/readings", key="wrong"))
    assert granted.refusal("readings", "send") is None


def test_without_a_token_it_depends_on_the_namespace() -> None:
    assert access().refusal("readings", "send") == "no token was shown"
    assert Access(Namespace(), lambda: 0.0).refusal("readings", "send") is None


def test_logging_in_needs_the_right_key() -> None:
    granted = access()
    assert not granted.log_in("root", "wrong")
    assert granted.refusal("readings", "send") is not None
    assert granted.log_in("root", "secret")
    assert granted.refusal("anything", "manage") is None
