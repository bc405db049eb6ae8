"""The Chat place: conversations, streamed answers, the composer."""
