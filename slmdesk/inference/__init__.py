"""What is asked of a model and what comes back: the one contract of front ends, service and engines."""
