"""From an OCI seccomp configuration to a BPF filter, compiled once and cached."""
