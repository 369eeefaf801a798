"""IAM through boto3: what set-up code writes about roles and policies is there again when it asks."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
LOGS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["logs:PutLogEvents"], "Resource": "arn:aws:logs:*:*:*"}],
}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@pytest.fixture
def iam(daemon: Any) -> Any:
    """A client that holds every answer against the model: no element too many, none of the required missing."""
    client = daemon.client("iam")
    client.meta.events.register("after-call.iam", _hold_against_model, unique_id="model")
    return client


def _hold_against_model(http_response: Any, model: Any, **_: Any) -> None:
    if http_response.status_code >= 300:
        return
    answer = ElementTree.fromstring(http_response.content)
    assert _name(answer) == f"{model.name}Response"
    assert {_name(child) for child in answer} <= {f"{model.name}Result", "ResponseMetadata"}
    if model.output_shape is not None:
        result = next(child for child in answer if _name(child) == model.output_shape.serialization["resultWrapper"])
        wrong = list(_differences(result, model.output_shape, model.name))
        assert not wrong, wrong


def _differences(element: Any, shape: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure":
        names = [_name(child) for child in element]
        yield from (f"{path}.{name} is not documented" for name in names if name not in shape.members)
        yield from (f"{path}.{name} is missing" for name in shape.required_members if name not in names)
        yield from (f"{path}.{name} is there twice" for name in set(names) if names.count(name) > 1)
        for child in element:
            if _name(child) in shape.members:
                yield from _differences(child, shape.members[_name(child)], f"{path}.{_name(child)}")
    elif shape.type_name == "list":
        for child in element:
            if _name(child) != "member":
                yield f"{path} has an element {_name(child)}"
            yield from _differences(child, shape.member, f"{path}[]")


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def make_role(iam: Any, **members: Any) -> Any:
    members = {"RoleName": unique("role"), "AssumeRolePolicyDocument": json.dumps(TRUST), **members}
    return iam.create_role(**members)["Role"]


def make_policy(iam: Any, **members: Any) -> Any:
    members = {"PolicyName": unique("policy"), "PolicyDocument": json.dumps(LOGS), **members}
    return iam.create_policy(**members)["Policy"]


def refusal(call: Any, **members: Any) -> tuple[str, int, str]:
    """Return (code, status, message) of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    answer = caught.value.response
    error = answer["Error"]
    return error["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], error["Message"]


def code_of(call: Any, **members: Any) -> tuple[str, int]:
    return refusal(call, **members)[:2]


# -- roles


def test_a_role_is_shown_as_it_was_made(iam: Any) -> None:
    made = make_role(
        iam,
        Path="/service/",
        Description="runs it",
        MaxSessionDuration=7200,
        Tags=[{"Key": "team", "Value": "blue"}],
    )
    shown = iam.get_role(RoleName=made["RoleName"])["Role"]
    assert shown["Arn"] == f"arn:aws:iam::000000000000:role/service/{made['RoleName']}"
    assert shown["RoleId"].startswith("AROA")
    assert len(shown["RoleId"]) == 21
    assert shown["AssumeRolePolicyDocument"] == TRUST
    assert shown["Description"] == "runs it"
    assert shown["MaxSessionDuration"] == 7200
    assert shown["Tags"] == [{"Key": "team", "Value": "blue"}]
    assert shown["RoleLastUsed"] == {}
    assert {key: value for key, value in shown.items() if key != "RoleLastUsed"} == made


def test_a_fresh_role_has_no_tags_member_and_an_hour_of_session(iam: Any) -> None:
    shown = iam.get_role(RoleName=make_role(iam)["RoleName"])["Role"]
    assert shown["Path"] == "/"
    assert shown["MaxSessionDuration"] == 3600
    assert not {"Tags", "Description", "PermissionsBoundary"} & set(shown)


def test_a_role_name_is_taken_whatever_its_case(iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    for taken in (name, name.upper()):
        code, status, message = refusal(iam.create_role, RoleName=taken, AssumeRolePolicyDocument=json.dumps(TRUST))
        assert (code, status) == ("EntityAlreadyExists", 409)
        assert message == f"Role with name {taken} already exists."


def test_a_missing_role_is_no_such_entity(iam: Any) -> None:
    name = unique("nobody")
    answer = refusal(iam.get_role, RoleName=name)
    assert answer == ("NoSuchEntity", 404, f"The role with name {name} cannot be found.")
    missing = ("NoSuchEntity", 404)
    document = json.dumps(TRUST)
    assert code_of(iam.delete_role, RoleName=name) == missing
    assert code_of(iam.update_role, RoleName=name) == missing
    assert code_of(iam.update_role_description, RoleName=name, Description="") == missing
    assert code_of(iam.update_assume_role_policy, RoleName=name, PolicyDocument=document) == missing
    assert code_of(iam.list_role_tags, RoleName=name) == missing
    assert code_of(iam.tag_role, RoleName=name, Tags=[]) == missing
    assert code_of(iam.untag_role, RoleName=name, TagKeys=["k"]) == missing
    assert code_of(iam.list_role_policies, RoleName=name) == missing
    assert code_of(iam.list_attached_role_policies, RoleName=name) == missing
    assert code_of(iam.attach_role_policy, RoleName=name, PolicyArn=BASIC) == missing
    assert code_of(iam.detach_role_policy, RoleName=name, PolicyArn=BASIC) == missing
    assert code_of(iam.list_instance_profiles_for_role, RoleName=name) == missing
    assert code_of(iam.delete_role_permissions_boundary, RoleName=name) == missing


def test_accounts_are_separate_worlds_and_regions_are_one(daemon: Any, iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    assert daemon.client("iam", region="eu-west-3").get_role(RoleName=name)["Role"]["RoleName"] == name
    other = daemon.client("iam", account="111122223333")
    assert code_of(other.get_role, RoleName=name) == ("NoSuchEntity", 404)
    assert make_role(other, RoleName=name)["Arn"] == f"arn:aws:iam::111122223333:role/{name}"


def test_update_role_keeps_the_description_and_lets_the_session_fall_back(iam: Any) -> None:
    name = make_role(iam, Description="first", MaxSessionDuration=7200)["RoleName"]
    iam.update_role(RoleName=name, MaxSessionDuration=10800)
    shown = iam.get_role(RoleName=name)["Role"]
    assert (shown["Description"], shown["MaxSessionDuration"]) == ("first", 10800)
    iam.update_role(RoleName=name, Description="second")
    shown = iam.get_role(RoleName=name)["Role"]
    assert (shown["Description"], shown["MaxSessionDuration"]) == ("second", 3600)
    assert iam.update_role_description(RoleName=name, Description="third")["Role"]["Description"] == "third"


def test_the_trust_policy_can_be_replaced(iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    changed = json.loads(json.dumps(TRUST).replace("lambda.amazonaws.com", "scheduler.amazonaws.com"))
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(changed))
    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "This policy contains invalid Json"),
        ("[]", "Syntax errors in policy."),
        ('{"Version": "2012-10-17"}', "Syntax errors in policy."),
        ({"Action": "sqs:SendMessage"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        ({"Resource": "*"}, "Has prohibited field Resource"),
        ({"Principal": None}, "Missing required field Principal"),
        ({"Principal": {"Planet": "earth"}}, 'Invalid principal in policy: "Planet"'),
        ({"Principal": {"AWS": "me"}}, 'Invalid principal in policy: "AWS":"me"'),
        ({"Effect": "Maybe"}, "Syntax errors in policy."),
        ({"Condition": {"StringSeems": {"a": "b"}}}, "Invalid Condition type : StringSeems."),
    ],
)
def test_a_wrong_trust_policy_is_malformed(iam: Any, change: Any, message: str) -> None:
    if isinstance(change, dict):
        statement = {**TRUST["Statement"][0], **change}  # type: ignore[dict-item]
        statement = {key: value for key, value in statement.items() if value is not None}
        change = json.dumps({**TRUST, "Statement": [statement]})
    answer = refusal(iam.create_role, RoleName=unique("role"), AssumeRolePolicyDocument=change)
    assert answer == ("MalformedPolicyDocument", 400, message)


def test_a_trust_policy_above_the_quota_is_refused(iam: Any) -> None:
    statement = {**TRUST["Statement"][0], "Sid": "x" * 2048}  # type: ignore[dict-item]
    document = json.dumps({**TRUST, "Statement": [statement]})
    answer = refusal(iam.create_role, RoleName=unique("role"), AssumeRolePolicyDocument=document)
    assert answer == ("LimitExceeded", 409, "Cannot exceed quota for ACLSizePerRole: 2048")


def test_roles_are_listed_in_pages_below_a_path(iam: Any) -> None:
    path = f"/{unique('p')}/"
    names = sorted(make_role(iam, Path=path, RoleName=unique(letter))["RoleName"] for letter in "abcde")
    first = iam.list_roles(PathPrefix=path, MaxItems=2)
    assert first["IsTruncated"] is True
    assert [role["RoleName"] for role in first["Roles"]] == names[:2]
    pages = iam.get_paginator("list_roles").paginate(PathPrefix=path, PaginationConfig={"PageSize": 2})
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == names
    last = iam.list_roles(PathPrefix=path)
    assert last["IsTruncated"] is False
    assert "Marker" not in last
    assert code_of(iam.list_roles, Marker="not a mark") == ("ValidationError", 400)


def test_lists_leave_out_what_only_a_look_at_one_shows(iam: Any) -> None:
    path, tags = f"/{unique('p')}/", [{"Key": "team", "Value": "red"}]
    make_role(iam, Path=path, Tags=tags, PermissionsBoundary=BASIC)
    policy = iam.create_policy(
        PolicyName=unique("policy"), Path=path, PolicyDocument=json.dumps(LOGS), Description="what it is for", Tags=tags
    )["Policy"]
    (role,) = iam.list_roles(PathPrefix=path)["Roles"]
    assert role.keys().isdisjoint({"Tags", "PermissionsBoundary"})
    assert {"Tags", "PermissionsBoundary"} <= iam.get_role(RoleName=role["RoleName"])["Role"].keys()
    (listed,) = iam.list_policies(PathPrefix=path)["Policies"]
    assert listed.keys().isdisjoint({"Tags", "Description"})
    assert {"Tags", "Description"} <= iam.get_policy(PolicyArn=policy["Arn"])["Policy"].keys()


def test_a_role_with_policies_is_not_deleted(iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(LOGS))
    conflict = ("DeleteConflict", 409)
    answer = refusal(iam.delete_role, RoleName=name)
    assert answer == (*conflict, "Cannot delete entity, must detach all policies first.")
    iam.detach_role_policy(RoleName=name, PolicyArn=BASIC)
    answer = refusal(iam.delete_role, RoleName=name)
    assert answer == (*conflict, "Cannot delete entity, must delete policies first.")
    iam.delete_role_policy(RoleName=name, PolicyName="inline")
    iam.delete_role(RoleName=name)
    assert code_of(iam.get_role, RoleName=name) == ("NoSuchEntity", 404)


def test_a_role_is_in_no_instance_profile(iam: Any) -> None:
    answer = iam.list_instance_profiles_for_role(RoleName=make_role(iam)["RoleName"])
    assert answer["InstanceProfiles"] == []
    assert answer["IsTruncated"] is False


@pytest.mark.parametrize(
    "members",
    [
        {"RoleName": "a b"},
        {"RoleName": "x" * 65},
        {"Path": "service"},
        {"MaxSessionDuration": 60},
        {"MaxSessionDuration": 43201},
        {"Description": "x" * 1001},
        {"Tags": [{"Key": "", "Value": ""}]},
    ],
)
def test_a_member_outside_its_range_is_a_validation_error(daemon: Any, members: dict[str, Any]) -> None:
    loose = boto3.client(
        "iam",
        region_name="us-east-1",
        endpoint_url=daemon.url,
        aws_access_key_id="000000000000",
        aws_secret_access_key="secret",
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    members = {"RoleName": unique("role"), "AssumeRolePolicyDocument": json.dumps(TRUST), **members}
    assert code_of(loose.create_role, **members) == ("ValidationError", 400)
    loose.close()


def test_names_and_paths_with_other_signs_are_refused_in_words(iam: Any) -> None:
    role = {"RoleName": unique("role"), "AssumeRolePolicyDocument": json.dumps(TRUST)}
    told = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
    assert refusal(iam.create_role, **{**role, "RoleName": "a b"})[2] == (
        f"The specified value for roleName is invalid. {told}"
    )
    assert refusal(iam.create_policy, PolicyName="a/b", PolicyDocument=json.dumps(LOGS))[2] == (
        f"The specified value for policyName is invalid. {told}"
    )
    assert refusal(iam.create_role, **role, Path="service")[2] == (
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric "
        "characters and/or / characters."
    )
    assert refusal(iam.create_role, **{**role, "RoleName": "a b" * 30})[2].startswith("1 validation error detected: ")


# -- tags


def test_tags_are_one_whatever_the_case_of_their_key(iam: Any) -> None:
    name = make_role(iam, Tags=[{"Key": "Team", "Value": "blue"}])["RoleName"]
    iam.tag_role(RoleName=name, Tags=[{"Key": "team", "Value": "red"}, {"Key": "stage", "Value": ""}])
    assert iam.list_role_tags(RoleName=name)["Tags"] == [
        {"Key": "stage", "Value": ""},
        {"Key": "team", "Value": "red"},
    ]
    iam.untag_role(RoleName=name, TagKeys=["TEAM", "unknown"])
    assert iam.list_role_tags(RoleName=name)["Tags"] == [{"Key": "stage", "Value": ""}]


def test_a_tag_key_given_twice_is_invalid_input(iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]
    assert code_of(iam.tag_role, RoleName=name, Tags=twice) == ("InvalidInput", 400)
    reserved = [{"Key": "aws:x", "Value": "1"}]
    assert code_of(iam.tag_role, RoleName=name, Tags=reserved) == ("InvalidInput", 400)


def test_the_fifty_first_tag_is_one_too_many(iam: Any) -> None:
    name = make_role(iam, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])["RoleName"]
    more = [{"Key": "one-more", "Value": ""}]
    assert code_of(iam.tag_role, RoleName=name, Tags=more) == ("LimitExceeded", 409)
    page = iam.list_role_tags(RoleName=name, MaxItems=30)
    rest = iam.list_role_tags(RoleName=name, Marker=page["Marker"])
    assert len(page["Tags"]) + len(rest["Tags"]) == 50


# -- inline policies


def test_an_inline_policy_is_kept_and_listed(iam: Any) -> None:
    name = make_role(iam)["RoleName"]
    for policy in ("b", "a", "c"):
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(LOGS))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["a", "b", "c"]
    page = iam.list_role_policies(RoleName=name, MaxItems=2)
    assert page["PolicyNames"] == ["a", "b"]
    assert iam.list_role_policies(RoleName=name, Marker=page["Marker"])["PolicyNames"] == ["c"]
    shown = iam.get_role_policy(RoleName=name, PolicyName="b")
    assert (shown["RoleName"], shown["PolicyName"], shown["PolicyDocument"]) == (name, "b", LOGS)
    iam.delete_role_policy(RoleName=name, PolicyName="b")
    answer = refusal(iam.get_role_policy, RoleName=name, PolicyName="b")
    assert answer == ("NoSuchEntity", 404, "The role policy with name b cannot be found.")
    assert code_of(iam.delete_role_policy, RoleName=name, PolicyName="b") == ("NoSuchEntity", 404)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Principal": "*"}, "Policy document should not specify a principal."),
        ({"Action": None}, "Policy statement must contain actions."),
        ({"Resource": None}, "Policy statement must contain resources."),
        ({"Resource": "queue"}, 'Resource queue must be in ARN format or "*".'),
        (
            {"Action": "SendMessage"},
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        ({"NotAction": "sqs:*"}, "Syntax errors in policy."),
        ({"Unknown": "x"}, "Syntax errors in policy."),
    ],
)
def test_a_wrong_inline_policy_is_malformed(iam: Any, change: dict[str, Any], message: str) -> None:
    statement = {**LOGS["Statement"][0], **change}  # type: ignore[dict-item]
    statement = {key: value for key, value in statement.items() if value is not None}
    document = json.dumps({**LOGS, "Statement": statement})
    name = make_role(iam)["RoleName"]
    answer = refusal(iam.put_role_policy, RoleName=name, PolicyName="p", PolicyDocument=document)
    assert answer == ("MalformedPolicyDocument", 400, message)


