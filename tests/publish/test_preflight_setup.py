"""The setup script, run by a shell against real servers: `aws` is a small program that hands it to boto3."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from merklelog.publish.preflight import Preflight
from merklelog.publish.preflight_report import Outcome, Verdict
from merklelog.publish.preflight_setup import policy, setup_script
from merklelog.publish.s3 import Retention, S3Location, S3Options, open_s3
from tests.support.s3_servers import S3Server

# The AWS command line, as far as the script uses it: each option is an argument of boto3's operation of that name.
AWS = """#!{python}
import json, sys
import boto3
words = sys.argv[1:]
options = {{}}
while words[0].startswith("--"):
    options[words[0]] = words[1]
    words = words[2:]
assert words[0] == "s3api", words
operation, rest, given = words[1], words[2:], {{}}
while rest:
    name = "".join(part.title() for part in rest[0].removeprefix("--").split("-"))
    if rest[0] == "--object-lock-enabled-for-bucket":
        given["ObjectLockEnabledForBucket"], rest = True, rest[1:]
        continue
    value, rest = rest[1], rest[2:]
    if value.startswith("{{"):
        value = json.loads(value)
    elif "=" in value:
        pairs = [pair.split("=") for pair in value.split(",")]
        value = {{key: {{"true": True}}.get(text, text) for key, text in pairs}}
    given[name] = value
print(json.dumps([operation, given]))
region = given.pop("Region", "us-east-1")
client = boto3.client("s3", endpoint_url=options["--endpoint-url"], region_name=region)
call = getattr(client, operation.replace("-", "_"))
try:
    call(**given)
except client.exceptions.ClientError as error:
    if error.response["ResponseMetadata"]["HTTPStatusCode"] != 501:  # not every server has every setting
        raise
"""


def run(script: str, folder: Path) -> list[list[Any]]:
    """What the script told `aws` to do; its last line, merklelog's own, is not run."""
    program = folder / "aws"
    program.write_text(AWS.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    lines = [line for line in script.splitlines(keepends=True) if not line.startswith("merklelog ")]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-eu"], input="".join(lines), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_bucket_made_by_the_script_is_fit(s3_server: S3Server, tmp_path: Path) -> None:
    url = f"s3://made-{secrets.token_hex(8)}/some/log"
    options = s3_server.options(retention=Retention("COMPLIANCE", 2557))
    script = setup_script(S3Location(*url.removeprefix("s3://").split("/", 1)), options)
    told = run(script, tmp_path)
    assert [operation for operation, _ in told] == [
        "create-bucket",
        "put-public-access-block",
        "put-object-lock-configuration",
        "put-bucket-lifecycle-configuration",
    ]
    store = open_s3(url, options)
    report = Preflight(store, options).look()
    assert {f.probe for f in report.findings if f.outcome is not Outcome.PASS} == set(), report
    assert (report.default.mode, report.default.is_long) == ("COMPLIANCE", True)
    assert 2555 <= report.default.days <= 2557  # some servers keep years, some count them in days


@pytest.mark.slow
def test_and_a_whole_preflight_of_it_leaves_nothing(versitygw: S3Server, tmp_path: Path) -> None:
    url = f"s3://made-{secrets.token_hex(8)}/log"
    options = versitygw.options(retention=Retention("GOVERNANCE", 30))
    run(setup_script(S3Location(*url.removeprefix("s3://").split("/", 1)), options), tmp_path)
    report = Preflight(open_s3(url, options), options, lock_seconds=12).try_out()
    assert report.verdict in (Verdict.FIT, Verdict.FALLBACK), report
    assert str(report.default) == "GOVERNANCE, 30 days"
    assert report.left == 0


def test_nothing_of_it_is_run_by_printing_it(versitygw: S3Server) -> None:
    name = f"made-{secrets.token_hex(8)}"
    setup_script(S3Location(name, "log"), versitygw.options())
    listed = versitygw.client().list_buckets()["Buckets"]
    assert name not in [bucket["Name"] for bucket in listed]


def commands(script: str) -> list[str]:
    return [line for line in script.splitlines() if line and not line.startswith("#")]


def test_at_amazon_a_region_and_a_policy_are_named() -> None:
    script = setup_script(S3Location("b" * 63, "p"), S3Options(region="eu-west-1", profile="it's"))
    create, *_, made, last = commands(script)
    assert "--region eu-west-1" in create
    assert create.endswith("--create-bucket-configuration LocationConstraint=eu-west-1")
    assert "--profile 'it'\"'\"'s'" in create
    assert made.startswith("aws iam create-policy --policy-name merklelog-bbb")
    assert last == f"merklelog preflight s3://{'b' * 63}/p --yes"
    home = setup_script(S3Location("bucket"), S3Options())
    assert "LocationConstraint" not in home
    assert '"Years":7' in home
    assert '"Days":10' in setup_script(S3Location("bucket"), S3Options(retention=Retention("GOVERNANCE", 10)))


def allowed(statements: list[dict[str, Any]], action: str, resource: str) -> bool:
    """What IAM would say: a refusal goes before, and what is not allowed is refused."""

    def matches(pattern: str) -> bool:
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), resource) is not None

    about = [
        each["Effect"]
        for each in statements
        if action in each["Action"] and any(matches(pattern) for pattern in each["Resource"])
    ]
    return "Allow" in about and "Deny" not in about


