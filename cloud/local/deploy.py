"""Deploy the committed template to a CloudFormation endpoint: upload the zip, create the stack, read its outputs."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from cloud.infra.package import TEMPLATE, lambda_zip
from cloud.local.errors import LocalCloudError

STACK = "wattpost"
CODE_BUCKET = "wattpost-code"
RESERVED_CONCURRENCY, QUEUE_CONCURRENCY = 3, 2  # each is a process of 60 MB here


class Session(Protocol):
    """The part of `boto3.Session` that is used."""

    def client(self, service_name: str, **options: object) -> Any: ...


def deploy(session: Session, endpoint_url: str) -> dict[str, str]:
    """The outputs of the stack."""
    code = lambda_zip()
    key = f"receiver-{hashlib.sha256(code).hexdigest()[:16]}.zip"
    try:
        s3 = session.client("s3", endpoint_url=endpoint_url)
        s3.create_bucket(Bucket=CODE_BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
        s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=code)
        outputs = _create_stack(session.client("cloudformation", endpoint_url=endpoint_url), key)
        _limit_concurrency(session.client("lambda", endpoint_url=endpoint_url), outputs["Function"])
    except (ClientError, BotoCoreError) as error:
        raise LocalCloudError(f"deploy {TEMPLATE.name}: {error}") from error
    return outputs


def _create_stack(cloudformation: Any, key: str) -> dict[str, str]:
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=TEMPLATE.read_text(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": "CodeBucket", "ParameterValue": CODE_BUCKET},
            {"ParameterKey": "CodeKey", "ParameterValue": key},
        ],
    )
    try:
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
        )
    except WaiterError as error:
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
            for event in events
            if event["ResourceStatus"].endswith("FAILED")
        ]
        raise LocalCloudError(f"deploy {TEMPLATE.name}: the stack was not created: {'; '.join(failed)}") from error
    (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _limit_concurrency(client: Any, function: str) -> None:
    """With the API, because MiniStack takes numbers from template parameters as text and fails to compare them."""
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=RESERVED_CONCURRENCY)
    for mapping in client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]:
        client.update_event_source_mapping(
            UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": QUEUE_CONCURRENCY}
        )
