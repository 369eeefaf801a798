"""Lambda functions over the wire: create, get, update, delete, list; states, exact members, refusals."""

import base64
import hashlib
import io
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import ROLE, create, error_of, members_of, new_name, request_of, zip_of

INVALID = "InvalidParameterValueException"

FRESH_MEMBERS = {
    "Architectures",
    "CodeSha256",
    "CodeSize",
    "Description",
    "EphemeralStorage",
    "FunctionArn",
    "FunctionName",
    "Handler",
    "LastModified",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "RevisionId",
    "Role",
    "Runtime",
    "RuntimeVersionConfig",
    "SnapStart",
    "Timeout",
    "TracingConfig",
    "Version",
}
STATES = {"State", "LastUpdateStatus"}


@pytest.fixture
def lambda_(daemon: RunningDaemon) -> BaseClient:
    return daemon.client("lambda")


def arn_of(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


# -- create


def test_create_answers_every_member_aws_sends_and_no_other(lambda_: Any) -> None:
    name = new_name()
    request = request_of(name)
    answer = lambda_.create_function(**request)
    archive = request["Code"]["ZipFile"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert set(members_of(answer)) == FRESH_MEMBERS | {"State", "StateReason", "StateReasonCode"}
    assert answer["FunctionName"] == name
    assert answer["FunctionArn"] == arn_of(name)
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(archive).digest()).decode()
    assert answer["CodeSize"] == len(archive)
    assert (answer["State"], answer["StateReason"], answer["StateReasonCode"]) == (
        "Pending",
        "The function is being created.",
        "Creating",
    )
    assert (answer["Timeout"], answer["MemorySize"], answer["Description"]) == (3, 128, "")
    assert answer["EphemeralStorage"] == {"Size": 512}
    assert answer["Architectures"] == ["x86_64"]
    assert answer["TracingConfig"] == {"Mode": "PassThrough"}
    assert answer["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert answer["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert (answer["Version"], answer["PackageType"]) == ("$LATEST", "Zip")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer["LastModified"])
    assert answer["RuntimeVersionConfig"]["RuntimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")


def test_what_was_set_is_shown(lambda_: Any) -> None:
    name = create(
        lambda_,
        Description="what it does",
        Timeout=900,
        MemorySize=10240,
        EphemeralStorage={"Size": 1024},
        Architectures=["arm64"],
        Environment={"Variables": {"KEY": "välue", "LANG": "C"}},
        LoggingConfig={"LogGroup": "elsewhere", "LogFormat": "Text"},
        Tags={"team": "a"},
    )
    answer = lambda_.get_function(FunctionName=name)
    shown = answer["Configuration"]
    assert shown["Description"] == "what it does"
    assert (shown["Timeout"], shown["MemorySize"], shown["EphemeralStorage"]) == (900, 10240, {"Size": 1024})
    assert shown["Architectures"] == ["arm64"]
    assert shown["Environment"] == {"Variables": {"KEY": "välue", "LANG": "C"}}
    assert shown["LoggingConfig"]["LogGroup"] == "elsewhere"
    assert answer["Tags"] == {"team": "a"}


def test_values_that_change_nothing_are_accepted(lambda_: Any) -> None:
    name = create(
        lambda_,
        PackageType="Zip",
        Publish=False,
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": [], "Ipv6AllowedForDualStack": False},
        DeadLetterConfig={"TargetArn": ""},
        TracingConfig={"Mode": "PassThrough"},
        Layers=[],
        FileSystemConfigs=[],
        KMSKeyArn="",
        SnapStart={"ApplyOn": "None"},
        Environment={"Variables": {}},
    )
    shown = members_of(lambda_.get_function_configuration(FunctionName=name))
    assert set(shown) == FRESH_MEMBERS | STATES


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"Publish": True}, "Publish"),
        ({"PackageType": "Image"}, "PackageType"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, "VpcConfig"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:sns:us-east-1:000000000000:t"}}, "SNS topics"),
        ({"TracingConfig": {"Mode": "Active"}}, "TracingConfig.Mode"),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]}, "Layers"),
        ({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, "KMSKeyArn"),
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart.ApplyOn"),
        ({"LoggingConfig": {"LogFormat": "JSON"}}, "LoggingConfig.LogFormat"),
        ({"Code": {"ImageUri": "x"}}, "Code.ImageUri"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
        ({"DurableConfig": {"RetentionPeriodInDays": 1}}, "DurableConfig"),
    ],
)
def test_what_is_not_served_is_refused_by_name(lambda_: Any, members: dict[str, Any], named: str) -> None:
    status, code, message = error_of(lambda_.create_function, **{**request_of(new_name()), **members})
    assert (status, code) == (400, INVALID)
    assert named in message


