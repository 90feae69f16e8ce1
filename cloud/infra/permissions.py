"""Permissions of a role."""

from __future__ import annotations

from aws_cdk import aws_iam


def allow(role: aws_iam.Role, actions: list[str], *resources: str) -> None:
    """Add one statement to the policy of the role."""
    role.add_to_policy(aws_iam.PolicyStatement(actions=actions, resources=list(resources)))
