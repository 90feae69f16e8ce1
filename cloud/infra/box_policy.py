"""The IoT policy of a box: connect as its thing, publish its batches, receive its receipts."""

from __future__ import annotations

from aws_cdk import Stack, aws_iot

from cloud.infra.names import BATCH_TOPIC, POLICY, RECEIPT_TOPIC, iot_arn, topic_of

THING = "${iot:Connection.Thing.ThingName}"


def box_policy(stack: Stack) -> None:
    """A box may connect only with a certificate that is attached to its thing."""
    receipts = topic_of(RECEIPT_TOPIC, THING)
    attached = {"Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}}
    aws_iot.CfnPolicy(
        stack,
        "BoxPolicy",
        policy_name=POLICY,
        policy_document={
            "Version": "2012-10-17",
            "Statement": [
                _allow("iot:Connect", iot_arn("client", THING)) | attached,
                _allow("iot:Publish", iot_arn("topic", topic_of(BATCH_TOPIC, THING))),
                _allow("iot:Subscribe", iot_arn("topicfilter", receipts)),
                _allow("iot:Receive", iot_arn("topic", receipts)),
            ],
        },
    )


def _allow(action: str, resource: str) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}
