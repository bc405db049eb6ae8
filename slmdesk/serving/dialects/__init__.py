"""The APIs the service speaks, one module each: from a request's bytes to an `Ask`, and from an answer to bytes."""
