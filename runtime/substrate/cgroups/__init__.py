"""Limits, freezing and killing of whole worlds: OCI resources as files of cgroup v2."""
