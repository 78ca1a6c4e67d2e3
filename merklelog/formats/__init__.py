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
    bundle           entry bundles                          (tlog-tiles, "Log entries")

Specifications are cited at revision 5ba5ee83 of the C2SP repository.
Only `tree` and `errors` are imported from this project. Parsers raise FormatError or one of its children,
nothing else.
"""