def test_inline_policies_share_ten_thousand_characters(iam: Any) -> None:
    name = make_role(iam)["RoleName"]

    def document(length: int) -> str:
        return json.dumps({**LOGS, "Statement": {**LOGS["Statement"][0], "Sid": "x" * length}})  # type: ignore[dict-item]

    iam.put_role_policy(RoleName=name, PolicyName="a", PolicyDocument=document(6000))
    put = {"RoleName": name, "PolicyName": "b", "PolicyDocument": document(4200)}
    assert code_of(iam.put_role_policy, **put) == ("LimitExceeded", 409)
    iam.put_role_policy(RoleName=name, PolicyName="a", PolicyDocument=document(4200))


# -- managed policies


def test_a_managed_policy_is_shown_as_it_was_made(iam: Any) -> None:
    made = make_policy(iam, Path="/team/", Description="logs", Tags=[{"Key": "k", "Value": "v"}])
    assert made["Arn"] == f"arn:aws:iam::000000000000:policy/team/{made['PolicyName']}"
    assert made["PolicyId"].startswith("ANPA")
    shown = iam.get_policy(PolicyArn=made["Arn"])["Policy"]
    assert shown == {**made, "Description": "logs"}
    assert (shown["DefaultVersionId"], shown["AttachmentCount"], shown["IsAttachable"]) == ("v1", 0, True)
    version = iam.get_policy_version(PolicyArn=made["Arn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"] == LOGS
    assert version["IsDefaultVersion"] is True


def test_a_policy_name_is_taken_once(iam: Any) -> None:
    name = make_policy(iam)["PolicyName"]
    answer = refusal(iam.create_policy, PolicyName=name, PolicyDocument=json.dumps(LOGS))
    message = f"A policy called {name} already exists. Duplicate names are not allowed."
    assert answer == ("EntityAlreadyExists", 409, message)


def test_versions_are_numbered_upwards_and_five_at_most(iam: Any) -> None:
    arn = make_policy(iam)["Arn"]
    document = json.dumps(LOGS)
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)["PolicyVersion"]
    assert (second["VersionId"], second["IsDefaultVersion"]) == ("v2", False)
    third = iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
    assert third["PolicyVersion"]["IsDefaultVersion"] is True
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v3"
    for _ in range(2):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document)
    sixth = {"PolicyArn": arn, "PolicyDocument": document}
    assert code_of(iam.create_policy_version, **sixth) == ("LimitExceeded", 409)
    listed = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [version["VersionId"] for version in listed] == ["v5", "v4", "v3", "v2", "v1"]
    page = iam.list_policy_versions(PolicyArn=arn, MaxItems=3)
    rest = iam.list_policy_versions(PolicyArn=arn, Marker=page["Marker"])
    assert [version["VersionId"] for version in rest["Versions"]] == ["v2", "v1"]
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    again = iam.create_policy_version(**sixth)["PolicyVersion"]
    assert again["VersionId"] == "v6"


