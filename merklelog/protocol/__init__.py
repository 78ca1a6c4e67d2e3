"""Decisions without I/O and without a clock: the same values in, the same answer out.

commit    what one commit of the log changes, as plain data
verdict   do these signatures meet that policy; does this proof file hold; since when did it exist
advance   may a trusted head move to this newer one
"""
