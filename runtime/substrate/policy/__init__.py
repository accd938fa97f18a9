"""What may run and what a world may have: policy files in, decisions and settings out.

A decision is advice and a first gate; the world is the wall. Not here: acting on a decision,
which is for the front-end, and a world's configuration, which is for `bundle`.
"""