def test_the_default_version_stays_until_another_is_default(iam: Any) -> None:
    arn = make_policy(iam)["Arn"]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(LOGS))
    answer = refusal(iam.delete_policy_version, PolicyArn=arn, VersionId="v1")
    assert answer == ("DeleteConflict", 409, "Cannot delete the default version of a policy.")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    missing = {"PolicyArn": arn, "VersionId": "v1"}
    for call in (iam.get_policy_version, iam.delete_policy_version, iam.set_default_policy_version):
        assert code_of(call, **missing) == ("NoSuchEntity", 404)


def test_a_policy_in_use_or_with_versions_is_not_deleted(iam: Any) -> None:
    arn = make_policy(iam)["Arn"]
    role = make_role(iam)["RoleName"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    answer = refusal(iam.delete_policy, PolicyArn=arn)
    assert answer == ("DeleteConflict", 409, "Cannot delete a policy attached to entities.")
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(LOGS))
    assert code_of(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    answer = refusal(iam.get_policy, PolicyArn=arn)
    assert answer == ("NoSuchEntity", 404, f"Policy {arn} was not found.")


def test_tags_of_a_policy_are_changed_and_listed(iam: Any) -> None:
    arn = make_policy(iam)["Arn"]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["Tags"] == []
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]


def test_policies_are_listed_by_scope_path_and_use(iam: Any) -> None:
    path = f"/{unique('p')}/"
    used, unused = make_policy(iam, Path=path), make_policy(iam, Path=path)
    role = make_role(iam)["RoleName"]
    iam.attach_role_policy(RoleName=role, PolicyArn=used["Arn"])
    iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=unused["Arn"])

    def arns(**members: Any) -> set[str]:
        pages = iam.get_paginator("list_policies").paginate(PathPrefix=path, **members)
        return {policy["Arn"] for page in pages for policy in page["Policies"]}

    both = {used["Arn"], unused["Arn"]}
    assert arns() == arns(Scope="Local") == arns(OnlyAttached=True) == both
    assert arns(PolicyUsageFilter="PermissionsPolicy") == {used["Arn"]}
    assert arns(PolicyUsageFilter="PermissionsBoundary") == {unused["Arn"]}
    assert arns(Scope="AWS") == set()
    aws = iam.list_policies(Scope="AWS", PathPrefix="/service-role/")["Policies"]
    assert BASIC in {policy["Arn"] for policy in aws}


