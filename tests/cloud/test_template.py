"""What the committed template promises; that it is current is checked by `cloud.infra.synth --check`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud.infra import package

TEMPLATE = json.loads(package.TEMPLATE.read_text())
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]


def only(kind: str, **wanted: object) -> tuple[str, dict[str, Any]]:
    """Name and properties of the one resource of a kind (with these properties)."""
    found = [
        (name, resource.get("Properties", {}))
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind and wanted.items() <= resource.get("Properties", {}).items()
    ]
    assert len(found) == 1, [name for name, _ in found]
    return found[0]


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def joined(value: object) -> str:
    """The text of a Fn::Join, with references in angle brackets."""
    if isinstance(value, str):
        return value
    assert isinstance(value, dict)
    if "Fn::Join" in value:
        return "".join(joined(part) for part in value["Fn::Join"][1])
    return f"<{value.get('Ref') or '.'.join(value['Fn::GetAtt'])}>"


QUEUE, _ = only("AWS::SQS::Queue", VisibilityTimeout=180)
DEAD_LETTERS = next(name for name, one in RESOURCES.items() if one["Type"] == "AWS::SQS::Queue" and name != QUEUE)
TABLE, _ = only("AWS::DynamoDB::Table")
BUCKET, _ = only("AWS::S3::Bucket")


def test_the_rule_hands_binary_over_in_base64_with_who_sent_it() -> None:
    _, rule = only("AWS::IoT::TopicRule")
    payload = rule["TopicRulePayload"]
    assert rule["RuleName"] == "wattpost_batch"
    assert payload["AwsIotSqlVersion"] == "2016-03-23"
    assert payload["Sql"].startswith(
        "SELECT encode(*, 'base64') AS d, topic() AS t, clientid() AS c, principal() AS p, timestamp() AS ts,"
        " traceid() AS x FROM "
    )
    (action,) = payload["Actions"]
    assert action["Sqs"]["QueueUrl"] == {"Ref": QUEUE}
    assert action["Sqs"]["UseBase64"] is False
    assert payload["ErrorAction"]["Sqs"]["QueueUrl"] == {"Ref": DEAD_LETTERS}


def test_the_queue_admits_only_the_role_of_the_rule() -> None:
    _, rule = only("AWS::IoT::TopicRule")
    role = rule["TopicRulePayload"]["Actions"][0]["Sqs"]["RoleArn"]
    _, policy = only("AWS::SQS::QueuePolicy", Queues=[{"Ref": QUEUE}])
    statements = policy["PolicyDocument"]["Statement"]
    assert [one for one in statements if one["Effect"] == "Allow"] == []
    (deny,) = [one for one in statements if one["Action"] == "sqs:SendMessage"]
    assert (deny["Effect"], deny["Principal"]) == ("Deny", {"AWS": "*"})
    assert deny["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": role}}


def test_a_poison_message_ends_in_the_dead_letters() -> None:
    queue = RESOURCES[QUEUE]["Properties"]
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": arn(DEAD_LETTERS), "maxReceiveCount": 5}
    _, config = only("AWS::Lambda::EventInvokeConfig")
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == arn(DEAD_LETTERS)


def test_the_function_reports_partial_failures_and_keeps_within_its_time() -> None:
    _, mapping = only("AWS::Lambda::EventSourceMapping")
    _, function = only("AWS::Lambda::Function")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert RESOURCES[QUEUE]["Properties"]["VisibilityTimeout"] >= 6 * function["Timeout"]
    at_once, reserved = mapping["ScalingConfig"]["MaximumConcurrency"], function["ReservedConcurrentExecutions"]
    assert (at_once, reserved) == ({"Ref": "QueueConcurrency"}, {"Ref": "ReservedConcurrency"})
    parameters = TEMPLATE["Parameters"]
    assert parameters["QueueConcurrency"]["Default"] < parameters["ReservedConcurrency"]["Default"]
    assert function["Architectures"] == ["arm64"]
    assert function["Handler"] == "cloud.doors.sqs.handler"


def test_the_code_is_a_parameter_so_that_the_template_does_not_change_with_it() -> None:
    _, function = only("AWS::Lambda::Function")
    assert function["Code"] == {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}
    without_default = {name for name, parameter in TEMPLATE["Parameters"].items() if "Default" not in parameter}
    assert without_default == {"CodeBucket", "CodeKey"}


def test_the_function_may_do_no_more_than_it_does() -> None:
    _, function = only("AWS::Lambda::Function")
    (role_name, _) = function["Role"]["Fn::GetAtt"]
    policy = next(
        one["Properties"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::IAM::Policy" and one["Properties"]["Roles"] == [{"Ref": role_name}]
    )
    allowed: dict[str, list[str]] = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions, places = statement["Action"], statement["Resource"]
        for action in [actions] if isinstance(actions, str) else actions:
            allowed[action] = [joined(place) for place in (places if isinstance(places, list) else [places])]
    bucket = f"<{BUCKET}.Arn>"
    assert {action: places for action, places in allowed.items() if not action.startswith("logs:")} == {
        "dynamodb:GetItem": [f"<{TABLE}.Arn>"],
        "dynamodb:BatchGetItem": [f"<{TABLE}.Arn>"],
        "dynamodb:PutItem": [f"<{TABLE}.Arn>"],
        "dynamodb:Query": [f"<{TABLE}.Arn>"],
        "s3:PutObject": [f"{bucket}/archive/*", f"{bucket}/quarantine/*"],
        "iot:Publish": ["arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:topic/wattpost/*/receipts"],
        "sqs:SendMessage": [f"<{DEAD_LETTERS}.Arn>"],
        "sqs:ReceiveMessage": [f"<{QUEUE}.Arn>"],
        "sqs:DeleteMessage": [f"<{QUEUE}.Arn>"],
        "sqs:GetQueueAttributes": [f"<{QUEUE}.Arn>"],
    }


def test_a_box_may_be_itself_only() -> None:
    _, policy = only("AWS::IoT::Policy")
    assert policy["PolicyName"] == "wattpost-box"
    place = "arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:"
    thing = "${iot:Connection.Thing.ThingName}"
    statements = policy["PolicyDocument"]["Statement"]
    assert {one["Action"]: joined(one["Resource"]) for one in statements} == {
        "iot:Connect": f"{place}client/{thing}",
        "iot:Publish": f"{place}topic/$aws/rules/wattpost_batch/{thing}",
        "iot:Subscribe": f"{place}topicfilter/wattpost/{thing}/receipts",
        "iot:Receive": f"{place}topic/wattpost/{thing}/receipts",
    }
    assert statements[0]["Condition"] == {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}


def test_what_is_stored_outlives_the_stack() -> None:
    for name in (TABLE, BUCKET):
        assert (RESOURCES[name]["DeletionPolicy"], RESOURCES[name]["UpdateReplacePolicy"]) == ("Retain", "Retain")
    table = RESOURCES[TABLE]["Properties"]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert table["DeletionProtectionEnabled"] is True


def test_the_archive_is_private_encrypted_and_never_expires() -> None:
    bucket = RESOURCES[BUCKET]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert not any("ExpirationInDays" in rule for rule in bucket["LifecycleConfiguration"]["Rules"])
    _, policy = only("AWS::S3::BucketPolicy")
    conditions = [one.get("Condition") for one in policy["PolicyDocument"]["Statement"]]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions


@pytest.mark.parametrize("name", [QUEUE, DEAD_LETTERS])
def test_queues_are_encrypted_and_ask_for_tls(name: str) -> None:
    assert RESOURCES[name]["Properties"]["SqsManagedSseEnabled"] is True
    _, policy = only("AWS::SQS::QueuePolicy", Queues=[{"Ref": name}])
    assert {"Bool": {"aws:SecureTransport": "false"}} in [
        one.get("Condition") for one in policy["PolicyDocument"]["Statement"]
    ]


def test_logs_do_not_live_for_ever() -> None:
    _, logs = only("AWS::Logs::LogGroup")
    assert logs["RetentionInDays"] == 30
