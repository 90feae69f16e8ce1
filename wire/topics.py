"""MQTT topics and client ids as AWS IoT Core allows them, checked before anything is sent.

Limits: 256 bytes of UTF-8 and 7 slashes, where the first three levels of Basic Ingest do not count
(AWS IoT Core endpoints and quotas, "message broker and protocol limits").
"""

from __future__ import annotations

import re

from wire.errors import WireError

TOPIC_BYTES_MAX = 256
TOPIC_SLASHES_MAX = 7
CLIENT_ID_BYTES_MAX = 128

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_BASIC_INGEST = re.compile(r"\$aws/rules/([^/]*)/?")
_RULE = re.compile(r"[A-Za-z0-9_]{1,128}")
_SHARED = re.compile(r"\$share/[^/+#]+/(?=.)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def expand(template: str, box: str) -> str:
    """The template with `{box}` filled in; any other `{name}` or a lone brace is a mistake."""
    for name in _PLACEHOLDER.findall(template):
        if name != "box":
            raise WireError(f"topic {template!r}: unknown placeholder {{{name}}}, only {{box}} is known")
    topic = template.replace("{box}", "\0")
    if "{" in topic or "}" in topic:
        raise WireError(f"topic {template!r}: lone brace, write {{box}} for the name of the box")
    return topic.replace("\0", box)


def check_publish_topic(topic: str) -> str:
    """The topic itself, when AWS IoT Core takes a publish to it."""
    _check_text("topic", topic)
    if "+" in topic or "#" in topic:
        raise WireError(f"topic {topic!r}: wildcards + and # are for subscriptions only")
    _check_limits("topic", topic)
    return topic


def check_filter(topic_filter: str) -> str:
    """The filter itself, when AWS IoT Core takes a subscription to it (`$share/group/filter` too)."""
    _check_text("topic filter", topic_filter)
    levels = topic_filter.split("/")
    for i, level in enumerate(levels):
        if "+" in level and level != "+":
            raise WireError(f"topic filter {topic_filter!r}: + stands for a whole level, not for a part of one")
        if "#" in level and (level != "#" or i != len(levels) - 1):
            raise WireError(f"topic filter {topic_filter!r}: # stands for all last levels, at the end only")
    _check_limits("topic filter", _SHARED.sub("", topic_filter, count=1))
    return topic_filter


def check_client_id(client_id: str) -> str:
    """The client id itself, when AWS IoT Core takes a connection with it."""
    _check_text("client id", client_id)
    size = len(client_id.encode())
    if size > CLIENT_ID_BYTES_MAX:
        raise WireError(f"client id {client_id!r}: {size} bytes, at most {CLIENT_ID_BYTES_MAX} are allowed")
    if client_id.startswith("$"):
        raise WireError(f"client id {client_id!r}: must not start with $")
    return client_id


def _check_text(what: str, text: str) -> None:
    if not text:
        raise WireError(f"{what} is empty")
    if _CONTROL.search(text):
        raise WireError(f"{what} {text!r}: has a control character")


def _check_limits(what: str, topic: str) -> None:
    rest = topic
    if topic.startswith("$"):
        basic = _BASIC_INGEST.match(topic)
        if basic:
            if not _RULE.fullmatch(basic[1]):
                raise WireError(f"{what} {topic!r}: rule name {basic[1]!r} is not 1 to 128 of A-Z a-z 0-9 _")
            rest = topic[basic.end() :]
        elif not topic.startswith("$aws/"):
            raise WireError(f"{what} {topic!r}: topics that start with $ are reserved, except $aws/")
    size, slashes = len(rest.encode()), rest.count("/")
    if size > TOPIC_BYTES_MAX:
        raise WireError(f"{what} {topic!r}: {size} bytes, at most {TOPIC_BYTES_MAX} are allowed")
    if slashes > TOPIC_SLASHES_MAX:
        raise WireError(f"{what} {topic!r}: {slashes} slashes, at most {TOPIC_SLASHES_MAX} are allowed")