@pytest.mark.parametrize(
    ("members", "status", "code", "message"),
    [
        (
            {"Runtime": "python3.7"},
            400,
            INVALID,
            "The runtime parameter of python3.7 is no longer supported for creating or updating AWS Lambda functions.",
        ),
        ({"Runtime": "nodejs22.x"}, 400, INVALID, "The runtime nodejs22.x is not served by eventrt yet"),
        ({"Runtime": "perl"}, 400, INVALID, "Value perl at 'runtime' failed to satisfy constraint: Member must"),
        (
            {"Role": "someone"},
            400,
            "ValidationException",
            "1 validation error detected: Value 'someone' at 'role' failed to satisfy constraint: ",
        ),
        ({"Timeout": 901}, 400, "ValidationException", "1 validation error detected: Value '901' at 'timeout'"),
        ({"MemorySize": 10241}, 400, "ValidationException", "1 validation error detected: Value '10241' at"),
        ({"Handler": "a b"}, 400, "ValidationException", "1 validation error detected: Value 'a b' at 'handler'"),
        (
            {"Architectures": ["x86_64", "arm64"]},
            400,
            "ValidationException",
            (
                "1 validation error detected: Value '[x86_64, arm64]' at 'architectures' failed to satisfy "
                "constraint: Member must have length less than or equal to 1"
            ),
        ),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x"}}},
            400,
            INVALID,
            "Lambda was unable to configure your environment variables because",
        ),
        (
            {"Environment": {"Variables": {"BIG": "v" * 4097}}},
            400,
            INVALID,
            (
                "Lambda was unable to configure your environment variables because the environment variables you "
                'have provided exceeded the 4KB limit. String measured: {"BIG":'
            ),
        ),
        ({"Tags": {f"t{n}": "" for n in range(51)}}, 400, INVALID, "Number of tags exceeds resource tag limit."),
        (
            {"Code": {"ZipFile": b"no zip"}},
            400,
            INVALID,
            "Could not unzip uploaded file. Please check your file, then try to upload again.",
        ),
        (
            {"Code": {"ZipFile": base64.b64decode("UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==")}},
            400,
            INVALID,
            "Uploaded file must be a non-empty zip",
        ),
        (
            {"Code": {"S3Bucket": "bucket", "S3Key": "key"}},
            400,
            INVALID,
            (
                "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket "
                "does not exist"
            ),
        ),
        ({"Code": {}}, 400, INVALID, "Please provide a source for function code."),
        ({"FunctionName": "n" * 65}, 400, INVALID, "1 validation error detected: Value 'nnn"),
        (
            {"FunctionName": "arn:aws:lambda:eu-west-1:000000000000:function:fn"},
            404,
            "ResourceNotFoundException",
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        ),
        ({"FunctionName": "123456789012:function:fn"}, 403, "AccessDeniedException", ""),
    ],
)
def test_wrong_requests_are_refused_in_awss_words(
    lambda_: Any, members: dict[str, Any], status: int, code: str, message: str
) -> None:
    refused = error_of(lambda_.create_function, **{**request_of(new_name()), **members})
    assert refused[:2] == (status, code)
    assert refused[2].startswith(message)


@pytest.mark.parametrize("missing", ["Runtime", "Handler"])
def test_a_zip_function_needs_runtime_and_handler(lambda_: Any, missing: str) -> None:
    request = request_of(new_name())
    del request[missing]
    assert error_of(lambda_.create_function, **request) == (
        400,
        INVALID,
        "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
    )


