"""What this machine can do: probes that try the thing and never compare versions."""
