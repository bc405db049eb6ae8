"""The models on this machine's disks."""