def test_a_name_can_be_taken_once_and_again_after_it_was_deleted(lambda_: Any) -> None:
    name = create(lambda_)
    assert error_of(lambda_.create_function, **request_of(name)) == (
        409,
        "ResourceConflictException",
        f"Function already exist: {name}",
    )
    assert lambda_.delete_function(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    lambda_.create_function(**request_of(name))


def test_accounts_and_regions_are_worlds_of_their_own(daemon: RunningDaemon, lambda_: Any) -> None:
    name = create(lambda_)
    elsewhere = daemon.client("lambda", region="eu-west-1")
    other = daemon.client("lambda", account="111111111111")
    for client in (elsewhere, other):
        assert error_of(client.get_function, FunctionName=name)[:2] == (404, "ResourceNotFoundException")
    other.create_function(**request_of(name, Role="arn:aws:iam::111111111111:role/r"))
    assert "111111111111" in other.get_function(FunctionName=name)["Configuration"]["FunctionArn"]


# -- hostile archives


def hostile(kind: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", "")
        if kind == "slip":
            archive.writestr("../../../../escaped", "evil")
        elif kind == "absolute":
            archive.writestr("/tmp/escaped-by-eventrt-test", "evil")
        elif kind == "symlink":
            link = zipfile.ZipInfo("out")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, "../../../..")
            archive.writestr("out/escaped", "evil")
        elif kind == "bomb":
            for number in range(27):
                with archive.open(f"zeros{number}", "w") as target:
                    for _ in range(10):
                        target.write(bytes(1_000_000))
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["slip", "absolute", "symlink", "bomb"])
def test_hostile_archives_are_refused_and_leave_no_file_behind(daemon: RunningDaemon, lambda_: Any, kind: str) -> None:
    def code_files() -> set[Path]:
        return set((Path(daemon.data_dir) / "code").rglob("*"))

    create(lambda_)
    before = code_files()
    request = request_of(new_name(), Code={"ZipFile": hostile(kind)})
    status, code, message = error_of(lambda_.create_function, **request)
    assert (status, code) == (400, INVALID)
    assert message == (
        "Unzipped size must be smaller than 262144000 bytes"
        if kind == "bomb"
        else "Could not unzip uploaded file. Please check your file, then try to upload again."
    )
    assert code_files() <= before
    assert list(Path(daemon.data_dir).parent.rglob("escaped*")) == []
    assert not Path("/tmp/escaped-by-eventrt-test").exists()


# -- get


def test_get_shows_the_states_and_the_arn_as_it_was_asked_for(lambda_: Any) -> None:
    name = create(lambda_)
    for asked, shown in (
        (name, arn_of(name)),
        (arn_of(name), arn_of(name)),
        (f"000000000000:function:{name}", arn_of(name)),
        (f"{name}:$LATEST", f"{arn_of(name)}:$LATEST"),
    ):
        configuration = lambda_.get_function(FunctionName=asked)["Configuration"]
        assert configuration["FunctionArn"] == shown
        assert set(configuration) == FRESH_MEMBERS | STATES
        assert (configuration["State"], configuration["LastUpdateStatus"]) == ("Active", "Successful")
        assert members_of(lambda_.get_function_configuration(FunctionName=asked)) == configuration
    qualified = lambda_.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    assert qualified["FunctionArn"] == f"{arn_of(name)}:$LATEST"


def test_get_of_a_fresh_function_has_no_tags_and_no_concurrency(lambda_: Any) -> None:
    answer = members_of(lambda_.get_function(FunctionName=create(lambda_)))
    assert set(answer) == {"Configuration", "Code"}
    assert answer["Code"]["RepositoryType"] == "S3"


def test_the_link_to_the_code_gives_the_archive_and_a_changed_one_gives_nothing(lambda_: Any) -> None:
    archive = zip_of("x = 1\n")
    name = create(lambda_, Code={"ZipFile": archive})
    link = lambda_.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == archive
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(link[:-3] + "AAA")
    with raised.value:
        assert raised.value.code == 404


@pytest.mark.parametrize("call", ["get_function", "get_function_configuration", "list_versions_by_function"])
def test_a_function_that_is_not_there_is_404(lambda_: Any, call: str) -> None:
    name = new_name()
    answer = error_of(getattr(lambda_, call), FunctionName=name)
    assert answer == (404, "ResourceNotFoundException", f"Function not found: {arn_of(name)}")


@pytest.mark.parametrize("qualifier", ["1", "live"])
def test_versions_and_aliases_that_are_not_there_are_404(lambda_: Any, qualifier: str) -> None:
    name = create(lambda_)
    missing = (404, "ResourceNotFoundException", f"Function not found: {arn_of(name)}:{qualifier}")
    assert error_of(lambda_.get_function, FunctionName=name, Qualifier=qualifier) == missing
    assert error_of(lambda_.get_function, FunctionName=f"{name}:{qualifier}") == missing


def test_two_qualifiers_that_differ_are_refused(lambda_: Any) -> None:
    assert error_of(lambda_.get_function, FunctionName="fn:1", Qualifier="2") == (
        400,
        INVALID,
        "The derived qualifier from the function name does not match the specified qualifier.",
    )


