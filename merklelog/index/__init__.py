"""Search over the entries of a log: an index that is made from the log, stands beside it and proves nothing.

`document` says what of an entry can be found, `query` reads what somebody looks for, and `match` compares the two
without any index: that is what a verifier uses, and what the index is tested against. `indexer` writes the index
(tantivy), `search` asks it. What an index says is a hint where to look; the log itself proves what stands in it.
"""
