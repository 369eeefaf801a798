"""Statements as AWS writes them, from what AddPermission is given."""

from typing import Any

import pytest

from eventrt.core import resource_policy
from eventrt.core.refused import Refused

ARN = "arn:aws:lambda:us-east-1:000000000000:function:fn"


def statement(**members: Any) -> dict[str, Any]:
    request = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*", **members}
    return resource_policy.statement_of(request, resource_arn=ARN)


@pytest.mark.parametrize(
    ("text", "principal"),
    [
        ("*", "*"),
        ("123456789012", {"AWS": "arn:aws:iam::123456789012:root"}),
        ("arn:aws:iam::123456789012:role/path/r", {"AWS": "arn:aws:iam::123456789012:role/path/r"}),
        ("s3.amazonaws.com", {"Service": "s3.amazonaws.com"}),
        ("alexa-appkit.amazon.com", {"Service": "alexa-appkit.amazon.com"}),
    ],
)
def test_a_principal_is_everybody_an_account_an_identity_or_a_service(text: str, principal: object) -> None:
    assert statement(Principal=text)["Principal"] == principal


@pytest.mark.parametrize("text", ["nobody", "12345", "arn:aws:s3:::bucket", "example.com", "arn:aws:iam::1:root"])
def test_other_principals_are_refused(text: str) -> None:
    with pytest.raises(Refused) as raised:
        statement(Principal=text)
    assert raised.value.message == ("The provided principal was invalid. Please check the principal and try again.")


def test_conditions_have_aws_operators_and_keys_in_order() -> None:
    made = statement(
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket",
        SourceAccount="123456789012",
        PrincipalOrgID="o-1234567890",
        EventSourceToken="t",
        InvokedViaFunctionUrl=True,
    )
    assert list(made) == ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"]
    assert made["Condition"] == {
        "StringEquals": {
            "AWS:SourceAccount": "123456789012",
            "aws:PrincipalOrgID": "o-1234567890",
            "lambda:EventSourceToken": "t",
        },
        "Bool": {"lambda:InvokedViaFunctionUrl": "true"},
        "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
    }


def test_an_auth_type_goes_with_function_urls_only() -> None:
    with pytest.raises(Refused, match="FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl"):
        statement(FunctionUrlAuthType="NONE")
    made = statement(FunctionUrlAuthType="NONE", Action="lambda:InvokeFunctionUrl")
    assert made["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}


def test_statement_ids_are_unique_and_removing_needs_one_that_is_there() -> None:
    one = resource_policy.with_statement((), statement())
    with pytest.raises(Refused) as raised:
        resource_policy.with_statement(one, statement())
    assert raised.value.message == (
        "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing "
        "statement."
    )
    with pytest.raises(Refused, match=r"Statement x is not found in resource policy."):
        resource_policy.without_statement(one, "x")
    assert resource_policy.without_statement(one, "s") == ()
    with pytest.raises(Refused, match=r"No policy is associated with the given resource."):
        resource_policy.without_statement((), "s")


def test_a_policy_is_at_most_20_kilobytes() -> None:
    resource_policy.check_policy_size(20_480)
    with pytest.raises(Refused, match=r"The final policy size \(20481\) is bigger than the limit \(20480\)."):
        resource_policy.check_policy_size(20_481)