# -- update


def test_updating_the_code_goes_through_the_states_and_changes_the_revision(lambda_: Any) -> None:
    name = create(lambda_)
    before = lambda_.get_function_configuration(FunctionName=name)
    archive = zip_of("y = 2\n")
    answer = members_of(lambda_.update_function_code(FunctionName=name, ZipFile=archive))
    assert set(answer) == FRESH_MEMBERS | STATES | {"LastUpdateStatusReason", "LastUpdateStatusReasonCode"}
    assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "InProgress")
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(archive).digest()).decode()
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    after = lambda_.get_function_configuration(FunctionName=name)
    assert after["LastUpdateStatus"] == "Successful"
    assert "LastUpdateStatusReason" not in after
    assert len({before["RevisionId"], answer["RevisionId"], after["RevisionId"]}) == 3


def test_a_dry_run_of_an_update_changes_nothing(lambda_: Any) -> None:
    name = create(lambda_)
    before = lambda_.get_function_configuration(FunctionName=name)
    answer = lambda_.update_function_code(FunctionName=name, ZipFile=zip_of("y"), DryRun=True)
    assert answer["CodeSha256"] != before["CodeSha256"]
    after = lambda_.get_function_configuration(FunctionName=name)
    assert members_of(after) == members_of(before)


def test_updating_the_configuration_changes_what_is_given_and_nothing_else(lambda_: Any) -> None:
    name = create(lambda_, Environment={"Variables": {"AA": "1", "BB": "2"}}, Description="d")
    lambda_.update_function_configuration(FunctionName=name, Timeout=7, Environment={"Variables": {"CC": "3"}})
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    shown = lambda_.get_function_configuration(FunctionName=name)
    assert shown["Timeout"] == 7
    assert shown["Environment"] == {"Variables": {"CC": "3"}}
    assert shown["Description"] == "d"
    lambda_.update_function_configuration(FunctionName=name, Description="", Environment={})
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    shown = lambda_.get_function_configuration(FunctionName=name)
    assert shown["Description"] == ""
    assert "Environment" not in shown


def test_updates_are_guarded_by_the_revision(lambda_: Any) -> None:
    name = create(lambda_)
    refused = (
        412,
        "PreconditionFailedException",
        (
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
            "retrieve the latest Revision Id"
        ),
    )
    stale = {"FunctionName": name, "RevisionId": "stale"}
    assert error_of(lambda_.update_function_configuration, **stale, Timeout=5) == refused
    assert error_of(lambda_.update_function_code, **stale, ZipFile=zip_of("z")) == refused
    current = lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    lambda_.update_function_configuration(FunctionName=name, Timeout=5, RevisionId=current)


def test_wrong_updates_are_refused(lambda_: Any) -> None:
    name = create(lambda_)
    code, configuration = lambda_.update_function_code, lambda_.update_function_configuration
    assert error_of(code, FunctionName=name, ImageUri="image") == (
        400,
        INVALID,
        "Please don't provide ImageUri when updating a function with packageType Zip.",
    )
    assert error_of(code, FunctionName=name)[2] == "Please provide a source for function code."
    assert error_of(code, FunctionName=name, ZipFile=b"x")[2].startswith("Could not unzip")
    assert error_of(code, FunctionName=name, ZipFile=b"")[2] == "Uploaded file must be a non-empty zip"
    assert error_of(code, FunctionName=new_name(), ZipFile=zip_of())[0] == 404
    assert error_of(configuration, FunctionName=new_name(), Timeout=3)[0] == 404
    assert error_of(configuration, FunctionName=name, Runtime="go1.x")[1] == INVALID
    assert error_of(configuration, FunctionName=name, Layers=["arn:aws:lambda:us-east-1:000000000000:layer:l:1"])[
        2
    ].startswith("Layers is not supported by eventrt")
    assert lambda_.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "Successful"


# -- delete


def test_deleting_a_function_takes_everything_of_it(lambda_: Any) -> None:
    name = create(lambda_)
    lambda_.delete_function(FunctionName=arn_of(name))
    missing = (404, "ResourceNotFoundException", f"Function not found: {arn_of(name)}")
    assert error_of(lambda_.get_function, FunctionName=name) == missing
    assert error_of(lambda_.delete_function, FunctionName=name) == missing
    assert error_of(lambda_.delete_function, FunctionName=name, Qualifier="3") == missing


