"""The commands that make a bucket for a log: printed for a person to read and run, never run here."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from merklelog.publish.layout import PREFLIGHT
from merklelog.publish.s3_options import Retention, S3Location, S3Options

SEVEN_YEARS: Final = 2_557  # days, two of them of leap years
_HOME: Final = "us-east-1"  # the one region that CreateBucket must not name

_ASKED: Final = (
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetBucketLocation",
)
_WRITTEN: Final = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:PutObject",
    "s3:PutObjectRetention",
)
# What the log itself removes: everything else stays even where no lock holds it.
_COLLECTED: Final = ("head", "checkpoint", "partitions.json", "staging/*", "tile/*.p/*", f"{PREFLIGHT}*")
_NEVER: Final = (
    "s3:BypassGovernanceRetention",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:DeleteBucket",
    "s3:PutObjectAcl",
)


def setup_script(location: S3Location, options: S3Options) -> str:
    """A shell script for the AWS command line: the bucket, its lock, its lifecycle, and a policy for the log.

    Retention is what `options` say, else COMPLIANCE for seven years.
    """
    bucket, region = location.bucket, options.region or _HOME
    retention = options.retention or Retention("COMPLIANCE", SEVEN_YEARS)
    create = ["create-bucket", "--bucket", bucket, "--region", region, "--object-lock-enabled-for-bucket"]
    if region != _HOME and not options.endpoint_url:
        create += ["--create-bucket-configuration", f"LocationConstraint={region}"]
    block = ",".join(
        f"{each}=true"
        for each in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    )
    lines = [
        "#!/bin/sh -eu",
        f"# A bucket for {location}. Read it before you run it: with a COMPLIANCE default, nobody can delete",
        "# what is written without a lock of its own before its time is over. The log gives every object one.",
        "",
        "# Object Lock is turned on with the bucket; versioning comes with it.",
        _s3api(options, *create),
        "",
        "# Nobody reads or writes without credentials; public readers come through a web server or a CDN.",
        _s3api(
            options,
            "put-public-access-block",
            "--bucket",
            bucket,
            "--public-access-block-configuration",
            block,
        ),
        "",
        f"# What is written without a lock of its own is locked for {_span(retention)}.",
        _s3api(
            options,
            *("put-object-lock-configuration", "--bucket", bucket),
            *("--object-lock-configuration", _json(lock_configuration(retention))),
        ),
        "",
        "# Only versions that were replaced expire, and only where the log itself removes them: this is for those",
        "# that a crash left behind. No rule may ever expire what is published.",
        _s3api(
            options,
            *("put-bucket-lifecycle-configuration", "--bucket", bucket),
            *("--lifecycle-configuration", _json(lifecycle(location))),
        ),
        "",
        *_policy_lines(location, options, region),
        "",
        "# Then, as that identity:",
        shlex.join(["merklelog", "preflight", str(location), "--yes"]),
    ]
    return "\n".join(lines) + "\n"


def _policy_lines(location: S3Location, options: S3Options, region: str) -> list[str]:
    made = _json(policy(location, options, region))
    name = f"merklelog-{location.bucket}"[:128]
    words = ["aws", "iam", "create-policy", "--policy-name", name, "--policy-document"]
    command = f"{shlex.join(words)} {shlex.quote(made)}"
    if not options.endpoint_url:
        return [
            "# What the log's identity may do, and nothing else; attach it to the server's role or user.",
            command,
        ]
    about = "# What the log's identity may do, and nothing else; give it to it in this service's own way."
    return [about, *(f"# {line}" for line in json.dumps(json.loads(made), indent=1).splitlines())]


def lock_configuration(retention: Retention) -> dict[str, Any]:
    """The bucket's default retention."""
    span = {"Years": 7} if retention.days == SEVEN_YEARS else {"Days": retention.days}
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": retention.mode, **span}}}


def _span(retention: Retention) -> str:
    return "seven years" if retention.days == SEVEN_YEARS else f"{retention.days} days"


def lifecycle(location: S3Location) -> dict[str, Any]:
    """Rules that remove what crashes leave. None expires a newest version, but of scratch objects."""
    root = _root(location)
    replaced = {"NoncurrentVersionExpiration": {"NoncurrentDays": 7}}
    rules: list[dict[str, Any]] = [
        {"ID": "merklelog-head", "Filter": {"Prefix": f"{root}head"}, **replaced},
        {"ID": "merklelog-staging", "Filter": {"Prefix": f"{root}staging/"}, **replaced},
        {
            "ID": "merklelog-preflight",
            "Filter": {"Prefix": f"{root}{PREFLIGHT}"},
            "Expiration": {"Days": 1},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
    ]
    return {"Rules": [{**rule, "Status": "Enabled"} for rule in rules]}


def policy(location: S3Location, options: S3Options, region: str) -> dict[str, Any]:
    """An IAM policy with what a log needs below its prefix, and explicit refusals of what would undo locks."""
    arn = f"arn:{_partition(region)}:s3:::{location.bucket}"
    objects = f"{arn}/{_root(location)}"
    listing: dict[str, Any] = _allow("List", ("s3:ListBucket", "s3:ListBucketVersions"), [arn])
    if location.prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": [f"{_root(location)}*"]}}
    statements = [
        _allow("Ask", _ASKED, [arn]),
        listing,
        _allow("ReadAndWrite", _WRITTEN, [f"{objects}*"]),
        _allow("Collect", ("s3:DeleteObjectVersion",), [f"{objects}{each}" for each in _COLLECTED]),
        _allow("Preflight", ("s3:DeleteObject", "s3:PutObjectLegalHold"), [f"{objects}{PREFLIGHT}*"]),
        {**_allow("NeverUndoLocks", _NEVER, [arn, f"{arn}/*"]), "Effect": "Deny"},
    ]
    if options.sse.startswith("aws:kms"):
        key = options.sse_kms_key_id if options.sse_kms_key_id.startswith("arn:") else "*"
        statements.insert(-1, _allow("Encrypt", ("kms:GenerateDataKey", "kms:Decrypt"), [key]))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(name: str, actions: tuple[str, ...], resources: list[str]) -> dict[str, Any]:
    return {"Sid": name, "Effect": "Allow", "Action": list(actions), "Resource": resources}


def _partition(region: str) -> str:
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _root(location: S3Location) -> str:
    return f"{location.prefix}/" if location.prefix else ""


def _s3api(options: S3Options, *words: str) -> str:
    extra = [] if not options.endpoint_url else ["--endpoint-url", options.endpoint_url]
    profile = [] if not options.profile else ["--profile", options.profile]
    return shlex.join(["aws", *extra, *profile, "s3api", *words])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
