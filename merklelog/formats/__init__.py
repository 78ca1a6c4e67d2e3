"""Bytes from outside to frozen values and back, one module a C2SP specification.

Every codec here is a bijection: `parse_x` accepts exactly the bytes that `format_x` of its result gives, so
there is one spelling of a value and nothing to normalise. That is why there is a single strict decimal, a
single strict base64 and a single line splitter (`wire`), and why nothing here is lenient "because others
are".

    wire             decimals, base64, lines, UTF-8
    names            key names and origins
    algorithms       the signature types, and the only calls of `cryptography`
    keys             verifier keys, signing keys, key files
    checkpoint_text  the three lines a log signs            (tlog-checkpoint, "Note text")
    cosignature      what 0x04 and 0x06 signatures sign     (tlog-cosignature)
    note             signed notes                           (signed-note)
    checkpoint       a signed note whose text is a checkpoint
    proof            `.tlog-proof` files                    (tlog-proof)
    policy           trust policies                         (tlog-policy)
    receipt          what a log with publish targets signs in each commit; this project's own
    witness          add-checkpoint's bodies                (tlog-witness)
    statement        what a log says of itself in an entry: it has ended, or follows another; this project's own
    bundle           entry bundles                          (tlog-tiles, "Log entries")

Specifications are cited at revision 5ba5ee83 of the C2SP repository.
Only `tree` and `errors` are imported from this project. Parsers raise FormatError or one of its children,
nothing else.
"""

from __future__ import annotations

from .algorithms import SignatureType
from .bundle import BUNDLE_WIDTH, LENGTHS, MAX_ENTRY, format_bundle, parse_bundle
from .checkpoint import SignedCheckpoint, parse_checkpoint, sign_checkpoint
from .checkpoint_text import Checkpoint, format_checkpoint_text, parse_checkpoint_text
from .keys import (
    SigningKey,
    VerifierKey,
    format_signing_key,
    format_vkey,
    generate_signing_key,
    load_signing_key,
    parse_signing_key,
    parse_vkey,
    write_signing_key,
)
from .names import validate_key_name, validate_origin
from .note import Note, NoteSignature, VerifiedSignature, format_note, parse_note, verify_note
from .policy import Group, Policy, PolicyLog, PolicyWitness, format_policy, parse_policy, single_log_policy
from .proof import ProofFile, format_proof, parse_proof
from .receipt import ReceiptNote, is_receipt, parse_receipt, receipt_key_name, sign_receipt, verify_receipt

__all__ = [
    "BUNDLE_WIDTH",
    "LENGTHS",
    "MAX_ENTRY",
    "Checkpoint",
    "Group",
    "Note",
    "NoteSignature",
    "Policy",
    "PolicyLog",
    "PolicyWitness",
    "ProofFile",
    "ReceiptNote",
    "SignatureType",
    "SignedCheckpoint",
    "SigningKey",
    "VerifiedSignature",
    "VerifierKey",
    "format_bundle",
    "format_checkpoint_text",
    "format_note",
    "format_policy",
    "format_proof",
    "format_signing_key",
    "format_vkey",
    "generate_signing_key",
    "is_receipt",
    "load_signing_key",
    "parse_bundle",
    "parse_checkpoint",
    "parse_checkpoint_text",
    "parse_note",
    "parse_policy",
    "parse_proof",
    "parse_receipt",
    "parse_signing_key",
    "parse_vkey",
    "receipt_key_name",
    "sign_checkpoint",
    "sign_receipt",
    "single_log_policy",
    "validate_key_name",
    "validate_origin",
    "verify_note",
    "verify_receipt",
    "write_signing_key",
]
