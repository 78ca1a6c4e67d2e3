"""One function for each parser of outside bytes: bytes in, nothing out, raising only this project's errors.

What is accepted must also come back byte for byte; an AssertionError, or anything but a MerklelogError, is a
finding. `TARGETS` names the functions, `SEEDS` holds valid inputs to start from, `mutate` bends one. The tests run
each for a moment; a soak may run them for days. Those beside the C2SP formats and OpenTelemetry stand in
`kept_targets.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from merklelog.errors import FormatError, MerklelogError
from merklelog.formats import (
    bundle,
    checkpoint,
    checkpoint_text,
    keys,
    note,
    policy,
    proof,
    receipt,
    statement,
    wire,
    witness,
)
from merklelog.formats.keys import SignatureType, SigningKey
from merklelog.index.document import document
from merklelog.index.match import matches
from merklelog.index.query import parse_query
from merklelog.ingest import canonical, entry, otlp_json, otlp_out, otlp_protobuf
from merklelog.protocol.verdict import verify_proof_file
from merklelog.publish import encoding, manifest
from merklelog.tree.hashing import Hash, TreeSize, leaf_hash
from merklelog.tree.tiles import BUNDLE_LEVEL, bundle_path, parse_path, tile_path
from tests.fuzz import kept_targets

ORIGIN = "example.com/log"
ENTRY = b"an entry"


def _key(number: int, name: str, kind: SignatureType) -> SigningKey:
    return SigningKey(name, kind, bytes([number]) * 32)


LOG = _key(1, ORIGIN, SignatureType.ED25519)
LOG_MLDSA = _key(2, ORIGIN, SignatureType.COSIGNATURE_MLDSA44)
WITNESS = _key(3, "witness.example/one", SignatureType.COSIGNATURE_ED25519)
WITNESS_MLDSA = _key(4, "witness.example/two", SignatureType.COSIGNATURE_MLDSA44)
KEYS = [LOG, LOG_MLDSA, WITNESS, WITNESS_MLDSA]
RECEIPTS = _key(5, f"{ORIGIN}/receipt", SignatureType.RECEIPT)


HEAD = checkpoint.Checkpoint(ORIGIN, TreeSize(1), leaf_hash(ENTRY))
TEXT = checkpoint.format_checkpoint_text(HEAD)
TIMES = {LOG: 0, LOG_MLDSA: 0, WITNESS: 1_700_000_000, WITNESS_MLDSA: 1_700_000_001}


def _note(*signers: SigningKey) -> bytes:
    lines = tuple(checkpoint.sign_checkpoint(HEAD, key, TIMES[key]) for key in signers)
    return note.format_note(note.Note(TEXT, lines))


def _policy() -> bytes:
    log, log_mldsa, one, two = (keys.format_vkey(key.verifier) for key in KEYS)
    return (
        f"# a policy\nlog {log} https://example.com/log/\nlog {log_mldsa}\n"
        f"witness one {one}\n witness\ttwo {two} https://witness.example/\n"
        f"group both 2 one two\ngroup any-of any both\nquorum any-of\n"
    ).encode()


RECEIPT = receipt.ReceiptNote(ORIGIN, 3, TreeSize(1), leaf_hash(ENTRY), 1_700_000_000)
RECEIPT_NOTE = receipt.sign_receipt(RECEIPT, RECEIPTS)
FREEZE = statement.Freeze(ORIGIN, TreeSize(7), "example.com/next")
FOLLOWS = statement.Follows(ORIGIN, "example.com/before", TreeSize(7), leaf_hash(ENTRY))
STATEMENTS = [statement.sign_statement(each, (LOG, LOG_MLDSA)) for each in (FREEZE, FOLLOWS)]
NOTE = _note(*KEYS)
SHORT_NOTE = _note(LOG, WITNESS)
POLICY = _policy()
# Either witness is enough, so that the short note and the long one both meet it.
TRUSTED = policy.parse_policy(POLICY.replace(b"group both 2 one two", b"group both 1 one two"))
SHORT_POLICY = b"".join(POLICY.splitlines(keepends=True)[i] for i in (1, 3)) + b"group g any one\nquorum g\n"
PROOF = proof.format_proof(proof.ProofFile(0, (), NOTE, b"extra"))
SHORT_PROOF = proof.format_proof(proof.ProofFile(0, (), SHORT_NOTE))
BARE_PROOF = proof.format_proof(proof.ProofFile(5, (Hash(bytes(32)),) * 3, b"c\n", b"extra"))
DEEP_PROOF = proof.format_proof(proof.ProofFile(5, (Hash(bytes(32)), Hash(b"\xff" * 32)), NOTE))


def decimal(data: bytes) -> None:
    assert b"%d" % wire.parse_decimal(data, "number") == data


def base64(data: bytes) -> None:
    assert wire.encode_base64(wire.decode_base64(data, "base64")) == data


def vkey(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert keys.format_vkey(keys.parse_vkey(text)) == text


def signing_key(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert keys.format_signing_key(keys.parse_signing_key(text)) == text


def origin(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert keys.validate_origin(text) == text
    assert 1 <= len(text.encode()) <= 255


def signed_note(data: bytes) -> None:
    assert note.format_note(note.parse_note(data)) == data


def verified_note(data: bytes) -> None:
    parsed = note.parse_note(data)
    for found in note.verify_note(parsed, [key.verifier for key in KEYS]):
        if found.key.type.is_mldsa:  # which does not cover extension lines
            assert parsed.text.startswith(TEXT), "a signature was accepted for a text that nobody signed"
        else:
            assert parsed.text == TEXT, "a signature was accepted for a text that nobody signed"


def signature_line(data: bytes) -> None:
    assert note.format_signature_line(note.parse_signature_line(data)) == data + b"\n"


def head_text(data: bytes) -> None:
    assert checkpoint_text.format_checkpoint_text(checkpoint_text.parse_checkpoint_text(data)) == data


def signed_head(data: bytes) -> None:
    assert note.format_note(checkpoint.parse_checkpoint(data).note) == data


def receipt_note(data: bytes) -> None:
    _, parsed = receipt.parse_receipt(data)
    assert note.format_note(parsed) == data


def verified_receipt(data: bytes) -> None:
    assert receipt.verify_receipt(data, RECEIPTS.verifier) == RECEIPT, "nobody signed this"


def log_statement(data: bytes) -> None:
    said, parsed = statement.parse_statement(data)
    assert note.format_note(parsed) == data
    assert statement.format_statement_text(said) == parsed.text


def verified_statement(data: bytes) -> None:
    said = statement.verify_statement(data, [LOG.verifier, LOG_MLDSA.verifier])
    assert said in (FREEZE, FOLLOWS), "nobody signed this"


def proof_file(data: bytes) -> None:
    assert proof.format_proof(proof.parse_proof(data)) == data


def verified_proof(data: bytes) -> None:
    verdict = verify_proof_file(proof.parse_proof(data), leaf_hash(ENTRY), TRUSTED)
    got = verdict.checkpoint  # its extension lines may be anyone's when only 0x06 keys signed
    assert (got.origin, got.size, got.root) == (HEAD.origin, HEAD.size, HEAD.root), "nobody signed this"
    assert verdict.index == 0


def trust_policy(data: bytes) -> None:
    parsed = policy.parse_policy(data)
    assert policy.parse_policy(policy.format_policy(parsed)) == parsed


def entry_bundle(data: bytes) -> None:
    entries = bundle.parse_bundle(data)
    assert bundle.format_bundle(entries) == data
    assert bundle.parse_bundle(data, len(entries)) == entries
    try:
        bundle.parse_bundle(data, len(entries) + 1)
    except FormatError:
        return
    raise AssertionError("a bundle was read as one with more entries than it has")


def tile(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    level, index, width = parse_path(text)
    assert (bundle_path(index, width) if level == BUNDLE_LEVEL else tile_path(level, index, width)) == text


def gzip_member(data: bytes) -> None:
    content = encoding.decompress(data, 5_000)
    assert len(content) <= 5_000
    assert encoding.decompress(encoding.compress(content), 5_000) == content


def copy_manifest(data: bytes) -> None:
    parsed = manifest.parse_manifest(data)
    assert manifest.parse_manifest(manifest.format_manifest(parsed)) == parsed


def add_checkpoint(data: bytes) -> None:
    request = witness.parse_add_checkpoint(data)
    lines = [b"old %d" % request.old, *map(wire.encode_base64, request.proof)]
    assert b"\n".join(lines) + b"\n\n" + request.note == data
    assert request.note.startswith(checkpoint_text.format_checkpoint_text(request.checkpoint))


def cosignatures(data: bytes) -> None:
    assert witness.format_cosignatures(witness.parse_cosignatures(data)) == data


def witness_size(data: bytes) -> None:
    assert witness.format_size(witness.parse_size(data)) == data


def record(data: bytes) -> None:
    assert canonical.encode_record(canonical.decode_record(data)) == data


def record_entry(data: bytes) -> None:
    parsed = entry.parse_entry(data)
    assert parsed is None or entry.encode_entry(parsed.part, parsed.record_bytes) == data


def otlp(data: bytes) -> None:
    for each in otlp_protobuf.records_from_protobuf(data):
        assert otlp_protobuf.records_from_protobuf(otlp_out.record_to_protobuf(each)) == [each]
        record(canonical.encode_record(each))


def otlp_of_json(data: bytes) -> None:
    for each in otlp_json.records_from_json(data):
        assert otlp_json.records_from_json(otlp_json.record_to_json(each)) == [each]
        record(canonical.encode_record(each))


def search_query(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    matches(parse_query(text), document(0, None, data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "search_query": search_query,
    "decimal": decimal,
    "base64": base64,
    "vkey": vkey,
    "signing_key": signing_key,
    "origin": origin,
    "signed_note": signed_note,
    "verified_note": verified_note,
    "signature_line": signature_line,
    "head_text": head_text,
    "signed_head": signed_head,
    "receipt_note": receipt_note,
    "verified_receipt": verified_receipt,
    "log_statement": log_statement,
    "verified_statement": verified_statement,
    "proof_file": proof_file,
    "verified_proof": verified_proof,
    "trust_policy": trust_policy,
    "entry_bundle": entry_bundle,
    "tile": tile,
    "gzip_member": gzip_member,
    "copy_manifest": copy_manifest,
    "add_checkpoint": add_checkpoint,
    "cosignatures": cosignatures,
    "witness_size": witness_size,
    "record": record,
    "record_entry": record_entry,
    "otlp": otlp,
    "otlp_of_json": otlp_of_json,
    **kept_targets.TARGETS,
}

_LINES = NOTE.split(b"\n\n")[1]
RECORD = (
    b'{"attributes":[{"key":"a","value":{"doubleValue":0.5}},{"key":"","keyBytes":"/w=="}],'
    b'"body":{"kvlistValue":{"values":[{"key":"b","value":{"arrayValue":{"values":[{"intValue":"-5"}]}}}]}},'
    b'"resource":{"schemaUrl":"u"},"scope":{"name":"s"},"severityNumber":9,"timeUnixNano":"5","traceId":"00ff"}'
)
LOG_PART = entry.LogPart(5, "submitter", {"content_hash": "ok"}, ("drop:a",), entry.Split(0, 1, 3, bytes(32)))
SEEDS: dict[str, list[bytes]] = {
    "record": [RECORD, b"{}"],
    "record_entry": [
        entry.encode_entry(None, RECORD),
        entry.encode_entry(entry.LogPart(5, "submitter"), RECORD),
        entry.encode_entry(LOG_PART, b"abc"),
    ],
    "otlp": [otlp_out.record_to_protobuf(canonical.decode_record(RECORD)), b""],
    "search_query": [b'actor:"a b" -(x* OR after:2026-01-01) NOT "y z"'],
    "otlp_of_json": [otlp_json.record_to_json(canonical.decode_record(RECORD)), b"{}"],
    "decimal": [b"0", b"18", b"9223372036854775807"],
    "base64": [b"", b"AA==", b"AAA=", b"AAAA", b"+/+/"],
    "vkey": [keys.format_vkey(key.verifier).encode() for key in (*KEYS, RECEIPTS)],
    "signing_key": [keys.format_signing_key(key).encode() for key in (*KEYS, RECEIPTS)],
    "origin": [ORIGIN.encode(), b"example.com:8080/log", "例え.example/ログ".encode()],
    "signed_note": [SHORT_NOTE, NOTE, b"\n\n" + _LINES],
    "verified_note": [SHORT_NOTE, NOTE],
    "signature_line": _LINES.splitlines(),
    "head_text": [TEXT, TEXT + b"extension\n"],
    "signed_head": [SHORT_NOTE, NOTE],
    "receipt_note": [RECEIPT_NOTE, RECEIPT_NOTE + _LINES],
    "verified_receipt": [RECEIPT_NOTE, RECEIPT_NOTE + _LINES],
    "log_statement": STATEMENTS,
    "verified_statement": STATEMENTS,
    "proof_file": [BARE_PROOF, PROOF, DEEP_PROOF],
    "verified_proof": [SHORT_PROOF, PROOF],
    "trust_policy": [SHORT_POLICY, POLICY, b"quorum none\n"],
    "entry_bundle": [bundle.format_bundle([b"", b"a", b"bc" * 200]), bundle.format_bundle([b""] * 256)],
    "gzip_member": [encoding.compress(each) for each in (b"", b"a", b"entry " * 800, bytes(range(256)))],
    "copy_manifest": [manifest.format_manifest(manifest.Manifest(each)) for each in encoding.BundleEncoding],
    "add_checkpoint": [
        witness.format_add_checkpoint(0, [], NOTE),
        witness.format_add_checkpoint(5, [leaf_hash(ENTRY)] * 3, SHORT_NOTE),
    ],
    "cosignatures": [_LINES, *_LINES.splitlines(keepends=True)],
    "witness_size": [b"0\n", b"1234567\n"],
    "tile": [b"tile/0/x001/234", b"tile/8/001.p/17", b"tile/entries/x001/x234/067.p/255"],
    **kept_targets.SEEDS,
}

_TOKENS = [
    b"\n",
    b"\n\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b"\x7f",
    b"+",
    b"=",
    b"==",
    b"-",
    b"_",
    b"0",
    b"00",
    b"1",
]
_TOKENS += [
    "— ".encode(),
    "\u3000".encode(),
    "٣".encode(),
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xff",
    b"none",
    b"any",
]
_TOKENS += [
    b"9223372036854775808",
    b"18446744073709551616",
    b"9" * 5000,
    b"[" * 5000,
    b"extra ",
    b"index ",
    b"quorum none\n",
]


def mutate(random: Random, data: bytes) -> bytes:
    """One valid input with one to four faults: flipped, lost, doubled, moved or foreign bytes."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice([1, 1, 2, 8, 64]))
        match random.randrange(5):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                data = data[:at] + random.choice(_TOKENS) + data[at:]
            case _:
                data = data[:at] + random.randbytes(end - at) + data[end:]
    return data


def run(name: str, random: Random, rounds: int) -> int:
    """Feeds one target `rounds` mutated seeds; returns how many it accepted. Raises what it finds."""
    accepted = 0
    for _ in range(rounds):
        data = mutate(random, random.choice(SEEDS[name]))
        try:
            TARGETS[name](data)
        except MerklelogError:
            continue
        except BaseException as error:
            error.add_note(f"target {name}, input {data!r}")
            raise
        accepted += 1
    return accepted