@pytest.mark.parametrize(
    ("action", "key", "may"),
    [
        ("PutObject", "head", True),
        ("PutObject", "tile/0/000", True),
        ("PutObjectRetention", "tile/0/000", True),
        ("GetObjectVersion", "checkpoints/5", True),
        ("DeleteObjectVersion", "head", True),
        ("DeleteObjectVersion", "checkpoint", True),
        ("DeleteObjectVersion", "staging/5-aa", True),
        ("DeleteObjectVersion", "tile/0/000.p/5", True),
        ("DeleteObjectVersion", "tile/entries/x001/000.p/255", True),
        ("DeleteObjectVersion", "tile/0/000", False),
        ("DeleteObjectVersion", "checkpoints/5", False),
        ("DeleteObjectVersion", "merklelog.json", False),
        ("DeleteObject", "head", False),
        ("DeleteObject", "preflight/1-a/x", True),
        ("PutObjectLegalHold", "tile/0/000", False),
        ("BypassGovernanceRetention", "preflight/1-a/x", False),
        ("PutObjectAcl", "head", False),
        ("PutObject", "../other/head", False),
    ],
)
def test_the_policy_lets_a_log_do_what_it_does_and_no_more(action: str, key: str, may: bool) -> None:
    made = policy(S3Location("bucket", "some/log"), S3Options(), "us-east-1")["Statement"]
    base = "arn:aws:s3:::bucket/"
    resource = f"{base}some/log/{key}" if not key.startswith("../") else f"{base}{key[3:]}"
    assert allowed(made, f"s3:{action}", resource) is may
    assert not allowed(made, f"s3:{action}", resource.replace("bucket", "bucket2"))


def test_the_policy_of_other_regions_and_keys() -> None:
    kms = S3Options(sse="aws:kms", sse_kms_key_id="arn:aws-cn:kms:x:1:key/2")
    made = policy(S3Location("b", ""), kms, "cn-north-1")["Statement"]
    assert allowed(made, "s3:PutObject", "arn:aws-cn:s3:::b/head")
    assert allowed(made, "kms:Decrypt", "arn:aws-cn:kms:x:1:key/2")
    assert "Condition" not in next(each for each in made if each["Sid"] == "List")
    assert policy(S3Location("b"), S3Options(), "us-gov-west-1")["Statement"][0]["Resource"] == [
        "arn:aws-us-gov:s3:::b"
    ]
