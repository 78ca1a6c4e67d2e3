"""Doors to a log: what the network may ask, and how answers and errors look on each wire.

`problems` maps errors to status codes, once for every door; `served` is the set of logs a server has open;
`handlers` answer requests, message in and message out, without knowing the wire; the fronts carry them.
"""
