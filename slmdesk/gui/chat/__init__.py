"""The Chat page: conversations, streamed answers, the composer."""
