"""Witnesses: who watches that a log only grows, and says so under its checkpoints.

config    a witness' configuration, and its table of keys
keys      its two signing keys
logs      which logs it knows: policies in files, read again while it runs
state     the newest checkpoint of each log, durable before a cosignature leaves
service   a request in, an answer out; no sockets here (`servers.witness` has them)
crew      the threads that verify, decide one at a time, and sign
syncer    the thread that makes all of it durable, many requests at once
limits    how much one client may ask of one log
create    a new witness
restore   what an operator says after an old copy of a witness was brought back
"""