def test_a_text_that_is_no_policy_arn_is_invalid_input(iam: Any) -> None:
    wrong = "arn:aws:sqs:us-east-1:000000000000:queue"
    assert code_of(iam.get_policy, PolicyArn=wrong) == ("InvalidInput", 400)
    role = make_role(iam)["RoleName"]
    assert code_of(iam.attach_role_policy, RoleName=role, PolicyArn=wrong) == ("InvalidInput", 400)


# -- what binds them


def test_policies_are_attached_listed_and_detached(iam: Any) -> None:
    role = make_role(iam)["RoleName"]
    policy = make_policy(iam)
    for _ in range(2):
        iam.attach_role_policy(RoleName=role, PolicyArn=policy["Arn"])
    iam.attach_role_policy(RoleName=role, PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert {"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": BASIC} in attached
    assert {"PolicyName": policy["PolicyName"], "PolicyArn": policy["Arn"]} in attached
    assert len(attached) == 2
    below = iam.list_attached_role_policies(RoleName=role, PathPrefix="/service-role/")
    assert [entry["PolicyArn"] for entry in below["AttachedPolicies"]] == [BASIC]
    page = iam.list_attached_role_policies(RoleName=role, MaxItems=1)
    rest = iam.list_attached_role_policies(RoleName=role, Marker=page["Marker"])
    assert page["AttachedPolicies"] + rest["AttachedPolicies"] == attached
    entities = iam.list_entities_for_policy(PolicyArn=policy["Arn"])
    assert [entity["RoleName"] for entity in entities["PolicyRoles"]] == [role]
    assert entities["PolicyGroups"] == entities["PolicyUsers"] == []
    assert iam.list_entities_for_policy(PolicyArn=policy["Arn"], EntityFilter="User")["PolicyRoles"] == []
    iam.detach_role_policy(RoleName=role, PolicyArn=policy["Arn"])
    answer = refusal(iam.detach_role_policy, RoleName=role, PolicyArn=policy["Arn"])
    assert answer == ("NoSuchEntity", 404, f"Policy {policy['Arn']} was not found.")


def test_a_policy_that_is_not_there_cannot_be_attached(iam: Any) -> None:
    role = make_role(iam)["RoleName"]
    arn = "arn:aws:iam::000000000000:policy/nothing"
    answer = refusal(iam.attach_role_policy, RoleName=role, PolicyArn=arn)
    assert answer == ("NoSuchEntity", 404, f"Policy {arn} does not exist or is not attachable.")


def test_the_eleventh_policy_is_one_too_many(iam: Any) -> None:
    role = make_role(iam)["RoleName"]
    for number in range(10):
        iam.attach_role_policy(RoleName=role, PolicyArn=f"arn:aws:iam::aws:policy/Number{number}")
    answer = refusal(iam.attach_role_policy, RoleName=role, PolicyArn=BASIC)
    assert answer == ("LimitExceeded", 409, "Cannot exceed quota for PoliciesPerRole: 10")


def test_a_policy_of_aws_is_read_with_its_document_and_not_changed(iam: Any) -> None:
    shown = iam.get_policy(PolicyArn=BASIC)["Policy"]
    assert (shown["PolicyName"], shown["Path"]) == ("AWSLambdaBasicExecutionRole", "/service-role/")
    version = iam.get_policy_version(PolicyArn=BASIC, VersionId=shown["DefaultVersionId"])
    assert "logs:PutLogEvents" in version["PolicyVersion"]["Document"]["Statement"][0]["Action"]
    assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=BASIC)["Versions"]] == ["v1"]
    assert code_of(iam.delete_policy, PolicyArn=BASIC) == ("AccessDenied", 403)