def test_only_whole_functions_can_be_deleted(lambda_: Any) -> None:
    name = create(lambda_)
    assert error_of(lambda_.delete_function, FunctionName=name, Qualifier="$LATEST") == (
        400,
        INVALID,
        "$LATEST version cannot be deleted without deleting the function.",
    )
    assert error_of(lambda_.delete_function, FunctionName=name, Qualifier="live")[:2] == (400, INVALID)
    assert lambda_.delete_function(FunctionName=name, Qualifier="9")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert lambda_.get_function(FunctionName=name)


# -- lists and the account


def test_lists_show_every_function_once_in_order_without_states(daemon: RunningDaemon) -> None:
    client = daemon.client("lambda", account="222222222222")
    names = sorted(new_name("list") for _ in range(7))
    for name in reversed(names):
        client.create_function(**request_of(name))
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Functions"]) for page in pages] == [3, 3, 1]
    assert "NextMarker" not in pages[-1]
    listed = [function for page in pages for function in page["Functions"]]
    assert [function["FunctionName"] for function in listed] == names
    assert all(set(function) == FRESH_MEMBERS - {"RuntimeVersionConfig"} for function in listed)
    every = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert [function["FunctionArn"].rpartition(":")[2] for function in every] == ["$LATEST"] * 7
    assert error_of(client.list_functions, Marker="?")[:2] == (400, INVALID)


def test_a_page_of_functions_never_holds_more_than_fifty(daemon: RunningDaemon) -> None:
    client = daemon.client("lambda", account="333333333333")
    for _ in range(51):
        client.create_function(**request_of(new_name()))
    first = client.list_functions(MaxItems=1000)
    assert len(first["Functions"]) == 50
    assert len(client.list_functions(Marker=first["NextMarker"])["Functions"]) == 1


def test_the_only_version_of_a_function_is_latest(lambda_: Any) -> None:
    name = create(lambda_)
    answer = members_of(lambda_.list_versions_by_function(FunctionName=name))
    assert set(answer) == {"Versions"}
    (version,) = answer["Versions"]
    assert set(version) == FRESH_MEMBERS - {"RuntimeVersionConfig"}
    assert (version["Version"], version["FunctionArn"]) == ("$LATEST", f"{arn_of(name)}:$LATEST")


def test_the_account_shows_its_limits_and_what_it_uses(daemon: RunningDaemon) -> None:
    client = daemon.client("lambda", account="444444444444")
    name = create(client)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=250)
    assert members_of(client.get_account_settings()) == {
        "AccountLimit": {
            "TotalCodeSize": 80530636800,
            "CodeSizeUnzipped": 262144000,
            "CodeSizeZipped": 52428800,
            "ConcurrentExecutions": 1000,
            "UnreservedConcurrentExecutions": 750,
        },
        "AccountUsage": {"TotalCodeSize": len(zip_of()), "FunctionCount": 1},
    }


def test_a_function_has_no_code_signing_configuration(lambda_: Any) -> None:
    name = create(lambda_)
    answer = members_of(lambda_.get_function_code_signing_config(FunctionName=name))
    assert answer == {"CodeSigningConfigArn": "", "FunctionName": name}


# -- what is not served, and what lasts


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("publish_version", {}),
        ("create_alias", {"Name": "live", "FunctionVersion": "$LATEST"}),
        ("invoke_with_response_stream", {}),
        ("create_function_url_config", {"AuthType": "NONE"}),
    ],
)
def test_operations_that_are_not_served_say_so(lambda_: Any, call: str, request_: dict[str, Any]) -> None:
    name = new_name()
    assert error_of(getattr(lambda_, call), FunctionName=name, **request_)[0] == 501


def test_functions_survive_a_kill(daemon: RunningDaemon, lambda_: Any) -> None:
    archive = zip_of("kept = True\n")
    name = create(lambda_, Code={"ZipFile": archive}, Tags={"a": "b"}, Environment={"Variables": {"KK": "v"}})
    before = lambda_.get_function(FunctionName=name)
    daemon.restart(kill=True)
    after = lambda_.get_function(FunctionName=name)
    assert after["Configuration"] == before["Configuration"]
    assert after["Tags"] == {"a": "b"}
    with urllib.request.urlopen(after["Code"]["Location"]) as answer:
        assert answer.read() == archive


def test_the_role_is_kept_as_given(lambda_: Any) -> None:
    assert lambda_.get_function_configuration(FunctionName=create(lambda_))["Role"] == ROLE
