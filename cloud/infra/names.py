"""Fixed names, and the topics that the rule, the function and the policy of a box must agree on."""

from __future__ import annotations

from aws_cdk import Aws

RULE = "wattpost_batch"
POLICY = "wattpost-box"
BATCH_TOPIC = f"$aws/rules/{RULE}/{{box}}"
RECEIPT_TOPIC = "wattpost/{box}/receipts"


def topic_of(template: str, box: str) -> str:
    """The topic of one box, of any box (`*`), or of the box that a policy variable names."""
    return template.replace("{box}", box)


def iot_arn(kind: str, name: str) -> str:
    """The ARN of a client, topic or topic filter of AWS IoT."""
    return f"arn:{Aws.PARTITION}:iot:{Aws.REGION}:{Aws.ACCOUNT_ID}:{kind}/{name}"
