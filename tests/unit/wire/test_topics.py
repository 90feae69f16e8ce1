from __future__ import annotations

from collections.abc import Callable

import pytest

from wire.errors import WireError
from wire.topics import check_client_id, check_filter, check_publish_topic, expand


def test_expand_fills_in_the_box() -> None:
    assert expand("$aws/rules/wattpost_batch/{box}", "apt-0123") == "$aws/rules/wattpost_batch/apt-0123"
    assert expand("a/{box}/b/{box}", "x") == "a/x/b/x"
    assert expand("plain", "x") == "plain"


@pytest.mark.parametrize(
    ("template", "problem"),
    [("{device}", "unknown placeholder {device}"), ("{box", "lone brace"), ("b}", "lone brace")],
)
def test_expand_refuses_what_it_would_send_as_it_stands(template: str, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        expand(template, "x")


@pytest.mark.parametrize(
    "topic",
    [
        "a",
        "/".join("12345678"),
        "é" * 128,
        "$aws/rules/wattpost_batch/apt-0123",
        "$aws/rules/wattpost_batch/" + "/".join("12345678"),
        "$aws/rules/wattpost_batch/" + "x" * 256,
        "$aws/rules/wattpost_batch",
        "$aws/things/apt-0123/shadow/update",
    ],
)
def test_topics_within_the_limits_pass(topic: str) -> None:
    assert check_publish_topic(topic) == topic


@pytest.mark.parametrize(
    ("check", "text", "problem"),
    [
        (check_publish_topic, "", "topic is empty"),
        (check_publish_topic, "a\0b", "control character"),
        (check_publish_topic, "a/+/b", "wildcards"),
        (check_publish_topic, "a/#", "wildcards"),
        (check_publish_topic, "/".join("123456789"), "8 slashes, at most 7"),
        (check_publish_topic, "é" * 128 + "x", "257 bytes, at most 256"),
        (check_publish_topic, "$aws/rules/my-rule/x", "rule name 'my-rule' is not"),
        (check_publish_topic, "$aws/rules//x", "rule name '' is not"),
        (check_publish_topic, "$aws/rules/r/" + "/".join("123456789"), "8 slashes, at most 7"),
        (check_publish_topic, "$SYS/broker", "reserved"),
        (check_filter, "", "topic filter is empty"),
        (check_filter, "a/b+", "stands for a whole level"),
        (check_filter, "a/#/b", "at the end only"),
        (check_filter, "a/b#", "at the end only"),
        (check_filter, "/".join("+++++++++"), "8 slashes"),
        (check_filter, "$share/g", "reserved"),
        (check_client_id, "", "client id is empty"),
        (check_client_id, "é" * 65, "130 bytes, at most 128"),
        (check_client_id, "$box", "must not start with"),
        (check_client_id, "a\x7f", "control character"),
    ],
)
def test_what_the_broker_would_refuse_is_refused_here(check: Callable[[str], str], text: str, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        check(text)


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "wattpost/+/batches", "a/#", "$share/receivers/" + "/".join("12345678")]
)
def test_filters_within_the_limits_pass(topic_filter: str) -> None:
    assert check_filter(topic_filter) == topic_filter


def test_a_client_id_within_the_limits_passes() -> None:
    assert check_client_id("x" * 128) == "x" * 128