def test_a_boundary_is_kept_shown_and_counted(iam: Any) -> None:
    arn = make_policy(iam)["Arn"]
    role = make_role(iam, PermissionsBoundary=arn)
    boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}
    assert role["PermissionsBoundary"] == boundary
    assert iam.get_role(RoleName=role["RoleName"])["Role"]["PermissionsBoundary"] == boundary
    assert iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    assert code_of(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    bounded = iam.list_entities_for_policy(PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary")
    assert [entity["RoleName"] for entity in bounded["PolicyRoles"]] == [role["RoleName"]]
    iam.delete_role_permissions_boundary(RoleName=role["RoleName"])
    assert "PermissionsBoundary" not in iam.get_role(RoleName=role["RoleName"])["Role"]
    gone = iam.delete_role_permissions_boundary
    assert code_of(gone, RoleName=role["RoleName"]) == ("NoSuchEntity", 404)
    missing = "arn:aws:iam::000000000000:policy/nothing"
    put = {"RoleName": role["RoleName"], "PermissionsBoundary": missing}
    assert code_of(iam.put_role_permissions_boundary, **put) == ("NoSuchEntity", 404)


def test_an_operation_that_is_not_served_is_named(iam: Any) -> None:
    code, status, message = refusal(iam.list_users)
    assert status == 501
    assert "ListUsers" in message
    assert code


def test_an_assumed_role_has_the_id_and_the_longest_session_of_the_role(daemon: Any, iam: Any) -> None:
    role = make_role(iam, MaxSessionDuration=7200)
    sts = daemon.client("sts")
    assumed = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="session", DurationSeconds=7200)
    assert assumed["AssumedRoleUser"]["AssumedRoleId"] == f"{role['RoleId']}:session"
    with pytest.raises(ClientError) as raised:
        sts.assume_role(RoleArn=role["Arn"], RoleSessionName="session", DurationSeconds=7201)
    assert raised.value.response["Error"]["Code"] == "ValidationError"
    assert raised.value.response["Error"]["Message"] == (
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    )
    given = assumed["Credentials"]
    chained = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=daemon.url,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    with pytest.raises(ClientError) as raised:
        chained.assume_role(RoleArn=role["Arn"], RoleSessionName="again", DurationSeconds=3601)
    assert "role chaining" in raised.value.response["Error"]["Message"]
    assert chained.assume_role(RoleArn=role["Arn"], RoleSessionName="again")["Credentials"]
