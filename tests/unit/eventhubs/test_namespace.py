from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local.eventhubs.config_file import KEY_VARIABLE, read_config, read_keys
from infra.local.eventhubs.errors import CannotStart
from infra.local.eventhubs.namespace import AccessKey, Entity, Namespace, checked_entities
from infra.local.eventhubs.throughput import Rate
from infra.local.eventhubs.tiers import LOCAL, TIERS


def test_every_hub_has_the_default_consumer_group_and_those_configured() -> None:
    namespace = Namespace(entities={"a": Entity("a", 1, frozenset({"Mine"}))})
    assert namespace.consumer_groups("a") == {"$Default", "Mine"}
    assert namespace.consumer_groups("unknown") == {"$Default"}
    assert namespace.has_consumer_group("a", "$default")
    assert namespace.has_consumer_group("a", "mine")
    assert not namespace.has_consumer_group("unknown", "mine")


def test_a_key_opens_only_under_its_own_name() -> None:
    namespace = Namespace(keys=(AccessKey("one", "k1"), AccessKey("two", "k2", frozenset({"send"}))))
    assert namespace.authenticate("one", "k1") == namespace.keys[0]
    assert namespace.authenticate("one", "k2") is None
    assert namespace.authenticate("three", "k1") is None
    assert namespace.authenticate("one", "") is None


def test_rights_are_what_the_key_was_given_and_manage_is_all_of_them() -> None:
    assert [AccessKey("k", "v", frozenset({"send"})).allows(right) for right in ("send", "listen", "manage")] == [
        True,
        False,
        False,
    ]
    assert AccessKey("k", "v", frozenset({"manage"})).allows("listen")


def test_a_key_never_shows() -> None:
    assert "secret" not in repr(Namespace(keys=(AccessKey("name", "secret"),)))


def test_keys_come_from_the_file_or_the_environment_or_the_emulator(tmp_path: Path) -> None:
    assert read_keys(None, {})[0].key == "SAS_KEY_VALUE"
    assert read_keys(None, {KEY_VARIABLE: "mine"}) == (AccessKey("RootManageSharedAccessKey", "mine"),)
    path = tmp_path / "keys.json"
    path.write_text('[{"name": "a", "key": "k", "rights": ["listen"]}]')
    assert read_keys(path, {KEY_VARIABLE: "mine"}) == (AccessKey("a", "k", frozenset({"listen"})),)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"a": "secret"}',
        '[{"name": "a"}]',
        '[{"name": "a", "key": ""}]',
        '[{"name": "a", "key": "secret", "rights": ["fly"]}]',
        '[{"name": "a", "key": "secret"}, {"name": "a", "key": "secret"}]',
    ],
)
def test_a_wrong_file_of_keys_is_refused_without_showing_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(CannotStart) as refusal:
        read_keys(path)
    assert "secret" not in str(refusal.value)


def test_a_namespace_must_be_one_of_event_hubs(tmp_path: Path) -> None:
    path = tmp_path / "Config.json"
    one = {"Name": "n", "Entities": []}
    for namespaces, complaint in (
        ([], "one namespace"),
        ([one, one], "one namespace"),
        ([{**one, "Type": "ServiceBus"}], "must be EventHub"),
    ):
        path.write_text(json.dumps({"UserConfig": {"NamespaceConfig": namespaces}}))
        with pytest.raises(CannotStart, match=complaint):
            read_config(path)
    with pytest.raises(CannotStart, match="No such file"):
        read_config(tmp_path / "nowhere.json")


def test_a_tier_refuses_more_than_it_has() -> None:
    many = [Entity(f"h{number}", 1) for number in range(11)]
    assert len(checked_entities(many, LOCAL)) == 11
    with pytest.raises(CannotStart, match="allows 10"):
        checked_entities(many, TIERS["standard"])
    with pytest.raises(CannotStart, match="1 to 32"):
        checked_entities([Entity("h", 33)], TIERS["standard"])
    assert checked_entities([Entity("h", 100)], TIERS["premium"])
    with pytest.raises(CannotStart, match="consumer groups"):
        checked_entities([Entity("h", 1, frozenset({"second"}))], TIERS["basic"])
    with pytest.raises(CannotStart, match="twice"):
        checked_entities([Entity("h", 1), Entity("h", 2)], LOCAL)


@pytest.mark.parametrize(("asked", "kept"), [(-1, 86_400_000), (1000, 1000), (10**12, 86_400_000)])
def test_a_tier_keeps_no_longer_than_it_does(asked: int, kept: int) -> None:
    assert TIERS["basic"].at_most_kept(asked) == kept
    assert LOCAL.at_most_kept(asked) == asked


def test_a_rate_gives_a_second_in_reserve_and_then_its_pace() -> None:
    rate = Rate(1000, 10)
    assert rate.take(1000, 1, 100.0) == 0
    assert rate.take(500, 1, 100.0) == 0.5
    assert rate.take(0, 0, 100.5) == 0
    assert rate.take(0, 30, 200.0) == 2.0, "events are counted as well"
    assert rate.take(0, 0, 1000.0) == 0, "and the reserve is never more than a second's"
    assert rate.take(2000, 0, 1000.0) == 1.0
